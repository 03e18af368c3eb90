//! What was asked and answered, and whether the lake agrees with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use mountable::error::{ErrorKind, Result};
use mountable::lake::CommitOutcome;

use crate::lab::Row;
use crate::world::World;

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// None yet, or none ever: the gateway died.
    Open,
    /// Acknowledged, as this version.
    Done(u64),
    /// Refused.
    Refused,
    /// The gateway said that it does not know.
    Unknown,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Append(Vec<Row>),
    Update(Row),
    Delete(i64),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) asked: Asked,
    pub(crate) from: u64,
    pub(crate) until: u64,
    pub(crate) answer: Answer,
}

/// Everything that was asked, in order of asking.
#[derive(Debug, Clone, Default)]
pub(crate) struct History(Arc<Mutex<Vec<Entry>>>);

impl History {
    pub(crate) fn ask(&self, world: &World, asked: Asked) -> usize {
        let mut all = self.0.lock().unwrap();
        let from = world.now_ns();
        world.note(&format!("ask {} {asked:?}", all.len()));
        all.push(Entry { asked, from, until: u64::MAX, answer: Answer::Open });
        all.len() - 1
    }

    pub(crate) fn answer(&self, world: &World, at: usize, outcome: &Result<CommitOutcome>) {
        let answer = match outcome {
            Ok(CommitOutcome::Committed { snapshot, .. }) => Answer::Done(snapshot.version),
            Err(error) if error.kind() == ErrorKind::Unknown => Answer::Unknown,
            Ok(_) | Err(_) => Answer::Refused,
        };
        let said = match outcome {
            Err(error) => error.to_string(),
            Ok(_) => String::new(),
        };
        world.note(&format!("answer {at} {answer:?} {said}"));
        let mut all = self.0.lock().unwrap();
        all[at].answer = answer;
        all[at].until = world.now_ns();
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap().clone()
    }

    /// Ids of rows that were acknowledged.
    pub(crate) fn known_ids(&self) -> Vec<i64> {
        let mut ids = Vec::new();
        for entry in self.0.lock().unwrap().iter() {
            if let (Asked::Append(rows), Answer::Done(_)) = (&entry.asked, entry.answer) {
                ids.extend(rows.iter().map(|(id, _)| *id));
            }
        }
        ids
    }

    /// Everything in which the rows of a table contradict the answers. Each id is appended once
    /// only, so a row tells who wrote it.
    pub(crate) fn contradictions(&self, rows: &[Row]) -> Vec<String> {
        let entries = self.entries();
        let mut found = order(&entries);
        let mut shown: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (id, value) in rows {
            shown.entry(*id).or_default().push(*value);
        }
        for (id, values) in &shown {
            if values.len() > 1 {
                found.push(format!("row {id} is there {} times", values.len()));
            }
        }
        for entry in &entries {
            let Asked::Append(rows) = &entry.asked else { continue };
            let there = rows.iter().filter(|(id, _)| shown.contains_key(id)).count();
            let gone = |id: i64| removals(&entries, id).next().is_some();
            for (id, first) in rows {
                let value = shown.get(id).and_then(|values| values.first()).copied();
                match (entry.answer, value) {
                    (Answer::Refused, Some(_)) => found.push(format!("refused row {id} is there")),
                    (Answer::Done(_), None) if !gone(*id) => {
                        found.push(format!("acknowledged row {id} is lost"));
                    }
                    (_, Some(value)) => found.extend(wrong_value(&entries, (*id, value), *first)),
                    _ => {}
                }
            }
            let none_gone = rows.iter().all(|(id, _)| !gone(*id));
            if there != 0 && there != rows.len() && none_gone {
                found.push(format!("of {rows:?} only {there} are there"));
            }
        }
        let asked = |id: i64| {
            entries.iter().any(|entry| {
                matches!(&entry.asked, Asked::Append(rows) if rows.iter().any(|row| row.0 == id))
            })
        };
        found.extend(shown.keys().filter(|id| !asked(**id)).map(|id| format!("nobody wrote {id}")));
        for entry in &entries {
            if let (Asked::Delete(id), Answer::Done(_)) = (&entry.asked, entry.answer)
                && shown.contains_key(id)
            {
                found.push(format!("row {id} was deleted and is there"));
            }
        }
        found
    }
}

/// Deletions of a row that happened or may have happened.
fn removals(entries: &[Entry], id: i64) -> impl Iterator<Item = &Entry> {
    entries
        .iter()
        .filter(move |entry| entry.asked == Asked::Delete(id) && entry.answer != Answer::Refused)
}

/// Whether a row's value is none that it can have: that of the last acknowledged update, or of one
/// whose outcome is open and that was not before the last acknowledged one.
fn wrong_value(entries: &[Entry], (id, value): Row, first: i64) -> Option<String> {
    let updates = || {
        entries.iter().filter_map(move |entry| match entry.asked {
            Asked::Update((row, new)) if row == id => Some((entry, new)),
            _ => None,
        })
    };
    let last = updates()
        .filter_map(|(entry, new)| match entry.answer {
            Answer::Done(version) => Some((version, new)),
            _ => None,
        })
        .max();
    if value == last.map_or(first, |(_, new)| new) {
        return None;
    }
    let open = updates()
        .any(|(entry, new)| new == value && matches!(entry.answer, Answer::Open | Answer::Unknown));
    (!open).then(|| format!("row {id} is {value}, last acknowledged {last:?}, first {first}"))
}

/// What is acknowledged before something else is asked has the lower version, and no two have one.
fn order(entries: &[Entry]) -> Vec<String> {
    let mut found = Vec::new();
    let mut done: Vec<(u64, &Entry)> = entries
        .iter()
        .filter_map(|entry| match entry.answer {
            Answer::Done(version) => Some((version, entry)),
            _ => None,
        })
        .collect();
    done.sort_by_key(|(version, _)| *version);
    for two in done.windows(2) {
        if two[0].0 == two[1].0 {
            found.push(format!("two commits are version {}", two[0].0));
        }
    }
    // In order of versions no one may have ended before an earlier version began.
    let mut latest_start = 0;
    for (version, entry) in &done {
        if entry.until < latest_start {
            found.push(format!("version {version} ended before an older one began"));
        }
        latest_start = latest_start.max(entry.from);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(asked: Asked, answer: Answer, from: u64) -> Entry {
        Entry { asked, from, until: from + 1, answer }
    }

    fn judge(entries: Vec<Entry>, rows: &[Row]) -> Vec<String> {
        History(Arc::new(Mutex::new(entries))).contradictions(rows)
    }

    fn append(id: i64, answer: Answer, from: u64) -> Entry {
        entry(Asked::Append(vec![(id, 0)]), answer, from)
    }

    #[test]
    fn every_kind_of_contradiction_is_noticed() {
        assert!(judge(vec![append(1, Answer::Done(1), 0)], &[(1, 0)]).is_empty());
        assert!(judge(vec![append(1, Answer::Unknown, 0)], &[]).is_empty());
        let wrong: [(Vec<Entry>, &[Row]); 9] = [
            (vec![append(1, Answer::Done(1), 0)], &[]),
            (vec![append(1, Answer::Done(1), 0)], &[(1, 0), (1, 0)]),
            (vec![append(1, Answer::Refused, 0)], &[(1, 0)]),
            (vec![], &[(1, 0)]),
            (vec![append(1, Answer::Done(2), 0), append(2, Answer::Done(1), 5)], &[(1, 0), (2, 0)]),
            (vec![append(1, Answer::Done(1), 0), append(2, Answer::Done(1), 0)], &[(1, 0), (2, 0)]),
            (vec![entry(Asked::Append(vec![(1, 0), (2, 0)]), Answer::Open, 0)], &[(1, 0)]),
            (
                vec![
                    append(1, Answer::Done(1), 0),
                    entry(Asked::Update((1, 7)), Answer::Done(2), 5),
                ],
                &[(1, 0)],
            ),
            (
                vec![append(1, Answer::Done(1), 0), entry(Asked::Delete(1), Answer::Done(2), 5)],
                &[(1, 0)],
            ),
        ];
        for (entries, rows) in wrong {
            let said = format!("{entries:?} {rows:?}");
            assert!(!judge(entries, rows).is_empty(), "{said}");
        }
    }
}

//! What the objects of a table say by themselves, without the catalogue: its lives.
//!
//! A life is a trunk from a first snapshot to its end. A name has several of them when a table was
//! dropped and made again. Nothing here writes, and the listing is taken before anything is read,
//! so what other processes add meanwhile is never taken for a stray.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::store::{self, layout::SnapshotName};
use crate::table::Table;
use crate::table::codec;
use crate::table::documents::{End, Mark, RENAMED, Stub};
use crate::table::fork::FORKED;
use crate::table::json;
use crate::table::snapshot::Snapshot;

/// An object below the table's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Size in bytes.
    pub(crate) bytes: u64,
    /// When it was written, milliseconds since 1970 by the store's clock.
    pub(crate) written_ms: i64,
}

/// One trunk.
#[derive(Debug)]
pub(crate) struct Life {
    /// Paths of its snapshots, oldest first.
    pub(crate) steps: Vec<String>,
    /// Objects in the place of successors that are no snapshots: adoptions, stubs, drops.
    pub(crate) marks: Vec<String>,
    /// Paths of other writers' snapshots that were merged into it.
    pub(crate) merged: Vec<String>,
    /// Its newest snapshot.
    pub(crate) tip: Arc<Snapshot>,
    /// What ended it.
    pub(crate) end: Option<End>,
    /// Paths of another writer's newer snapshots that no gateway has taken over yet, oldest first.
    pub(crate) tail: Vec<String>,
    /// The snapshot that the catalogue should name: the last of the tail, else the tip.
    pub(crate) newest: Arc<Snapshot>,
    /// Where it comes from.
    pub(crate) origin: Origin,
}

/// How a life began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// As a new table.
    Created,
    /// On a branch, as a version of another table was.
    Forked,
    /// By a rename that happened: the mark behind the old name's tip says so.
    Renamed,
    /// By a rename that never happened, or was undone.
    NeverRenamed,
    /// Its older snapshots were vacuumed.
    Vacuumed,
    /// Its older snapshots are gone.
    Cut,
}

impl Life {
    /// Whether nothing was ever committed to it.
    pub(crate) fn is_untouched(&self) -> bool {
        self.steps.len() == 1 && self.tail.is_empty() && self.end.is_none()
    }
}

/// What is remembered of another writer's snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Foreign {
    /// Its path.
    pub(crate) path: String,
    /// Path of its predecessor.
    pub(crate) previous: Option<String>,
    version: u64,
    committed_ms: i64,
    /// Who wrote it and how many rows it has, for people.
    pub(crate) about: String,
}

/// Everything that stands below a table's folder.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// The objects, by path.
    pub(crate) objects: BTreeMap<String, Stored>,
    /// The trunks, in the order of their first snapshots.
    pub(crate) lives: Vec<Life>,
    /// Snapshots of other writers that no trunk and no tail holds.
    pub(crate) lost: Vec<Foreign>,
    /// Stubs of other writers' snapshots that were vacuumed.
    pub(crate) stubs: Vec<String>,
    /// Snapshots and marks of tables that were dropped with their branch.
    pub(crate) gone: Vec<String>,
    /// Objects among the snapshots that cannot be read.
    pub(crate) broken: Vec<(String, Error)>,
}

impl Survey {
    /// The life that the catalogue should name: the one that goes on. Among several (a creation
    /// that was given up leaves one without a commit) the newest that was written to.
    pub(crate) fn current(&self) -> Option<&Life> {
        self.lives
            .iter()
            .filter(|life| life.end.is_none() && life.origin != Origin::NeverRenamed)
            .max_by_key(|life| (!life.is_untouched(), life.newest.committed_ms))
    }
}

/// What follows a snapshot.
enum Next {
    Nothing,
    Snapshot(Arc<Snapshot>),
    Ended(End),
}

impl Table {
    /// Reads all snapshots of the table's folder and orders them.
    ///
    /// # Errors
    /// Those of the store; what cannot be understood is in [`Survey::broken`].
    pub(crate) async fn survey(&self) -> Result<Survey> {
        let mut survey = Survey { objects: self.objects().await?, ..Survey::default() };
        let mut roots = Vec::new();
        let ended = self.ended_roots().await?;
        let mut foreign: HashMap<String, Foreign> = HashMap::new();
        for path in survey.objects.keys() {
            if !matches!(store::layout::snapshot_name(path), Some(SnapshotName::Timed(_))) {
                continue;
            }
            match self.load_mark(path).await {
                Ok(Some(Mark::Snapshot(snapshot))) if is_root(&snapshot) => {
                    roots.push((snapshot, Vec::new()));
                }
                Ok(Some(Mark::Snapshot(snapshot))) => {
                    foreign.insert(path.clone(), summary(&snapshot));
                }
                Ok(Some(Mark::Gone(stub))) if stub.foreign => survey.stubs.push(path.clone()),
                Ok(Some(Mark::Gone(stub))) => match self.first_kept(path, stub).await {
                    Ok(root) => roots.push(root),
                    Err(error) => survey.broken.push((path.clone(), give_up(error)?)),
                },
                // Removed since it was listed.
                Ok(None) => {}
                Ok(Some(_)) => survey.broken.push((path.clone(), odd(None))),
                Err(error) => survey.broken.push((path.clone(), give_up(error)?)),
            }
        }
        roots.sort_by_key(|(root, _)| (root.committed_ms, root.path.clone()));
        for (root, stubs) in roots {
            let has_ended = ended.contains(&root.path);
            let origin = match stubs.is_empty() {
                true => self.origin(&root).await?,
                false => Origin::Vacuumed,
            };
            self.follow(root, origin, stubs, &mut survey).await?;
            if has_ended && let Some(life) = survey.lives.pop() {
                // It went with its branch; what it names may be gone.
                survey.gone.extend(life.steps.into_iter().chain(life.marks));
            }
        }
        self.follow_rest(&mut survey).await?;
        attach_foreign(&mut survey, foreign);
        for life in survey.lives.iter_mut() {
            if let Some(path) = life.tail.last() {
                life.newest = self.load(path).await?;
            }
        }
        Ok(survey)
    }

    async fn objects(&self) -> Result<BTreeMap<String, Stored>> {
        let listed =
            store::list(&self.parts.objects, &store::layout::table_location(&self.id)).await?;
        let entry = |meta: object_store::ObjectMeta| {
            let written_ms = meta.last_modified.timestamp_millis();
            (meta.location.to_string(), Stored { bytes: meta.size, written_ms })
        };
        Ok(listed.into_iter().map(entry).collect())
    }

    /// The first snapshot behind the stub of a trunk's first one, and the stubs in front of it.
    async fn first_kept(&self, path: &str, stub: Stub) -> Result<(Arc<Snapshot>, Vec<String>)> {
        let (mut marks, mut next) = (vec![path.to_owned()], stub.next);
        loop {
            if next.is_empty() || marks.contains(&next) {
                return Err(Error::corrupt("stub of a removed snapshot leads nowhere"));
            }
            match self.load_mark(&next).await? {
                Some(Mark::Gone(stub)) => marks.push(std::mem::replace(&mut next, stub.next)),
                Some(Mark::Snapshot(snapshot)) => return Ok((snapshot, marks)),
                Some(Mark::Adopt(adopted)) => {
                    marks.push(next);
                    return Ok((self.load(&adopted).await?, marks));
                }
                Some(Mark::Ended(end)) => {
                    marks.push(next);
                    next = store::layout::successor(&end.path, end.version.saturating_add(1));
                }
                None => return Err(odd(None)),
            }
        }
    }

    /// Adds the life that begins with `root`; `marks` are in front of it.
    async fn follow(
        &self,
        root: Arc<Snapshot>,
        origin: Origin,
        marks: Vec<String>,
        survey: &mut Survey,
    ) -> Result<()> {
        let mut life = Life {
            steps: vec![root.path.clone()],
            marks,
            merged: Vec::new(),
            newest: Arc::clone(&root),
            tip: root,
            end: None,
            tail: Vec::new(),
            origin,
        };
        loop {
            match self.next(&life.tip, &mut life.marks).await {
                Ok(Next::Nothing) => break,
                Ok(Next::Ended(end)) => {
                    life.end = Some(end);
                    break;
                }
                Ok(Next::Snapshot(snapshot)) => {
                    if let Some(merged) = codec::own_text(&snapshot.document, "merged_from") {
                        life.merged.push(merged.to_owned());
                    }
                    life.steps.push(snapshot.path.clone());
                    life.tip = snapshot;
                }
                Err(error) => {
                    let next = life.tip.version.saturating_add(1);
                    let path = store::layout::successor(&life.tip.path, next);
                    survey.broken.push((path, give_up(error)?));
                    break;
                }
            }
        }
        life.newest = Arc::clone(&life.tip);
        survey.lives.push(life);
        Ok(())
    }

    /// What follows `tip`; objects that are no snapshots are noted in `marks`.
    async fn next(&self, tip: &Snapshot, marks: &mut Vec<String>) -> Result<Next> {
        let mut path = store::layout::successor(&tip.path, tip.version.saturating_add(1));
        loop {
            match self.load_mark(&path).await? {
                None => return Ok(Next::Nothing),
                Some(Mark::Snapshot(snapshot)) => return Ok(Next::Snapshot(snapshot)),
                Some(Mark::Gone(Stub { next, .. })) => {
                    if next.is_empty() || marks.contains(&next) {
                        return Err(Error::corrupt("stub of a removed snapshot leads nowhere"));
                    }
                    marks.push(std::mem::replace(&mut path, next));
                }
                Some(Mark::Adopt(adopted)) => {
                    marks.push(path);
                    return Ok(Next::Snapshot(self.load(&adopted).await?));
                }
                Some(Mark::Ended(end)) => {
                    marks.push(path);
                    let behind = store::layout::successor(&end.path, end.version.saturating_add(1));
                    return Ok(match self.load_mark(&behind).await? {
                        Some(Mark::Snapshot(snapshot)) => Next::Snapshot(snapshot),
                        _ => Next::Ended(end),
                    });
                }
            }
        }
    }

    /// Adds trunks whose beginning is gone.
    async fn follow_rest(&self, survey: &mut Survey) -> Result<()> {
        let mut known: BTreeSet<String> = BTreeSet::new();
        for life in &survey.lives {
            known.extend(life.steps.iter().chain(&life.marks).cloned());
        }
        known.extend(survey.stubs.iter().chain(&survey.gone).cloned());
        known.extend(survey.broken.iter().map(|(path, _)| path.clone()));
        let mut rest: Vec<(u64, String)> = survey
            .objects
            .keys()
            .filter(|path| !known.contains(*path))
            .filter_map(|path| Some((store::layout::version_of(path)?, path.clone())))
            .collect();
        rest.sort();
        for (_, path) in rest {
            if known.contains(&path) {
                continue;
            }
            match self.load_mark(&path).await {
                Ok(Some(Mark::Snapshot(snapshot))) => {
                    self.follow(snapshot, Origin::Cut, Vec::new(), survey).await?;
                    if let Some(life) = survey.lives.last() {
                        known.extend(life.steps.iter().chain(&life.marks).cloned());
                    }
                }
                Ok(None) => {}
                Ok(Some(_)) => survey.broken.push((path, odd(None))),
                Err(error) => survey.broken.push((path, give_up(error)?)),
            }
        }
        Ok(())
    }

    async fn origin(&self, root: &Snapshot) -> Result<Origin> {
        match codec::own_text(&root.document, "root") {
            None => return Ok(Origin::Created),
            Some(FORKED) => return Ok(Origin::Forked),
            Some(_) => {}
        }
        let Some(previous) = &root.previous else { return Ok(Origin::NeverRenamed) };
        let mark = store::layout::successor(previous, root.version);
        let Some(Mark::Ended(end)) = self.load_mark(&mark).await? else {
            return Ok(Origin::NeverRenamed);
        };
        let said = end.content.get(RENAMED).and_then(serde_json::Value::as_object);
        let here = said.is_some_and(|said| json::text_or_empty(said, "path") == root.path);
        let behind = store::layout::successor(&end.path, end.version.saturating_add(1));
        // The old name goes on where the new one was taken.
        let undone = store::exists(&self.parts.objects, &behind).await?;
        Ok(if here && !undone { Origin::Renamed } else { Origin::NeverRenamed })
    }
}

/// Whether a snapshot whose name tells a time begins a trunk.
fn is_root(snapshot: &Snapshot) -> bool {
    snapshot.previous.is_none() || codec::own_text(&snapshot.document, "root").is_some()
}

fn odd(error: Option<Error>) -> Error {
    let odd = Error::corrupt("object stands where none of its kind belongs");
    match error {
        Some(error) => odd.caused_by(error),
        None => odd,
    }
}

/// An error that is about this object only; others end the survey.
fn give_up(error: Error) -> Result<Error> {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Denied | ErrorKind::Busy => Err(error),
        _ => Ok(error),
    }
}

fn summary(snapshot: &Snapshot) -> Foreign {
    let role = &snapshot.lineage.role;
    Foreign {
        path: snapshot.path.clone(),
        previous: snapshot.previous.clone(),
        version: snapshot.version,
        committed_ms: snapshot.committed_ms,
        about: format!("version {}, {} rows, role `{role}`", snapshot.version, snapshot.rows()),
    }
}

/// Gives other writers' snapshots to the lives that they continue.
fn attach_foreign(survey: &mut Survey, mut foreign: HashMap<String, Foreign>) {
    for life in &survey.lives {
        for path in life.steps.iter().chain(&life.merged) {
            foreign.remove(path);
        }
    }
    for life in survey.lives.iter_mut().filter(|life| life.end.is_none()) {
        let steps: BTreeSet<&String> = life.steps.iter().collect();
        // An older one lost against what is on the trunk: its writer was overtaken.
        let newer = |head: &&Foreign| head.committed_ms > life.tip.committed_ms;
        let mut heads: Vec<&Foreign> = foreign.values().filter(newer).collect();
        heads.sort_by_key(|head| (head.version, head.committed_ms));
        let tail = heads.iter().rev().find_map(|head| chain_to(&steps, head, &foreign));
        let tail = tail.unwrap_or_default();
        for path in &tail {
            foreign.remove(path);
        }
        life.tail = tail;
    }
    survey.lost = foreign.into_values().collect();
    survey.lost.sort_by_key(|lost| (lost.committed_ms, lost.path.clone()));
}

/// Paths of the foreign snapshots from a trunk to `head`, oldest first; `None` if none leads there.
fn chain_to(
    trunk: &BTreeSet<&String>,
    head: &Foreign,
    foreign: &HashMap<String, Foreign>,
) -> Option<Vec<String>> {
    let (mut chain, mut at) = (vec![head.path.clone()], head);
    loop {
        let previous = at.previous.as_ref()?;
        if trunk.contains(previous) {
            chain.reverse();
            return Some(chain);
        }
        if chain.len() > foreign.len() {
            return None;
        }
        at = foreign.get(previous)?;
        chain.push(at.path.clone());
    }
}

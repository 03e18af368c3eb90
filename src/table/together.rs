//! Several changes that do not touch each other, as one commit.
//!
//! Each is judged against the same tip. One that cannot be joined to the others - it conflicts
//! with somebody's rows, has a key that exists, changes columns, or touches rows that another one
//! touches - is left out and judged alone afterwards; the others do not hear of it.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use crate::clock::random_hex;
use crate::error::{Error, Result};
use crate::table::Table;
use crate::table::changeset::{ChangeSet, OnExistingKey};
use crate::table::commit::{Published, committed};
use crate::table::group::{Member, refuse};
use crate::table::incoming::StoredRows;
use crate::table::keys;
use crate::table::layout::Layout;
use crate::table::lock::Hold;
use crate::table::plan::{Accepted, Counts, Plan, Planned, counts};
use crate::table::rebase::{Moves, Rebased};
use crate::table::settle::{Head, Look};
use crate::table::snapshot::{Lineage, OnConflict, Snapshot};
use crate::table::write::{HeldRows, NewFile};

/// A member that can be joined.
struct Joined {
    member: Member,
    moves: Moves,
    /// Digests of its new rows' keys.
    keys: Vec<u128>,
}

/// The members of a commit, and those that are left out.
#[derive(Default)]
struct Selection {
    joined: Vec<Joined>,
    alone: Vec<Member>,
}

/// The data file of the rows that were in memory, and whose they are.
struct Shared {
    members: Vec<String>,
    files: Vec<NewFile>,
    base: Arc<Snapshot>,
}

/// What became of one attempt.
enum Attempt {
    /// Somebody else's snapshot took the place, or somebody was left out.
    Again,
    /// The snapshot stands.
    Done(Arc<Snapshot>),
}

impl Table {
    /// Commits what can be committed together and answers it; the rest is to be judged alone.
    pub(crate) async fn commit_together(&self, batch: Vec<Member>, hold: &Hold) -> Vec<Member> {
        let deadline = self.deadline();
        let clock = self.parts.clock.as_ref();
        let write_id = format!("{}{}", random_hex(clock), random_hex(clock));
        let mut selection = Selection::default();
        let (mut waiting, mut shared, mut look) = (batch, None, Look::Quick);
        loop {
            let attempt = async {
                let head = self.head(look).await?.ok_or_else(|| self.no_table())?;
                let layout = self.layout(&head.tip).await?;
                self.select(&mut selection, std::mem::take(&mut waiting), &head, &layout).await?;
                if selection.joined.len() < 2 {
                    return Ok(None);
                }
                hold.keep(!selection.alone.is_empty());
                let ends = (deadline, hold);
                self.attempt(&mut selection, &mut shared, (&head, &layout), &write_id, ends)
                    .await
                    .map(Some)
            };
            let attempt: Result<Option<Attempt>> = Box::pin(attempt).await;
            let joined = std::mem::take(&mut selection.joined).into_iter();
            waiting.extend(joined.map(|joined| joined.member));
            match attempt {
                Ok(Some(Attempt::Done(snapshot))) => {
                    for member in waiting {
                        let outcome = committed(Arc::clone(&snapshot), &member.lineage.write_id);
                        member.answer(Ok(outcome));
                    }
                    return selection.alone;
                }
                Ok(Some(Attempt::Again)) if self.parts.clock.monotonic_ns() < deadline => {
                    look = Look::Closely;
                }
                Ok(Some(Attempt::Again)) => {
                    refuse(waiting, &self.others_were_faster());
                    return selection.alone;
                }
                Ok(None) => {
                    waiting.append(&mut selection.alone);
                    return waiting;
                }
                Err(error) => {
                    refuse(waiting, &error);
                    return selection.alone;
                }
            }
        }
    }

    /// Sorts members into those that can be joined and the rest.
    async fn select(
        &self,
        selection: &mut Selection,
        members: Vec<Member>,
        head: &Head,
        layout: &Layout,
    ) -> Result<()> {
        let mut ids = HashSet::new();
        let mut taken: Vec<Range<u64>> = Vec::new();
        for member in members {
            let moves = match ids.insert(member.lineage.write_id.clone()) {
                true => self.joinable(&member, head, layout).await,
                false => None,
            };
            match moves.filter(|moves| is_apart(&moves.deletions, &taken)) {
                Some(moves) => {
                    taken.extend(moves.deletions.iter().cloned());
                    selection.joined.push(Joined { member, moves, keys: Vec::new() });
                }
                None => selection.alone.push(member),
            }
        }
        if head.tip.config.keys.is_empty() {
            return Ok(());
        }
        self.select_by_key(selection, head, layout).await
    }

    /// The edits of a member in terms of the tip; `None` if it is to be judged alone.
    async fn joinable(&self, member: &Member, head: &Head, layout: &Layout) -> Option<Moves> {
        let (change, tip) = (&member.change, &head.tip);
        if !is_plain(change, tip) {
            return None;
        }
        let write_id = &member.lineage.write_id;
        match self.committed_before(tip, &change.base, write_id).await {
            Ok(None) => {}
            _ => return None,
        }
        match self.moves(change, tip, layout).await {
            Ok(Rebased::Moves(moves)) => Some(moves),
            _ => None,
        }
    }

    /// Leaves out the members whose new rows have a key that is there already.
    async fn select_by_key(
        &self,
        selection: &mut Selection,
        head: &Head,
        layout: &Layout,
    ) -> Result<()> {
        let (tip, names) = (&head.tip, &head.tip.config.keys);
        let keys = keys::key_schema(&tip.schema, names)?;
        let mut seen: HashSet<u128> = HashSet::new();
        for mut joined in std::mem::take(&mut selection.joined) {
            let made = self.new_keys(&joined.member.change, names, &keys).await;
            let Ok((digests, null)) = made else {
                selection.alone.push(joined.member);
                continue;
            };
            let own: HashSet<u128> = digests.iter().copied().collect();
            if null.is_some() || own.len() < digests.len() || !seen.is_disjoint(&own) {
                selection.alone.push(joined.member);
                continue;
            }
            seen.extend(own);
            joined.keys = digests;
            selection.joined.push(joined);
        }
        // Each round leaves somebody out: with a member its removals go, too.
        loop {
            let mut owners: Vec<usize> = Vec::new();
            let mut new_rows: HashMap<u128, u64> = HashMap::new();
            for (owner, joined) in selection.joined.iter().enumerate() {
                for digest in &joined.keys {
                    let row = u64::try_from(owners.len()).unwrap_or(u64::MAX);
                    new_rows.insert(*digest, row);
                    owners.push(owner);
                }
            }
            let moves = combined(&selection.joined);
            if new_rows.is_empty() {
                return Ok(());
            }
            let found = self.existing_keys(layout, &tip.files, &keys, &new_rows, &moves).await?;
            let owner = |row: &u64| usize::try_from(*row).ok().and_then(|row| owners.get(row));
            let out: HashSet<usize> =
                found.iter().filter_map(|(row, _)| owner(row)).copied().collect();
            if out.is_empty() {
                return Ok(());
            }
            for (number, joined) in std::mem::take(&mut selection.joined).into_iter().enumerate() {
                if out.contains(&number) {
                    selection.alone.push(joined.member);
                } else {
                    selection.joined.push(joined);
                }
            }
        }
    }

    /// Stores rows, puts the snapshot, swings the pointer.
    async fn attempt(
        &self,
        selection: &mut Selection,
        shared: &mut Option<Shared>,
        (head, layout): (&Head, &Layout),
        write_id: &str,
        (deadline, hold): (u64, &Hold),
    ) -> Result<Attempt> {
        self.store_shared(&selection.joined, shared, &head.tip).await?;
        let (rows, owners) = place(&selection.joined, shared.as_ref())?;
        let accepted = Accepted {
            schema: Arc::clone(&head.tip.schema),
            config: head.tip.config.clone(),
            moves: combined(&selection.joined),
            new_lengths_fit: true,
        };
        let mut planned = match self.plan(accepted, &rows, &head.tip, layout).await? {
            Plan::Ready(planned) => planned,
            Plan::RowIdsTaken(file) => {
                match owners.get(file) {
                    // Rewriting is the business of the member alone.
                    Some(Some(owner)) => {
                        selection.alone.push(selection.joined.remove(*owner).member);
                    }
                    _ => *shared = None,
                }
                return Ok(Attempt::Again);
            }
        };
        let lineage = lineage(&selection.joined, write_id, &mut planned);
        let mut prepared = self.prepare(&head.tip, &planned, lineage).await?;
        let first = rows.files.iter().map(|stored| stored.new.written_ns).min();
        prepared.since_ns = prepared.since_ns.min(first.unwrap_or(u64::MAX));
        match self.publish(&prepared, deadline).await? {
            Published::Lost => Ok(Attempt::Again),
            Published::Won(snapshot) => {
                for joined in &selection.joined {
                    self.know_row_ids(&joined.member.change.rows.files);
                }
                let audit = selection.joined.iter().flat_map(|joined| joined.member.audit.clone());
                self.announce(head, &snapshot, audit.collect(), (deadline, hold)).await;
                Ok(Attempt::Done(snapshot))
            }
        }
    }

    /// Puts the rows that are in memory into one file, unless it is there from an attempt before.
    async fn store_shared(
        &self,
        joined: &[Joined],
        shared: &mut Option<Shared>,
        tip: &Arc<Snapshot>,
    ) -> Result<()> {
        let (mut members, mut all): (Vec<String>, Vec<&HeldRows>) = (Vec::new(), Vec::new());
        for joined in joined {
            if let Some(held) = &joined.member.change.rows.held {
                members.push(joined.member.lineage.write_id.clone());
                all.push(held);
            }
        }
        if shared.as_ref().is_some_and(|shared| shared.members == members) {
            return Ok(());
        }
        let files = self.store_held(&all, tip).await?;
        *shared = Some(Shared { members, files, base: Arc::clone(tip) });
        Ok(())
    }
}

/// Whether a change only removes and adds rows, by the rules that all changes share.
fn is_plain(change: &ChangeSet, tip: &Snapshot) -> bool {
    let adds_or_removes = change.edits.iter().any(|edit| edit.remove > 0 || edit.insert > 0);
    let wanted: u64 = change.edits.iter().map(|edit| edit.insert).sum();
    let columns =
        change.rows.held.as_ref().is_none_or(|held| held.schema.fields() == tip.schema.fields());
    adds_or_removes
        && columns
        && wanted == change.rows.rows
        && change.schema.is_none()
        && change.config.is_none()
        && change.on_existing_key == OnExistingKey::Refuse
        && tip.config.on_conflict == OnConflict::Refuse
        && change.base.config == tip.config
        && change.base.schema == tip.schema
}

/// Whether ranges touch none of others.
fn is_apart(ranges: &[Range<u64>], others: &[Range<u64>]) -> bool {
    ranges.iter().all(|range| {
        others.iter().all(|other| range.end <= other.start || other.end <= range.start)
    })
}

/// The edits of all members, their new rows one after the other.
fn combined(joined: &[Joined]) -> Moves {
    let mut moves = Moves::default();
    let mut before = 0_u64;
    for joined in joined {
        moves.deletions.extend(joined.moves.deletions.iter().cloned());
        let inserts = joined.moves.inserts.iter();
        moves
            .inserts
            .extend(inserts.map(|(at, rows)| (*at, before + rows.start..before + rows.end)));
        before += joined.member.change.rows.rows;
    }
    moves
}

/// Which file has which rows, and whose file it is (`None` = the shared one).
fn place(joined: &[Joined], shared: Option<&Shared>) -> Result<(StoredRows, Vec<Option<usize>>)> {
    let (mut rows, mut owners) = (StoredRows::default(), Vec::new());
    let mut common = None;
    if let Some(shared) = shared {
        match &shared.files[..] {
            [] => {}
            [file] => {
                common = Some(rows.add_file(file, &shared.base)?);
                owners.push(None);
            }
            _ => return Err(Error::internal("rows in memory do not fit one data file")),
        }
    }
    let mut first = 0_u64;
    for (owner, joined) in joined.iter().enumerate() {
        let change = &joined.member.change;
        for new in &change.rows.files {
            rows.push_file(new, &change.base)?;
            owners.push(Some(owner));
        }
        if let Some(held) = &change.rows.held {
            let file = common.ok_or_else(|| Error::internal("rows in memory were not stored"))?;
            rows.push_piece(file, first, change.rows.rows, held.text_bytes)?;
            first += change.rows.rows;
        }
    }
    Ok((rows, owners))
}

/// The lineage of all members, each with what it did; also corrects the counts of the plan, which
/// takes a row that one member put where another one removed some for a changed one.
fn lineage(joined: &[Joined], write_id: &str, planned: &mut Planned) -> Lineage {
    let mut all = Counts::default();
    let members = joined
        .iter()
        .map(|joined| {
            let Counts { inserted, updated, deleted } = counts(&joined.moves);
            all.inserted += inserted;
            all.updated += updated;
            all.deleted += deleted;
            Lineage { inserted, updated, deleted, ..joined.member.lineage.clone() }
        })
        .collect();
    planned.counts = all;
    Lineage::of_members(write_id.to_owned(), members)
}

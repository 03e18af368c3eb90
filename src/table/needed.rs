//! What a copy of a table has to hold: everything that a snapshot's history names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::ident::TableId;
use crate::store;
use crate::table::check::contents::Contents;
use crate::table::check::survey::{Life, Survey};
use crate::table::codec;
use crate::table::{Snapshot, Table};

/// Folders of a table whose objects count only if a snapshot names them.
const NAMED_BY_SNAPSHOTS: [&str; 5] = ["snapshots", "data", "tombstone", "layout", "stats"];

/// An object as a listing told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Size in bytes.
    pub bytes: u64,
    /// When it was written, milliseconds since 1970 by the store's clock.
    pub written_ms: i64,
}

/// What a copy of a table has to hold.
#[derive(Debug, Default)]
pub struct Needed {
    /// Objects by path; nothing is known of those that the listing of the folder did not hold.
    pub objects: BTreeMap<String, Option<Listed>>,
    /// Tables under whose names a history began.
    pub origins: BTreeSet<TableId>,
}

impl Table {
    /// Everything that the table needs as it is where `named` is its newest snapshot; without one,
    /// everything that its folder tells. What was committed after `named` is left out, so that
    /// the copies of several tables fit each other as the pointers did.
    ///
    /// # Errors
    /// `Conflict` if `named` was vacuumed meanwhile, `Corrupt` if a snapshot cannot be read; those
    /// of the store.
    pub async fn needed(&self, named: Option<&str>) -> Result<Needed> {
        let survey = self.survey().await?;
        if let Some((path, error)) = survey.broken.first() {
            return Err(Error::corrupt("the table is damaged: see `mountable fsck`")
                .with("table", &self.id)
                .with("object", path)
                .with("found", error));
        }
        self.check_named(&survey, named)?;
        let mut wanted: BTreeSet<String> = survey.stubs.iter().cloned().collect();
        let mut contents = Contents::default();
        let mut needed = Needed::default();
        for life in &survey.lives {
            let chain = self.chain_to(life, named, &mut wanted).await?;
            for (index, path) in chain.iter().enumerate() {
                let snapshot = self.loaded(path, &mut contents, &mut wanted).await?;
                if let Some(merged) = codec::own_text(&snapshot.document, "merged_from") {
                    self.loaded(merged, &mut contents, &mut wanted).await?;
                }
                let before = snapshot.previous.as_deref().filter(|_| index == 0);
                needed.origins.extend(before.and_then(table_of));
            }
        }
        for lost in &survey.lost {
            self.loaded(&lost.path, &mut contents, &mut wanted).await?;
        }
        wanted.extend(self.others(&survey));
        needed.origins.remove(&self.id);
        for path in wanted {
            let listed = listed(&survey, &path);
            needed.objects.insert(path, listed);
        }
        Ok(needed)
    }

    fn check_named(&self, survey: &Survey, named: Option<&str>) -> Result<()> {
        let Some(named) = named else { return Ok(()) };
        let mut lives = survey.lives.iter();
        let known = lives.any(|life| {
            life.steps.iter().chain(&life.tail).chain(&life.merged).any(|path| path == named)
        }) || survey.lost.iter().any(|lost| lost.path == named);
        if known {
            return Ok(());
        }
        let error = if survey.objects.contains_key(named) {
            let what = "the table was vacuumed meanwhile: repeat it";
            Error::new(ErrorKind::Conflict, what)
        } else {
            Error::corrupt("the catalogue names a snapshot that is gone: see `mountable fsck`")
        };
        Err(error.with("table", &self.id).with("snapshot", named))
    }

    /// The snapshots of a life up to `named`, oldest first; its marks up to there are `wanted`.
    async fn chain_to(
        &self,
        life: &Life,
        named: Option<&str>,
        wanted: &mut BTreeSet<String>,
    ) -> Result<Vec<String>> {
        let named = named.unwrap_or_default();
        let at = life.steps.iter().position(|path| path == named);
        let Some(at) = at else {
            wanted.extend(life.marks.iter().cloned());
            let tail = life.tail.iter().position(|path| path == named);
            let tail = life.tail.iter().take(tail.map_or(usize::MAX, |at| at.saturating_add(1)));
            return Ok(life.steps.iter().chain(tail).cloned().collect());
        };
        // Marks stand in the order of the walk: the first one behind `named` begins the rest.
        let mut marks = life.marks.len();
        for path in life.steps.iter().skip(at) {
            let snapshot = self.load(path).await?;
            let next = store::layout::successor(path, snapshot.version.saturating_add(1));
            if let Some(mark) = life.marks.iter().position(|mark| *mark == next) {
                marks = marks.min(mark);
                break;
            }
        }
        wanted.extend(life.marks.iter().take(marks).cloned());
        // Another writer's newer snapshots hang on the end of the trunk.
        let tail =
            if at.saturating_add(1) == life.steps.len() { life.tail.as_slice() } else { &[] };
        let steps = life.steps.iter().take(at.saturating_add(1));
        Ok(steps.chain(tail).cloned().collect())
    }

    async fn loaded(
        &self,
        path: &str,
        contents: &mut Contents,
        wanted: &mut BTreeSet<String>,
    ) -> Result<Arc<Snapshot>> {
        let snapshot = self.load(path).await?;
        wanted.insert(path.to_owned());
        contents.note(&snapshot, wanted);
        Ok(snapshot)
    }

    /// Objects that no snapshot ever names: texts of refused saves and the like.
    fn others(&self, survey: &Survey) -> Vec<String> {
        let folder = store::layout::table_location(&self.id);
        let of_nobody = |path: &&String| {
            let inner = path.strip_prefix(&folder).unwrap_or_default().trim_start_matches('/');
            let top = inner.split('/').next().unwrap_or_default();
            !NAMED_BY_SNAPSHOTS.contains(&top)
        };
        survey.objects.keys().filter(of_nobody).cloned().collect()
    }
}

fn listed(survey: &Survey, path: &str) -> Option<Listed> {
    let stored = survey.objects.get(path)?;
    Some(Listed { bytes: stored.bytes, written_ms: stored.written_ms })
}

/// The table in whose folder an object lies.
fn table_of(path: &str) -> Option<TableId> {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [organization, super_name, "tables", table, ..] => {
            TableId::parse(&format!("{organization}/{super_name}/{table}")).ok()
        }
        [organization, super_name, ".branches", branch, "tables", table, ..] => {
            TableId::parse(&format!("{organization}/{super_name}@{branch}/{table}")).ok()
        }
        _ => None,
    }
}

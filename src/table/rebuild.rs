//! Giving a catalogue that lost a table its pointer back, from the objects alone.
//!
//! What the catalogue names is never replaced by something else: where it names a snapshot, that
//! pointer is only moved forward along its own history. Every step is idempotent, and may run
//! while gateways serve.

use std::sync::Arc;

use crate::catalog::{DocKey, Expected};
use crate::error::{Error, ErrorKind, Result};
use crate::table::Table;
use crate::table::check::survey::{Life, Origin, Survey};
use crate::table::check::{Finding, Severity};
use crate::table::codec;
use crate::table::documents::{DROPPED, parse_leaf};
use crate::table::lifecycle;
use crate::table::settle::Settled;
use crate::table::snapshot::Snapshot;

/// Whether a rebuild writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebuild {
    /// It says what it would do.
    Plan,
    /// It does it.
    Do,
}

/// What a rebuild did, or would do, for a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// The version that the catalogue names now, if it named nothing before.
    pub named: Option<u64>,
    /// The version that the catalogue names now, if it named an older one.
    pub moved: Option<u64>,
    /// Dropped tables that are in the trash again.
    pub trashed: u64,
    /// What is to be said about it.
    pub findings: Vec<Finding>,
}

impl Rebuilt {
    fn say(&mut self, table: &Table, severity: Severity, what: String, cure: &str) {
        self.findings.push(Finding::new(severity, "rebuild", table.id(), what, cure));
    }
}

impl Table {
    /// Makes the catalogue name the table as the objects tell it: its newest snapshot, and its
    /// dropped predecessors in the trash. The SuperTable must be there already.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`; `Corrupt` if the table's snapshots cannot be read.
    pub async fn rebuild(&self, mode: Rebuild) -> Result<Rebuilt> {
        let survey = self.survey().await?;
        let mut rebuilt = Rebuilt::default();
        for (path, error) in &survey.broken {
            let what = format!("object cannot be read: {error}");
            let cure = "restore it from a backup of the storage, then rebuild again";
            let finding = Finding::new(Severity::Error, "rebuild", &self.id, what, cure);
            rebuilt.findings.push(finding.on(path.clone()));
        }
        for life in &survey.lives {
            if self.return_to_trash(life, mode).await? {
                rebuilt.trashed += 1;
            }
        }
        match self.parts.catalog.leaf(&self.id).await? {
            Some(leaf) => {
                let path = parse_leaf(&leaf.raw)?.path;
                self.move_forward(&survey, &path, mode, &mut rebuilt).await?;
            }
            None => self.name_newest(&survey, mode, &mut rebuilt).await?,
        }
        Ok(rebuilt)
    }

    /// Puts a dropped table back into the trash; whether it was missing there.
    async fn return_to_trash(&self, life: &Life, mode: Rebuild) -> Result<bool> {
        let Some(end) = life.end.as_ref().filter(|end| end.content.contains_key(DROPPED)) else {
            return Ok(false);
        };
        let (name, entry) = lifecycle::trash_entry(&self.id, &life.tip, end);
        let key = DocKey::Trash(self.id.super_id(), name);
        if mode == Rebuild::Plan {
            return Ok(self.parts.catalog.doc(&key).await?.is_none());
        }
        self.parts.catalog.put_doc(&key, Expected::Absent, entry).await
    }

    /// The catalogue names a snapshot: only the end of its own history may take its place.
    async fn move_forward(
        &self,
        survey: &Survey,
        named: &str,
        mode: Rebuild,
        rebuilt: &mut Rebuilt,
    ) -> Result<()> {
        let own = self.life_of(survey, named).await?;
        for life in &survey.lives {
            let other = own.is_none_or(|own| !std::ptr::eq(own, life));
            let open = life.end.is_none() && life.origin != Origin::NeverRenamed;
            if other && open && !life.is_untouched() {
                let what = format!(
                    "another history of this name, with {} rows in version {}, is not reachable: \
                     the catalogue names {named}",
                    life.newest.rows(),
                    life.newest.version
                );
                let cure = "rename the table that is there now, then rebuild again";
                rebuilt.say(self, Severity::Error, what, cure);
            }
        }
        let Some(life) = own else {
            let what = format!("the catalogue names {named}, which belongs to no history");
            rebuilt.say(self, Severity::Error, what, "look at it with `mountable fsck`");
            return Ok(());
        };
        let behind = life.end.is_some() || life.tip.path != named && life.newest.path != named;
        if mode == Rebuild::Plan {
            rebuilt.moved = behind.then_some(life.newest.version);
            return Ok(());
        }
        match self.settle().await? {
            Settled::Live(tip) if tip.path != named => rebuilt.moved = Some(tip.version),
            Settled::Live(tip) => self.raise_row_ids(&tip).await?,
            Settled::Absent => {}
        }
        Ok(())
    }

    /// The life that a snapshot belongs to, or that its ancestors do: it may be newer than the
    /// survey, or another writer's that was not merged yet.
    async fn life_of<'a>(&self, survey: &'a Survey, named: &str) -> Result<Option<&'a Life>> {
        let mut path = named.to_owned();
        for _ in 0..self.parts.settings.history_max {
            let holds = |life: &&Life| life.steps.contains(&path) || life.tail.contains(&path);
            if let Some(life) = survey.lives.iter().find(holds) {
                return Ok(Some(life));
            }
            match self.load(&path).await {
                Ok(snapshot) => match &snapshot.previous {
                    Some(previous) => path.clone_from(previous),
                    None => return Ok(None),
                },
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The catalogue names nothing: it shall name what goes on in the storage.
    async fn name_newest(
        &self,
        survey: &Survey,
        mode: Rebuild,
        rebuilt: &mut Rebuilt,
    ) -> Result<()> {
        let Some(life) = survey.current() else { return Ok(()) };
        let untouched = |life: &&Life| life.is_untouched() && life.origin == Origin::Created;
        if survey.lives.len() > 1 && untouched(&life) {
            // A name that was used before: an object without a commit is a creation that was
            // given up as likely as a table that somebody made. An empty table costs nothing.
            let what = "an empty table was made from a first snapshot without commits".to_owned();
            rebuilt.say(self, Severity::Note, what, "drop it if nobody misses it");
        }
        rebuilt.named = Some(life.newest.version);
        if mode == Rebuild::Plan {
            return Ok(());
        }
        let newest = self.with_all_columns(life.newest.clone()).await?;
        let newest = self.with_known_row_ids(newest).await?;
        if !self.appear(&newest, Vec::new(), None).await? {
            // Somebody else was faster; the next run looks at what there is.
            return Err(Error::new(
                ErrorKind::Busy,
                "the table appeared in the catalogue meanwhile",
            )
            .with("table", &self.id));
        }
        // Takes over what other software wrote last, and merges it where it has to.
        if let Settled::Live(tip) = self.settle().await? {
            rebuilt.named = Some(tip.version);
        }
        Ok(())
    }

    /// The snapshot with its highest row id: documents of older releases do not tell it, and a
    /// counter that starts again would give ids that rows have.
    async fn with_known_row_ids(&self, snapshot: Arc<Snapshot>) -> Result<Arc<Snapshot>> {
        if codec::is_ours(&snapshot.document) || snapshot.row_id_high_watermark > 0 {
            return Ok(snapshot);
        }
        let mut highest = 0;
        for file in snapshot.files.iter() {
            let last = self.row_ids(file).await?.highest(file.rows);
            let last = last.and_then(|last| u64::try_from(last).ok());
            highest = highest.max(last.unwrap_or_default());
        }
        let mut known = Snapshot::clone(&snapshot);
        known.row_id_high_watermark = highest;
        Ok(Arc::new(known))
    }
}

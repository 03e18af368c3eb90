//! Checking a table: what storage holds, what the catalogue says, and whether they agree.
//!
//! A check reads only, and may run while gateways serve: the objects are listed first, so nothing
//! that is written meanwhile is taken for a stray, and a pointer that seems to lag is looked at
//! twice.

pub(crate) mod contents;
mod finding;
mod pointer;
mod rows;
pub(crate) mod survey;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use serde::Serialize;

pub use finding::{Finding, Severity};

use crate::clock::now_ms;
use crate::error::{Error, ErrorKind, Result};
use crate::store;
use crate::table::Table;
use crate::table::check::contents::Contents;
use crate::table::check::survey::{Life, Origin, Survey};
use crate::table::codec;
use crate::table::snapshot::Snapshot;

/// An object younger than this may belong to a save that is under way.
const YOUNG_MS: i64 = 24 * 60 * 60 * 1000;
/// Remedy for what storage knows better than the catalogue.
pub(crate) const REBUILD: &str = "run `mountable fsck --rebuild`";
const REPORT: &str = "restore the object from a backup of the storage; rows of other versions are \
                      not affected";

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every snapshot document, the footer of every data file, the rows of the newest snapshot by
    /// their ids.
    Documents,
    /// Also the rows of every snapshot by their ids, and the text of the newest one, rendered.
    Text,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Tables, dropped ones included.
    pub tables: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Data files.
    pub data_files: u64,
    /// Rows of the newest snapshots.
    pub rows: u64,
    /// Objects.
    pub objects: u64,
    /// Bytes of the objects.
    pub bytes: u64,
}

impl Counts {
    /// Adds what another table has.
    pub fn add(&mut self, other: Self) {
        self.tables += other.tables;
        self.snapshots += other.snapshots;
        self.data_files += other.data_files;
        self.rows += other.rows;
        self.objects += other.objects;
        self.bytes += other.bytes;
    }
}

/// What a check of a table found.
#[derive(Debug, Clone, Default)]
pub struct TableReport {
    /// What was looked at.
    pub counts: Counts,
    /// What is to be said about it.
    pub findings: Vec<Finding>,
}

/// A check under way.
pub(crate) struct Check<'a> {
    pub(crate) table: &'a Table,
    pub(crate) survey: &'a Survey,
    pub(crate) depth: Depth,
    pub(crate) report: TableReport,
    /// Objects that something refers to.
    pub(crate) wanted: BTreeSet<String>,
    /// Path of the snapshot that the catalogue names.
    pointed: Option<String>,
}

impl Table {
    /// Checks the table: chain, objects, rows, pointer; reads only.
    ///
    /// # Errors
    /// `Unavailable` or `Denied` if storage or catalogue cannot be read. What is wrong with the
    /// table is in the report.
    pub async fn check(&self, depth: Depth) -> Result<TableReport> {
        let survey = self.survey().await?;
        let mut check = Check {
            table: self,
            survey: &survey,
            depth,
            report: TableReport::default(),
            wanted: BTreeSet::new(),
            pointed: None,
        };
        check.objects();
        check.broken();
        check.wanted.extend(survey.stubs.iter().chain(&survey.gone).cloned());
        check.wanted.extend(self.needed_by_branches().await.unwrap_or_default());
        let mut contents = Contents::default();
        for life in &survey.lives {
            check.chain(life, &mut contents).await?;
        }
        check.files(contents).await?;
        check.pointer().await?;
        check.trash().await?;
        check.strays();
        Ok(check.report)
    }
}

impl Check<'_> {
    pub(crate) fn say(
        &mut self,
        severity: Severity,
        check: &'static str,
        what: String,
        cure: &str,
    ) {
        self.report.findings.push(Finding::new(severity, check, &self.table.id, what, cure));
    }

    pub(crate) fn say_on(
        &mut self,
        path: &str,
        severity: Severity,
        check: &'static str,
        what: String,
        cure: &str,
    ) {
        let finding = Finding::new(severity, check, &self.table.id, what, cure).on(path);
        self.report.findings.push(finding);
    }

    fn objects(&mut self) {
        let counts = &mut self.report.counts;
        counts.tables = 1;
        for stored in self.survey.objects.values() {
            counts.objects += 1;
            counts.bytes += stored.bytes;
        }
    }

    fn broken(&mut self) {
        for (path, error) in &self.survey.broken {
            self.wanted.insert(path.clone());
            self.say_on(path, Severity::Error, "snapshot", error.to_string(), REPORT);
        }
    }

    /// Follows a trunk and its tail.
    async fn chain(&mut self, life: &Life, contents: &mut Contents) -> Result<()> {
        self.wanted.extend(life.marks.iter().cloned());
        for path in &life.merged {
            // What it held stands in the snapshot that merged it; its objects are referred to.
            self.wanted.insert(path.clone());
            if let Some(snapshot) = self.snapshot(path).await? {
                contents.note(&snapshot, &mut self.wanted);
            }
        }
        let mut commits = HashSet::new();
        let mut before: Option<Arc<Snapshot>> = None;
        for path in life.steps.iter().chain(&life.tail) {
            self.wanted.insert(path.clone());
            let Some(snapshot) = self.snapshot(path).await? else { continue };
            self.report.counts.snapshots += 1;
            if let Some(before) = &before {
                self.follows(before, &snapshot);
            }
            let commit = codec::commit_id(&snapshot.document);
            if !commit.is_empty() && !commits.insert(commit.to_owned()) {
                let what = format!("commit {commit} was applied twice");
                self.say_on(path, Severity::Error, "chain", what, "look with `mountable log`");
            }
            contents.note(&snapshot, &mut self.wanted);
            let newest = snapshot.path == life.newest.path;
            if newest || self.depth == Depth::Text {
                self.rows(&snapshot, newest).await?;
            }
            before = Some(snapshot);
        }
        if life.origin == Origin::Cut {
            let what = "older snapshots of this history are gone".to_owned();
            let path = life.steps.first().cloned().unwrap_or_default();
            self.say_on(&path, Severity::Warning, "chain", what, REPORT);
        }
        Ok(())
    }

    /// Reads a snapshot that the survey has seen; what cannot be read is reported.
    async fn snapshot(&mut self, path: &str) -> Result<Option<Arc<Snapshot>>> {
        let loaded = match self.table.load(path).await {
            Ok(snapshot) => self.table.with_all_columns(snapshot).await,
            Err(error) => Err(error),
        };
        match loaded {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(error) if is_outage(&error) => Err(error),
            Err(error) => {
                self.say_on(path, Severity::Error, "snapshot", error.to_string(), REPORT);
                Ok(None)
            }
        }
    }

    fn follows(&mut self, before: &Snapshot, after: &Snapshot) {
        let path = after.path.as_str();
        if after.version <= before.version {
            let what = format!("version {} follows version {}", after.version, before.version);
            self.say_on(path, Severity::Error, "chain", what, REPORT);
        }
        if after.previous.as_deref() != Some(&before.path) {
            let what = format!("names another predecessor than {}", before.path);
            self.say_on(path, Severity::Error, "chain", what, REPORT);
        }
        if after.committed_ms <= before.committed_ms {
            let what = "is not later than its predecessor: a clock went back".to_owned();
            let cure = "set the clocks right; a time may name the wrong version, a number does not";
            self.say_on(path, Severity::Warning, "chain", what, cure);
        }
        let (old, new) = (before.row_id_high_watermark, after.row_id_high_watermark);
        if new < old && new > 0 {
            let what = format!("highest row id went back from {old} to {new}");
            self.say_on(path, Severity::Error, "row-ids", what, REPORT);
        }
    }

    /// Objects that nothing refers to.
    fn strays(&mut self) {
        // What the catalogue names will be merged, with its ancestors.
        let mut pointed = self.pointed.clone();
        let survey = self.survey;
        while let Some(lost) = survey.lost.iter().find(|lost| Some(&lost.path) == pointed.as_ref())
        {
            if !self.wanted.insert(lost.path.clone()) {
                break;
            }
            pointed.clone_from(&lost.previous);
        }
        for lost in &survey.lost {
            if self.wanted.insert(lost.path.clone()) {
                let what =
                    format!("another writer's snapshot that nothing leads to: {}", lost.about);
                let cure = "its writer was overtaken by another one; write its rows again";
                self.say_on(&lost.path, Severity::Warning, "lost-snapshot", what, cure);
            }
        }
        let now = now_ms(self.table.parts.clock.as_ref());
        let kept = format!("{}/rejected/", store::layout::table_location(&self.table.id));
        for (path, stored) in &survey.objects {
            let age_ms = now.saturating_sub(stored.written_ms);
            if self.wanted.contains(path) || path.starts_with(&kept) {
                continue;
            }
            let age = age_text(age_ms);
            let (what, cure) = if age_ms < YOUNG_MS {
                ("nothing refers to it yet", "none: it may belong to a save that is under way")
            } else {
                ("nothing refers to it", "none is needed; it only takes space")
            };
            let what = format!("{what}: {} bytes, {age} old", stored.bytes);
            self.say_on(path, Severity::Note, "orphan", what, cure);
        }
    }
}

fn is_outage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Denied | ErrorKind::Busy)
}

/// A span of time for people.
pub(crate) fn age_text(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..=119 => format!("{seconds} seconds"),
        120..=7_199 => format!("{} minutes", seconds / 60),
        7_200..=172_799 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

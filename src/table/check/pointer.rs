//! The catalogue against the storage: pointer, documents beside it, trash.

use std::time::Duration;

use serde_json::Value;

use crate::catalog::{DocKey, Leaf, lenient_json};
use crate::clock::now_ms;
use crate::error::Result;
use crate::store;
use crate::table::check::survey::{Life, Origin};
use crate::table::check::{Check, Finding, REBUILD, REPORT, Severity, YOUNG_MS, is_outage};
use crate::table::codec;
use crate::table::documents::{DROPPED, parse_leaf};
use crate::table::lifecycle;
use crate::table::schema;

/// Looks at a pointer that seems to lag, and the pause between them.
const LOOKS: usize = 4;
const PAUSE: Duration = Duration::from_millis(250);

impl Check<'_> {
    /// Compares the catalogue's pointer with the newest snapshot.
    pub(super) async fn pointer(&mut self) -> Result<()> {
        let id = self.table.id.clone();
        for look in 1..=LOOKS {
            let leaf = self.table.parts.catalog.leaf(&id).await?;
            let finding = match &leaf {
                None => self.no_pointer(),
                Some(leaf) => self.judge(leaf).await?,
            };
            let Some(finding) = finding else {
                if let Some(leaf) = leaf {
                    self.pointed = parse_leaf(&leaf.raw).ok().map(|parts| parts.path);
                    self.catalogue_documents(&leaf).await?;
                }
                return Ok(());
            };
            if look == LOOKS || finding.severity == Severity::Note {
                self.report.findings.push(finding);
                let parts = leaf.and_then(|leaf| parse_leaf(&leaf.raw).ok());
                self.pointed = parts.map(|parts| parts.path);
                return Ok(());
            }
            // A commit may be between its put and the swing of the pointer.
            self.table.parts.clock.sleep(PAUSE).await;
        }
        Ok(())
    }

    fn no_pointer(&self) -> Option<Finding> {
        let life = self.survey.current()?;
        let new = |severity, what: &str, cure: &str| {
            let path = life.newest.path.clone();
            Some(Finding::new(severity, "pointer", &self.table.id, what, cure).on(path))
        };
        let young = now_ms(self.table.parts.clock.as_ref()) - life.newest.committed_ms < YOUNG_MS;
        if life.is_untouched() && life.origin == Origin::Created {
            let (cure, what) = ("none is needed", "a creation that was given up left an object");
            return if young { None } else { new(Severity::Note, what, cure) };
        }
        new(Severity::Error, "the table is in the storage and not in the catalogue", REBUILD)
    }

    /// What is wrong with a pointer; nothing if it names the newest snapshot.
    async fn judge(&self, leaf: &Leaf) -> Result<Option<Finding>> {
        let say = |severity, what: String, cure: &str| {
            Ok(Some(Finding::new(severity, "pointer", &self.table.id, what, cure)))
        };
        let parts = match parse_leaf(&leaf.raw) {
            Ok(parts) => parts,
            Err(error) => return say(Severity::Error, error.to_string(), REBUILD),
        };
        let bytes = store::get(&self.table.parts.objects, &parts.path).await?;
        let Some(bytes) = bytes else {
            let what = format!("the catalogue names a snapshot that is gone: {}", parts.path);
            return say(Severity::Error, what, REPORT);
        };
        if let Some(payload) = parts.payload.filter(codec::is_ours)
            && lenient_json(&bytes).ok() != Some(Value::Object(payload))
        {
            let what = "the copy in the catalogue differs from the snapshot".to_owned();
            return say(Severity::Error, what, REBUILD);
        }
        let holds =
            |life: &&Life| life.steps.contains(&parts.path) || life.tail.contains(&parts.path);
        let named = self.table.load(&parts.path).await;
        let newer = match (self.survey.lives.iter().find(holds), named) {
            (_, Err(error)) if is_outage(&error) => return Err(error),
            (_, Err(error)) => return say(Severity::Error, error.to_string(), REPORT),
            (Some(life), _) if life.end.is_some() => {
                let what = "the catalogue names a table that was dropped or renamed".to_owned();
                return say(Severity::Warning, what, "the next save or `fsck --rebuild` ends it");
            }
            (Some(life), _) if !life.tail.is_empty() && parts.path == life.newest.path => {
                let what = format!(
                    "{} snapshots of other software were not taken over yet",
                    life.tail.len()
                );
                return say(Severity::Note, what, "the next save does it");
            }
            (None, Ok(named)) if !self.table.on_trunk(&named).await? => {
                let what =
                    "a snapshot of other software, made on an older version, was not merged \
                            yet"
                    .to_owned();
                return say(Severity::Note, what, "the next save does it");
            }
            // Perhaps committed after the survey.
            (_, Ok(named)) => self.table.walk(named).await?.tip,
        };
        if newer.path == parts.path {
            return Ok(None);
        }
        let what = format!("the catalogue names an older version than {}", newer.version);
        say(Severity::Warning, what, "the next save or `fsck --rebuild` moves it")
    }

    /// Documents that the catalogue keeps beside the pointer.
    async fn catalogue_documents(&mut self, leaf: &Leaf) -> Result<()> {
        let tip = self.table.snapshot_of(leaf).await?;
        self.report.counts.rows = tip.rows();
        let (catalog, id) = (&self.table.parts.catalog, self.table.id.clone());
        if catalog.root(&id.super_id()).await?.is_none() {
            let what = "the catalogue has the table and not its SuperTable".to_owned();
            self.say(Severity::Error, "catalogue", what, REBUILD);
        }
        let stored = catalog.doc(&DocKey::SchemaDocument(id.clone())).await?;
        let stored = stored.and_then(|raw| lenient_json(&raw).ok());
        let expected = Value::Object(schema::to_document(&tip.schema, tip.system_columns())?);
        if codec::is_ours(&tip.document) && stored != Some(expected) {
            let what = "the schema document is not that of the newest version".to_owned();
            self.say(Severity::Warning, "schema", what, "the next save writes it");
        }
        let counter = catalog.doc(&DocKey::RowIdCounter(id)).await?;
        let counter = counter.and_then(|raw| std::str::from_utf8(&raw).ok()?.parse::<u64>().ok());
        if counter.unwrap_or_default() < tip.row_id_high_watermark {
            let what = "the counter of row ids is behind the rows".to_owned();
            self.say(Severity::Warning, "row-ids", what, REBUILD);
        }
        Ok(())
    }

    /// Dropped tables are listed in the trash.
    pub(super) async fn trash(&mut self) -> Result<()> {
        for life in &self.survey.lives {
            let Some(end) = life.end.as_ref().filter(|end| end.content.contains_key(DROPPED))
            else {
                continue;
            };
            let (name, _) = lifecycle::trash_entry(&self.table.id, &life.tip, end);
            let key = DocKey::Trash(self.table.id.super_id(), name.clone());
            if self.table.parts.catalog.doc(&key).await?.is_none() {
                let what = format!("dropped table {name} is not in the trash");
                self.say_on(&end.path, Severity::Warning, "trash", what, REBUILD);
            }
        }
        Ok(())
    }
}

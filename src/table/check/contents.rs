//! The objects that snapshots name: there, of the right size, readable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;

use crate::error::{Error, Result};
use crate::store;
use crate::table::check::{Check, REPORT, Severity, is_outage};
use crate::table::codec;
use crate::table::deletes;
use crate::table::layout;
use crate::table::snapshot::{DataFile, Deletes, LayoutRef, Snapshot};
use crate::table::stored;

/// Objects read at the same time.
const READS_AT_ONCE: usize = 16;

/// Objects of a table, each once, with the first version that names it.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    files: BTreeMap<Arc<str>, (DataFile, u64)>,
    parts: BTreeMap<String, u64>,
    layouts: BTreeMap<String, u64>,
    /// Files that two snapshots describe differently.
    contradictions: Vec<(Arc<str>, u64, u64)>,
}

impl Contents {
    /// Takes note of what a snapshot names.
    pub(crate) fn note(&mut self, snapshot: &Snapshot, wanted: &mut BTreeSet<String>) {
        let version = snapshot.version;
        for file in snapshot.files.iter() {
            wanted.insert(file.path.to_string());
            let (known, first) =
                self.files.entry(Arc::clone(&file.path)).or_insert_with(|| (file.clone(), version));
            if (known.bytes, known.rows) != (file.bytes, file.rows) {
                self.contradictions.push((Arc::clone(&file.path), *first, version));
            }
        }
        if let Deletes::Rows { parts, .. } = &snapshot.deletes {
            for part in parts {
                wanted.insert(part.clone());
                self.parts.entry(part.clone()).or_insert(version);
            }
        }
        if let LayoutRef::Object(path) = codec::carried_layout(&snapshot.document) {
            wanted.insert(path.clone());
            self.layouts.entry(path).or_insert(version);
        }
        let stats = snapshot.document.get("stats_file").and_then(serde_json::Value::as_str);
        wanted.extend(stats.map(str::to_owned));
    }
}

impl Check<'_> {
    /// Looks at every object that a snapshot names.
    pub(crate) async fn files(&mut self, contents: Contents) -> Result<()> {
        self.report.counts.data_files = u64::try_from(contents.files.len()).unwrap_or(u64::MAX);
        for (path, first, second) in contents.contradictions {
            let what = format!("versions {first} and {second} tell different sizes of it");
            self.say_on(&path, Severity::Error, "data-file", what, REPORT);
        }
        let this = &*self;
        let requests: Vec<_> = contents
            .files
            .into_values()
            .map(|(file, version)| async move {
                let checked = this.file(&file).await;
                (file.path.to_string(), version, checked)
            })
            .collect();
        let files: Vec<_> = futures::stream::iter(requests).buffered(READS_AT_ONCE).collect().await;
        self.tell("data-file", Severity::Error, files)?;
        let mut parts = Vec::new();
        for (path, version) in contents.parts {
            let read = deletes::read_part(&self.table.parts.objects, &path).await;
            parts.push((path, version, read.map(|_| ())));
        }
        self.tell("deletion-vector", Severity::Error, parts)?;
        let mut layouts = Vec::new();
        for (path, version) in contents.layouts {
            let read = self.layout_object(&path).await;
            layouts.push((path, version, read));
        }
        self.tell("layout", Severity::Warning, layouts)
    }

    fn tell(
        &mut self,
        check: &'static str,
        severity: Severity,
        checked: Vec<(String, u64, Result<()>)>,
    ) -> Result<()> {
        let cure = if severity == Severity::Error { REPORT } else { "the rows are re-ordered" };
        for (path, version, outcome) in checked {
            match outcome {
                Ok(()) => {}
                Err(error) if is_outage(&error) => return Err(error),
                Err(error) => {
                    let what = format!("{error}; first named by version {version}");
                    self.say_on(&path, severity, check, what, cure);
                }
            }
        }
        Ok(())
    }

    async fn file(&self, file: &DataFile) -> Result<()> {
        let size = match self.survey.objects.get(file.path.as_ref()) {
            Some(stored) => Some(stored.bytes),
            // Files of a renamed table lie under its old name.
            None => store::size(&self.table.parts.objects, &file.path).await?,
        };
        match size {
            None => Err(Error::corrupt("data file is missing")),
            Some(size) if size != file.bytes => {
                Err(Error::corrupt("data file has another size than its snapshot says")
                    .with("expected", file.bytes)
                    .with("found", size))
            }
            Some(_) => stored::read_schema(&self.table.parts.objects, file).await.map(|_| ()),
        }
    }

    async fn layout_object(&self, path: &str) -> Result<()> {
        let bytes = store::get(&self.table.parts.objects, path).await?;
        let bytes = bytes.ok_or_else(|| Error::corrupt("layout object is missing"))?;
        let read = layout::unpack(&bytes).map(|_| ());
        read.ok_or_else(|| Error::corrupt("layout object cannot be read"))
    }
}

//! Columns and configuration of a merged table.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};

use super::MergeConflict;
use crate::lake::{Snapshot, TableConfig};
use crate::table::schema;

/// The three versions of a table that meet; without a base, both sides made it.
#[derive(Debug, Clone)]
pub(super) struct Versions {
    /// What both sides began with.
    pub(super) base: Option<Arc<Snapshot>>,
    /// The version that takes the changes.
    pub(super) ours: Arc<Snapshot>,
    /// The version with the changes.
    pub(super) theirs: Arc<Snapshot>,
}

impl Versions {
    /// The columns after the merge.
    pub(super) fn columns(&self) -> Result<SchemaRef, Vec<MergeConflict>> {
        let (ours, theirs) = (&self.ours.schema, &self.theirs.schema);
        let base = self.base.as_ref().map(|base| &base.schema);
        let conflicts: Vec<MergeConflict> = ours
            .fields()
            .iter()
            .filter_map(|our| {
                let (_, their) = theirs.fields().find(our.name())?;
                (our.data_type() != their.data_type()).then(|| self.types_differ(our, their))
            })
            .collect();
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        if Some(theirs) == base || ours == theirs {
            return Ok(Arc::clone(ours));
        }
        if Some(ours) == base {
            return Ok(Arc::clone(theirs));
        }
        let in_base = |name: &str| base.is_some_and(|base| base.fields().find(name).is_some());
        let kept = ours
            .fields()
            .iter()
            .filter(|field| theirs.fields().find(field.name()).is_some() || !in_base(field.name()));
        let added = theirs
            .fields()
            .iter()
            .filter(|field| ours.fields().find(field.name()).is_none() && !in_base(field.name()));
        Ok(Arc::new(Schema::new(kept.chain(added).cloned().collect::<Vec<FieldRef>>())))
    }

    fn types_differ(&self, our: &FieldRef, their: &FieldRef) -> MergeConflict {
        let text = |field: &FieldRef| schema::to_text(field.data_type()).ok();
        let base = self.base.as_ref();
        let was = base.and_then(|base| base.schema.fields().find(our.name()));
        MergeConflict {
            key: String::new(),
            column: our.name().clone(),
            base: was.and_then(|(_, field)| text(field)),
            ours: text(our),
            theirs: text(their),
        }
    }

    /// The configuration after the merge.
    pub(super) fn config(&self) -> Result<TableConfig, Vec<MergeConflict>> {
        let (ours, theirs) = (&self.ours.config, &self.theirs.config);
        let base = self.base.as_ref().map(|base| &base.config);
        if ours == theirs || Some(theirs) == base {
            return Ok(ours.clone());
        }
        if Some(ours) == base {
            return Ok(theirs.clone());
        }
        let text = |config: &TableConfig| serde_json::to_string(config).ok();
        Err(vec![MergeConflict {
            key: String::new(),
            column: "config.toml".to_owned(),
            base: base.and_then(text),
            ours: text(ours),
            theirs: text(theirs),
        }])
    }

    /// The columns by which all three know a row; none = rows are known by all that they hold.
    pub(super) fn keys(&self, columns: &Schema) -> Vec<String> {
        let keys = &self.ours.config.keys;
        let mut sides = self.base.iter().chain([&self.theirs]);
        let same = sides.all(|side| side.config.keys == *keys);
        let there = keys.iter().all(|key| columns.fields().find(key).is_some());
        if same && there { keys.clone() } else { Vec::new() }
    }
}

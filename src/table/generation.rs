//! The generations of the stored format, and what sets them apart (format spec sections 0 and 6.4).
//!
//! Everything that differs hangs on the few questions that [`Generation`] answers: how a document
//! is spelled, whether deleted rows are named by their ids or leave with their file, and which
//! columns of ours a data file has.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::Value;

use crate::catalog::KeyLayout;
use crate::error::{Error, Result};
use crate::table::json;
use crate::table::schema::{ROW_ID, TIMESTAMP};
use crate::table::snapshot::JsonMap;

/// A generation of the stored format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Generation {
    /// SuperTable 2.0.2 to 2.0.5: data files without row ids, rows deleted by rewriting their file
    /// or by naming their keys; key layout v1.
    G1,
    /// SuperTable 2.0.8 to 2.2: as G1, in key layout v2.
    G2,
    /// SuperTable 2.3 to 2.6: rows have ids, one deletion vector.
    G3,
    /// SuperTable 3.4: a deletion vector in parts.
    #[default]
    G4,
}

/// Columns of a data file that are not the user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemColumns {
    /// None; row ids are in the footer.
    None,
    /// The time of the write; row ids are in the footer.
    Time,
    /// Row id and time of the write.
    RowIdAndTime,
}

impl Generation {
    /// The generation of a document (format spec section 6.4). `own` is what a document of ours
    /// says.
    pub(crate) fn of(layout: KeyLayout, own: Option<&str>, document: &JsonMap) -> Self {
        if layout == KeyLayout::V1 {
            return Self::G1;
        }
        let has = |name: &str| document.contains_key(name);
        let listed = document.get("tombstone").is_some_and(Value::is_array);
        if has("rowid_high_watermark") || listed {
            return Self::G4;
        }
        if own == Some("G3") {
            return Self::G3;
        }
        let version = document.get("snapshot_version").and_then(json::as_count);
        let by_key = document.get("tombstones").is_some_and(|old| !old.is_null());
        match (version, has("tombstone") || has("stats_file")) {
            // Nothing in an empty table tells one from the other.
            (Some(0), _) if !by_key => Self::G4,
            (_, true) => Self::G3,
            (_, false) => Self::G2,
        }
    }

    /// What a document of ours says.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::G1 => "G1",
            Self::G2 => "G2",
            Self::G3 => "G3",
            Self::G4 => "G4",
        }
    }

    /// Whether rows are deleted by their keys or by rewriting files, because they have no ids.
    pub(crate) fn is_without_row_ids(self) -> bool {
        matches!(self, Self::G1 | Self::G2)
    }

    /// Parts of a deletion vector at most.
    pub(crate) fn parts_max(self) -> usize {
        match self {
            Self::G4 => crate::table::deletes::PARTS_MAX,
            _ => 1,
        }
    }

    /// Refuses writes to what cannot be written.
    ///
    /// # Errors
    /// `Unsupported` for G2.
    pub(crate) fn check_writable(self) -> Result<()> {
        if self == Self::G2 {
            return Err(Error::unsupported(
                "table of format generation G2 (SuperTable 2.0.8 to 2.2) can only be read: \
                 rewrite it with SuperTable 3.4",
            ));
        }
        Ok(())
    }

    /// Refuses columns that the library of this generation could not read or write any more.
    ///
    /// # Errors
    /// `Unsupported` with the column.
    pub(crate) fn check_columns(self, before: &Schema, after: &Schema) -> Result<()> {
        if !self.is_without_row_ids() {
            return Ok(());
        }
        let names = |schema: &Schema| -> Vec<String> {
            schema.fields().iter().map(|field| field.name().clone()).collect()
        };
        if !names(after).starts_with(&names(before)) {
            return Err(Error::unsupported(
                "SuperTable 2.0 matches columns by their place: columns can only be added, behind \
                 the others",
            ));
        }
        for field in after.fields() {
            if before.field_with_name(field.name()).is_ok_and(|old| old == field.as_ref()) {
                continue;
            }
            if !is_storable(field.data_type()) {
                return Err(Error::unsupported("SuperTable 2.0 cannot store columns of this type")
                    .with("column", field.name())
                    .with("type", field.data_type()));
            }
        }
        Ok(())
    }
}

/// Whether SuperTable 2.0.2 takes columns of this type (format spec section 3.7).
fn is_storable(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Float32
                | DataType::Float64
                | DataType::Boolean
                | DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
                | DataType::Date32
                | DataType::Timestamp(_, _)
                | DataType::Null
        )
}

impl SystemColumns {
    /// The user's columns with these behind them.
    pub(crate) fn behind(self, shown: &SchemaRef) -> SchemaRef {
        let mut fields: Vec<Arc<Field>> = shown.fields().iter().cloned().collect();
        if self == Self::RowIdAndTime {
            fields.push(Arc::new(Field::new(ROW_ID, DataType::Int64, true)));
        }
        if self != Self::None {
            let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            fields.push(Arc::new(Field::new(TIMESTAMP, time, true)));
        }
        Arc::new(Schema::new_with_metadata(fields, shown.metadata().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(layout: KeyLayout, own: Option<&str>, text: &str) -> Generation {
        let document = json::parse_object(text.as_bytes()).expect("an object");
        Generation::of(layout, own, &document)
    }

    #[test]
    fn generations_are_told_apart() {
        use KeyLayout::{V1, V2};
        let g3 = r#"{"snapshot_version":2,"tombstone":"t","stats_file":null}"#;
        for (layout, own, text, expected) in [
            (V1, None, r#"{"snapshot_version":3}"#, Generation::G1),
            (V1, None, r#"{"snapshot_version":0}"#, Generation::G1),
            (V2, None, r#"{"snapshot_version":3}"#, Generation::G2),
            (V2, None, r#"{"snapshot_version":3,"tombstones":{}}"#, Generation::G2),
            (V2, None, g3, Generation::G3),
            (V2, None, r#"{"snapshot_version":2,"tombstone":null}"#, Generation::G3),
            (V2, None, r#"{"snapshot_version":2,"tombstone":["t"]}"#, Generation::G4),
            (V2, None, r#"{"snapshot_version":2,"rowid_high_watermark":1}"#, Generation::G4),
            (V2, None, r#"{"snapshot_version":0}"#, Generation::G4),
            (V2, Some("G3"), r#"{"snapshot_version":0}"#, Generation::G3),
            // SuperTable 3.4 on top of a document of ours that says G3.
            (V2, Some("G3"), r#"{"snapshot_version":2,"tombstone":["t"]}"#, Generation::G4),
        ] {
            assert_eq!(of(layout, own, text), expected, "{layout} {own:?} {text}");
        }
    }

    #[test]
    fn columns_keep_their_places_and_types_that_the_library_knows() {
        let schema = |fields: &[(&str, DataType)]| {
            let fields = fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true));
            Schema::new(fields.collect::<Vec<_>>())
        };
        let (a, b) = (("a", DataType::Int64), ("b", DataType::Utf8));
        let before = schema(&[a.clone(), b.clone()]);
        let check = |after: &Schema| Generation::G1.check_columns(&before, after);
        assert!(check(&schema(&[a.clone(), b.clone(), ("c", DataType::Date32)])).is_ok());
        assert!(check(&schema(&[("a", DataType::Float64), b.clone()])).is_ok(), "wider");
        assert!(check(&schema(&[b.clone(), a.clone()])).is_err(), "another order");
        assert!(check(&schema(&[a.clone()])).is_err(), "a column less");
        let binary = ("c", DataType::Binary);
        assert!(check(&schema(&[a.clone(), b.clone(), binary.clone()])).is_err(), "no such type");
        let decimal = schema(&[("d", DataType::Decimal128(4, 1))]);
        assert!(Generation::G1.check_columns(&Schema::empty(), &decimal).is_err());
        assert!(Generation::G4.check_columns(&before, &schema(&[b, binary])).is_ok());
    }
}

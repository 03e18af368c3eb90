//! What the footer of a data file tells about the values of a column.

use arrow::array::{Array, ArrayRef, UInt64Array, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::errors::ParquetError;

use super::footer::Footer;
use crate::error::{Error, Result};

/// Least and greatest values of the row groups of a file, and how many values are NULL.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// One for each row group; `None` if one of them has none.
    pub min: Option<ArrayRef>,
    /// The same for the greatest.
    pub max: Option<ArrayRef>,
    /// NULLs in all row groups; `None` if one of them does not tell.
    pub nulls: Option<u64>,
}

impl Footer {
    /// Bounds of a column, in its own type. A file without the column holds only NULLs.
    ///
    /// # Errors
    /// `Corrupt` if the statistics cannot be read.
    pub fn bounds(&self, field: &FieldRef) -> Result<Bounds> {
        let none = Bounds { min: None, max: None, nulls: None };
        let rows = u64::from(self.rows());
        let damaged = |error: ParquetError| Error::corrupt("read statistics").caused_by(error);
        if self.schema().field_with_name(field.name()).is_err() {
            let empty = arrow::array::new_null_array(field.data_type(), 1);
            return Ok(Bounds { min: Some(empty.clone()), max: Some(empty), nulls: Some(rows) });
        }
        if field.data_type().is_nested() {
            return Ok(none);
        }
        let metadata = self.arrow().metadata();
        let schema = self.arrow().parquet_schema();
        let converter = StatisticsConverter::try_new(field.name(), self.schema(), schema);
        let converter = converter.map_err(damaged)?.with_missing_null_counts_as_zero(false);
        let groups = metadata.row_groups();
        let counts = converter.row_group_null_counts(groups.iter()).map_err(damaged)?;
        let nulls = (counts.null_count() == 0).then(|| counts.values().iter().sum::<u64>());
        // A row group of NULLs has no bounds and needs none.
        let needed: Vec<bool> = groups
            .iter()
            .enumerate()
            .map(|(group, metadata)| {
                let rows = u64::try_from(metadata.num_rows()).unwrap_or_default();
                counts.is_null(group) || counts.value(group) < rows
            })
            .collect();
        let told = |array: ArrayRef| -> Option<ArrayRef> {
            let all = needed.iter().enumerate().all(|(group, need)| !need || array.is_valid(group));
            cast(&array, field.data_type()).ok().filter(|_| all)
        };
        Ok(Bounds {
            min: told(converter.row_group_mins(groups.iter()).map_err(damaged)?),
            max: told(converter.row_group_maxes(groups.iter()).map_err(damaged)?),
            nulls,
        })
    }
}

/// Bounds of the values of each row group of a file; a group that has none is NULL.
#[derive(Debug, Clone)]
pub struct GroupBounds {
    /// Nothing in the group is less; `None` if nothing can be told of any.
    pub min: Option<ArrayRef>,
    /// Nothing in the group is greater.
    pub max: Option<ArrayRef>,
    /// NULLs in the group.
    pub nulls: UInt64Array,
}

impl GroupBounds {
    /// Those of a column that the file does not have: all values are NULL.
    pub fn absent(footer: &Footer, field: &FieldRef) -> Self {
        let groups = footer.row_groups().count();
        let none = new_null_array(field.data_type(), groups);
        let nulls = footer.row_groups().map(|rows| u64::from(rows.end - rows.start)).collect();
        Self { min: Some(ArrayRef::clone(&none)), max: Some(none), nulls }
    }
}

impl Footer {
    /// Bounds of a column in each row group, in the type of `field`, if its values are in the same
    /// order as the stored ones.
    ///
    /// # Errors
    /// `Corrupt` if the statistics cannot be read.
    pub fn group_bounds(&self, field: &FieldRef) -> Result<GroupBounds> {
        let Ok(stored) = self.schema().field_with_name(field.name()) else {
            return Ok(GroupBounds::absent(self, field));
        };
        let groups = self.arrow().metadata().row_groups();
        let unknown = UInt64Array::new_null(groups.len());
        let mut bounds = GroupBounds { min: None, max: None, nulls: unknown };
        if field.data_type().is_nested() || stored.data_type().is_nested() {
            return Ok(bounds);
        }
        let damaged = |error: ParquetError| Error::corrupt("read statistics").caused_by(error);
        let schema = self.arrow().parquet_schema();
        let converter = StatisticsConverter::try_new(field.name(), self.schema(), schema);
        let converter = converter.map_err(damaged)?.with_missing_null_counts_as_zero(false);
        bounds.nulls = converter.row_group_null_counts(groups.iter()).map_err(damaged)?;
        let column = converter.parquet_column_index();
        // Old writers ordered text by signed bytes.
        let trusted = groups.iter().all(|group| {
            let chunk = column.and_then(|column| group.columns().get(column));
            let statistics = chunk.and_then(|chunk| chunk.statistics());
            // Where there are no bounds, they are told to be old.
            statistics.is_none_or(|statistics| {
                let bounded = statistics.min_bytes_opt().is_some();
                !(bounded && statistics.is_min_max_deprecated())
            })
        });
        if trusted && is_ordered_alike(stored.data_type(), field.data_type()) {
            let min = converter.row_group_mins(groups.iter()).map_err(damaged)?;
            let max = converter.row_group_maxes(groups.iter()).map_err(damaged)?;
            bounds.min = cast(&min, field.data_type()).ok();
            bounds.max = cast(&max, field.data_type()).ok();
        }
        Ok(bounds)
    }

    /// Bytes of each row group as stored.
    pub fn row_group_bytes(&self) -> impl Iterator<Item = u64> {
        let groups = self.arrow().metadata().row_groups().iter();
        groups.map(|group| u64::try_from(group.compressed_size()).unwrap_or_default())
    }
}

/// Whether values that are converted from one type to the other keep their order. Bounds of
/// floats leave NaN out, which is greater or less than all of them.
fn is_ordered_alike(stored: &DataType, shown: &DataType) -> bool {
    use DataType::{Decimal128, Timestamp};
    if shown.is_floating() || stored.is_floating() {
        return false;
    }
    let stored = crate::table::schema::shown(stored);
    match (stored, shown) {
        (Ok(stored), shown) if stored == *shown => true,
        (Ok(stored), shown) if stored.is_integer() => {
            shown.is_integer() || matches!(shown, Decimal128(_, _))
        }
        (Ok(Decimal128(_, _)), Decimal128(_, _)) => true,
        (Ok(Timestamp(_, one)), Timestamp(_, other)) => one.is_some() == other.is_some(),
        _ => false,
    }
}

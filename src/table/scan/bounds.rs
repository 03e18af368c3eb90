//! What the footer of a data file tells about the values of a column.

use arrow::array::{Array, ArrayRef};
use arrow::compute::cast;
use arrow::datatypes::FieldRef;
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

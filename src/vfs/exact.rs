//! Whether values come through a change of their columns' types: what the new column shows must
//! read back as the old value.

use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::plan::rejection;
use crate::csv::{self, Parser, Records, Rejection};
use crate::error::{Error, Result};

/// The columns as they were.
pub(super) struct Exact {
    parser: Parser,
}

impl Exact {
    /// Of a text with these column names, which had the columns of `schema`.
    ///
    /// # Errors
    /// As [`Parser::new`].
    pub(super) fn new(names: &[String], schema: &SchemaRef) -> Result<Self, Rejection> {
        Ok(Self { parser: Parser::new(names, schema)? })
    }

    /// The first value of `raw` that is another one in `new`, which was made from it; its line is
    /// counted from 1 within `raw`.
    ///
    /// # Errors
    /// `Internal` if a value cannot be shown.
    pub(super) fn check(&mut self, raw: &[u8], new: &RecordBatch) -> Result<Option<Rejection>> {
        let (mut text, mut ends) = (Vec::new(), Vec::new());
        csv::render(new, &mut text, &mut ends)?;
        let old = match self.parser.parse(raw, 1) {
            Ok(old) => old,
            Err(found) => return Ok(found.into_iter().next()),
        };
        let back = match self.parser.parse(&text, 1) {
            Ok(back) => back,
            Err(found) => return Ok(found.into_iter().next()),
        };
        for (index, (was, is)) in old.columns().iter().zip(back.columns()).enumerate() {
            // Texts are what they mean: `1.50` becomes a number.
            if *was.data_type() == DataType::Utf8 || was == is {
                continue;
            }
            let differs = |row: &usize| was.slice(*row, 1) != is.slice(*row, 1);
            if let Some(row) = (0..old.num_rows()).find(differs) {
                return Ok(Some(lost(raw, &old, row, index)?));
            }
        }
        Ok(None)
    }
}

fn lost(raw: &[u8], old: &RecordBatch, row: usize, index: usize) -> Result<Rejection> {
    let cell = old
        .project(&[index])
        .map_err(|error| Error::internal("take a column").caused_by(error))?
        .slice(row, 1);
    let (mut value, mut ends) = (Vec::new(), Vec::new());
    csv::render(&cell, &mut value, &mut ends)?;
    let record = Records::new(raw).nth(row).unwrap_or(0..0);
    let code = csv::explain("MNT-1211");
    let (id, remedy) = code.map_or(("MNT-1211", ""), |code| (code.id, code.remedy));
    Ok(Rejection {
        line: 1 + super::chunks::count_lines(raw.get(..record.start).unwrap_or_default()),
        column: u32::try_from(index + 1).ok(),
        column_name: old.schema_ref().fields().get(index).map(|field| field.name().clone()),
        value: String::from_utf8_lossy(value.trim_ascii_end()).into_owned(),
        row: raw.get(record).unwrap_or_default().to_vec(),
        ..rejection(id, "the value would be another one in a column of this type", remedy)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn check(from: DataType, to: DataType, text: &str) -> Option<(u64, String)> {
        let schema = |kind: DataType| -> SchemaRef {
            Arc::new(Schema::new(vec![Field::new("v", kind, true)]))
        };
        let names = ["v".to_owned()];
        let new = Parser::new(&names, &schema(to)).unwrap().parse(text.as_bytes(), 1).unwrap();
        let mut exact = Exact::new(&names, &schema(from)).unwrap();
        let lost = exact.check(text.as_bytes(), &new).unwrap();
        lost.map(|rejection| (rejection.line, rejection.value))
    }

    #[test]
    fn integers_that_a_float_would_round_are_found() {
        assert_eq!(check(DataType::Int64, DataType::Float64, "1\n\n9007199254740992\n"), None);
        assert_eq!(
            check(DataType::Int64, DataType::Float64, "1\n\n9007199254740993\n"),
            Some((3, "9007199254740993".to_owned()))
        );
        assert_eq!(check(DataType::Int64, DataType::Float32, "16777217\n").unwrap().0, 1);
    }

    #[test]
    fn what_reads_back_is_taken() {
        assert_eq!(check(DataType::Float64, DataType::Utf8, "NaN\ninf\n0.1\n1e300\n"), None);
        assert_eq!(check(DataType::Utf8, DataType::Float64, "1.50\n007\n"), None);
        assert_eq!(check(DataType::Float64, DataType::Float32, "0.5\n0.1\n"), None);
        assert_eq!(check(DataType::Decimal128(10, 2), DataType::Int64, "5.00\n"), None);
        assert_eq!(check(DataType::Boolean, DataType::Utf8, "true\n\nfalse\n"), None);
    }
}

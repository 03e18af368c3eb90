//! What other readers of delimited text share with the parser: the fields of whole records, and
//! the conversion of texts that are split already.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::datatypes::DataType;

use super::build::builder;
use super::fields::{CHUNK_BYTES_MAX, Cell, ColumnFields, Field, FieldTable};

/// Records that are split at once; their fields stay in the cache until they are looked at.
const CHUNK_RECORDS: usize = 2_048;

/// A field that holds something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldText<'a> {
    /// Its bytes, unquoted.
    pub bytes: Cow<'a, [u8]>,
    /// Whether it stands in quotes; only then it may be empty.
    pub quoted: bool,
}

/// Splits whole records into fields without converting them.
#[derive(Debug, Default)]
pub struct FieldSplitter {
    table: FieldTable,
    width: usize,
}

impl FieldSplitter {
    /// Splits the next records of `text`, each of `width` fields, and returns the bytes consumed;
    /// nothing if one of them does not split so.
    pub fn split(&mut self, text: &[u8], width: usize) -> Option<usize> {
        let mut malformed = false;
        self.width = width;
        let consumed = self.table.split(text, width, CHUNK_RECORDS, &mut |_| malformed = true);
        let cut = text.len() > CHUNK_BYTES_MAX && consumed == CHUNK_BYTES_MAX;
        (!malformed && !cut).then_some(consumed)
    }

    /// The fields of a column of the records that were split last; `text` is what they were
    /// split from. Nothing stands for NULL.
    pub fn column<'a>(
        &'a self,
        text: &'a [u8],
        column: usize,
    ) -> impl Iterator<Item = Option<FieldText<'a>>> {
        let fields = ColumnFields { text, fields: &self.table.fields, width: self.width, column };
        fields.iter().map(move |field| match field.cell(text) {
            Cell::Null => None,
            Cell::Text(bytes) => Some(FieldText { bytes, quoted: field.is_quoted() }),
        })
    }
}

/// A column of texts as values of a type, by the rules of the parser.
///
/// # Errors
/// The first row that does not convert, from 0, and why.
pub fn convert(texts: &StringArray, data_type: &DataType) -> Result<ArrayRef, (usize, String)> {
    let Some(mut column) = builder(data_type) else {
        return Err((0, format!("columns of type {data_type} have no text")));
    };
    let mut fields = Vec::with_capacity(texts.len());
    let mut ends = texts.value_offsets().iter();
    let mut start = offset(ends.next());
    for (row, end) in ends.enumerate() {
        let end = offset(Some(end));
        let field = if texts.is_null(row) { Some(Field::NULL) } else { Field::literal(start..end) };
        fields.push(field.ok_or_else(|| (row, "the text is too long".to_owned()))?);
        start = end;
    }
    let text = texts.value_data();
    let mut refused = Vec::new();
    column.append(ColumnFields { text, fields: &fields, width: 1, column: 0 }, &mut refused);
    if let Some((row, refusal)) = refused.into_iter().next() {
        return Err((row, refusal.reason.into_owned()));
    }
    column.finish().map_err(|error| (0, error.to_string()))
}

fn offset(value: Option<&i32>) -> usize {
    value.and_then(|value| usize::try_from(*value).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_given_column_by_column() {
        let text = b"1,\"a,\"\"b\"\"\"\n,\"\"\n2,x\n";
        let mut splitter = FieldSplitter::default();
        assert_eq!(splitter.split(text, 2), Some(text.len()));
        let cell = |bytes: &'static str, quoted| {
            Some(FieldText { bytes: Cow::Borrowed(bytes.as_bytes()), quoted })
        };
        let column = |index| splitter.column(text, index).collect::<Vec<_>>();
        assert_eq!(column(0), [cell("1", false), None, cell("2", false)]);
        assert_eq!(column(1), [cell("a,\"b\"", true), cell("", true), cell("x", false)]);
        assert_eq!(FieldSplitter::default().split(b"1,2\n3\n", 2), None);
        assert_eq!(FieldSplitter::default().split(b"1,\"2\n", 2), None);
    }

    #[test]
    fn texts_convert_as_cells_do() {
        let texts = StringArray::from(vec![Some("1"), None, Some(" 7 ")]);
        let numbers = convert(&texts.slice(1, 2), &DataType::Int64).unwrap();
        assert_eq!(numbers.as_ref(), &arrow::array::Int64Array::from(vec![None, Some(7)]));
        let texts = StringArray::from(vec![Some(""), Some("x")]);
        let (row, reason) = convert(&texts, &DataType::Boolean).unwrap_err();
        assert_eq!((row, reason.as_str()), (0, "neither true nor false"));
        let empty = convert(&texts.slice(0, 1), &DataType::Binary).unwrap();
        assert_eq!((empty.null_count(), empty.len()), (0, 1));
    }
}

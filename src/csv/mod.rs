//! The CSV text of a table: values to text, text to values, and what changed between two texts.
//!
//! Pure: no I/O, no async, no clock, no table types. One canonical text belongs to each value, so
//! that rendering and parsing are inverse to each other; the input side accepts more than the
//! canonical form and refuses, with place and reason, what does not convert.
//!
//! | Arrow type | text | also accepted |
//! |---|---|---|
//! | any, NULL | nothing | |
//! | Utf8, LargeUtf8, Utf8View, Dictionary of these | itself; quoted when it holds `,` `"` CR LF, is empty, begins or ends with a space | needless quotes |
//! | Boolean | `true` `false` | any case |
//! | Int8 .. Int64, UInt8 .. UInt64 | decimal | `+5` `007` `1e3` `5.0` when integral |
//! | Float16, Float32, Float64 | shortest that reads back; `NaN` `inf` `-inf`; integral keeps `.0` | any decimal or exponent form |
//! | Decimal32 .. Decimal256 | exact, always `scale` digits | fewer digits, exponent |
//! | Date32, Date64 | `2026-11-21` (Date64 off midnight: as a timestamp) | |
//! | Time32, Time64 | `10:00:00.123` | `10:00` |
//! | Timestamp | `2026-11-21T10:00:00.123456`, with a zone in UTC and `Z` | a space for `T`, date only, `+02:00` with a zone |
//! | Duration | ISO 8601: `PT1M30.5S`, `-P1DT2H` | weeks |
//! | Binary, LargeBinary, BinaryView, FixedSizeBinary | base64 | without padding |
//! | List, LargeList, FixedSizeList, Struct, Map | JSON | any JSON layout |
//! | Null | nothing | |
//!
//! Two texts can be written but not read back: a time of day outside 00:00 to 24:00 (shown with
//! more hours or a sign) and text that holds a NUL byte. Rows with them stay as they are as long
//! as nobody edits them.
//!
//! Fractions of seconds are shown in groups of three digits; trailing groups of zeros are dropped.

mod build;
mod calendar;
mod cells;
mod codes;
mod decimal;
mod diff;
mod fields;
mod header;
mod index;
mod infer;
mod json;
mod length;
mod moment;
mod nested;
mod number;
mod parse;
mod quote;
mod raw;
mod rejection;
mod render;
mod scan;
mod split;
#[cfg(test)]
mod tests;
mod types;

use arrow::datatypes::DataType;

pub use codes::{CODES, Code, explain};
pub use diff::{Hunk, Text, diff};
pub use header::parse_header;
pub use index::{BLOCK_ROWS, ColumnIndex, FOOTER_KEY, IndexBuilder, OffsetIndex};
pub use infer::TypeInference;
pub use length::text_bytes;
pub use parse::Parser;
pub use rejection::{REJECTIONS_KEPT, ROW_KEPT_BYTES, Rejection};
pub use render::{render, render_header};
pub use scan::{RecordSplitter, Records};
pub use split::{FieldSplitter, FieldText, convert};
pub use types::{type_name, type_named};

/// First bytes of the names of columns that tables keep for themselves and never show.
pub const SYSTEM_PREFIX: &str = "__";

/// Whether columns of this type have a text (the table in the head of this module).
pub fn supported(data_type: &DataType) -> bool {
    match data_type {
        DataType::Interval(_)
        | DataType::Union(..)
        | DataType::RunEndEncoded(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => false,
        DataType::Dictionary(_, values) => !values.is_nested() && supported(values),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => supported(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| supported(field.data_type())),
        _ => true,
    }
}

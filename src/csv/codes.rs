//! The one table of refusal codes of the CSV layer: stable number, meaning, what to do.

use std::borrow::Cow;

/// One reason to refuse a text; the number never changes its meaning.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `MNT-12xx`.
    pub id: &'static str,
    /// What is wrong, in one sentence.
    pub meaning: &'static str,
    /// What the user can do about it.
    pub remedy: &'static str,
}

macro_rules! codes {
    ($($name:ident = $id:literal, $meaning:literal, $remedy:literal;)*) => {
        $(pub(super) static $name: Code = Code { id: $id, meaning: $meaning, remedy: $remedy };)*
        /// Every refusal of the CSV layer, in the order of the numbers.
        pub static CODES: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    FIELD_COUNT = "MNT-1201", "the line has another number of fields than the header",
        "give every line one field per column; text that holds a comma must be in quotes";
    UNCLOSED_QUOTE = "MNT-1202", "a quoted text is never closed",
        "add the closing quote; a quote inside quoted text is written twice";
    NOT_CONVERTIBLE = "MNT-1203", "the text does not convert to the type of the column",
        "write a value of the column's type, or nothing between the commas for NULL";
    OUT_OF_RANGE = "MNT-1204", "the value is outside the range of the column's type",
        "write a value within the range, or give the column a wider type in config.toml";
    NULL_REFUSED = "MNT-1205", "the column must have a value in every row",
        "write a value; for empty text write two quotes";
    AFTER_QUOTE = "MNT-1206", "text follows a closing quote",
        "end the field after the closing quote; a quote inside quoted text is written twice";
    STRAY_QUOTE = "MNT-1207", "a quote stands inside text that is not quoted",
        "put the whole text in quotes and write each quote inside it twice";
    NOT_UTF8 = "MNT-1208", "the bytes are not valid UTF-8",
        "save the file in UTF-8, for example with: iconv -f latin1 -t utf-8";
    NUL_BYTE = "MNT-1209", "the text holds a NUL byte",
        "remove the NUL byte; the file may be damaged or in UTF-16";
    STRAY_RETURN = "MNT-1210", "a carriage return stands inside text that is not quoted",
        "end lines with LF or CRLF; put text that holds a carriage return in quotes";
    INEXACT = "MNT-1211", "the value has more digits than the column can keep",
        "round the value, or give the column a wider type in config.toml";
    BAD_JSON = "MNT-1212", "the text is not JSON of the column's shape",
        "write JSON as the untouched rows of this column show it";
    TOO_LARGE = "MNT-1213", "the text is larger than one piece may be",
        "split the text; if it is one line, look for a quote that is never closed";
    HEADER_LOST = "MNT-1220", "the first line is not a header of this table",
        "keep the line with the column names as the first line";
    HEADER_REPEATED = "MNT-1221", "two columns have the same name",
        "give every column a name of its own";
    HEADER_EMPTY_NAME = "MNT-1222", "a column has no name",
        "give every column a name, or remove the extra comma";
    HEADER_UNKNOWN = "MNT-1223", "the table has no such column",
        "use the names of the table's columns";
    HEADER_MISSING = "MNT-1224", "a column that must have values is missing",
        "add the column to the header and its values to every line";
    HEADER_MALFORMED = "MNT-1225", "the header line is not valid CSV",
        "write the column names separated by commas, quoted like text";
    HEADER_RESERVED = "MNT-1226", "column names that begin with two underscores are reserved",
        "choose a name that does not begin with two underscores";
}

/// The code with this number, if there is one (`mountable explain MNT-1203`).
pub fn explain(id: &str) -> Option<&'static Code> {
    CODES.iter().copied().find(|code| code.id == id)
}

/// Why one cell is refused; becomes a `Rejection` when its place is added.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: &'static Code,
    pub(super) reason: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(code: &'static Code, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_ascending() {
        assert!(CODES.windows(2).all(|pair| pair[0].id < pair[1].id));
        assert!(CODES.iter().all(|code| code.id.starts_with("MNT-12") && code.id.len() == 8));
        assert_eq!(explain("MNT-1203").map(|code| code.id), Some("MNT-1203"));
        assert_eq!(explain("MNT-9999"), None);
    }
}

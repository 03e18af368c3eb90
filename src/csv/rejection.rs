//! A refused text: where it stands, what it is, why it is refused and what to do.

use std::fmt;

use super::codes::{Code, Refusal};

/// Rejections that one call keeps; more are counted only (`Parser::rejected`).
pub const REJECTIONS_KEPT: usize = 1_000;

/// Bytes of a refused record that are kept; longer ones are cut (an unclosed quote can swallow
/// the rest of a file).
pub const ROW_KEPT_BYTES: usize = 64 * 1024;

const VALUE_KEPT_CHARS: usize = 200;

/// Why a text was refused and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Stable number, `MNT-12xx`; `explain` has the general meaning.
    pub code: &'static str,
    /// Line of the file on which the record begins, 1-based.
    pub line: u64,
    /// Place of the column in the file, 1-based, if one column is to blame.
    pub column: Option<u32>,
    /// Name of that column.
    pub column_name: Option<String>,
    /// The refused text, cut to a few hundred characters, invalid UTF-8 replaced.
    pub value: String,
    /// What is wrong with this text.
    pub reason: String,
    /// What the user can do.
    pub remedy: String,
    /// The record as received, at most `ROW_KEPT_BYTES` of it.
    pub row: Vec<u8>,
}

impl Rejection {
    /// Makes a rejection without a column.
    pub(super) fn new(
        code: &'static Code,
        line: u64,
        value: &[u8],
        reason: impl Into<String>,
    ) -> Self {
        Self {
            code: code.id,
            line,
            column: None,
            column_name: None,
            value: shorten(value),
            reason: reason.into(),
            remedy: code.remedy.to_owned(),
            row: Vec::new(),
        }
    }

    /// Makes a rejection of one cell.
    pub(super) fn of_cell(refusal: Refusal, line: u64, value: &[u8]) -> Self {
        Self::new(refusal.code, line, value, refusal.reason)
    }

    /// Names the column; `index` counts from 0.
    #[must_use]
    pub(super) fn in_column(mut self, index: usize, name: &str) -> Self {
        self.column = u32::try_from(index).ok().and_then(|index| index.checked_add(1));
        self.column_name = Some(name.to_owned());
        self
    }

    /// Keeps the record.
    #[must_use]
    pub(super) fn with_row(mut self, row: &[u8]) -> Self {
        self.row = row.get(..ROW_KEPT_BYTES).unwrap_or(row).to_vec();
        self
    }
}

fn shorten(value: &[u8]) -> String {
    let start = value.get(..VALUE_KEPT_CHARS * 4).unwrap_or(value);
    let text = String::from_utf8_lossy(start);
    if text.chars().count() <= VALUE_KEPT_CHARS && start.len() == value.len() {
        return text.into_owned();
    }
    let mut short: String = text.chars().take(VALUE_KEPT_CHARS).collect();
    short.push_str("...");
    short
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: line {}", self.code, self.line)?;
        if let Some(column) = self.column {
            write!(f, ", column {column}")?;
        }
        if let Some(name) = &self.column_name {
            write!(f, " ({name})")?;
        }
        if !self.value.is_empty() {
            write!(f, ", value {:?}", self.value)?;
        }
        write!(f, ": {}; {}", self.reason, self.remedy)
    }
}

impl std::error::Error for Rejection {}

impl From<Rejection> for crate::error::Error {
    fn from(rejection: Rejection) -> Self {
        Self::invalid("parse CSV text").caused_by(rejection)
    }
}

#[cfg(test)]
mod tests {
    use super::super::codes;
    use super::*;

    #[test]
    fn display_names_place_value_reason_and_remedy() {
        let refusal = Refusal::new(&codes::NOT_CONVERTIBLE, "not an integer");
        let rejection = Rejection::of_cell(refusal, 7, b"abc").in_column(1, "qty");
        assert_eq!(
            rejection.to_string(),
            "MNT-1203: line 7, column 2 (qty), value \"abc\": not an integer; write a value of \
             the column's type, or nothing between the commas for NULL"
        );
    }

    #[test]
    fn long_values_and_rows_are_cut() {
        let long = "\u{e4}".repeat(100_000);
        let rejection =
            Rejection::new(&codes::BAD_JSON, 1, long.as_bytes(), "bad").with_row(long.as_bytes());
        assert_eq!(rejection.value.chars().count(), VALUE_KEPT_CHARS + 3);
        assert_eq!(rejection.row.len(), ROW_KEPT_BYTES);
    }
}

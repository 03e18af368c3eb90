//! The header line of a CSV file.

use super::codes;
use super::fields::{Cell, FieldTable, Malformed};
use super::rejection::Rejection;
use super::scan::BOM;

/// Column names of a header line, in the order of the file; the line may end in LF, CRLF or
/// nothing and begin with a byte order mark.
///
/// # Errors
/// A lost header (empty line), malformed quotes, invalid UTF-8, and names that are empty,
/// repeated or reserved.
pub fn parse_header(line: &[u8]) -> Result<Vec<String>, Rejection> {
    let text = line.strip_prefix(BOM).unwrap_or(line);
    if text.trim_ascii().is_empty() {
        let reason = "the file has no header line";
        return Err(Rejection::new(&codes::HEADER_LOST, 1, text, reason).with_row(line));
    }
    let names = split_header(text).map_err(|rejection| rejection.with_row(line))?;
    for (index, name) in names.iter().enumerate() {
        let refuse = |code, reason: String| {
            let rejection = Rejection::new(code, 1, name.as_bytes(), reason);
            Err(rejection.in_column(index, name).with_row(line))
        };
        if name.is_empty() {
            return refuse(&codes::HEADER_EMPTY_NAME, "the name is empty".into());
        }
        if name.starts_with(super::SYSTEM_PREFIX) {
            return refuse(&codes::HEADER_RESERVED, "the name is reserved".into());
        }
        if let Some(first) = names.iter().take(index).position(|other| other == name) {
            let reason = format!("column {} has the same name", first + 1);
            return refuse(&codes::HEADER_REPEATED, reason);
        }
    }
    Ok(names)
}

fn split_header(text: &[u8]) -> Result<Vec<String>, Rejection> {
    let malformed =
        |reason: &str| Rejection::new(&codes::HEADER_MALFORMED, 1, text, reason.to_owned());
    if memchr::memchr(0, text).is_some() {
        return Err(Rejection::new(&codes::NUL_BYTE, 1, text, "a NUL byte in the header"));
    }
    // The number of columns is what a first pass with an impossible width reports.
    let mut found = None;
    let mut table = FieldTable::default();
    let consumed = table.split(text, 0, 1, &mut |record: Malformed| found = Some(record));
    if consumed < text.len() {
        return Err(malformed("more than one line"));
    }
    let width = match found {
        Some(record) if record.code == &codes::FIELD_COUNT => record.fields,
        Some(record) => return Err(malformed(record.code.meaning)),
        None => 0,
    };
    table.split(text, width, 1, &mut |_| ());
    table
        .fields
        .iter()
        .map(|field| match field.cell(text) {
            Cell::Null => Ok(String::new()),
            Cell::Text(name) => String::from_utf8(name.into_owned())
                .map_err(|_| Rejection::new(&codes::NOT_UTF8, 1, text, "the header is not UTF-8")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_file_order_without_mark_and_line_end() {
        let names = |line: &str| parse_header(line.as_bytes()).unwrap();
        assert_eq!(names("id,qty\n"), ["id", "qty"]);
        assert_eq!(names("\u{feff}\"id\",\"a,\"\"b\"\"\"\r\n"), ["id", "a,\"b\""]);
        assert_eq!(names("one"), ["one"]);
    }

    #[test]
    fn broken_headers_are_refused_with_their_code() {
        for (line, code) in [
            ("", "MNT-1220"),
            ("\n", "MNT-1220"),
            ("a,b,a\n", "MNT-1221"),
            ("a,,b\n", "MNT-1222"),
            ("a,\"\"\n", "MNT-1222"),
            ("a,b,\n", "MNT-1222"),
            ("a,\"b\n", "MNT-1225"),
            ("a,b\"c\n", "MNT-1225"),
            ("a,b\nc,d\n", "MNT-1225"),
            ("a,__rowid__\n", "MNT-1226"),
            ("a,b\0\n", "MNT-1209"),
        ] {
            assert_eq!(parse_header(line.as_bytes()).unwrap_err().code, code, "{line:?}");
        }
        assert_eq!(parse_header(b"a,\xff\n").unwrap_err().code, "MNT-1208");
        let repeated = parse_header(b"a,b,a\n").unwrap_err();
        assert_eq!((repeated.column, repeated.column_name.as_deref()), (Some(3), Some("a")));
    }
}

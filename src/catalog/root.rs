//! The SuperTable's root document, changed as text.
//!
//! Other programs keep flags in it (`read_only`, `clone_type`, ...; format spec section 1.1). Only
//! the digits of `version` and `ts` are replaced, so everything else stays byte for byte. The Lua
//! text in `scripts.rs` does the same; the contract suite compares them.

use std::ops::Range;

use serde_json::Value;

use super::leaf::lenient_json;
use crate::error::{Error, ErrorKind};

/// The root of a new SuperTable.
pub(super) fn fresh(version: u64, now_ms: i64) -> String {
    format!("{{\"version\":{version},\"ts\":{now_ms}}}")
}

/// The root's version; 0 if there is none that can be read.
pub(super) fn version(raw: &[u8]) -> u64 {
    number(raw, b"version").and_then(|at| whole(raw.get(at)?)).unwrap_or_default()
}

/// Why nothing may be written to the SuperTable, if its root says so (format spec section 1.1): a
/// flag forbids it, or it only shows the tables of another SuperTable.
pub(super) fn refusal(raw: &[u8]) -> Option<Error> {
    let flags = lenient_json(raw).ok()?;
    let text = |name: &str| flags.get(name).and_then(Value::as_str).unwrap_or_default();
    let source = text("cloned_from");
    if text("clone_type") == "replica" && !source.is_empty() {
        let error = Error::new(ErrorKind::ReadOnly, "SuperTable is a replica: write to its source");
        return Some(error.with("source", source));
    }
    let forbidden = flags.get("read_only").and_then(Value::as_bool).unwrap_or_default();
    (forbidden || text("clone_type") == "readonly")
        .then(|| Error::new(ErrorKind::ReadOnly, "SuperTable is marked as read-only"))
}

/// Whether a root may say such a thing; cheap, and never wrongly `false`.
pub(super) fn has_flags(raw: &[u8]) -> bool {
    FLAGS.iter().any(|flag| raw.windows(flag.len()).any(|part| part == *flag))
}

/// Names of the members that [`refusal`] looks at; the script that takes a lock looks for the same.
const FLAGS: [&[u8]; 2] = [b"read_only", b"clone_type"];

/// The root with its version raised by one and its time set, and that version.
///
/// A value that is no JSON object is replaced: nothing can be kept of it. A member that is missing
/// or no number is left alone or added in front.
pub(super) fn raise(raw: Option<&[u8]>, now_ms: i64) -> (Vec<u8>, u64) {
    let object = raw.filter(|raw| raw.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{'));
    let Some(raw) = object else {
        return (fresh(0, now_ms).into_bytes(), 0);
    };
    let next = match number(raw, b"version") {
        Some(at) => raw.get(at).and_then(whole).map_or(0, |old| old.saturating_add(1)),
        None => 0,
    };
    let with_version = put(raw, b"version", &next.to_string());
    (put(&with_version, b"ts", &now_ms.to_string()), next)
}

/// Sets a top-level number.
fn put(raw: &[u8], name: &[u8], text: &str) -> Vec<u8> {
    if let Some(at) = number(raw, name) {
        let (before, after) = (raw.get(..at.start), raw.get(at.end..));
        return [before.unwrap_or_default(), text.as_bytes(), after.unwrap_or_default()].concat();
    }
    if member(raw, name).is_some() {
        return raw.to_vec();
    }
    let open = raw.iter().position(|b| *b == b'{').map_or(0, |at| at.saturating_add(1));
    let (before, after) = raw.split_at(open.min(raw.len()));
    let empty = after.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'}');
    let comma: &[u8] = if empty { b"" } else { b"," };
    [before, b"\"", name, b"\":", text.as_bytes(), comma, after].concat()
}

/// Where the number of a top-level member stands.
fn number(raw: &[u8], name: &[u8]) -> Option<Range<usize>> {
    let start = member(raw, name)?;
    let digits = raw
        .get(start..)?
        .iter()
        .take_while(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E'));
    let length = digits.count();
    (length > 0).then(|| start..start.saturating_add(length))
}

/// Where the value of a top-level member begins.
fn member(raw: &[u8], name: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0_usize, 0_usize);
    while let Some(byte) = raw.get(at) {
        match byte {
            b'"' => {
                let end = string_end(raw, at);
                let text = raw.get(at.saturating_add(1)..end);
                let value = skip_space(raw, end.saturating_add(1));
                if depth == 1 && text == Some(name) && raw.get(value) == Some(&b':') {
                    return Some(skip_space(raw, value.saturating_add(1)));
                }
                at = end;
            }
            b'{' | b'[' => depth = depth.saturating_add(1),
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at = at.saturating_add(1);
    }
    None
}

/// Position of the quote that ends the string which begins at `start`.
fn string_end(raw: &[u8], start: usize) -> usize {
    let mut at = start.saturating_add(1);
    while let Some(byte) = raw.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at = at.saturating_add(2),
            _ => at = at.saturating_add(1),
        }
    }
    raw.len()
}

fn skip_space(raw: &[u8], start: usize) -> usize {
    let rest = raw.get(start..).unwrap_or_default();
    start.saturating_add(rest.iter().take_while(|b| b.is_ascii_whitespace()).count())
}

/// A whole number, also in the form that Lua's JSON gives it (`3.0`, `1e+15`).
fn whole(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    text.parse().ok().or_else(|| super::leaf::whole(text.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, expected: &str, version: u64) {
        let (got, next) = raise(Some(raw.as_bytes()), 77);
        assert_eq!((String::from_utf8_lossy(&got).as_ref(), next), (expected, version));
    }

    #[test]
    fn only_the_two_numbers_change() {
        check(r#"{"version":3,"ts":5}"#, r#"{"version":4,"ts":77}"#, 4);
        check(
            r#"{ "ts" : 5, "list":[], "big":1234567890123456789, "x":"a\/\"b", "version" : 9 }"#,
            r#"{ "ts" : 77, "list":[], "big":1234567890123456789, "x":"a\/\"b", "version" : 10 }"#,
            10,
        );
        check(r#"{"version":3.0,"ts":1.8e+12}"#, r#"{"version":4,"ts":77}"#, 4);
    }

    #[test]
    fn members_of_the_same_name_further_in_are_left_alone() {
        check(
            r#"{"a":{"version":1,"ts":2},"b":"version","c":["ts"],"version":1,"ts":2}"#,
            r#"{"a":{"version":1,"ts":2},"b":"version","c":["ts"],"version":2,"ts":77}"#,
            2,
        );
    }

    #[test]
    fn missing_members_are_added_and_garbage_is_replaced() {
        check(r#"{"read_only":true}"#, r#"{"ts":77,"version":0,"read_only":true}"#, 0);
        check("{ }", r#"{"ts":77,"version":0 }"#, 0);
        check("nonsense", r#"{"version":0,"ts":77}"#, 0);
        check(r#"{"version":"x","ts":1}"#, r#"{"version":"x","ts":77}"#, 0);
        assert_eq!(raise(None, 77), (br#"{"version":0,"ts":77}"#.to_vec(), 0));
    }

    #[test]
    fn flags_that_forbid_writing_are_obeyed() {
        for (raw, forbidden) in [
            (r#"{"version":1,"ts":2}"#, false),
            (r#"{"version":1,"read_only":true}"#, true),
            (r#"{"version":1,"read_only":false}"#, false),
            (r#"{"clone_type":"readonly","cloned_from":"a"}"#, true),
            (r#"{"clone_type":"replica","cloned_from":"a","replica_tables":{}}"#, true),
            (r#"{"clone_type":"replica"}"#, false),
            (r#"{"clone_type":"full","cloned_from":"a"}"#, false),
            ("nonsense", false),
        ] {
            let refusal = refusal(raw.as_bytes());
            assert_eq!(refusal.is_some(), forbidden, "{raw}");
            assert!(has_flags(raw.as_bytes()) || !forbidden, "{raw}");
            assert!(refusal.is_none_or(|error| error.kind() == ErrorKind::ReadOnly));
        }
    }

    #[test]
    fn any_bytes_are_survived() {
        for raw in ["{\"version", "{\"", "{\"version\":", "{\"a\\", "{", "{\"version\":-}"] {
            let _ = raise(Some(raw.as_bytes()), 1);
            let _ = version(raw.as_bytes());
        }
    }
}

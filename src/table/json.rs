//! Lenient reading of the JSON that other writers leave behind.
//!
//! The Python library sends documents through Redis' cjson: empty lists become `{}`, whole
//! numbers become floats; its files may hold the tokens `NaN` and `Infinity` (format spec
//! section 1.2 and weakness 8.35).

use std::borrow::Cow;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::table::snapshot::JsonMap;

/// Parses a JSON object; `NaN`, `Infinity` and `-Infinity` read as null.
///
/// # Errors
/// `Corrupt` if the text is not one JSON object.
pub fn parse_object(text: &[u8]) -> Result<JsonMap> {
    let parsed = match serde_json::from_slice(text) {
        Ok(value) => value,
        Err(first) => match without_tokens(text) {
            Cow::Owned(cleaned) => serde_json::from_slice(&cleaned)
                .map_err(|error| Error::corrupt("read JSON document").caused_by(error))?,
            Cow::Borrowed(_) => {
                return Err(Error::corrupt("read JSON document").caused_by(first));
            }
        },
    };
    match parsed {
        Value::Object(map) => Ok(map),
        _ => Err(Error::corrupt("JSON document is not an object")),
    }
}

/// The text with Python's non-JSON number tokens replaced by null.
fn without_tokens(text: &[u8]) -> Cow<'_, [u8]> {
    const TOKENS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut out = Vec::new();
    let mut rest = text;
    let (mut in_string, mut escaped, mut changed) = (false, false, false);
    while let Some((&byte, tail)) = rest.split_first() {
        if !in_string && let Some(after) = TOKENS.iter().find_map(|token| rest.strip_prefix(*token))
        {
            out.extend_from_slice(b"null");
            rest = after;
            changed = true;
            continue;
        }
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else {
            in_string = byte == b'"';
        }
        out.push(byte);
        rest = tail;
    }
    if changed { Cow::Owned(out) } else { Cow::Borrowed(text) }
}

/// A whole number that is not negative, also when it is written as a float.
pub(crate) fn as_count(value: &Value) -> Option<u64> {
    if let Some(count) = value.as_u64() {
        return Some(count);
    }
    let float = value.as_f64()?;
    // 2^63: everything below converts exactly if it has no fraction.
    let whole = float.fract() == 0.0 && (0.0..9_223_372_036_854_775_808.0).contains(&float);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a whole number in range"
    )]
    whole.then_some(float as u64)
}

/// A whole number, also when it is written as a float.
pub(crate) fn as_integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| as_count(value).and_then(|count| i64::try_from(count).ok()))
}

/// A required count of an object.
///
/// # Errors
/// `Corrupt` if it is missing or no count.
pub(crate) fn count(object: &JsonMap, name: &'static str) -> Result<u64> {
    object
        .get(name)
        .and_then(as_count)
        .ok_or_else(|| Error::corrupt("document lacks a number").with("member", name))
}

/// A required text of an object.
///
/// # Errors
/// `Corrupt` if it is missing or no text.
pub(crate) fn text<'a>(object: &'a JsonMap, name: &'static str) -> Result<&'a str> {
    object
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| Error::corrupt("document lacks a text").with("member", name))
}

/// A text of an object, empty if it is missing.
pub(crate) fn text_or_empty(object: &JsonMap, name: &str) -> String {
    object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A list; missing, null and the empty object are the empty list.
///
/// # Errors
/// `Corrupt` if it is anything else.
pub(crate) fn list<'a>(object: &'a JsonMap, name: &'static str) -> Result<&'a [Value]> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(Value::Object(members)) if members.is_empty() => Ok(&[]),
        Some(_) => Err(Error::corrupt("document member is no list").with("member", name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_number_tokens_read_as_null_but_text_keeps_them() {
        let map = parse_object(br#"{"a":NaN,"b":[-Infinity,Infinity],"c":"NaN \" Infinity"}"#)
            .expect("lenient");
        assert!(map["a"].is_null());
        assert_eq!(map["b"].as_array().expect("list").len(), 2);
        assert_eq!(map["c"], "NaN \" Infinity");
    }

    #[test]
    fn cjson_habits_are_understood() {
        let map = parse_object(br#"{"empty":{},"n":1.2345678901235e+13,"p":"a\/b"}"#).expect("ok");
        assert!(list(&map, "empty").expect("empty list").is_empty());
        assert!(list(&map, "missing").expect("empty list").is_empty());
        assert!(list(&map, "n").is_err());
        assert_eq!(count(&map, "n").expect("count"), 12_345_678_901_235);
        assert_eq!(text(&map, "p").expect("text"), "a/b");
        assert!(as_count(&serde_json::json!(1.5)).is_none());
        assert!(as_count(&serde_json::json!(-1)).is_none());
    }

    #[test]
    fn a_cut_document_is_corrupt() {
        let error = parse_object(b"{\"a\":").expect_err("cut");
        assert_eq!(error.kind(), crate::error::ErrorKind::Corrupt);
        assert!(parse_object(b"[]").is_err());
    }
}

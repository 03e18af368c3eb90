//! The leaf as a document: read leniently, because Redis' Lua may have re-encoded it.

use serde_json::Value;

use super::Leaf;
use crate::error::{Error, Result};

/// What a leaf says (format spec section 1.2).
#[derive(Debug, Clone, PartialEq)]
pub struct LeafDoc {
    /// Number of commits of the pointer; 0 for a new table.
    pub version: u64,
    /// Time of the commit, milliseconds since 1970.
    pub ts: i64,
    /// Object path of the snapshot.
    pub path: String,
    /// The snapshot itself, if the leaf carries it: lists may be `{}`, numbers rounded to 14
    /// digits.
    pub payload: Option<Value>,
}

impl Leaf {
    /// Reads the leaf. Whole numbers may be written as `3.0` or `1.8e+12`; the tokens `NaN` and
    /// `Infinity` are read as null.
    ///
    /// # Errors
    /// `Corrupt` if it is no JSON object or has no path.
    pub fn parse(&self) -> Result<LeafDoc> {
        let Value::Object(mut members) = lenient_json(&self.raw)? else {
            return Err(Error::corrupt("leaf is not a JSON object"));
        };
        let path = match members.get("path") {
            Some(Value::String(path)) if !path.is_empty() => path.clone(),
            _ => return Err(Error::corrupt("leaf names no snapshot")),
        };
        let number = |name: &str| members.get(name).and_then(whole_number);
        let version = number("version").unwrap_or_default();
        let ts = number("ts").and_then(|ts| i64::try_from(ts).ok()).unwrap_or_default();
        let payload = members
            .remove("payload")
            .filter(|value| matches!(value, Value::Object(members) if !members.is_empty()));
        Ok(LeafDoc { version, ts, path, payload })
    }
}

/// A whole number from JSON that may be written as a float.
pub fn whole_number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| whole(value.as_f64()?))
}

/// A float that is a whole number of at most 53 bits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked before"
)]
pub(super) fn whole(number: f64) -> Option<u64> {
    let fits = (0.0..9_007_199_254_740_992.0).contains(&number) && number.fract() == 0.0;
    fits.then_some(number as u64)
}

/// Parses JSON in which the tokens `NaN`, `Infinity` and `-Infinity` may stand for numbers
/// (format spec section 8.35); they are read as null.
///
/// # Errors
/// `Corrupt` if it is no JSON even so.
pub fn lenient_json(raw: &[u8]) -> Result<Value> {
    match serde_json::from_slice(raw) {
        Ok(value) => Ok(value),
        Err(error) => {
            let replaced = without_odd_numbers(raw);
            if replaced == raw {
                return Err(Error::corrupt("parse JSON document").caused_by(error));
            }
            serde_json::from_slice(&replaced)
                .map_err(|error| Error::corrupt("parse JSON document").caused_by(error))
        }
    }
}

/// The text with the tokens outside strings replaced by `null`.
fn without_odd_numbers(raw: &[u8]) -> Vec<u8> {
    const TOKENS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    let mut in_string = false;
    while let Some((byte, tail)) = rest.split_first() {
        if in_string {
            out.push(*byte);
            in_string = *byte != b'"';
            rest = tail;
            if *byte == b'\\'
                && let Some((escaped, behind)) = tail.split_first()
            {
                out.push(*escaped);
                rest = behind;
            }
            continue;
        }
        if let Some(token) = TOKENS.into_iter().find(|token| rest.starts_with(token)) {
            out.extend_from_slice(b"null");
            rest = rest.get(token.len()..).unwrap_or_default();
            continue;
        }
        in_string = *byte == b'"';
        out.push(*byte);
        rest = tail;
    }
    out
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn parse(text: &str) -> Result<LeafDoc> {
        Leaf { raw: Bytes::copy_from_slice(text.as_bytes()) }.parse()
    }

    #[test]
    fn a_leaf_that_lua_re_encoded_is_read() {
        let doc = parse(
            r#"{"ts":1.795253675e+12,"path":"a\/b","version":3.0,"payload":{"resources":{},"min":NaN,"s":"NaN \" Infinity","max":[-Infinity,Infinity]}}"#,
        )
        .expect("lenient");
        assert_eq!((doc.version, doc.ts, doc.path.as_str()), (3, 1_795_253_675_000, "a/b"));
        let expected = serde_json::json!(
            {"resources":{},"min":null,"s":"NaN \" Infinity","max":[null,null]}
        );
        assert_eq!(doc.payload, Some(expected));
    }

    #[test]
    fn a_leaf_without_payload_points_to_the_object() {
        for text in
            [r#"{"path":"p"}"#, r#"{"path":"p","payload":null}"#, r#"{"path":"p","payload":[]}"#]
        {
            let doc = parse(text).expect("path is enough");
            assert_eq!((doc.version, doc.path.as_str(), doc.payload), (0, "p", None));
        }
    }

    #[test]
    fn what_is_no_leaf_is_corrupt() {
        for text in ["", "x", "[]", "{}", r#"{"path":1}"#, r#"{"path":"""#, "{\"path\":NaN"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

//! The text form of an exported catalogue: JSON lines, complete or not at all.
//!
//! The first line says what the file is, the last one how many keys it has, each line between them
//! is a key. Bytes that are no text are written in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Entry, Held};
use crate::catalog::AuditFields;
use crate::error::{Error, Result};

/// Member of the first line; its value is the version of the form.
const HEAD: &str = "mountable_catalog";
/// Member of the last line; its value is the number of keys.
const TAIL: &str = "keys";
/// Version of the form.
const FORMAT: u64 = 1;

/// Writes an export line by line.
#[derive(Debug)]
pub struct Exported {
    keys: u64,
}

/// Begins an export: its first line.
pub fn write_export() -> (Exported, String) {
    (Exported { keys: 0 }, json!({HEAD: FORMAT}).to_string())
}

impl Exported {
    /// The line of a key.
    pub fn line(&mut self, entry: &Entry) -> String {
        self.keys = self.keys.saturating_add(1);
        let (kind, held) = match &entry.held {
            Held::Value(value) => ("value", bytes_to_json(value)),
            Held::Members(members) => ("members", json!(members)),
            Held::Fields(fields) => {
                let pairs = fields.iter().map(|(name, value)| json!([name, bytes_to_json(value)]));
                ("fields", pairs.collect())
            }
            Held::List(list) => ("list", list.iter().map(bytes_to_json).collect()),
            Held::Events(events) => {
                let lines = events.iter().map(|(id, fields)| json!({"id": id, "fields": fields}));
                ("events", lines.collect())
            }
        };
        json!({"key": entry.key, kind: held}).to_string()
    }

    /// The last line.
    pub fn end(self) -> String {
        json!({TAIL: self.keys}).to_string()
    }

    /// Keys written so far.
    pub fn keys(&self) -> u64 {
        self.keys
    }
}

/// Reads an export.
///
/// # Errors
/// `Invalid` if it is not one, of a later version, or not complete.
pub fn read_export(text: &str) -> Result<Vec<Entry>> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let head = parse(lines.next().unwrap_or_default())?;
    match head.get(HEAD).and_then(Value::as_u64) {
        Some(FORMAT) => {}
        Some(other) => {
            return Err(Error::invalid("export was made by a later version").with("format", other));
        }
        None => return Err(Error::invalid("file is no export of a catalogue")),
    }
    let mut entries = Vec::new();
    for line in lines.by_ref() {
        let object = parse(line)?;
        if let Some(keys) = object.get(TAIL).and_then(Value::as_u64) {
            let complete = u64::try_from(entries.len()).is_ok_and(|read| read == keys);
            if complete && lines.next().is_none() {
                return Ok(entries);
            }
            return Err(Error::invalid("export is damaged: its number of keys is another one"));
        }
        entries.push(
            entry(object).ok_or_else(|| Error::invalid("export holds a line that is no key"))?,
        );
    }
    Err(Error::invalid("export is cut off: its last line is missing"))
}

fn parse(line: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(line).map_err(|error| {
        Error::invalid("export holds a line that is no JSON object").caused_by(error)
    })
}

fn entry(mut object: Map<String, Value>) -> Option<Entry> {
    let Some(Value::String(key)) = object.remove("key") else { return None };
    let (kind, held) = object.into_iter().next()?;
    let held = match (kind.as_str(), held) {
        ("value", value) => Held::Value(bytes_from_json(&value)?),
        ("members", Value::Array(members)) => {
            let text = |member: &Value| member.as_str().map(str::to_owned);
            Held::Members(members.iter().map(text).collect::<Option<_>>()?)
        }
        ("fields", Value::Array(pairs)) => {
            let pair = |pair: &Value| {
                Some((pair.get(0)?.as_str()?.to_owned(), bytes_from_json(pair.get(1)?)?))
            };
            Held::Fields(pairs.iter().map(pair).collect::<Option<_>>()?)
        }
        ("list", Value::Array(values)) => {
            Held::List(values.iter().map(bytes_from_json).collect::<Option<_>>()?)
        }
        ("events", Value::Array(events)) => {
            Held::Events(events.into_iter().map(event).collect::<Option<_>>()?)
        }
        _ => return None,
    };
    Some(Entry { key, held })
}

fn event(mut event: Value) -> Option<(Option<String>, AuditFields)> {
    let id = event.get("id").and_then(Value::as_str).map(str::to_owned);
    let fields = serde_json::from_value(event.get_mut("fields")?.take()).ok()?;
    Some((id, fields))
}

fn bytes_to_json(bytes: &Bytes) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({"base64": BASE64.encode(bytes)}),
    }
}

fn bytes_from_json(value: &Value) -> Option<Bytes> {
    match value {
        Value::String(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
        other => BASE64.decode(other.get("base64")?.as_str()?).ok().map(Bytes::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let entry = |key: &str, held| Entry { key: key.to_owned(), held };
        vec![
            entry("a", Held::Value(Bytes::from_static(b"{\"x\":1.0,\"y\":\"\\/\"}"))),
            entry("b", Held::Value(Bytes::from_static(b"\xff\x00\n"))),
            entry("c", Held::Members(vec!["x".into(), "y\n".into()])),
            entry("d", Held::Fields(vec![("f".into(), Bytes::from_static(b"\xfe"))])),
            entry("e", Held::List(vec![Bytes::from_static(b"1"), Bytes::new()])),
            entry(
                "f",
                Held::Events(vec![
                    (Some("1-1".into()), vec![("k".into(), "v".into())]),
                    (None, vec![]),
                ]),
            ),
        ]
    }

    fn export() -> Vec<String> {
        let (mut exported, head) = write_export();
        let mut lines = vec![head];
        lines.extend(entries().iter().map(|entry| exported.line(entry)));
        lines.push(exported.end());
        lines
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(read_export(&export().join("\n")).expect("readable"), entries());
    }

    #[test]
    fn an_export_that_is_cut_anywhere_is_refused() {
        let lines = export();
        for kept in 0..lines.len() {
            assert!(read_export(&lines[..kept].join("\n")).is_err(), "{kept} lines");
        }
        let mut without_one = lines.clone();
        without_one.remove(2);
        assert!(read_export(&without_one.join("\n")).is_err());
        assert!(read_export("{\"mountable_catalog\":2}\n{\"keys\":0}").is_err());
        assert!(read_export("id,name\n1,x\n").is_err());
    }
}

//! What the catalogue knows about mirrors: the formats of a SuperTable, in the document that the
//! Python library reads and writes, and how far each table's mirrors are, which is ours.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::MirrorFormat;
use crate::catalog::{DocKey, Expected, SharedCatalog, lenient_json};
use crate::error::{Error, ErrorKind, Result};
use crate::ident::{SuperId, TableId};
use crate::table::snapshot::JsonMap;

/// How often a document is read anew because somebody else changes it, too.
const ATTEMPTS: usize = 8;

/// How far a mirror is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MirrorState {
    /// Version of the table that it shows; `None` = none yet.
    pub version: Option<u64>,
    /// When it was last brought up to the newest version, milliseconds since 1970.
    pub refreshed_ms: Option<i64>,
    /// Why the last attempt failed; `None` = it did not.
    pub error: Option<String>,
    /// When that was.
    pub failed_ms: Option<i64>,
}

/// The mirrors of a table by format.
pub type States = BTreeMap<MirrorFormat, MirrorState>;

/// The formats that a SuperTable's tables are mirrored in.
///
/// # Errors
/// `Corrupt` if the document cannot be read; those of the catalogue.
pub async fn formats_of(catalog: &SharedCatalog, id: &SuperId) -> Result<Vec<MirrorFormat>> {
    match catalog.doc(&DocKey::Mirrors(id.clone())).await? {
        None => Ok(Vec::new()),
        Some(bytes) => Ok(known(&parse(&bytes, id)?)),
    }
}

fn parse(bytes: &[u8], id: &SuperId) -> Result<JsonMap> {
    match lenient_json(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(Error::corrupt("the document about mirrors is not understood").with("super", id)),
    }
}

/// Formats that we know, in our order; the library's Lua turns an empty list into an object.
fn known(document: &JsonMap) -> Vec<MirrorFormat> {
    let named = document.get("formats").and_then(Value::as_array);
    let named: Vec<MirrorFormat> =
        named.into_iter().flatten().filter_map(|format| format.as_str()?.parse().ok()).collect();
    MirrorFormat::ALL.into_iter().filter(|format| named.contains(format)).collect()
}

/// Switches a format on or off; whether that changed anything. Formats that only the Python
/// library knows, and other members of the document, stay.
///
/// # Errors
/// `Busy` if others change the document all the time; as [`formats_of`].
pub async fn set_format(
    catalog: &SharedCatalog,
    id: &SuperId,
    format: MirrorFormat,
    enabled: bool,
    now_ms: i64,
) -> Result<bool> {
    let key = DocKey::Mirrors(id.clone());
    for _ in 0..ATTEMPTS {
        let stored = catalog.doc(&key).await?;
        let mut document = stored.as_deref().map(|bytes| parse(bytes, id)).transpose()?;
        let document = document.get_or_insert_default();
        if known(document).contains(&format) == enabled {
            return Ok(false);
        }
        let mut formats =
            document.get("formats").and_then(Value::as_array).cloned().unwrap_or_default();
        let name = format.name().to_ascii_uppercase();
        formats.retain(|one| !one.as_str().is_some_and(|one| one.eq_ignore_ascii_case(&name)));
        if enabled {
            formats.push(name.into());
        }
        document.insert("formats".to_owned(), Value::Array(formats));
        document.insert("ts".to_owned(), json!(now_ms));
        let text = Bytes::from(Value::Object(document.clone()).to_string());
        let expected = stored.map_or(Expected::Absent, Expected::Is);
        if catalog.put_doc(&key, expected, text).await? {
            return Ok(true);
        }
    }
    Err(Error::new(ErrorKind::Busy, "others change the mirrors all the time").with("super", id))
}

/// How far a table's mirrors are. A document that cannot be read is as good as none.
///
/// # Errors
/// Those of the catalogue.
pub async fn states_of(catalog: &SharedCatalog, table: &TableId) -> Result<States> {
    let stored = catalog.doc(&DocKey::MirrorState(table.clone())).await?;
    Ok(stored.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
}

/// Notes how far a mirror is. It is for people only: what a mirror shows is told by its objects.
///
/// # Errors
/// Those of the catalogue.
pub async fn save_state(
    catalog: &SharedCatalog,
    table: &TableId,
    format: MirrorFormat,
    state: &MirrorState,
) -> Result<()> {
    let key = DocKey::MirrorState(table.clone());
    let mut states = states_of(catalog, table).await?;
    states.insert(format, state.clone());
    let text = serde_json::to_vec(&states)
        .map_err(|error| Error::internal("spell the state of a mirror").caused_by(error))?;
    catalog.put_doc(&key, Expected::Any, text.into()).await.map(|_| ())
}

//! Refused writes, kept where every gateway finds them, and the lake's secrets.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Lake, SuperId, TableId};
use crate::catalog::{DocKey, Expected, LogKey};
use crate::error::{Error, Result};
use crate::telemetry;

/// A write that was refused: one line of `errors.csv`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// When, RFC 3339.
    pub time: String,
    /// Which attempt to save; names the kept text.
    pub attempt: String,
    /// Client machine.
    pub client: String,
    /// User.
    pub user: String,
    /// File name the text was meant for.
    pub file: String,
    /// Line in the refused text, from 1; 0 = the text as a whole.
    pub line: u64,
    /// Column number, from 1; 0 = the line as a whole.
    pub column: u32,
    /// Column name.
    pub column_name: String,
    /// The offending value.
    pub value: String,
    /// Stable code, `MNT-1203`.
    pub code: String,
    /// The errno that the tool was given, by name.
    pub errno: String,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub remedy: String,
    /// Where the refused text was kept.
    pub kept: String,
    /// The refused row as received.
    pub row: String,
}

impl Lake {
    /// Records refused rows, so that every gateway shows them.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn record_refusals(&self, id: &TableId, refusals: &[Refusal]) -> Result<()> {
        telemetry::SAVES_REFUSED.add(1);
        self.append_refusals(&LogKey::TableRefusals(id.clone()), refusals).await
    }

    /// Records a refusal that belongs to no table (a name that is not allowed).
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn record_super_refusal(&self, id: &SuperId, refusal: &Refusal) -> Result<()> {
        let one = std::slice::from_ref(refusal);
        let appended = self.append_refusals(&LogKey::SuperRefusals(id.clone()), one).await;
        self.0.listings.changed();
        appended
    }

    async fn append_refusals(&self, key: &LogKey, refusals: &[Refusal]) -> Result<()> {
        let entries: Vec<Bytes> = refusals
            .iter()
            .filter_map(|refusal| serde_json::to_vec(refusal).ok())
            .map(Bytes::from)
            .collect();
        self.0.catalog.append(key, &entries, self.0.refusals_kept).await
    }

    /// The newest refusals of a table, oldest first.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn refusals(&self, id: &TableId, last: usize) -> Result<Vec<Refusal>> {
        let entries = self.0.catalog.read_log(&LogKey::TableRefusals(id.clone()), last).await?;
        Ok(entries.iter().filter_map(|entry| serde_json::from_slice(entry).ok()).collect())
    }

    /// The newest refusals of a SuperTable that belong to no table, oldest first.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn super_refusals(&self, id: &SuperId, last: usize) -> Result<Vec<Refusal>> {
        let entries = self.0.catalog.read_log(&LogKey::SuperRefusals(id.clone()), last).await?;
        Ok(entries.iter().filter_map(|entry| serde_json::from_slice(entry).ok()).collect())
    }

    /// The lake's secret of that name, made on first use; the same for every gateway.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn secret(&self, name: &'static str) -> Result<[u8; 32]> {
        let key = DocKey::Secret(name);
        for _ in 0..2 {
            if let Some(stored) = self.0.catalog.doc(&key).await? {
                return Ok(*blake3::hash(&stored).as_bytes());
            }
            let fresh: Vec<u8> = (0..4).flat_map(|_| self.0.clock.random().to_le_bytes()).collect();
            let fresh = random_text(&fresh);
            if self.0.catalog.put_doc(&key, Expected::Absent, fresh.clone()).await? {
                return Ok(*blake3::hash(&fresh).as_bytes());
            }
        }
        Err(Error::unavailable("read the lake's secret").with("name", name))
    }
}

fn random_text(bytes: &[u8]) -> Bytes {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

//! Which version wrote each row, and who made it.

use std::sync::Arc;

use super::history::{put_field, rendered};
use super::rows::cut;
use super::{Lake, Principal, Snapshot};
use crate::access::Permission;
use crate::clock::rfc3339;
use crate::csv;
use crate::error::Result;

impl Lake {
    /// The rows of a version as CSV that is handed to `out` part by part, in front of each the
    /// version that wrote it, its time, role and client; nothing where that is older than the
    /// history that is kept.
    ///
    /// # Errors
    /// `Denied`, `Corrupt`, `Unavailable`; those of `out`.
    pub async fn blame(
        &self,
        who: &Principal,
        snapshot: &Arc<Snapshot>,
        out: &mut (dyn FnMut(&[u8]) -> Result<()> + Send),
    ) -> Result<()> {
        self.allow(who, &snapshot.table, Permission::Read).await?;
        let mut head = b"_version,_time,_role,_client,".to_vec();
        csv::render_header(&snapshot.schema, &mut head);
        out(&head)?;
        let origins = self.table(&snapshot.table).origins(snapshot).await?;
        let (runs, _) = self.runs_of(snapshot, 0..u64::MAX).await?;
        for run in runs.into_iter().flat_map(cut) {
            let reader = self.0.views.reader();
            let batch = reader.read_rows(&run.file, run.rows.clone(), &snapshot.schema).await?;
            let mut part = Vec::new();
            for (row, line) in run.rows.clone().zip(rendered(&batch)?) {
                match origins.of(&run.file.path, row)? {
                    None => part.extend_from_slice(b",,,,"),
                    Some(writer) => {
                        let time = rfc3339(writer.committed_ms.saturating_mul(1_000_000));
                        part.extend_from_slice(format!("{},{time},", writer.version).as_bytes());
                        put_field(&writer.lineage.role, &mut part);
                        put_field(&writer.lineage.client, &mut part);
                    }
                }
                part.extend_from_slice(&line);
            }
            out(&part)?;
        }
        Ok(())
    }
}

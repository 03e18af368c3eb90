//! Maintenance: files are put together, on demand and in the background.

use std::sync::{Arc, PoisonError};

use super::{Lake, Principal, TableId};
use crate::access::Permission;
use crate::config::Manage;
use crate::error::{Error, ErrorKind, Result};
use crate::table::{COMPACT, CompactSettings, Compacted, VACUUM, VacuumSettings, Vacuumed};
use crate::telemetry;

impl Lake {
    /// Puts small files of a table together and leaves deleted rows behind. What readers see does
    /// not change.
    ///
    /// # Errors
    /// `NotFound`, `Denied`, `ReadOnly`, `Busy` if the table changes too much meanwhile,
    /// `Unavailable`.
    pub async fn compact(
        &self,
        who: &Principal,
        id: &TableId,
        settings: &CompactSettings,
    ) -> Result<Compacted> {
        self.allow(who, id, Permission::Write).await?;
        if id.super_id().branch().is_some() {
            return Err(Error::unsupported(
                "branches are not compacted: that would copy the data of the SuperTable",
            )
            .with("table", id));
        }
        let detail = serde_json::json!({"table": id.simple_name.as_str(), "role_name": who.role});
        let audit = self.event(who, id, "table_compact", detail);
        let lineage = self.lineage(who, COMPACT, "");
        let mut done = self.table(id).compact(settings, lineage, audit).await?;
        if done.files_before > 0 {
            telemetry::COMPACTIONS.add(1);
            tracing::info!(
                table = %id, files_before = done.files_before, files_after = done.files_after,
                rows_dropped = done.rows_dropped, "table compacted"
            );
        }
        done.snapshot = self.remember(done.snapshot);
        Ok(done)
    }

    /// Removes old versions of a table and the objects that only they need.
    ///
    /// # Errors
    /// As [`crate::table::Table::vacuum`]; `Denied`, `ReadOnly`.
    pub async fn vacuum(
        &self,
        who: &Principal,
        id: &TableId,
        settings: &VacuumSettings,
        message: &str,
    ) -> Result<Vacuumed> {
        self.allow(who, id, Permission::Write).await?;
        let detail = serde_json::json!({
            "table": id.simple_name.as_str(), "role_name": who.role,
            "older_than_s": settings.older_than.as_secs(),
        });
        let audit = self.event(who, id, "table_vacuum", detail);
        let lineage = self.lineage(who, VACUUM, message);
        if !settings.rehearsal {
            self.before_vacuum(who, id, settings.older_than).await?;
        }
        let mut done = self.table(id).vacuum(settings, lineage, audit).await?;
        if !settings.rehearsal && done.versions + done.objects > 0 {
            tracing::info!(
                table = %id, versions = done.versions, objects = done.objects,
                bytes = done.bytes, "table vacuumed"
            );
        }
        done.snapshot = self.remember(done.snapshot);
        Ok(done)
    }

    /// Compacts the tables that were written through this lake since the last call, where that is
    /// worth it; the number of those that were.
    pub async fn compact_written(&self, who: &Principal, settings: &CompactSettings) -> usize {
        let written = {
            let mut written = self.0.written.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *written)
        };
        let mut compacted = 0;
        for id in written {
            match self.compact(who, &id, settings).await {
                Ok(done) => compacted += usize::from(done.files_before > 0),
                // Dropped, or somebody is faster: there will be another time.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(table = %id, %error, "go on without compacting a table");
                    if matches!(error.kind(), ErrorKind::Busy | ErrorKind::Unavailable) {
                        self.was_written(&id);
                    }
                }
            }
        }
        compacted
    }

    /// Starts maintenance in the background; it ends when the task is aborted, at any point
    /// without harm.
    pub fn manage(&self, who: Principal, settings: &Manage) -> Option<tokio::task::JoinHandle<()>> {
        if settings.interval.is_zero() || who.read_only {
            return None;
        }
        let wanted = CompactSettings {
            files_min: settings.files_min,
            dead_percent: u64::from(settings.dead_percent),
            bytes_max: settings.bytes_max,
            ..CompactSettings::background()
        };
        let (lake, interval) = (self.clone(), settings.interval);
        Some(tokio::spawn(async move {
            let clock = Arc::clone(lake.clock());
            loop {
                clock.sleep(interval).await;
                lake.compact_written(&who, &wanted).await;
            }
        }))
    }

    /// Notes a table for the next look.
    pub(super) fn was_written(&self, id: &TableId) {
        if id.super_id().branch().is_some() {
            return;
        }
        let mut written = self.0.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(id.clone());
        drop(written);
        self.0.mirrors.changed(id);
    }
}

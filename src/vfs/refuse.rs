//! A refused save: nothing of it in the table, its text kept, the reason where the user looks.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::gateway::Vfs;
use super::slot::{Edit, EditKey, Slot, Trigger};
use super::text::Frozen;
use super::{Caller, FsError};
use crate::clock::{random_hex, rfc3339};
use crate::csv::Rejection;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::{Refusal, SuperId, TableId};

/// Longest refused text that is kept, in bytes.
const KEPT_BYTES_MAX: u64 = 256 << 20;
/// Longest value or row in a refusal, in bytes.
const FIELD_BYTES_MAX: usize = 1024;

impl Vfs {
    /// Records a refusal, keeps the text, forgets the edit; the error for the call.
    pub(super) async fn refused(
        &self,
        slot: &Arc<Slot>,
        key: &EditKey,
        edit: &Edit,
        text: &Frozen,
        kind: ErrorKind,
        rejections: &[Rejection],
    ) -> Result<()> {
        let first = rejections.first();
        let reason = first.map_or_else(|| "refused".to_owned(), Rejection::to_string);
        let attempt = self.new_attempt();
        let kept = self.keep_text(slot, edit, text, &attempt).await;
        let template = self.template(&edit.caller, &slot.table, &attempt, &kept, kind);
        let refusals: Vec<Refusal> =
            rejections.iter().map(|rejection| describe(&template, rejection)).collect();
        self.forget_edit(slot, key, &refusals).await;
        Err(Error::new(kind, reason).with("table", &slot.table).with("attempt", attempt))
    }

    /// The same for a save that failed for another reason than its text.
    pub(super) async fn failed(
        &self,
        slot: &Arc<Slot>,
        key: &EditKey,
        edit: &Edit,
        text: &Frozen,
        error: Error,
    ) -> Result<()> {
        let attempt = self.new_attempt();
        let kept = self.keep_text(slot, edit, text, &attempt).await;
        let mut refusal = self.template(&edit.caller, &slot.table, &attempt, &kept, error.kind());
        refusal.reason = error.to_string();
        (refusal.code, refusal.remedy) = advice(error.kind());
        self.forget_edit(slot, key, &[refusal]).await;
        Err(error)
    }

    /// Ends an edit whose bytes could not be staged: its client was told, so nothing of it may
    /// become rows. The error for the call.
    pub(super) async fn give_up(&self, slot: &Arc<Slot>, key: &EditKey, error: FsError) -> FsError {
        let FsError::Lake(cause) = &error else { return error };
        let edit = slot.state().edits.get(key).cloned();
        let Some(edit) = edit else { return error };
        let attempt = self.new_attempt();
        let mut refusal = self.template(&edit.caller, &slot.table, &attempt, "", cause.kind());
        refusal.reason = cause.to_string();
        (refusal.code, refusal.remedy) = advice(cause.kind());
        self.forget_edit(slot, key, &[refusal]).await;
        // What is still on its way belongs to the same save; laid over the table it would be half
        // of it.
        self.note_verdict(slot, key, &edit, Trigger::Certain, cause);
        error
    }

    async fn forget_edit(&self, slot: &Arc<Slot>, key: &EditKey, refusals: &[Refusal]) {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        self.undo(slot, key);
        // What an editor had put aside to make room for the refused text comes back.
        self.replaced(slot);
        self.table_directory_changed(&slot.table);
        self.raise_ctime(slot);
        for refusal in refusals.iter().take(1) {
            tracing::info!(table = %slot.table, client = refusal.client, line = refusal.line,
                code = refusal.code, attempt = refusal.attempt, reason = refusal.reason,
                "save refused");
        }
        if let Err(error) = self.lake.record_refusals(&slot.table, refusals).await {
            tracing::warn!(table = %slot.table, %error, "the reason of a refusal is only here");
        }
        self.generated_changed();
    }

    fn new_attempt(&self) -> String {
        let ms = self.clock.now_ns().div_euclid(1_000_000);
        let random = random_hex(&*self.clock);
        format!("{ms}-{}", random.get(..6).unwrap_or(&random))
    }

    fn template(
        &self,
        caller: &Caller,
        table: &TableId,
        attempt: &str,
        kept: &str,
        kind: ErrorKind,
    ) -> Refusal {
        Refusal {
            time: rfc3339(self.clock.now_ns()),
            attempt: attempt.to_owned(),
            client: caller.client.to_string(),
            user: caller.uid.to_string(),
            file: format!("{}.csv", table.simple_name),
            errno: errno_name(kind).to_owned(),
            kept: kept.to_owned(),
            ..Refusal::default()
        }
    }

    /// Records why a configuration was not taken; the error for the call.
    pub(super) async fn refuse_config(
        &self,
        caller: &Caller,
        table: &TableId,
        rejections: &[Rejection],
    ) -> Error {
        let attempt = self.new_attempt();
        let mut template = self.template(caller, table, &attempt, "", ErrorKind::Invalid);
        "config.toml".clone_into(&mut template.file);
        let refusals: Vec<Refusal> =
            rejections.iter().map(|rejection| describe(&template, rejection)).collect();
        if let Err(error) = self.lake.record_refusals(table, &refusals).await {
            tracing::warn!(%table, %error, "the reason of a refusal is only here");
        }
        self.generated_changed();
        let reason = rejections.first().map_or_else(|| "refused".to_owned(), Rejection::to_string);
        Error::invalid(reason).with("table", table).with("attempt", attempt)
    }

    /// Refuses a name that looks like a table and cannot be one.
    pub(super) async fn refuse_name(&self, caller: &Caller, id: &SuperId, name: &[u8]) -> FsError {
        let name = String::from_utf8_lossy(name).into_owned();
        let reason = format!(
            "{name:?} cannot be the name of a table: use lower-case letters, digits and _, \
             beginning with a letter"
        );
        let refusal = Refusal {
            time: rfc3339(self.clock.now_ns()),
            attempt: self.new_attempt(),
            client: caller.client.to_string(),
            user: caller.uid.to_string(),
            file: name,
            code: "MNT-1100".to_owned(),
            errno: errno_name(ErrorKind::Invalid).to_owned(),
            reason: reason.clone(),
            remedy: "choose another name, for example my_orders.csv".to_owned(),
            ..Refusal::default()
        };
        if let Err(error) = self.lake.record_super_refusal(id, &refusal).await {
            tracing::warn!(super_id = %id, %error, "the reason of a refusal is only here");
        }
        self.generated_changed();
        FsError::Lake(Error::invalid(reason))
    }

    /// Directory of the refused texts of a table.
    pub(super) fn rejected_directory(&self, table: &TableId) -> PathBuf {
        // The names were validated: none can leave the directory.
        let mut path = self.settings.state.join("rejected");
        path.push(table.organization.as_str());
        path.push(table.super_name.as_str());
        path.push(table.simple_name.as_str());
        path
    }

    /// Writes the refused text down; its path below the mount, empty if it could not be kept.
    async fn keep_text(&self, slot: &Slot, edit: &Edit, text: &Frozen, attempt: &str) -> String {
        match self.try_keep_text(slot, edit, text, attempt).await {
            Ok(()) => format!("{}/rejected/{attempt}.csv", slot.table.simple_name),
            Err(error) => {
                tracing::warn!(table = %slot.table, %error, "the refused text is lost");
                String::new()
            }
        }
    }

    async fn try_keep_text(
        &self,
        slot: &Slot,
        edit: &Edit,
        text: &Frozen,
        attempt: &str,
    ) -> Result<()> {
        use std::io::Write as _;
        let directory = self.rejected_directory(&slot.table);
        super::gateway::make_private_directory(&directory)?;
        let place = directory.join(format!("{attempt}.csv"));
        let mut file = super::staged::private().write(true).truncate(true).open(place)?;
        let mut at = 0;
        if let Some(base) = edit.same_base()
            && text.len() > base.len()
            && text.content().unwritten_from(0) >= base.len()
        {
            // Rows were added: only they were refused, so only they have to be repaired.
            file.write_all(base.header())?;
            at = base.len();
        }
        let end = text.len().min(at.saturating_add(KEPT_BYTES_MAX));
        while at < end {
            let next = (at + (1 << 20)).min(end);
            for part in text.read(at..next).await? {
                file.write_all(&part)?;
            }
            at = next;
        }
        Ok(())
    }
}

fn describe(template: &Refusal, rejection: &Rejection) -> Refusal {
    Refusal {
        line: rejection.line,
        column: rejection.column.unwrap_or(0),
        column_name: rejection.column_name.clone().unwrap_or_default(),
        value: bounded(&rejection.value),
        code: rejection.code.to_owned(),
        reason: rejection.reason.clone(),
        remedy: rejection.remedy.clone(),
        row: bounded(String::from_utf8_lossy(&rejection.row).trim_end_matches(['\n', '\r'])),
        ..template.clone()
    }
}

fn bounded(text: &str) -> String {
    let mut end = text.len().min(FIELD_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// Code and remedy of failures that are not the text's fault.
fn advice(kind: ErrorKind) -> (String, String) {
    let (code, remedy) = match kind {
        ErrorKind::Conflict => ("MNT-1301", "read the file again and repeat the change"),
        ErrorKind::Denied => ("MNT-1302", "ask for a role that may write this table"),
        ErrorKind::ReadOnly => ("MNT-1303", "write through another export"),
        ErrorKind::Full | ErrorKind::TooLarge => ("MNT-1304", "free space and repeat the save"),
        ErrorKind::NotFound => ("MNT-1305", "the table was dropped; save under a new name"),
        ErrorKind::Unknown => (
            "MNT-1306",
            "the commit may have happened: read the table again before you repeat the save",
        ),
        _ => ("MNT-1307", "repeat the save when the back end answers again"),
    };
    (code.to_owned(), remedy.to_owned())
}

/// Name of the errno that a kind is answered with.
pub(super) fn errno_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "ENOENT",
        ErrorKind::AlreadyExists => "EEXIST",
        ErrorKind::Denied => "EACCES",
        ErrorKind::ReadOnly => "EROFS",
        ErrorKind::Invalid => "EINVAL",
        ErrorKind::Busy => "EAGAIN",
        ErrorKind::Full => "ENOSPC",
        ErrorKind::TooLarge => "EFBIG",
        ErrorKind::Unsupported => "ENOTSUP",
        ErrorKind::Conflict
        | ErrorKind::Unavailable
        | ErrorKind::Corrupt
        | ErrorKind::Unknown
        | ErrorKind::Internal => "EIO",
    }
}

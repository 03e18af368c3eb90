//! `mountable doctor`: whether the back ends can be trusted, and what to do if not.

use std::sync::Arc;

use crate::cli::console::{Console, Form};
use crate::cli::fsck::findings;
use crate::cli::{Exit, Session};
use crate::error::Result;
use crate::lake::{self, Severity};

/// Table of mounts of this machine; other systems than Linux have none.
const MOUNTS: &str = "/proc/mounts";

/// Examines everything but the tables.
pub(super) async fn doctor(session: &Session, console: &mut Console) -> Result<Exit> {
    let mounts = std::fs::read_to_string(MOUNTS).unwrap_or_default();
    let found = lake::doctor(&session.settings, Arc::clone(&session.clock), &mounts).await;
    match console.form {
        Form::Json => console.json(&found)?,
        Form::Text => findings(&found, console)?,
    }
    let failed = found.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

//! Moving what a catalogue holds into another one, by way of a text.

use crate::catalog::{self, Entry, SharedTransfer};
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};

/// Writes everything that the catalogue holds, line by line, to `out`; the number of keys. Locks
/// and whatever else expires are left behind. The text holds the key of the file handles: it must
/// be kept as the catalogue itself is.
///
/// Gateways may go on meanwhile, but what they commit after their table was read is only found
/// again by `fsck --rebuild`.
///
/// # Errors
/// Those of opening and reading the catalogue, and of `out`.
pub async fn export_catalog(
    settings: &Settings,
    clock: SharedClock,
    mut out: impl FnMut(&str) -> Result<()>,
) -> Result<u64> {
    let from = catalog::open_transfer(settings, clock).await?;
    let (mut exported, head) = catalog::write_export();
    out(&head)?;
    for key in from.keys().await? {
        if let Some(held) = from.held(&key).await? {
            out(&exported.line(&Entry { key, held }))?;
        }
    }
    let keys = exported.keys();
    out(&exported.end())?;
    Ok(keys)
}

/// Fills an empty catalogue with what [`export_catalog`] wrote; the number of keys. A transfer
/// that broke off can be repeated.
///
/// # Errors
/// `Conflict` if the catalogue holds organizations, `Invalid` if the text is not complete; those of
/// opening and writing the catalogue.
pub async fn import_catalog(settings: &Settings, clock: SharedClock, text: &str) -> Result<u64> {
    let mut entries = catalog::read_export(text)?;
    let to: SharedTransfer = catalog::open_transfer(settings, clock).await?;
    if let Some(key) = to.keys().await?.iter().find(|key| catalog::fill_order(key).0) {
        return Err(Error::new(
            ErrorKind::Conflict,
            "the catalogue holds a lake already: import into an empty one",
        )
        .with("key", key));
    }
    entries.sort_by(|a, b| catalog::fill_order(&a.key).cmp(&catalog::fill_order(&b.key)));
    let mut keys = 0_u64;
    for entry in &entries {
        to.hold(entry).await?;
        keys = keys.saturating_add(1);
    }
    Ok(keys)
}

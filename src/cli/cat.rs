//! `mountable cat`: the bytes that the file below the mount has.

use crate::cli::console::Console;
use crate::cli::{Exit, Session, address};
use crate::error::Result;

/// Bytes asked for at a time.
const CHUNK: u64 = 4 << 20;

/// Prints a table as CSV.
pub(super) async fn cat(session: &Session, text: &str, console: &mut Console) -> Result<Exit> {
    let (table, reference) = address::table_at(text)?;
    let lake = session.lake().await?;
    let snapshot = lake.resolve(&session.who(), &table, reference).await?;
    let view = lake.view_of(&snapshot).await?;
    let mut offset = 0;
    while offset < view.len() {
        let end = view.len().min(offset.saturating_add(CHUNK));
        for part in view.read_at(offset..end).await? {
            console.write(&part)?;
        }
        offset = end;
    }
    Ok(Exit::Ok)
}

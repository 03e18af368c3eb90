//! `mountable catalog`: moving a lake into another catalogue.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::cli::args::CatalogAction;
use crate::cli::console::Console;
use crate::cli::{Exit, Session};
use crate::error::{Error, Result};
use crate::lake;

/// Exports or imports.
pub(super) async fn catalog(
    session: &Session,
    action: &CatalogAction,
    console: &mut Console,
) -> Result<Exit> {
    let clock = Arc::clone(&session.clock);
    match action {
        CatalogAction::Export { file } => {
            let keys = export(session, file, console).await?;
            console.note(&format!("exported {keys} keys"));
        }
        CatalogAction::Import { file } => {
            if session.settings.read_only {
                return Err(Error::new(
                    crate::error::ErrorKind::ReadOnly,
                    "the settings say that nothing may be written",
                ));
            }
            let text = read(file)?;
            let keys = lake::import_catalog(&session.settings, clock, &text).await?;
            console.note(&format!("imported {keys} keys; check with `mountable fsck`"));
        }
    }
    Ok(Exit::Ok)
}

async fn export(session: &Session, file: &Path, console: &mut Console) -> Result<u64> {
    let clock = Arc::clone(&session.clock);
    if file == Path::new("-") {
        return lake::export_catalog(&session.settings, clock, |line| console.line(line)).await;
    }
    let named = |error: std::io::Error| Error::from(error).with("file", file.display());
    // Only for its owner: it holds the key of the file handles.
    let target = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut target = std::io::BufWriter::new(target.map_err(named)?);
    let done = lake::export_catalog(&session.settings, clock, |line| {
        writeln!(target, "{line}").map_err(named)
    });
    let keys = done.await?;
    target.flush().map_err(named)?;
    target.get_ref().sync_all().map_err(named)?;
    Ok(keys)
}

fn read(file: &Path) -> Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file).map_err(|error| Error::from(error).with("file", file.display()))
}

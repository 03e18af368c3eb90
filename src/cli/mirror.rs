//! `mountable mirror`.

use clap::Subcommand;

use crate::cli::compact::tables_of;
use crate::cli::console::{Console, Form};
use crate::cli::{Exit, Session};
use crate::clock::rfc3339;
use crate::error::{Error, ErrorKind, Result};
use crate::ident::SuperId;
use crate::lake::{MirrorFormat, MirrorStatus};

/// `mirror`.
#[derive(Debug, Subcommand)]
pub(super) enum MirrorAction {
    /// Mirrors all tables of a SuperTable from now on; `serve` keeps the mirrors up to date
    Enable {
        /// ORG/SUPER
        place: String,
        /// The format: delta, iceberg or parquet
        format: MirrorFormat,
    },
    /// Mirrors them no longer; what was mirrored stays
    Disable {
        /// ORG/SUPER
        place: String,
        /// The format: delta, iceberg or parquet
        format: MirrorFormat,
        /// Remove the mirrors' files as well
        #[arg(long)]
        remove: bool,
    },
    /// Says how far the mirrors are; exit code 1 if one lags or failed
    Status {
        /// ORG/SUPER
        place: String,
    },
    /// Brings mirrors up to the newest versions now
    Refresh {
        /// ORG/SUPER, or ORG/SUPER/TABLE
        place: String,
        /// Only these formats; default: all that are enabled
        formats: Vec<MirrorFormat>,
    },
}

/// Switches mirrors on and off, refreshes them, says how far they are.
pub(super) async fn mirror(
    session: &Session,
    action: &MirrorAction,
    console: &mut Console,
) -> Result<Exit> {
    match action {
        MirrorAction::Enable { place, format } => enable(session, place, *format, console).await,
        MirrorAction::Disable { place, format, remove } => {
            disable(session, place, (*format, *remove), console).await
        }
        MirrorAction::Status { place } => status(session, place, console).await,
        MirrorAction::Refresh { place, formats } => refresh(session, place, formats, console).await,
    }
}

fn super_of(place: &str) -> Result<SuperId> {
    SuperId::parse(place.trim_matches('/'))
}

async fn enable(
    session: &Session,
    place: &str,
    format: MirrorFormat,
    console: &mut Console,
) -> Result<Exit> {
    let id = super_of(place)?;
    let lake = session.lake().await?;
    let changed = lake.set_mirror(&session.who(), &id, format, true).await?;
    console.note(&match changed {
        true => format!(
            "the tables of {id} are mirrored in {format} from now on: by `mountable serve`, or \
             now by `mountable mirror refresh {id}`"
        ),
        false => format!("the tables of {id} are mirrored in {format} already"),
    });
    Ok(Exit::Ok)
}

async fn disable(
    session: &Session,
    place: &str,
    (format, remove): (MirrorFormat, bool),
    console: &mut Console,
) -> Result<Exit> {
    let id = super_of(place)?;
    let lake = session.lake().await?;
    let changed = lake.set_mirror(&session.who(), &id, format, false).await?;
    console.note(&match changed {
        true => format!("the tables of {id} are no longer mirrored in {format}"),
        false => format!("the tables of {id} were not mirrored in {format}"),
    });
    if remove {
        let removed = lake.remove_mirrors(&session.who(), &id, format).await?;
        console.note(&format!("{removed} files of mirrors removed"));
    }
    Ok(Exit::Ok)
}

async fn status(session: &Session, place: &str, console: &mut Console) -> Result<Exit> {
    let lake = session.lake().await?;
    let report = lake.mirror_report(&session.who(), &super_of(place)?).await?;
    if console.form == Form::Json {
        console.json(&report)?;
    } else if report.formats.is_empty() {
        console.note("no mirrors are enabled");
    } else {
        for mirror in &report.mirrors {
            console.line(&line(mirror))?;
        }
    }
    let behind = |mirror: &MirrorStatus| mirror.lag != Some(0) || mirror.state.error.is_some();
    Ok(if report.mirrors.iter().any(behind) { Exit::Failed } else { Exit::Ok })
}

fn line(mirror: &MirrorStatus) -> String {
    let MirrorStatus { table, format, newest, state, lag } = mirror;
    let mut text = match (state.version, lag) {
        (Some(version), Some(0)) => format!("{table} {format}: version {version}"),
        (Some(version), lag) => {
            let lag = lag.unwrap_or_default();
            format!("{table} {format}: version {version} of {newest}, {lag} behind")
        }
        (None, _) => format!("{table} {format}: nothing yet of version {newest}"),
    };
    if let Some(at) = state.refreshed_ms {
        text.push_str(&format!(", refreshed {}", rfc3339(at.saturating_mul(1_000_000))));
    }
    if let Some(error) = &state.error {
        text.push_str(&format!("; last attempt failed: {error}"));
    }
    text
}

async fn refresh(
    session: &Session,
    place: &str,
    formats: &[MirrorFormat],
    console: &mut Console,
) -> Result<Exit> {
    let lake = session.lake().await?;
    let mut failed = None;
    for id in tables_of(&lake, place).await? {
        let enabled = lake.mirror_formats(&id.super_id()).await?;
        if let Some(other) = formats.iter().find(|format| !enabled.contains(format)) {
            return Err(Error::new(ErrorKind::Invalid, "the mirror is not enabled")
                .with("super", id.super_id())
                .with("format", other));
        }
        if enabled.is_empty() {
            console.note(&format!("no mirrors are enabled for {}", id.super_id()));
        }
        let wanted = if formats.is_empty() { &enabled } else { formats };
        for format in wanted {
            match lake.refresh_mirror(&session.who(), &id, *format).await {
                Ok(done) => {
                    console.note(&format!("{id} {format}: {} versions published", done.published))
                }
                Err(error) => {
                    // One table that cannot be mirrored does not keep the others from it.
                    console.complain(&format!("{id} {format}: {error}"));
                    failed = failed.or(Some(error));
                }
            }
        }
    }
    failed.map_or(Ok(Exit::Ok), Err)
}

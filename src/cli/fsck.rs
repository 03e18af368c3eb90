//! `mountable fsck`: what is wrong with a lake, and what to do about it.

use crate::cli::address::Place;
use crate::cli::args::Fsck;
use crate::cli::console::{Console, Form};
use crate::cli::{Exit, Session};
use crate::error::Result;
use crate::lake::{Depth, Finding, Lake, LakeRebuilt, LakeReport, Rebuild, Scope, Severity};

/// Checks a lake or a part of it.
pub(super) async fn fsck(session: &Session, fsck: &Fsck, console: &mut Console) -> Result<Exit> {
    let scope = scope(Place::parse(fsck.place.as_deref().unwrap_or_default())?);
    let lake = Lake::open_for_repair(&session.settings, session.clock.clone()).await?;
    if fsck.rebuild {
        let mode = if fsck.dry_run { Rebuild::Plan } else { Rebuild::Do };
        let rebuilt = lake.rebuild(&session.who(), &scope, mode).await?;
        return rebuilt_exit(&rebuilt, mode, console);
    }
    let depth = if fsck.deep { Depth::Text } else { Depth::Documents };
    let report = lake.check(&session.who(), &scope, depth).await?;
    match console.form {
        Form::Json => console.json(&report)?,
        Form::Text => print(&report, console)?,
    }
    Ok(if report.worst() == Some(Severity::Error) { Exit::Failed } else { Exit::Ok })
}

fn rebuilt_exit(rebuilt: &LakeRebuilt, mode: Rebuild, console: &mut Console) -> Result<Exit> {
    match console.form {
        Form::Json => console.json(rebuilt)?,
        Form::Text => {
            findings(&rebuilt.findings, console)?;
            let would = if mode == Rebuild::Plan { "would be " } else { "" };
            for id in &rebuilt.supers {
                console.line(&format!("SuperTable {id} {would}made"))?;
            }
            for (id, version) in &rebuilt.named {
                console.line(&format!("table {id} {would}named, version {version}"))?;
            }
            for (id, version) in &rebuilt.moved {
                console.line(&format!("table {id} {would}moved forward to version {version}"))?;
            }
            console.line(&format!(
                "{} dropped tables {would}put into the trash, {} tables sound",
                rebuilt.trashed, rebuilt.sound
            ))?;
        }
    }
    let failed = rebuilt.findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

pub(super) fn scope(place: Place) -> Scope {
    match place {
        Place::Lake => Scope::Lake,
        Place::Organization(name) => Scope::Organization(name),
        Place::Super(id) => Scope::Super(id),
        Place::Table(id) => Scope::Table(id),
    }
}

pub(super) fn print(report: &LakeReport, console: &mut Console) -> Result<()> {
    findings(&report.findings, console)?;
    let counts = report.counts;
    let count = |severity| report.findings.iter().filter(|f| f.severity == severity).count();
    console.line(&format!(
        "{} tables, {} versions, {} data files, {} rows, {} objects of {} bytes: {} errors, {} \
         warnings, {} notes",
        counts.tables,
        counts.snapshots,
        counts.data_files,
        counts.rows,
        counts.objects,
        counts.bytes,
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Note),
    ))
}

/// Prints findings, the worst last, where the eye is.
pub(super) fn findings(findings: &[Finding], console: &mut Console) -> Result<()> {
    let mut findings: Vec<&Finding> = findings.iter().collect();
    findings.sort_by_key(|finding| (finding.severity, finding.place.clone()));
    for finding in findings {
        let Finding { severity, check, place, what, .. } = finding;
        console.line(&format!("{}: {place}: {what} [{check}]", severity.name()))?;
        if let Some(object) = &finding.object {
            console.line(&format!("    object: {object}"))?;
        }
        if !finding.remedy.is_empty() {
            console.line(&format!("    what to do: {}", finding.remedy))?;
        }
    }
    Ok(())
}

//! `mountable branch` and `mountable merge`.

use clap::Args;

use crate::cli::address::Place;
use crate::cli::console::{Console, Form};
use crate::cli::list::time_text;
use crate::cli::{Exit, Session};
use crate::error::{Error, Result};
use crate::ident::MAIN;
use crate::lake::{
    At, Branch, BranchName, BranchWanted, DropBranch, MergeConflict, MergeOutcome, MergeWanted,
    Reference, Rehearsal, SimpleName, SuperId, TableMerge, Way,
};

const HEAD: &[&str] = &["BRANCH", "MADE", "BY", "MESSAGE"];
const CONFLICT_HEAD: &str = "table,key,column,base,ours,theirs";

/// `branch`.
#[derive(Debug, Args)]
pub(super) struct BranchArgs {
    /// ORG/SUPER
    place: String,
    /// The branch to make or drop; without it, the branches are listed
    name: Option<String>,
    /// Begin with the tables as they were at this time; default: as they are
    #[arg(long, value_name = "TIME", requires = "name", conflicts_with = "delete")]
    at: Option<String>,
    /// Drop the branch, if everything on it was merged
    #[arg(long, short, requires = "name")]
    delete: bool,
    /// Drop it although that loses changes
    #[arg(long, requires = "delete")]
    force: bool,
    /// What the branch is for
    #[arg(long, short, env = "MNT_MESSAGE", default_value = "", hide_env_values = true)]
    message: String,
}

/// `merge`.
#[derive(Debug, Args)]
pub(super) struct MergeArgs {
    /// ORG/SUPER, or ORG/SUPER/TABLE for one table
    place: String,
    /// The branch whose changes are merged; `main` is the SuperTable itself
    from: String,
    /// The branch that takes them; `main` is the SuperTable itself
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    into: String,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Free text for the history
    #[arg(long, short, env = "MNT_MESSAGE", default_value = "", hide_env_values = true)]
    message: String,
}

/// Lists, makes or drops branches.
pub(super) async fn branch(
    session: &Session,
    branch: &BranchArgs,
    console: &mut Console,
) -> Result<Exit> {
    let Place::Super(id) = Place::parse(&branch.place)? else {
        return Err(Error::invalid("expected ORG/SUPER").with("got", &branch.place));
    };
    let Some(name) = &branch.name else { return list(session, &id, console).await };
    let name = named(name)?;
    let lake = session.lake().await?;
    let who = session.who();
    if branch.delete {
        let how = if branch.force { DropBranch::Anyway } else { DropBranch::IfMerged };
        lake.drop_branch(&who, &id.on_branch(&name)?, how).await?;
        console.note(&format!("dropped branch {name} of {id}"));
        return Ok(Exit::Ok);
    }
    let at = match &branch.at {
        None => At::Latest,
        Some(text) => match Reference::parse(text)? {
            Reference { at: at @ At::Time(_), back: 0 } => at,
            _ => return Err(Error::invalid("--at takes a time or a date").with("got", text)),
        },
    };
    let wanted = BranchWanted { name: &name, at, message: &branch.message };
    let made = lake.create_branch(&who, &id, &wanted).await?;
    let tables = lake.tables(&made).await?.len();
    console.note(&format!("made branch {made} with {tables} tables"));
    Ok(Exit::Ok)
}

/// The name of a branch that a user may make.
fn named(text: &str) -> Result<BranchName> {
    let name = BranchName::new(text)?;
    if name.as_transaction().is_some() {
        return Err(Error::invalid("this name is kept for transactions").with("name", text));
    }
    Ok(name)
}

async fn list(session: &Session, id: &SuperId, console: &mut Console) -> Result<Exit> {
    let lake = session.lake().await?;
    let branches = lake.branches(id).await?;
    if branches.is_empty() && !lake.has_super(id).await? {
        return Err(Error::not_found("no such SuperTable").with("name", id));
    }
    if console.form == Form::Json {
        console.json(&branches)?;
        return Ok(Exit::Ok);
    }
    let cells =
        |branch: Branch| vec![branch.name, time_text(branch.made_ms), branch.by, branch.message];
    let rows: Vec<_> = branches.into_iter().map(cells).collect();
    console.table(HEAD, &rows)?;
    Ok(Exit::Ok)
}

/// Merges a branch, or a table of it.
pub(super) async fn merge(
    session: &Session,
    merge: &MergeArgs,
    console: &mut Console,
) -> Result<Exit> {
    let (main, table) = match Place::parse(&merge.place)? {
        Place::Super(id) => (id, None),
        Place::Table(id) => (id.super_id(), Some(id.simple_name)),
        _ => return Err(Error::invalid("expected ORG/SUPER").with("got", &merge.place)),
    };
    let (branch, way) = match (merge.from.as_str(), merge.into.as_str()) {
        (MAIN, MAIN) => return Err(Error::invalid("name a branch").with("got", MAIN)),
        (MAIN, into) => (named(into)?, Way::ToBranch),
        // A transaction is merged table by table where it changed several.
        (from, MAIN) => (BranchName::new(from)?, Way::ToMain),
        _ => {
            let what = "a branch is merged into `main`, or `main` into a branch";
            return Err(Error::invalid(what).with("--into", &merge.into));
        }
    };
    let branch = main.on_branch(&branch)?;
    let lake = session.lake().await?;
    let rehearsal = if merge.dry_run { Rehearsal::Yes } else { Rehearsal::No };
    let table: Option<&SimpleName> = table.as_ref();
    let message = merge.message.as_str();
    let wanted = MergeWanted { branch: &branch, way, table, message, rehearsal };
    let merged = lake.merge(&session.who(), &wanted).await?;
    report(&merged, merge.dry_run, console)
}

/// Tells what happened to each table; conflicts go to standard output.
fn report(merged: &[TableMerge], dry_run: bool, console: &mut Console) -> Result<Exit> {
    let conflicts = merged.iter().any(|table| table.outcome == MergeOutcome::Conflict);
    let exit = if conflicts { Exit::Conflict } else { Exit::Ok };
    if console.form == Form::Json {
        console.json(&merged)?;
        return Ok(exit);
    }
    let would = if dry_run { "would be " } else { "" };
    for table in merged {
        let name = &table.table;
        let counts = format!(
            "{} rows added, {} changed, {} removed",
            table.counts.inserted, table.counts.updated, table.counts.deleted
        );
        console.note(&match table.outcome {
            MergeOutcome::Unchanged => continue,
            MergeOutcome::Merged => format!("{name} {would}merged: {counts}"),
            MergeOutcome::Created => format!("{name} {would}made: {counts}"),
            MergeOutcome::Dropped => format!("{name} {would}dropped"),
            MergeOutcome::Conflict => {
                format!("{name} stays as it is: {} conflicts", table.conflicts.len())
            }
        });
    }
    if merged.iter().all(|table| table.outcome == MergeOutcome::Unchanged) {
        console.note("nothing to merge");
    }
    if conflicts {
        console.line(CONFLICT_HEAD)?;
    }
    for table in merged {
        for conflict in &table.conflicts {
            console.line(&line(&table.table, conflict))?;
        }
    }
    Ok(exit)
}

/// A conflict as a line of CSV. Cells are CSV already, keys and rows are several of them.
fn line(table: &str, conflict: &MergeConflict) -> String {
    let MergeConflict { key, column, base, ours, theirs } = conflict;
    let values = [base, ours, theirs].map(|value| {
        let text = value.as_deref().unwrap_or_default();
        if column.is_empty() || column.contains('.') { quoted(text) } else { text.to_owned() }
    });
    format!("{table},{},{},{}", quoted(key), quoted(column), values.join(","))
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

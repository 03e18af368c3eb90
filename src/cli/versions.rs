//! `mountable show`, `diff` and `restore --to`: old versions of a table.

use std::sync::Arc;

use crate::cli::console::{Console, Form};
use crate::cli::list::{LOG_HEAD, LogRow};
use crate::cli::{Exit, Session, address};
use crate::error::{Error, Result};
use crate::lake::{CommitOutcome, Lake, Reference, Snapshot, TableId};

/// Tells who made a version, and prints what it changed.
pub(super) async fn show(session: &Session, text: &str, console: &mut Console) -> Result<Exit> {
    let (table, reference) = address::table_at(text)?;
    let lake = session.lake().await?;
    let snapshot = lake.resolve(&session.who(), &table, reference).await?;
    let counted = lake.with_counts(&snapshot).await?;
    let rows: Vec<LogRow> = LogRow::of(&counted).collect();
    if console.form == Form::Json {
        console.json(&rows)?;
        return Ok(Exit::Ok);
    }
    for row in rows {
        for (name, cell) in LOG_HEAD.iter().zip(row.cells()) {
            console.line(&format!("# {}: {cell}", name.to_lowercase()))?;
        }
    }
    let back = Reference { back: reference.back.saturating_add(1), ..reference };
    match lake.resolve(&session.who(), &table, back).await {
        Ok(before) => print(&lake, session, [&before, &snapshot], console).await,
        // The first version, or the oldest one that is kept.
        Err(error) if error.kind() == crate::error::ErrorKind::NotFound => Ok(Exit::Ok),
        Err(error) => Err(error),
    }
}

/// Prints the rows of a version with who wrote them.
pub(super) async fn blame(session: &Session, text: &str, console: &mut Console) -> Result<Exit> {
    let (table, reference) = address::table_at(text)?;
    let lake = session.lake().await?;
    let snapshot = lake.resolve(&session.who(), &table, reference).await?;
    lake.blame(&session.who(), &snapshot, &mut |part| console.write(part)).await?;
    Ok(Exit::Ok)
}

/// Prints what changed between two versions.
pub(super) async fn diff(
    session: &Session,
    from: &str,
    to: Option<&str>,
    console: &mut Console,
) -> Result<Exit> {
    let [(old_table, old), (new_table, new)] = sides(from, to)?;
    let lake = session.lake().await?;
    let old = lake.resolve(&session.who(), &old_table, old).await?;
    let new = lake.resolve(&session.who(), &new_table, new).await?;
    print(&lake, session, [&old, &new], console).await
}

async fn print(
    lake: &Lake,
    session: &Session,
    sides: [&Arc<Snapshot>; 2],
    console: &mut Console,
) -> Result<Exit> {
    lake.diff(&session.who(), sides, &mut |part| console.write(part)).await?;
    Ok(Exit::Ok)
}

/// The two sides of a comparison: `T@1 T@2`, `T 1..2`, `T@1 2`, `T@1` (against the newest).
fn sides(from: &str, to: Option<&str>) -> Result<[(TableId, Reference); 2]> {
    let (table, old) = address::table_at(from)?;
    let newest = |text: &str| {
        if text.is_empty() { Ok(Reference::NEWEST) } else { Reference::parse(text) }
    };
    let Some(to) = to else {
        return Ok([(table.clone(), old), (table, Reference::NEWEST)]);
    };
    if let Some((first, second)) = to.split_once("..") {
        if old != Reference::NEWEST {
            return Err(Error::invalid("a version stands on the left twice").with("got", from));
        }
        return Ok([(table.clone(), newest(first)?), (table, newest(second)?)]);
    }
    if to.contains('/') {
        return Ok([(table, old), address::table_at(to)?]);
    }
    Ok([(table.clone(), old), (table, Reference::parse(to)?)])
}

/// Makes a new version that is as an old one was.
pub(super) async fn go_back(
    session: &Session,
    place: &str,
    to: &str,
    console: &mut Console,
) -> Result<Exit> {
    let table = address::table(place)?;
    let lake = session.lake().await?;
    let old = lake.resolve(&session.who(), &table, Reference::parse(to)?).await?;
    match lake.go_back(&session.who(), &table, &old).await? {
        CommitOutcome::Committed { snapshot, inserted, deleted, .. } => console.note(&format!(
            "{table} is as version {} was: version {}, {inserted} rows back, {deleted} rows gone",
            old.version, snapshot.version
        )),
        _ => console.note(&format!("{table} is as version {} was already", old.version)),
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sides_of_a_comparison_are_written_in_several_ways() {
        let check = |from: &str, to: Option<&str>, expected: [&str; 2]| {
            let got = sides(from, to).unwrap();
            let expected = expected.map(|text| address::table_at(text).unwrap());
            assert_eq!(got, expected, "{from} {to:?}");
        };
        check("a/b/c@1", Some("a/b/c@2"), ["a/b/c@1", "a/b/c@2"]);
        check("a/b/c@1", Some("a/b/d"), ["a/b/c@1", "a/b/d"]);
        check("a/b/c", Some("1..2"), ["a/b/c@1", "a/b/c@2"]);
        check("a/b/c", Some("1.."), ["a/b/c@1", "a/b/c"]);
        check("a/b/c", Some("~3..~1"), ["a/b/c~3", "a/b/c~1"]);
        check("a/b/c@1", Some("2"), ["a/b/c@1", "a/b/c@2"]);
        check("a/b/c~1", None, ["a/b/c~1", "a/b/c"]);
        assert!(sides("a/b/c@1", Some("1..2")).is_err());
        assert!(sides("a/b/c", Some("x")).is_err());
    }
}

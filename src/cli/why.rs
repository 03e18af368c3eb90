//! `mountable why`: the last refused writes, why, and what to do about them.
//!
//! For a file below a mount the answer is read through the mount itself (`<table>/errors.csv`),
//! so it needs no configuration; otherwise the lake is asked.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::cli::address::Place;
use crate::cli::console::{Console, Form};
use crate::cli::{Exit, Session};
use crate::error::{Error, Result};
use crate::ident::{OrgName, SuperId, TableId};
use crate::ingest;
use crate::lake::Lake;

type Refused = Map<String, Value>;

/// Tells why the last writes were refused.
pub(super) async fn why(
    session: &Session,
    path: Option<&str>,
    limit: usize,
    console: &mut Console,
) -> Result<Exit> {
    if let Some(file) = path.and_then(errors_beside) {
        let rows = ingest::read_small_csv(&file)?;
        let skip = rows.len().saturating_sub(limit);
        let rows = rows.into_iter().skip(skip);
        let object = |row: Vec<(String, String)>| -> Refused {
            row.into_iter().map(|(name, value)| (name, Value::String(value))).collect()
        };
        return print(rows.map(object).collect(), console);
    }
    if session.settings.lake.is_empty() {
        return Err(Error::invalid(
            "name a file below a mount (mountable why /mnt/lake/acme/shop/orders.csv), or the \
             lake with --lake",
        ));
    }
    let place = Place::parse(path.unwrap_or_default())?;
    let lake = session.lake().await?;
    let mut refused = Vec::new();
    for table in tables(&lake, place).await? {
        for refusal in lake.refusals(&table, limit).await? {
            let value = serde_json::to_value(&refusal)
                .map_err(|error| Error::internal("write JSON").caused_by(error))?;
            if let Value::Object(mut object) = value {
                object.insert("table".to_owned(), Value::String(table.to_string()));
                refused.push(object);
            }
        }
    }
    print(refused, console)
}

/// `<dir>/<table>/errors.csv` for `<dir>/<table>.csv` or `<dir>/<table>`, if it is there.
fn errors_beside(path: &str) -> Option<PathBuf> {
    let stem = path.trim_end_matches('/');
    let stem = stem.strip_suffix(".csv").unwrap_or(stem);
    let file = Path::new(stem).join("errors.csv");
    file.is_file().then_some(file)
}

async fn tables(lake: &Lake, place: Place) -> Result<Vec<TableId>> {
    let supers = match place {
        Place::Table(id) => return Ok(vec![id]),
        Place::Super(id) => vec![id],
        Place::Organization(organization) => supers_of(lake, &[organization]).await?,
        Place::Lake => supers_of(lake, &lake.organizations().await?).await?,
    };
    let mut tables = Vec::new();
    for id in supers {
        tables.extend(lake.tables(&id).await?.iter().map(|snapshot| snapshot.table.clone()));
    }
    Ok(tables)
}

async fn supers_of(lake: &Lake, organizations: &[OrgName]) -> Result<Vec<SuperId>> {
    let mut ids = Vec::new();
    for organization in organizations {
        for super_name in lake.supers(organization).await? {
            ids.push(SuperId { organization: organization.clone(), super_name });
        }
    }
    Ok(ids)
}

fn print(refused: Vec<Refused>, console: &mut Console) -> Result<Exit> {
    if console.form == Form::Json {
        console.json(&refused)?;
        return Ok(Exit::Ok);
    }
    if refused.is_empty() {
        console.note("no refused writes");
    }
    for refusal in &refused {
        console.write(prose(refusal).as_bytes())?;
    }
    Ok(Exit::Ok)
}

/// A few lines for people: when and who, where, what, why, what to do.
fn prose(refusal: &Refused) -> String {
    let text = |name: &str| match refusal.get(name) {
        // Line and column 0 mean the text as a whole; read from errors.csv they are text.
        Some(Value::String(text)) if text == "0" && matches!(name, "line" | "column") => {
            String::new()
        }
        // One line each, whatever a refused value held.
        Some(Value::String(text)) => {
            let shown =
                |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.into() };
            text.chars().map(shown).collect()
        }
        Some(Value::Null) | None => String::new(),
        Some(Value::Number(number)) if number.as_u64() == Some(0) => String::new(),
        Some(other) => other.to_string(),
    };
    let mut out = text("time");
    for name in ["table", "file", "code", "user", "client"] {
        let value = text(name);
        if !value.is_empty() {
            out.push_str("  ");
            out.push_str(&value);
        }
    }
    out.push('\n');
    let mut place = String::new();
    let column = if text("column_name").is_empty() { "column" } else { "column_name" };
    for (label, name) in [("line", "line"), ("column", column), ("value", "value")] {
        let value = text(name);
        if !value.is_empty() {
            place.push_str(&format!("{label} {value}, "));
        }
    }
    let place = place.trim_end_matches(", ");
    for (label, value) in [
        ("where", place.to_owned()),
        ("why", text("reason")),
        ("do", text("remedy")),
        ("kept", text("kept")),
    ] {
        if !value.is_empty() {
            out.push_str(&format!("  {label:6}{value}\n"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_names_place_reason_and_remedy() {
        let refusal = serde_json::json!({
            "time": "2026-11-21T10:00:00Z", "file": "orders.csv", "line": 3,
            "column_name": "qty", "value": "a\nb", "reason": "not a number",
            "remedy": "write digits", "kept": null
        });
        let Value::Object(refusal) = refusal else { panic!("object") };
        expect_test::expect![[r"
            2026-11-21T10:00:00Z  orders.csv
              where line 3, column qty, value a\nb
              why   not a number
              do    write digits
        "]]
        .assert_eq(&prose(&refusal));
    }

    #[test]
    fn refusals_of_a_mounted_file_are_read_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("orders.csv");
        assert_eq!(errors_beside(file.to_str().unwrap()), None);
        std::fs::create_dir(dir.path().join("orders")).unwrap();
        let errors = dir.path().join("orders/errors.csv");
        std::fs::write(&errors, "time,reason\n1,\"x,y\"\n").unwrap();
        assert_eq!(errors_beside(file.to_str().unwrap()), Some(errors));
    }
}

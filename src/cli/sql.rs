//! `mountable sql`, and the queries of `mountable export`.

use std::io::Read;
use std::path::Path;

use futures::StreamExt;

use crate::cli::args::{ExportAs, Sql};
use crate::cli::console::{Console, Form};
use crate::cli::export::{Output, file_of, format_of, written};
use crate::cli::{Exit, Session};
use crate::error::{Error, Result};
use crate::lake::{self, Answer, OrgName, QueryScope, SuperId, SuperName};

/// Bytes of a query that are read; the lake says that it is too long.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Rows whose cells decide how wide the columns are.
const SAMPLE_ROWS: usize = 1_000;
/// Widest column, in characters, unless it is the last.
const WIDTH_MAX: usize = 60;

/// A query and where its answer goes.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) text: String,
    pub(super) format: ExportAs,
    pub(super) output: Option<&'a Path>,
    /// `ORG/SUPER`
    pub(super) within: Option<&'a str>,
}

/// Answers a query.
pub(super) async fn sql(session: &Session, sql: &Sql, console: &mut Console) -> Result<Exit> {
    let text = match (&sql.query, &sql.file) {
        (Some(query), _) if query != "-" => query.clone(),
        (_, Some(file)) => {
            let named = |error: std::io::Error| Error::from(error).with("file", file.display());
            read(std::fs::File::open(file).map_err(named)?)?
        }
        _ => read(std::io::stdin().lock())?,
    };
    let format = match (console.form, sql.format) {
        (Form::Json, ExportAs::Table) => ExportAs::Json,
        (_, format) => format,
    };
    let wanted =
        Wanted { text, format, output: sql.output.as_deref(), within: sql.within.as_deref() };
    answer(session, &wanted, console).await
}

/// Writes the answer to a query.
pub(super) async fn answer(
    session: &Session,
    wanted: &Wanted<'_>,
    console: &mut Console,
) -> Result<Exit> {
    let lake = session.lake().await?;
    let scope = scope(session, wanted.within)?;
    let answer = lake.query(&session.who(), &wanted.text, &scope).await?;
    let file = file_of(wanted.output);
    match (format_of(wanted.format), file) {
        (None, None) => print(answer, console).await?,
        (None, Some(_)) => {
            return Err(Error::invalid("a file needs a --format: csv, tsv, json, parquet, ..."));
        }
        (Some(format), None) => {
            lake::write_answer(answer, format, Output(console)).await?;
            if wanted.format == ExportAs::Json {
                console.line("")?;
            }
        }
        (Some(format), Some(file)) => {
            let rows =
                written(file, console, async |out| lake::write_answer(answer, format, out).await);
            let rows = rows.await?;
            console.note(&format!("{rows} rows written to {}", file.display()));
        }
    }
    Ok(Exit::Ok)
}

fn read(from: impl Read) -> Result<String> {
    let mut text = Vec::new();
    from.take(TEXT_BYTES_MAX).read_to_end(&mut text)?;
    String::from_utf8(text).map_err(|_| Error::invalid("the query is not UTF-8"))
}

/// What names of fewer than three parts mean.
fn scope(session: &Session, within: Option<&str>) -> Result<QueryScope> {
    let settings = &session.settings;
    let organization = settings.organization.as_deref().map(OrgName::new).transpose()?;
    let super_table = match (within, &organization, settings.super_name.as_deref()) {
        (Some(within), ..) => Some(SuperId::parse(within.trim_matches('/'))?),
        (None, Some(organization), Some(name)) => {
            Some(SuperId { organization: organization.clone(), super_name: SuperName::new(name)? })
        }
        _ => None,
    };
    Ok(QueryScope { organization, super_table })
}

/// Prints an answer in columns; the widths follow from the first rows.
async fn print(mut answer: Answer, console: &mut Console) -> Result<()> {
    let head: Vec<String> =
        answer.schema.fields().iter().map(|field| field.name().clone()).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut rows: Vec<Vec<String>> = Vec::new();
    let (mut widths, mut printed) = (None, 0_u64);
    while let Some(batch) = answer.rows.next().await {
        for row in lake::texts(&batch?)? {
            rows.push(row.into_iter().map(|cell| cell.unwrap_or_else(|| "NULL".into())).collect());
            printed += 1;
        }
        if rows.len() >= SAMPLE_ROWS {
            part(console, &head, &mut rows, &mut widths)?;
        }
    }
    part(console, &head, &mut rows, &mut widths)?;
    console.note(&format!("{printed} rows"));
    Ok(())
}

/// Prints rows in columns as wide as those before.
fn part(
    console: &mut Console,
    head: &[&str],
    rows: &mut Vec<Vec<String>>,
    widths: &mut Option<Vec<usize>>,
) -> Result<()> {
    let first = widths.is_none();
    let widths = widths.get_or_insert_with(|| {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count());
            let cells = cells.chain(head.get(column).map(|name| name.chars().count()));
            cells.max().unwrap_or_default().min(WIDTH_MAX)
        };
        (0..head.len()).map(width).collect()
    });
    if first {
        line(console, head.iter().copied(), widths)?;
    }
    for row in rows.drain(..) {
        line(console, row.iter().map(String::as_str), widths)?;
    }
    Ok(())
}

fn line<'a>(
    console: &mut Console,
    cells: impl Iterator<Item = &'a str>,
    widths: &[usize],
) -> Result<()> {
    let mut text = String::new();
    for (cell, width) in cells.zip(widths) {
        // The lines of a plan are meant to stand below each other.
        let shown: String = cell
            .chars()
            .map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c })
            .collect();
        text.push_str(&format!("{shown:width$}  "));
    }
    console.line(text.trim_end())
}

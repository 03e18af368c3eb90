//! `mountable export` and `mountable stats`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::cli::args::{Export, ExportAs};
use crate::cli::console::{Console, Form};
use crate::cli::{Exit, Session, address, sql};
use crate::error::{Error, Result};
use crate::lake::ExportFormat;

/// Standard output as the encoders see it.
pub(super) struct Output<'a>(pub(super) &'a mut Console);

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush().map_err(std::io::Error::other)
    }
}

/// Writes the rows of a version, or the answer to a query, in another format.
pub(super) async fn export(
    session: &Session,
    export: &Export,
    console: &mut Console,
) -> Result<Exit> {
    if let Some(text) = &export.sql {
        let wanted = sql::Wanted {
            text: text.clone(),
            format: export.format,
            output: export.output.as_deref(),
            within: export.within.as_deref(),
        };
        return sql::answer(session, &wanted, console).await;
    }
    let (table, reference) = address::table_at(export.table.as_deref().unwrap_or_default())?;
    let Some(format) = format_of(export.format) else {
        return Err(Error::invalid("a table is exported as csv, tsv, json, jsonl, parquet, ..."));
    };
    let lake = session.lake().await?;
    let who = session.who();
    let snapshot = lake.resolve(&who, &table, reference).await?;
    let Some(file) = file_of(export.output.as_deref()) else {
        lake.export(&who, &snapshot, format, Output(console)).await?;
        return Ok(Exit::Ok);
    };
    let rows = written(file, console, async |out| lake.export(&who, &snapshot, format, out).await);
    let rows = rows.await?;
    console.note(&format!(
        "{rows} rows of {table} version {} written to {}",
        snapshot.version,
        file.display()
    ));
    Ok(Exit::Ok)
}

/// The file that is meant; `None` = standard output.
pub(super) fn file_of(output: Option<&Path>) -> Option<&Path> {
    output.filter(|file| *file != Path::new("-"))
}

/// The lake's word for a format; it has none for columns on a terminal.
pub(super) fn format_of(format: ExportAs) -> Option<ExportFormat> {
    Some(match format {
        ExportAs::Table => return None,
        ExportAs::Csv => ExportFormat::Csv,
        ExportAs::SafeCsv => ExportFormat::SafeCsv,
        ExportAs::Tsv => ExportFormat::Tsv,
        ExportAs::Json => ExportFormat::Json,
        ExportAs::Jsonl => ExportFormat::JsonLines,
        ExportAs::Parquet => ExportFormat::Parquet,
        ExportAs::Arrow => ExportFormat::Arrow,
    })
}

/// Writes a new file that is there as a whole, or not at all.
pub(super) async fn written(
    file: &Path,
    console: &mut Console,
    write: impl AsyncFnOnce(BufWriter<File>) -> Result<u64>,
) -> Result<u64> {
    let named = |error: std::io::Error| Error::from(error).with("file", file.display());
    let target = File::create_new(file).map_err(named)?;
    let done = async {
        let rows = write(BufWriter::new(target.try_clone().map_err(named)?)).await?;
        target.sync_all().map_err(named)?;
        Ok(rows)
    };
    let outcome: Result<u64> = done.await;
    if outcome.is_err()
        && let Err(left) = std::fs::remove_file(file)
    {
        // Half a file would be taken for a whole one.
        console.complain(&format!("{} is incomplete: {left}", file.display()));
    }
    outcome
}

/// Prints figures of a version.
pub(super) async fn stats(session: &Session, text: &str, console: &mut Console) -> Result<Exit> {
    let (table, reference) = address::table_at(text)?;
    let lake = session.lake().await?;
    let snapshot = lake.resolve(&session.who(), &table, reference).await?;
    let stats = lake.stats(&session.who(), &snapshot).await?;
    if console.form == Form::Json {
        console.json(&stats)?;
        return Ok(Exit::Ok);
    }
    let figures = [
        ("version", stats.version),
        ("rows", stats.rows),
        ("deleted rows", stats.deleted_rows),
        ("CSV bytes", stats.csv_bytes),
        ("files", stats.files),
        ("file bytes", stats.file_bytes),
        ("row groups", stats.row_groups),
        ("pieces", stats.pieces),
    ];
    for (name, value) in figures {
        console.line(&format!("{name:13} {value}"))?;
    }
    console.line("")?;
    let rows: Vec<Vec<String>> = stats
        .columns
        .into_iter()
        .map(|column| {
            let nulls = column.nulls.map(|nulls| nulls.to_string()).unwrap_or_default();
            let text = Option::unwrap_or_default;
            let skipped = column.skipped_percent.map(|percent| format!("{percent}%"));
            vec![column.name, text(column.min), text(column.max), nulls, text(skipped)]
        })
        .collect();
    console.table(&["COLUMN", "MIN", "MAX", "NULLS", "SKIPPED"], &rows)?;
    Ok(Exit::Ok)
}

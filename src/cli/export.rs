//! `mountable export` and `mountable stats`.

use std::io::Write;
use std::path::Path;

use crate::cli::args::{Export, ExportAs};
use crate::cli::console::{Console, Form};
use crate::cli::{Exit, Session, address};
use crate::error::{Error, Result};
use crate::lake::ExportFormat;

/// Standard output as the encoders see it.
struct Output<'a>(&'a mut Console);

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush().map_err(std::io::Error::other)
    }
}

/// Writes the rows of a version in another format.
pub(super) async fn export(
    session: &Session,
    export: &Export,
    console: &mut Console,
) -> Result<Exit> {
    let (table, reference) = address::table_at(&export.table)?;
    let lake = session.lake().await?;
    let snapshot = lake.resolve(&session.who(), &table, reference).await?;
    let format = match export.format {
        ExportAs::Csv => ExportFormat::Csv,
        ExportAs::SafeCsv => ExportFormat::SafeCsv,
        ExportAs::Jsonl => ExportFormat::JsonLines,
        ExportAs::Parquet => ExportFormat::Parquet,
        ExportAs::Arrow => ExportFormat::Arrow,
    };
    let who = session.who();
    let Some(file) = export.output.as_deref().filter(|file| *file != Path::new("-")) else {
        lake.export(&who, &snapshot, format, Output(console)).await?;
        return Ok(Exit::Ok);
    };
    let named = |error: std::io::Error| Error::from(error).with("file", file.display());
    let target = std::fs::File::create_new(file).map_err(named)?;
    let done = async {
        let rows = lake.export(&who, &snapshot, format, std::io::BufWriter::new(&target)).await?;
        target.sync_all().map_err(named)?;
        Ok(rows)
    };
    match done.await {
        Ok(rows) => {
            console.note(&format!(
                "{rows} rows of {table} version {} written to {}",
                snapshot.version,
                file.display()
            ));
            Ok(Exit::Ok)
        }
        Err(error) => {
            // Half a file would be taken for a whole one.
            if let Err(left) = std::fs::remove_file(file) {
                console.complain(&format!("{} is incomplete: {left}", file.display()));
            }
            Err(error)
        }
    }
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
            vec![column.name, text(column.min), text(column.max), nulls]
        })
        .collect();
    console.table(&["COLUMN", "MIN", "MAX", "NULLS"], &rows)?;
    Ok(Exit::Ok)
}

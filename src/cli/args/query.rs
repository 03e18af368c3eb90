//! Arguments of `sql` and `export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `export`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    /// ORG/SUPER/TABLE, optionally @VERSION or @TIME, and ~N for N versions before
    #[arg(required_unless_present = "sql", conflicts_with = "sql")]
    pub(in crate::cli) table: Option<String>,
    /// The answer to this query in place of a table
    #[arg(long, value_name = "SELECT")]
    pub(in crate::cli) sql: Option<String>,
    /// The format
    #[arg(long, short, value_enum)]
    pub(in crate::cli) format: ExportAs,
    /// A new file; default: standard output
    #[arg(long, short, value_name = "FILE")]
    pub(in crate::cli) output: Option<PathBuf>,
    /// Tables of this SuperTable need no more than their name (ORG/SUPER)
    #[arg(long = "in", value_name = "ORG/SUPER", requires = "sql")]
    pub(in crate::cli) within: Option<String>,
}

/// `sql`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Sql {
    /// SELECT or EXPLAIN SELECT; without it, or with -, it is read from standard input
    #[arg(conflicts_with = "file")]
    pub(in crate::cli) query: Option<String>,
    /// Read the query from a file
    #[arg(long, short, value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,
    /// The format
    #[arg(long, value_enum, default_value_t = ExportAs::Table)]
    pub(in crate::cli) format: ExportAs,
    /// A new file; default: standard output
    #[arg(long, short, value_name = "FILE")]
    pub(in crate::cli) output: Option<PathBuf>,
    /// Tables of this SuperTable need no more than their name
    #[arg(long = "in", value_name = "ORG/SUPER")]
    pub(in crate::cli) within: Option<String>,
}

/// Formats of `export` and `sql`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ExportAs {
    /// Columns for people
    Table,
    /// As the mounted file
    Csv,
    /// For spreadsheets: a quote in front of text that looks like a formula
    SafeCsv,
    /// As the mounted file, with tabs between the fields
    Tsv,
    /// A JSON array of objects
    Json,
    /// One JSON object a line
    Jsonl,
    /// Parquet
    Parquet,
    /// Arrow IPC file (Feather 2)
    Arrow,
}

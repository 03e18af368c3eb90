//! The argument tree.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cli::branch::{BranchArgs, MergeArgs};
use crate::cli::mirror::MirrorAction;
use crate::config::Flags;
use crate::error::{Error, Result};

mod query;

pub(super) use query::{Export, ExportAs, Sql};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong arguments or data, 3 not found, \
                          4 conflict, 5 denied, 6 back end unavailable, 7 outcome unknown.";

/// Mounts SuperTable lakes: every table is a CSV file.
#[derive(Debug, Parser)]
#[command(name = "mountable", version, about, after_help = EXIT_CODES, max_term_width = 100)]
#[command(propagate_version = true, disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Flags of every verb.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
pub(super) struct Global {
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Where the lake is: a directory, s3://, gs://, az://
    #[arg(long, global = true, value_name = "URL")]
    pub(super) lake: Option<String>,
    /// Where its metadata is: redis://, a SQLite file; default: in the lake's directory
    #[arg(long, global = true, value_name = "URL")]
    pub(super) catalog: Option<String>,
    /// Any setting but secrets (see `mountable config show`)
    #[arg(long, global = true, value_name = "NAME=VALUE")]
    pub(super) set: Vec<String>,
    /// Print JSON where there is something to list
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Print only what was asked for and errors
    #[arg(long, short, global = true)]
    pub(super) quiet: bool,
}

impl Global {
    /// The flags as assignments to settings.
    pub(super) fn flags(&self) -> Result<Flags> {
        let mut settings = Vec::new();
        for (name, value) in [("lake", &self.lake), ("catalog", &self.catalog)] {
            if let Some(value) = value {
                settings.push((name.to_owned(), value.clone(), format!("--{name}")));
            }
        }
        for assignment in &self.set {
            let (name, value) = assignment
                .split_once('=')
                .ok_or_else(|| Error::invalid("--set takes NAME=VALUE").with("got", assignment))?;
            settings.push((name.trim().to_owned(), value.trim().to_owned(), "--set".to_owned()));
        }
        Ok(Flags { config: self.config.clone(), settings })
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Makes an empty lake, unless there is one
    Init {
        /// Where; default: the configured lake
        lake: Option<String>,
        /// For which releases of SuperTable: v1 (2.0.2 to 2.0.5) or v2 (later ones, the default)
        #[arg(long, value_name = "v1|v2")]
        layout: Option<String>,
    },
    /// Makes an organization, SuperTable or table (and what lies above it)
    Create(Create),
    /// Loads files into a table, made if it is missing: CSV, TSV, JSON, Parquet, Arrow
    Load(Load),
    /// Prints a table as CSV
    Cat {
        /// ORG/SUPER/TABLE, optionally @VERSION or @TIME, and ~N for N versions before
        table: String,
    },
    /// Lists organizations, SuperTables, tables or one table
    Ls {
        /// ORG, ORG/SUPER or ORG/SUPER/TABLE
        place: Option<String>,
    },
    /// Lists the snapshots of a table, newest first
    Log {
        /// ORG/SUPER/TABLE; with @VERSION, @TIME or ~N, from there on
        table: String,
        /// At most so many
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: usize,
    },
    /// Tells who made a version of a table, and what it changed
    Show {
        /// ORG/SUPER/TABLE, optionally @VERSION or @TIME, and ~N for N versions before
        table: String,
    },
    /// Prints the rows of a table with the version that wrote each, its time, role and client
    Blame {
        /// ORG/SUPER/TABLE, optionally @VERSION or @TIME, and ~N for N versions before
        table: String,
    },
    /// Prints what changed between two versions as CSV: `-` as it was, `+` as it is
    Diff {
        /// ORG/SUPER/TABLE with @VERSION, @TIME or ~N; or a table alone
        from: String,
        /// The same, or only a version, a time or ~N; FROM..TO for both, without it the newest
        to: Option<String>,
    },
    /// Writes the rows of a table or a query as CSV, TSV, JSON, Parquet or Arrow
    Export(Export),
    /// Answers a SELECT over the tables of the lake
    Sql(Sql),
    /// Prints figures of a table: rows, files, bytes, row groups, least and greatest values
    Stats {
        /// ORG/SUPER/TABLE, optionally @VERSION or @TIME, and ~N for N versions before
        table: String,
    },
    /// Prints the columns of a table
    Schema {
        /// ORG/SUPER/TABLE, optionally @VERSION or @TIME, and ~N for N versions before
        table: String,
    },
    /// Drops a table (it goes to the trash) or an empty SuperTable
    Drop(Drop),
    /// Renames a table or moves it to another SuperTable
    Rename {
        /// ORG/SUPER/TABLE
        from: String,
        /// ORG/SUPER/TABLE, or only the new name
        to: String,
    },
    /// Brings a dropped table or an old version back, or lists the trash
    Restore {
        /// ORG/SUPER; with --to ORG/SUPER/TABLE
        place: String,
        /// Name in the trash; without it, the trash is listed
        #[arg(conflicts_with = "to")]
        name: Option<String>,
        /// Make a new version of the table that is as this one was: VERSION, TIME or ~N
        #[arg(long, value_name = "VERSION|TIME|~N")]
        to: Option<String>,
    },
    /// Deletes the rows that meet a condition, as one commit
    Delete(DeleteRows),
    /// Gives columns of the rows that meet a condition new values, as one commit
    Update(UpdateRows),
    /// Loads files; a row with a key that exists takes the old row's place
    Upsert(UpsertRows),
    /// Puts small data files together and leaves deleted rows behind; no text changes
    Compact {
        /// ORG/SUPER/TABLE, or ORG/SUPER for all of its tables
        place: String,
    },
    /// Removes old versions, and objects that no version needs; what tables show does not change
    Vacuum(Vacuum),
    /// Lists, makes or drops branches of a SuperTable; tables on them are SUPER@BRANCH/TABLE
    Branch(BranchArgs),
    /// Merges a branch into its SuperTable, table by table; conflicts are printed as CSV
    Merge(MergeArgs),
    /// Tells why the last writes were refused, and what to do
    Why {
        /// A file below a mount, or ORG/SUPER/TABLE; default: the whole lake
        path: Option<String>,
        /// At most so many refusals of a table
        #[arg(long, short = 'n', default_value_t = 5)]
        limit: usize,
    },
    /// Checks storage and catalogue; rebuilds a lost catalogue
    Fsck(Fsck),
    /// Examines storage, catalogue, state directory and mounts
    Doctor,
    /// Moves a lake into another catalogue
    Catalog {
        #[command(subcommand)]
        action: CatalogAction,
    },
    /// Copies of tables that other engines read: Delta, Iceberg, Parquet
    Mirror {
        #[command(subcommand)]
        action: MirrorAction,
    },
    /// Copies a lake with its catalogue elsewhere, reads copies back, restores them
    Backup {
        #[command(subcommand)]
        action: BackupAction,
    },
    /// Serves the lake over NFS, or mounts it, until it is told to stop
    Serve(Serve),
    /// Mounts a lake through FUSE
    Mount(Mount),
    /// Unmounts what `mount` and `serve --fuse` have mounted
    Umount(Umount),
    /// Makes a sample lake and serves it
    Demo(Demo),
    /// Looks at the configuration
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Prints a shell's completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// `create`.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// ORG, ORG/SUPER or ORG/SUPER/TABLE
    pub(super) place: String,
    /// Columns of the table: id:int64,name:text,price:decimal(10,2),at:timestamptz
    #[arg(long, value_name = "NAME:TYPE,...")]
    pub(super) columns: Option<String>,
    /// Key columns: a row is known by them
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(super) keys: Vec<String>,
}

/// `load`.
#[derive(Debug, Args)]
pub(super) struct Load {
    /// ORG/SUPER/TABLE
    pub(super) table: String,
    /// Files of any supported format, also compressed with gzip or zstd; - is standard input
    #[arg(required = true)]
    pub(super) files: Vec<PathBuf>,
    /// What happens to the rows that are there
    #[arg(long, value_enum, default_value_t = Mode::Append)]
    pub(super) mode: Mode,
    /// Key columns; needed once for --mode upsert
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(super) keys: Vec<String>,
    /// Add columns that the table does not have yet
    #[arg(long)]
    pub(super) add_columns: bool,
    /// Free text for the history
    #[arg(long, short, env = "MNT_MESSAGE", default_value = "", hide_env_values = true)]
    pub(super) message: String,
    /// Rows that are not newer by this column stay out (`upsert --newer-than`)
    #[arg(skip)]
    pub(super) newer_than: Option<String>,
}

/// `delete`.
#[derive(Debug, Args)]
pub(super) struct DeleteRows {
    /// ORG/SUPER/TABLE
    pub(super) table: String,
    /// Which rows: "status = 'open' AND total < 10"; TRUE = all of them
    #[arg(long = "where", value_name = "CONDITION")]
    pub(super) condition: String,
    /// Only count them
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Free text for the history
    #[arg(long, short, env = "MNT_MESSAGE", default_value = "", hide_env_values = true)]
    pub(super) message: String,
}

/// `update`.
#[derive(Debug, Args)]
pub(super) struct UpdateRows {
    /// ORG/SUPER/TABLE
    pub(super) table: String,
    /// A column's new value: "status = 'paid'", "note = NULL", "billed = total"
    #[arg(id = "set", long = "set", value_name = "COLUMN=VALUE", required = true)]
    pub(super) set: Vec<String>,
    /// Which rows: "status = 'open' AND total < 10"; TRUE = all of them
    #[arg(long = "where", value_name = "CONDITION")]
    pub(super) condition: String,
    /// Only count them
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Free text for the history
    #[arg(long, short, env = "MNT_MESSAGE", default_value = "", hide_env_values = true)]
    pub(super) message: String,
}

/// `vacuum`.
#[derive(Debug, Args)]
pub(super) struct Vacuum {
    /// ORG/SUPER/TABLE, or ORG/SUPER for all of its tables
    pub(super) place: String,
    /// Versions that were superseded longer ago than this: 7d, 12h
    #[arg(long, value_name = "TIME")]
    pub(super) older_than: String,
    /// Only say what would go
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Free text for the history
    #[arg(long, short, env = "MNT_MESSAGE", default_value = "", hide_env_values = true)]
    pub(super) message: String,
}

/// `upsert`.
#[derive(Debug, Args)]
pub(super) struct UpsertRows {
    /// ORG/SUPER/TABLE
    pub(super) table: String,
    /// Files of any supported format, also compressed with gzip or zstd; - is standard input
    #[arg(required = true)]
    pub(super) files: Vec<PathBuf>,
    /// Key columns; needed once
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(super) keys: Vec<String>,
    /// Leave rows out whose value in this column is not greater than that of the row in the table
    #[arg(long, value_name = "COLUMN")]
    pub(super) newer_than: Option<String>,
    /// Add columns that the table does not have yet
    #[arg(long)]
    pub(super) add_columns: bool,
    /// Free text for the history
    #[arg(long, short, env = "MNT_MESSAGE", default_value = "", hide_env_values = true)]
    pub(super) message: String,
}

/// What a load does to the rows that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// Keeps them; a key that exists is refused
    Append,
    /// Replaces those with the same key
    Upsert,
    /// Replaces all of them
    Replace,
}

impl Mode {
    /// The name of the operation in the history.
    pub(super) fn operation(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Upsert => "upsert",
            Self::Replace => "replace",
        }
    }
}

/// `drop`.
#[derive(Debug, Args)]
pub(super) struct Drop {
    /// ORG/SUPER/TABLE or ORG/SUPER
    pub(super) place: String,
    /// Do not ask
    #[arg(long, short)]
    pub(super) yes: bool,
    /// Only say what would be dropped
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// `fsck`.
#[derive(Debug, Args)]
pub(super) struct Fsck {
    /// ORG, ORG/SUPER or ORG/SUPER/TABLE; default: the whole lake
    pub(super) place: Option<String>,
    /// Also check every older version's rows and render the newest one's text
    #[arg(long)]
    pub(super) deep: bool,
    /// Make the catalogue again from the storage; what it names already is never replaced
    #[arg(long, conflicts_with = "deep")]
    pub(super) rebuild: bool,
    /// Only say what a rebuild would do
    #[arg(long, requires = "rebuild")]
    pub(super) dry_run: bool,
}

/// `serve`.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Address to listen on (default 127.0.0.1:12049)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) nfs: Option<SocketAddr>,
    /// Mount the lake there through FUSE; NFS is served too only with --nfs
    #[arg(long, value_name = "DIR")]
    pub(super) fuse: Option<PathBuf>,
    /// Let other users into the FUSE mount
    #[arg(long, requires = "fuse")]
    pub(super) allow_other: bool,
    /// Directory of the journal, scratch files and caches
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    /// Refuse every write
    #[arg(long)]
    pub(super) read_only: bool,
    /// Serve only this organization
    #[arg(long, value_name = "ORG")]
    pub(super) organization: Option<String>,
    /// Serve only this SuperTable of it
    #[arg(long = "super", value_name = "SUPER", requires = "organization")]
    pub(super) super_name: Option<String>,
    /// SuperTable role to act in
    #[arg(long)]
    pub(super) role: Option<String>,
    /// Make the lake if there is none
    #[arg(long)]
    pub(super) create: bool,
}

impl Serve {
    /// The flags as assignments to settings.
    pub(super) fn assignments(&self) -> Vec<(String, String, String)> {
        let text = |value: Option<&String>| value.cloned();
        let all = [
            ("nfs", "--nfs", self.nfs.map(|nfs| nfs.to_string())),
            ("state", "--state", self.state.as_ref().map(|path| path.display().to_string())),
            ("read_only", "--read-only", self.read_only.then(|| "true".to_owned())),
            ("organization", "--organization", text(self.organization.as_ref())),
            ("super", "--super", text(self.super_name.as_ref())),
            ("role", "--role", text(self.role.as_ref())),
        ];
        let assign = |(name, flag, value): (&str, &str, Option<String>)| {
            value.map(|value| (name.to_owned(), value, flag.to_owned()))
        };
        all.into_iter().filter_map(assign).collect()
    }
}

/// `mount`.
#[derive(Debug, Args)]
pub(super) struct Mount {
    /// The lake: a directory, s3://, gs://, az://
    pub(super) lake: String,
    /// Where; made if it is missing
    pub(super) dir: PathBuf,
    /// Directory of the journal, scratch files and caches
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    /// Refuse every write
    #[arg(long)]
    pub(super) read_only: bool,
    /// Let other users into the mount
    #[arg(long)]
    pub(super) allow_other: bool,
    /// Make the lake if there is none
    #[arg(long)]
    pub(super) create: bool,
    /// Stay in the foreground until it is unmounted
    #[arg(long, short)]
    pub(super) foreground: bool,
}

impl Mount {
    /// The flags as assignments to settings.
    pub(super) fn assignments(&self) -> Vec<(String, String, String)> {
        let mut all = vec![("lake".to_owned(), self.lake.clone(), "argument".to_owned())];
        if let Some(state) = &self.state {
            all.push(("state".to_owned(), state.display().to_string(), "--state".to_owned()));
        }
        if self.read_only {
            all.push(("read_only".to_owned(), "true".to_owned(), "--read-only".to_owned()));
        }
        all
    }
}

/// `umount`.
#[derive(Debug, Args)]
pub(super) struct Umount {
    /// Where the lake is mounted
    pub(super) dir: PathBuf,
    /// Take the mount away although it is in use
    #[arg(long, short)]
    pub(super) lazy: bool,
}

/// `demo`.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Where the sample lake is made
    #[arg(long, value_name = "DIR", default_value = "./mountable-demo")]
    pub(super) dir: PathBuf,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:12049")]
    pub(super) nfs: SocketAddr,
    /// Mount it there as well, and unmount at the end: over NFS as root, else through FUSE
    #[arg(long, value_name = "DIR")]
    pub(super) mount: Option<PathBuf>,
    /// Rows of the largest table, order_lines
    #[arg(long, value_name = "N", default_value_t = 120_000)]
    pub(super) rows: u64,
    /// Only make the lake; do not serve it
    #[arg(long)]
    pub(super) no_serve: bool,
}

/// `catalog`.
#[derive(Debug, Subcommand)]
pub(super) enum CatalogAction {
    /// Writes all that the catalogue holds to a file (it holds secrets: keep it safe)
    Export {
        /// A new file; - is standard output
        file: PathBuf,
    },
    /// Fills an empty catalogue with what was exported
    Import {
        /// The file; - is standard input
        file: PathBuf,
    },
}

/// `backup`.
#[derive(Debug, Subcommand)]
pub(super) enum BackupAction {
    /// Copies everything; nothing of earlier backups is trusted
    Full(BackupOf),
    /// Copies what the earlier backups of the same place do not hold
    Incremental(BackupOf),
    /// Reads backups back and compares every object with its checksum
    Verify {
        /// Where the backups are: a directory, s3://, gs://, az://
        from: String,
        /// Only this one; default: all of them
        #[arg(long, value_name = "ID")]
        backup: Option<String>,
    },
    /// Makes a new lake of a backup and checks it
    Restore {
        /// Where the backups are: a directory, s3://, gs://, az://
        from: String,
        /// The new lake, an empty place; its catalogue is named by --catalog
        #[arg(long, value_name = "LAKE")]
        into: String,
        /// Bring the tables back to their newest version at this time; one table also to a VERSION
        #[arg(long, value_name = "VERSION|TIME")]
        to: Option<String>,
        /// This backup; default: the newest, with a time the first one that was begun after it
        #[arg(long, value_name = "ID")]
        backup: Option<String>,
    },
}

/// What `backup` copies, and where to.
#[derive(Debug, Args)]
pub(super) struct BackupOf {
    /// Where backups are kept: a directory, s3://, gs://, az://
    pub(super) to: String,
    /// ORG, ORG/SUPER or ORG/SUPER/TABLE; default: the whole lake with its catalogue
    pub(super) place: Option<String>,
}

/// `config`.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigAction {
    /// Prints every setting; secrets are redacted
    Show {
        /// Also where each value came from
        #[arg(long)]
        origin: bool,
    },
}

//! What a user may tweak, as plain data with defaults; the only module that reads the environment.
//!
//! `keys` is the one table of all settings, `load` puts the layers together (defaults < file <
//! environment < flags), `show` prints the result with the origin of each value.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

mod aws;
mod keys;
mod load;
mod python;
mod show;
pub(crate) mod values;

pub use keys::{KEYS, Key, Kind, nearest};
pub use load::{Environment, Flags, Loaded, Origin, load};
pub use show::{OriginColumn, Shown, render_json, render_text};
pub use values::redact_url;

/// All settings of a process.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the objects are: a directory, `file://`, `s3://`, `gs://`, `az://`, `memory:`.
    pub lake: String,
    /// Where the metadata is: `redis://...`, a SQLite file; `None` = embedded in the lake's
    /// directory.
    pub catalog: Option<String>,
    /// Key layout of the catalogue, `v1` or `v2`; `None` = the one that is there, v2 in new lakes.
    pub layout: Option<String>,
    /// Address of the NFS and MOUNT service.
    pub nfs: SocketAddr,
    /// Directory of the journal, scratch files, inode table and index cache.
    pub state: PathBuf,
    /// Refuses every write.
    pub read_only: bool,
    /// Serves only this organization.
    pub organization: Option<String>,
    /// Serves only this SuperTable of it.
    pub super_name: Option<String>,
    /// SuperTable role that the gateway acts in.
    pub role: String,
    /// Who may connect besides this machine.
    pub exports: Vec<Export>,
    /// Options of the object store (endpoint, region, credentials), by `object_store` name.
    pub storage: BTreeMap<String, Secret>,
    /// Credentials and modes of Redis that do not belong into a URL.
    pub redis: RedisSettings,
    /// Upper bound of all caches together, in bytes.
    pub cache_bytes: u64,
    /// Waiting times of the save rules.
    pub timing: Timing,
    /// Limits that protect the gateway.
    pub limits: Limits,
    /// Maintenance in the background.
    pub manage: Manage,
    /// Limits of queries.
    pub sql: SqlSettings,
    /// Copies of tables for other engines.
    pub mirrors: Mirrors,
    /// What is logged and how.
    pub log: LogSettings,
}

/// Maintenance of the tables that a gateway writes, in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manage {
    /// Time between two looks; zero = none.
    pub interval: Duration,
    /// So many small data files of a table are put together.
    pub files_min: usize,
    /// A data file is rewritten if more than so many of a hundred rows are deleted.
    pub dead_percent: u8,
    /// Bytes of data files that one compaction rewrites at most.
    pub bytes_max: u64,
}

impl Default for Manage {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            files_min: 64,
            dead_percent: 30,
            bytes_max: 256 << 20,
        }
    }
}

/// Limits of queries, and of the files that are made of tables and queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlSettings {
    /// Longest time of one query.
    pub time_max: Duration,
    /// Memory of one query, in bytes.
    pub memory_bytes_max: u64,
    /// Rows of one answer.
    pub rows_max: u64,
    /// Queries that run at the same time; others wait.
    pub queries_max: usize,
    /// Bytes of one file that is made of a table or a query.
    pub file_bytes_max: u64,
    /// Bytes of all such files that are kept together.
    pub kept_bytes_max: u64,
}

impl Default for SqlSettings {
    fn default() -> Self {
        Self {
            time_max: Duration::from_secs(60),
            memory_bytes_max: 512 << 20,
            rows_max: 10_000_000,
            queries_max: 2,
            file_bytes_max: 1 << 30,
            kept_bytes_max: 4 << 30,
        }
    }
}

/// Copies of tables for other engines, refreshed in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    /// Longest time between two looks; zero = none, not even after commits.
    pub interval: Duration,
}

impl Default for Mirrors {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10) }
    }
}

/// What is logged and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Filter directives of `tracing` (`info`, `mountable=debug,warn`, ...).
    pub filter: String,
    /// Form of a log line.
    pub format: LogFormat,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { filter: "warn,mountable=info".to_owned(), format: LogFormat::Text }
    }
}

/// A value that never shows in logs, errors or listings.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the one call that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Redis connection besides the URL (names of the Python library: format spec section 1).
#[derive(Debug, Clone, Default)]
pub struct RedisSettings {
    /// ACL user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Sentinel addresses `host:port`; empty = no Sentinel.
    pub sentinels: Vec<String>,
    /// Name of the master that the Sentinels watch.
    pub sentinel_master: Option<String>,
    /// Password of the Sentinels.
    pub sentinel_password: Option<Secret>,
    /// Certificates (PEM) that the server's is checked with, in place of the public ones.
    pub ca_file: Option<PathBuf>,
    /// Certificate (PEM) that is shown to the server.
    pub certificate_file: Option<PathBuf>,
    /// Private key (PEM) of that certificate.
    pub key_file: Option<PathBuf>,
}

/// Addresses that may connect and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Network address.
    pub address: IpAddr,
    /// Length of the network prefix in bits.
    pub prefix: u8,
    /// Refuses writes from there.
    pub read_only: bool,
    /// Which callers become the export's user.
    pub squash: Squash,
}

/// Which AUTH_SYS callers are turned into the anonymous user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Squash {
    /// Nobody.
    None,
    /// Uid 0.
    #[default]
    Root,
    /// Everybody.
    All,
}

/// Waiting times of the save rules (semantics section 5).
#[derive(Debug, Clone)]
pub struct Timing {
    /// Quiet time after which a complete staged text is committed.
    pub settle: Duration,
    /// How long a COMMIT reply is held to see whether more writes come.
    pub commit_hold: Duration,
    /// Quiet time before a save that shortens a table is believed.
    pub shrink: Duration,
    /// How long a removed or renamed table may come back under its name before it is dropped.
    pub grace: Duration,
    /// How long a superseded snapshot stays open for who was seen on it.
    pub reader: Duration,
    /// How long unused scratch files are kept.
    pub scratch: Duration,
    /// How long the newest pointer of a table may be reused without asking the catalogue.
    pub pointer: Duration,
}

/// Limits (security.md).
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest RPC record, in bytes.
    pub record_bytes_max: u32,
    /// Connections in all.
    pub connections_max: usize,
    /// Connections from one address.
    pub connections_per_address_max: usize,
    /// Requests under way on one connection.
    pub requests_per_connection_max: usize,
    /// Requests under way in all.
    pub requests_max: usize,
    /// A connection that is silent this long is closed.
    pub idle: Duration,
    /// A record that takes longer than this to arrive closes its connection.
    pub slow_record: Duration,
    /// Replies remembered for retransmitted requests.
    pub replies_kept: usize,
    /// Largest staged file, in bytes.
    pub staged_file_bytes_max: u64,
    /// All staged files together, in bytes.
    pub staged_bytes_max: u64,
    /// Offset indexes of other writers' files that are kept on disk.
    pub index_bytes_max: u64,
    /// Longest CSV record, in bytes.
    pub record_text_bytes_max: u64,
    /// Most columns of a table.
    pub columns_max: usize,
    /// Refusals kept per table.
    pub refusals_kept: usize,
    /// A save that removes more than this percentage of a table's rows waits like a shrinking one.
    pub shrink_percent: u8,
    /// Snapshots that a listing of the history walks at most.
    pub history_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lake: String::new(),
            catalog: None,
            layout: None,
            nfs: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 12049),
            state: PathBuf::new(),
            read_only: false,
            organization: None,
            super_name: None,
            role: "superadmin".to_owned(),
            exports: Vec::new(),
            storage: BTreeMap::new(),
            redis: RedisSettings::default(),
            cache_bytes: 128 << 20,
            timing: Timing::default(),
            limits: Limits::default(),
            manage: Manage::default(),
            sql: SqlSettings::default(),
            mirrors: Mirrors::default(),
            log: LogSettings::default(),
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(1),
            commit_hold: Duration::from_millis(100),
            shrink: Duration::from_secs(35),
            grace: Duration::from_secs(5),
            reader: Duration::from_secs(5),
            scratch: Duration::from_secs(24 * 3600),
            pointer: Duration::from_millis(200),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes_max: 2 << 20,
            connections_max: 256,
            connections_per_address_max: 32,
            requests_per_connection_max: 64,
            requests_max: 1024,
            idle: Duration::from_secs(600),
            slow_record: Duration::from_secs(30),
            replies_kept: 4096,
            staged_file_bytes_max: 16 << 30,
            staged_bytes_max: 32 << 30,
            index_bytes_max: 256 << 20,
            record_text_bytes_max: 16 << 20,
            columns_max: 16_384,
            refusals_kept: 10_000,
            shrink_percent: 50,
            history_max: 10_000,
        }
    }
}

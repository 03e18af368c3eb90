//! The one table of settings: name, kind, meaning, and how each is read from and shown as text.
//!
//! The name is the dotted TOML path; the environment variable is `MOUNTABLE_` and the name in
//! capitals with `_` for `.`. docs/CONFIGURATION.md is checked against this table by a test.

use std::path::PathBuf;

use crate::config::values::{
    self, ValueResult, boolean, bytes, count, duration, show_bytes, show_duration,
};
use crate::config::{LogFormat, Secret, Settings};

/// What a setting's text looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A URL or a path; secrets within it are never shown.
    Url,
    /// `HOST:PORT` with a numeric host.
    Address,
    /// A path of this machine.
    Path,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Count,
    /// A number of bytes with an optional unit (`128MiB`).
    Bytes,
    /// A time with its unit (`35s`, `100ms`, `24h`).
    Duration,
    /// A list; in text separated by commas (exports: by blanks).
    List,
    /// A secret: only from the file, the environment or a file named by `<name>_file`.
    Secret,
}

impl Kind {
    /// The word for it in the documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Url => "URL",
            Self::Address => "address",
            Self::Path => "path",
            Self::Boolean => "boolean",
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::Duration => "duration",
            Self::List => "list",
            Self::Secret => "secret",
        }
    }
}

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// Dotted name.
    pub name: &'static str,
    /// Form of its text.
    pub kind: Kind,
    /// What it does, one sentence.
    pub doc: &'static str,
    /// Reads the text into the settings.
    pub(super) set: fn(&mut Settings, &str) -> ValueResult<()>,
    /// The value as text that `set` reads back; empty = not set. Secrets in clear.
    pub(super) get: fn(&Settings) -> String,
}

impl Key {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("MOUNTABLE_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// The value as it may be shown to anybody.
    pub fn shown(&self, settings: &Settings) -> String {
        let value = (self.get)(settings);
        match self.kind {
            Kind::Secret if !value.is_empty() => "<redacted>".to_owned(),
            Kind::Url => values::redact_url(&value),
            _ => value,
        }
    }

    /// The setting of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }
}

macro_rules! key {
    ($name:literal, $kind:ident, $doc:literal, $set:expr, $get:expr) => {
        Key { name: $name, kind: Kind::$kind, doc: $doc, set: $set, get: $get }
    };
}

macro_rules! duration_key {
    ($name:literal, $group:ident . $field:ident, $doc:literal) => {
        Key {
            name: $name,
            kind: Kind::Duration,
            doc: $doc,
            set: |s, text| duration(text).map(|value| s.$group.$field = value),
            get: |s| show_duration(s.$group.$field),
        }
    };
}

macro_rules! limit_key {
    ($name:literal, $field:ident, Bytes, $doc:literal) => {
        Key {
            name: $name,
            kind: Kind::Bytes,
            doc: $doc,
            set: |s, text| bytes(text).map(|value| s.limits.$field = value),
            get: |s| show_bytes(u64::from(s.limits.$field)),
        }
    };
    ($name:literal, $field:ident, Count, $doc:literal) => {
        Key {
            name: $name,
            kind: Kind::Count,
            doc: $doc,
            set: |s, text| count(text).map(|value| s.limits.$field = value),
            get: |s| s.limits.$field.to_string(),
        }
    };
}

macro_rules! sql_key {
    ($name:literal, $field:ident, Bytes, $doc:literal) => {
        Key {
            name: $name,
            kind: Kind::Bytes,
            doc: $doc,
            set: |s, text| bytes(text).map(|value| s.sql.$field = value),
            get: |s| show_bytes(s.sql.$field),
        }
    };
    ($name:literal, $field:ident, Count, $doc:literal) => {
        Key {
            name: $name,
            kind: Kind::Count,
            doc: $doc,
            set: |s, text| count(text).map(|value| s.sql.$field = value),
            get: |s| s.sql.$field.to_string(),
        }
    };
}

/// Every setting except the free map `storage.*`.
#[rustfmt::skip]
pub static KEYS: &[Key] = &[
    key!("lake", Url,
        "Where the objects are: a directory, `file://`, `s3://`, `gs://`, `az://` or `memory:`.",
        |s, text| { s.lake = text.to_owned(); Ok(()) }, |s| s.lake.clone()),
    key!("catalog", Url,
        "Where the metadata is: `redis://`, `rediss://` or a SQLite file; without it, embedded in \
         the lake's directory.",
        |s, text| { s.catalog = some(text); Ok(()) }, |s| text_of(s.catalog.as_ref())),
    key!("layout", Text,
        "Key layout of the catalogue: `v1` for SuperTable 2.0.2 to 2.0.5, `v2` for later releases; \
         without it, the one that is there, `v2` in a new lake.",
        |s, text| layout(text).map(|value| s.layout = value), |s| text_of(s.layout.as_ref())),
    key!("nfs", Address,
        "Address of the NFS and MOUNT service; one that other machines reach needs `exports`.",
        |s, text| text.parse().map(|value| s.nfs = value)
            .map_err(|_| "expected an address such as 127.0.0.1:12049".to_owned()),
        |s| s.nfs.to_string()),
    key!("state", Path,
        "Directory of the journal, scratch files, inode table and index cache.",
        |s, text| { s.state = PathBuf::from(text); Ok(()) }, |s| s.state.display().to_string()),
    key!("read_only", Boolean,
        "Refuses every write.",
        |s, text| boolean(text).map(|value| s.read_only = value), |s| s.read_only.to_string()),
    key!("organization", Text,
        "Serves only this organization.",
        |s, text| { s.organization = some(text); Ok(()) }, |s| text_of(s.organization.as_ref())),
    key!("super", Text,
        "Serves only this SuperTable of the organization.",
        |s, text| { s.super_name = some(text); Ok(()) }, |s| text_of(s.super_name.as_ref())),
    key!("role", Text,
        "SuperTable role that the gateway acts in.",
        |s, text| { s.role = text.to_owned(); Ok(()) }, |s| s.role.clone()),
    key!("exports", List,
        "Networks that may connect besides this machine, as in exports(5): \
         `10.0.0.0/8(ro,all_squash)`; options ro, rw, root_squash, no_root_squash, all_squash.",
        |s, text| values::exports(text).map(|value| s.exports = value),
        |s| values::show_exports(&s.exports)),
    key!("cache_bytes", Bytes,
        "Upper bound of all caches together.",
        |s, text| bytes(text).map(|value| s.cache_bytes = value), |s| show_bytes(s.cache_bytes)),
    key!("redis.username", Text,
        "ACL user of Redis.",
        |s, text| { s.redis.username = some(text); Ok(()) },
        |s| text_of(s.redis.username.as_ref())),
    key!("redis.password", Secret,
        "Password of Redis.",
        |s, text| { s.redis.password = secret(text); Ok(()) },
        |s| reveal(s.redis.password.as_ref())),
    key!("redis.sentinels", List,
        "Sentinel addresses `host:port`.",
        |s, text| { s.redis.sentinels = values::list(text); Ok(()) },
        |s| s.redis.sentinels.join(",")),
    key!("redis.sentinel_master", Text,
        "Name of the master that the Sentinels watch.",
        |s, text| { s.redis.sentinel_master = some(text); Ok(()) },
        |s| text_of(s.redis.sentinel_master.as_ref())),
    key!("redis.sentinel_password", Secret,
        "Password of the Sentinels.",
        |s, text| { s.redis.sentinel_password = secret(text); Ok(()) },
        |s| reveal(s.redis.sentinel_password.as_ref())),
    key!("redis.ca_file", Path,
        "Certificates (PEM) that the server's certificate is checked with instead of the public \
         ones, for `rediss://`.",
        |s, text| { s.redis.ca_file = path(text); Ok(()) }, |s| show(s.redis.ca_file.as_ref())),
    key!("redis.certificate_file", Path,
        "Client certificate (PEM), for a server that asks for one.",
        |s, text| { s.redis.certificate_file = path(text); Ok(()) },
        |s| show(s.redis.certificate_file.as_ref())),
    key!("redis.key_file", Path,
        "Private key (PEM) of the client certificate.",
        |s, text| { s.redis.key_file = path(text); Ok(()) }, |s| show(s.redis.key_file.as_ref())),
    duration_key!("timing.settle", timing.settle,
        "Quiet time after which a complete staged text is committed."),
    duration_key!("timing.commit_hold", timing.commit_hold,
        "How long a COMMIT reply is held to see whether more writes come."),
    duration_key!("timing.shrink", timing.shrink,
        "Quiet time before a save that shortens a table is believed."),
    duration_key!("timing.grace", timing.grace,
        "How long a removed or renamed table may come back under its name before it is dropped."),
    duration_key!("timing.reader", timing.reader,
        "How long a superseded snapshot stays open for who was seen on it."),
    duration_key!("timing.scratch", timing.scratch, "How long unused scratch files are kept."),
    duration_key!("timing.pointer", timing.pointer,
        "How long the newest pointer of a table may be reused without asking the catalogue."),
    limit_key!("limits.record_bytes_max", record_bytes_max, Bytes, "Largest RPC record."),
    limit_key!("limits.connections_max", connections_max, Count, "Connections in all."),
    limit_key!("limits.connections_per_address_max", connections_per_address_max, Count,
        "Connections from one address."),
    limit_key!("limits.requests_per_connection_max", requests_per_connection_max, Count,
        "Requests under way on one connection."),
    limit_key!("limits.requests_max", requests_max, Count, "Requests under way in all."),
    duration_key!("limits.idle", limits.idle, "A connection that is silent this long is closed."),
    duration_key!("limits.slow_record", limits.slow_record,
        "A record that takes longer than this to arrive closes its connection."),
    limit_key!("limits.replies_kept", replies_kept, Count,
        "Replies remembered for retransmitted requests."),
    limit_key!("limits.staged_file_bytes_max", staged_file_bytes_max, Bytes,
        "Largest staged file."),
    limit_key!("limits.staged_bytes_max", staged_bytes_max, Bytes, "All staged files together."),
    limit_key!("limits.index_bytes_max", index_bytes_max, Bytes,
        "Offset indexes of other writers' files that are kept on disk."),
    limit_key!("limits.record_text_bytes_max", record_text_bytes_max, Bytes, "Longest CSV record."),
    limit_key!("limits.columns_max", columns_max, Count, "Most columns of a table."),
    limit_key!("limits.refusals_kept", refusals_kept, Count, "Refusals kept per table."),
    limit_key!("limits.shrink_percent", shrink_percent, Count,
        "A save that removes more than this percentage of a table's rows waits like a shrinking \
         one."),
    limit_key!("limits.history_max", history_max, Count,
        "Snapshots that a listing of the history walks at most."),
    duration_key!("manage.interval", manage.interval,
        "Time between two looks at the tables that were written, to compact them; `0s` = none."),
    key!("manage.files_min", Count,
        "So many small data files of a table are put together.",
        |s, text| count(text).map(|value| s.manage.files_min = value),
        |s| s.manage.files_min.to_string()),
    key!("manage.dead_percent", Count,
        "A data file is rewritten if more than this percentage of its rows is deleted.",
        |s, text| count(text).map(|value| s.manage.dead_percent = value),
        |s| s.manage.dead_percent.to_string()),
    key!("manage.bytes_max", Bytes,
        "Bytes of data files that one compaction in the background rewrites at most.",
        |s, text| bytes(text).map(|value| s.manage.bytes_max = value),
        |s| show_bytes(s.manage.bytes_max)),
    duration_key!("sql.time_max", sql.time_max,
        "Longest time of one query, waiting for other queries included."),
    sql_key!("sql.memory_bytes_max", memory_bytes_max, Bytes,
        "Memory that sorting, grouping and joining of one query may take; nothing goes to a disk."),
    sql_key!("sql.rows_max", rows_max, Count,
        "Rows of one answer; a query with more fails."),
    sql_key!("sql.queries_max", queries_max, Count,
        "Queries that run at the same time; others wait."),
    sql_key!("sql.file_bytes_max", file_bytes_max, Bytes,
        "Largest file that is made of a table or a query below a mount."),
    sql_key!("sql.kept_bytes_max", kept_bytes_max, Bytes,
        "All such files that are kept in the state directory."),
    duration_key!("mirrors.interval", mirrors.interval,
        "Longest time until a commit, also one of another writer, is in the mirrors; `0s` = they \
         are refreshed by hand only."),
    key!("log.filter", Text,
        "What is logged: directives such as `info` or `warn,mountable=debug`; also \
         `MOUNTABLE_LOG`.",
        |s, text| { s.log.filter = text.to_owned(); Ok(()) }, |s| s.log.filter.clone()),
    key!("log.format", Text,
        "Form of a log line: `text` or `json`.",
        set_log_format,
        log_format),
];

fn log_format(settings: &Settings) -> String {
    match settings.log.format {
        LogFormat::Text => "text".to_owned(),
        LogFormat::Json => "json".to_owned(),
    }
}

fn set_log_format(settings: &mut Settings, text: &str) -> ValueResult<()> {
    settings.log.format = match text {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        _ => return Err("expected text or json".to_owned()),
    };
    Ok(())
}

fn layout(text: &str) -> Result<Option<String>, String> {
    match text {
        "" | "v1" | "v2" => Ok(some(text)),
        _ => Err("expected v1 or v2".to_owned()),
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn secret(text: &str) -> Option<Secret> {
    (!text.is_empty()).then(|| Secret::new(text))
}

fn path(text: &str) -> Option<PathBuf> {
    some(text).map(PathBuf::from)
}

fn show(path: Option<&PathBuf>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

fn text_of(value: Option<&String>) -> String {
    value.cloned().unwrap_or_default()
}

fn reveal(value: Option<&Secret>) -> String {
    value.map(|secret| secret.reveal().to_owned()).unwrap_or_default()
}

/// The candidate closest to `name`, if any is close enough to be a slip of the fingers.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(2);
    candidates
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace) between two texts.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        let mut left = i + 1;
        next.push(left);
        for ((y, above_left), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            left = (above_left + usize::from(x != *y)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_reads_back_as_itself() {
        let defaults = Settings::default();
        for key in KEYS {
            let text = (key.get)(&defaults);
            let mut settings = Settings::default();
            (key.set)(&mut settings, &text).unwrap_or_else(|e| panic!("{}: {e}", key.name));
            assert_eq!((key.get)(&settings), text, "{}", key.name);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
    }

    #[test]
    fn nearest_finds_slips_and_ignores_strangers() {
        let names = || KEYS.iter().map(|key| key.name);
        assert_eq!(nearest("read-only", names()), Some("read_only"));
        assert_eq!(nearest("timing.setle", names()), Some("timing.settle"));
        assert_eq!(nearest("colour", names()), None);
    }
}

//! Values, sets, hashes and lists in SQLite, under the same keys and with the same meaning as in
//! Redis. Knows nothing of tables or SuperTables.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::error::{Error, ErrorKind, Result};

/// Marks the file as ours (`PRAGMA application_id`).
const APPLICATION_ID: i64 = 0x4d6e_7462;
/// Version of the tables below (`PRAGMA user_version`).
const FORMAT: i64 = 1;
/// How long a statement waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const TABLES: &str = "
CREATE TABLE kv (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL, expires_ms INTEGER);
CREATE TABLE members (key TEXT NOT NULL, member TEXT NOT NULL, PRIMARY KEY (key, member))
  WITHOUT ROWID;
CREATE TABLE hashes (key TEXT NOT NULL, field TEXT NOT NULL, value BLOB NOT NULL,
  PRIMARY KEY (key, field)) WITHOUT ROWID;
CREATE TABLE logs (key TEXT NOT NULL, seq INTEGER NOT NULL, value BLOB NOT NULL,
  PRIMARY KEY (key, seq)) WITHOUT ROWID;
";

/// Opens (and if needed makes) the catalogue in a file.
pub(super) fn open_file(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(error_of)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(error_of)?;
    // Before anything is written into it: is it ours at all?
    let empty = {
        // One read transaction: another process may be making the same file right now.
        let reading = connection.transaction().map_err(error_of)?;
        check_owner(&reading)?
    };
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(error_of)?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(Error::unsupported(
            "the file system of the catalogue cannot share memory: keep it on a local disk or use \
             redis://",
        )
        .with("journal_mode", mode));
    }
    prepare(&connection)?;
    if empty {
        create(&mut connection)?;
    }
    Ok(connection)
}

/// Makes a catalogue that is gone with its connection.
pub(super) fn open_memory() -> Result<Connection> {
    let mut connection = Connection::open_in_memory().map_err(error_of)?;
    prepare(&connection)?;
    create(&mut connection)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> Result<()> {
    connection
        .execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; \
             PRAGMA journal_size_limit = 67108864;",
        )
        .map_err(error_of)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Whether the file is a new one; an error if it belongs to something else.
fn check_owner(connection: &Connection) -> Result<bool> {
    let pragma = |name: &str| -> Result<i64> {
        connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).map_err(error_of)
    };
    let objects: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(error_of)?;
    let (owner, format) = (pragma("application_id")?, pragma("user_version")?);
    match (owner, format) {
        (0, 0) if objects == 0 => Ok(true),
        (APPLICATION_ID, FORMAT) => Ok(false),
        (APPLICATION_ID, _) => Err(Error::unsupported(
            "catalogue file was made by another version of Mountable: use that one",
        )
        .with("format", format)
        .with("expected", FORMAT)),
        _ => Err(Error::invalid("file is not a catalogue of Mountable: name another one")),
    }
}

fn create(connection: &mut Connection) -> Result<()> {
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(error_of)?;
    // Another process may have been faster.
    if check_owner(&transaction)? {
        transaction.execute_batch(TABLES).map_err(error_of)?;
        let marks =
            format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};");
        transaction.execute_batch(&marks).map_err(error_of)?;
    }
    transaction.commit().map_err(error_of)
}

/// Turns SQLite's error into ours.
pub(super) fn error_of(error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode as Code;
    let (kind, message) = match error.sqlite_error_code() {
        Some(Code::DatabaseCorrupt) => (
            ErrorKind::Corrupt,
            "catalogue file is damaged: move it away and run `mountable fsck --rebuild`",
        ),
        Some(Code::NotADatabase) => {
            (ErrorKind::Invalid, "file is not a catalogue of Mountable: name another one")
        }
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => {
            (ErrorKind::Unavailable, "catalogue file is locked by another process")
        }
        Some(Code::DiskFull) => (ErrorKind::Full, "disk of the catalogue is full"),
        Some(Code::ReadOnly) => (ErrorKind::ReadOnly, "catalogue file cannot be written"),
        Some(Code::PermissionDenied | Code::AuthorizationForStatementDenied) => {
            (ErrorKind::Denied, "catalogue file may not be used")
        }
        Some(Code::CannotOpen) => (ErrorKind::Unavailable, "open catalogue file"),
        Some(Code::TooBig) => (ErrorKind::TooLarge, "value is too large for the catalogue"),
        _ => (ErrorKind::Unavailable, "use catalogue file"),
    };
    Error::new(kind, message).caused_by(error)
}

/// The value of a key, whether expired or not, and when it expires.
pub(super) fn value_and_expiry(
    c: &Connection,
    key: &str,
) -> Result<Option<(Vec<u8>, Option<i64>)>> {
    c.prepare_cached("SELECT value, expires_ms FROM kv WHERE key = ?1")
        .and_then(|mut s| s.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(error_of)
}

/// The value of a key.
pub(super) fn value(c: &Connection, key: &str) -> Result<Option<Vec<u8>>> {
    Ok(value_and_expiry(c, key)?.map(|(value, _)| value))
}

/// Sets a value, with the time at which it expires.
pub(super) fn set(c: &Connection, key: &str, value: &[u8], expires_ms: Option<i64>) -> Result<()> {
    run(
        c,
        "INSERT INTO kv (key, value, expires_ms) VALUES (?1, ?2, ?3) \
         ON CONFLICT (key) DO UPDATE SET value = ?2, expires_ms = ?3",
        params![key, value, expires_ms],
    )
    .map(|_| ())
}

/// Removes a value; whether there was one.
pub(super) fn unset(c: &Connection, key: &str) -> Result<bool> {
    Ok(run(c, "DELETE FROM kv WHERE key = ?1", params![key])? > 0)
}

/// Keys and values whose key begins with `prefix`, sorted by key.
pub(super) fn values_below(c: &Connection, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
    c.prepare_cached("SELECT key, value FROM kv WHERE key >= ?1 AND key < ?2 ORDER BY key")
        .and_then(|mut s| {
            s.query_map([prefix, &end_of(prefix)], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
        .map_err(error_of)
}

/// Keys of single values that match a pattern of `LIKE`.
pub(super) fn keys_like(c: &Connection, pattern: &str) -> Result<Vec<String>> {
    c.prepare_cached("SELECT key FROM kv WHERE key LIKE ?1")
        .and_then(|mut s| s.query_map([pattern], |row| row.get(0))?.collect())
        .map_err(error_of)
}

/// The first key at or after `from`.
pub(super) fn key_from(c: &Connection, from: &str) -> Result<Option<String>> {
    c.prepare_cached("SELECT key FROM kv WHERE key >= ?1 ORDER BY key LIMIT 1")
        .and_then(|mut s| s.query_row([from], |row| row.get(0)).optional())
        .map_err(error_of)
}

/// The first text that is greater than every text that begins with `prefix` (ASCII, not empty).
pub(super) fn end_of(prefix: &str) -> String {
    let mut end = prefix.to_owned();
    let last = end.pop().and_then(|last| char::from_u32(u32::from(last).saturating_add(1)));
    end.push(last.unwrap_or(char::MAX));
    end
}

/// Removes every kind of value whose key begins with `prefix`.
pub(super) fn remove_below(c: &Connection, prefix: &str) -> Result<()> {
    for statement in [
        "DELETE FROM kv WHERE key >= ?1 AND key < ?2",
        "DELETE FROM members WHERE key >= ?1 AND key < ?2",
        "DELETE FROM hashes WHERE key >= ?1 AND key < ?2",
        "DELETE FROM logs WHERE key >= ?1 AND key < ?2",
    ] {
        run(c, statement, params![prefix, end_of(prefix)])?;
    }
    Ok(())
}

/// Removes every kind of value of a key.
pub(super) fn remove_key(c: &Connection, key: &str) -> Result<()> {
    for statement in [
        "DELETE FROM kv WHERE key = ?1",
        "DELETE FROM members WHERE key = ?1",
        "DELETE FROM hashes WHERE key = ?1",
        "DELETE FROM logs WHERE key = ?1",
    ] {
        run(c, statement, params![key])?;
    }
    Ok(())
}

/// What SQLite says about the structure of the file: `ok`, or the first damage.
pub(super) fn integrity(c: &Connection) -> Result<String> {
    c.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(error_of)
}

/// All keys that do not expire, sorted.
pub(super) fn lasting_keys(c: &Connection) -> Result<Vec<String>> {
    let sql = "SELECT key FROM kv WHERE expires_ms IS NULL UNION SELECT key FROM members \
               UNION SELECT key FROM hashes UNION SELECT key FROM logs ORDER BY key";
    c.prepare_cached(sql)
        .and_then(|mut s| s.query_map([], |row| row.get(0))?.collect())
        .map_err(error_of)
}

/// Adds to a set; whether it is new there.
pub(super) fn add_member(c: &Connection, key: &str, member: &str) -> Result<bool> {
    let sql = "INSERT OR IGNORE INTO members (key, member) VALUES (?1, ?2)";
    Ok(run(c, sql, params![key, member])? > 0)
}

/// Removes from a set.
pub(super) fn remove_member(c: &Connection, key: &str, member: &str) -> Result<bool> {
    let sql = "DELETE FROM members WHERE key = ?1 AND member = ?2";
    Ok(run(c, sql, params![key, member])? > 0)
}

/// The members of a set, sorted.
pub(super) fn members(c: &Connection, key: &str) -> Result<Vec<String>> {
    c.prepare_cached("SELECT member FROM members WHERE key = ?1 ORDER BY member")
        .and_then(|mut s| s.query_map([key], |row| row.get(0))?.collect())
        .map_err(error_of)
}

/// Sets a field of a hash.
pub(super) fn set_field(c: &Connection, key: &str, field: &str, value: &[u8]) -> Result<()> {
    let sql = "INSERT INTO hashes (key, field, value) VALUES (?1, ?2, ?3) \
               ON CONFLICT (key, field) DO UPDATE SET value = ?3";
    run(c, sql, params![key, field, value]).map(|_| ())
}

/// A field of a hash.
pub(super) fn field(c: &Connection, key: &str, field: &str) -> Result<Option<Vec<u8>>> {
    c.prepare_cached("SELECT value FROM hashes WHERE key = ?1 AND field = ?2")
        .and_then(|mut s| s.query_row([key, field], |row| row.get(0)).optional())
        .map_err(error_of)
}

/// Removes a field of a hash.
pub(super) fn remove_field(c: &Connection, key: &str, field: &str) -> Result<bool> {
    let sql = "DELETE FROM hashes WHERE key = ?1 AND field = ?2";
    Ok(run(c, sql, params![key, field])? > 0)
}

/// All fields of a hash, sorted by name.
pub(super) fn fields(c: &Connection, key: &str) -> Result<Vec<(String, Vec<u8>)>> {
    c.prepare_cached("SELECT field, value FROM hashes WHERE key = ?1 ORDER BY field")
        .and_then(|mut s| s.query_map([key], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .map_err(error_of)
}

/// Appends to a list.
pub(super) fn push<'a>(
    c: &Connection,
    key: &str,
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<()> {
    for value in values {
        let sql = "INSERT INTO logs (key, seq, value) \
                   SELECT ?1, coalesce(max(seq), 0) + 1, ?2 FROM logs WHERE key = ?1";
        run(c, sql, params![key, value])?;
    }
    Ok(())
}

/// Keeps only the newest `keep` entries of a list.
pub(super) fn trim(c: &Connection, key: &str, keep: usize) -> Result<()> {
    let keep = i64::try_from(keep).unwrap_or(i64::MAX);
    let sql = "DELETE FROM logs WHERE key = ?1 AND seq <= \
               (SELECT coalesce(max(seq), 0) FROM logs WHERE key = ?1) - ?2";
    run(c, sql, params![key, keep]).map(|_| ())
}

/// The newest `last` entries of a list, oldest first.
pub(super) fn newest(c: &Connection, key: &str, last: usize) -> Result<Vec<Vec<u8>>> {
    let last = i64::try_from(last).unwrap_or(i64::MAX);
    let mut found: Vec<Vec<u8>> = c
        .prepare_cached("SELECT value FROM logs WHERE key = ?1 ORDER BY seq DESC LIMIT ?2")
        .and_then(|mut s| s.query_map(params![key, last], |row| row.get(0))?.collect())
        .map_err(error_of)?;
    found.reverse();
    Ok(found)
}

fn run(c: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Result<usize> {
    c.prepare_cached(sql).and_then(|mut s| s.execute(parameters)).map_err(error_of)
}

//! What only the catalogue in a file must do.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use mountable::catalog::{self, Catalog, DocKey, EmbeddedCatalog, Expected, SharedCatalog};
use mountable::clock::SystemClock;
use mountable::config::Settings;
use mountable::error::{ErrorKind, Result};

use crate::catalog_suite::{put, swap, table};

async fn open(path: &Path) -> Result<EmbeddedCatalog> {
    EmbeddedCatalog::open(path, Arc::new(SystemClock)).await
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("c.sqlite");
    let id = table("acme/shop/orders");
    let first: SharedCatalog = Arc::new(open(&path).await.expect("opens"));
    first.create_super(&id.super_id(), 1).await.expect("create");
    put(&first, &id, "leaf").await;
    drop(first);
    let second = open(&path).await.expect("opens again");
    let leaf = second.leaf(&id).await.expect("leaf").expect("there");
    assert_eq!(leaf.raw, Bytes::from("leaf"));
}

#[tokio::test]
async fn the_file_is_readable_for_its_owner_only() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("sub/c.sqlite");
    let catalog = open(&path).await.expect("opens");
    let value = Bytes::from("key");
    let secret = DocKey::Secret("handles");
    assert!(catalog.put_doc(&secret, Expected::Absent, value).await.expect("put"));
    for file in ["c.sqlite", "c.sqlite-wal"] {
        let metadata = std::fs::metadata(path.with_file_name(file)).expect("exists");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_file_of_something_else_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("notes.txt");
    let text = "these are notes, not a catalogue\n".repeat(200);
    std::fs::write(&path, &text).expect("write");
    let error = open(&path).await.expect_err("not ours");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("read"), text);

    let path = directory.path().join("other.sqlite");
    let other = rusqlite::Connection::open(&path).expect("open");
    other.execute_batch("CREATE TABLE kv (x); INSERT INTO kv VALUES (1)").expect("fill");
    drop(other);
    let before = std::fs::read(&path).expect("read");
    assert_eq!(open(&path).await.expect_err("not ours").kind(), ErrorKind::Invalid);
    assert_eq!(std::fs::read(&path).expect("read"), before);
}

#[tokio::test]
async fn a_file_of_another_version_is_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("c.sqlite");
    drop(open(&path).await.expect("opens"));
    let raw = rusqlite::Connection::open(&path).expect("open");
    raw.execute_batch("PRAGMA user_version = 99").expect("change");
    drop(raw);
    assert_eq!(open(&path).await.expect_err("newer").kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_not_an_empty_catalogue() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("c.sqlite");
    let id = table("acme/shop/orders");
    let catalog: SharedCatalog = Arc::new(open(&path).await.expect("opens"));
    for number in 0..200 {
        put(&catalog, &table(&format!("acme/shop/t{number}")), "leaf of a table").await;
    }
    drop(catalog);
    let mut bytes = std::fs::read(&path).expect("read");
    let length = bytes.len();
    bytes.iter_mut().skip(4096).take(length - 4096).for_each(|byte| *byte = 0x5a);
    std::fs::write(&path, bytes).expect("damage");
    let kind = match open(&path).await {
        Err(error) => error.kind(),
        Ok(catalog) => catalog.leaves(&id.super_id()).await.expect_err("damaged").kind(),
    };
    assert_eq!(kind, ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_file_that_another_process_holds_is_unavailable_in_bounded_time() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("c.sqlite");
    let catalog = open(&path).await.expect("opens");
    let other = rusqlite::Connection::open(&path).expect("open");
    other.execute_batch("BEGIN IMMEDIATE").expect("lock");
    let id = table("acme/shop/orders");
    let held = tokio::time::timeout(
        std::time::Duration::from_secs(15),
        catalog.swap(swap(&id, None, Some(&"leaf".into()))),
    );
    let error = held.await.expect("bounded").expect_err("locked");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(catalog.leaf(&id).await.expect("readers go on"), None);
    other.execute_batch("ROLLBACK").expect("unlock");
    assert!(catalog.swap(swap(&id, None, Some(&"leaf".into()))).await.is_ok());
}

#[tokio::test]
async fn a_local_lake_gets_its_catalogue_beside_the_objects() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let lake = directory.path().join("lake").display().to_string();
    let settings = Settings { lake, ..Settings::default() };
    let catalog = catalog::open(&settings, Arc::new(SystemClock)).await.expect("opens");
    assert!(catalog.health().await.expect("health").description.contains("SQLite"));
    assert!(directory.path().join("lake/.mountable/catalog.sqlite").exists());
    let cloud = Settings { lake: "s3://bucket".to_owned(), ..Settings::default() };
    let error = catalog::open(&cloud, Arc::new(SystemClock)).await.expect_err("needs one");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("redis://"), "{error}");
}

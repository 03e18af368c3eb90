//! Names: new tables, names that are none, listings, the small files.

use mountable::error::ErrorKind;
use mountable::vfs::{CreateMode, FileKind, FileSystem, Handle, SetAttr, Stability};

use crate::support::Lab;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_becomes_a_table_with_inferred_types() {
    let lab = Lab::new().await;
    let a = lab.client("a");
    let file = a.create("n.csv", CreateMode::Unchecked(SetAttr::default())).await.unwrap();
    assert_eq!(a.names().await, [".", "..", "n.csv"]);
    a.write_sync(file, 0, "id,zip,day\n1,01234,2026-11-21\n").await.unwrap();
    assert_eq!(lab.engine_csv("n").await, "id,zip,day\n1,01234,2026-11-21\n");
    a.append_cold("n.csv", "2,04321,2026-11-22\n").await.unwrap();
    assert!(a.append_cold("n.csv", "x,04321,2026-11-22\n").await.is_err());
    assert_eq!(lab.client("b").cat("n.csv").await, lab.engine_csv("n").await);
    assert_eq!(lab.staged_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_first_and_rows_later_is_a_table() {
    let lab = Lab::new().await;
    let a = lab.client("a");
    let file = a.create("n.csv", CreateMode::Unchecked(SetAttr::default())).await.unwrap();
    a.write_sync(file, 0, "id,name\n").await.unwrap();
    lab.quiet().await;
    assert_eq!(a.cat("n.csv").await, "id,name\n");
    a.append_warm("n.csv", "1,ann\n").await.unwrap();
    lab.settles("n", "id,name\n1,ann\n").await;
    a.append_warm("n.csv", "2,bob\n").await.unwrap();
    assert_eq!(lab.engine_csv("n").await, "id,name\n1,ann\n2,bob\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_new_file_arrives_in_unstable_writes() {
    let lab = Lab::new().await;
    let a = lab.client("a");
    let file = a.create_exclusive("n.csv").await.unwrap();
    let mut text = String::from("id,note\n");
    for row in 0..20_000 {
        text.push_str(&format!("{row},note {row}\n"));
    }
    for (index, piece) in text.as_bytes().chunks(65_536).enumerate() {
        a.write(file, index as u64 * 65_536, piece, Stability::Unstable).await.unwrap();
    }
    a.commit(file).await.unwrap();
    lab.settles("n", &text).await;
    assert_eq!(a.cat("n.csv").await, text);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_look_like_tables_and_cannot_be_are_refused() {
    let lab = Lab::new().await;
    let a = lab.client("a");
    for name in ["My Orders.csv", "2024.csv", "a-b.csv"] {
        let refused = a.create(name, CreateMode::Unchecked(SetAttr::default())).await;
        assert_eq!(refused.err().and_then(|e| e.kind()), Some(ErrorKind::Invalid), "{name}");
    }
    assert!(a.cat("errors.csv").await.contains("MNT-1100"));
    let long = "x".repeat(300);
    assert!(a.create(&long, CreateMode::Exclusive([0; 8])).await.is_err());
    let dir = a.directory().await;
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0b", b"\xff\xff.csv\0"] {
        let mode = CreateMode::Unchecked(SetAttr::default());
        assert!(a.vfs.create(&a.caller, dir, name, mode).await.result.is_err(), "{name:?}");
        assert!(a.vfs.remove(&a.caller, dir, name).await.result.is_err(), "{name:?}");
    }
    for name in ["README.txt", ".control"] {
        assert!(a.at("").remove(name).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_that_were_never_given_out_are_stale_everywhere() {
    let lab = Lab::new().await;
    lab.table("t").rows("id\n1\n").await;
    let a = lab.client("a");
    let real = a.open("t.csv").await.unwrap();
    for handle in [
        Handle { inode: 0, version: 0 },
        Handle { inode: 12_345, version: 1 },
        Handle { inode: real.handle.inode, version: 999 },
        Handle { inode: u64::MAX, version: u64::MAX },
    ] {
        let file = crate::support::File { handle, size: 0 };
        assert!(a.getattr(file).await.is_err());
        let _ = a.pread(file, 0, 10).await;
        let _ = a.write_sync(file, 0, "x").await;
        let _ = a.truncate(file, 0).await;
        let _ = a.commit(file).await;
    }
    lab.quiet().await;
    assert_eq!(lab.engine_csv("t").await, "id\n1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_goes_on_where_it_stopped() {
    let lab = Lab::new().await;
    for table in 0..20 {
        lab.table(&format!("t{table}")).rows("id\n1\n").await;
    }
    let a = lab.client("a");
    let dir = a.directory().await;
    let (mut names, mut cookie) = (Vec::new(), 0);
    loop {
        let page = a.vfs.readdir(&a.caller, dir, cookie, 3, true).await.unwrap();
        assert!(page.entries.len() <= 3);
        for entry in &page.entries {
            assert!(entry.entry.is_some());
            cookie = entry.cookie;
            names.push(entry.name.clone());
        }
        if page.end {
            break;
        }
        // A file comes and goes between two pages.
        a.temporary("tmp~", "x").await.unwrap();
        a.remove("tmp~").await.unwrap();
    }
    names.sort();
    let all = names.len();
    names.dedup();
    assert_eq!((all, names.len()), (42, 42));
    let page = a.vfs.readdir(&a.caller, dir, u64::MAX, 10, false).await.unwrap();
    assert!(page.end && page.entries.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_without_attributes_tells_the_same_numbers_and_types() {
    let lab = Lab::new().await;
    lab.table("t").rows("id\n1\n").await;
    let a = lab.client("a");
    a.temporary("tmp~", "x").await.unwrap();
    let dir = a.directory().await;
    let bare = a.vfs.readdir(&a.caller, dir, 0, 100, false).await.unwrap().entries;
    let full = a.vfs.readdir(&a.caller, dir, 0, 100, true).await.unwrap().entries;
    assert_eq!(bare.len(), full.len());
    let mut directories = 0;
    for (bare, full) in bare.iter().zip(&full) {
        let attr = full.entry.unwrap().attr;
        assert_eq!((&bare.name, bare.inode, bare.kind), (&full.name, attr.inode, attr.kind));
        directories += usize::from(attr.kind == FileKind::Directory);
    }
    // `.`, `..` and what is told about the table.
    assert_eq!(directories, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_finishes_what_waits_and_tells_if_it_cannot() {
    let lab = Lab::with(|settings| {
        settings.timing.shrink = std::time::Duration::from_secs(60);
    })
    .await;
    lab.table("t").rows("id,qty\n1,5\n2,6\n").await;
    let a = lab.client("a");
    let root = a.at("");
    let control = root.open(".control").await.unwrap();
    a.overwrite("t.csv", "id,qty\n1,5\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n");
    root.write_sync(control, 0, "sync\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n");
    let file = a.open("t.csv").await.unwrap();
    a.write(file, 11, "x,y\n", Stability::Unstable).await.unwrap();
    assert!(root.write_sync(control, 0, "sync\n").await.is_err());
    assert!(root.write_sync(control, 0, "reboot\n").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_set_by_saving_the_configuration() {
    let lab = Lab::new().await;
    lab.table("t").rows("id,qty\n1,5\n2,6\n").await;
    let a = lab.client("a");
    let about = a.at("acme/shop/t");
    assert!(about.cat("config.toml").await.contains("keys = []"));
    let config = about.open("config.toml").await.unwrap();
    about.truncate(config, 0).await.unwrap();
    assert!(about.write_sync(config, 0, "keys = [\"nope\"]\n").await.is_err());
    about.write_sync(config, 0, "keys = [\"id\"]\n").await.unwrap();
    assert!(about.cat("config.toml").await.contains("keys = [\"id\"]"));
    assert!(a.append_cold("t.csv", "1,9\n").await.is_err());
    a.append_cold("t.csv", "3,9\n").await.unwrap();
}

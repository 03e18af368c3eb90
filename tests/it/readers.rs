//! Readers: one snapshot from the first byte to the last.

use std::time::Duration;

use mountable::vfs::FsError;

use crate::support::Lab;

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_stays_on_its_snapshot_while_others_commit() {
    // Long enough for a busy machine: the reader goes on well within it.
    let reader = Duration::from_secs(2);
    let lab = Lab::with(|settings| settings.timing.reader = reader).await;
    let text = "id,qty\n1,5\n2,6\n";
    lab.table("t").rows(text).await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    let file = a.open("t.csv").await.unwrap();
    assert_eq!(a.pread(file, 0, 5).await.unwrap(), b"id,qt");
    for row in 3..9 {
        b.append_cold("t.csv", &format!("{row},0\n")).await.unwrap();
        lab.foreign_edit("t", 0, 1, &format!("1,{row}\n")).await;
        assert_eq!(a.getattr(file).await.unwrap().size, text.len() as u64);
        assert_eq!(a.read_all(file).await.unwrap(), text);
    }
    tokio::time::sleep(reader + reader / 4).await;
    assert!(matches!(a.getattr(file).await, Err(FsError::Stale)));
    assert_eq!(a.read_all(file).await.unwrap(), text, "READ is never stale");
    assert_eq!(a.cat("t.csv").await, lab.engine_csv("t").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_open_sees_what_others_committed() {
    let lab = Lab::new().await;
    lab.table("t").rows("id,qty\n1,5\n").await;
    let a = lab.client("a");
    assert_eq!(a.cat("t.csv").await, "id,qty\n1,5\n");
    lab.foreign_append("t", "2,6\n").await;
    assert_eq!(a.cat("t.csv").await, "id,qty\n1,5\n2,6\n");
    a.append_cold("t.csv", "3,7\n").await.unwrap();
    lab.foreign_append("t", "4,8\n").await;
    assert_eq!(a.cat("t.csv").await, "id,qty\n1,5\n2,6\n3,7\n4,8\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_are_files() {
    let lab = Lab::new().await;
    lab.table("t").rows("id,qty\n1,5\n").await;
    let a = lab.client("a");
    a.append_cold("t.csv", "2,6\n").await.unwrap();
    assert_eq!(a.at("acme/shop/t/.at/1").cat("t.csv").await, "id,qty\n1,5\n");
    assert_eq!(a.at("acme/shop/t/.at/2").cat("t.csv").await, "id,qty\n1,5\n2,6\n");
    assert!(a.at("acme/shop/t/.at").lookup("77").await.is_err());
    assert!(a.at("acme/shop/t/.at/1").append_cold("t.csv", "3,7\n").await.is_err());
    assert_eq!(a.at("acme/shop/t/.at").names().await, [".", "..", "0", "1", "2"]);
}

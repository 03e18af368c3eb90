//! Compaction below a mount: no byte, no time and no handle changes.

use mountable::lake::CompactSettings;

use crate::support::{Lab, principal};

async fn compact(lab: &Lab) {
    let door = lab.another_door();
    let all = CompactSettings::all();
    let done = door.compact(&principal("manage"), &Lab::id("t"), &all).await.unwrap();
    assert!(done.files_before > done.files_after, "{done:?}");
}

/// Rows 1 to 4 in as many files.
async fn lab() -> Lab {
    let lab = Lab::new().await;
    lab.table("t").rows("id,qty\n1,5\n").await;
    for row in ["2,6\n", "3,7\n", "4,8\n"] {
        lab.client("setup").append_cold("t.csv", row).await.unwrap();
    }
    lab
}

const TEXT: &str = "id,qty\n1,5\n2,6\n3,7\n4,8\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_notices_nothing_of_a_compaction() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    assert_eq!(a.read_all(file).await.unwrap(), TEXT);
    let before = a.getattr(file).await.unwrap();
    compact(&lab).await;
    // Long enough for an old snapshot that nobody reads to be stale.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let after = a.getattr(file).await.unwrap();
    assert_eq!((after.mtime, after.ctime, after.size), (before.mtime, before.ctime, before.size));
    assert_eq!(a.lookup("t.csv").await.unwrap().handle, file.handle, "what is cached stays");
    assert_eq!(a.read_all(file).await.unwrap(), TEXT);
    assert_eq!(lab.client("new").cat("t.csv").await, TEXT);
    let history = a.at("acme/shop/t").cat("history.csv").await;
    assert!(history.lines().last().unwrap().contains(",compact,4,0,0,0,"), "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn editors_and_loggers_go_on_over_a_compaction() {
    let lab = lab().await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    let log = a.open("t.csv").await.unwrap();
    a.read_all(log).await.unwrap();
    a.write_sync(log, TEXT.len() as u64, "5,9\n").await.unwrap();
    let edited = b.open("t.csv").await.unwrap();
    let text = b.read_all(edited).await.unwrap();
    compact(&lab).await;
    // The logger's handle is at the end of what it wrote itself.
    a.write_sync(log, TEXT.len() as u64 + 4, "6,10\n").await.unwrap();
    b.temporary("x.tmp", &text.replace("2,6", "2,66")).await.unwrap();
    b.rename("x.tmp", "t.csv").await.unwrap();
    compact(&lab).await;
    a.write_sync(log, TEXT.len() as u64 + 9, "7,11\n").await.unwrap();
    let expected = "id,qty\n1,5\n2,66\n3,7\n4,8\n5,9\n6,10\n7,11\n";
    assert_eq!(lab.engine_csv("t").await, expected);
    for name in ["a", "b", "new"] {
        assert_eq!(lab.client(name).cat("t.csv").await, expected, "client {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_one_client_alone_is_not_taken_for_a_merged_one_after_a_compaction() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.read_all(file).await.unwrap();
    compact(&lab).await;
    // Over the old text and through the old handle, twice: a merged text could only be added to.
    a.write_sync(file, TEXT.len() as u64, "5,9\n").await.unwrap();
    let longer = format!("{TEXT}5,9\n").replace("1,5", "1,6");
    a.write_sync(file, 0, &longer).await.unwrap();
    lab.quiet().await;
    assert_eq!(lab.engine_csv("t").await, longer);
    assert_eq!(a.read_all(file).await.unwrap(), longer);
}

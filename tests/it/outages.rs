//! The gateway dies in the middle of what an editor does with names: the save or the removal goes
//! on as if nothing had happened.

use std::time::Duration;

use mountable::vfs::{CreateMode, SetAttr, Stability};

use crate::support::Lab;

const TEXT: &str = "id,qty\n1,5\n2,6\n3,7\n";

async fn lab() -> Lab {
    let lab = Lab::with(|settings| settings.timing.grace = Duration::from_millis(600)).await;
    lab.table("t").rows(TEXT).await;
    lab
}

#[tokio::test(flavor = "multi_thread")]
async fn an_editor_that_had_put_the_file_aside_saves_after_an_outage() {
    let lab = lab().await;
    let a = lab.client("a");
    assert_eq!(a.cat("t.csv").await, TEXT);
    a.rename("t.csv", "t.csv~").await.unwrap();
    drop(a);
    let lab = lab.restart().await;
    let a = lab.client("a");
    // To the client the name is free, so it does not truncate.
    let mode = CreateMode::Unchecked(SetAttr { mode: Some(0o644), ..SetAttr::default() });
    let file = a.create("t.csv", mode).await.unwrap();
    assert_eq!(file.size, 0);
    a.write_sync(file, 0, "id,qty\n1,5\n3,70\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n3,70\n");
    assert_eq!(a.cat("t.csv~").await, TEXT);
    assert_eq!(lab.versions("t").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_was_acknowledged_is_one_after_an_outage() {
    let lab = lab().await;
    lab.client("a").remove("t.csv").await.unwrap();
    let lab = lab.restart().await;
    let a = lab.client("a");
    assert!(a.lookup("t.csv").await.is_err(), "the removed file is back");
    assert!(lab.exists("t").await, "its grace time is not over");
    for _ in 0..1_500 {
        if !lab.exists("t").await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!lab.exists("t").await);
    // And it is not removed a second time when it is there again.
    a.overwrite_new("t.csv", "id,qty\n8,8\n").await;
    drop(a);
    let lab = lab.restart().await;
    lab.quiet().await;
    assert_eq!(lab.engine_csv("t").await, "id,qty\n8,8\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_put_back_stays_after_an_outage() {
    let lab = lab().await;
    let a = lab.client("a");
    a.rename("t.csv", "t.csv~").await.unwrap();
    a.rename("t.csv~", "t.csv").await.unwrap();
    drop(a);
    let lab = lab.restart().await;
    assert_eq!(lab.client("a").cat("t.csv").await, TEXT);
    assert_eq!(lab.versions("t").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_editor_sees_its_own_bytes_and_time_after_an_outage() {
    let lab = lab().await;
    let a = lab.client("a");
    let spelled = "\u{feff}id,qty\r\n1,\"5\"\r\n2,60\r\n3,7\r\n";
    a.overwrite("t.csv", spelled).await.unwrap();
    let before = a.lookup("t.csv").await.unwrap().attr;
    assert_eq!(before.size, spelled.len() as u64);
    drop(a);
    let lab = lab.restart().await;
    let a = lab.client("a");
    let after = a.lookup("t.csv").await.unwrap().attr;
    assert_eq!((after.size, after.mtime), (before.size, before.mtime), "file changed on disk");
    assert_eq!(a.cat("t.csv").await, spelled);
    // What is written behind it at the offsets that the client knows is one row.
    a.append_cold("t.csv", "4,8\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,60\n3,7\n4,8\n");
    // Another's change ends it, and no file is left of it.
    lab.foreign_append("t", "5,9\n").await;
    drop(a);
    let lab = lab.restart().await;
    assert_eq!(lab.client("a").cat("t.csv").await, "id,qty\n1,5\n2,60\n3,7\n4,8\n5,9\n");
    assert_eq!(lab.staged_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_new_file_is_there_after_an_outage() {
    let lab = lab().await;
    let a = lab.client("a");
    a.create("n.csv", CreateMode::Unchecked(SetAttr::default())).await.unwrap();
    drop(a);
    let lab = lab.restart().await;
    let a = lab.client("a");
    let file = a.open("n.csv").await.unwrap();
    assert_eq!(file.size, 0);
    a.write(file, 0, "k\n1\n", Stability::FileSync).await.unwrap();
    assert_eq!(lab.engine_csv("n").await, "k\n1\n");
}

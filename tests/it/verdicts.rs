//! The verdict of a large save is told by the COMMIT that ends it; and files that hold nothing.

use std::fmt::Write;

use mountable::error::ErrorKind;
use mountable::vfs::{CreateMode, SetAttr, Stability};

use crate::support::{Client, File, Lab};

fn rows(range: std::ops::Range<u32>) -> String {
    range.fold(String::new(), |mut text, row| {
        writeln!(text, "{row},{}", row * 7).unwrap();
        text
    })
}

/// Unstable WRITEs of 4 KiB each from `offset` on.
async fn copy(client: &Client, file: File, offset: u64, text: &str) {
    for (index, piece) in text.as_bytes().chunks(4096).enumerate() {
        let at = offset + index as u64 * 4096;
        client.write(file, at, piece, Stability::Unstable).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_new_file_is_judged_in_its_commit() {
    let lab = Lab::new().await;
    let a = lab.client("a");
    let good = format!("id,qty\n{}", rows(0..3000));
    let file = a.create("n.csv", CreateMode::Unchecked(SetAttr::default())).await.unwrap();
    copy(&a, file, 0, &good).await;
    a.commit(file).await.unwrap();
    assert_eq!(lab.engine_csv("n").await, good);
    let file = a.create("m.csv", CreateMode::Unchecked(SetAttr::default())).await.unwrap();
    copy(&a, file, 0, &format!("{good}1,2,3\n")).await;
    let told = a.commit(file).await.err().and_then(|error| error.kind());
    assert_eq!(told, Some(ErrorKind::Invalid));
    assert!(!lab.exists("m").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_large_rewrite_is_judged_in_its_commit() {
    let lab = Lab::new().await;
    lab.table("t").rows(&format!("id,qty\n{}", rows(0..3000))).await;
    let a = lab.client("a");
    let shorter = format!("id,qty\n{}", rows(500..2900));
    let file = a.open("t.csv").await.unwrap();
    a.truncate(file, 0).await.unwrap();
    copy(&a, file, 0, &shorter).await;
    a.commit(file).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, shorter);
    assert_eq!(lab.versions("t").await, 3);
    a.truncate(file, 0).await.unwrap();
    copy(&a, file, 0, &shorter.replace("\n600,", "\nsix,")).await;
    let told = a.commit(file).await.err().and_then(|error| error.kind());
    assert_eq!(told, Some(ErrorKind::Invalid));
    assert_eq!(lab.engine_csv("t").await, shorter);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_in_mid_file_of_a_new_table_waits_for_the_rest() {
    let lab =
        Lab::with(|settings| settings.timing.settle = std::time::Duration::from_secs(5)).await;
    let a = lab.client("a");
    let file = a.create("n.csv", CreateMode::Unchecked(SetAttr::default())).await.unwrap();
    a.write(file, 0, "id,qty\n1,5\n", Stability::Unstable).await.unwrap();
    let middle = tokio::spawn({
        let a = a.clone();
        async move { a.commit(file).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    // Had the first part been taken for the whole, the column were of integers.
    a.write(file, 11, "2,many\n", Stability::FileSync).await.unwrap();
    middle.await.unwrap().unwrap();
    a.commit(file).await.unwrap();
    lab.settles("n", "id,qty\n1,5\n2,many\n").await;
    assert_eq!(lab.versions("n").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_new_file_can_be_renamed_and_filled() {
    let lab = Lab::new().await;
    lab.table("t").rows("id,qty\n1,5\n").await;
    let a = lab.client("a");
    let file = a.create("n.csv", CreateMode::Unchecked(SetAttr::default())).await.unwrap();
    a.rename("n.csv", "o.csv").await.unwrap();
    assert!(a.lookup("n.csv").await.is_err());
    let there = a.open("o.csv").await.unwrap();
    assert_eq!((there.size, there.handle), (0, file.handle));
    // It is no text that a table could take.
    assert!(a.rename("o.csv", "t.csv").await.is_err());
    assert_eq!(a.cat("t.csv").await, "id,qty\n1,5\n");
    a.write_sync(file, 0, "k\n1\n").await.unwrap();
    assert_eq!(lab.engine_csv("o").await, "k\n1\n");
    assert!(!lab.exists("n").await);
    assert_eq!(lab.versions("t").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_new_file_that_is_removed_leaves_nothing() {
    let lab = Lab::new().await;
    let a = lab.client("a");
    a.create("n.csv", CreateMode::Exclusive([7; 8])).await.unwrap();
    assert!(a.names().await.contains(&"n.csv".to_owned()));
    a.remove("n.csv").await.unwrap();
    assert!(!a.names().await.contains(&"n.csv".to_owned()));
    assert_eq!(lab.staged_files(), 0);
}

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

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_dies_in_the_middle_of_a_save_changes_nothing() {
    let lab = Lab::with(|settings| {
        settings.timing.shrink = std::time::Duration::from_millis(60);
        settings.timing.settle = std::time::Duration::from_millis(20);
    })
    .await;
    let text = format!("id,qty\n{}", rows(0..3000));
    lab.table("t").rows(&text).await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.truncate(file, 0).await.unwrap();
    // More than half of it, to the end of a line: alone by its look it were a whole text.
    let part = format!("id,qty\n{}", rows(500..2500));
    copy(&a, file, 0, &part).await;
    // Neither silence nor the control file takes it for one.
    let root = a.at("");
    let control = root.open(".control").await.unwrap();
    root.write_sync(control, 0, "sync\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, text);
    let b = lab.client("b").at("acme/shop/t");
    let mut told = String::new();
    for _ in 0..1_500 {
        told = b.cat("errors.csv").await;
        if told.contains("MNT-1230") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(told.contains("the client went away"), "{told}");
    assert_eq!(lab.engine_csv("t").await, text);
    // Should it live after all, its COMMIT tells it.
    assert!(a.commit(file).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_that_stops_in_mid_line_changes_nothing() {
    let lab = Lab::new().await;
    let text = format!("id,qty\n{}", rows(0..3000));
    lab.table("t").rows(&text).await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.truncate(file, 0).await.unwrap();
    let part = &text[..20_005];
    assert!(!part.ends_with('\n'));
    for (index, piece) in part.as_bytes().chunks(4096).enumerate() {
        a.write_sync(file, index as u64 * 4096, piece).await.unwrap();
    }
    let b = lab.client("b").at("acme/shop/t");
    for _ in 0..1_500 {
        if b.cat("errors.csv").await.contains("MNT-1230") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(b.cat("errors.csv").await.contains("in the middle of a line"));
    assert_eq!(lab.engine_csv("t").await, text);
    assert_eq!(lab.versions("t").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_part_of_a_slow_rewrite_is_not_taken_for_the_whole() {
    let lab =
        Lab::with(|settings| settings.timing.shrink = std::time::Duration::from_secs(30)).await;
    let text = "id,qty\n1,5\n2,6\n3,7\n";
    lab.table("t").rows(text).await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.truncate(file, 0).await.unwrap();
    a.write_sync(file, 0, "id,qty\n1,5\n2,").await.unwrap();
    // Several settle times.
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    assert_eq!(lab.engine_csv("t").await, text);
    a.write_sync(file, 0, "id,qty\n1,5\n2,60\n3,7\n").await.unwrap();
    lab.settles("t", "id,qty\n1,5\n2,60\n3,7\n").await;
    assert_eq!(lab.versions("t").await, 3);
    // An editor that leaves the last newline out is believed soon.
    a.overwrite("t.csv", "id,qty\n1,5\n3,7").await.unwrap();
    lab.settles("t", "id,qty\n1,5\n3,7\n").await;
}

/// On a mount with `sync` each line of a slow writer brings the whole page again.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_grows_is_not_taken_for_the_whole_text() {
    let lab =
        Lab::with(|settings| settings.timing.settle = std::time::Duration::from_secs(30)).await;
    let text = "id,qty\n1,5\n2,6\n3,7\n4,8\n";
    lab.table("t").rows(text).await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.truncate(file, 0).await.unwrap();
    let new = text.replace("1,5", "1,50");
    for (end, _) in new.match_indices('\n') {
        assert_eq!(lab.engine_csv("t").await, text);
        a.write_sync(file, 0, &new[..=end]).await.unwrap();
    }
    assert_eq!(lab.engine_csv("t").await, new, "the last line ends the text");
    assert_eq!(lab.versions("t").await, 3);
    // At once it is one save, however short.
    a.overwrite("t.csv", "id,qty\n1,51\n2,6\n3,7\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,51\n2,6\n3,7\n");
}

//! Files that are opened and closed, as a FUSE adapter tells: saves are judged at close.

use std::time::Duration;

use mountable::error::ErrorKind;
use mountable::vfs::{FileSystem, FsError, FsResult, Hint, Stability};

use crate::support::{Client, File, Lab};

const TEXT: &str = "id,qty\n1,5\n2,6\n3,7\n";

async fn lab() -> Lab {
    let lab = Lab::new().await;
    lab.table("t").key("id").rows(TEXT).await;
    lab
}

async fn hint(client: &Client, file: File, hint: Hint) -> FsResult<()> {
    client.vfs.hint(&client.caller, file.handle, hint).await
}

async fn open_to_write(client: &Client, name: &str) -> File {
    let file = client.open(name).await.unwrap();
    hint(client, file, Hint::Opened { writes: true }).await.unwrap();
    file
}

async fn write(client: &Client, file: File, offset: u64, text: &str) -> FsResult<()> {
    client.write(file, offset, text, Stability::Unstable).await.map(|_| ())
}

async fn close(client: &Client, file: File) -> FsResult<()> {
    let outcome = hint(client, file, Hint::Finished).await;
    hint(client, file, Hint::Closed { writes: true, written: true }).await.unwrap();
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_rewrite_is_judged_when_it_is_closed_and_not_before() {
    let lab = lab().await;
    let a = lab.client("fuse");
    let file = open_to_write(&a, "t.csv").await;
    a.truncate(file, 0).await.unwrap();
    hint(&a, file, Hint::Flushed).await.unwrap();
    // Longer than the base and whole, but the writer goes on.
    let part = "id,qty\n1,50\n2,60\n3,70\n4,80\n";
    write(&a, file, 0, part).await.unwrap();
    lab.quiet().await;
    assert_eq!(lab.engine_csv("t").await, TEXT);
    write(&a, file, part.len() as u64, "5,90\n").await.unwrap();
    close(&a, file).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, format!("{part}5,90\n"));
    assert_eq!(lab.versions("t").await, 3);
    assert_eq!(a.cat("t.csv").await, format!("{part}5,90\n"));
    assert_eq!(lab.staged_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_is_the_confirmation_of_a_shorter_text() {
    let lab = lab().await;
    let a = lab.client("fuse");
    for text in ["id,qty\n1,5\n", "id,qty\n"] {
        let file = open_to_write(&a, "t.csv").await;
        a.truncate(file, 0).await.unwrap();
        write(&a, file, 0, text).await.unwrap();
        hint(&a, file, Hint::Flushed).await.unwrap();
        assert_ne!(lab.engine_csv("t").await, text, "judged although others may go on");
        close(&a, file).await.unwrap();
        assert_eq!(lab.engine_csv("t").await, text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_close_judges_what_no_writer_finished() {
    let lab = lab().await;
    let a = lab.client("fuse");
    let file = open_to_write(&a, "t.csv").await;
    a.truncate(file, 11).await.unwrap();
    hint(&a, file, Hint::Closed { writes: true, written: true }).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncation_alone_still_waits_after_the_close() {
    let lab = Lab::with(|settings| settings.timing.shrink = Duration::from_secs(3600)).await;
    lab.table("t").key("id").rows(TEXT).await;
    let a = lab.client("fuse");
    let file = open_to_write(&a, "t.csv").await;
    a.truncate(file, 0).await.unwrap();
    close(&a, file).await.unwrap();
    lab.quiet().await;
    assert_eq!(lab.engine_csv("t").await, TEXT);
    // The next process brings the text.
    let file = open_to_write(&a, "t.csv").await;
    write(&a, file, 0, "id,qty\n9,9\n").await.unwrap();
    close(&a, file).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n9,9\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_added_lines_are_judged_in_their_write() {
    let lab = lab().await;
    let a = lab.client("fuse");
    let file = open_to_write(&a, "t.csv").await;
    let end = TEXT.len() as u64;
    let refused = write(&a, file, end, "4,many\n").await.unwrap_err();
    assert_eq!(refused.kind(), Some(ErrorKind::Invalid));
    assert_eq!(a.getattr(file).await.unwrap().size, end, "the refused line is still shown");
    write(&a, file, end, "4,8\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, format!("{TEXT}4,8\n"));
    write(&a, file, end + 4, "5,").await.unwrap();
    lab.quiet().await;
    assert_eq!(lab.engine_csv("t").await, format!("{TEXT}4,8\n"));
    write(&a, file, end + 6, "9\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, format!("{TEXT}4,8\n5,9\n"));
    close(&a, file).await.unwrap();
    assert_eq!(lab.versions("t").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_the_answer_of_close_and_is_told_once() {
    let lab = lab().await;
    let a = lab.client("fuse");
    let file = open_to_write(&a, "t.csv").await;
    a.truncate(file, 0).await.unwrap();
    write(&a, file, 0, "id,qty\n1,many\n").await.unwrap();
    let refused = close(&a, file).await.unwrap_err();
    assert_eq!(refused.kind(), Some(ErrorKind::Invalid));
    assert_eq!(lab.engine_csv("t").await, TEXT);
    assert_eq!(a.cat("t.csv").await, TEXT);
    let file = open_to_write(&a, "t.csv").await;
    write(&a, file, TEXT.len() as u64, "4,8\n").await.unwrap();
    close(&a, file).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, format!("{TEXT}4,8\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_writer_left_is_refused() {
    let lab = lab().await;
    let a = lab.client("fuse");
    let file = open_to_write(&a, "t.csv").await;
    a.truncate(file, 0).await.unwrap();
    write(&a, file, 0, "id,qty\n1,50\n2,60\n3,70\n").await.unwrap();
    hint(&a, file, Hint::Abandoned).await.unwrap();
    hint(&a, file, Hint::Closed { writes: true, written: true }).await.unwrap();
    lab.quiet().await;
    assert_eq!(lab.engine_csv("t").await, TEXT);
    assert_eq!(a.cat("t.csv").await, TEXT);
    assert_eq!(a.at("acme/shop/t/rejected").names().await.len(), 3, "the text is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_reader_keeps_its_version_for_good() {
    let lab = lab().await;
    let a = lab.client("fuse");
    let file = a.open("t.csv").await.unwrap();
    hint(&a, file, Hint::Opened { writes: false }).await.unwrap();
    lab.foreign_append("t", "4,8\n").await;
    // Longer than a reader is waited for without an open file.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(a.getattr(file).await.unwrap().size, TEXT.len() as u64);
    assert_eq!(a.cat("t.csv").await, format!("{TEXT}4,8\n"));
    a.remove("t.csv").await.unwrap();
    lab.quiet().await;
    assert!(!lab.exists("t").await);
    assert_eq!(a.read_all(file).await.unwrap(), TEXT, "removed, and open");
    hint(&a, file, Hint::Closed { writes: false, written: false }).await.unwrap();
    assert!(matches!(a.getattr(file).await, Err(FsError::Stale)));
}

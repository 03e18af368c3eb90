//! The gateway dies at any moment: what it acknowledged is there afterwards, once.

use mountable::vfs::{CreateMode, SetAttr};

use crate::support::{File, Lab};

const TEXT: &str = "id,qty\n1,5\n2,6\n";

fn slow(settings: &mut mountable::config::Settings) {
    settings.timing.settle = std::time::Duration::from_millis(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn staged_bytes_are_committed_after_a_restart() {
    let lab = Lab::with(slow).await;
    lab.table("t").rows(TEXT).await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.write_sync(file, 15, "3,7").await.unwrap();
    let new = a.create("n.csv", CreateMode::Unchecked(SetAttr::default())).await.unwrap();
    a.write_sync(new, 0, "x,y\n1,2").await.unwrap();
    a.temporary("keep.tmp", "scratch").await.unwrap();
    let temporary = a.open("keep.tmp").await.unwrap();
    drop(a);
    let lab = lab.restart().await;
    let a = lab.client("a");
    assert_eq!(a.cat("t.csv").await, "id,qty\n1,5\n2,6\n3,7");
    assert_eq!(a.read_all(temporary).await.unwrap(), "scratch");
    a.write_sync(file, 18, "\n4,8\n").await.unwrap();
    lab.settles("t", "id,qty\n1,5\n2,6\n3,7\n4,8\n").await;
    lab.settles("n", "x,y\n1,2\n").await;
    assert_eq!(a.read_all(new).await.unwrap(), "x,y\n1,2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logger_goes_on_over_restarts() {
    let lab = Lab::new().await;
    lab.table("t").rows(TEXT).await;
    let file = lab.client("a").open("t.csv").await.unwrap();
    let mut lab = lab;
    let mut text = TEXT.to_owned();
    for round in 3..7 {
        // The page as the client has it; then only the new bytes.
        let a = lab.client("a");
        text.push_str(&format!("{round},0\n"));
        a.write_sync(file, 0, &text).await.unwrap();
        let row = format!("{round},1\n");
        a.write_sync(file, text.len() as u64, &row).await.unwrap();
        text.push_str(&row);
        drop(a);
        assert_eq!(lab.engine_csv("t").await, text);
        lab = lab.restart().await;
    }
    let a = lab.client("a");
    let row = "9,9\n";
    a.write_sync(file, text.len() as u64, row).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, format!("{text}{row}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logger_among_others_goes_on_over_restarts() {
    let lab = Lab::new().await;
    lab.table("t").rows(TEXT).await;
    let file = lab.client("a").open("t.csv").await.unwrap();
    let mut lab = lab;
    let mut text = TEXT.to_owned();
    for round in 3..7 {
        lab.foreign_append("t", &format!("{round},2\n")).await;
        let a = lab.client("a");
        text.push_str(&format!("{round},0\n"));
        a.write_sync(file, 0, &text).await.unwrap();
        drop(a);
        lab = lab.restart().await;
    }
    let mut expected = TEXT.to_owned();
    for round in 3..7 {
        expected.push_str(&format!("{round},2\n{round},0\n"));
    }
    assert_eq!(lab.engine_csv("t").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_of_tables_are_valid_after_a_restart() {
    let lab = Lab::new().await;
    lab.table("t").rows(TEXT).await;
    let a = lab.client("a");
    let file: File = a.open("t.csv").await.unwrap();
    a.sed("t.csv", |text| text.replace("1,5", "1,50")).await.unwrap();
    let later = a.open("t.csv").await.unwrap();
    drop(a);
    let lab = lab.restart().await;
    let a = lab.client("a");
    assert_eq!(a.read_all(file).await.unwrap(), TEXT);
    assert_eq!(a.read_all(later).await.unwrap(), "id,qty\n1,50\n2,6\n");
    assert_eq!(a.open("t.csv").await.unwrap().handle.inode, later.handle.inode);
    a.write_sync(later, 16, "3,7\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,50\n2,6\n3,7\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_that_was_committed_when_the_gateway_died_is_not_repeated() {
    let lab = Lab::new().await;
    lab.table("t").rows(TEXT).await;
    let mut lab = lab;
    let mut expected = TEXT.to_owned();
    let file = lab.client("a").open("t.csv").await.unwrap();
    let mut own = TEXT.to_owned();
    for round in 3..8 {
        // The staged files as they are when the commit is done and the reply is not out.
        lab.foreign_append("t", &format!("{round},2\n")).await;
        expected.push_str(&format!("{round},2\n{round},0\n"));
        own.push_str(&format!("{round},0\n"));
        let a = lab.client("a");
        let page = own.clone();
        let (before, logged) = (lab.versions("t").await, logged_writes(&lab.keep_staged()));
        let write = tokio::spawn(async move { a.write_sync(file, 0, page).await });
        let mut kept = None;
        while kept.is_none() || (lab.versions("t").await == before && !write.is_finished()) {
            let now = lab.keep_staged();
            // Only from the moment on when the bytes were written down.
            if logged_writes(&now) > logged || write.is_finished() {
                kept = Some(now);
            }
        }
        let kept = kept.unwrap();
        write.await.unwrap().unwrap();
        lab = lab.restart_with(kept).await;
        // The client repeats what was not answered.
        if round % 2 == 0 {
            lab.client("a").write_sync(file, 0, own.clone()).await.unwrap();
        }
        // Or more was added to the page meanwhile.
        own.push_str("0,0\n");
        expected.push_str("0,0\n");
        lab.client("a").write_sync(file, 0, own.clone()).await.unwrap();
        lab.quiet().await;
        assert_eq!(lab.engine_csv("t").await, expected, "round {round}");
    }
}

fn logged_writes(staged: &tempfile::TempDir) -> usize {
    let files = std::fs::read_dir(staged.path()).unwrap().map(|file| file.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|suffix| suffix == "log"));
    logs.map(|path| std::fs::read_to_string(path).unwrap().matches("w ").count()).sum()
}

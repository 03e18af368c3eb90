//! Adding rows at the end, in all the ways that clients do it.

use std::time::Duration;

use mountable::vfs::{CreateMode, FsError, SetAttr, Stability};

use crate::support::{File, Lab};

const TEXT: &str = "id,qty\n1,5\n";

async fn lab() -> Lab {
    let lab = Lab::new().await;
    lab.table("t").rows(TEXT).await;
    lab
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_is_a_commit_before_the_reply() {
    let lab = lab().await;
    let a = lab.client("a");
    assert_eq!(a.cat("t.csv").await, TEXT);
    a.append_cold("t.csv", "2,6\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n");
    a.append_warm("t.csv", "3,7\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n3,7\n");
    assert_eq!(a.cat("t.csv").await, "id,qty\n1,5\n2,6\n3,7\n");
    assert_eq!(lab.versions("t").await, 4);
    lab.quiet().await;
    assert_eq!(lab.versions("t").await, 4);
    assert_eq!(lab.staged_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stale_clients_append_and_both_rows_are_there() {
    let lab = lab().await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    let (fa, fb) = (a.open("t.csv").await.unwrap(), b.open("t.csv").await.unwrap());
    b.write_sync(fb, 0, format!("{TEXT}2,20\n")).await.unwrap();
    a.write_sync(fa, 0, format!("{TEXT}3,30\n")).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,20\n3,30\n");
    for client in [&a, &b] {
        assert_eq!(client.cat("t.csv").await, "id,qty\n1,5\n2,20\n3,30\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_row_from_two_clients_is_there_twice() {
    let lab = lab().await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    let (fa, fb) = (a.open("t.csv").await.unwrap(), b.open("t.csv").await.unwrap());
    b.write_sync(fb, 11, "2,20\n").await.unwrap();
    a.write_sync(fa, 11, "2,20\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,20\n2,20\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_begin_with_another_clients_row_are_all_added() {
    let lab = lab().await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    let (fa, fb) = (a.open("t.csv").await.unwrap(), b.open("t.csv").await.unwrap());
    b.write_sync(fb, 11, "2,20\n").await.unwrap();
    a.write_sync(fa, 11, "2,20\n3,30\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,20\n2,20\n3,30\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_row_twice_from_one_client_is_there_twice() {
    let lab = lab().await;
    let a = lab.client("a");
    a.append_cold("t.csv", "2,6\n").await.unwrap();
    a.append_cold("t.csv", "2,6\n").await.unwrap();
    a.append_warm("t.csv", "2,6\n2,6\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n2,6\n2,6\n2,6\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_write_adds_nothing() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    for _ in 0..3 {
        a.write_sync(file, 11, "2,6\n").await.unwrap();
    }
    for _ in 0..2 {
        a.write_sync(file, 0, format!("{TEXT}2,6\n")).await.unwrap();
    }
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n");
    assert_eq!(lab.versions("t").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logger_that_keeps_the_file_open_adds_line_by_line() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    let mut text = TEXT.to_owned();
    for line in 2..20 {
        text.push_str(&format!("{line},{line}\n"));
        a.write_sync(file, 0, &text).await.unwrap();
        assert_eq!(lab.engine_csv("t").await, text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_another_gateway_overtook_after_the_open_is_accepted() {
    let lab = Lab::with(|settings| settings.timing.reader = Duration::from_secs(600)).await;
    lab.table("t").rows(TEXT).await;
    let other = lab.another_gateway().await;
    let (a, b) = (lab.client("a"), other.client("b"));
    // LOOKUP gave the handle, and the kernel asks for attributes once more before it appends.
    let file = File { handle: a.lookup("t.csv").await.unwrap().handle, size: 11 };
    b.append_cold("t.csv", "2,1\n").await.unwrap();
    assert_eq!(a.getattr(file).await.unwrap().size, file.size);
    a.write_sync(file, file.size, "3,2\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,1\n3,2\n");
    // And the other way round.
    let file = File { handle: b.lookup("t.csv").await.unwrap().handle, size: 19 };
    a.append_cold("t.csv", "4,3\n").await.unwrap();
    assert_eq!(b.getattr(file).await.unwrap().size, file.size);
    b.write_sync(file, file.size, "5,4\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,1\n3,2\n4,3\n5,4\n");
    assert_eq!(a.cat("t.csv").await, lab.engine_csv("t").await);
    assert_eq!(b.cat("t.csv").await, lab.engine_csv("t").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_behind_the_end_that_a_client_believes_in_are_appended() {
    let lab = lab().await;
    let other = lab.another_gateway().await;
    let (a, b) = (lab.client("a"), other.client("b"));
    let file = a.open("t.csv").await.unwrap();
    b.append_cold("t.csv", "2,1\n").await.unwrap();
    // Another process of the machine was to write the four bytes before, and failed.
    a.write_sync(file, file.size + 4, "3,2\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,1\n3,2\n");
    a.write_sync(file, file.size + 8, "4,3\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,1\n3,2\n4,3\n");
    // Who wrote nothing through another handle sees the same.
    b.append_warm("t.csv", "5,4\n").await.unwrap();
    assert_eq!(a.cat("t.csv").await, "id,qty\n1,5\n2,1\n3,2\n4,3\n5,4\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_accepted_where_attributes_are_stale() {
    let lab = Lab::with(|settings| settings.timing.reader = Duration::ZERO).await;
    lab.table("t").rows(TEXT).await;
    let other = lab.another_gateway().await;
    let (a, b) = (lab.client("a"), other.client("b"));
    let file = a.open("t.csv").await.unwrap();
    b.append_cold("t.csv", "2,1\n").await.unwrap();
    assert!(matches!(a.getattr(file).await, Err(FsError::Stale)));
    a.write_sync(file, file.size, "3,2\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,1\n3,2\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_loggers_with_open_files_lose_nothing_of_each_other() {
    let lab = lab().await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    let (fa, fb) = (a.open("t.csv").await.unwrap(), b.open("t.csv").await.unwrap());
    // Each believes in its own end of file: nobody looks at the attributes in the replies.
    a.write_sync(fa, 11, "2,1\n").await.unwrap();
    b.write_sync(fb, 11, "3,2\n").await.unwrap();
    b.write_sync(fb, 15, "4,2\n").await.unwrap();
    a.write_sync(fa, 15, "5,1\n").await.unwrap();
    b.write_sync(fb, 19, "6,2\n").await.unwrap();
    let mut lines: Vec<_> = lab.engine_csv("t").await.lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["1,5", "2,1", "3,2", "4,2", "5,1", "6,2", "id,qty"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_loggers_that_send_their_whole_page_lose_nothing_of_each_other() {
    let lab = lab().await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    let (fa, fb) = (a.open("t.csv").await.unwrap(), b.open("t.csv").await.unwrap());
    let (mut ta, mut tb) = (TEXT.to_owned(), TEXT.to_owned());
    for line in 1..6 {
        ta.push_str(&format!("{},1\n", line * 10));
        a.write_sync(fa, 0, &ta).await.unwrap();
        tb.push_str(&format!("{},2\n", line * 100));
        b.write_sync(fb, 0, &tb).await.unwrap();
    }
    let mut lines: Vec<_> = lab.engine_csv("t").await.lines().map(str::to_owned).collect();
    lines.sort();
    let mut all: Vec<_> = ta.lines().chain(tb.lines().skip(2)).map(str::to_owned).collect();
    all.sort();
    assert_eq!(lines, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_arrives_in_two_pieces_is_one_row() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.write_sync(file, 11, "2,").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, TEXT);
    a.write_sync(file, 13, "6\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_line_without_newline_is_a_row_after_a_while() {
    let lab = lab().await;
    let a = lab.client("a");
    a.append_cold("t.csv", "2,6").await.unwrap();
    lab.settles("t", "id,qty\n1,5\n2,6\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unstable_appends_are_committed_without_commit() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.write(file, 11, "2,6\n", Stability::Unstable).await.unwrap();
    lab.settles("t", "id,qty\n1,5\n2,6\n").await;
    a.write(file, 15, "3,7\n", Stability::Unstable).await.unwrap();
    a.commit(file).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n3,7\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_nothing_changes_nothing() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.write_sync(file, 11, "").await.unwrap();
    a.write_sync(file, 5000, "").await.unwrap();
    assert_eq!(a.cat("t.csv").await, TEXT);
    lab.quiet().await;
    assert_eq!(lab.versions("t").await, 2);
    assert_eq!(lab.staged_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_appends_after_anothers_edit_keeps_both() {
    let lab = lab().await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    let fa = a.open("t.csv").await.unwrap();
    b.sed("t.csv", |text| text.replace("1,5", "1,50")).await.unwrap();
    a.write_sync(fa, 0, format!("{TEXT}2,6\n")).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,50\n2,6\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_to_a_large_table_touch_only_its_end() {
    let lab = Lab::new().await;
    let mut text = String::from("id,note\n");
    for row in 0..60_000 {
        text.push_str(&format!("{row},some words that make the table larger\n"));
    }
    lab.table("t").rows(&text).await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    let fa = a.open("t.csv").await.unwrap();
    // Another client changes an early row (same length) and adds the row that A adds too.
    b.sed("t.csv", |text| {
        text.replace("\n7,some", "\n7,SOME") + "x7,y\n".replace('x', "9").as_str()
    })
    .await
    .unwrap();
    a.write_sync(fa, fa.size, "97,y\n98,y\n").await.unwrap();
    let now = lab.engine_csv("t").await;
    assert!(now.contains("\n7,SOME"), "the other client's edit is gone");
    assert!(now.ends_with("\n97,y\n97,y\n98,y\n"), "{}", &now[now.len() - 60..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_append_at_once_have_each_their_own_verdict() {
    let lab = Lab::new().await;
    lab.table("t").key("id").rows(TEXT).await;
    let before = lab.versions("t").await;
    let mut tasks = Vec::new();
    for client in 0..8 {
        let machine = lab.client(&format!("m{client}"));
        tasks.push(tokio::spawn(async move {
            let mut verdicts = Vec::new();
            for round in 0..6 {
                // Two of them always write what the table must refuse.
                let row = match client {
                    6 => "1,0\n".to_owned(),
                    7 => format!("{},much\n", 1000 + round),
                    _ => format!("{},{round}\n", 100 + client * 10 + round),
                };
                verdicts.push(machine.append_cold("t.csv", &row).await.is_ok());
            }
            verdicts
        }));
    }
    let mut expected = vec!["1,5".to_owned()];
    for (client, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), vec![client < 6; 6], "client {client}");
        if client < 6 {
            expected.extend((0..6).map(|round| format!("{},{round}", 100 + client * 10 + round)));
        }
    }
    let text = lab.engine_csv("t").await;
    let mut rows: Vec<&str> = text.lines().skip(1).collect();
    rows.sort_unstable();
    expected.sort_unstable();
    assert_eq!(rows, expected);
    for client in 0..8 {
        assert_eq!(lab.client(&format!("m{client}")).cat("t.csv").await, text, "client {client}");
    }
    assert!(lab.versions("t").await - before < 36, "some were committed together");
    let history = lab.client("new").at("acme/shop/t").cat("history.csv").await;
    for client in 0..6 {
        let own = history.lines().filter(|line| line.contains(&format!("m{client}"))).count();
        assert_eq!(own, 6, "each append is in the history: {history}");
    }
}

/// A machine that had written the table anew under its name goes on through the same handle. Who
/// opened the name meanwhile was given that handle, and wrote over the rows of the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_is_not_given_the_handle_of_another_clients_edit() {
    let lab = lab().await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    a.rename("t.csv", "t.csv~").await.unwrap();
    let file = a.create("t.csv", CreateMode::Unchecked(SetAttr::default())).await.unwrap();
    a.write_sync(file, 0, "id,qty\n1,5\n2,6\n").await.unwrap();
    a.setattr(file, SetAttr { mode: Some(0o644), ..SetAttr::default() }).await.unwrap();
    a.remove("t.csv~").await.unwrap();
    a.write(file, 15, "3,7\n", Stability::Unstable).await.unwrap();
    assert_eq!(b.cat("t.csv").await, "id,qty\n1,5\n2,6\n", "what is not committed is a's alone");
    let other = b.open("t.csv").await.unwrap();
    a.commit(file).await.unwrap();
    b.write_sync(other, 15, "4,8\n").await.unwrap();
    lab.quiet().await;
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n3,7\n4,8\n");
}

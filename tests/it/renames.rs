//! Saves by renaming, and tables that change their name.

use mountable::vfs::{CreateMode, SetAttr, SetTime};

use crate::support::Lab;

const TEXT: &str = "id,qty\n1,5\n2,6\n";

async fn lab() -> Lab {
    let lab = Lab::new().await;
    lab.table("t").rows(TEXT).await;
    lab
}

#[tokio::test(flavor = "multi_thread")]
async fn sed_commits_in_the_rename() {
    let lab = lab().await;
    let a = lab.client("a");
    a.sed("t.csv", |text| text.replace("1,5", "1,55")).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,55\n2,6\n");
    assert_eq!(a.cat("t.csv").await, "id,qty\n1,55\n2,6\n");
    assert_eq!(a.names().await, [".", "..", "t", "t.csv"]);
    lab.quiet().await;
    assert_eq!(lab.versions("t").await, 3);
    assert_eq!(lab.staged_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_seds_leave_nothing_behind() {
    let lab = lab().await;
    let a = lab.client("a");
    for round in 0..100 {
        a.sed("t.csv", |_| format!("id,qty\n1,{round}\n2,6\n")).await.unwrap();
    }
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,99\n2,6\n");
    assert_eq!(lab.staged_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_sed_leaves_table_and_temporary() {
    let lab = lab().await;
    let a = lab.client("a");
    a.cat("t.csv").await;
    a.temporary("sedAbC", "id,qty\n1,five\n2,6\n").await.unwrap();
    assert!(a.rename("sedAbC", "t.csv").await.is_err());
    assert_eq!(a.cat("t.csv").await, TEXT);
    assert_eq!(a.cat("sedAbC").await, "id,qty\n1,five\n2,6\n");
    assert_eq!(lab.versions("t").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn sed_over_a_version_that_was_read_keeps_later_rows_of_others() {
    let lab = lab().await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    let text = a.cat("t.csv").await;
    b.append_cold("t.csv", "3,7\n").await.unwrap();
    a.temporary("sedAbC", &text.replace("2,6", "2,66")).await.unwrap();
    a.rename("sedAbC", "t.csv").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,66\n3,7\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn sed_with_a_backup_keeps_the_old_text_under_its_name() {
    let lab = lab().await;
    let a = lab.client("a");
    a.cat("t.csv").await;
    a.temporary("sedAbC", "id,qty\n1,5\n2,66\n").await.unwrap();
    a.rename("t.csv", "t.csv.bak").await.unwrap();
    a.rename("sedAbC", "t.csv").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,66\n");
    assert_eq!(a.cat("t.csv.bak").await, TEXT);
    lab.quiet().await;
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,66\n");
    // And back again.
    a.rename("t.csv.bak", "t.csv").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, TEXT);
}

/// What vim does without options.
async fn vim(lab: &Lab, text: &str) {
    let a = lab.client("a");
    a.cat("t.csv").await;
    let swap = a.create_exclusive(".t.csv.swp").await.unwrap();
    a.write_sync(swap, 0, vec![0_u8; 4096]).await.unwrap();
    a.create_exclusive("4913").await.unwrap();
    a.remove("4913").await.unwrap();
    a.rename("t.csv", "t.csv~").await.unwrap();
    assert!(a.lookup("t.csv").await.is_err());
    let mode = CreateMode::Unchecked(SetAttr { mode: Some(0o644), ..SetAttr::default() });
    let file = a.create("t.csv", mode).await.unwrap();
    a.setattr(file, SetAttr { mtime: SetTime::Now, ..SetAttr::default() }).await.unwrap();
    a.write_sync(file, 0, text).await.unwrap();
    a.setattr(file, SetAttr { mode: Some(0o644), ..SetAttr::default() }).await.unwrap();
    a.remove("t.csv~").await.unwrap();
    a.remove(".t.csv.swp").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn vim_puts_the_table_aside_and_writes_it_anew() {
    let lab = lab().await;
    for text in ["id,qty\n1,5\n2,6\n3,7\n", "id,qty\n1,5\n", "id,qty\n1,5\n9,9\n"] {
        vim(&lab, text).await;
        assert_eq!(lab.engine_csv("t").await, text);
    }
    lab.quiet().await;
    assert_eq!(lab.client("b").cat("t.csv").await, "id,qty\n1,5\n9,9\n");
    assert_eq!(lab.versions("t").await, 5);
    assert_eq!(lab.staged_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_put_aside_comes_back_if_nothing_follows() {
    let lab = lab().await;
    let a = lab.client("a");
    a.rename("t.csv", "t.csv~").await.unwrap();
    assert!(a.lookup("t.csv").await.is_err());
    lab.quiet().await;
    assert_eq!(a.cat("t.csv").await, TEXT);
    assert_eq!(a.cat("t.csv~").await, TEXT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silly_rename_before_the_save_is_no_removal() {
    let lab = lab().await;
    let a = lab.client("a");
    let open = a.open("t.csv").await.unwrap();
    a.cat("t.csv").await;
    a.temporary("XXabcd", "id,qty\n1,5\n2,6\n3,7\n").await.unwrap();
    a.rename("t.csv", ".nfs0001").await.unwrap();
    a.rename("XXabcd", "t.csv").await.unwrap();
    assert_eq!(a.read_all(open).await.unwrap(), TEXT);
    a.remove(".nfs0001").await.unwrap();
    lab.quiet().await;
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n3,7\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silly_rename_alone_is_the_removal_that_the_user_meant() {
    let lab = lab().await;
    let a = lab.client("a");
    a.rename("t.csv", ".nfs0001").await.unwrap();
    a.remove(".nfs0001").await.unwrap();
    lab.quiet().await;
    assert!(!lab.exists("t").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_renamed_and_renamed_back() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.rename("t.csv", "u.csv").await.unwrap();
    assert_eq!(a.cat("u.csv").await, TEXT);
    assert!(a.lookup("t.csv").await.is_err());
    assert_eq!(a.read_all(file).await.unwrap(), TEXT);
    a.rename("u.csv", "t.csv").await.unwrap();
    assert_eq!(a.cat("t.csv").await, TEXT);
    a.append_cold("t.csv", "3,7\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n3,7\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_client_has_staged_goes_with_a_renamed_table() {
    let lab = lab().await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    let file = b.open("t.csv").await.unwrap();
    b.write(file, 15, "3,7\n", mountable::vfs::Stability::Unstable).await.unwrap();
    a.rename("t.csv", "u.csv").await.unwrap();
    lab.settles("u", "id,qty\n1,5\n2,6\n3,7\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_renamed_onto_another_gives_it_its_rows() {
    let lab = lab().await;
    lab.table("new").rows("id,qty\n1,5\n7,7\n").await;
    let a = lab.client("a");
    a.rename("new.csv", "t.csv").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n7,7\n");
    assert!(!lab.exists("new").await);
    assert_eq!(a.names().await, [".", "..", "t", "t.csv"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_rename_is_answered_like_a_name_that_is_gone() {
    let lab = lab().await;
    let a = lab.client("a");
    a.cat("t.csv").await;
    a.temporary("x.tmp", "id,qty\n1,5\n2,6\n3,7\n").await.unwrap();
    a.rename("x.tmp", "t.csv").await.unwrap();
    assert!(a.rename("x.tmp", "t.csv").await.is_err());
    assert_eq!(lab.versions("t").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handle_of_a_temporary_leads_to_the_table_afterwards() {
    let lab = lab().await;
    let a = lab.client("a");
    a.cat("t.csv").await;
    let file = a.create_exclusive("x.tmp").await.unwrap();
    a.write_sync(file, 0, "id,qty\n1,5\n2,6\n3,7\n").await.unwrap();
    a.rename("x.tmp", "t.csv").await.unwrap();
    let set = SetAttr { mode: Some(0o644), ..SetAttr::default() };
    a.setattr(file, set).await.unwrap();
    assert_eq!(a.getattr(file).await.unwrap().size, 19);
    assert_eq!(a.read_all(file).await.unwrap(), "id,qty\n1,5\n2,6\n3,7\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_over_by_removing_first_is_a_save() {
    let lab = lab().await;
    let a = lab.client("a");
    a.cat("t.csv").await;
    a.remove("t.csv").await.unwrap();
    let file = a.create_exclusive("t.csv").await.unwrap();
    a.write_sync(file, 0, "id,qty\n1,5\n2,7\n").await.unwrap();
    let set = SetAttr { mode: Some(0o644), ..SetAttr::default() };
    a.setattr(file, set).await.unwrap();
    lab.settles("t", "id,qty\n1,5\n2,7\n").await;
    lab.quiet().await;
    assert_eq!(a.cat("t.csv").await, "id,qty\n1,5\n2,7\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn vim_keeps_rows_that_came_after_it_had_read() {
    let lab = lab().await;
    let a = lab.client("a");
    let text = a.cat("t.csv").await;
    lab.client("b").append_cold("t.csv", "3,7\n").await.unwrap();
    a.rename("t.csv", "t.csv~").await.unwrap();
    let file = a.create("t.csv", CreateMode::Unchecked(SetAttr::default())).await.unwrap();
    a.write_sync(file, 0, text.replace("1,5", "1,55")).await.unwrap();
    a.setattr(file, SetAttr { mode: Some(0o644), ..SetAttr::default() }).await.unwrap();
    a.remove("t.csv~").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,55\n2,6\n3,7\n");
    assert_eq!(a.cat("t.csv").await, "id,qty\n1,55\n2,6\n3,7\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn vim_puts_the_table_back_after_a_refusal() {
    let lab = lab().await;
    let a = lab.client("a");
    a.cat("t.csv").await;
    lab.client("b").sed("t.csv", |text| text.replace("1,5", "1,6")).await.unwrap();
    a.rename("t.csv", "t.csv~").await.unwrap();
    let file = a.create("t.csv", CreateMode::Unchecked(SetAttr::default())).await.unwrap();
    assert!(a.write_sync(file, 0, "id,qty\n1,7\n2,6\n").await.is_err());
    a.rename("t.csv~", "t.csv").await.unwrap();
    assert_eq!(a.cat("t.csv").await, "id,qty\n1,6\n2,6\n");
    lab.quiet().await;
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,6\n2,6\n");
    assert_eq!(a.names().await, [".", "..", "t", "t.csv"]);
}

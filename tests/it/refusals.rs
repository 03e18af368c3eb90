//! Text that cannot be saved: the table is as before, the user learns why and can repair it.

use mountable::error::ErrorKind;
use mountable::vfs::{CreateMode, SetAttr, Stability};

use crate::support::Lab;

const TEXT: &str = "id,qty\n1,5\n2,6\n";

async fn lab() -> Lab {
    let lab = Lab::new().await;
    lab.table("t").rows(TEXT).await;
    lab
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_row_is_refused_with_line_and_column_and_kept() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    let before = a.getattr(file).await.unwrap();
    let refused = a.write_sync(file, 0, format!("{TEXT}3,seven\n")).await;
    assert_eq!(refused.err().and_then(|error| error.kind()), Some(ErrorKind::Invalid));
    let after = a.getattr(file).await.unwrap();
    assert!(after.ctime > before.ctime);
    assert_eq!((after.size, after.mtime), (before.size, before.mtime));
    assert_eq!(a.cat("t.csv").await, TEXT);
    assert_eq!(lab.versions("t").await, 2);
    let about = a.at("acme/shop/t");
    let errors = about.cat("errors.csv").await;
    assert!(errors.contains(",t.csv,4,2,qty,seven,MNT-1203,EINVAL,"), "{errors}");
    assert!(about.cat("last-error.txt").await.contains("line 4, column qty"));
    let rejected = a.at("acme/shop/t/rejected");
    let names = rejected.names().await;
    assert_eq!(names.len(), 3, "{names:?}");
    let kept = rejected.cat(&names[2]).await;
    assert!(kept.ends_with("3,seven\n"), "{kept}");
    // The repaired row is accepted by the same open file.
    a.write_sync(file, 0, format!("{TEXT}3,7\n")).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n3,7\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_append_is_accepted_right_after_a_refused_one() {
    let lab = lab().await;
    let a = lab.client("a");
    assert!(a.append_cold("t.csv", "x,y\n").await.is_err());
    a.append_cold("t.csv", "3,7\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n3,7\n");
    assert_eq!(lab.staged_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_in_the_background_is_told_by_the_commit() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.write(file, 15, "x,y\n", Stability::Unstable).await.unwrap();
    lab.quiet().await;
    assert_eq!(a.commit(file).await.err().and_then(|e| e.kind()), Some(ErrorKind::Invalid));
    a.commit(file).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, TEXT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_new_file_makes_no_table() {
    let lab = lab().await;
    let a = lab.client("a");
    let mode = CreateMode::Unchecked(SetAttr::default());
    let file = a.create("n.csv", mode).await.unwrap();
    assert!(a.write_sync(file, 0, "a,b\n1,2\n3\n").await.is_err());
    lab.quiet().await;
    assert!(!lab.exists("n").await);
    assert!(a.lookup("n.csv").await.is_err());
    a.temporary("n.tmp", "a,b\n1,2\n3\n").await.unwrap();
    assert!(a.rename("n.tmp", "n.csv").await.is_err());
    assert!(!lab.exists("n").await);
    a.temporary("n2.tmp", "a,b\n1,2\n3,4\n").await.unwrap();
    a.rename("n2.tmp", "n.csv").await.unwrap();
    assert_eq!(lab.engine_csv("n").await, "a,b\n1,2\n3,4\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_unique_and_never_null() {
    let lab = Lab::new().await;
    lab.table("t").key("id").rows(TEXT).await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    for bad in ["1,9\n", ",9\n", "3,1\n3,2\n"] {
        let refused = a.append_cold("t.csv", bad).await;
        assert_eq!(refused.err().and_then(|e| e.kind()), Some(ErrorKind::Invalid), "{bad}");
    }
    assert_eq!(lab.engine_csv("t").await, TEXT);
    let (fa, fb) = (a.open("t.csv").await.unwrap(), b.open("t.csv").await.unwrap());
    a.write_sync(fa, 15, "3,1\n").await.unwrap();
    assert!(b.write_sync(fb, 15, "3,2\n").await.is_err());
    b.write_sync(fb, 15, "4,2\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n3,1\n4,2\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_addition_behind_a_merged_save_is_judged_like_any_other() {
    let lab = lab().await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    let (fa, fb) = (a.open("t.csv").await.unwrap(), b.open("t.csv").await.unwrap());
    a.write_sync(fa, 15, "3,1\n").await.unwrap();
    b.write_sync(fb, 15, "4,2\n").await.unwrap();
    assert!(b.write_sync(fb, 19, "x,2\n").await.is_err());
    assert!(b.write_sync(fb, 7, "9,9\n").await.is_err(), "saved rows cannot change here");
    b.write_sync(fb, 19, "5,2\n").await.unwrap();
    b.write_sync(fb, 7, "1,5\n2,6\n4,2\n5,2\n6,2\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, format!("{TEXT}3,1\n4,2\n5,2\n6,2\n"));
    // Emptying the file begins anew.
    b.truncate(fb, 0).await.unwrap();
    b.write_sync(fb, 0, format!("{TEXT}3,1\n4,2\n5,2\n6,2\n7,2\n")).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, format!("{TEXT}3,1\n4,2\n5,2\n6,2\n7,2\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_every_kind_are_refused_or_saved_but_never_break_anything() {
    let lab = lab().await;
    let a = lab.client("a");
    let texts: [&[u8]; 14] = [
        b"",
        b"\n",
        b"\0",
        b"\xff\xfe",
        b"\"",
        b"id,qty",
        b"id,qty\n\"",
        b"id,qty\n1,5\0\n",
        b"id,id\n1,2\n",
        b"x\n1\n",
        b",\n",
        b"id,qty\r1,5\r",
        b"\xef\xbb\xbfid,qty\n1,5\n2,6\n",
        b"id,qty\n1,5\n2,6\n\n\n",
    ];
    for text in texts {
        a.temporary("x.tmp", "").await.unwrap();
        let file = a.open("x.tmp").await.unwrap();
        a.write_sync(file, 0, text).await.unwrap();
        let renamed = a.rename("x.tmp", "t.csv").await;
        if renamed.is_err() {
            assert_eq!(lab.engine_csv("t").await, TEXT, "{text:?}");
            a.remove("x.tmp").await.unwrap();
        } else {
            a.sed("t.csv", |_| TEXT.to_owned()).await.unwrap();
            assert_eq!(lab.engine_csv("t").await, TEXT, "{text:?}");
        }
    }
    assert_eq!(a.cat("t.csv").await, TEXT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_gateway_refuses_every_change() {
    let lab = lab().await;
    let mut a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.caller.read_only = true;
    let kind = |error: Option<mountable::vfs::FsError>| error.and_then(|error| error.kind());
    let read_only = Some(ErrorKind::ReadOnly);
    assert_eq!(kind(a.write_sync(file, 0, "x").await.err()), read_only);
    assert_eq!(kind(a.truncate(file, 0).await.err()), read_only);
    assert_eq!(kind(a.rename("t.csv", "u.csv").await.err()), read_only);
    assert_eq!(kind(a.remove("t.csv").await.err()), read_only);
    assert_eq!(kind(a.create("x", CreateMode::Exclusive([0; 8])).await.err()), read_only);
    assert_eq!(a.cat("t.csv").await, TEXT);
    assert_eq!(lab.staged_files(), 0);
}

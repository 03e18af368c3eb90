//! Saves that replace the content in place.

use mountable::vfs::{CreateMode, FsError, SetAttr, SetTime, Stability};

use crate::support::{File, Lab};

const TEXT: &str = "id,qty\n1,5\n2,6\n3,7\n";

async fn lab() -> Lab {
    let lab = Lab::new().await;
    lab.table("t").rows(TEXT).await;
    lab
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_small_file_is_committed_in_its_write() {
    let lab = lab().await;
    let a = lab.client("a");
    a.overwrite("t.csv", "id,qty\n1,5\n2,60\n3,7\n4,8\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,60\n3,7\n4,8\n");
    assert_eq!(lab.versions("t").await, 3);
    lab.quiet().await;
    assert_eq!(lab.versions("t").await, 3);
    assert_eq!(lab.staged_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn saving_the_same_again_makes_no_snapshot() {
    let lab = lab().await;
    let a = lab.client("a");
    a.overwrite("t.csv", TEXT).await.unwrap();
    lab.quiet().await;
    assert_eq!(lab.versions("t").await, 2);
    assert_eq!(a.cat("t.csv").await, TEXT);
    assert_eq!(lab.staged_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unstable_writes_out_of_order_and_a_commit_are_one_save() {
    let lab = lab().await;
    let a = lab.client("a");
    let mut text = String::from("id,qty\n");
    for row in 0..3000 {
        text.push_str(&format!("{row},{}\n", row * 7));
    }
    let file = a.open("t.csv").await.unwrap();
    a.truncate(file, 0).await.unwrap();
    let pieces: Vec<(usize, &[u8])> =
        text.as_bytes().chunks(4096).enumerate().map(|(i, c)| (i * 4096, c)).collect();
    for (offset, piece) in pieces.iter().rev() {
        a.write(file, *offset as u64, piece, Stability::Unstable).await.unwrap();
    }
    a.commit(file).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, text);
    assert_eq!(lab.versions("t").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_in_mid_file_does_not_cut_the_save() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.truncate(file, 0).await.unwrap();
    a.write(file, 0, "id,qty\n1,5\n", Stability::Unstable).await.unwrap();
    a.commit(file).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, TEXT);
    a.write(file, 11, "2,6\n3,7\n9,9\n", Stability::Unstable).await.unwrap();
    a.commit(file).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n3,7\n9,9\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_text_is_believed_after_a_while() {
    let lab = lab().await;
    let a = lab.client("a");
    a.overwrite("t.csv", "id,qty\n1,5\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, TEXT);
    assert_eq!(a.cat("t.csv").await, "id,qty\n1,5\n");
    lab.settles("t", "id,qty\n1,5\n").await;
    assert_eq!(a.cat("t.csv").await, "id,qty\n1,5\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn times_set_after_a_write_confirm_a_shorter_text() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.truncate(file, 0).await.unwrap();
    a.write_sync(file, 0, "id,qty\n1,5\n").await.unwrap();
    a.setattr(file, SetAttr { mode: Some(0o644), ..SetAttr::default() }).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_table_keeps_its_header() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.truncate(file, 0).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, TEXT);
    lab.settles("t", "id,qty\n").await;
    assert_eq!(a.cat("t.csv").await, "id,qty\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_is_already_so_begins_nothing() {
    let lab = lab().await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    let file = a.open("t.csv").await.unwrap();
    a.truncate(file, TEXT.len() as u64).await.unwrap();
    b.append_cold("t.csv", "4,8\n").await.unwrap();
    assert_eq!(a.cat("t.csv").await, format!("{TEXT}4,8\n"));
    assert_eq!(lab.staged_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_change_different_rows_and_both_win() {
    let lab = lab().await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    let (fa, fb) = (a.open("t.csv").await.unwrap(), b.open("t.csv").await.unwrap());
    for (client, file, text) in
        [(&a, fa, "id,qty\n1,50\n2,6\n3,7\n"), (&b, fb, "id,qty\n1,5\n2,6\n3,70\n")]
    {
        client.truncate(file, 0).await.unwrap();
        client.write_sync(file, 0, text).await.unwrap();
    }
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,50\n2,6\n3,70\n");
    for client in [&a, &b] {
        assert_eq!(client.cat("t.csv").await, "id,qty\n1,50\n2,6\n3,70\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_change_the_same_row_and_the_second_is_refused() {
    let lab = lab().await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    let (fa, fb) = (a.open("t.csv").await.unwrap(), b.open("t.csv").await.unwrap());
    a.truncate(fa, 0).await.unwrap();
    a.write_sync(fa, 0, "id,qty\n1,50\n2,6\n3,7\n").await.unwrap();
    b.truncate(fb, 0).await.unwrap();
    let refused = b.write_sync(fb, 0, "id,qty\n1,51\n2,6\n3,7\n").await;
    let kind = refused.err().and_then(|error| error.kind());
    assert_eq!(kind, Some(mountable::error::ErrorKind::Conflict));
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,50\n2,6\n3,7\n");
    assert_eq!(b.cat("t.csv").await, "id,qty\n1,50\n2,6\n3,7\n");
    let told = b.at("acme/shop/t").cat("last-error.txt").await;
    let values = "you had read `1,5`; now it is `1,50` on line 2; you wrote `1,51`";
    assert!(told.contains("(MNT-1310), line 2\n") && told.contains(values), "{told}");
}

/// What the kernel does: the open for writing looks the name up anew and gets the handle of a
/// version that this client has never read.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_made_of_an_older_version_does_not_undo_a_newer_one() {
    let lab = lab().await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    assert_eq!(b.cat("t.csv").await, TEXT);
    a.overwrite("t.csv", "id,qty\n1,50\n2,6\n3,7\n").await.unwrap();
    b.overwrite("t.csv", "id,qty\n1,5\n2,6\n3,70\n4,8\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,50\n2,6\n3,70\n4,8\n");
    assert_eq!(b.cat("t.csv").await, "id,qty\n1,50\n2,6\n3,70\n4,8\n");
    assert_eq!(a.cat("t.csv").await, "id,qty\n1,50\n2,6\n3,70\n4,8\n");
    a.overwrite("t.csv", "id,qty\n1,51\n2,6\n3,70\n4,8\n").await.unwrap();
    let refused = b.overwrite("t.csv", "id,qty\n1,52\n2,6\n3,70\n4,8\n").await;
    let kind = refused.err().and_then(|error| error.kind());
    assert_eq!(kind, Some(mountable::error::ErrorKind::Conflict));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_occur_twice_are_refused_with_both_lines() {
    let lab = Lab::new().await;
    lab.table("t").key("id").rows(TEXT).await;
    let a = lab.client("a");
    assert!(a.overwrite("t.csv", "id,qty\n1,5\n7,1\n8,1\n7,2\n").await.is_err());
    let told = a.at("acme/shop/t").cat("last-error.txt").await;
    let twice = "two rows of the file have the same key; the other row is on line 3";
    assert!(told.contains("(MNT-1312), line 5\n") && told.contains(twice), "{told}");
    assert!(a.append_warm("t.csv", "2,60\n").await.is_err());
    let told = a.at("acme/shop/t").cat("last-error.txt").await;
    assert!(told.contains("line 5\n") && told.contains("the other row is on line 3"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_in_place_with_a_cut_at_the_end_is_one_save() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.write(file, 0, "id,qty\n9,9\n3,7\n", Stability::Unstable).await.unwrap();
    a.truncate(file, 15).await.unwrap();
    a.commit(file).await.unwrap();
    lab.settles("t", "id,qty\n9,9\n3,7\n").await;
    assert_eq!(lab.versions("t").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_byte_changes_one_row() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.write_sync(file, 0, TEXT.replace("2,6", "2,9")).await.unwrap();
    lab.settles("t", "id,qty\n1,5\n2,9\n3,7\n").await;
    a.write_sync(file, 9, "8").await.unwrap();
    lab.settles("t", "id,qty\n1,8\n2,9\n3,7\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncation_that_waits_dies_with_the_file_it_was_made_in() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.truncate(file, 0).await.unwrap();
    a.temporary("new.tmp", "id,qty\n1,5\n2,6\n3,7\n4,8\n").await.unwrap();
    a.rename("new.tmp", "t.csv").await.unwrap();
    lab.quiet().await;
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n3,7\n4,8\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn spelling_is_no_change_and_is_given_back() {
    let lab = lab().await;
    let a = lab.client("a");
    let text = "id,qty\r\n\"1\",5\r\n2,6\r\n3,7";
    a.overwrite("t.csv", text).await.unwrap();
    lab.quiet().await;
    assert_eq!(lab.versions("t").await, 2);
    assert_eq!(a.cat("t.csv").await, text);
    assert_eq!(lab.engine_csv("t").await, TEXT);
    // An append to that spelling adds one row.
    a.append_warm("t.csv", "\r\n4,8\r\n").await.unwrap();
    lab.settles("t", "id,qty\n1,5\n2,6\n3,7\n4,8\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_never_go_back_in_time() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    let mut last = a.getattr(file).await.unwrap();
    let old = mountable::vfs::FileTime { seconds: 1_000_000, nanos: 0 };
    let future = mountable::vfs::FileTime { seconds: 4_000_000_000, nanos: 0 };
    for step in 0..12_u32 {
        match step % 4 {
            0 => a.write_sync(file, 19, format!("{step},")).await.unwrap(),
            1 => {
                let set = SetAttr { mtime: SetTime::At(old), ..SetAttr::default() };
                a.setattr(file, set).await.unwrap();
            }
            2 => {
                let set = SetAttr { mtime: SetTime::At(future), ..SetAttr::default() };
                a.setattr(file, set).await.unwrap();
            }
            _ => drop(a.write_sync(file, 0, "id,qty\n1,5\n2,6\nx,7\n").await),
        }
        let now = match a.getattr(file).await {
            Err(FsError::Stale) => break,
            other => other.unwrap(),
        };
        assert!(now.ctime >= last.ctime, "step {step}: {now:?} after {last:?}");
        last = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_and_offsets_beyond_all_limits_are_refused() {
    let lab = Lab::with(|settings| {
        settings.limits.staged_file_bytes_max = 1 << 20;
        settings.limits.staged_bytes_max = 1 << 19;
    })
    .await;
    lab.table("t").rows(TEXT).await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    let file = a.open("t.csv").await.unwrap();
    for offset in [1 << 20, u64::MAX, u64::MAX - 1] {
        assert!(a.write_sync(file, offset, "x").await.is_err());
        assert!(a.truncate(file, offset + u64::from(offset == 1 << 20)).await.is_err());
    }
    assert!(a.write_sync(file, 0, vec![b'x'; (1 << 19) + 1]).await.is_err());
    for (offset, count) in [(u64::MAX, u32::MAX), (0, u32::MAX), (5, 0), (1 << 40, 1)] {
        a.pread(file, offset, count).await.unwrap();
    }
    // Nothing of it stays and hides what others save.
    b.append_cold("t.csv", "4,8\n").await.unwrap();
    assert_eq!(a.cat("t.csv").await, format!("{TEXT}4,8\n"));
    assert_eq!(lab.staged_files(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_hole_is_refused() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.truncate(file, 0).await.unwrap();
    a.write(file, 100, "9,9\n", Stability::Unstable).await.unwrap();
    // What was never written may still come, until the client was silent for the shrink time.
    a.commit(file).await.unwrap();
    lab.quiet().await;
    assert_eq!(lab.engine_csv("t").await, TEXT);
    assert_eq!(a.cat("t.csv").await, TEXT);
    assert!(a.commit(file).await.is_err(), "nobody else tells the user");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_refused_save_is_not_laid_over_the_table() {
    let lab = lab().await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.truncate(file, 0).await.unwrap();
    let first = "id,qty\n1,5\n2,six\n3,7\n";
    a.write(file, 0, first, Stability::Unstable).await.unwrap();
    assert!(a.commit(file).await.is_err());
    let rest = a.write(file, 15, "9,9\n", Stability::Unstable).await;
    assert!(rest.is_err());
    assert!(a.write_sync(file, first.len() as u64, "8,8\n").await.is_err());
    lab.quiet().await;
    assert_eq!(lab.engine_csv("t").await, TEXT);
    // The next save is another matter.
    a.append_cold("t.csv", "4,8\n").await.unwrap();
    a.overwrite("t.csv", &format!("{TEXT}5,9\n")).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, format!("{TEXT}5,9\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn create_with_size_zero_is_a_truncation() {
    let lab = lab().await;
    let a = lab.client("a");
    let mode = CreateMode::Unchecked(SetAttr { size: Some(0), ..SetAttr::default() });
    let file = a.create("t.csv", mode).await.unwrap();
    assert_eq!(file.size, 0);
    a.write_sync(file, 0, "id,qty\n1,5\n2,6\n3,8\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n3,8\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_changed_below_a_row_that_another_client_put_in_front_is_no_conflict() {
    let lab = lab().await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    let file = b.open("t.csv").await.unwrap();
    b.read_all(file).await.unwrap();
    a.sed("t.csv", |_| "id,qty\n9,0\n1,5\n2,6\n3,8\n".to_owned()).await.unwrap();
    b.truncate(file, 0).await.unwrap();
    b.write_sync(file, 0, "id,qty\n10,5\n2,6\n3,7\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n9,0\n10,5\n2,6\n3,8\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_write_that_found_no_room_is_not_laid_over_the_table() {
    let lab = Lab::with(|settings| settings.limits.staged_bytes_max = 64 << 10).await;
    let old: String = (0..8000).map(|id| format!("{id},10000001\n")).collect();
    let old = format!("id,qty\n{old}");
    lab.table("t").rows(&old).await;
    let new = old.replace("10000001", "20000002");
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.truncate(file, 0).await.unwrap();
    let mut refused = 0;
    for (at, part) in new.as_bytes().chunks(16 << 10).enumerate() {
        let offset = u64::try_from(at << 14).unwrap();
        refused +=
            u32::from(a.write(file, offset, part.to_vec(), Stability::Unstable).await.is_err());
    }
    assert!(refused >= 2, "the rest of the text is refused as well: {refused}");
    let _ = a.commit(file).await;
    lab.quiet().await;
    assert_eq!(lab.engine_csv("t").await, old);
    assert_eq!(lab.staged_files(), 0);
    // With room again, the next save counts as one of its own; a client whose directory has changed
    // opens the file by looking it up, and asks for nothing more.
    let entry = a.lookup("t.csv").await.unwrap();
    let file = File { handle: entry.handle, size: entry.attr.size };
    a.write_sync(file, file.size, "8000,3\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, format!("{old}8000,3\n"));
}

//! Failing calls, broken objects.

use super::*;
use crate::error::ErrorKind;
use crate::store::fault::{Call, Fault};

/// Edits with the n-th store call failing, for each n until all calls worked; after each failure
/// a fresh gateway sees the old or the new rows and can go on.
async fn fail_each_call(call: Call, fault: Fault) {
    for n in 1..60 {
        let lab = Lab::with_super().await;
        let table = lab.orders().await;
        append(&table, &[(1, "a"), (2, "b"), (3, "c")]).await;
        let base = latest(&table).await;
        let one = change(&table, &base, &[(1, 1, 2)], &[(2, "B"), (4, "d")]).await;
        let fresh = lab.table("orders");
        let calls = lab.store.calls(call);
        lab.store.inject(call, n, fault);
        let outcome = fresh.commit(one, by("edit"), Vec::new()).await;
        let reached = lab.store.calls(call) >= calls + n;
        lab.store.heal();
        let other = lab.table("orders");
        other.settle().await.expect("settle");
        let seen = text(&other).await;
        match outcome {
            Ok(CommitOutcome::Committed { .. }) => assert_eq!(seen, "1=a 2=B 4=d 3=c", "n={n}"),
            Ok(other) => panic!("n={n}: {other:?}"),
            Err(_) => {
                assert!(seen == "1=a 2=b 3=c" || seen == "1=a 2=B 4=d 3=c", "n={n}: mixture {seen}")
            }
        }
        append(&other, &[(9, "z")]).await;
        assert_eq!(text(&table).await, format!("{seen} 9=z"), "n={n}");
        if !reached {
            assert!(n > 1, "no call was made");
            return;
        }
    }
    panic!("calls do not end");
}

#[tokio::test]
async fn a_put_that_fails_before_it_happens_leaves_old_or_new() {
    fail_each_call(Call::Put, Fault::Before).await;
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_leaves_old_or_new() {
    fail_each_call(Call::Put, Fault::After).await;
}

#[tokio::test]
async fn a_read_that_fails_leaves_old_or_new() {
    fail_each_call(Call::Get, Fault::Before).await;
}

#[tokio::test]
async fn a_commit_without_outcome_until_the_deadline_is_unknown_and_can_be_repeated() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let base = append(&table, &[(1, "a")]).await;
    let mut parts = table.parts().clone();
    parts.settings.commit_deadline = Duration::from_millis(10);
    let hasty = Table::new(parts, table.id().clone());
    let lineage = Lineage { write_id: "w1".to_owned(), ..by("append") };
    let one = change(&hasty, &base, &[(Edit::END, 0, 1)], &[(2, "b")]).await;
    let rows = one.rows.clone();
    lab.store.inject_all(Call::Put, Fault::After);
    lab.store.inject_all(Call::Get, Fault::Before);
    let error = hasty.commit(one, lineage.clone(), Vec::new()).await.expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::Unknown);
    lab.store.heal();
    let again = ChangeSet {
        base,
        edits: vec![Edit { at: Edit::END, remove: 0, insert: 1 }],
        rows,
        schema: None,
        config: None,
        on_existing_key: OnExistingKey::Refuse,
    };
    committed(table.commit(again, lineage, Vec::new()).await);
    assert_eq!(text(&table).await, "1=a 2=b");
    assert_eq!(latest(&table).await.version, 2);
}

async fn overwrite(lab: &Lab, path: &str, bytes: bytes::Bytes) {
    let objects: Objects = Arc::clone(&lab.store) as Objects;
    crate::store::put_overwrite(&objects, path, bytes).await.expect("overwrite");
}

#[tokio::test]
async fn a_cut_snapshot_document_is_corrupt_and_named() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let first = append(&table, &[(1, "a")]).await;
    append(&table, &[(2, "b")]).await;
    let objects: Objects = Arc::clone(&lab.store) as Objects;
    let bytes = crate::store::get(&objects, &first.path).await.expect("get").expect("there");
    overwrite(&lab, &first.path, bytes.slice(..bytes.len() / 2)).await;
    let error = lab.table("orders").snapshot(At::Version(1)).await.expect_err("cut");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(&first.path), "{error}");
    assert_eq!(text(&lab.table("orders")).await, "1=a 2=b");
}

#[tokio::test]
async fn a_missing_or_cut_object_is_an_error_and_never_less_rows() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let base = append(&table, &[(1, "a"), (2, "b")]).await;
    let snapshot = committed(try_edit(&table, &base, &[(0, 1, 0)], &[]).await);
    let objects: Objects = Arc::clone(&lab.store) as Objects;
    let Deletes::Rows { parts, .. } = &snapshot.deletes else { panic!("no deletes") };
    let fresh = lab.table("orders");
    let shown = fresh.snapshot(At::Latest).await.expect("snapshot");
    crate::store::delete(&objects, &parts[0]).await.expect("delete");
    // The stored layout is exact, so it needs no deletion vector; a healed one does.
    assert_eq!(try_text(&fresh, &shown).await.expect("readable"), "2=b");
    let mut stale = Snapshot::clone(&shown);
    stale.document = Arc::new(snapshot::JsonMap::new());
    let error = lab.table("orders").layout(&stale).await.expect_err("part is gone");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(&parts[0]), "{error}");
    let path = shown.files[0].path.clone();
    crate::store::delete(&objects, &path).await.expect("delete");
    let error = try_text(&lab.table("orders"), &shown).await.expect_err("file is gone");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(path.as_ref()), "{error}");
}

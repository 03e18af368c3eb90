//! Dropping, restoring, renaming.

use super::*;
use crate::error::ErrorKind;

#[tokio::test]
async fn a_dropped_table_comes_back_with_its_rows_and_history() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let base = append(&table, &[(1, "a")]).await;
    let sleeper = change(&table, &base, &[(Edit::END, 0, 1)], &[(9, "z")]).await;
    table.drop(by("drop"), Vec::new()).await.expect("drop");
    assert!(table.latest().await.expect("no error").is_none());
    let late = table.commit(sleeper, by("append"), Vec::new()).await.expect_err("dropped");
    assert_eq!(late.kind(), ErrorKind::NotFound);
    assert_eq!(
        table.drop(by("drop"), Vec::new()).await.expect_err("gone").kind(),
        ErrorKind::NotFound
    );
    let trash = lab.catalog.trash(&table.id().super_id()).await.expect("trash");
    assert_eq!(trash.len(), 1);
    let back = lab.table("orders").restore_dropped(&trash[0], by("restore"), Vec::new()).await;
    assert_eq!(back.expect("restore").version, 3);
    assert_eq!(text(&table).await, "1=a");
    assert!(lab.catalog.trash(&table.id().super_id()).await.expect("trash").is_empty());
    append(&table, &[(2, "b")]).await;
    assert_eq!(text(&table).await, "1=a 2=b");
    assert_eq!(text_at(&table, 1).await, "1=a");
    let again = table.restore_dropped(&trash[0], by("restore"), Vec::new()).await;
    assert_eq!(again.expect_err("not in trash").kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_writer_that_slept_over_a_drop_cannot_commit_behind_it() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    append(&table, &[(1, "a")]).await;
    let leaf = lab.catalog.leaf(table.id()).await.expect("leaf").expect("exists");
    table.drop(by("drop"), Vec::new()).await.expect("drop");
    // The catalogue is rolled back to a time before the drop.
    put_leaf(&lab, &table, None, Some(leaf.raw)).await;
    let stale = lab.table("orders");
    let base = latest(&stale).await;
    let error = try_edit(&stale, &base, &[(Edit::END, 0, 1)], &[(2, "b")]).await;
    assert_eq!(error.expect_err("dropped").kind(), ErrorKind::NotFound);
    assert!(stale.latest().await.expect("no error").is_none(), "the drop was completed again");
}

#[tokio::test]
async fn a_pointer_that_the_catalogue_lost_is_restored_and_that_of_a_dropped_table_is_not() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let seen = append(&table, &[(1, "a")]).await;
    append(&table, &[(2, "b")]).await;
    let leaf = lab.catalog.leaf(table.id()).await.expect("leaf").expect("exists");
    // The server went back to a dump from before the table was made.
    put_leaf(&lab, &table, Some(leaf.raw), None).await;
    let other = lab.table("orders");
    assert!(other.latest().await.expect("no error").is_none());
    let back = other.reappear(&seen).await.expect("no error").expect("restored");
    assert_eq!(back.version, 2);
    assert_eq!(text(&other).await, "1=a 2=b");
    append(&other, &[(3, "c")]).await;
    assert_eq!(text(&other).await, "1=a 2=b 3=c");
    other.drop(by("drop"), Vec::new()).await.expect("drop");
    assert!(lab.table("orders").reappear(&seen).await.expect("no error").is_none());
    assert!(other.latest().await.expect("no error").is_none());
}

#[tokio::test]
async fn a_table_whose_objects_are_gone_is_not_restored() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let mut seen = Snapshot::clone(append(&table, &[(1, "a")]).await.as_ref());
    seen.path = "acme/shop/tables/orders/snapshots/1_removed_tables.json".into();
    table.drop(by("drop"), Vec::new()).await.expect("drop");
    assert!(table.reappear(&Arc::new(seen)).await.expect("no error").is_none());
}

#[tokio::test]
async fn a_renamed_table_keeps_rows_and_history_and_its_old_name_is_free() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let base = append(&table, &[(1, "a"), (2, "b")]).await;
    committed(try_edit(&table, &base, &[(0, 1, 1)], &[(1, "A")]).await);
    let target = lab.table("archive");
    let first = table.rename(target.id(), by("rename"), Vec::new()).await.expect("rename");
    assert_eq!(first.version, 3);
    assert!(table.latest().await.expect("no error").is_none());
    assert_eq!(text(&target).await, "1=A 2=b");
    append(&target, &[(3, "c")]).await;
    assert_eq!(text(&lab.table("archive")).await, "1=A 2=b 3=c");
    assert_eq!(text_at(&target, 1).await, "1=a 2=b");
    lab.orders().await;
    append(&table, &[(7, "new")]).await;
    assert_eq!(text(&table).await, "7=new");
    let taken = table.rename(target.id(), by("rename"), Vec::new()).await;
    assert_eq!(taken.expect_err("taken").kind(), ErrorKind::AlreadyExists);
    assert_eq!(text(&table).await, "7=new");
    assert_eq!(text(&target).await, "1=A 2=b 3=c");
}

async fn put_leaf(
    lab: &Lab,
    table: &Table,
    expected: Option<bytes::Bytes>,
    new: Option<bytes::Bytes>,
) {
    let swap = crate::catalog::LeafSwap {
        table: table.id().clone(),
        expected,
        new,
        schema: None,
        now_ms: 1,
        bump_root: false,
        audit: Vec::new(),
        requires: None,
        removes: None,
    };
    let done = lab.catalog.swap(swap).await.expect("swap");
    assert!(matches!(done, crate::catalog::SwapOutcome::Swapped { .. }), "{done:?}");
}

#[tokio::test]
async fn a_catalogue_rolled_back_to_an_older_leaf_loses_nothing() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    append(&table, &[(1, "a")]).await;
    let old = lab.catalog.leaf(table.id()).await.expect("leaf").expect("exists").raw;
    append(&table, &[(2, "b")]).await;
    append(&table, &[(3, "c")]).await;
    let new = lab.catalog.leaf(table.id()).await.expect("leaf").expect("exists").raw;
    put_leaf(&lab, &table, Some(new.clone()), Some(old.clone())).await;
    let other = lab.table("orders");
    assert_eq!(text(&other).await, "1=a");
    let Settled::Live(tip) = other.settle().await.expect("settle") else { panic!("absent") };
    assert_eq!(tip.version, 3);
    assert_eq!(text(&other).await, "1=a 2=b 3=c");
    // A commit on the rolled-back pointer finds the true tip by itself.
    let now = lab.catalog.leaf(table.id()).await.expect("leaf").expect("exists").raw;
    put_leaf(&lab, &table, Some(now), Some(old)).await;
    append(&lab.table("orders"), &[(4, "d")]).await;
    assert_eq!(text(&table).await, "1=a 2=b 3=c 4=d");
}

#[tokio::test]
async fn other_writers_get_free_row_ids_after_a_rename_and_a_restore() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    append(&table, &[(1, "a"), (2, "b"), (3, "c")]).await;
    let target = lab.table("archive");
    let first = table.rename(target.id(), by("rename"), Vec::new()).await.expect("rename");
    // The Python library asks the counter and nothing else.
    let id = lab.catalog.reserve_row_ids(target.id(), 1, 0).await.expect("ids");
    assert!(id > first.row_id_high_watermark, "{id} belongs to a live row");
    target.drop(by("drop"), Vec::new()).await.expect("drop");
    let trash = lab.catalog.trash(&target.id().super_id()).await.expect("trash");
    let back = target.restore_dropped(&trash[0], by("restore"), Vec::new()).await.expect("restore");
    let id = lab.catalog.reserve_row_ids(target.id(), 1, 0).await.expect("ids");
    assert!(id > back.row_id_high_watermark, "{id} belongs to a live row");
}

#[tokio::test]
async fn a_listing_of_three_thousand_tables_is_remembered() {
    let lab = Lab::with_super().await;
    let orders = lab.orders().await;
    let snapshot = append(&orders, &[(1, "a")]).await;
    let leaf = lab.catalog.leaf(&snapshot.table).await.expect("catalogue").expect("leaf");
    // What a gateway with default settings has for them.
    let caches = TableCaches::new(crate::config::Settings::default().cache_bytes / 32 * 7);
    let ids: Vec<_> =
        (0..3000).map(|n| TableId::parse(&format!("acme/shop/t{n}")).expect("valid id")).collect();
    for id in &ids {
        caches.leaves.insert(id.clone(), (leaf.raw.clone(), Arc::clone(&snapshot)));
    }
    let kept = ids.iter().filter(|id| caches.leaves.get(*id).is_some()).count();
    assert_eq!(kept, ids.len());
}

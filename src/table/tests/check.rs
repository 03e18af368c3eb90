//! What a check finds: nothing in a sound table, and each damage by its name.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::foreign::Python;
use super::*;
use crate::catalog::{DocKey, Expected, LeafSwap};
use crate::store;
use crate::table::check::{Depth, Finding, Severity};

/// Findings but notes, as `check severity`.
async fn findings(table: &Table, depth: Depth) -> Vec<String> {
    let report = table.check(depth).await.expect("check runs");
    let worth = |finding: &&Finding| finding.severity > Severity::Note;
    let found: BTreeSet<String> = report
        .findings
        .iter()
        .filter(worth)
        .map(|finding| format!("{} {}", finding.check, finding.severity.name()))
        .collect();
    found.into_iter().collect()
}

/// A table with a history of every kind of save; its name is `orders`.
async fn lived(lab: &Lab) -> Table {
    let table = lab.orders().await;
    append(&table, &[(1, "a"), (2, "b"), (3, "c")]).await;
    let base = append(&table, &[(4, "d"), (5, "e")]).await;
    committed(try_edit(&table, &base, &[(1, 1, 1)], &[(2, "B")]).await);
    table
}

fn file_of(snapshot: &Snapshot) -> String {
    snapshot.files[0].path.to_string()
}

async fn overwrite(lab: &Lab, path: &str, bytes: Bytes) {
    let objects = Arc::clone(&lab.store) as Objects;
    store::put_overwrite(&objects, path, bytes).await.expect("overwrite");
}

async fn remove(lab: &Lab, path: &str) {
    let objects = Arc::clone(&lab.store) as Objects;
    assert!(store::delete(&objects, path).await.expect("delete"));
}

async fn read(lab: &Lab, path: &str) -> Bytes {
    let objects = Arc::clone(&lab.store) as Objects;
    store::get(&objects, path).await.expect("get").expect("there")
}

#[tokio::test]
async fn a_sound_table_has_no_findings() {
    let lab = Lab::with_super().await;
    let table = lived(&lab).await;
    assert_eq!(findings(&table, Depth::Text).await, Vec::<String>::new());
    let report = lab.table("orders").check(Depth::Documents).await.expect("check");
    assert_eq!(report.findings, []);
    assert_eq!((report.counts.snapshots, report.counts.rows), (4, 5));
    assert_eq!(report.counts.data_files, 3);
}

#[tokio::test]
async fn compacted_tables_and_those_that_went_back_are_sound() {
    let lab = Lab::with_super().await;
    let table = lived(&lab).await;
    let before = latest(&table).await;
    let shown = text(&table).await;
    let all = CompactSettings::all();
    table.compact(&all, by(COMPACT), Vec::new()).await.expect("compact");
    let compacted = latest(&table).await;
    assert!(compacted.files.len() < before.files.len());
    assert_eq!(findings(&lab.table("orders"), Depth::Text).await, Vec::<String>::new());
    append(&table, &[(6, "f")]).await;
    for to in [&before, &compacted] {
        let outcome = table.go_back(to, by("restore"), Vec::new()).await.expect("restore");
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        assert_eq!(text(&lab.table("orders")).await, shown);
        assert_eq!(findings(&lab.table("orders"), Depth::Text).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn dropped_restored_and_renamed_tables_are_sound() {
    let lab = Lab::with_super().await;
    let table = lived(&lab).await;
    table.drop(by("drop"), Vec::new()).await.expect("drop");
    assert_eq!(findings(&table, Depth::Text).await, Vec::<String>::new());
    let id = table.id().super_id();
    let trash = lab.catalog.trash(&id).await.expect("trash");
    table.restore_dropped(&trash[0], by("restore"), Vec::new()).await.expect("restore");
    append(&table, &[(6, "f")]).await;
    assert_eq!(findings(&table, Depth::Text).await, Vec::<String>::new());
    let to = lab.table("sales");
    table.rename(to.id(), by("rename"), Vec::new()).await.expect("rename");
    append(&to, &[(7, "g")]).await;
    assert_eq!(findings(&table, Depth::Text).await, Vec::<String>::new());
    assert_eq!(findings(&to, Depth::Text).await, Vec::<String>::new());
    lab.orders().await;
    assert_eq!(findings(&table, Depth::Text).await, Vec::<String>::new(), "a new table");
}

#[tokio::test]
async fn what_other_software_wrote_is_sound() {
    let lab = Lab::with_super().await;
    let table = lived(&lab).await;
    let python = Python::reads(&lab, &table).await;
    python.writes("00000000000000aa", &[(9, "z")], &[]).await;
    assert_eq!(findings(&table, Depth::Text).await, Vec::<String>::new());
    table.settle().await.expect("settle");
    assert_eq!(findings(&table, Depth::Text).await, Vec::<String>::new());
}

#[tokio::test]
async fn missing_short_and_damaged_objects_are_named() {
    let lab = Lab::with_super().await;
    let newest = latest(&lived(&lab).await).await;
    let path = file_of(&newest);
    let kept = read(&lab, &path).await;
    remove(&lab, &path).await;
    let report = lab.table("orders").check(Depth::Documents).await.expect("check");
    let finding = report.findings.iter().find(|f| f.check == "data-file").expect("found");
    assert_eq!((finding.severity, finding.object.as_deref()), (Severity::Error, Some(&*path)));
    overwrite(&lab, &path, kept.slice(..kept.len() - 1)).await;
    assert!(
        findings(&lab.table("orders"), Depth::Documents).await.contains(&"data-file error".into())
    );
    overwrite(&lab, &path, kept).await;
    assert_eq!(findings(&lab.table("orders"), Depth::Documents).await, Vec::<String>::new());
    let Deletes::Rows { parts, .. } = &newest.deletes else { panic!("rows were deleted") };
    let part = read(&lab, &parts[0]).await;
    remove(&lab, &parts[0]).await;
    let found = findings(&lab.table("orders"), Depth::Documents).await;
    assert!(found.contains(&"deletion-vector error".into()), "{found:?}");
    overwrite(&lab, &parts[0], part).await;
    let middle = newest.previous.clone().expect("not the first");
    overwrite(&lab, &middle, Bytes::from_static(b"{")).await;
    let found = findings(&lab.table("orders"), Depth::Documents).await;
    assert!(found.contains(&"snapshot error".into()), "{found:?}");
}

/// The document of the newest snapshot, changed in storage and catalogue alike.
async fn falsify(lab: &Lab, change: impl FnOnce(&mut serde_json::Value)) {
    let newest = latest(&lab.table("orders")).await;
    let mut document: serde_json::Value =
        serde_json::from_slice(&read(lab, &newest.path).await).expect("JSON");
    change(&mut document);
    overwrite(lab, &newest.path, document.to_string().into()).await;
    let leaf = lab.catalog.leaf(&newest.table).await.expect("leaf").expect("there");
    let mut named: serde_json::Value = serde_json::from_slice(&leaf.raw).expect("JSON");
    named["payload"] = document;
    let swap = LeafSwap {
        table: newest.table.clone(),
        expected: Some(leaf.raw),
        new: Some(named.to_string().into()),
        schema: None,
        now_ms: 1,
        bump_root: false,
        audit: Vec::new(),
        requires: None,
        removes: None,
    };
    let _ = lab.catalog.swap(swap).await.expect("swap");
}

#[tokio::test]
async fn a_layout_that_shows_a_row_twice_or_not_at_all_is_an_error() {
    for change in [
        |p: &mut Vec<serde_json::Value>| p.truncate(4),
        |p: &mut Vec<serde_json::Value>| {
            let first: Vec<_> = p[..4].to_vec();
            p.extend(first);
        },
    ] {
        let mut lab = Lab::with_super().await;
        lab.inline_pieces_max = 200;
        lived(&lab).await;
        falsify(&lab, |document| {
            let pieces = document["mountable"]["layout"]["pieces"].as_array_mut().expect("list");
            change(pieces);
        })
        .await;
        let found = findings(&lab.table("orders"), Depth::Documents).await;
        assert_eq!(found, ["layout error"]);
    }
}

#[tokio::test]
async fn a_wrong_length_of_text_is_found_by_rendering() {
    let mut lab = Lab::with_super().await;
    lab.inline_pieces_max = 200;
    lived(&lab).await;
    falsify(&lab, |document| {
        let bytes = &mut document["mountable"]["layout"]["pieces"][3];
        *bytes = (bytes.as_u64().expect("number") + 1).into();
    })
    .await;
    assert_eq!(findings(&lab.table("orders"), Depth::Documents).await, Vec::<String>::new());
    assert_eq!(findings(&lab.table("orders"), Depth::Text).await, ["text error"]);
}

#[tokio::test]
async fn a_wrong_number_of_dead_rows_is_an_error() {
    let lab = Lab::with_super().await;
    lived(&lab).await;
    falsify(&lab, |document| document["tombstone_rows"] = 2.into()).await;
    let found = findings(&lab.table("orders"), Depth::Documents).await;
    assert!(found.contains(&"rows error".into()), "{found:?}");
}

#[tokio::test]
async fn a_row_id_that_stands_twice_is_an_error() {
    let lab = Lab::with_super().await;
    let table = lived(&lab).await;
    let newest = latest(&table).await;
    let copy = format!("{}.copy", newest.files[0].path);
    overwrite(&lab, &copy, read(&lab, &newest.files[0].path).await).await;
    falsify(&lab, |document| {
        let files = document["resources"].as_array_mut().expect("list");
        let mut again = files[0].clone();
        again["file"] = copy.into();
        files.push(again);
    })
    .await;
    let found = findings(&lab.table("orders"), Depth::Documents).await;
    assert!(found.contains(&"row-ids error".into()), "{found:?}");
}

#[tokio::test]
async fn a_pointer_that_lags_or_is_lost_is_found() {
    let lab = Lab::with_super().await;
    let table = lived(&lab).await;
    let old = lab.catalog.leaf(table.id()).await.expect("leaf").expect("there");
    append(&table, &[(6, "f")]).await;
    let now = lab.catalog.leaf(table.id()).await.expect("leaf").expect("there");
    let swap = |expected: &Bytes, new: Option<&Bytes>| LeafSwap {
        table: table.id().clone(),
        expected: Some(expected.clone()),
        new: new.cloned(),
        schema: None,
        now_ms: 1,
        bump_root: false,
        audit: Vec::new(),
        requires: None,
        removes: None,
    };
    let _ = lab.catalog.swap(swap(&now.raw, Some(&old.raw))).await.expect("swap");
    assert_eq!(findings(&lab.table("orders"), Depth::Documents).await, ["pointer warning"]);
    let _ = lab.catalog.swap(swap(&old.raw, None)).await.expect("swap");
    assert_eq!(findings(&lab.table("orders"), Depth::Documents).await, ["pointer error"]);
}

#[tokio::test]
async fn a_copy_in_the_catalogue_that_differs_is_an_error() {
    let lab = Lab::with_super().await;
    let table = lived(&lab).await;
    let newest = latest(&table).await;
    let mut document: serde_json::Value =
        serde_json::from_slice(&read(&lab, &newest.path).await).expect("JSON");
    document["tombstone_rows"] = 0.into();
    overwrite(&lab, &newest.path, document.to_string().into()).await;
    let found = findings(&lab.table("orders"), Depth::Documents).await;
    assert!(found.contains(&"pointer error".into()), "{found:?}");
}

#[tokio::test]
async fn documents_beside_the_pointer_are_compared() {
    let lab = Lab::with_super().await;
    let table = lived(&lab).await;
    let schema = DocKey::SchemaDocument(table.id().clone());
    lab.catalog.put_doc(&schema, Expected::Any, "{}".into()).await.expect("put");
    let counter = DocKey::RowIdCounter(table.id().clone());
    lab.catalog.put_doc(&counter, Expected::Any, "1".into()).await.expect("put");
    let found = findings(&lab.table("orders"), Depth::Documents).await;
    assert_eq!(found, ["row-ids warning", "schema warning"]);
}

#[tokio::test]
async fn objects_that_nothing_refers_to_are_named() {
    let lab = Lab::with_super().await;
    let table = lived(&lab).await;
    let base = latest(&table).await;
    let rows = new_rows(&table, &base, &[(8, "never committed")]).await;
    let report = lab.table("orders").check(Depth::Documents).await.expect("check");
    let orphans: Vec<_> = report.findings.iter().filter(|f| f.check == "orphan").collect();
    assert_eq!(orphans.len(), 1);
    assert_eq!(orphans[0].object.as_deref(), Some(&*rows.files[0].file.path));
    assert_eq!(orphans[0].severity, Severity::Note);
}

#[tokio::test]
async fn a_table_that_went_back_is_sound_and_gives_no_row_id_twice() {
    let lab = Lab::with_super().await;
    let table = lived(&lab).await;
    let second = table.snapshot(At::Version(2)).await.expect("version");
    let done = committed(table.go_back(&second, by("restore"), Vec::new()).await);
    assert_eq!((done.version, done.lineage.inserted, done.lineage.deleted), (4, 1, 1));
    assert_eq!(text(&table).await, "1=a 2=b 3=c 4=d 5=e");
    append(&table, &[(6, "f")]).await;
    assert_eq!(text(&lab.table("orders")).await, "1=a 2=b 3=c 4=d 5=e 6=f");
    assert_eq!(findings(&lab.table("orders"), Depth::Text).await, Vec::<String>::new());
    let again = table.go_back(&latest(&table).await, by("restore"), Vec::new()).await;
    assert!(matches!(again, Ok(CommitOutcome::Unchanged { .. })), "{again:?}");
}

/// An edit that was made against a version from before the table went back lands on what is there.
#[tokio::test]
async fn an_edit_from_before_lands_on_what_came_back() {
    let lab = Lab::with_super().await;
    let table = lived(&lab).await;
    let base = latest(&table).await;
    let second = table.snapshot(At::Version(2)).await.expect("version");
    committed(table.go_back(&second, by("restore"), Vec::new()).await);
    committed(try_edit(&table, &base, &[(4, 1, 1)], &[(5, "E")]).await);
    assert_eq!(text(&table).await, "1=a 2=b 3=c 4=d 5=E");
    let gone = try_edit(&table, &base, &[(1, 1, 1)], &[(2, "BB")]).await;
    assert!(matches!(gone, Ok(CommitOutcome::Conflict { .. })), "{gone:?}");
    assert_eq!(findings(&lab.table("orders"), Depth::Text).await, Vec::<String>::new());
}

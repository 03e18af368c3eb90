//! Other writers: snapshots without our names, payloads through cjson, stale parents.

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::catalog::{LeafSwap, SwapOutcome};
use crate::table::snapshot::JsonMap;

/// What the Python library does: base on the leaf's payload, put the snapshot under a random
/// name, overwrite the leaf without comparing.
pub(super) struct Python<'a> {
    lab: &'a Lab,
    table: &'a Table,
    /// The leaf that it read, perhaps long ago.
    leaf: Bytes,
}

impl<'a> Python<'a> {
    pub(super) async fn reads(lab: &'a Lab, table: &'a Table) -> Self {
        let leaf = lab.catalog.leaf(table.id()).await.expect("leaf").expect("exists").raw;
        Self { lab, table, leaf }
    }

    fn payload(&self) -> JsonMap {
        let leaf: Value = serde_json::from_slice(&self.leaf).expect("json");
        leaf["payload"].as_object().expect("payload").clone()
    }

    /// Appends rows and deletes row ids, as an upsert does.
    #[allow(clippy::too_many_lines, reason = "one document, member by member")]
    pub(super) async fn writes(
        &self,
        hex: &str,
        rows: &[(i64, &str)],
        deletes: &[(Arc<str>, i64)],
    ) {
        let leaf: Value = serde_json::from_slice(&self.leaf).expect("json");
        let base = self.table.snapshot_of(&crate::catalog::Leaf { raw: self.leaf.clone() }).await;
        let base = base.expect("base");
        let mut new = self.payload();
        let written = new_rows(self.table, &base, rows).await;
        let version = new["snapshot_version"].as_u64().expect("version") + 1;
        let mut resources = new["resources"].as_array().cloned().unwrap_or_default();
        for file in &written.files {
            resources.push(json!({"file": file.file.path.as_ref(), "file_size": file.file.bytes,
                "rows": file.file.rows, "columns": file.file.columns}));
            let last = file.first_row_id + file.file.rows - 1;
            new.insert("rowid_high_watermark".to_owned(), last.into());
        }
        new.insert("resources".to_owned(), resources.into());
        if !deletes.is_empty() {
            let mut dead = crate::table::deletes::DeadRows::default();
            for (file, id) in deletes {
                dead.insert(file, *id);
            }
            let count = u64::try_from(deletes.len()).expect("small");
            let part = self.table.put_part(dead).await.expect("part");
            let mut parts = new["tombstone"].as_array().cloned().unwrap_or_default();
            parts.push(part.into());
            let total = new["tombstone_rows"].as_u64().unwrap_or_default() + count;
            new.insert("tombstone".to_owned(), parts.into());
            new.insert("tombstone_rows".to_owned(), total.into());
        }
        let path = format!("acme/shop/tables/orders/snapshots/17952536750_{hex}_tables.json");
        new.insert("snapshot_version".to_owned(), version.into());
        new.insert("previous_snapshot".to_owned(), leaf["path"].clone());
        let now = new["last_updated_ms"].as_i64().expect("time") + 1;
        new.insert("last_updated_ms".to_owned(), now.into());
        new.insert(
            "schema".to_owned(),
            json!({"name": "String", "id": "Int64",
            "__rowid__": "Int64"}),
        );
        new.insert(
            "lineage".to_owned(),
            json!({"source_type": "write", "role_name": "superadmin",
            "overwrite_columns": ["id"], "incoming_rows": rows.len(), "write_id": hex}),
        );
        let bytes = Bytes::from(Value::Object(new.clone()).to_string());
        self.table.put_new(&path, bytes.to_vec()).await.expect("put");
        // cjson: empty lists become objects.
        let payload = Value::Object(new).to_string().replace("[]", "{}");
        let raw = format!(
            "{{\"version\":{version},\"ts\":1,\"path\":\"{}\",\"payload\":{payload}}}",
            path.replace('/', "\\/")
        );
        let current = self.lab.catalog.leaf(self.table.id()).await.expect("leaf").expect("there");
        let swap = LeafSwap {
            table: self.table.id().clone(),
            expected: Some(current.raw),
            new: Some(raw.into()),
            schema: None,
            now_ms: 1,
            bump_root: true,
            audit: Vec::new(),
            requires: None,
            removes: None,
        };
        let done = self.lab.catalog.swap(swap).await.expect("swap");
        assert!(matches!(done, SwapOutcome::Swapped { .. }));
    }
}

#[tokio::test]
async fn a_foreign_commit_is_shown_last_and_taken_over() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    append(&table, &[(1, "a"), (2, "b")]).await;
    let base = latest(&table).await;
    let base = committed(try_edit(&table, &base, &[(0, 0, 1)], &[(3, "c")]).await);
    let file = base.files.iter().find(|file| file.rows == 2).expect("file").path.clone();
    let ids = table.row_ids(base.files.iter().find(|f| f.rows == 2).expect("file")).await;
    let second = ids.expect("ids").at(1).expect("id");
    Python::reads(&lab, &table)
        .await
        .writes("00000000000000aa", &[(2, "B"), (4, "d")], &[(file, second)])
        .await;
    let other = lab.table("orders");
    let shown = latest(&other).await;
    assert_eq!(shown.version, 3);
    assert_eq!(shown.schema, schema(), "our column order stays");
    assert_eq!(shown.lineage.operation, "write");
    assert_eq!(try_text(&other, &shown).await.expect("readable"), "3=c 1=a 2=B 4=d");
    append(&other, &[(5, "e")]).await;
    assert_eq!(text(&table).await, "3=c 1=a 2=B 4=d 5=e");
    assert_eq!(latest(&table).await.version, 4);
    assert_eq!(table.history(10).await.expect("history").len(), 5);
}

#[tokio::test]
async fn a_foreign_commit_on_a_stale_parent_is_merged_and_erases_nothing() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    append(&table, &[(1, "a"), (2, "b")]).await;
    let python = Python::reads(&lab, &table).await;
    let ours = append(&table, &[(3, "ours")]).await;
    python.writes("00000000000000bb", &[(4, "theirs")], &[]).await;
    let other = lab.table("orders");
    assert_eq!(text(&other).await, "1=a 2=b 4=theirs", "before anyone settles");
    let Settled::Live(tip) = other.settle().await.expect("settle") else { panic!("absent") };
    assert_eq!(tip.version, ours.version + 1);
    assert_eq!(text(&table).await, "1=a 2=b 3=ours 4=theirs");
    // Once more changes nothing.
    let Settled::Live(again) = table.settle().await.expect("settle") else { panic!("absent") };
    assert_eq!(again.path, tip.path);
    append(&table, &[(5, "e")]).await;
    assert_eq!(text(&other).await, "1=a 2=b 3=ours 4=theirs 5=e");
}

#[tokio::test]
async fn a_chain_of_foreign_commits_on_a_stale_parent_is_merged_in_order() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    append(&table, &[(1, "a")]).await;
    let python = Python::reads(&lab, &table).await;
    append(&table, &[(2, "ours")]).await;
    python.writes("00000000000000c1", &[(3, "x")], &[]).await;
    Python::reads(&lab, &table).await.writes("00000000000000c2", &[(4, "y")], &[]).await;
    append(&lab.table("orders"), &[(5, "z")]).await;
    assert_eq!(text(&table).await, "1=a 2=ours 3=x 4=y 5=z");
}

#[tokio::test]
async fn a_row_that_both_sides_replaced_stays_as_ours() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let base = append(&table, &[(1, "a"), (2, "b")]).await;
    let python = Python::reads(&lab, &table).await;
    committed(try_edit(&table, &base, &[(1, 1, 1)], &[(2, "ours")]).await);
    let file = &base.files[0];
    let id = table.row_ids(file).await.expect("ids").at(1).expect("id");
    python.writes("00000000000000dd", &[(2, "theirs"), (3, "c")], &[(file.path.clone(), id)]).await;
    let other = lab.table("orders");
    other.settle().await.expect("settle");
    assert_eq!(text(&table).await, "1=a 2=ours 3=c");
    let tip = latest(&table).await;
    assert!(tip.lineage.message.contains("1 of its rows"), "{}", tip.lineage.message);
}

#[tokio::test]
async fn a_stale_compaction_brings_no_replaced_row_back() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    append(&table, &[(1, "a")]).await;
    let base = append(&table, &[(2, "b")]).await;
    let python = Python::reads(&lab, &table).await;
    // All rows of the first file are replaced: it goes, and no vector names its rows.
    let tip = committed(try_edit(&table, &base, &[(0, 1, 1)], &[(1, "ours")]).await);
    assert_eq!((tip.files.len(), tip.deletes.rows()), (2, 0));
    // The library compacts both old files into one, with the row ids that they had.
    let bytes = write::file_bytes(&batch(&[(1, "a"), (2, "b")]), 1, 4096);
    let path = "acme/shop/tables/orders/data/compacted.parquet";
    let size = bytes.len();
    table.put_new(path, bytes).await.expect("put");
    let mut document = python.payload();
    let leaf: Value = serde_json::from_slice(&python.leaf).expect("json");
    document.insert("previous_snapshot".to_owned(), leaf["path"].clone());
    document.insert("snapshot_version".to_owned(), (base.version + 1).into());
    let resource = json!({"file": path, "file_size": size, "rows": 2, "columns": 4});
    document.insert("resources".to_owned(), json!([resource]));
    document.insert("lineage".to_owned(), json!({"source_type": "compact", "write_id": "c"}));
    names(&lab, &table, document).await;
    let other = lab.table("orders");
    other.settle().await.expect("settle");
    let mut shown: Vec<String> = text(&other).await.split_whitespace().map(str::to_owned).collect();
    shown.sort_unstable();
    assert_eq!(shown, ["1=ours", "2=b"]);
}

#[tokio::test]
async fn a_table_that_only_python_wrote_is_taken_over_from_its_first_snapshot() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    for (hex, id) in [("00000000000000e1", 1), ("00000000000000e2", 2), ("00000000000000e3", 3)] {
        Python::reads(&lab, &table).await.writes(hex, &[(id, "p")], &[]).await;
    }
    assert_eq!(text(&table).await, "1=p 2=p 3=p");
    append(&lab.table("orders"), &[(4, "ours")]).await;
    assert_eq!(text(&table).await, "1=p 2=p 3=p 4=ours");
    assert_eq!(latest(&table).await.version, 4);
}

/// Names a document that some other writer put, without further ado.
async fn names(lab: &Lab, table: &Table, document: JsonMap) {
    let leaf = lab.catalog.leaf(table.id()).await.expect("leaf").expect("exists");
    let path = "acme/shop/tables/orders/snapshots/17952536751_00000000000000f2_tables.json";
    let bytes = Value::Object(document).to_string();
    table.put_new(path, bytes.into_bytes()).await.expect("put");
    let swap = LeafSwap {
        table: table.id().clone(),
        expected: Some(leaf.raw),
        new: Some(format!("{{\"version\":9,\"ts\":1,\"path\":\"{path}\"}}").into()),
        schema: None,
        now_ms: 1,
        bump_root: true,
        audit: Vec::new(),
        requires: None,
        removes: None,
    };
    let _: SwapOutcome = lab.catalog.swap(swap).await.expect("swap");
}

#[tokio::test]
async fn columns_of_a_foreign_document_are_those_of_its_files_in_their_order() {
    // A narrow frame, and members that cjson has put in another order.
    for stored in [json!({"id": "Int32"}), json!({"name": "String", "id": "Int32"})] {
        let lab = Lab::with_super().await;
        let table = lab.orders().await;
        Python::reads(&lab, &table).await.writes("00000000000000f1", &[(1, "p")], &[]).await;
        // The payload as Python alone would have left it, without our member.
        let mut document = Python::reads(&lab, &table).await.payload();
        document.remove("mountable");
        document.insert("schema".to_owned(), stored);
        names(&lab, &table, document).await;
        let shown = latest(&lab.table("orders")).await;
        assert_eq!(shown.schema, schema(), "columns, order and types of the files count");
        assert_eq!(text(&lab.table("orders")).await, "1=p");
    }
}

#[tokio::test]
async fn columns_that_a_foreign_write_added_outlive_a_narrow_one_but_dropped_ones_do_not() {
    for (dropped, wanted) in [(json!([]), vec!["id", "name"]), (json!(["name"]), vec!["id"])] {
        let lab = Lab::with_super().await;
        let table = lab.orders().await;
        Python::reads(&lab, &table).await.writes("00000000000000f1", &[(1, "p")], &[]).await;
        // Our last commit knew only `id`; `name` is in a file that came later.
        let mut document = Python::reads(&lab, &table).await.payload();
        document["mountable"]["columns"] = json!([["id", "Int64"]]);
        document["mountable"]["dropped"] = dropped;
        document.insert("schema".to_owned(), json!({"id": "Int64"}));
        names(&lab, &table, document).await;
        let shown = latest(&lab.table("orders")).await;
        let columns: Vec<&str> = shown.schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(columns, wanted);
    }
}

#[tokio::test]
async fn history_counts_what_other_writers_did() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let base = append(&table, &[(1, "a"), (2, "b"), (3, "c")]).await;
    let file = base.files[0].clone();
    let ids = table.row_ids(&file).await.expect("ids");
    let dead = |row| (file.path.clone(), ids.at(row).expect("id"));
    Python::reads(&lab, &table)
        .await
        .writes("0000000000000091", &[(2, "B"), (4, "d")], &[dead(1)])
        .await;
    Python::reads(&lab, &table).await.writes("0000000000000092", &[], &[dead(0), dead(2)]).await;
    let history = lab.table("orders").history(2).await.expect("history");
    let counts: Vec<_> = history
        .iter()
        .map(|one| (one.lineage.inserted, one.lineage.updated, one.lineage.deleted))
        .collect();
    assert_eq!(counts, [(0, 0, 2), (1, 1, 0)]);
}

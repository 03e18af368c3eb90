//! Tables of the generations before G4, as SuperTable leaves them and as we go on with them.

use arrow::array::{ArrayRef, TimestampMicrosecondArray};
use arrow::datatypes::TimeUnit;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use super::*;
use crate::catalog::{DocKey, Expected, LeafSwap, SwapOutcome, lenient_json};
use crate::error::ErrorKind;
use crate::table::snapshot::JsonMap;

const FOLDER: &str = "acme/shop/tables/orders";

/// Other software's data file; with times it is one of a table that shows the newest rows only.
async fn file(lab: &Lab, name: &str, rows: &[(i64, &str)], times: Option<&[i64]>) -> Value {
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::clone(batch(rows).column(0))),
        ("name", Arc::clone(batch(rows).column(1))),
    ];
    if let Some(times) = times {
        let times = TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC");
        columns.push(("__timestamp__", Arc::new(times)));
    }
    let batch = RecordBatch::try_from_iter(columns).expect("batch");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("writer");
    writer.write(&batch).expect("write");
    writer.close().expect("close");
    let path = format!("{FOLDER}/data/{name}_data.parquet");
    let size = bytes.len();
    lab.table("orders").put_new(&path, bytes).await.expect("put");
    json!({"file": path, "file_size": size, "rows": rows.len(), "columns": batch.num_columns()})
}

/// What SuperTable does to publish: its document under a name of its own, the pointer moved
/// without a look, the payload through a JSON library that spoils it.
async fn publish(lab: &Lab, name: &str, mut document: Value, payload: bool) {
    let id = lab.table("orders").id().clone();
    let old = lab.catalog.leaf(&id).await.expect("leaf");
    let before = old.as_ref().map(|leaf| lenient_json(&leaf.raw).expect("json"));
    if let Some(before) = &before {
        document["previous_snapshot"] = before["path"].clone();
    }
    document["simple_name"] = "orders".into();
    document["location"] = FOLDER.into();
    let path = format!("{FOLDER}/snapshots/{name}_tables.json");
    let text = serde_json::to_string_pretty(&document).expect("text").replace("\"NaN\"", "NaN");
    lab.table("orders").put_new(&path, text.into_bytes()).await.expect("put");
    for resource in document["resources"].as_array_mut().into_iter().flatten() {
        resource.as_object_mut().expect("object").shift_remove("stats");
    }
    let version = document["snapshot_version"].clone();
    let mut leaf = json!({"version": version, "ts": 5, "path": path});
    if payload {
        leaf["payload"] = document;
    }
    let raw = leaf.to_string().replace('/', "\\/").replace("[]", "{}");
    let swap = LeafSwap {
        table: id,
        expected: old.map(|leaf| leaf.raw),
        new: Some(Bytes::from(raw)),
        schema: None,
        now_ms: 5,
        bump_root: true,
        audit: Vec::new(),
        requires: None,
        removes: None,
    };
    let done = lab.catalog.swap(swap).await.expect("swap");
    assert!(matches!(done, SwapOutcome::Swapped { .. }));
}

fn document(version: u64, resources: &[Value]) -> Value {
    json!({"snapshot_version": version, "last_updated_ms": 1_795_253_675_000_i64 + version.cast_signed(),
        "previous_snapshot": null, "schema": {"id": "Int64", "name": "String"},
        "resources": resources, "lineage": {"source_type": "write", "write_id": format!("w{version}")}})
}

/// A table of SuperTable 2.0 with two data files.
async fn g1() -> Lab {
    let lab = Lab::in_v1().await;
    publish(
        &lab,
        "1_0000000000000000",
        json!({"snapshot_version": 0, "last_updated_ms": 1,
        "previous_snapshot": null, "schema": [], "resources": []}),
        true,
    )
    .await;
    let one = file(&lab, "1_1", &[(1, "a"), (2, "b"), (3, "c")], None).await;
    let two = file(&lab, "2_2", &[(4, "d")], None).await;
    publish(&lab, "2_0000000000000000", document(1, &[one, two]), true).await;
    lab
}

fn stored(snapshot: &Snapshot) -> &JsonMap {
    &snapshot.document
}

async fn columns(lab: &Lab, snapshot: &Snapshot) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    for file in snapshot.files.iter() {
        let objects = Arc::clone(&lab.store) as Objects;
        let schema = stored::read_schema(&objects, file).await.expect("schema");
        out.push(schema.fields().iter().map(|field| field.name().clone()).collect());
    }
    out
}

use crate::store::Objects;

#[tokio::test]
async fn rows_of_g1_are_deleted_by_rewriting_their_file() {
    let lab = g1().await;
    let table = lab.table("orders");
    assert_eq!(text(&table).await, "1=a 2=b 3=c 4=d");
    let base = latest(&table).await;
    assert_eq!(base.generation, Generation::G1);
    let edits = [(1, 1, 1), (2, 1, 0)];
    let snapshot = committed(try_edit(&table, &base, &edits, &[(2, "B")]).await);
    assert_eq!(text(&table).await, "1=a 2=B 4=d");
    assert_eq!(snapshot.deletes, Deletes::None);
    assert_eq!(snapshot.rows(), 3);
    // The rewritten file, the one that had nothing to rewrite, the new one: nothing of ours in
    // the columns, and none of the members that SuperTable 2.0 does not know.
    for columns in columns(&lab, &snapshot).await {
        assert_eq!(columns, ["id", "name"]);
    }
    assert_eq!(snapshot.files.iter().map(|file| file.rows).sum::<u64>(), 3);
    for member in ["tombstone", "tombstones", "stats_file", "rowid_high_watermark"] {
        assert!(!stored(&snapshot).contains_key(member), "{member}");
    }
    assert_eq!(stored(&snapshot)["schema"], json!({"id": "Int64", "name": "String"}));
    assert_eq!(text_at(&table, 1).await, "1=a 2=b 3=c 4=d");
    // Another gateway, which knows nothing but the documents.
    assert_eq!(text(&lab.table("orders")).await, "1=a 2=B 4=d");
}

#[tokio::test]
async fn edits_of_two_gateways_meet_across_a_rewrite() {
    let lab = g1().await;
    let (one, two) = (lab.table("orders"), lab.table("orders"));
    let (mine, theirs) = (latest(&one).await, latest(&two).await);
    committed(try_edit(&one, &mine, &[(0, 1, 1)], &[(1, "A")]).await);
    // Row 3 is in a file that is gone by now, but the row is not.
    committed(try_edit(&two, &theirs, &[(2, 1, 1)], &[(3, "C")]).await);
    assert_eq!(text(&one).await, "1=A 2=b 3=C 4=d");
    // The row that the other one changed is in the way.
    let outcome = try_edit(&two, &theirs, &[(0, 1, 1)], &[(1, "x")]).await.expect("judged");
    assert!(matches!(outcome, CommitOutcome::Conflict { .. }), "{outcome:?}");
}

#[tokio::test]
async fn an_edit_finds_its_rows_in_files_that_the_library_merged() {
    let lab = g1().await;
    let table = lab.table("orders");
    let base = latest(&table).await;
    // A merge of SuperTable 2.0: other files, nothing that tells where a row was.
    let all = file(&lab, "3_3", &[(4, "d"), (2, "b"), (9, "new"), (1, "a"), (3, "X")], None).await;
    publish(&lab, "3_0000000000000000", document(2, &[all]), true).await;
    let outcome = try_edit(&table, &base, &[(2, 1, 1)], &[(3, "C")]).await.expect("judged");
    assert!(matches!(outcome, CommitOutcome::Conflict { .. }), "3 was changed: {outcome:?}");
    committed(try_edit(&table, &base, &[(1, 1, 1)], &[(2, "B")]).await);
    assert_eq!(text(&table).await, "4=d 2=B 9=new 1=a 3=X");
    committed(try_edit(&table, &base, &[(3, 1, 0)], &[]).await);
    assert_eq!(text(&table).await, "2=B 9=new 1=a 3=X");
}

#[tokio::test]
async fn a_commit_on_a_stale_parent_is_merged_row_by_row() {
    let lab = g1().await;
    let table = lab.table("orders");
    let stale = lab.catalog.leaf(table.id()).await.expect("leaf").expect("there");
    let base = latest(&table).await;
    let edits = [(1, 1, 1), (4, 0, 1)];
    let ours = committed(try_edit(&table, &base, &edits, &[(2, "B"), (5, "e")]).await);
    // SuperTable read before our commit; it changed 3, removed 4, added 6, and rewrote the rest.
    let current = lab.catalog.leaf(table.id()).await.expect("leaf").expect("there");
    let swap = |expected: &crate::catalog::Leaf, new: &crate::catalog::Leaf| LeafSwap {
        table: table.id().clone(),
        expected: Some(expected.raw.clone()),
        new: Some(new.raw.clone()),
        schema: None,
        now_ms: 5,
        bump_root: false,
        audit: Vec::new(),
        requires: None,
        removes: None,
    };
    let back = lab.catalog.swap(swap(&current, &stale)).await.expect("swap");
    assert!(matches!(back, SwapOutcome::Swapped { .. }));
    let all = file(&lab, "3_3", &[(1, "a"), (2, "b"), (3, "C"), (6, "f")], None).await;
    publish(&lab, "3_0000000000000000", document(2, &[all]), true).await;
    let Settled::Live(tip) = lab.table("orders").settle().await.expect("settles") else {
        panic!("the table is there");
    };
    assert_eq!(text(&table).await, "1=a 2=B 5=e 3=C 6=f");
    assert_eq!(tip.version, ours.version + 1);
    assert!(tip.lineage.message.contains("another writer"), "{:?}", tip.lineage);
}

#[tokio::test]
async fn deleted_keys_and_older_rows_are_hidden_and_leave_with_our_commit() {
    let lab = Lab::in_v1().await;
    let config = DocKey::TableConfig(lab.table("orders").id().clone());
    let rule = br#"{"primary_keys":["id"],"dedup_on_read":true,"modified_ms":1}"#;
    lab.catalog.put_doc(&config, Expected::Any, rule[..].into()).await.expect("config");
    let one = file(&lab, "1_1", &[(1, "a"), (2, "b"), (3, "c")], Some(&[7, 7, 7])).await;
    let two = file(&lab, "2_2", &[(2, "B"), (1, "old")], Some(&[9, 5])).await;
    let mut document = document(1, &[one, two]);
    document["tombstones"] = json!({"primary_keys": ["id"], "deleted_keys": [[3.0], [77]],
        "total_tombstones": 2});
    document["schema"]["__timestamp__"] = "Datetime(time_unit='us', time_zone='UTC')".into();
    publish(&lab, "2_0000000000000000", document, true).await;
    let table = lab.table("orders");
    assert_eq!(text(&table).await, "1=a 2=B");
    let base = latest(&table).await;
    assert_eq!((base.rows(), &base.config.keys[..]), (2, &["id".to_owned()][..]));
    let twice = try_edit(&table, &base, &[(Edit::END, 0, 1)], &[(1, "x")]).await.expect("judged");
    assert!(matches!(twice, CommitOutcome::Conflict { .. }), "{twice:?}");
    let snapshot = committed(try_edit(&table, &base, &[(Edit::END, 0, 1)], &[(3, "back")]).await);
    assert_eq!(text(&table).await, "1=a 2=B 3=back");
    assert!(!stored(&snapshot).contains_key("tombstones"), "they would hide the new row");
    assert_eq!(snapshot.files.iter().map(|file| file.rows).sum::<u64>(), 3);
    for columns in columns(&lab, &snapshot).await {
        assert_eq!(columns, ["id", "name", "__timestamp__"]);
    }
    let schema = &stored(&snapshot)["schema"];
    assert_eq!(schema["__timestamp__"], "Datetime(time_unit='us', time_zone='UTC')");
    // Rows keep the time of their write: the row that is newer in SuperTable stays it.
    let kept = &snapshot.files.iter().find(|file| file.path.contains("day=")).expect("by day");
    let objects = Arc::clone(&lab.store) as Objects;
    let wanted = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = stored::read_schema(&objects, kept).await.expect("schema");
    assert_eq!(schema.field_with_name("__timestamp__").expect("there").data_type(), &wanted);
}

#[tokio::test]
async fn without_the_rule_only_deleted_keys_are_hidden() {
    let lab = Lab::in_v1().await;
    let one = file(&lab, "1_1", &[(1, "a"), (2, "b"), (1, "A")], None).await;
    let mut document = document(1, &[one]);
    document["tombstones"] = json!({"primary_keys": ["id"], "deleted_keys": [[2]]});
    publish(&lab, "2_0000000000000000", document, true).await;
    assert_eq!(text(&lab.table("orders")).await, "1=a 1=A");
}

#[tokio::test]
async fn a_pointer_without_payload_is_read_from_its_document() {
    let lab = Lab::in_v1().await;
    let one = file(&lab, "1_1", &[(1, "a"), (2, "b")], None).await;
    let mut document = document(1, &[one]);
    document["tombstones"] = json!({"primary_keys": ["id"], "deleted_keys": [[2]]});
    publish(&lab, "2_0000000000000000", document, false).await;
    let table = lab.table("orders");
    // SuperTable 2.0 shows the deleted row again here; the document says that it is deleted.
    assert_eq!(text(&table).await, "1=a");
    append(&table, &[(3, "c")]).await;
    let leaf = lab.catalog.leaf(table.id()).await.expect("leaf").expect("there");
    let leaf = lenient_json(&leaf.raw).expect("json");
    assert!(leaf["payload"]["resources"].is_array(), "ours always have one");
}

#[tokio::test]
async fn statistics_stay_out_of_the_catalogue_and_unknown_members_stay() {
    let lab = g1().await;
    let mut one = file(&lab, "5_5", &[(1, "a")], None).await;
    one["stats"] = json!({"id": {"min": 1, "max": "NaN"}});
    one["odd"] = json!({"kept": true});
    let mut document = document(2, &[one]);
    document["future"] = json!([1, {"x": 12_345_678_901_234_567_i64}]);
    publish(&lab, "5_0000000000000000", document, true).await;
    let table = lab.table("orders");
    append(&table, &[(2, "b")]).await;
    let leaf = lab.catalog.leaf(table.id()).await.expect("leaf").expect("there");
    let leaf = lenient_json(&leaf.raw).expect("json");
    assert_eq!(leaf["payload"]["resources"][0]["odd"], json!({"kept": true}));
    assert!(leaf["payload"]["resources"][0].get("stats").is_none(), "{leaf}");
    assert_eq!(leaf["payload"]["future"], json!([1, {"x": 12_345_678_901_234_567_i64}]));
}

#[tokio::test]
async fn numbers_that_the_catalogue_rounded_are_taken_from_the_document() {
    let lab = Lab::in_v1().await;
    let big = 1_234_567_890_123_456_789_i64;
    let one = file(&lab, "1_1", &[(big, "gone"), (big + 1, "b")], None).await;
    let mut document = document(1, &[one]);
    document["tombstones"] = json!({"primary_keys": ["id"], "deleted_keys": [[big]]});
    publish(&lab, "2_0000000000000000", document, true).await;
    let table = lab.table("orders");
    let leaf = lab.catalog.leaf(table.id()).await.expect("leaf").expect("there");
    let rounded = String::from_utf8(leaf.raw.to_vec()).expect("text");
    let rounded = rounded.replace(&big.to_string(), "1.2345678901235e+18");
    assert!(rounded.contains("e+18"));
    let swap = LeafSwap {
        table: table.id().clone(),
        expected: Some(leaf.raw),
        new: Some(Bytes::from(rounded)),
        schema: None,
        now_ms: 6,
        bump_root: false,
        audit: Vec::new(),
        requires: None,
        removes: None,
    };
    let done = lab.catalog.swap(swap).await.expect("swap");
    assert!(matches!(done, SwapOutcome::Swapped { .. }));
    let shown = latest(&table).await;
    assert_eq!(try_text(&table, &shown).await.expect("text"), format!("{}=b", big + 1));
}

/// SuperTable 2.0.2 takes the folders of a day for columns, and bakes them into the files.
#[tokio::test]
async fn columns_that_leaked_from_folders_are_shown_and_ours_lie_elsewhere() {
    let lab = Lab::in_v1().await;
    let config = DocKey::TableConfig(lab.table("orders").id().clone());
    let rule = br#"{"primary_keys":["id"],"dedup_on_read":true}"#;
    lab.catalog.put_doc(&config, Expected::Any, rule[..].into()).await.expect("config");
    let leaked = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
        ("name", Arc::new(StringArray::from(vec!["a"])) as ArrayRef),
        ("year", Arc::new(Int64Array::from(vec![2026])) as ArrayRef),
        ("day", Arc::new(Int64Array::from(vec![21])) as ArrayRef),
    ])
    .expect("batch");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, leaked.schema(), None).expect("writer");
    writer.write(&leaked).expect("write");
    writer.close().expect("close");
    let path = format!("{FOLDER}/data/year=2026/month=11/day=21/1_1_data.parquet");
    let size = bytes.len();
    lab.table("orders").put_new(&path, bytes).await.expect("put");
    let one = json!({"file": path, "file_size": size, "rows": 1, "columns": 4});
    publish(&lab, "2_0000000000000000", document(1, &[one]), true).await;
    let table = lab.table("orders");
    let base = latest(&table).await;
    let names: Vec<&str> = base.schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["id", "name", "year", "day"]);
    let snapshot = committed(try_edit(&table, &base, &[(Edit::END, 0, 1)], &[(2, "b")]).await);
    let ours = snapshot.files.last().expect("a file");
    assert!(ours.path.starts_with(&format!("{FOLDER}/data/1")), "{}", ours.path);
    let columns = columns(&lab, &snapshot).await;
    assert_eq!(columns[1], ["id", "name", "year", "day", "__timestamp__"], "{columns:?}");
}

#[tokio::test]
async fn a_table_of_g1_that_was_dropped_and_made_again_is_another_one() {
    let lab = g1().await;
    let table = lab.table("orders");
    append(&table, &[(5, "e")]).await;
    table.drop(by("drop"), Vec::new()).await.expect("drop");
    assert!(table.latest().await.expect("readable").is_none());
    let one = file(&lab, "9_9", &[(7, "new")], None).await;
    publish(&lab, "9_0000000000000000", document(1, &[one]), true).await;
    assert_eq!(text(&lab.table("orders")).await, "7=new");
    append(&lab.table("orders"), &[(8, "ours")]).await;
    assert_eq!(text(&table).await, "7=new 8=ours");
}

#[tokio::test]
async fn compaction_and_going_back_work_without_row_ids() {
    let lab = g1().await;
    let table = lab.table("orders");
    append(&table, &[(5, "e")]).await;
    let base = latest(&table).await;
    committed(try_edit(&table, &base, &[(0, 1, 0)], &[]).await);
    let done = table.compact(&CompactSettings::all(), by(COMPACT), Vec::new()).await;
    assert_eq!(done.expect("compacts").files_after, 1);
    assert_eq!(text(&table).await, "2=b 3=c 4=d 5=e");
    // An edit made for the files before it.
    committed(try_edit(&table, &base, &[(1, 1, 1)], &[(2, "B")]).await);
    assert_eq!(text(&table).await, "2=B 3=c 4=d 5=e");
    let old = table.snapshot(At::Version(1)).await.expect("version");
    let back = table.go_back(&old, by("restore"), Vec::new()).await.expect("goes back");
    assert!(matches!(back, CommitOutcome::Committed { .. }), "{back:?}");
    assert_eq!(text(&table).await, "1=a 2=b 3=c 4=d");
    let report = table.check(Depth::Text).await.expect("checks");
    assert!(report.findings.iter().all(|f| f.severity == Severity::Note), "{report:?}");
}

#[tokio::test]
async fn g1_keeps_the_order_of_columns_and_its_types() {
    let lab = g1().await;
    let table = lab.table("orders");
    let base = latest(&table).await;
    let field = |name: &str, kind: DataType| Field::new(name, kind, true);
    let (id, name) = (field("id", DataType::Int64), field("name", DataType::Utf8));
    for columns in [vec![name.clone(), id.clone()], vec![id.clone()]] {
        let mut other = change(&table, &base, &[], &[]).await;
        other.schema = Some(SchemaChange { columns: Arc::new(Schema::new(columns)) });
        let error = table.commit(other, by("schema"), Vec::new()).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    let mut more = change(&table, &base, &[], &[]).await;
    let columns = Schema::new(vec![id, name, field("day", DataType::Date32)]);
    more.schema = Some(SchemaChange { columns: Arc::new(columns) });
    let snapshot = committed(table.commit(more, by("schema"), Vec::new()).await);
    // The union of all columns, whatever the last frame had.
    assert_eq!(
        stored(&snapshot)["schema"],
        json!({"id": "Int64", "name": "String", "day": "Date"})
    );
}

#[tokio::test]
async fn new_tables_follow_their_super_table() {
    let lab = Lab::in_v1().await;
    let table = lab.table("new");
    let made = table.create(schema(), TableConfig::default(), by("create")).await.expect("create");
    assert_eq!(made.generation, Generation::G1);
    let binary = Arc::new(Schema::new(vec![Field::new("b", DataType::Binary, true)]));
    let error = lab.table("no").create(binary, TableConfig::default(), by("create")).await;
    assert_eq!(error.expect_err("refused").kind(), ErrorKind::Unsupported);
    let lab = g3().await;
    let table = lab.table("new");
    let made = table.create(schema(), TableConfig::default(), by("create")).await.expect("create");
    assert_eq!(made.generation, Generation::G3);
    append(&table, &[(1, "a")]).await;
    assert_eq!(latest(&table).await.generation, Generation::G3);
}

/// A table of SuperTable 2.3: rows with ids, a deletion vector that is one text.
async fn g3() -> Lab {
    let lab = Lab::with_super().await;
    let table = lab.table("helper");
    table.create(schema(), TableConfig::default(), by("create")).await.expect("create");
    let base = latest(&table).await;
    let rows = new_rows(&table, &base, &[(1, "a"), (2, "b"), (3, "c")]).await;
    table.drop(by("drop"), Vec::new()).await.expect("drop");
    let new = rows.files.first().expect("a file");
    let mut dead = deletes::DeadRows::default();
    dead.insert(&new.file.path, i64::try_from(new.first_row_id).expect("small"));
    let part = table.put_part(dead).await.expect("part");
    let one = json!({"file": new.file.path.as_ref(), "file_size": new.file.bytes,
        "rows": new.file.rows, "columns": new.file.columns});
    let mut document = document(1, &[one]);
    for (name, value) in [
        ("tombstone", part.into()),
        ("tombstone_rows", 1.into()),
        ("stats_file", Value::Null),
        ("stats_rows", 0.into()),
    ] {
        document[name] = value;
    }
    publish(&lab, "2_0000000000000000", document, true).await;
    lab
}

#[tokio::test]
async fn g3_keeps_one_complete_deletion_vector() {
    let lab = g3().await;
    let table = lab.table("orders");
    assert_eq!(text(&table).await, "2=b 3=c");
    let base = latest(&table).await;
    let next = committed(try_edit(&table, &base, &[(0, 1, 1)], &[(2, "B")]).await);
    assert_eq!(text(&table).await, "2=B 3=c");
    let Deletes::Rows { parts, rows } = &next.deletes else { panic!("rows were deleted") };
    assert_eq!((parts.len(), *rows), (1, 2), "the vector names the old dead row too");
    assert_eq!(stored(&next)["tombstone"], json!(parts[0]), "a text, not a list");
    assert!(!stored(&next).contains_key("rowid_high_watermark"), "that would make it G4");
    let again = append(&table, &[(4, "d")]).await;
    assert_eq!(again.generation, Generation::G3);
    assert!(again.row_id_high_watermark > 0, "known from our own member");
    assert_eq!(text(&lab.table("orders")).await, "2=B 3=c 4=d");
}

#[tokio::test]
async fn g2_is_read_and_not_written() {
    let lab = Lab::with_super().await;
    let one = file(&lab, "1_1", &[(1, "a"), (2, "b")], None).await;
    let mut document = document(1, &[one]);
    document["tombstones"] = json!({"primary_keys": ["id"], "deleted_keys": [[2]]});
    publish(&lab, "2_0000000000000000", document, true).await;
    let table = lab.table("orders");
    assert_eq!(text(&table).await, "1=a");
    let base = latest(&table).await;
    assert_eq!(base.generation, Generation::G2);
    let error = table.writer(&base, &base.schema, &[]).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = try_edit_without_rows(&table, &base).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = lab.table("new").create(schema(), TableConfig::default(), by("create")).await;
    assert_eq!(error.expect_err("refused").kind(), ErrorKind::Unsupported);
}

async fn try_edit_without_rows(table: &Table, base: &Arc<Snapshot>) -> Result<CommitOutcome> {
    let change = ChangeSet {
        base: Arc::clone(base),
        edits: vec![Edit { at: 0, remove: 1, insert: 0 }],
        rows: NewRows::none(),
        schema: None,
        config: None,
        on_existing_key: OnExistingKey::Refuse,
    };
    table.commit(change, by("edit"), Vec::new()).await
}

#[tokio::test]
async fn a_linked_table_with_a_row_filter_is_refused() {
    let lab = g1().await;
    let one = file(&lab, "5_5", &[(1, "a")], None).await;
    let mut document = document(2, &[one]);
    document["_row_filter"] = "id > 3".into();
    publish(&lab, "5_0000000000000000", document, true).await;
    let error = lab.table("orders").latest().await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

//! Tests of `codec`.

use super::*;
use crate::error::ErrorKind;

fn table() -> TableId {
    TableId::parse("acme/shop/orders").expect("valid id")
}

fn read(text: &str) -> Result<Snapshot> {
    decode(
        &table(),
        KeyLayout::V2,
        "acme/shop/tables/orders/snapshots/1_0_tables.json",
        json::parse_object(text.as_bytes())?,
    )
}

/// A payload of SuperTable 3.4 as Redis' cjson leaves it.
const PYTHON: &str = r#"{"snapshot_version":3,"location":"acme\/shop\/tables\/orders",
    "previous_snapshot":"p","last_updated_ms":1.795253675e+12,"schema":{"b":"String","a":"Int64",
    "__rowid__":"Int64","__timestamp__":"Datetime(time_unit='us', time_zone='UTC')"},
    "resources":[{"file":"f\/1","file_size":10,"rows":4.0,"columns":4,"odd":{"kept":1}}],
    "tombstone":["t1","t2"],"tombstone_rows":2,"stats_file":"s","stats_rows":7,
    "rowid_high_watermark":9,"future":[1,2],
    "lineage":{"source_type":"write","role_name":"superadmin","write_id":"w","incoming_rows":4,
    "overwrite_columns":{}}}"#;

#[test]
fn a_python_payload_reads_leniently() {
    let snapshot = read(PYTHON).expect("readable");
    assert_eq!((snapshot.version, snapshot.rows()), (3, 2));
    assert_eq!(snapshot.committed_ms, 1_795_253_675_000);
    let names: Vec<&str> = snapshot.schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(snapshot.lineage.operation, "write");
    assert!(!is_ours(&snapshot.document));
    assert!(matches!(snapshot.layout, LayoutRef::Missing));
}

fn follow(base: &Snapshot, schema: &SchemaRef) -> JsonMap {
    let layout = Layout { digest: "d".to_owned(), ..Layout::default() };
    encode(&NewDocument {
        table: &table(),
        generation: base.generation,
        keeps_time: base.keeps_time,
        location: "acme/shop/tables/orders".to_owned(),
        version: base.version + 1,
        committed_ms: base.committed_ms + 1,
        previous: Some(&base.path),
        schema,
        shown_before: &base.schema,
        files: &base.files,
        deletes: &base.deletes,
        row_id_high_watermark: 12,
        layout: StoredLayout::Inline(&layout),
        lineage: &Lineage { write_id: "ours".to_owned(), inserted: 3, ..Lineage::default() },
        config: &TableConfig { keys: vec!["a".to_owned()], ..TableConfig::default() },
        marks: vec![("follows", "mark".to_owned())],
        base: Some(&base.document),
    })
    .expect("encodes")
}

#[test]
fn unknown_members_survive_our_commit_and_ours_survive_a_foreign_one() {
    let base = read(PYTHON).expect("readable");
    let out = follow(&base, &base.schema);
    assert_eq!(out["future"], serde_json::json!([1, 2]));
    assert_eq!(out["resources"][0]["odd"]["kept"], 1);
    assert_eq!(out["stats_file"], "s");
    assert_eq!(out["tombstone"], serde_json::json!(["t1", "t2"]));
    assert_eq!(out["schema"]["__rowid__"], "Int64");
    let ours = decode(&table(), KeyLayout::V2, "x", out.clone()).expect("readable");
    assert!(is_ours(&ours.document));
    assert_eq!(own_text(&ours.document, "follows"), Some("mark"));
    assert_eq!(ours.config.keys, ["a"]);
    assert_eq!(ours.lineage.inserted, 3);
    // A narrow frame of the Python library on top: columns and configuration stay.
    let mut foreign = out;
    foreign.insert("schema".to_owned(), serde_json::json!({"a": "Float64", "c": "Date"}));
    foreign.insert("lineage".to_owned(), serde_json::json!({"write_id": "theirs"}));
    let foreign = decode(&table(), KeyLayout::V2, "y", foreign).expect("readable");
    let columns: Vec<String> = foreign
        .schema
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    assert_eq!(columns, ["b Utf8", "a Float64", "c Date32"]);
    assert_eq!(foreign.config.keys, ["a"]);
    assert_eq!(own_text(&foreign.document, "follows"), None, "a stale member is not believed");
}

#[test]
fn dropped_columns_are_remembered_until_they_come_back() {
    let base = read(PYTHON).expect("readable");
    let only = |names: &[&str]| -> SchemaRef {
        Arc::new(Schema::new(
            names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect::<Vec<_>>(),
        ))
    };
    let first = follow(&base, &only(&["a"]));
    assert_eq!(dropped(&first), ["b"]);
    let first = decode(&table(), KeyLayout::V2, "x", first).expect("readable");
    let second = follow(&first, &only(&["c", "a"]));
    assert_eq!(dropped(&second), ["b"], "kept although the predecessor did not show it");
    let second = decode(&table(), KeyLayout::V2, "x", second).expect("readable");
    assert_eq!(dropped(&follow(&second, &only(&["a", "b"]))), ["c"]);
}

#[test]
fn keys_of_deleted_rows_do_not_count_as_inserted() {
    let text = PYTHON.replace(r#""incoming_rows":4,"#, r#""incoming_rows":4,"delete_only":true,"#);
    assert_eq!(read(&text).expect("readable").lineage.inserted, 0);
    assert_eq!(read(PYTHON).expect("readable").lineage.inserted, 4);
}

#[test]
fn string_tombstones_of_g3_are_read() {
    let text = PYTHON.replace(r#"["t1","t2"]"#, r#""t1""#).replace("rowid_high", "old_high");
    let snapshot = read(&text).expect("readable");
    assert_eq!(snapshot.deletes, Deletes::Rows { parts: vec!["t1".to_owned()], rows: 2 });
}

#[test]
fn damaged_documents_are_corrupt_and_named() {
    for (from, to) in [
        (r#""snapshot_version":3,"#, ""),
        (r#""rows":4.0"#, r#""rows":4.5"#),
        (r#""tombstone_rows":2"#, r#""tombstone_rows":"x""#),
        (r#"["t1","t2"]"#, "[1]"),
        (r#""a":"Int64""#, r#""a":7"#),
    ] {
        let error = read(&PYTHON.replacen(from, to, 1)).expect_err(from);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{from}");
        assert!(error.to_string().contains("snapshots/1_0_tables.json"), "{error}");
    }
}

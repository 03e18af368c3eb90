//! What is fuzzed: one function for each kind of input that somebody else writes.
//!
//! Each takes any bytes, must not panic, and checks what holds for whatever it makes of them. The
//! functions use the public interface only, so that `fuzz/` (libFuzzer) and `main.rs` (a driver
//! without any tool) run the same ones.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use mountable::catalog::{KeyLayout, Leaf, lenient_json};
use mountable::config::{Environment, Flags};
use mountable::csv::{
    self, Hunk, OffsetIndex, Parser, Records, Rejection, Text, TypeInference, parse_header,
};
use mountable::ident::{OrgName, SimpleName, SuperId, TableId};
use mountable::store::layout as paths_of;
use mountable::table::{codec, layout as layouts, parse_object};

/// A target by its name.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target that works on bytes alone.
pub(crate) const TARGETS: &[Target] = &[
    ("csv_parse", csv_parse),
    ("csv_header", csv_header),
    ("csv_infer", csv_infer),
    ("csv_diff", csv_diff),
    ("index", index),
    ("layout", layout),
    ("leaf_json", leaf_json),
    ("snapshot_json", snapshot_json),
    ("config", config),
    ("paths", paths),
];

fn types() -> Vec<DataType> {
    use DataType as T;
    let item = |data_type| Arc::new(Field::new("item", data_type, true));
    let members = vec![Field::new("a", T::Int64, true), Field::new("b", T::Utf8, true)];
    vec![
        T::Utf8,
        T::Int64,
        T::Float64,
        T::Boolean,
        T::UInt8,
        T::Float32,
        T::Float16,
        T::Decimal128(20, 3),
        T::Decimal256(60, 10),
        T::Date32,
        T::Date64,
        T::Time64(TimeUnit::Microsecond),
        T::Time32(TimeUnit::Second),
        T::Timestamp(TimeUnit::Nanosecond, None),
        T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        T::Duration(TimeUnit::Millisecond),
        T::Binary,
        T::FixedSizeBinary(3),
        T::List(item(T::Float64)),
        T::FixedSizeList(item(T::Boolean), 2),
        T::Struct(members.into()),
        T::Dictionary(Box::new(T::Int8), Box::new(T::Utf8)),
        T::Null,
    ]
}

/// The first bytes choose the columns, the rest is the text.
fn schema_and_text(data: &[u8]) -> Option<(Vec<String>, SchemaRef, &[u8])> {
    let (width, rest) = data.split_first()?;
    let width = usize::from(width % 4) + 1;
    let (chosen, text) = rest.split_at_checked(width)?;
    let types = types();
    let fields: Vec<Field> = (0..)
        .zip(chosen)
        .map(|(at, byte)| {
            let data_type = types[usize::from(*byte) % types.len()].clone();
            Field::new(format!("c{at}"), data_type, *byte < 128)
        })
        .collect();
    let names = fields.iter().map(|field| field.name().clone()).collect();
    Some((names, Arc::new(Schema::new(fields)), text))
}

fn check_places(rejections: &[Rejection], text: &[u8], columns: usize) {
    assert!(!rejections.is_empty() && rejections.len() <= csv::REJECTIONS_KEPT);
    let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
    for rejection in rejections {
        assert!(csv::explain(rejection.code).is_some(), "{rejection}");
        assert!((1..=lines).contains(&rejection.line), "{rejection}");
        assert!(rejection.row.len() <= csv::ROW_KEPT_BYTES);
        let known = rejection.column.is_none_or(|column| column >= 1);
        let far = rejection.column.is_some_and(|column| column as usize > columns + 1);
        assert!(known && (!far || rejection.column_name.as_deref() == Some("")), "{rejection}");
    }
}

/// Rows and records agree; what was accepted has one canonical text; what was not has a place.
pub(crate) fn csv_parse(data: &[u8]) {
    let Some((names, schema, text)) = schema_and_text(data) else { return };
    let mut parser = Parser::new(&names, &schema).unwrap();
    let batch = match parser.parse(text, 1) {
        Ok(batch) => batch,
        Err(rejections) => return check_places(&rejections, text, names.len()),
    };
    assert_eq!(batch.num_rows(), Records::new(text).count());
    let (mut first, mut ends) = (Vec::new(), Vec::new());
    csv::render(&batch, &mut first, &mut ends).unwrap();
    assert_eq!(ends.len(), batch.num_rows());
    let again = parser.parse(&first, 1).unwrap_or_else(|rejections| {
        panic!("{} in {:?}", rejections[0], String::from_utf8_lossy(&first))
    });
    let mut second = Vec::new();
    csv::render(&again, &mut second, &mut Vec::new()).unwrap();
    assert_eq!(first, second, "{}", String::from_utf8_lossy(&first));
}

/// Names of an accepted header can be used as names.
pub(crate) fn csv_header(data: &[u8]) {
    match parse_header(data) {
        Ok(names) => {
            assert!(!names.is_empty());
            for (at, name) in names.iter().enumerate() {
                assert!(!name.is_empty() && !name.starts_with(csv::SYSTEM_PREFIX));
                assert!(!names[..at].contains(name));
            }
        }
        Err(rejection) => assert_eq!(rejection.line, 1),
    }
}

/// What inference chose takes every value that it saw.
pub(crate) fn csv_infer(data: &[u8]) {
    let Some((width, text)) = data.split_first() else { return };
    let names: Vec<String> = (0..width % 4 + 1).map(|at| format!("c{at}")).collect();
    let mut inference = TypeInference::new(&names);
    inference.observe(text);
    let schema = Arc::new(inference.finish());
    let Err(refusals) = Parser::new(&names, &schema).unwrap().parse(text, 1) else { return };
    check_places(&refusals, text, names.len());
    if std::str::from_utf8(text).is_ok() {
        for refusal in refusals {
            // Values never; only records and bytes that no type takes.
            let of_values = ["MNT-1203", "MNT-1204", "MNT-1205", "MNT-1211", "MNT-1212"];
            assert!(!of_values.contains(&refusal.code), "{refusal} {schema:?}");
        }
    }
}

struct Memory(Bytes);

impl Text for Memory {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, offset: u64, max: usize) -> mountable::error::Result<Bytes> {
        let start = usize::try_from(offset).unwrap();
        Ok(self.0.slice(start..self.0.len().min(start.saturating_add(max))))
    }
}

/// Hunks are ordered, whole records, and turn the base into the edited text. The texts stand on
/// both sides of the byte 0x1e.
pub(crate) fn csv_diff(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0x1e);
    let (base, edited) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut texts = [base, edited].map(|text| Memory(Bytes::copy_from_slice(text)));
    let [one, other] = &mut texts;
    let (mut out, mut at) = (Vec::new(), 0);
    csv::diff(one, 0, other, 0, &mut |hunk: Hunk| {
        let place = |offset: u64| usize::try_from(offset).unwrap();
        let (old, new) = (&hunk.base, &hunk.edited);
        assert!(at == 0 || place(old.start) > at, "hunks touch");
        out.extend_from_slice(&base[at..place(old.start)]);
        let added = &edited[place(new.start)..place(new.end)];
        out.extend_from_slice(added);
        at = place(old.end);
        let removed = &base[place(old.start)..at];
        let records = |text: &[u8]| {
            // A byte order mark is one at the beginning of a file only.
            Records::new(&[b"\n", text].concat()).count() as u64 - 1
        };
        assert_eq!((records(removed), records(added)), (hunk.base_records, hunk.edited_records));
        Ok(())
    })
    .unwrap();
    out.extend_from_slice(&base[at..]);
    assert_eq!(out, edited);
}

/// Damaged indexes are refused; so that the fuzzer reaches the decoder, its checksum is made.
pub(crate) fn index(data: &[u8]) {
    let _ = OffsetIndex::decode(data);
    let model = OffsetIndex::builder(&Schema::empty(), 1).finish().encode();
    // Magic number, then three numbers of one byte, then the hash.
    let (magic, hash_bytes) = (&model[..4], model.len() - 4 - 3);
    let mut sealed = [magic, data].concat();
    let hash = blake3::hash(&sealed);
    sealed.extend_from_slice(&hash.as_bytes()[..hash_bytes]);
    if let Ok(index) = OffsetIndex::decode(&sealed) {
        assert!(u64::from(index.blocks()) <= sealed.len() as u64 || index.columns.is_empty());
        for block in 0..index.blocks().min(100) {
            let _ = index.rows_of_block(block);
        }
        let again = OffsetIndex::decode(&index.encode()).unwrap();
        assert_eq!(again, index);
    }
}

/// Layouts are advice: whatever they say is taken or not, and sums never overflow into a panic.
pub(crate) fn layout(data: &[u8]) {
    let _ = layouts::unpack(data);
    let Ok(value) = serde_json::from_slice(data) else { return };
    let Some(layout) = layouts::from_json(&value) else { return };
    let _ = (layout.rows(), layout.text_bytes());
    let starts = layout.starts();
    let _ = layout.runs(&starts, 0..layout.rows().min(1 << 40));
    for piece in &layout.pieces {
        layout.path(piece.file).unwrap();
        let _ = piece.range();
    }
    assert_eq!(layouts::from_json(&layouts::to_json(&layout)), Some(layout));
}

/// Leaves as Redis' Lua and Python leave them.
pub(crate) fn leaf_json(data: &[u8]) {
    if let Ok(value) = lenient_json(data) {
        let text = value.to_string();
        assert_eq!(lenient_json(text.as_bytes()).unwrap().to_string(), text);
    }
    if let Ok(leaf) = (Leaf { raw: Bytes::copy_from_slice(data) }).parse() {
        assert!(!leaf.path.is_empty());
    }
}

/// Snapshot documents of every generation.
pub(crate) fn snapshot_json(data: &[u8]) {
    let Ok(document) = parse_object(data) else { return };
    let table = TableId::parse("acme/shop/orders").unwrap();
    let _ = codec::ordered_columns(&document);
    let _ = (codec::is_ours(&document), codec::commit_id(&document), codec::dropped(&document));
    let _ = codec::carried_layout(&document);
    for keys in [KeyLayout::V1, KeyLayout::V2] {
        if let Ok(snapshot) = codec::decode(&table, keys, "x", document.clone()) {
            let _ = (snapshot.rows(), snapshot.deletes.clone());
        }
    }
}

/// Text after the first line is a configuration file, the first line one of the environment.
pub(crate) fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data).replace('\0', "");
    let (line, file) = text.split_once('\n').unwrap_or(("", &text));
    let (name, value) = line.split_once('=').unwrap_or((line, "1"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    std::fs::write(&path, file).unwrap();
    let home = directory.path().display().to_string();
    let flags = Flags { config: Some(path), settings: Vec::new() };
    let _ = mountable::config::load(&flags, &Environment::of([("HOME", home.as_str())]));
    let variable = format!("MOUNTABLE_{}", name.to_uppercase());
    let environment = Environment::of([("HOME", home.as_str()), (&variable, value)]);
    let _ = mountable::config::load(&Flags::default(), &environment);
    let setting = (name.to_owned(), value.to_owned(), "--set".to_owned());
    let flags = Flags { config: None, settings: vec![setting] };
    let _ = mountable::config::load(&flags, &Environment::of([("HOME", home.as_str())]));
    let _ = mountable::config::redact_url(&text);
}

/// Names and object paths: what is accepted cannot leave its place.
pub(crate) fn paths(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let names = [
        OrgName::new(&text).map(|name| name.to_string()),
        SimpleName::new(&text).map(|name| name.to_string()),
    ];
    for name in names.into_iter().flatten() {
        assert_eq!(name, text);
        assert!(!name.contains(['/', '\0', ':']) && !name.starts_with('.'));
    }
    let _ = SuperId::parse(&text);
    let table = TableId::parse("acme/shop/orders").unwrap();
    if let Ok(id) = TableId::parse(&text) {
        assert_eq!(id.to_string(), text);
        assert!(paths_of::check_within(&id, &paths_of::data_file(&id, 0, "0")).is_ok());
    }
    if paths_of::check_within(&table, &text).is_ok() {
        assert!(!text.split('/').any(|part| part == ".." || part == "."), "{text}");
        assert!(text.starts_with(&paths_of::table_location(&table)), "{text}");
    }
    let _ = (paths_of::snapshot_name(&text), paths_of::version_of(&text));
    let _ = (paths_of::time_of(&text), paths_of::successor(&text, u64::MAX));
}

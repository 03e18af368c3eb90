//! Writes a table of the usual test columns and reads it back as CSV, with time and memory.
//!
//! `view_read write DIR ROWS` fills a directory; `view_read read DIR` reads all of it in requests
//! of 1 MiB, cold and warm, and its last bytes. Rates are bytes of CSV text per second.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::too_many_lines)]

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use mountable::catalog::{Catalog, EmbeddedCatalog};
use mountable::clock::SystemClock;
use mountable::ident::TableId;
use mountable::store;
use mountable::table::layout::{Layout, Piece, columns_digest};
use mountable::table::snapshot::{DataFile, Deletes, LayoutRef, Lineage, Snapshot, TableConfig};
use mountable::table::write::{RowWriter, WriterParts};
use mountable::table::{Generation, SystemColumns};
use mountable::view::{ViewSettings, Views};

fn schema() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("id", DataType::Int64),
        field("name", DataType::Utf8),
        field("amount", DataType::Float64),
        field("ts", DataType::Timestamp(TimeUnit::Microsecond, None)),
        field("city", DataType::Utf8),
    ]))
}

fn batch(first: i64, rows: i64) -> RecordBatch {
    let cities = ["Vienna", "Lisbon", "Oslo", "Graz, Austria", "Rome", "Paris"];
    let ids = || first..first + rows;
    let mix = |id: i64| (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids())),
        Arc::new(StringArray::from_iter_values(
            ids().map(|id| format!("name-{}", mix(id) % 900_000)),
        )),
        Arc::new(Float64Array::from_iter_values(
            ids().map(|id| (mix(id) % 1_000_000) as f64 / 100.0),
        )),
        Arc::new(TimestampMicrosecondArray::from_iter_values(
            ids().map(|id| 1_700_000_000_000_000 + id * 1_234_567),
        )),
        Arc::new(StringArray::from_iter_values(
            ids().map(|id| cities[(mix(id) % cities.len() as u64) as usize]),
        )),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}

fn report(what: &str, bytes: u64, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    let rate = bytes as f64 / seconds / 1e6;
    println!("{what}: {bytes} bytes, {seconds:.3} s, {rate:.0} MB/s, peak {}", peak_memory());
}

async fn write(dir: &str, rows: i64) {
    let objects = store::open(dir, &Default::default()).unwrap();
    let clock = Arc::new(SystemClock);
    let catalog = EmbeddedCatalog::memory(clock.clone()).unwrap();
    let table = TableId::parse("bench/bench/bench").unwrap();
    catalog.create_organization(&table.organization).await.unwrap();
    catalog.create_super(&table.super_id(), 1).await.unwrap();
    let (catalog, system) = (Arc::new(catalog), SystemColumns::RowIdAndTime);
    let parts = WriterParts { objects, catalog, clock, table, system, row_ids_above: 0 };
    let start = Instant::now();
    let mut writer = RowWriter::new(parts, &schema(), &[]).unwrap();
    for first in (0..rows).step_by(8192) {
        writer.write(batch(first, 8192.min(rows - first))).await.unwrap();
    }
    let new = writer.finish().await.unwrap();
    let mut manifest = String::new();
    for file in &new.files {
        let (path, bytes) = (&file.file.path, file.file.bytes);
        manifest += &format!("{path} {bytes} {} {}\n", file.file.rows, file.text_bytes);
    }
    std::fs::write(format!("{dir}/manifest"), manifest).unwrap();
    report("write", new.files.iter().map(|file| file.text_bytes).sum(), start);
}

async fn read(dir: &str) {
    let objects = store::open(dir, &Default::default()).unwrap();
    let (mut files, mut pieces) = (Vec::new(), Vec::new());
    for line in std::fs::read_to_string(format!("{dir}/manifest")).unwrap().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let rows: u64 = words[2].parse().unwrap();
        let file = pieces.len() as u32;
        let bytes = words[3].parse().unwrap();
        pieces.push(Piece { file, first: 0, rows: rows as u32, bytes });
        let bytes = words[1].parse().unwrap();
        files.push(DataFile { path: words[0].into(), bytes, rows, columns: 7 });
    }
    let layout = Arc::new(Layout {
        files: files.iter().map(|file| file.path.clone()).collect(),
        pieces,
        digest: String::new(),
        columns: columns_digest(&schema()),
    });
    let snapshot = Arc::new(Snapshot {
        table: TableId::parse("bench/bench/bench").unwrap(),
        generation: Generation::G4,
        keeps_time: false,
        version: 1,
        path: "bench".to_owned(),
        committed_ms: 0,
        schema: schema(),
        files: files.into(),
        deletes: Deletes::None,
        previous: None,
        row_id_high_watermark: 0,
        layout: LayoutRef::Missing,
        lineage: Lineage::default(),
        config: TableConfig::default(),
        document: Arc::default(),
    });
    for what in ["cold", "again"] {
        let views = Views::new(objects.clone(), ViewSettings::default());
        let start = Instant::now();
        let view = views.open_layout(&snapshot, &layout).unwrap();
        view.read_at(view.len() - 10..view.len()).await.unwrap();
        report(&format!("{what}: open and last 10 bytes"), 10, start);
        let start = Instant::now();
        let mut offset = 0;
        while offset < view.len() {
            let parts = view.read_at(offset..offset + (1 << 20)).await.unwrap();
            offset += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        }
        report(&format!("{what}: whole text"), offset, start);
        println!("{:?}", views.stats());
        let start = Instant::now();
        let middle = view.len() / 2;
        for step in 0..50 {
            let at = (middle + step * 7_777_777) % view.len();
            view.read_at(at..at + 4096).await.unwrap();
        }
        report(&format!("{what}: 50 random reads of 4 KiB"), 50 * 4096, start);
    }
}

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_, "write", dir, rows] => write(dir, rows.parse().unwrap()).await,
        [_, "read", dir] => read(dir).await,
        _ => println!("view_read write DIR ROWS | view_read read DIR"),
    }
}

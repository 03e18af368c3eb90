//! Views against the naive rendering of the same rows.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::*;
use crate::csv;
use crate::error::ErrorKind;
use crate::ident::TableId;
use crate::table::layout::{Piece, columns_digest};
use crate::table::scan::conform;
use crate::table::snapshot::{Deletes, LayoutRef, Lineage, TableConfig};
use crate::table::write::file_bytes;

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("runtime")
    })
}

fn batch(first: i64, rows: usize, seed: u64) -> RecordBatch {
    let number =
        |row: usize| (row as u64 + 1).wrapping_mul(seed | 1).wrapping_mul(0x9e37_79b9) >> 7;
    let ids: Int64Array = (0..rows).map(|row| Some(first + row as i64)).collect();
    let names: StringArray = (0..rows)
        .map(|row| match number(row) % 7 {
            0 => None,
            1 => Some(String::new()),
            2 => Some("with, comma \"and\" quotes\nand lines".to_owned()),
            n => Some("x".repeat(n as usize * 3)),
        })
        .collect();
    let amounts: Float64Array =
        (0..rows).map(|row| (number(row) % 5 != 0).then(|| number(row) as f64 / 8.0)).collect();
    let columns: [(&str, ArrayRef, bool); 3] = [
        ("id", Arc::new(ids), true),
        ("name", Arc::new(names), true),
        ("amount", Arc::new(amounts), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).expect("batch")
}

fn foreign_bytes(batch: &RecordBatch, paged: bool) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(3000))
        .set_offset_index_disabled(!paged)
        .set_statistics_enabled(parquet::file::properties::EnabledStatistics::Chunk)
        .set_data_page_row_count_limit(500)
        .build();
    let mut writer =
        ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).expect("writer");
    writer.write(batch).expect("write");
    writer.into_inner().expect("close")
}

/// A lake of data files, with the rows that are in them.
struct Lab {
    objects: Objects,
    files: Vec<(DataFile, RecordBatch)>,
}

impl Lab {
    fn new() -> Self {
        Self { objects: Arc::new(InMemory::new()), files: Vec::new() }
    }

    fn add(&mut self, bytes: Vec<u8>, batch: RecordBatch) -> usize {
        let path = format!("t/data/{}.parquet", self.files.len());
        let file = DataFile {
            path: path.as_str().into(),
            bytes: bytes.len() as u64,
            rows: batch.num_rows() as u64,
            columns: 5,
        };
        let place = object_store::path::Path::from(path);
        let put = self.objects.put(&place, bytes.into());
        runtime().block_on(put).expect("put");
        self.files.push((file, batch));
        self.files.len() - 1
    }

    fn rows(&self, file: usize, rows: &Range<u32>, schema: &SchemaRef) -> RecordBatch {
        let all = conform(&self.files[file].1, schema).expect("conform");
        all.slice(rows.start as usize, (rows.end - rows.start) as usize)
    }

    /// Layout and text of runs of rows.
    fn layout(&self, runs: &[(usize, Range<u32>)], schema: &SchemaRef) -> (Layout, Vec<u8>) {
        let mut text = Vec::new();
        csv::render_header(schema, &mut text);
        let mut pieces = Vec::new();
        for (file, rows) in runs {
            let before = text.len();
            csv::render(&self.rows(*file, rows, schema), &mut text, &mut Vec::new())
                .expect("render");
            pieces.push(Piece {
                file: *file as u32,
                first: rows.start,
                rows: rows.end - rows.start,
                bytes: (text.len() - before) as u64,
            });
        }
        let files = self.files.iter().map(|(file, _)| file.path.clone()).collect();
        let columns = columns_digest(schema);
        (Layout { files, pieces, digest: String::new(), columns }, text)
    }

    fn snapshot(&self, layout: &Layout, schema: &SchemaRef) -> Arc<Snapshot> {
        let stored: u64 = self.files.iter().map(|(file, _)| file.rows).sum();
        let shown: u64 = layout.pieces.iter().map(|piece| u64::from(piece.rows)).sum();
        Arc::new(Snapshot {
            table: TableId::parse("a/b/c").expect("id"),
            generation: crate::table::Generation::G4,
            keeps_time: false,
            version: 1,
            path: format!("snapshot {}", layout.pieces.len()),
            committed_ms: 0,
            schema: schema.clone(),
            files: self.files.iter().map(|(file, _)| file.clone()).collect(),
            deletes: Deletes::Rows { parts: vec![], rows: stored - shown },
            previous: None,
            row_id_high_watermark: 0,
            layout: LayoutRef::Missing,
            lineage: Lineage::default(),
            config: TableConfig::default(),
            document: Arc::default(),
        })
    }

    fn views(&self, cache_bytes: u64) -> Views {
        let settings = ViewSettings { cache_bytes, threads: 2, ..ViewSettings::default() };
        Views::new(self.objects.clone(), settings)
    }

    fn open(&self, views: &Views, layout: &Layout, schema: &SchemaRef) -> Arc<CsvView> {
        let layout = Arc::new(layout.clone());
        views.open_layout(&self.snapshot(&layout, schema), &layout).expect("open")
    }
}

fn joined(parts: Vec<Bytes>) -> Vec<u8> {
    parts.iter().flat_map(|part| part.iter().copied()).collect()
}

/// Cuts the rows of all files into runs, leaves some out and shuffles the rest.
fn runs_of(sizes: &[usize], cuts: &[u16], order: &[u16], dropped: u16) -> Vec<(usize, Range<u32>)> {
    let mut runs = Vec::new();
    for (file, size) in sizes.iter().enumerate() {
        let mut borders: Vec<u32> =
            cuts.iter().map(|cut| u32::from(*cut) % (*size as u32 + 1)).collect();
        borders.extend([0, *size as u32]);
        borders.sort_unstable();
        borders.dedup();
        runs.extend(borders.windows(2).map(|two| (file, two[0]..two[1])));
    }
    for (place, other) in order.iter().enumerate() {
        let (place, other) = (place % runs.len(), usize::from(*other) % runs.len());
        runs.swap(place, other);
    }
    let keep = runs.len() - usize::from(dropped) % runs.len();
    runs.truncate(keep);
    runs
}

fn schema_variant(variant: u8) -> SchemaRef {
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    Arc::new(Schema::new(match variant {
        0 => vec![
            field("id", DataType::Int64),
            field("name", DataType::Utf8),
            field("amount", DataType::Float64),
        ],
        // Reordered, one added, one left out.
        1 => vec![
            field("amount", DataType::Float64),
            field("added", DataType::Int64),
            field("id", DataType::Int64),
        ],
        // Widened: integer to float, float to text, another kind of text.
        2 => vec![
            field("name", DataType::LargeUtf8),
            field("id", DataType::Float64),
            field("amount", DataType::Utf8),
        ],
        _ => vec![field("name", DataType::Utf8)],
    }))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_range_of_any_layout_is_the_slice_of_the_naive_text(
        sizes in prop::collection::vec(1_usize..60, 1..4),
        cuts in prop::collection::vec(any::<u16>(), 0..4),
        order in prop::collection::vec(any::<u16>(), 0..8),
        dropped in 0_u16..3,
        kinds in prop::collection::vec(0_u8..3, 4),
        variant in 0_u8..4,
        block_rows in 1_u32..20,
        reads in prop::collection::vec((any::<u16>(), 0_u64..700), 12),
        small_cache in any::<bool>(),
    ) {
        let mut lab = Lab::new();
        for (place, size) in sizes.iter().enumerate() {
            let batch = batch(place as i64 * 1000, *size, place as u64 + 5);
            let bytes = match kinds[place] {
                0 => file_bytes(&batch, 1, block_rows),
                1 => foreign_bytes(&batch, true),
                _ => foreign_bytes(&batch, false),
            };
            lab.add(bytes, batch);
        }
        let schema = schema_variant(variant);
        let (layout, text) = lab.layout(&runs_of(&sizes, &cuts, &order, dropped), &schema);
        let views = lab.views(if small_cache { 3000 } else { 1 << 20 });
        let view = lab.open(&views, &layout, &schema);
        prop_assert_eq!(view.len(), text.len() as u64);
        runtime().block_on(async {
            for (start, len) in reads {
                let start = u64::from(start) % (text.len() as u64 + 10);
                let got = joined(view.read_at(start..start + len).await.expect("read"));
                let end = (start + len).min(text.len() as u64) as usize;
                let start = (start as usize).min(end);
                assert_eq!(got, &text[start..end]);
            }
            let whole = joined(view.read_at(0..u64::MAX).await.expect("read"));
            assert_eq!(whole, text);
            check_rows(&lab, &view, &layout, &schema, &text).await;
            for piece in &layout.pieces {
                let file = &lab.files[piece.file as usize].0;
                let bytes = views.bytes(file, piece.range(), &schema).await.expect("measure");
                assert_eq!(bytes, piece.bytes);
            }
        });
    }
}

/// Rows and offsets find each other, and rows are found where they are stored.
async fn check_rows(lab: &Lab, view: &CsvView, layout: &Layout, schema: &SchemaRef, text: &[u8]) {
    let mut offset = view.header().len() as u64;
    for ordinal in 0..layout.rows() {
        assert_eq!(view.offset_of(ordinal).await.expect("offset"), offset);
        let row = view.row_at(offset).await.expect("row");
        assert_eq!((row.ordinal, row.start), (ordinal, offset));
        assert_eq!(view.row_at(row.end - 1).await.expect("row"), row);
        offset = row.end;
        let located = view.locate(ordinal..ordinal + 1);
        let [(file, rows)] = located.as_slice() else { panic!("one row in one place") };
        let place = lab.files.iter().position(|(known, _)| known == file).expect("known file");
        let mut line = Vec::new();
        csv::render(&lab.rows(place, rows, schema), &mut line, &mut Vec::new()).expect("render");
        assert_eq!(line, &text[row.start as usize..row.end as usize]);
    }
    assert_eq!(offset, view.len());
    assert_eq!(view.offset_of(layout.rows()).await.expect("end"), offset);
    assert_eq!(view.row_at(offset).await.expect_err("behind").kind(), ErrorKind::Invalid);
    assert_eq!(view.row_at(0).await.expect_err("header").kind(), ErrorKind::Invalid);
    let all: u64 = view.locate(0..u64::MAX).iter().map(|(_, rows)| rows.len() as u64).sum();
    assert_eq!(all, layout.rows());
}

/// A view of one file with three rows per block.
fn one_file(rows: usize) -> (Lab, Views, Arc<CsvView>, Vec<u8>) {
    let mut lab = Lab::new();
    let batch = batch(0, rows, 3);
    lab.add(file_bytes(&batch, 1, 100), batch);
    let schema = schema_variant(0);
    let (layout, text) = lab.layout(&[(0, 0..rows as u32)], &schema);
    let views = lab.views(1 << 20);
    let view = lab.open(&views, &layout, &schema);
    (lab, views, view, text)
}

#[test]
fn last_row_is_read_by_decoding_one_block() {
    let (_lab, views, view, text) = one_file(10_000);
    runtime().block_on(async {
        let got = joined(view.read_at(view.len() - 10..view.len()).await.expect("read"));
        assert_eq!(got, &text[text.len() - 10..]);
    });
    assert_eq!(views.stats().blocks_rendered, 1);
}

#[test]
fn concurrent_readers_render_a_block_once() {
    let (_lab, views, view, text) = one_file(10_000);
    runtime().block_on(async {
        let reads = (0..20).map(|_| {
            let view = view.clone();
            tokio::spawn(async move { joined(view.read_at(0..u64::MAX).await.expect("read")) })
        });
        for read in futures::future::join_all(reads).await {
            assert_eq!(read.expect("task"), text);
        }
    });
    assert_eq!(views.stats().blocks_rendered, 100);
}

#[test]
fn sequential_reading_stays_within_the_cache_limit() {
    let mut lab = Lab::new();
    let all = batch(0, 60_000, 3);
    lab.add(file_bytes(&all, 1, 256), all);
    let schema = schema_variant(0);
    let (layout, text) = lab.layout(&[(0, 0..60_000)], &schema);
    let limit = 400_000;
    let views = lab.views(limit);
    let view = lab.open(&views, &layout, &schema);
    runtime().block_on(async {
        let mut offset = 0;
        while offset < view.len() {
            let got = joined(view.read_at(offset..offset + 10_000).await.expect("read"));
            assert_eq!(got, &text[offset as usize..(offset as usize + 10_000).min(text.len())]);
            assert!(views.stats().block_bytes <= limit);
            offset += 10_000;
        }
    });
    // Nothing was rendered and thrown away before it was read.
    assert_eq!(views.stats().blocks_rendered, 60_000_u64.div_ceil(256));
}

#[test]
fn index_of_a_foreign_file_is_made_once_and_found_again_on_disk() {
    let dir = tempfile::tempdir().expect("dir");
    let mut lab = Lab::new();
    let rows = batch(0, 9_000, 3);
    lab.add(foreign_bytes(&rows, false), rows);
    let settings =
        ViewSettings { index_dir: Some(dir.path().join("index")), ..ViewSettings::default() };
    for variant in 0..2 {
        let schema = schema_variant(variant);
        let (layout, text) = lab.layout(&[(0, 10..8_999), (0, 0..5)], &schema);
        let views = Views::new(lab.objects.clone(), settings.clone());
        let view = lab.open(&views, &layout, &schema);
        let got = runtime().block_on(view.read_at(0..u64::MAX)).expect("read");
        assert_eq!(joined(got), text);
        let files = std::fs::read_dir(dir.path().join("index")).expect("dir").count();
        assert_eq!(files, 1, "one index serves all choices of columns");
    }
    for entry in std::fs::read_dir(dir.path().join("index")).expect("dir") {
        std::fs::write(entry.expect("entry").path(), b"damaged").expect("damage");
    }
    let schema = schema_variant(0);
    let (layout, text) = lab.layout(&[(0, 0..9_000)], &schema);
    let views = Views::new(lab.objects.clone(), settings);
    let view = lab.open(&views, &layout, &schema);
    assert_eq!(joined(runtime().block_on(view.read_at(0..u64::MAX)).expect("read")), text);
}

#[test]
fn footer_index_that_was_copied_into_another_file_is_not_believed() {
    let mut lab = Lab::new();
    let (one, other) = (batch(0, 500, 3), batch(0, 500, 11));
    let mine = Bytes::from(file_bytes(&one, 1, 100));
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(mine)
        .expect("reader");
    let entries = reader.metadata().file_metadata().key_value_metadata().cloned();
    let properties = WriterProperties::builder().set_key_value_metadata(entries).build();
    let mut writer =
        ArrowWriter::try_new(Vec::new(), other.schema(), Some(properties)).expect("writer");
    writer.write(&other).expect("write");
    lab.add(writer.into_inner().expect("close"), other);
    let schema = schema_variant(0);
    let (layout, text) = lab.layout(&[(0, 0..500)], &schema);
    let view = lab.open(&lab.views(1 << 20), &layout, &schema);
    assert_eq!(joined(runtime().block_on(view.read_at(0..u64::MAX)).expect("read")), text);
}

#[test]
fn layout_that_contradicts_the_files_is_refused_and_never_shown() {
    let mut lab = Lab::new();
    let rows = batch(0, 50, 3);
    lab.add(file_bytes(&rows, 1, 8), rows);
    let schema = schema_variant(0);
    let (good, _) = lab.layout(&[(0, 3..20), (0, 21..50)], &schema);
    let views = lab.views(1 << 20);
    let mut long = good.clone();
    long.pieces[0].bytes += 1;
    let view = lab.open(&views, &long, &schema);
    let error = runtime().block_on(view.read_at(0..u64::MAX)).expect_err("lengths differ");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let mut behind = good.clone();
    behind.pieces[1].rows += 1;
    let mut columns = good.clone();
    columns.columns = String::new();
    let mut fewer = Arc::unwrap_or_clone(lab.snapshot(&good, &schema));
    fewer.deletes = Deletes::None;
    for (snapshot, layout) in [
        (lab.snapshot(&behind, &schema), behind),
        (lab.snapshot(&columns, &schema), columns),
        (Arc::new(fewer), good),
    ] {
        let fresh = lab.views(1 << 20);
        let error = fresh.open_layout(&snapshot, &Arc::new(layout)).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn empty_table_is_its_header() {
    let lab = Lab::new();
    let schema = schema_variant(0);
    let (layout, text) = lab.layout(&[], &schema);
    let view = lab.open(&lab.views(1 << 20), &layout, &schema);
    assert_eq!(joined(runtime().block_on(view.read_at(0..100)).expect("read")), text);
    assert_eq!((view.rows(), view.len()), (0, text.len() as u64));
    assert_eq!(runtime().block_on(view.offset_of(0)).expect("end"), view.len());
    assert!(view.locate(0..10).is_empty());
}

#[test]
fn damaged_files_are_reported_with_their_path() {
    let mut lab = Lab::new();
    let rows = batch(0, 500, 3);
    let bytes = file_bytes(&rows, 1, 100);
    lab.add(bytes.clone(), rows.clone());
    let schema = schema_variant(0);
    let (layout, _) = lab.layout(&[(0, 0..500)], &schema);
    let path = object_store::path::Path::from("t/data/0.parquet");
    let mut garbled = bytes.clone();
    for byte in &mut garbled[20..400] {
        *byte ^= 0x5a;
    }
    let cut = bytes[..bytes.len() - 7].to_vec();
    let text = vec![b'x'; bytes.len()];
    for damaged in [Some(garbled), Some(cut), Some(text), Some(Vec::new()), None] {
        runtime().block_on(async {
            match damaged {
                Some(bytes) => drop(lab.objects.put(&path, bytes.into()).await.expect("put")),
                None => lab.objects.delete(&path).await.expect("delete"),
            }
        });
        let view = lab.open(&lab.views(1 << 20), &layout, &schema);
        let error = runtime().block_on(view.read_at(0..u64::MAX)).expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("t/data/0.parquet"), "{error}");
    }
}

#[test]
fn scan_gives_all_rows_of_all_runs_in_order() {
    let mut lab = Lab::new();
    let (one, two) = (batch(0, 70_000, 3), batch(100_000, 10, 4));
    lab.add(foreign_bytes(&one, false), one);
    lab.add(file_bytes(&two, 1, 4), two);
    let schema = schema_variant(1);
    let runs = [(0, 5..69_999), (1, 3..9), (0, 0..0), (0, 2..3)];
    let wanted: Vec<RecordBatch> =
        runs.iter().map(|(file, rows)| lab.rows(*file, rows, &schema)).collect();
    let reader = FileReader::new(lab.objects.clone(), 1 << 20);
    let scan = runs.iter().map(|(file, rows)| (lab.files[*file].0.clone(), rows.clone()));
    let scan = reader.scan(scan.collect(), schema.clone());
    let got: Vec<RecordBatch> =
        runtime().block_on(futures::TryStreamExt::try_collect(scan)).expect("scan");
    assert!(got.iter().all(|batch| batch.num_rows() <= 32_768));
    let (got, wanted) = (
        concat_batches(&schema, &got).expect("join"),
        concat_batches(&schema, &wanted).expect("join"),
    );
    assert_eq!(got.num_rows(), wanted.num_rows());
    for (got, wanted) in got.columns().iter().zip(wanted.columns()) {
        assert!(got == wanted, "{:?} {:?}", got.slice(0, 20), wanted.slice(0, 20));
    }
}

//! CSV rendering, parsing, lengths and comparison, beside the writer and reader of arrow-csv.
//!
//! Data: `id int64, name text, amount float64, ts timestamp[us], city text`, 100,000 rows, about
//! 62 bytes of CSV text a row. Unit: bytes of CSV text.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench has no callers and no recovery")]

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use divan::Bencher;
use divan::counter::BytesCount;
use mountable::csv::{self, Hunk, Parser, Text, TypeInference};

mod types;

const ROWS: i64 = 100_000;

fn main() {
    divan::main();
}

/// Values spread by a linear congruence, so that numbers have many digits.
fn batch() -> RecordBatch {
    let spread = |row: i64| row.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
    let cities = ["Berlin", "Lisbon", "Oslo", "New York", "Sao Paulo", "Rome"];
    let rows = || 0..ROWS;
    let names = rows().map(|row| format!("customer-{:07}", spread(row).rem_euclid(9_999_999)));
    #[allow(clippy::cast_precision_loss)]
    let amounts = rows().map(|row| (spread(row).rem_euclid(10_000_000)) as f64 / 100.0);
    let times =
        rows().map(|row| 1_700_000_000_000_000 + spread(row).rem_euclid(31_536_000_000_000));
    let city = rows().map(|row| cities[usize::try_from(spread(row).rem_euclid(6)).unwrap()]);
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("amount", DataType::Float64, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("city", DataType::Utf8, true),
    ]);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(Int64Array::from_iter_values(rows())),
            Arc::new(StringArray::from_iter_values(names)),
            Arc::new(Float64Array::from_iter_values(amounts)),
            Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
            Arc::new(StringArray::from_iter_values(city)),
        ],
    )
    .unwrap()
}

fn text() -> Vec<u8> {
    let mut out = Vec::new();
    csv::render(&batch(), &mut out, &mut Vec::new()).unwrap();
    out
}

fn names(batch: &RecordBatch) -> Vec<String> {
    batch.schema().fields().iter().map(|field| field.name().clone()).collect()
}

#[divan::bench]
fn render(bencher: Bencher<'_, '_>) {
    let batch = batch();
    let (mut out, mut ends) = (Vec::new(), Vec::new());
    bencher.counter(BytesCount::new(text().len())).bench_local(|| {
        out.clear();
        ends.clear();
        csv::render(black_box(&batch), &mut out, &mut ends).unwrap();
    });
}

#[divan::bench]
fn render_arrow_csv(bencher: Bencher<'_, '_>) {
    let batch = batch();
    let mut out = Vec::new();
    bencher.counter(BytesCount::new(text().len())).bench_local(|| {
        out.clear();
        let writer = arrow::csv::WriterBuilder::new().with_header(false);
        writer.build(&mut out).write(black_box(&batch)).unwrap();
    });
}

#[divan::bench]
fn text_bytes(bencher: Bencher<'_, '_>) {
    let batch = batch();
    bencher.counter(BytesCount::new(text().len())).bench_local(|| {
        let columns = black_box(&batch).columns().iter();
        columns
            .map(|column| csv::text_bytes(column.as_ref(), 0..column.len()).unwrap())
            .sum::<u64>()
    });
}

#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    let (batch, text) = (batch(), text());
    let mut parser = Parser::new(&names(&batch), &batch.schema()).unwrap();
    bencher
        .counter(BytesCount::new(text.len()))
        .bench_local(|| parser.parse(black_box(&text), 2).unwrap());
}

#[divan::bench]
fn parse_arrow_csv(bencher: Bencher<'_, '_>) {
    let (batch, text) = (batch(), text());
    bencher.counter(BytesCount::new(text.len())).bench_local(|| {
        let reader = arrow::csv::ReaderBuilder::new(batch.schema());
        let batches = reader.with_batch_size(8_192).build(black_box(&text[..])).unwrap();
        batches.map(|batch| batch.unwrap().num_rows()).sum::<usize>()
    });
}

#[divan::bench]
fn infer(bencher: Bencher<'_, '_>) {
    let (batch, text) = (batch(), text());
    bencher.counter(BytesCount::new(text.len())).bench_local(|| {
        let mut inference = TypeInference::new(&names(&batch));
        inference.observe(black_box(&text));
        inference.finish()
    });
}

struct Memory(Bytes);

impl Text for Memory {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, offset: u64, max: usize) -> mountable::error::Result<Bytes> {
        let start = usize::try_from(offset).unwrap();
        Ok(self.0.slice(start..self.0.len().min(start + max)))
    }
}

fn compare(bencher: Bencher<'_, '_>, edited: Vec<u8>, expected: usize) {
    let (mut base, mut edited) = (Memory(text().into()), Memory(edited.into()));
    bencher.counter(BytesCount::new(edited.0.len())).bench_local(|| {
        let mut hunks = 0;
        csv::diff(&mut base, 0, &mut edited, 0, &mut |_: Hunk| {
            hunks += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(hunks, expected);
    });
}

#[divan::bench]
fn diff_equal(bencher: Bencher<'_, '_>) {
    compare(bencher, text(), 0);
}

/// One line in a hundred is edited.
#[divan::bench]
fn diff_scattered(bencher: Bencher<'_, '_>) {
    let text = text();
    let lines = text.split_inclusive(|byte| *byte == b'\n').enumerate();
    let edited = lines.flat_map(|(row, line)| {
        let mut line = line.to_vec();
        if row % 100 == 50 {
            line.insert(0, b'9');
        }
        line
    });
    compare(bencher, edited.collect(), 1_000);
}

#[divan::bench]
fn diff_everything(bencher: Bencher<'_, '_>) {
    let text = text();
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    compare(bencher, lines.flat_map(|line| [b"9", line].concat()).collect(), 1);
}

//! CSV rendering, parsing, lengths and comparison, beside the writer and reader of arrow-csv.
//!
//! Data: `id int64, name text, amount float64, ts timestamp[us], city text`, 100,000 rows, about
//! 62 bytes of CSV text a row. Unit: bytes of CSV text.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench has no callers and no recovery")]

use std::hint::black_box;

use arrow::array::RecordBatch;
use bytes::Bytes;
use divan::Bencher;
use divan::counter::BytesCount;
use mountable::csv::{self, Hunk, Parser, Text, TypeInference};

#[allow(dead_code, unreachable_pub, reason = "shared by two benches")]
mod types;

use types::table as batch;

fn main() {
    divan::main();
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

//! What a save costs before it is a commit: comparing texts and parsing what changed.
//!
//! Data: 100 MB of CSV text, `id int64, name text, amount float64, ts timestamp[us], city text`,
//! about 62 bytes a row. Unit: bytes of the edited text. Memory: `max alloc` of each line, of
//! which the two texts are no part.
//!
//! Ratios that matter: `compare_equal` against `memcmp`, `parse` against `parse_arrow_csv`; the
//! others have to stay within seconds and tens of megabytes.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench has no callers and no recovery")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher};
use mountable::csv::{self, Hunk, Parser, Text};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const BYTES: usize = 100_000_000;
/// Text that is parsed at a time, as a save does.
const CHUNK_BYTES: usize = 1 << 20;

fn main() {
    divan::main();
}

fn spread(row: u64) -> u64 {
    let mixed = (row ^ (row >> 31)).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(12_345);
    (mixed >> 20) ^ mixed
}

fn text() -> Bytes {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let make = || {
        let cities = ["Berlin", "Lisbon", "Oslo", "New York", "Sao Paulo", "Rome"];
        let mut out = String::with_capacity(BYTES + 128);
        let mut row = 0_u64;
        while out.len() < BYTES {
            let mixed = spread(row);
            let (second, micros) = (mixed / 7 % 60, mixed / 11 % 1_000_000);
            writeln!(
                out,
                "{row},customer-{:07},{}.{},2026-11-21T10:{:02}:{second:02}.{micros:06},{}",
                mixed % 9_999_999,
                mixed % 100_000,
                mixed % 9 + 1,
                mixed % 60,
                cities[usize::try_from(mixed % 6).unwrap()]
            )
            .unwrap();
            row += 1;
        }
        Bytes::from(out)
    };
    TEXT.get_or_init(make).clone()
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// The text with `count` rows changed at places spread by chance.
fn edited(count: u64) -> Vec<u8> {
    let text = text();
    let rows = u64::try_from(lines(&text).len()).unwrap();
    let mut places: Vec<u64> = (0..count).map(|n| spread(n.wrapping_mul(97)) % rows).collect();
    places.sort_unstable();
    places.dedup();
    let mut out = Vec::with_capacity(text.len() + places.len());
    for (row, line) in (0_u64..).zip(lines(&text)) {
        if places.binary_search(&row).is_ok() {
            out.push(b'9');
        }
        out.extend_from_slice(line);
    }
    out
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

/// Compares with the base and returns the records of the edited text that are to be parsed.
fn compare(bencher: Bencher<'_, '_>, edited: Vec<u8>) {
    let (mut base, mut edited) = (Memory(text()), Memory(edited.into()));
    bencher.counter(BytesCount::new(edited.0.len())).bench_local(|| {
        let mut records = 0;
        csv::diff(&mut base, 0, &mut edited, 0, &mut |hunk: Hunk| {
            records += hunk.edited_records;
            Ok(())
        })
        .unwrap();
        records
    });
}

/// The ceiling of every comparison.
#[divan::bench]
fn memcmp(bencher: Bencher<'_, '_>) {
    let (one, other) = (text(), text().to_vec());
    bencher
        .counter(BytesCount::new(one.len()))
        .bench_local(|| black_box(&one[..]) == black_box(&other[..]));
}

#[divan::bench]
fn compare_equal(bencher: Bencher<'_, '_>) {
    compare(bencher, text().to_vec());
}

#[divan::bench]
fn compare_one_row(bencher: Bencher<'_, '_>) {
    compare(bencher, edited(1));
}

#[divan::bench]
fn compare_10_000_scattered_rows(bencher: Bencher<'_, '_>) {
    compare(bencher, edited(10_000));
}

#[divan::bench]
fn compare_every_second_row(bencher: Bencher<'_, '_>) {
    let text = text();
    let change = |(row, line): (usize, &[u8])| {
        if row % 2 == 0 { line.to_vec() } else { [b"9", line].concat() }
    };
    compare(bencher, lines(&text).into_iter().enumerate().flat_map(change).collect());
}

#[divan::bench]
fn compare_every_row(bencher: Bencher<'_, '_>) {
    let text = text();
    compare(bencher, lines(&text).into_iter().flat_map(|line| [b"9", line].concat()).collect());
}

#[divan::bench(sample_count = 5)]
fn compare_reversed(bencher: Bencher<'_, '_>) {
    let text = text();
    compare(bencher, lines(&text).into_iter().rev().collect::<Vec<_>>().concat());
}

/// Sorted by the name, which has nothing to do with the order before.
#[divan::bench(sample_count = 5)]
fn compare_sorted(bencher: Bencher<'_, '_>) {
    let text = text();
    let mut lines = lines(&text);
    lines.sort_by_key(|line| line.iter().position(|byte| *byte == b',').map(|at| &line[at..]));
    compare(bencher, lines.concat());
}

/// The same few rows again and again, with one more at the beginning.
#[divan::bench(sample_count = 5)]
fn compare_repeated_rows(bencher: Bencher<'_, '_>) {
    let block: Vec<u8> = lines(&text()).into_iter().take(10).collect::<Vec<_>>().concat();
    let base = block.repeat(BYTES / block.len());
    let mut changed = b"1,new,1.5,2026-11-21T10:00:00,Oslo\n".to_vec();
    changed.extend_from_slice(&base[block.len()..]);
    let (mut base, mut edited) = (Memory(base.into()), Memory(changed.into()));
    bencher.counter(BytesCount::new(edited.0.len())).bench_local(|| {
        csv::diff(&mut base, 0, &mut edited, 0, &mut |_| Ok(())).unwrap();
    });
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("amount", DataType::Float64, true),
        Field::new("ts", time, true),
        Field::new("city", DataType::Utf8, true),
    ]))
}

#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    let (text, schema) = (text(), schema());
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut parser = Parser::new(&names, &schema).unwrap();
    bencher.counter(BytesCount::new(text.len())).bench_local(|| {
        let (mut at, mut rows) = (0, 0);
        while at < text.len() {
            let end = text.len().min(at + CHUNK_BYTES);
            let end = memchr::memrchr(b'\n', &text[at..end]).unwrap() + at + 1;
            rows += parser.parse(black_box(&text[at..end]), 1).unwrap().num_rows();
            at = end;
        }
        rows
    });
}

#[divan::bench]
fn parse_arrow_csv(bencher: Bencher<'_, '_>) {
    let (text, schema) = (text(), schema());
    bencher.counter(BytesCount::new(text.len())).bench_local(|| {
        let reader = arrow::csv::ReaderBuilder::new(schema.clone()).with_batch_size(8_192);
        let batches = reader.build(black_box(&text[..])).unwrap();
        batches.map(|batch| batch.unwrap().num_rows()).sum::<usize>()
    });
}

//! The targets of the CSV text as ratios: rendering beside the writer of arrow-csv (of arrow-json
//! for nested types, which that refuses), lengths beside rendering, parsing beside the reader,
//! comparing what is unchanged beside memcmp.
//!
//! The sides take turns within milliseconds, so that other work on the machine meets all of them
//! alike; processor time is measured, and the fastest turn of each counts. Arguments are parts of
//! names; `--rounds N` (100).
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a bench program"
)]

use std::hint::black_box;

use arrow::array::RecordBatch;
use bytes::Bytes;
use mountable::csv::{self, Parser, Text};
use rustix::time::{ClockId, clock_gettime};

#[allow(unreachable_pub, reason = "shared by two benches")]
mod types;

/// One thing that is measured: a name and what it does.
type Side<'a> = (&'static str, Box<dyn FnMut() + 'a>);

/// Shortest turn of a side in seconds; a faster one is repeated within its turn.
const TURN: f64 = 500e-6;
/// Text that is compared: more than the caches of a processor hold.
const COMPARED_BYTES: usize = 64 << 20;

struct Options {
    rounds: usize,
    wanted: Vec<String>,
}

impl Options {
    fn read() -> Self {
        let mut options = Self { rounds: 100, wanted: Vec::new() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                // Passed by cargo.
                "--bench" => {}
                "--rounds" => options.rounds = words.next().unwrap().parse().unwrap(),
                _ => options.wanted.push(word),
            }
        }
        options
    }

    fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|word| name.contains(word.as_str()))
    }
}

/// Processor time of this thread, in seconds.
fn now() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    #[allow(clippy::cast_precision_loss)]
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9;
    seconds
}

/// Fastest time of one call of each side.
fn in_turn(rounds: usize, sides: &mut [Side<'_>]) -> Vec<f64> {
    let calls: Vec<f64> = sides
        .iter_mut()
        .map(|(_, run)| {
            run();
            let start = now();
            run();
            (TURN / (now() - start).max(1e-9)).ceil().min(1_000.0)
        })
        .collect();
    let mut best = vec![f64::INFINITY; sides.len()];
    for _ in 0..rounds {
        for ((calls, best), (_, run)) in calls.iter().zip(&mut best).zip(sides.iter_mut()) {
            let (start, mut done) = (now(), 0.0);
            while done < *calls {
                run();
                done += 1.0;
            }
            *best = best.min((now() - start) / calls);
        }
    }
    best
}

/// One line: name, time of ours, of the peer, ratio, target.
fn report(name: &str, ours: f64, peer: f64, target: Option<f64>) {
    let ratio = peer / ours;
    let verdict = match target {
        Some(target) if ratio >= target => format!(">= {target} met"),
        Some(target) => format!(">= {target} MISSED"),
        None => String::new(),
    };
    let (ours, peer) = (ours * 1e6, peer * 1e6);
    println!("{name:<30} {ours:>10.1} us {peer:>10.1} us {ratio:>8.2}  {verdict}");
}

fn lengths(batch: &RecordBatch) -> u64 {
    let columns = batch.columns().iter();
    columns.map(|column| csv::text_bytes(column.as_ref(), 0..column.len()).unwrap()).sum()
}

fn by_arrow(batch: &RecordBatch, out: &mut Vec<u8>) {
    out.clear();
    if batch.columns().iter().any(|column| column.data_type().is_nested()) {
        let mut writer = arrow::json::LineDelimitedWriter::new(out);
        writer.write(batch).unwrap();
        writer.finish().unwrap();
    } else {
        let writer = arrow::csv::WriterBuilder::new().with_header(false);
        writer.build(out).write(batch).unwrap();
    }
}

/// Rendering and measuring one batch.
fn write(name: &str, batch: &RecordBatch, target: f64, rounds: usize) {
    let (mut out, mut ends, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    let nested = batch.columns().iter().any(|column| column.data_type().is_nested());
    let render = || {
        out.clear();
        ends.clear();
        csv::render(black_box(batch), &mut out, &mut ends).unwrap();
    };
    let mut sides: Vec<Side<'_>> = vec![
        ("render", Box::new(render)),
        ("lengths", Box::new(|| assert!(black_box(lengths(black_box(batch))) > 0))),
        ("arrow", Box::new(|| by_arrow(black_box(batch), &mut theirs))),
    ];
    let [render, lengths, arrow] = in_turn(rounds, &mut sides)[..] else { unreachable!() };
    report(&format!("render {name}"), render, arrow, (!nested).then_some(target));
    report(&format!("lengths {name}"), lengths, render, Some(2.0));
}

/// Parsing the text of one batch.
fn read(name: &str, batch: &RecordBatch, rounds: usize) {
    let mut text = Vec::new();
    csv::render(batch, &mut text, &mut Vec::new()).unwrap();
    let schema = batch.schema();
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut parser = Parser::new(&names, &schema).unwrap();
    let arrow = || {
        let reader = arrow::csv::ReaderBuilder::new(schema.clone()).with_batch_size(8_192);
        let batches = reader.build(black_box(&text[..])).unwrap();
        black_box(batches.map(|batch| batch.unwrap().num_rows()).sum::<usize>());
    };
    let ours = || drop(black_box(parser.parse(black_box(&text), 2).unwrap()));
    let mut sides: Vec<Side<'_>> = vec![("parse", Box::new(ours)), ("arrow", Box::new(arrow))];
    let [ours, arrow] = in_turn(rounds, &mut sides)[..] else { unreachable!() };
    report(&format!("parse {name}"), ours, arrow, Some(1.0));
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

/// Comparing a text with itself, elsewhere in memory.
fn compare(name: &str, batch: &RecordBatch, rounds: usize) {
    let mut text = Vec::new();
    csv::render(batch, &mut text, &mut Vec::new()).unwrap();
    let text = text.repeat(COMPARED_BYTES.div_ceil(text.len()));
    let (base, edited) = (Bytes::from(text.clone()), Bytes::from(text));
    let ours = || {
        let (mut base, mut edited) = (Memory(base.clone()), Memory(edited.clone()));
        csv::diff(&mut base, 0, &mut edited, 0, &mut |_| panic!("nothing differs")).unwrap();
    };
    let memcmp = || assert!(black_box(&base[..]) == black_box(&edited[..]));
    let mut sides: Vec<Side<'_>> = vec![("ours", Box::new(ours)), ("memcmp", Box::new(memcmp))];
    let [ours, memcmp] = in_turn(rounds, &mut sides)[..] else { unreachable!() };
    report(&format!("compare {name}"), ours, memcmp, Some(0.33));
}

fn main() {
    let options = Options::read();
    println!("{:<30} {:>13} {:>13} {:>8}  target", "", "ours", "peer", "ratio");
    let table = types::table();
    if options.wants("table") {
        write("table", &table, 4.0, options.rounds);
        read("table", &table, options.rounds);
        compare("table", &table, options.rounds);
    }
    for kind in types::KINDS.iter().filter(|kind| options.wants(kind)) {
        write(kind, &types::batch(kind), 2.0, options.rounds);
    }
}

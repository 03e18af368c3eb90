//! A catalogue of bad input: every mutation of a good text is refused with the errno, the code,
//! the line and the column that it deserves, and the table stays as it was.

use mountable::csv::explain;
use mountable::error::ErrorKind;
use mountable::lake::Refusal;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::support::{Client, Lab};

const HEADER: &str = "id,name,price,day,ok,at";
const ROWS: [&str; 6] = [
    "1,apple,1.5,2026-11-21,true,2026-11-21T10:00:00",
    "2,,-2.25,2026-11-22,false,",
    "3,\"a, b\",0.5,,true,2026-11-21T10:00:00.123456",
    "4,\"two\nlines\",1000.0,1969-12-31,,1970-01-01T00:00:00",
    "5,\"\",,2000-02-29,false,2026-11-21T23:59:59",
    "6,\"\"\"q\"\"\",7.0,2026-01-01,true,2026-11-21T10:00:00",
];

const TYPE: &str = "MNT-1203";
const RANGE: &str = "MNT-1204";
const INEXACT: &str = "MNT-1211";

/// Values that a column does not take: column from 0, text as written, code, value as told.
const CELLS: &[(usize, &str, &str, &str)] = &[
    (0, "x", TYPE, "x"),
    (0, "1.5", INEXACT, "1.5"),
    (0, "--1", TYPE, "--1"),
    (0, "1-", TYPE, "1-"),
    (0, "0x10", TYPE, "0x10"),
    (0, "1 2", TYPE, "1 2"),
    (0, "\"1,000\"", TYPE, "1,000"),
    (0, "NaN", TYPE, "NaN"),
    (0, "true", TYPE, "true"),
    (0, "\"\"", TYPE, ""),
    (0, "\u{0663}", TYPE, "\u{0663}"),
    (0, "9223372036854775808", RANGE, "9223372036854775808"),
    (0, "-9223372036854775809", RANGE, "-9223372036854775809"),
    (0, "1e30", RANGE, "1e30"),
    (0, "1e-3", INEXACT, "1e-3"),
    (0, "NULL", TYPE, "NULL"),
    (2, "abc", TYPE, "abc"),
    (2, "1.2.3", TYPE, "1.2.3"),
    (2, "\"1,5\"", TYPE, "1,5"),
    (2, "1e", TYPE, "1e"),
    (2, "$5", TYPE, "$5"),
    (2, "1_000", TYPE, "1_000"),
    (2, "5%", TYPE, "5%"),
    (2, "1e999", RANGE, "1e999"),
    (2, "\"\"", TYPE, ""),
    (3, "2026-02-30", TYPE, "2026-02-30"),
    (3, "2026-13-01", TYPE, "2026-13-01"),
    (3, "2025-02-29", TYPE, "2025-02-29"),
    (3, "21.11.2026", TYPE, "21.11.2026"),
    (3, "11/21/2026", TYPE, "11/21/2026"),
    (3, "2026-1-2", TYPE, "2026-1-2"),
    (3, "tomorrow", TYPE, "tomorrow"),
    (3, "2026-11-21T10:00:00", TYPE, "2026-11-21T10:00:00"),
    (4, "yes", TYPE, "yes"),
    (4, "1", TYPE, "1"),
    (4, "0", TYPE, "0"),
    (4, "t", TYPE, "t"),
    (4, "truee", TYPE, "truee"),
    (4, "\"\"", TYPE, ""),
    (5, "now", TYPE, "now"),
    (5, "10:00", TYPE, "10:00"),
    (5, "2026-11-21T25:00:00", TYPE, "2026-11-21T25:00:00"),
    (5, "2026-11-21T10:61:00", TYPE, "2026-11-21T10:61:00"),
    (5, "2026-11-21T10:00:00.1234567", INEXACT, "2026-11-21T10:00:00.1234567"),
    (5, "2026-11-31T10:00:00", TYPE, "2026-11-31T10:00:00"),
    (5, "2026-11-21T10:00:00Z", TYPE, "2026-11-21T10:00:00Z"),
    (5, "1764000000", TYPE, "1764000000"),
];

/// Rows that are no rows: name, what becomes of the good row, code, column from 1 (0 = none).
type Spoil = fn(&str) -> Vec<u8>;
const RECORDS: &[(&str, Spoil, &str, u32)] = &[
    ("a field too many", |row| format!("{row},more").into_bytes(), "MNT-1201", 0),
    ("a comma too many", |row| format!("{row},").into_bytes(), "MNT-1201", 0),
    ("two commas in front", |row| format!(",,{row}").into_bytes(), "MNT-1201", 0),
    ("one field only", |_| b"7".to_vec(), "MNT-1201", 0),
    ("nothing", |_| Vec::new(), "MNT-1201", 0),
    ("blanks", |_| b"   ".to_vec(), "MNT-1201", 0),
    ("a comment", |_| b"# note".to_vec(), "MNT-1201", 0),
    ("semicolons", |_| b"7;x;1.5;2026-11-21;true;".to_vec(), "MNT-1201", 0),
    ("tabs", |_| b"7\tx\t1.5\t2026-11-21\ttrue\t".to_vec(), "MNT-1201", 0),
    ("a merge mark", |_| b"<<<<<<< HEAD".to_vec(), "MNT-1201", 0),
    ("text after a quote", |_| b"7,\"a\"b,1.5,,true,".to_vec(), "MNT-1206", 2),
    ("a blank after a quote", |_| b"7,\"a\" ,1.5,,true,".to_vec(), "MNT-1206", 2),
    ("a quote inside", |_| b"7,5\" pipe,1.5,,true,".to_vec(), "MNT-1207", 2),
    ("a quote at the end", |_| b"7,pipe\",1.5,,true,".to_vec(), "MNT-1207", 2),
    ("a backslash for a quote", |_| b"7,\"a\\\"b\",1.5,,true,".to_vec(), "MNT-1206", 2),
    ("latin 1", |_| b"7,caf\xe9,1.5,,true,".to_vec(), "MNT-1208", 0),
    ("half a character", |_| b"7,caf\xc3,1.5,,true,".to_vec(), "MNT-1208", 0),
    ("an overlong character", |_| b"7,\xc0\xaf,1.5,,true,".to_vec(), "MNT-1208", 0),
    ("a surrogate", |_| b"7,\xed\xa0\x80,1.5,,true,".to_vec(), "MNT-1208", 0),
    ("a NUL", |_| b"7,a\0b,1.5,,true,".to_vec(), "MNT-1209", 0),
    ("a NUL in quotes", |_| b"7,\"a\0b\",1.5,,true,".to_vec(), "MNT-1209", 0),
    ("a return", |_| b"7,a\rb,1.5,,true,".to_vec(), "MNT-1210", 0),
    ("two returns", |_| b"7,a,1.5,,true,\r\r".to_vec(), "MNT-1210", 0),
];

/// Headers that are none, with code and column from 1 (0 = none).
const HEADERS: &[(&str, &str, u32)] = &[
    ("id,name,price,day,ok,id", "MNT-1221", 6),
    ("id,name,price,day,name,at", "MNT-1221", 5),
    ("id,name,,day,ok,at", "MNT-1222", 3),
    (",name,price,day,ok,at", "MNT-1222", 1),
    ("id,name,price,day,ok,at,", "MNT-1222", 7),
    ("id,name,price,day,ok,__at", "MNT-1226", 6),
    ("__rowid__,name,price,day,ok,at", "MNT-1226", 1),
    ("id,\"name,price,day,ok,at", "MNT-1225", 0),
    ("id,na\"me,price,day,ok,at", "MNT-1225", 0),
    ("id,\"na\"me,price,day,ok,at", "MNT-1225", 0),
    ("1,2,3,4,5,6", "MNT-1220", 0),
    ("", "MNT-1220", 0),
    ("   ", "MNT-1220", 0),
    ("7,new,1.5,2026-11-21,true,", "MNT-1222", 6),
];

/// What stands around the bad row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dress {
    Lf,
    Crlf,
    /// The last line has no end.
    Open,
    /// A byte order mark before the header.
    Mark,
}

const DRESSES: [Dress; 4] = [Dress::Lf, Dress::Crlf, Dress::Open, Dress::Mark];

fn join(dress: Dress, header: &[u8], rows: &[Vec<u8>]) -> Vec<u8> {
    let ending: &[u8] = if dress == Dress::Crlf { b"\r\n" } else { b"\n" };
    let mut text = if dress == Dress::Mark { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
    text.extend_from_slice(header);
    text.extend_from_slice(ending);
    for (at, row) in rows.iter().enumerate() {
        text.extend_from_slice(row);
        if dress != Dress::Open || at + 1 < rows.len() {
            text.extend_from_slice(ending);
        }
    }
    text
}

fn good_rows() -> Vec<Vec<u8>> {
    ROWS.iter().map(|row| row.as_bytes().to_vec()).collect()
}

fn good() -> String {
    String::from_utf8(join(Dress::Lf, HEADER.as_bytes(), &good_rows())).unwrap()
}

/// Line on which row `at` begins.
fn line_of(at: usize) -> u64 {
    let lines = ROWS[..at].iter().map(|row| 1 + row.matches('\n').count() as u64);
    2 + lines.sum::<u64>()
}

/// Cells of a row as written.
fn cells(row: &str) -> Vec<&str> {
    let (mut cells, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, byte) in row.bytes().enumerate() {
        quoted ^= byte == b'"';
        if byte == b',' && !quoted {
            cells.push(&row[start..at]);
            start = at + 1;
        }
    }
    cells.push(&row[start..]);
    cells
}

#[derive(Debug)]
struct Expected<'a> {
    code: &'a str,
    line: u64,
    column: u32,
    value: Option<&'a str>,
}

struct Bench {
    lab: Lab,
    client: Client,
    cases: usize,
}

impl Bench {
    async fn new() -> Self {
        let lab = Lab::new().await;
        lab.table("t").rows(&good()).await;
        let client = lab.client("a");
        Self { lab, client, cases: 0 }
    }

    async fn last_refusal(&self) -> Refusal {
        let id = Lab::id("t");
        let refusals = self.lab.another_door().refusals(&id, 16).await.unwrap();
        let last = refusals.last().expect("a refusal").attempt.clone();
        refusals.into_iter().find(|refusal| refusal.attempt == last).expect("the first one")
    }

    /// Saves by renaming a new file onto the table.
    async fn check(&mut self, what: &str, text: &[u8], expected: &Expected<'_>) {
        self.cases += 1;
        let file = self.client.create_exclusive("new.tmp").await.unwrap();
        self.client.write_sync(file, 0, text).await.unwrap();
        let refused = self.client.rename("new.tmp", "t.csv").await;
        let shown = String::from_utf8_lossy(text);
        let kind = refused.err().and_then(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::Invalid), "{what}: {shown:?}");
        self.client.remove("new.tmp").await.unwrap();
        let refusal = self.last_refusal().await;
        let place = (refusal.code.as_str(), refusal.line, refusal.column);
        let wanted = (expected.code, expected.line, expected.column);
        assert_eq!(place, wanted, "{what}: {refusal:?} {shown:?}");
        assert_eq!((refusal.errno.as_str(), refusal.file.as_str()), ("EINVAL", "t.csv"), "{what}");
        if let Some(value) = expected.value {
            assert_eq!(refusal.value, value, "{what}");
        }
        if refusal.column > 0 && refusal.line > 1 {
            let name = HEADER.split(',').nth(refusal.column as usize - 1);
            assert_eq!(Some(refusal.column_name.as_str()), name, "{what}");
        }
        assert!(!refusal.reason.is_empty() && !refusal.remedy.is_empty(), "{what}");
        assert!(explain(&refusal.code).is_some(), "{what}");
        assert_eq!(self.lab.engine_csv("t").await, good(), "{what}");
    }

    /// Nothing was committed, and what is repaired is taken.
    async fn finish(self, cases_min: usize) {
        assert!(self.cases >= cases_min, "{} cases", self.cases);
        assert_eq!(self.lab.versions("t").await, 2);
        let mut rows = good_rows();
        rows.push(b"7,new,1.5,,,".to_vec());
        let text = join(Dress::Lf, HEADER.as_bytes(), &rows);
        let text = String::from_utf8(text).unwrap();
        self.client.sed("t.csv", |_| text.clone()).await.unwrap();
        assert_eq!(self.lab.engine_csv("t").await, text);
        assert_eq!(self.lab.staged_files(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_do_not_convert_are_refused_at_their_cell() {
    let mut bench = Bench::new().await;
    for (case, (column, written, code, value)) in CELLS.iter().enumerate() {
        for (at, row) in ROWS.iter().enumerate() {
            for turn in 0..2 {
                let dress = DRESSES[(case + at + 2 * turn) % DRESSES.len()];
                let mut cells = cells(row);
                cells[*column] = written;
                let mut rows = good_rows();
                rows[at] = cells.join(",").into_bytes();
                let text = join(dress, HEADER.as_bytes(), &rows);
                let column = u32::try_from(*column).unwrap() + 1;
                let expected = Expected { code, line: line_of(at), column, value: Some(value) };
                bench.check(&format!("{written} in row {at} {dress:?}"), &text, &expected).await;
            }
        }
    }
    bench.finish(500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_no_records_are_refused_at_their_line() {
    let mut bench = Bench::new().await;
    for (what, spoil, code, column) in RECORDS {
        for (at, row) in ROWS.iter().enumerate() {
            for dress in DRESSES {
                let mut rows = good_rows();
                rows[at] = spoil(row);
                // The last line without an end is no line if it is empty.
                if dress == Dress::Open && at == 5 && rows[at].is_empty() {
                    continue;
                }
                let text = join(dress, HEADER.as_bytes(), &rows);
                let expected = Expected { code, line: line_of(at), column: *column, value: None };
                bench.check(&format!("{what} in row {at} {dress:?}"), &text, &expected).await;
            }
        }
    }
    bench.finish(500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_do_not_fit_are_refused_on_line_one() {
    let mut bench = Bench::new().await;
    for (header, code, column) in HEADERS {
        for dress in DRESSES {
            let text = join(dress, header.as_bytes(), &good_rows());
            let expected = Expected { code, line: 1, column: *column, value: None };
            bench.check(&format!("{header:?} {dress:?}"), &text, &expected).await;
        }
    }
    bench.finish(50).await;
}

/// Two mistakes in one text: the first one of the file is told first, both are recorded.
#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_recorded_and_the_first_one_told() {
    let mut bench = Bench::new().await;
    for (case, (column, written, code, value)) in CELLS.iter().enumerate() {
        let (first, second) = (case % 3, 3 + case % 3);
        let mut rows = good_rows();
        for at in [first, second] {
            let mut cells = cells(ROWS[at]);
            cells[*column] = written;
            rows[at] = cells.join(",").into_bytes();
        }
        let text = join(Dress::Lf, HEADER.as_bytes(), &rows);
        let column = u32::try_from(*column).unwrap() + 1;
        let expected = Expected { code, line: line_of(first), column, value: Some(value) };
        bench.check(written, &text, &expected).await;
        let last = bench.lab.another_door().refusals(&Lab::id("t"), 1).await.unwrap();
        assert_eq!((last[0].line, last[0].column), (line_of(second), column), "{written}");
    }
    bench.finish(40).await;
}

/// Appended rows are judged by themselves; the line is that of the whole file.
#[tokio::test(flavor = "multi_thread")]
async fn appended_rows_are_refused_at_their_line() {
    let bench = Bench::new().await;
    let line = line_of(ROWS.len());
    for (column, written, code, _) in CELLS {
        let mut cells = cells(ROWS[0]);
        cells[*column] = written;
        let row = format!("{}\n", cells.join(","));
        let refused = bench.client.append_cold("t.csv", &row).await;
        let kind = refused.err().and_then(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::Invalid), "{row}");
        let refusal = bench.last_refusal().await;
        let column = u32::try_from(*column).unwrap() + 1;
        let place = (refusal.code.as_str(), refusal.line, refusal.column);
        assert_eq!(place, (*code, line, column), "{row}");
        assert_eq!(bench.lab.engine_csv("t").await, good(), "{row}");
    }
    bench.finish(0).await;
}

/// Any bytes in the place of a row: taken or refused, never half taken.
#[test]
fn arbitrary_bytes_in_a_row_are_taken_or_refused_whole() {
    let cases = std::env::var("PROPERTY_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let bytes = prop::collection::vec(
        prop_oneof![Just(b','), Just(b'"'), Just(b'\n'), Just(b'\r'), Just(b'1'), any::<u8>()],
        0..30,
    );
    let bench = runtime.block_on(Bench::new());
    let outcome = TestRunner::new(config).run(&(bytes, 0..6_usize), |(bytes, at)| {
        runtime.block_on(async {
            let mut rows = good_rows();
            rows[at] = bytes;
            let text = join(Dress::Lf, HEADER.as_bytes(), &rows);
            let file = bench.client.create_exclusive("new.tmp").await.unwrap();
            bench.client.write_sync(file, 0, &text).await.unwrap();
            if bench.client.rename("new.tmp", "t.csv").await.is_err() {
                bench.client.remove("new.tmp").await.unwrap();
            } else {
                bench.client.sed("t.csv", |_| good()).await.unwrap();
            }
            let text = bench.lab.engine_csv("t").await;
            prop_assert_eq!(text, good());
            Ok::<(), TestCaseError>(())
        })
    });
    outcome.unwrap();
}

//! Random tables and random edits of their text: what is saved is what is there, rows that nobody
//! touched stay the same rows, and saving again changes nothing.
//!
//! `PROPERTY_CASES` raises the number of cases; what failed once stands in `regressions`.

use std::collections::HashMap;
use std::sync::Arc;

use mountable::lake::{LayoutRef, Snapshot};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::support::{Client, Lab, principal};

type Row = Vec<String>;

/// The canonical text of a cell of each column; the first column numbers the rows.
fn row() -> impl Strategy<Value = Row> {
    let number = prop_oneof![
        Just(String::new()),
        any::<i64>().prop_map(|number| number.to_string()),
        (0..10_i64).prop_map(|number| number.to_string()),
    ];
    let float = prop_oneof![
        Just(String::new()),
        Just("NaN".to_owned()),
        Just("-inf".to_owned()),
        (-1000..1000_i32).prop_map(|number| format!("{number}.5")),
        (1..1000_i32).prop_map(|number| format!("{number}.0")),
    ];
    let text = prop_oneof![
        Just(String::new()),
        Just("\"\"".to_owned()),
        "[a-z]{1,8}",
        "[a-z\u{e4}\u{20ac}\u{1f600}]{1,5}",
        "[a-z,\n\r]{0,6}".prop_map(|text| format!("\"{text},\"")),
        "[a-z]{0,3}".prop_map(|text| format!("\"{text}\"\"{text}\"")),
        Just("\" spaces \"".to_owned()),
        "[a-z]{60,90}",
    ];
    let moment = prop_oneof![
        Just(String::new()),
        (1..29_u32, 0..24_u32).prop_map(|(d, h)| format!("2026-02-{d:02}T{h:02}:00:00")),
        (0..999_999_u32).prop_map(|us| format!("1969-12-31T23:59:59.{:06}", us / 1000 * 1000 + 1)),
    ];
    let boolean = prop_oneof![Just(""), Just("true"), Just("false")];
    (number, float, text, moment, boolean)
        .prop_map(|(n, f, t, m, b)| vec![n, f, t, m, b.to_owned()])
}

#[derive(Debug, Clone)]
enum Op {
    Delete(prop::sample::Index),
    Insert(prop::sample::Index, Row),
    Change(prop::sample::Index, usize, Row),
    DeleteRun(prop::sample::Index, usize),
    InsertRun(prop::sample::Index, Vec<Row>),
    /// Every row of a stretch gets another cell.
    ChangeRun(prop::sample::Index, usize, Row),
}

fn op() -> impl Strategy<Value = Op> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        2 => at().prop_map(Op::Delete),
        3 => (at(), row()).prop_map(|(at, row)| Op::Insert(at, row)),
        4 => (at(), 0..5_usize, row()).prop_map(|(at, column, row)| Op::Change(at, column, row)),
        1 => (at(), 1..9_usize).prop_map(|(at, count)| Op::DeleteRun(at, count)),
        1 => (at(), prop::collection::vec(row(), 1..9)).prop_map(|(at, rows)| Op::InsertRun(at, rows)),
        1 => (at(), 1..30_usize, row()).prop_map(|(at, count, row)| Op::ChangeRun(at, count, row)),
    ]
}

/// A row with the number that it got when it was made.
#[derive(Debug, Clone)]
struct Line {
    id: u64,
    cells: Row,
}

impl Line {
    fn text(&self) -> String {
        format!("{},{}\n", self.id, self.cells.join(","))
    }
}

#[derive(Debug, Default)]
struct Sheet {
    lines: Vec<Line>,
    next: u64,
}

const HEADER: &str = "id,n,f,t,m,b\n";
/// Gives every column its type.
const FIRST: &str = "0,1,1.5,x,2026-11-21T10:00:00,true\n";

impl Sheet {
    fn insert(&mut self, at: usize, cells: Row) {
        self.next += 1;
        self.lines.insert(at, Line { id: self.next, cells });
    }

    fn text(&self) -> String {
        let mut text = format!("{HEADER}{FIRST}");
        for line in &self.lines {
            text.push_str(&line.text());
        }
        text
    }

    fn apply(&mut self, op: &Op) {
        let count = self.lines.len();
        match op {
            Op::Insert(at, cells) => self.insert(at.index(count + 1), cells.clone()),
            Op::InsertRun(at, rows) => {
                let at = at.index(count + 1);
                for cells in rows.iter().rev() {
                    self.insert(at, cells.clone());
                }
            }
            _ if count == 0 => {}
            Op::Delete(at) => drop(self.lines.remove(at.index(count))),
            Op::DeleteRun(at, run) => {
                let at = at.index(count);
                self.lines.drain(at..count.min(at + run));
            }
            Op::Change(at, column, cells) => {
                self.lines[at.index(count)].cells[*column].clone_from(&cells[*column]);
            }
            Op::ChangeRun(at, run, cells) => {
                let at = at.index(count);
                for line in &mut self.lines[at..count.min(at + run)] {
                    line.cells[0].clone_from(&cells[0]);
                }
            }
        }
    }
}

/// Where each row of a snapshot is stored; a row that stays there keeps its row id and its bytes.
fn places(snapshot: &Snapshot) -> Vec<(Arc<str>, u64)> {
    match &snapshot.layout {
        LayoutRef::Inline(layout) => layout
            .pieces
            .iter()
            .flat_map(|piece| {
                let path = layout.path(piece.file).unwrap().clone();
                piece.range().map(move |row| (path.clone(), u64::from(row)))
            })
            .collect(),
        LayoutRef::Missing => {
            assert_eq!(snapshot.deletes.rows(), 0, "deleted rows need a layout");
            let rows = |file: &mountable::table::DataFile| {
                let path = file.path.clone();
                (0..file.rows).map(move |row| (path.clone(), row))
            };
            snapshot.files.iter().flat_map(rows).collect()
        }
        LayoutRef::Object(path) => panic!("a small layout in {path}"),
    }
}

async fn snapshot(lab: &Lab, table: &str) -> Arc<Snapshot> {
    lab.another_door().latest(&principal("eye"), &Lab::id(table)).await.unwrap()
}

/// How the changed text comes: by a new file or over the old one.
async fn save(client: &Client, table: &str, text: &str, in_place: bool) {
    let name = format!("{table}.csv");
    if in_place {
        client.overwrite(&name, text).await.unwrap();
    } else {
        client.temporary("new.tmp", text).await.unwrap();
        client.rename("new.tmp", &name).await.unwrap();
    }
}

async fn story(
    lab: &Lab,
    table: &str,
    rows: &[Row],
    saves: &[Vec<Op>],
) -> Result<(), TestCaseError> {
    let mut sheet = Sheet::default();
    for cells in rows {
        sheet.insert(sheet.lines.len(), cells.clone());
    }
    lab.table(table).rows(&sheet.text()).await;
    let client = lab.client("a");
    prop_assert_eq!(lab.engine_csv(table).await, sheet.text());
    for ops in saves {
        let before = snapshot(lab, table).await;
        let stored: HashMap<String, _> = std::iter::once(FIRST.to_owned())
            .chain(sheet.lines.iter().map(Line::text))
            .zip(places(&before))
            .collect();
        for op in ops {
            sheet.apply(op);
        }
        save(&client, table, &sheet.text(), false).await;
        prop_assert_eq!(lab.engine_csv(table).await, sheet.text());
        let after = snapshot(lab, table).await;
        let kept = sheet.lines.iter().map(Line::text).zip(places(&after).into_iter().skip(1));
        for (line, place) in kept {
            if let Some(old) = stored.get(&line) {
                prop_assert_eq!(old, &place, "an untouched row moved: {}", line);
            }
        }
        // Again, in both ways.
        save(&client, table, &sheet.text(), false).await;
        save(&client, table, &sheet.text(), true).await;
        let again = snapshot(lab, table).await;
        prop_assert_eq!(&again.path, &after.path, "saving the same text made a version");
    }
    Ok(())
}

fn cases() -> u32 {
    std::env::var("PROPERTY_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(16)
}

#[test]
fn saved_text_is_what_is_there_and_untouched_rows_stay_the_same_rows() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let lab = runtime.block_on(Lab::new());
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let strategy = (
        prop::collection::vec(row(), 0..60),
        prop::collection::vec(prop::collection::vec(op(), 1..6), 1..4),
    );
    let number = std::cell::Cell::new(0_u32);
    let outcome = TestRunner::new(config).run(&strategy, |(rows, saves)| {
        number.set(number.get() + 1);
        runtime.block_on(story(&lab, &format!("t{}", number.get()), &rows, &saves))
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// Rows that mean the same in another spelling are no change, wherever they stand.
#[test]
fn another_spelling_of_the_same_rows_is_no_change() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let lab = runtime.block_on(Lab::new());
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let strategy = (prop::collection::vec(row(), 1..30), any::<prop::sample::Index>());
    let number = std::cell::Cell::new(0_u32);
    let outcome = TestRunner::new(config).run(&strategy, |(rows, at)| {
        number.set(number.get() + 1);
        let table = format!("s{}", number.get());
        runtime.block_on(async {
            let mut sheet = Sheet::default();
            for cells in &rows {
                sheet.insert(sheet.lines.len(), cells.clone());
            }
            lab.table(&table).rows(&sheet.text()).await;
            let before = snapshot(&lab, &table).await;
            let line = &sheet.lines[at.index(sheet.lines.len())];
            let spelled = format!("+{}.0,{}\r\n", line.id, line.cells.join(","));
            let text = sheet.text().replacen(&line.text(), &spelled, 1);
            save(&lab.client("a"), &table, &text, false).await;
            let after = snapshot(&lab, &table).await;
            prop_assert_eq!(&after.path, &before.path);
            prop_assert_eq!(lab.engine_csv(&table).await, sheet.text());
            // The gateway goes on showing what was saved, until the next change.
            let b = lab.client("b");
            prop_assert_eq!(b.cat(&format!("{table}.csv")).await, text);
            let added = "900,,,,,\n";
            lab.foreign_append(&table, added).await;
            prop_assert_eq!(b.cat(&format!("{table}.csv")).await, sheet.text() + added);
            Ok(())
        })
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

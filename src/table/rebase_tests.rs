//! Tests of `rebase`.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::table::edits;
use crate::table::layout::Piece;

fn layout(files: &[(&str, Range<u32>)]) -> Layout {
    let mut layout = Layout::default();
    for (name, rows) in files {
        let file = match layout.files.iter().position(|known| known.as_ref() == *name) {
            Some(file) => file,
            None => {
                layout.files.push((*name).into());
                layout.files.len() - 1
            }
        };
        let file = u32::try_from(file).expect("small");
        layout.pieces.push(Piece {
            file,
            first: rows.start,
            rows: rows.end - rows.start,
            bytes: 1,
        });
    }
    layout
}

fn run(base: &Layout, tip: &Layout, edits: &[Edit], rule: OnConflict) -> Rebased {
    let base_files: HashSet<&str> = base.files.iter().map(AsRef::as_ref).collect();
    let only_deleted = tip.files.iter().all(|file| base_files.contains(file.as_ref()));
    let moved = |_: &str, _: u32| None;
    let old = |file: &str, _: u32| base_files.contains(file);
    let rebase = Rebase { base, tip, old: &old, only_deleted, rule, moved: &moved };
    rebase.run(edits).expect("edits fit the base")
}

fn names(base: &Layout, edits: &[Edit], tip: &Layout, rule: OnConflict) -> String {
    let inserted: u64 = edits.iter().map(|edit| edit.insert).sum();
    let new = layout(&[("n", 0..u32::try_from(inserted).expect("small"))]);
    let Rebased::Moves(moves) = run(base, tip, edits, rule) else { return "conflict".to_owned() };
    let edited = edits::apply(tip, &moves.placed(), &new).expect("fits");
    let mut out = String::new();
    for draft in &edited.drafts {
        let file = &edited.files[usize::try_from(draft.file).expect("index")];
        for row in draft.rows.clone() {
            out += &format!("{file}{row} ");
        }
    }
    out.trim_end().to_owned()
}

fn edit(at: u64, remove: u64, insert: u64) -> Edit {
    Edit { at, remove, insert }
}

#[test]
fn edits_of_other_rows_both_win() {
    let base = layout(&[("a", 0..5)]);
    let tip = layout(&[("a", 0..1), ("x", 0..1), ("a", 2..5), ("x", 1..2)]);
    let rule = OnConflict::Refuse;
    assert_eq!(names(&base, &[edit(3, 1, 1)], &tip, rule), "a0 x0 a2 n0 a4 x1");
    assert_eq!(names(&base, &[edit(Edit::END, 0, 1)], &tip, rule), "a0 x0 a2 a3 a4 x1 n0");
    assert_eq!(names(&base, &[edit(0, 0, 1)], &tip, rule), "n0 a0 x0 a2 a3 a4 x1");
    assert_eq!(names(&base, &[edit(2, 0, 1)], &tip, rule), "a0 n0 x0 a2 a3 a4 x1");
}

#[test]
fn the_same_row_changed_on_both_sides_is_a_conflict() {
    let base = layout(&[("a", 0..3)]);
    let tip = layout(&[("a", 0..1), ("x", 0..1), ("a", 2..3)]);
    let Rebased::Conflict(rows) = run(&base, &tip, &[edit(0, 2, 2)], OnConflict::Refuse) else {
        panic!("expected a conflict");
    };
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].base_row, Some(1));
    assert_eq!(rows[0].reason, ConflictReason::ChangedByOther);
    // A deletion of a row that somebody changed is one, too.
    assert_eq!(names(&base, &[edit(1, 1, 0)], &tip, OnConflict::Refuse), "conflict");
    assert_eq!(names(&base, &[edit(1, 1, 1)], &tip, OnConflict::LastWriterWins), "a0 n0 a2");
}

#[test]
fn a_row_deleted_on_both_sides_is_no_conflict() {
    let base = layout(&[("a", 0..3)]);
    let tip = layout(&[("a", 0..1), ("a", 2..3)]);
    assert_eq!(names(&base, &[edit(1, 2, 0)], &tip, OnConflict::Refuse), "a0");
    assert_eq!(names(&base, &[edit(1, 1, 1)], &tip, OnConflict::Refuse), "conflict");
}

#[test]
fn rows_of_a_file_that_somebody_compacted_are_found_again() {
    let base = layout(&[("a", 0..3), ("b", 0..2)]);
    let tip = layout(&[("c", 0..5)]);
    let old = |_: &str, _: u32| true;
    let moved = |file: &str, row: u32| Some(("c".into(), if file == "a" { row + 2 } else { row }));
    let rebase = Rebase {
        base: &base,
        tip: &tip,
        old: &old,
        only_deleted: false,
        rule: OnConflict::Refuse,
        moved: &moved,
    };
    let edits = [edit(1, 1, 1), edit(4, 1, 0)];
    let Rebased::Moves(moves) = rebase.run(&edits).expect("fits") else { panic!("conflict") };
    let removed: Vec<u64> = moves.deletions.iter().cloned().flatten().collect();
    assert_eq!(removed, [3, 1]);
    assert_eq!(moves.inserts[0], (3, 0..1));
}

proptest! {
    #[test]
    fn edits_of_disjoint_rows_commute(
        rows in 1_u32..12,
        mine in proptest::collection::btree_map(0_u64..12, 0_u64..3, 0..4),
        theirs in proptest::collection::btree_map(0_u64..12, 0_u64..3, 0..4),
    ) {
        let base = layout(&[("a", 0..rows)]);
        let limit = u64::from(rows);
        let own: Vec<Edit> = mine.iter().filter(|(at, _)| **at < limit)
            .map(|(at, insert)| edit(*at, 1, *insert)).collect();
        let other: Vec<Edit> = theirs.iter()
            .filter(|(at, _)| **at < limit && !mine.contains_key(at))
            .map(|(at, insert)| edit(*at, 1, *insert)).collect();
        let inserted: u64 = other.iter().map(|edit| edit.insert).sum();
        let new = layout(&[("x", 0..u32::try_from(inserted).expect("small"))]);
        let direct = direct(&other, limit).expect("fits").placed();
        let edited = edits::apply(&base, &direct, &new).expect("fits");
        let mut tip = Layout { files: edited.files.clone(), ..Layout::default() };
        tip.pieces = edited.drafts.iter().map(|draft| Piece {
            file: draft.file, first: draft.rows.start,
            rows: draft.rows.end - draft.rows.start, bytes: 1,
        }).collect();
        let Rebased::Moves(moves) = run(&base, &tip, &own, OnConflict::Refuse) else {
            panic!("disjoint edits conflict");
        };
        let count: u64 = own.iter().map(|edit| edit.insert).sum();
        let newer = layout(&[("n", 0..u32::try_from(count).expect("small"))]);
        let merged = edits::apply(&tip, &moves.placed(), &newer).expect("fits");
        let total: u64 = merged.drafts.iter()
            .map(|draft| u64::from(draft.rows.end - draft.rows.start)).sum();
        let removed = u64::try_from(own.len() + other.len()).expect("small");
        prop_assert_eq!(total, limit - removed + count + inserted);
        // Each new row stands behind every surviving base row in front of its edit.
        for run in &merged.removed {
            prop_assert_eq!(merged.files[usize::try_from(run.file).expect("index")].as_ref(), "a");
        }
    }
}

#[test]
fn a_disagreement_names_the_rows_of_all_three() {
    let base = layout(&[("a", 0..5)]);
    let tip = layout(&[("a", 0..1), ("x", 0..1), ("a", 3..5)]);
    // Rows 1 and 2 were replaced by one; both are edited, and row 2 is edited alone.
    for (edit, expected) in [
        (edit(1, 2, 2), vec![(1, Some(0), Some(1)), (2, Some(1), None)]),
        (edit(2, 1, 1), vec![(2, Some(0), None)]),
        (edit(1, 2, 0), vec![(1, None, Some(1)), (2, None, None)]),
    ] {
        let Rebased::Conflict(rows) = run(&base, &tip, &[edit], OnConflict::Refuse) else {
            panic!("no conflict")
        };
        let told: Vec<_> =
            rows.iter().map(|row| (row.base_row.unwrap(), row.new_row, row.current_row)).collect();
        assert_eq!(told, expected);
    }
}

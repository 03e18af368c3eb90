//! Tests of the comparison.

use proptest::prelude::*;

use super::*;
use crate::csv::scan::Records;

const SMALL: Reach = Reach { compare: [8, 32], few: 24, windows: [32, 64, 128], sample: 8 };

/// A text in memory that counts what is read of it and may know more than its bytes.
struct Memory<'a> {
    bytes: &'a [u8],
    base: Option<&'a [u8]>,
    knows_records: bool,
    piece: usize,
    read: u64,
}

impl<'a> Memory<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, base: None, knows_records: false, piece: usize::MAX, read: 0 }
    }
}

impl Text for Memory<'_> {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&mut self, offset: u64, max: usize) -> Result<Bytes> {
        let rest = &self.bytes[usize::try_from(offset).unwrap()..];
        let piece = &rest[..rest.len().min(max).min(self.piece)];
        self.read += piece.len() as u64;
        Ok(Bytes::copy_from_slice(piece))
    }

    fn same_as_base(&mut self, offset: u64) -> u64 {
        let at = usize::try_from(offset).unwrap();
        self.base.map_or(0, |base| match (base.get(at..), self.bytes.get(at..)) {
            (Some(base), Some(edited)) => length(equal_bytes(base, edited)),
            _ => 0,
        })
    }

    fn record_start(&mut self, offset: u64) -> Result<Option<u64>> {
        let starts = Records::new(self.bytes).map(|record| record.start as u64);
        Ok(self
            .knows_records
            .then(|| starts.take_while(|start| *start <= offset).last().unwrap_or(0)))
    }
}

fn hunks_of(reach: Reach, base: &mut Memory<'_>, edited: &mut Memory<'_>) -> Vec<Hunk> {
    let mut hunks = Vec::new();
    diff_within(reach, [0, 0], base, edited, &mut |hunk| {
        hunks.push(hunk);
        Ok(())
    })
    .unwrap();
    hunks
}

/// Applies hunks and checks what every caller relies on.
fn apply(base: &[u8], edited: &[u8], hunks: &[Hunk]) -> Vec<u8> {
    let range = |range: &Range<u64>| {
        usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
    };
    let (mut out, mut at, mut last) = (Vec::new(), 0, None);
    for hunk in hunks {
        let (old, new) = (range(&hunk.base), range(&hunk.edited));
        assert!(last.is_none_or(|last| last < old.start), "hunks touch: {hunks:?}");
        assert!(!old.is_empty() || !new.is_empty());
        assert_eq!(Records::new(&base[old.clone()]).count() as u64, hunk.base_records);
        assert_eq!(Records::new(&edited[new.clone()]).count() as u64, hunk.edited_records);
        for (text, place) in [(base, &old), (edited, &new)] {
            for edge in [place.start, place.end] {
                let boundary =
                    edge == text.len() || Records::new(text).any(|record| record.start == edge);
                assert!(boundary, "hunk cuts a record: {hunk:?}");
            }
        }
        out.extend_from_slice(&base[at..old.start]);
        out.extend_from_slice(&edited[new]);
        (at, last) = (old.end, Some(old.end));
    }
    out.extend_from_slice(&base[at..]);
    out
}

#[track_caller]
fn check(base: &str, edited: &str, expected: &[(Range<u64>, Range<u64>)]) {
    for reach in [REACH, SMALL] {
        let (mut one, mut other) = (Memory::new(base.as_bytes()), Memory::new(edited.as_bytes()));
        let hunks = hunks_of(reach, &mut one, &mut other);
        assert_eq!(apply(base.as_bytes(), edited.as_bytes(), &hunks), edited.as_bytes());
        let found: Vec<_> = hunks.into_iter().map(|hunk| (hunk.base, hunk.edited)).collect();
        assert_eq!(found, expected, "{reach:?}");
    }
}

#[test]
fn single_edits_are_single_hunks_of_whole_records() {
    check("", "", &[]);
    check("a\nb\nc\n", "a\nb\nc\n", &[]);
    check("a\nb\nc\n", "a\nB\nc\n", &[(2..4, 2..4)]);
    check("a\nb\nc\n", "a\nc\n", &[(2..4, 2..2)]);
    check("a\nc\n", "a\nb\nc\n", &[(2..2, 2..4)]);
    check("a\n", "a\nb\n", &[(2..2, 2..4)]);
    check("", "a\nb\n", &[(0..0, 0..4)]);
    check("a\nb\n", "", &[(0..4, 0..0)]);
    check("a\nb\n", "x\na\nb\n", &[(0..0, 0..2)]);
}

#[test]
fn a_missing_final_newline_is_a_difference_of_the_last_record_only() {
    check("a\nb", "a\nb", &[]);
    check("a\nb\n", "a\nb", &[(2..4, 2..3)]);
    check("a\nb", "a\nb\n", &[(2..3, 2..4)]);
    check("a\nb", "a\nbc", &[(2..3, 2..4)]);
    check("a\nb", "a\nb\nc", &[(2..3, 2..5)]);
}

#[test]
fn quoted_line_ends_never_split_a_record() {
    check("1,\"x\ny\"\n2\n", "1,\"x\nz\"\n2\n", &[(0..8, 0..8)]);
    check("1\n2\n\"a\nb\"\n", "1\n\"2\n\"\n\"a\nb\"\n", &[(2..4, 2..7)]);
    // An unclosed quote swallows the rest; the equal bytes behind it are not equal records.
    check("1\n2\n3\n", "1\n\"2\n3\n", &[(2..6, 2..7)]);
    check("\"a\"\n", "\"a\"\"\n\"\n", &[(0..4, 0..7)]);
}

#[test]
fn known_equal_ranges_are_not_read() {
    let base: String = (0..20_000).map(|row| format!("{row},some text\n")).collect();
    let edited = base.replacen("\n10000,some", "\n10000,SOME", 1);
    let mut one = Memory::new(base.as_bytes());
    one.knows_records = true;
    let mut other = Memory::new(edited.as_bytes());
    other.base = Some(base.as_bytes());
    let hunks = hunks_of(REACH, &mut one, &mut other);
    assert_eq!(hunks.len(), 1);
    assert_eq!((hunks[0].base_records, hunks[0].edited_records), (1, 1));
    assert!(one.read < 64 * 1024 && other.read < 64 * 1024, "{} {}", one.read, other.read);
}

fn table(rows: impl Iterator<Item = usize>) -> String {
    rows.map(|row| format!("{row},name {row},{}\n", row * 7 % 1_000)).collect()
}

fn shape(base: &str, edited: &str) -> (usize, u64, u64) {
    let (mut one, mut other) = (Memory::new(base.as_bytes()), Memory::new(edited.as_bytes()));
    let hunks = hunks_of(REACH, &mut one, &mut other);
    assert_eq!(apply_fast(base.as_bytes(), edited.as_bytes(), &hunks), edited.as_bytes());
    let removed = hunks.iter().map(|hunk| hunk.base_records).sum();
    (hunks.len(), removed, hunks.iter().map(|hunk| hunk.edited_records).sum())
}

fn apply_fast(base: &[u8], edited: &[u8], hunks: &[Hunk]) -> Vec<u8> {
    let index = |place: u64| usize::try_from(place).unwrap();
    let (mut out, mut at) = (Vec::new(), 0);
    for hunk in hunks {
        out.extend_from_slice(&base[at..index(hunk.base.start)]);
        out.extend_from_slice(&edited[index(hunk.edited.start)..index(hunk.edited.end)]);
        at = index(hunk.base.end);
    }
    out.extend_from_slice(&base[at..]);
    out
}

#[test]
fn large_edits_stay_minimal() {
    let rows = 150_000;
    let base = table(0..rows);
    let scattered: String = base
        .lines()
        .enumerate()
        .map(|(row, line)| if row % 100 == 50 { format!("{line}!\n") } else { format!("{line}\n") })
        .collect();
    assert_eq!(shape(&base, &scattered), (1_500, 1_500, 1_500));
    let cut = table((0..1_000).chain(140_000..rows));
    assert_eq!(shape(&base, &cut), (1, 139_000, 0));
    assert_eq!(shape(&cut, &base), (1, 0, 139_000));
    let moved = table((50_000..rows).chain(0..50_000));
    let (hunks, removed, added) = shape(&base, &moved);
    assert!(hunks <= 3 && removed == added && removed <= 51_000, "{hunks} {removed}");
    let all = base.replace("name", "NAME");
    assert_eq!(shape(&base, &all), (1, 150_000, 150_000));
    let front_and_end = format!("{}{}last\n", table(900_000..1_000_000), base);
    assert_eq!(shape(&base, &front_and_end), (2, 0, 100_001));
}

fn record() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-d]{0,3}\n",
        2 => "\"[a-c\n,]{0,4}\"\n",
        1 => "\"[a-b]\"\"[a-b\n]\",[a-c]\n",
        1 => "[a-c\"\n]{0,3}\n",
    ]
}

#[derive(Debug, Clone)]
enum Edit {
    Change(String),
    Insert(String),
    Remove,
    Swap,
}

fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, Edit)>> {
    let edit = prop_oneof![
        record().prop_map(Edit::Change),
        record().prop_map(Edit::Insert),
        Just(Edit::Remove),
        Just(Edit::Swap),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), edit), 0..8)
}

fn edit(records: &[String], edits: Vec<(prop::sample::Index, Edit)>) -> Vec<String> {
    let mut edited = records.to_vec();
    for (index, change) in edits {
        let at = index.index(edited.len().max(1));
        match change {
            Edit::Change(text) if at < edited.len() => edited[at] = text,
            Edit::Remove if at < edited.len() => drop(edited.remove(at)),
            Edit::Swap if at + 1 < edited.len() => edited.swap(at, at + 1),
            Edit::Insert(text) => edited.insert(at, text),
            _ => {}
        }
    }
    edited
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn applying_the_hunks_gives_the_edited_text(
        records in prop::collection::vec(record(), 0..60),
        edits in edits(),
        cut in 0_usize..3,
        piece in 1_usize..40,
        hints in any::<bool>(),
    ) {
        let base = records.concat();
        let edited = edit(&records, edits).concat();
        let edited = &edited.as_bytes()[..edited.len().saturating_sub(cut)];
        for reach in [REACH, SMALL] {
            let mut one = Memory::new(base.as_bytes());
            let mut other = Memory::new(edited);
            one.piece = piece;
            one.knows_records = hints;
            other.base = hints.then_some(base.as_bytes());
            let hunks = hunks_of(reach, &mut one, &mut other);
            prop_assert_eq!(apply(base.as_bytes(), edited, &hunks), edited);
        }
    }

    #[test]
    fn a_text_does_not_differ_from_itself(records in prop::collection::vec(record(), 0..60)) {
        let text = records.concat();
        for reach in [REACH, SMALL] {
            let mut one = Memory::new(text.as_bytes());
            let mut other = Memory::new(text.as_bytes());
            prop_assert_eq!(hunks_of(reach, &mut one, &mut other), vec![]);
        }
    }

    #[test]
    fn well_formed_edits_cost_no_more_records_than_were_touched(
        rows in 20_usize..200, at in any::<prop::sample::Index>(),
    ) {
        let base = table(0..rows);
        let at = at.index(rows);
        let removed = table((0..rows).filter(|row| *row != at));
        prop_assert_eq!(shape(&base, &removed), (1, 1, 0));
        prop_assert_eq!(shape(&removed, &base), (1, 0, 1));
    }
}

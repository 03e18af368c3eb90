//! Which data files a compaction rewrites.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::CompactSettings;
use crate::table::layout::Layout;
use crate::table::snapshot::{DataFile, Snapshot};

/// A file is rewritten with smaller ones only if it has at most this many times their rows: so a
/// row is rewritten a few times in all, however often its table is appended to.
const TIER: u64 = 2;
/// Rows up to which that does not matter.
const TIER_ROWS: u64 = 4_096;

/// What a file looks like in the order of the rows.
#[derive(Debug, Default, Clone, Copy)]
struct Use {
    live: u64,
    pieces: u64,
}

/// The files to rewrite, all of their live rows each; empty if it is not worth it.
pub(super) fn choose(
    snapshot: &Snapshot,
    layout: &Layout,
    settings: &CompactSettings,
) -> HashSet<Arc<str>> {
    let uses = uses(layout);
    let of = |file: &DataFile| uses.get(file.path.as_ref()).copied().unwrap_or_default();
    let fragmented = layout.pieces.len() > settings.pieces_max;
    let mut wanted: Vec<&DataFile> = Vec::new();
    let mut small: Vec<&DataFile> = Vec::new();
    for file in snapshot.files.iter() {
        let Use { live, pieces } = of(file);
        let dead = file.rows.saturating_sub(live);
        let many = dead.saturating_mul(100) > file.rows.saturating_mul(settings.dead_percent);
        if (many && dead >= settings.dead_min) || (fragmented && pieces > 1) {
            wanted.push(file);
        } else if file.bytes < settings.small_bytes {
            small.push(file);
        }
    }
    small.sort_by_key(|file| of(file).live);
    // The smallest first; a much larger one ends the tier.
    let mut rows: u64 = wanted.iter().map(|file| of(file).live).sum();
    let mut tier: Vec<&DataFile> = Vec::new();
    for file in small {
        let live = of(file).live;
        if live > TIER_ROWS && live > rows.saturating_mul(TIER) {
            break;
        }
        rows += live;
        tier.push(file);
    }
    let few = tier.len() < settings.files_min.max(2);
    // Small files go along with others that are rewritten anyway, as they may lie between them.
    if few && (wanted.is_empty() || !fragmented) {
        tier.clear();
    }
    wanted.extend(tier);
    let mut bytes = 0_u64;
    let mut chosen = HashSet::new();
    for file in wanted {
        bytes = bytes.saturating_add(file.bytes);
        if bytes > settings.bytes_max && !chosen.is_empty() {
            break;
        }
        chosen.insert(Arc::clone(&file.path));
    }
    chosen
}

fn uses(layout: &Layout) -> HashMap<&str, Use> {
    let mut uses: HashMap<&str, Use> = HashMap::new();
    for piece in &layout.pieces {
        let Ok(path) = layout.path(piece.file) else { continue };
        let entry = uses.entry(path.as_ref()).or_default();
        entry.live += u64::from(piece.rows);
        entry.pieces += 1;
    }
    uses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::TableId;
    use crate::table::layout::Piece;
    use crate::table::snapshot::{Deletes, LayoutRef, Lineage, TableConfig};

    /// `(bytes, rows, live)` of each file; live rows lie at the front of their file.
    fn chosen(files: &[(u64, u64, u32)], settings: &CompactSettings) -> Vec<usize> {
        let name = |n: usize| -> Arc<str> { format!("f{n}").into() };
        let list: Vec<DataFile> = files
            .iter()
            .enumerate()
            .map(|(n, (bytes, rows, _))| DataFile {
                path: name(n),
                bytes: *bytes,
                rows: *rows,
                columns: 1,
            })
            .collect();
        let layout = Layout {
            files: list.iter().map(|file| Arc::clone(&file.path)).collect(),
            pieces: (0..)
                .zip(files)
                .map(|(file, (_, _, rows))| Piece { file, first: 0, rows: *rows, bytes: 1 })
                .collect(),
            ..Layout::default()
        };
        let snapshot = Snapshot {
            table: TableId::parse("a/b/c").expect("valid"),
            generation: crate::table::Generation::G4,
            keeps_time: false,
            version: 1,
            path: "p".to_owned(),
            committed_ms: 1,
            schema: Arc::new(arrow::datatypes::Schema::empty()),
            files: list.into(),
            deletes: Deletes::None,
            previous: None,
            row_id_high_watermark: 1,
            layout: LayoutRef::Missing,
            lineage: Lineage::default(),
            config: TableConfig::default(),
            document: Arc::default(),
        };
        let found = choose(&snapshot, &layout, settings);
        (0..files.len()).filter(|n| found.contains(&name(*n))).collect()
    }

    fn settings() -> CompactSettings {
        CompactSettings {
            small_bytes: 1000,
            files_min: 3,
            dead_percent: 20,
            dead_min: 10,
            pieces_max: 100,
            bytes_max: 10_000,
        }
    }

    #[test]
    fn small_files_are_rewritten_when_there_are_enough_of_them() {
        let two = [(10, 1, 1), (5000, 900, 900), (10, 1, 1)];
        assert!(chosen(&two, &settings()).is_empty());
        let three = [(10, 1, 1), (5000, 900, 900), (10, 1, 1), (10, 1, 1)];
        assert_eq!(chosen(&three, &settings()), [0, 2, 3]);
    }

    #[test]
    fn a_file_with_many_dead_rows_is_rewritten_and_one_with_few_is_not() {
        assert_eq!(chosen(&[(5000, 100, 79), (5000, 100, 80)], &settings()), [0]);
        assert!(chosen(&[(5000, 12, 3)], &settings()).is_empty(), "so few are not worth it");
    }

    #[test]
    fn a_small_file_that_is_large_beside_the_others_waits_for_more() {
        let files = [(900, 50_000, 50_000), (10, 1, 1), (10, 1, 1), (10, 1, 1)];
        assert_eq!(chosen(&files, &settings()), [1, 2, 3]);
        let more = [
            (900, 40_000, 40_000),
            (500, 9_000, 9_000),
            (10, 4096, 4096),
            (10, 4096, 4096),
            (10, 4096, 4096),
        ];
        assert_eq!(chosen(&more, &settings()), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_work_of_one_run_is_bounded() {
        let files = [(6000, 100, 50), (6000, 100, 50), (6000, 100, 50)];
        assert_eq!(chosen(&files, &settings()), [0]);
    }

    #[test]
    fn pieces_of_a_torn_layout_are_put_together() {
        let torn = CompactSettings { pieces_max: 1, ..settings() };
        assert!(chosen(&[(5000, 10, 10)], &torn).is_empty(), "one piece is no fragment");
    }
}

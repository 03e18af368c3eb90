//! The directory of offset indexes of files that other software wrote: found again after a restart,
//! bounded in bytes, the ones that were used longest ago go first.
//!
//! A cache: losing it costs time, and nothing here makes a read fail.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};

use crate::csv::{self, OffsetIndex};
use crate::error::Result;
use crate::table::snapshot::DataFile;

/// A draft that is older than this by the clock of the file system was left by a process that died.
const DRAFT_AGE_MAX: Duration = Duration::from_secs(3_600);
const INDEX: &str = "index";
const DRAFT: &str = "draft";

/// The index directory. All calls wait for the disk.
#[derive(Debug)]
pub(super) struct KeptIndexes {
    dir: PathBuf,
    bytes_max: u64,
    /// Bytes written since the directory was last looked through.
    written: AtomicU64,
}

impl KeptIndexes {
    /// The directory may be missing; it is then made with the first index.
    pub(super) fn new(dir: PathBuf, bytes_max: u64) -> Self {
        // The first index that is written finds out how full the directory is.
        Self { dir, bytes_max, written: AtomicU64::new(u64::MAX >> 1) }
    }

    /// The index of a file for the columns with this digest; `None` if there is none, it is damaged
    /// or of a file with another number of rows.
    pub(super) fn read(&self, file: &DataFile, columns: u128) -> Option<OffsetIndex> {
        let place = self.place(file, columns);
        let index = OffsetIndex::decode(&std::fs::read(&place).ok()?).ok()?;
        let none = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: none, last_modification: now };
        // What is used is kept. A directory that cannot be written is of use all the same.
        let _ = utimensat(CWD, &place, &times, AtFlags::empty());
        (index.rows == file.rows).then_some(index)
    }

    /// Keeps an index; written under another name first, so that readers see all of it or nothing.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn write(&self, file: &DataFile, columns: u128, index: &OffsetIndex) -> Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let (place, bytes) = (self.place(file, columns), index.encode());
        let draft = draft_of(&place);
        let written = std::fs::write(&draft, &bytes)
            .and_then(|()| std::fs::metadata(&draft)?.modified())
            .and_then(|time| std::fs::rename(&draft, &place).map(|()| time));
        if written.is_err() {
            let _ = std::fs::remove_file(&draft);
        }
        let now = written?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let since = self.written.fetch_add(length, Ordering::Relaxed).saturating_add(length);
        // Looking through the directory each time would cost more than a little too much in it.
        if since > self.bytes_max / 8 {
            self.written.store(0, Ordering::Relaxed);
            self.clean(&place, now)?;
        }
        Ok(())
    }

    fn place(&self, file: &DataFile, columns: u128) -> PathBuf {
        let mut hasher = blake3::Hasher::new();
        hasher.update(file.path.as_bytes()).update(&file.bytes.to_le_bytes());
        hasher.update(&file.rows.to_le_bytes()).update(&columns.to_le_bytes());
        hasher.update(csv::FOOTER_KEY.as_bytes());
        self.dir.join(format!("{}.{INDEX}", hasher.finalize().to_hex()))
    }

    /// Removes the indexes that were used longest ago until three quarters of the room are left
    /// in use, and drafts that nobody writes any more. `newest` stays.
    fn clean(&self, newest: &Path, now: SystemTime) -> Result<()> {
        let mut found: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            // Another gateway on the same directory may have removed it.
            let Ok(meta) = std::fs::metadata(&path) else { continue };
            let time = meta.modified()?;
            match path.extension().and_then(|end| end.to_str()) {
                Some(INDEX) if path != newest => found.push((time, meta.len(), path)),
                Some(DRAFT) if now.duration_since(time).is_ok_and(|age| age > DRAFT_AGE_MAX) => {
                    let _ = std::fs::remove_file(&path);
                }
                _ => {}
            }
        }
        let mut total: u64 = found.iter().map(|(_, bytes, _)| bytes).sum();
        if total <= self.bytes_max {
            return Ok(());
        }
        found.sort();
        for (_, bytes, path) in found {
            if total <= self.bytes_max / 4 * 3 {
                break;
            }
            let _ = std::fs::remove_file(&path);
            total -= bytes;
        }
        Ok(())
    }
}

/// A name that no other index being written has, in this or another process.
fn draft_of(place: &Path) -> PathBuf {
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    place.with_extension(format!("{}-{number}.{DRAFT}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::ColumnIndex;

    fn file(number: u64) -> DataFile {
        DataFile { path: format!("t/{number}.parquet").into(), bytes: 9, rows: 100, columns: 1 }
    }

    fn index() -> OffsetIndex {
        let bytes = vec![1 << 60; 100];
        let column = ColumnIndex { name: "a".into(), data_type: "Utf8".into(), bytes };
        OffsetIndex { rows: 100, block_rows: 1, columns: vec![column] }
    }

    fn age(kept: &KeptIndexes, number: u64, seconds: i64) {
        let time = Timespec { tv_sec: 1_700_000_000 - seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, kept.place(&file(number), 0), &times, AtFlags::empty()).unwrap();
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let one = u64::try_from(index().encode().len()).unwrap();
        let kept = KeptIndexes::new(dir.path().join("index"), one * 10);
        for number in 0..10 {
            kept.write(&file(number), 0, &index()).unwrap();
            age(&kept, number, i64::try_from(1_000 - number).unwrap());
        }
        assert_eq!(kept.read(&file(0), 0), Some(index()), "used now, the others are older");
        for number in 10..30 {
            kept.write(&file(number), 0, &index()).unwrap();
        }
        let used: u64 = std::fs::read_dir(dir.path().join("index"))
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        // Looked through each time that an eighth of the room was written.
        assert!(used <= one * 12, "{used} bytes");
        assert_eq!(kept.read(&file(1), 0), None);
        assert_eq!(kept.read(&file(29), 0), Some(index()));
    }

    #[test]
    fn an_index_that_was_just_used_outlives_older_ones() {
        let dir = tempfile::tempdir().unwrap();
        let one = u64::try_from(index().encode().len()).unwrap();
        let kept = KeptIndexes::new(dir.path().to_owned(), one * 4);
        for number in 0..4 {
            kept.write(&file(number), 0, &index()).unwrap();
            age(&kept, number, 1_000 - i64::try_from(number).unwrap());
        }
        kept.read(&file(0), 0).unwrap();
        kept.write(&file(4), 0, &index()).unwrap();
        kept.write(&file(5), 0, &index()).unwrap();
        assert_eq!(kept.read(&file(0), 0), Some(index()));
        assert_eq!(kept.read(&file(1), 0), None);
    }

    #[test]
    fn drafts_of_dead_processes_go_and_new_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("a.1-1.draft"), dir.path().join("b.1-1.draft"));
        std::fs::write(&old, "x").unwrap();
        std::fs::write(&new, "x").unwrap();
        let past = Timespec { tv_sec: 1_000, tv_nsec: 0 };
        let times = Timestamps { last_access: past, last_modification: past };
        utimensat(CWD, &old, &times, AtFlags::empty()).unwrap();
        let kept = KeptIndexes::new(dir.path().to_owned(), 1 << 20);
        kept.write(&file(0), 0, &index()).unwrap();
        assert!(!old.exists() && new.exists());
        assert_eq!(kept.read(&file(0), 0), Some(index()));
    }

    #[test]
    fn an_index_of_other_columns_or_rows_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let kept = KeptIndexes::new(dir.path().to_owned(), 1 << 20);
        kept.write(&file(0), 7, &index()).unwrap();
        assert_eq!(kept.read(&file(0), 8), None);
        let longer = DataFile { rows: 101, ..file(0) };
        assert_eq!(kept.read(&longer, 7), None);
        std::fs::write(kept.place(&file(0), 7), "not an index").unwrap();
        assert_eq!(kept.read(&file(0), 7), None);
    }
}

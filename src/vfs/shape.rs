//! Recognises what a staged text is against its base, by bytes alone.

use std::sync::{Arc, PoisonError};

use super::scratch::SharedFile;
use super::slot::Shape;
use super::text::Frozen;
use crate::config::Limits;
use crate::error::Result;
use crate::lake::CsvView;

/// Bytes compared at once.
const STEP: u64 = 1 << 20;

/// Looks at `text`, which is `file` as it is, over `base` (`None` = a new table, or a base that is
/// not below it).
pub(super) async fn shape_of(
    file: &SharedFile,
    text: &Frozen,
    base: Option<&Arc<CsvView>>,
    limits: &Limits,
) -> Result<Shape> {
    let size = text.len();
    let complete = size > 0 && text.content().is_whole() && ends_with_newline(text).await?;
    let Some(base) = base else {
        let doubtful = size == 0;
        return Ok(Shape {
            complete,
            append: false,
            doubtful,
            reaches_end: false,
            in_place: false,
        });
    };
    let header = u64::try_from(base.header().len()).unwrap_or(u64::MAX);
    if !complete {
        // Most writes of a long save end in mid-line; comparing after each would cost the square
        // of the file's size.
        let doubtful = base.rows() > 0 && size <= header;
        return Ok(Shape {
            complete,
            append: false,
            doubtful,
            reaches_end: false,
            in_place: false,
        });
    }
    let unchanged_below = same_extents(file, text, base, base.len().min(size)).await?;
    let shows_base = text.content().base_limit >= base.len() || covers(text, base.len());
    let append = size > base.len() && shows_base && unchanged_below;
    let prefix = size < base.len() && unchanged_below && text.content().is_whole();
    let least = base.len() / 100 * (100 - u64::from(limits.shrink_percent.min(100)));
    let doubtful = base.rows() > 0 && (prefix || size <= header || size < least);
    let same_tail = same_tail(text, base).await?;
    let truncated = text.content().base_limit < base.len();
    Ok(Shape {
        complete,
        append,
        doubtful,
        reaches_end: size >= base.len() || same_tail,
        in_place: !truncated && size == base.len() && same_tail,
    })
}

/// Looks at a text that can only be added to behind its first `saved` bytes.
pub(super) async fn addition(text: &Frozen, saved: u64) -> Result<Shape> {
    let size = text.len();
    let complete = text.content().is_whole() && ends_with_newline(text).await?;
    let append = complete && size > saved;
    Ok(Shape { complete, append, doubtful: false, reaches_end: complete, in_place: false })
}

async fn ends_with_newline(text: &Frozen) -> Result<bool> {
    let size = text.len();
    Ok(text.read_all(size.saturating_sub(1)..size).await?.ends_with(b"\n"))
}

fn covers(text: &Frozen, end: u64) -> bool {
    let content = text.content();
    let shown = content.base_limit.min(end);
    content.extents.covers(shown..end)
}

/// Whether the written parts below `end` equal the base; what is known already is not read again.
async fn same_extents(
    file: &SharedFile,
    text: &Frozen,
    base: &Arc<CsvView>,
    end: u64,
) -> Result<bool> {
    let known = *file.lock().unwrap_or_else(PoisonError::into_inner).compared();
    if known.differs(end) {
        return Ok(false);
    }
    for range in known.unknown(&text.content().extents, end) {
        let mut at = range.start;
        while at < range.end {
            let next = (at + STEP).min(range.end);
            let theirs = base.read_at(at..next).await?.concat();
            let ours = text.read_all(at..next).await?;
            if let Some(place) = ours.iter().zip(&theirs).position(|(a, b)| a != b) {
                let place = at.saturating_add(u64::try_from(place).unwrap_or(0));
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.compared().found_difference(place);
                return Ok(false);
            }
            at = next;
        }
    }
    file.lock().unwrap_or_else(PoisonError::into_inner).compared().found_equal(end);
    // A hole is no part of the base.
    Ok(text.content().is_whole() || text.content().base_limit >= end)
}

/// Whether the text ends with the base's last row.
async fn same_tail(text: &Frozen, base: &Arc<CsvView>) -> Result<bool> {
    let Some(last) = base.rows().checked_sub(1) else { return Ok(true) };
    let start = base.offset_of(last).await?;
    let bytes = base.len() - start;
    let Some(from) = text.len().checked_sub(bytes) else { return Ok(false) };
    let theirs = base.read_at(start..base.len()).await?.concat();
    Ok(text.read_all(from..text.len()).await? == theirs)
}

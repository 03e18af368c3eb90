//! Whether a store keeps the one promise that commits rest on: of several that create an object at
//! the same moment, exactly one does.

use bytes::Bytes;
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::{Objects, delete, error_of, get, layout, object_path};
use crate::clock::{Clock, now_ms, random_hex};
use crate::error::Result;

/// Names that writers compete for.
const ROUNDS: usize = 6;
/// Writers that compete for a name.
const WRITERS: usize = 4;

/// What a probe found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probe {
    /// Rounds in which not exactly one writer was told that it made the object, or in which the
    /// object is not that writer's.
    pub broken_rounds: usize,
    /// Rounds in all.
    pub rounds: usize,
    /// Median time of a put, in microseconds.
    pub put_us: u64,
    /// Milliseconds by which the store's clock is ahead of ours.
    pub clock_ahead_ms: i64,
    /// Probe objects that could not be removed again.
    pub left: Vec<String>,
}

/// Lets writers compete for a few names and removes the objects again.
///
/// # Errors
/// `Denied`, `ReadOnly`, `Full`, `Unavailable` or `Unsupported` if nothing can be written at all.
pub async fn probe(objects: &Objects, clock: &dyn Clock) -> Result<Probe> {
    let mut probe = Probe { rounds: ROUNDS, ..Probe::default() };
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let path = layout::probe(now_ms(clock), &random_hex(clock));
        let before = now_ms(clock);
        let start = clock.monotonic_ns();
        let puts = (0..WRITERS).map(|writer| create(objects, &path, writer));
        let outcomes = futures::future::join_all(puts).await;
        times.push(clock.monotonic_ns().saturating_sub(start) / 1_000);
        let after = now_ms(clock);
        let winners: Vec<usize> = outcomes
            .iter()
            .enumerate()
            .filter_map(|(writer, outcome)| matches!(outcome, Ok(true)).then_some(writer))
            .collect();
        if winners.is_empty()
            && let Some(error) = outcomes.into_iter().find_map(Result::err)
        {
            return Err(error);
        }
        // And one that comes later, when everything has settled.
        let late = create(objects, &path, WRITERS).await.unwrap_or(false);
        let stands = get(objects, &path).await?;
        let [winner] = winners.as_slice() else {
            probe.broken_rounds += 1;
            remove(objects, path, &mut probe).await;
            continue;
        };
        if late || stands != Some(content(*winner)) {
            probe.broken_rounds += 1;
        }
        if let Ok(meta) = objects.head(&object_path(&path)?).await {
            let there = meta.last_modified.timestamp_millis();
            // Stores tell whole seconds; anything within the put is as good as equal.
            let near = there.clamp(before.saturating_sub(1_000), after);
            probe.clock_ahead_ms = there.saturating_sub(near);
        }
        remove(objects, path, &mut probe).await;
    }
    times.sort_unstable();
    probe.put_us = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok(probe)
}

fn content(writer: usize) -> Bytes {
    Bytes::from(format!("a probe of `mountable doctor`, writer {writer}; remove it"))
}

/// `true` if this writer made the object; the store's plain answer, without finding out more.
async fn create(objects: &Objects, path: &str, writer: usize) -> Result<bool> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let payload = PutPayload::from_bytes(content(writer));
    match objects.put_opts(&object_path(path)?, payload, options).await {
        Ok(_) => Ok(true),
        Err(
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. },
        ) => Ok(false),
        Err(error) => Err(error_of(error, "write object", path)),
    }
}

async fn remove(objects: &Objects, path: String, probe: &mut Probe) {
    if delete(objects, &path).await.is_err() {
        probe.left.push(path);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::{LocalStore, list};

    #[tokio::test]
    async fn sound_stores_are_found_sound_and_left_as_they_were() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let local = LocalStore::open(directory.path()).expect("opens");
        for objects in [Arc::new(local) as Objects, Arc::new(InMemory::new())] {
            let probe = probe(&objects, &SystemClock).await.expect("probe");
            assert_eq!((probe.broken_rounds, probe.rounds), (0, ROUNDS), "{objects}");
            assert!(probe.clock_ahead_ms.abs() < 1_000, "{objects}: {probe:?}");
            assert_eq!(probe.left, Vec::<String>::new());
            assert!(list(&objects, ".mountable").await.expect("list").is_empty());
        }
    }
}

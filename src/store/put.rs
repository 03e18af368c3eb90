//! Writes whose outcome is known: a create-only put that survives lost answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::Objects;
use super::cloud::UniqueName;
use super::read::{error_of, get, object_path};
use crate::clock::{SharedClock, SystemClock};
use crate::error::{Error, ErrorKind, Result};

/// What became of a create-only put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum PutCreate {
    /// The object is there with exactly the given bytes, and this call (or an earlier attempt of
    /// it) made it.
    Created,
    /// The name was taken by other bytes; nothing was changed.
    Exists,
}

/// How often and how fast a write is repeated.
#[derive(Debug, Clone)]
pub struct Retries {
    /// Gives the waiting time.
    pub clock: SharedClock,
    /// Attempts in all.
    pub attempts: u32,
    /// Waiting time before the second attempt; doubled before each further one.
    pub first_delay: Duration,
}

impl Retries {
    /// Four attempts within about a third of a second; stores of clouds retry on their own
    /// within each attempt.
    pub fn standard(clock: SharedClock) -> Self {
        Self { clock, attempts: 4, first_delay: Duration::from_millis(50) }
    }

    async fn wait(&self, attempt: u32) {
        let factor = 1_u32.checked_shl(attempt.min(16)).unwrap_or(1);
        self.clock.sleep(self.first_delay.saturating_mul(factor)).await;
    }
}

/// Creates an object under a name that must be free ([`put_create_with`] on the system clock).
///
/// # Errors
/// As [`put_create_with`].
pub async fn put_create(objects: &Objects, path: &str, bytes: Bytes) -> Result<PutCreate> {
    put_create_with(objects, path, bytes, &Retries::standard(Arc::new(SystemClock))).await
}

/// As [`put_create`], under a name that nobody else can have because it holds enough chance: a
/// store in a cloud may take a large object in parts, which no condition protects.
///
/// # Errors
/// As [`put_create_with`].
pub async fn put_unique(
    objects: &Objects,
    path: &str,
    bytes: Bytes,
    retries: &Retries,
) -> Result<PutCreate> {
    let mut options = PutOptions::from(PutMode::Create);
    options.extensions.insert(UniqueName);
    put(objects, path, bytes, retries, options).await
}

/// Creates an object under a name that must be free. After a lost answer the name is read to find
/// out whether the put happened: the same bytes mean that it did, so the bytes should hold
/// something unique (a commit id) where it matters who wrote them.
///
/// # Errors
/// `Unknown` if it could not be found out whether the object was created; the caller must look
/// again before it repeats or undoes anything. `Full`, `Denied`, `ReadOnly`, `Invalid`,
/// `Unsupported` and `TooLarge`: nothing was created.
pub async fn put_create_with(
    objects: &Objects,
    path: &str,
    bytes: Bytes,
    retries: &Retries,
) -> Result<PutCreate> {
    put(objects, path, bytes, retries, PutMode::Create.into()).await
}

async fn put(
    objects: &Objects,
    path: &str,
    bytes: Bytes,
    retries: &Retries,
    options: PutOptions,
) -> Result<PutCreate> {
    let location = object_path(path)?;
    let mut last = None;
    for attempt in 0..retries.attempts.max(1) {
        let payload = PutPayload::from_bytes(bytes.clone());
        let error = match objects.put_opts(&location, payload, options.clone()).await {
            Ok(_) => return Ok(PutCreate::Created),
            Err(error) => error_of(error, "create object", path),
        };
        if !is_open(error.kind()) {
            return Err(error);
        }
        let taken = error.kind() == ErrorKind::AlreadyExists;
        last = Some(error);
        // The name is taken, perhaps by an attempt of ours whose answer was lost, or the outcome
        // is open: only the object itself can tell. Our own bytes count only once the store has
        // said that the name is taken, because it then vouches that the object will stay.
        match get(objects, path).await {
            Ok(Some(found)) if found != bytes => return Ok(PutCreate::Exists),
            Ok(Some(_)) if taken => return Ok(PutCreate::Created),
            Ok(_) => {}
            Err(error) => last = Some(error),
        }
        if attempt.saturating_add(1) < retries.attempts {
            retries.wait(attempt).await;
        }
    }
    // A request that is still under way somewhere may land after the last look.
    let mut unknown =
        Error::new(ErrorKind::Unknown, "create object: outcome is not known").with("path", path);
    if let Some(cause) = last {
        unknown = unknown.caused_by(cause);
    }
    Err(unknown)
}

/// Whether the put may have happened, or somebody else's did.
fn is_open(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::AlreadyExists
        | ErrorKind::Conflict
        | ErrorKind::NotFound
        | ErrorKind::Unavailable
        | ErrorKind::Busy
        | ErrorKind::Corrupt
        | ErrorKind::Unknown
        | ErrorKind::Internal => true,
        ErrorKind::Denied
        | ErrorKind::ReadOnly
        | ErrorKind::Invalid
        | ErrorKind::Full
        | ErrorKind::TooLarge
        | ErrorKind::Unsupported => false,
    }
}

/// Writes an object whether it exists or not. Only for the few that are meant to change: the
/// stub that vacuum puts in place of an old snapshot.
///
/// # Errors
/// `Unavailable`, `Full`, `Denied`, `ReadOnly`, `Invalid`.
pub async fn put_overwrite(objects: &Objects, path: &str, bytes: Bytes) -> Result<()> {
    objects
        .put(&object_path(path)?, PutPayload::from_bytes(bytes))
        .await
        .map(|_| ())
        .map_err(|error| error_of(error, "write object", path))
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::clock::ManualClock;
    use crate::store::fault::{Call, Fault, FaultStore};

    fn faulty() -> (Arc<FaultStore>, Objects, Retries) {
        let store = Arc::new(FaultStore::new(Arc::new(InMemory::new())));
        let retries = Retries::standard(Arc::new(ManualClock::new(0, 1)));
        (Arc::clone(&store), store, retries)
    }

    async fn create(objects: &Objects, retries: &Retries, text: &'static str) -> Result<PutCreate> {
        put_create_with(objects, "a/b", Bytes::from_static(text.as_bytes()), retries).await
    }

    #[tokio::test]
    async fn a_taken_name_is_kept_and_the_same_bytes_count_as_created() {
        let (_, objects, retries) = faulty();
        assert_eq!(create(&objects, &retries, "one").await.expect("put"), PutCreate::Created);
        assert_eq!(create(&objects, &retries, "two").await.expect("put"), PutCreate::Exists);
        assert_eq!(create(&objects, &retries, "one").await.expect("put"), PutCreate::Created);
        assert_eq!(get(&objects, "a/b").await.expect("get").as_deref(), Some(&b"one"[..]));
    }

    #[tokio::test]
    async fn a_lost_answer_is_resolved_by_reading_the_name() {
        let (store, objects, retries) = faulty();
        store.inject(Call::Put, 1, Fault::After);
        assert_eq!(create(&objects, &retries, "one").await.expect("put"), PutCreate::Created);
        assert_eq!(store.calls(Call::Put), 2);
    }

    #[tokio::test]
    async fn a_put_that_did_not_happen_is_repeated() {
        let (store, objects, retries) = faulty();
        store.inject(Call::Put, 1, Fault::Before);
        assert_eq!(create(&objects, &retries, "one").await.expect("put"), PutCreate::Created);
        assert_eq!(store.calls(Call::Put), 2);
    }

    #[tokio::test]
    async fn an_outcome_that_cannot_be_found_out_is_unknown() {
        let (store, objects, retries) = faulty();
        store.inject_all(Call::Put, Fault::After);
        store.inject_all(Call::Get, Fault::Before);
        let error = create(&objects, &retries, "one").await.expect_err("unknown");
        assert_eq!(error.kind(), ErrorKind::Unknown);
    }
}

//! The only sources of time and chance; everything else gets them handed in.
//!
//! Tests and the simulation replace them; `clippy.toml` forbids the originals elsewhere.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;

/// Time and random numbers.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Wall-clock time in nanoseconds since 1970 (UTC). For display and names only: no decision
    /// of the commit protocol rests on it.
    fn now_ns(&self) -> i64;
    /// Time that never goes back, in nanoseconds since an arbitrary start; it goes on while the
    /// machine sleeps (CLOCK_BOOTTIME where there is one).
    fn monotonic_ns(&self) -> u64;
    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
    /// Completes after `duration`, for a loop in the background. Unlike [`sleep`](Self::sleep) it
    /// must not move a clock that moves only when it is slept on: the loop would drive it ahead.
    #[allow(clippy::disallowed_methods, reason = "paced by the runtime")]
    fn pace(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
    /// 64 random bits.
    fn random(&self) -> u64;
}

/// A shared clock.
pub type SharedClock = Arc<dyn Clock>;

/// Milliseconds since 1970 (UTC).
pub fn now_ms(clock: &dyn Clock) -> i64 {
    clock.now_ns().div_euclid(1_000_000)
}

/// `2026-11-21T10:00:00.123Z` of nanoseconds since 1970.
pub fn rfc3339(ns: i64) -> String {
    let time = chrono::DateTime::from_timestamp_nanos(ns);
    time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

/// 16 random hexadecimal digits.
pub fn random_hex(clock: &dyn Clock) -> String {
    format!("{:016x}", clock.random())
}

/// The operating system's clock and random numbers.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now_ns(&self) -> i64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_nanos()).ok())
            .unwrap_or_default()
    }

    fn monotonic_ns(&self) -> u64 {
        #[cfg(target_os = "linux")]
        let id = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let id = rustix::time::ClockId::Monotonic;
        let time = rustix::time::clock_gettime(id);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    }

    #[allow(clippy::disallowed_methods, reason = "the one place that sleeps")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn random(&self) -> u64 {
        rand::random()
    }
}

/// A clock for tests: time moves only when told to, random numbers follow a seed.
#[derive(Debug)]
pub struct ManualClock {
    now_ns: AtomicI64,
    slept_ns: AtomicU64,
    random: AtomicU64,
}

impl ManualClock {
    /// Starts at `now_ms` since 1970 with the given seed.
    pub fn new(now_ms: i64, seed: u64) -> Self {
        Self {
            now_ns: AtomicI64::new(now_ms.saturating_mul(1_000_000)),
            slept_ns: AtomicU64::new(0),
            random: AtomicU64::new(seed),
        }
    }

    /// Moves both clocks on.
    pub fn advance(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.now_ns.fetch_add(i64::try_from(nanos).unwrap_or(i64::MAX), Ordering::SeqCst);
        self.slept_ns.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ns(&self) -> i64 {
        self.now_ns.load(Ordering::SeqCst)
    }

    fn monotonic_ns(&self) -> u64 {
        self.slept_ns.load(Ordering::SeqCst)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.advance(duration);
        Box::pin(tokio::task::yield_now())
    }

    fn random(&self) -> u64 {
        // splitmix64: good enough to be unique, and the same for the same seed.
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

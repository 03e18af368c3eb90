//! The duplicate-request cache: a call that a client sends again is answered as the first time
//! and has no second effect.
//!
//! Calls are told apart by peer address, xid, procedure and a hash of who calls and of all
//! argument bytes; the port is not part of it, because a client that reconnects to send a call
//! again may come from another one. A repetition of a call that is still running waits for its
//! reply. Kept replies are bounded in number and age.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::reply::Reply;
use crate::clock::SharedClock;

/// How long a reply is kept at most: longer than clients keep trying one connection after the
/// other, short enough that a client that counts its xids from 1 at every start meets none of
/// its earlier life.
const AGE_MAX: Duration = Duration::from_secs(10 * 60);

/// Tells one call from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CallKey {
    pub(super) peer: IpAddr,
    pub(super) xid: u32,
    pub(super) procedure: u32,
    /// Hash of the caller and the arguments.
    pub(super) digest: [u8; 16],
}

type Outcome = watch::Receiver<Option<Reply>>;

#[derive(Debug)]
struct Entry {
    number: u64,
    since_ns: u64,
    outcome: Outcome,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<CallKey, Entry>,
    /// Oldest first; an entry whose number differs has been replaced.
    order: VecDeque<(CallKey, u64)>,
    next: u64,
}

/// The cache.
#[derive(Debug)]
pub(super) struct ReplyCache {
    clock: SharedClock,
    capacity: usize,
    entries: Mutex<Entries>,
}

/// What to do with a call.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Execute it and hand the reply to the ticket.
    Execute(Ticket),
    /// Send this.
    Replay(Reply),
}

/// The duty to answer a call that repetitions wait for.
#[derive(Debug)]
pub(super) struct Ticket {
    cache: Arc<ReplyCache>,
    key: CallKey,
    number: u64,
    outcome: watch::Sender<Option<Reply>>,
    kept: bool,
}

impl ReplyCache {
    pub(super) fn new(clock: SharedClock, capacity: usize) -> Arc<Self> {
        Arc::new(Self { clock, capacity, entries: Mutex::default() })
    }

    /// Looks a call up; waits if it is being executed.
    pub(super) async fn begin(self: &Arc<Self>, key: CallKey) -> Verdict {
        loop {
            let mut outcome = match self.enter(key) {
                Ok(ticket) => return Verdict::Execute(ticket),
                Err(outcome) => outcome,
            };
            // The execution was given up if the sender is gone: this call takes its place.
            if let Ok(reply) = outcome.wait_for(Option::is_some).await
                && let Some(reply) = reply.clone()
            {
                return Verdict::Replay(reply);
            }
        }
    }

    fn enter(self: &Arc<Self>, key: CallKey) -> Result<Ticket, Outcome> {
        let now = self.clock.monotonic_ns();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        self.expire(&mut entries, now);
        if let Some(entry) = entries.by_key.get(&key) {
            return Err(entry.outcome.clone());
        }
        let (sender, outcome) = watch::channel(None);
        let number = entries.next;
        entries.next += 1;
        entries.by_key.insert(key, Entry { number, since_ns: now, outcome });
        entries.order.push_back((key, number));
        Ok(Ticket { cache: Arc::clone(self), key, number, outcome: sender, kept: false })
    }

    /// Forgets what is too old or too much. Calls that are running are never forgotten; they are
    /// bounded by the limit on requests.
    fn expire(&self, entries: &mut Entries, now: u64) {
        let age_max = u64::try_from(AGE_MAX.as_nanos()).unwrap_or(u64::MAX);
        let mut running = 0;
        while let Some((key, number)) = entries.order.front().copied() {
            let Some(entry) = entries.by_key.get(&key).filter(|entry| entry.number == number)
            else {
                entries.order.pop_front();
                continue;
            };
            let old = now.saturating_sub(entry.since_ns) > age_max;
            if (!old && entries.order.len() < self.capacity) || running == entries.order.len() {
                break;
            }
            entries.order.pop_front();
            if entry.outcome.borrow().is_none() {
                running += 1;
                entries.order.push_back((key, number));
            } else {
                entries.by_key.remove(&key);
            }
        }
    }

    /// Number of calls known.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).by_key.len()
    }
}

impl Ticket {
    /// Keeps the reply and wakes the repetitions that wait for it.
    pub(super) fn keep(mut self, reply: &Reply) {
        self.kept = true;
        self.outcome.send_replace(Some(reply.clone()));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let mut entries = self.cache.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.by_key.get(&self.key).is_some_and(|entry| entry.number == self.number) {
            entries.by_key.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use nfs3_types::rpc::accept_stat;

    fn key(xid: u32) -> CallKey {
        CallKey { peer: IpAddr::from([127, 0, 0, 1]), xid, procedure: 8, digest: [0; 16] }
    }

    fn reply(xid: u32) -> Reply {
        Reply::not_executed(xid, accept_stat::SYSTEM_ERR)
    }

    fn bytes(reply: Reply) -> Vec<u8> {
        reply.into_parts().flatten().collect()
    }

    fn cache(capacity: usize) -> (Arc<ManualClock>, Arc<ReplyCache>) {
        let clock = Arc::new(ManualClock::new(0, 1));
        (Arc::clone(&clock), ReplyCache::new(clock, capacity))
    }

    async fn run(cache: &Arc<ReplyCache>, xid: u32) {
        match cache.begin(key(xid)).await {
            Verdict::Execute(ticket) => ticket.keep(&reply(xid)),
            Verdict::Replay(_) => panic!("call {xid} is new"),
        }
    }

    #[tokio::test]
    async fn repetition_gets_the_first_reply() {
        let (_, cache) = cache(8);
        run(&cache, 1).await;
        match cache.begin(key(1)).await {
            Verdict::Replay(again) => assert_eq!(bytes(again), bytes(reply(1))),
            Verdict::Execute(_) => panic!("executed twice"),
        }
        run(&cache, 2).await;
    }

    #[tokio::test]
    async fn repetition_of_a_running_call_waits_for_it() {
        let (_, cache) = cache(8);
        let Verdict::Execute(ticket) = cache.begin(key(1)).await else { panic!("new call") };
        let waiting = tokio::spawn({
            let cache = Arc::clone(&cache);
            async move { cache.begin(key(1)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        ticket.keep(&reply(1));
        assert!(matches!(waiting.await.unwrap(), Verdict::Replay(_)));
    }

    #[tokio::test]
    async fn repetition_takes_over_a_call_that_was_given_up() {
        let (_, cache) = cache(8);
        let Verdict::Execute(ticket) = cache.begin(key(1)).await else { panic!("new call") };
        let waiting = tokio::spawn({
            let cache = Arc::clone(&cache);
            async move { matches!(cache.begin(key(1)).await, Verdict::Execute(_)) }
        });
        tokio::task::yield_now().await;
        drop(ticket);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn oldest_replies_go_first_and_running_calls_stay() {
        let (_, cache) = cache(4);
        let Verdict::Execute(running) = cache.begin(key(0)).await else { panic!("new call") };
        for xid in 1..100 {
            run(&cache, xid).await;
        }
        assert!(cache.len() <= 5, "{}", cache.len());
        assert!(matches!(cache.begin(key(99)).await, Verdict::Replay(_)));
        run(&cache, 1).await;
        running.keep(&reply(0));
        assert!(matches!(cache.begin(key(0)).await, Verdict::Replay(_)));
    }

    #[tokio::test]
    async fn replies_are_forgotten_with_age() {
        let (clock, cache) = cache(8);
        run(&cache, 1).await;
        clock.advance(AGE_MAX + Duration::from_secs(1));
        run(&cache, 1).await;
    }
}

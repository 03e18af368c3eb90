//! Virtual time. Every call of a gateway to its store, its catalogue or its clock is an event; the
//! driver lets one event happen at a time and waits until all that follows from it has come to
//! rest, so that a seed decides everything.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::hash::Hasher;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use mountable::clock::Clock;
use tokio::sync::{Notify, oneshot};

/// Random numbers of a seed (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x5bd1_e995_9d1b_54a5)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True in `per_mille` of a thousand cases.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It happens and is answered.
    Happens,
    /// Nothing happens, and it is answered with an error.
    FailsBefore,
    /// It happens and its answer is lost.
    FailsAfter,
    /// Its answer is an error, and it happens much later.
    Late,
    /// The gateway dies before it.
    CrashesBefore,
    /// It happens, and the gateway dies before it hears of it.
    CrashesAfter,
    /// It happens after a pause longer than a lock lives.
    Pauses,
}

/// How often things go wrong, per mille of calls.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) before: u64,
    pub(crate) after: u64,
    pub(crate) late: u64,
    /// Pauses longer than a lock lives.
    pub(crate) pauses: u64,
    /// Changes of a gateway's wall clock, up to ten years.
    pub(crate) jumps: u64,
    /// Roll-backs of the catalogue.
    pub(crate) roll_backs: u64,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) calls: u64,
    pub(crate) failed: u64,
    pub(crate) pauses: u64,
    pub(crate) jumps: u64,
    pub(crate) roll_backs: u64,
    pub(crate) crashes: u64,
}

struct Waiting {
    at: u64,
    number: u64,
    wake: oneshot::Sender<()>,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for Waiting {}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

struct Inner {
    now: u64,
    number: u64,
    queue: BinaryHeap<Reverse<Waiting>>,
    dice: Dice,
    weather: Weather,
    tally: Tally,
    digest: std::hash::DefaultHasher,
    /// Calls until one fails, and how; counts only these.
    nth: Option<(u64, Fate)>,
    log: Vec<String>,
    logs: bool,
}

/// How long a call that pauses is held up: a lock lives 30 seconds.
const PAUSE: Duration = Duration::from_secs(100);

/// The world of one seed.
#[derive(Clone)]
pub(crate) struct World {
    inner: Arc<Mutex<Inner>>,
    /// Polls of the work; tells whether anything moves.
    polls: Arc<AtomicU64>,
    idle: Arc<Idle>,
    /// Told when a gateway dies at a call.
    death: Arc<Notify>,
}

/// Tells when no task of the runtime can go on.
#[derive(Debug, Default)]
struct Idle {
    times: AtomicU64,
    waiting: Mutex<Option<Waker>>,
}

impl Idle {
    /// Called by the runtime when it has nothing to do.
    fn reached(&self) {
        self.times.fetch_add(1, Ordering::SeqCst);
        if let Some(waker) = self.waiting.lock().unwrap().take() {
            waker.wake();
        }
    }

    async fn wait(&self) {
        let before = self.times.load(Ordering::SeqCst);
        std::future::poll_fn(|cx| {
            if self.times.load(Ordering::SeqCst) != before {
                return Poll::Ready(());
            }
            *self.waiting.lock().unwrap() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

/// Counts the polls of a future.
struct Watched<F> {
    work: Pin<Box<F>>,
    polls: Arc<AtomicU64>,
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        self.work.as_mut().poll(cx)
    }
}

impl World {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        let inner = Inner {
            now: 0,
            number: 0,
            queue: BinaryHeap::new(),
            dice: Dice::new(seed),
            weather,
            tally: Tally::default(),
            digest: std::hash::DefaultHasher::new(),
            nth: None,
            log: Vec::new(),
            logs: std::env::var_os("MOUNTABLE_SIM_LOG").is_some(),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            polls: Arc::default(),
            idle: Arc::default(),
            death: Arc::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Runs a future to its end in virtual time.
    pub(crate) fn run<F: Future>(&self, work: F) -> F::Output {
        // One thread for blocking work: when a job of ours comes back, all before it are done.
        let idle = Arc::clone(&self.idle);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(1)
            .on_thread_park(move || idle.reached())
            .build()
            .unwrap();
        let watched = Watched { work: Box::pin(work), polls: Arc::clone(&self.polls) };
        runtime.block_on(async {
            // A task of its own: its turns must not count as the work's.
            let world = self.clone();
            let driver = tokio::spawn(async move { world.drive().await });
            tokio::select! {
                biased;
                done = watched => done,
                stuck = driver => panic!("{stuck:?}: {}", self.last(30)),
            }
        })
    }

    /// Lets the next event happen whenever everything has come to rest.
    async fn drive(&self) {
        loop {
            self.rest().await;
            let next = {
                let mut inner = self.inner();
                let next = inner.queue.pop();
                if let Some(Reverse(event)) = &next {
                    inner.now = inner.now.max(event.at);
                }
                next
            };
            match next {
                Some(Reverse(event)) => {
                    // Nobody waits any more if its gateway crashed.
                    let _ = event.wake.send(());
                }
                None => panic!("everybody waits and nothing will happen"),
            }
        }
    }

    /// Waits until nothing runs and nothing is about to. Tasks in the background are not counted
    /// by their polls: one of them may go from one blocking job to the next unseen, so that it
    /// has to be quiet several times in a row.
    async fn rest(&self) {
        let mut quiet = 0;
        while quiet < 4 {
            let before = (self.polls.load(Ordering::SeqCst), self.inner().number);
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            self.idle.wait().await;
            let same = before == (self.polls.load(Ordering::SeqCst), self.inner().number);
            quiet = if same { quiet + 1 } else { 0 };
        }
    }

    /// Waits in virtual time.
    pub(crate) async fn wait(&self, duration: Duration) {
        let (wake, woken) = oneshot::channel();
        {
            let mut inner = self.inner();
            inner.number += 1;
            let at = inner.now.saturating_add(u64::try_from(duration.as_nanos()).unwrap());
            let number = inner.number;
            inner.queue.push(Reverse(Waiting { at, number, wake }));
        }
        let _ = woken.await;
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.inner().now
    }

    pub(crate) fn draw<T>(&self, what: impl FnOnce(&mut Dice) -> T) -> T {
        what(&mut self.inner().dice)
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.inner().weather = weather;
    }

    pub(crate) fn weather(&self) -> Weather {
        self.inner().weather
    }

    /// Lets exactly the `n`th call from now on fail (1 = the next one).
    pub(crate) fn fail_nth(&self, n: u64, fate: Fate) {
        self.inner().nth = Some((n, fate));
    }

    /// Waits until a gateway dies at the call that was to fail.
    pub(crate) async fn death(&self) {
        self.death.notified().await;
    }

    /// Whether the call that was to fail was reached; lets no further call fail.
    pub(crate) fn reached(&self) -> bool {
        self.inner().nth.take().is_none_or(|(left, _)| left == 0)
    }

    pub(crate) fn count(&self, what: impl FnOnce(&mut Tally)) {
        what(&mut self.inner().tally);
    }

    pub(crate) fn tally(&self) -> Tally {
        self.inner().tally
    }

    /// Takes down that something happened; part of the digest.
    pub(crate) fn note(&self, text: &str) {
        let mut inner = self.inner();
        let now = inner.now;
        inner.digest.write_u64(now);
        inner.digest.write(text.as_bytes());
        if inner.logs {
            println!("{now:>18} {text}");
        }
        if inner.log.len() < 100_000 {
            inner.log.push(format!("{now} {text}"));
        }
    }

    /// The last things that happened.
    pub(crate) fn last(&self, count: usize) -> String {
        let inner = self.inner();
        inner.log[inner.log.len().saturating_sub(count)..].join("\n")
    }

    pub(crate) fn digest(&self) -> u64 {
        self.inner().digest.finish()
    }

    /// Time before and after a call, and what becomes of it.
    fn fate(&self, writes: bool) -> (Option<Duration>, Fate, Option<Duration>) {
        let mut inner = self.inner();
        inner.tally.calls += 1;
        if let Some((left, fate)) = &mut inner.nth {
            let fate = *fate;
            *left = left.saturating_sub(1);
            let now = *left == 0;
            if now {
                // A second call must not fail as well.
                inner.nth = Some((0, Fate::Happens));
            }
            return (None, if now { fate } else { Fate::Happens }, None);
        }
        let weather = inner.weather;
        let pause = |inner: &mut Inner| {
            if inner.dice.chance(weather.pauses) {
                inner.tally.pauses += 1;
                Duration::from_secs(31 + inner.dice.below(20_000))
            } else {
                Duration::from_nanos(50_000 + inner.dice.below(20_000_000))
            }
        };
        let first = pause(&mut inner);
        let second = inner.dice.chance(300).then(|| pause(&mut inner));
        let roll = inner.dice.below(1000);
        let mut fate = Fate::Happens;
        if roll < weather.before {
            fate = Fate::FailsBefore;
        } else if roll < weather.before + weather.after {
            fate = Fate::FailsAfter;
        } else if writes && roll < weather.before + weather.after + weather.late {
            fate = Fate::Late;
        }
        inner.tally.failed += u64::from(fate != Fate::Happens);
        (Some(first), fate, second)
    }
}

/// Who makes calls: a gateway's hold on the world, until it dies.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) world: World,
    pub(crate) number: usize,
    dead: Arc<AtomicBool>,
    offset_ms: Arc<Mutex<i64>>,
}

impl Life {
    pub(crate) fn new(world: &World, number: usize) -> Self {
        let offset_ms = Arc::default();
        Self { world: world.clone(), number, dead: Arc::default(), offset_ms }
    }

    /// Nothing that this gateway still has under way will happen.
    pub(crate) fn end(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    /// The gateway's end, at a call of its own.
    async fn die<T>(&self) -> T {
        self.end();
        self.world.death.notify_one();
        futures::future::pending().await
    }

    async fn breathe(&self) {
        if self.dead.load(Ordering::SeqCst) {
            futures::future::pending::<()>().await;
        }
    }

    /// Makes a call: `work` is what happens, `error` the answer if it is not known or did not.
    pub(crate) async fn call<T, E>(
        &self,
        name: &str,
        writes: bool,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
        error: impl FnOnce(bool) -> E,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        self.breathe().await;
        let (before, fate, after) = self.world.fate(writes);
        self.maybe_jump();
        if let Some(before) = before {
            self.world.wait(before).await;
        }
        self.breathe().await;
        self.world.note(&format!("{} {name} {fate:?}", self.number));
        let answer = match fate {
            Fate::Happens => work.await,
            Fate::CrashesBefore => self.die().await,
            Fate::CrashesAfter => {
                let _ = work.await;
                self.die().await
            }
            Fate::Pauses => {
                self.world.wait(PAUSE).await;
                work.await
            }
            Fate::FailsBefore => Err(error(false)),
            Fate::FailsAfter => {
                let _ = work.await;
                Err(error(true))
            }
            Fate::Late => {
                let world = self.world.clone();
                let delay = Duration::from_millis(world.draw(|dice| 1 + dice.below(200_000)));
                let name = format!("{} late {name}", self.number);
                tokio::spawn(async move {
                    world.wait(delay).await;
                    let _ = work.await;
                    world.note(&name);
                });
                Err(error(true))
            }
        };
        if let Some(after) = after {
            self.world.wait(after).await;
        }
        self.breathe().await;
        answer
    }

    fn maybe_jump(&self) {
        let jumps = self.world.weather().jumps;
        let jump =
            self.world.draw(|dice| dice.chance(jumps).then(|| dice.below(20 * 31_557_600_000)));
        if let Some(jump) = jump {
            *self.offset_ms.lock().unwrap() = i64::try_from(jump).unwrap() - 10 * 31_557_600_000;
            self.world.count(|tally| tally.jumps += 1);
        }
    }
}

/// 21 November 2026.
const START_MS: i64 = 1_795_253_675_000;

impl Clock for Life {
    fn now_ns(&self) -> i64 {
        let offset = *self.offset_ms.lock().unwrap();
        (START_MS + offset) * 1_000_000 + i64::try_from(self.world.now_ns()).unwrap()
    }

    fn monotonic_ns(&self) -> u64 {
        self.world.now_ns()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let world = self.world.clone();
        Box::pin(async move { world.wait(duration).await })
    }

    fn pace(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.sleep(duration)
    }

    fn random(&self) -> u64 {
        self.world.draw(Dice::next)
    }
}

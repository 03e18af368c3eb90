//! Random work on random worlds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mountable::error::ErrorKind;

use crate::counts::count;
use crate::history::{Answer, Asked, History};
use crate::lab::{Gateway, Lab, Row};
use crate::world::{Tally, Weather, World};

/// Gateways at work at the same time.
const GATEWAYS: usize = 3;
/// What each of them is asked.
const QUESTIONS: usize = 8;
/// Names that the table may have.
const NAMES: [&str; 2] = ["orders", "archive"];
/// Ids from here on are rows that the examiner adds.
const EXAMINER: i64 = 1_000_000_000;

/// What a seed came to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    digest: u64,
    tally: Tally,
    acknowledged: u64,
    refused: u64,
    open: u64,
    contradictions: Vec<String>,
    last: String,
}

fn weather(seed: u64) -> Weather {
    let calm = Weather::default();
    match seed % 4 {
        0 => Weather { pauses: 8, ..calm },
        1 => Weather { before: 15, after: 15, ..calm },
        2 => Weather { roll_backs: 20, jumps: 5, pauses: 3, ..calm },
        _ => Weather { before: 10, after: 10, late: 10, pauses: 5, jumps: 5, roll_backs: 10 },
    }
}

fn run(seed: u64) -> Report {
    let world = World::new(seed, Weather::default());
    let lab = Lab::new(&world);
    let (history, contradictions) = world.run(whole(lab, seed));
    let entries = history.entries();
    let count = |wanted: fn(&Answer) -> bool| {
        entries.iter().filter(|entry| wanted(&entry.answer)).count() as u64
    };
    Report {
        digest: world.digest(),
        tally: world.tally(),
        acknowledged: count(|answer| matches!(answer, Answer::Done(_))),
        refused: count(|answer| *answer == Answer::Refused),
        open: count(|answer| matches!(answer, Answer::Open | Answer::Unknown)),
        contradictions,
        last: world.last(60),
    }
}

/// What a seed comes to over a store that overwrites what it should refuse.
pub(crate) fn contradictions_over_broken_store(seed: u64) -> Vec<String> {
    let world = World::new(seed, Weather::default());
    let lab = Lab::broken(&world);
    world.run(whole(lab, seed)).1
}

async fn whole(lab: Lab, seed: u64) -> (History, Vec<String>) {
    let world = lab.world.clone();
    lab.furnish().await;
    let history = History::default();
    world.set_weather(weather(seed));
    let all = (0..GATEWAYS).map(|number| place(lab.clone(), history.clone(), number));
    futures::future::join_all(all).await;
    world.set_weather(Weather::default());
    // Longer than every lock and every late put.
    world.wait(Duration::from_secs(100_000)).await;
    let contradictions = examine(&lab, &history).await;
    (history, contradictions)
}

/// A gateway and those that follow it when it crashes.
async fn place(lab: Lab, history: History, number: usize) {
    let mut left = QUESTIONS;
    while left > 0 {
        let gateway = lab.gateway(number);
        let crashes = lab.world.draw(|dice| dice.chance(400));
        let life = lab.world.draw(|dice| Duration::from_millis(dice.below(4_000)));
        let end = async {
            if crashes {
                lab.world.wait(life).await;
            } else {
                futures::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = work(&gateway, &history, &mut left) => {}
            () = end => {
                gateway.life().end();
                lab.world.count(|tally| tally.crashes += 1);
                lab.world.note(&format!("{number} crashes"));
            }
        }
    }
}

async fn work(gateway: &Gateway, history: &History, left: &mut usize) {
    while *left > 0 {
        *left -= 1;
        ask(gateway, history).await;
    }
}

async fn ask(gateway: &Gateway, history: &History) {
    let world = &gateway.life().world;
    // Mostly the name that worked last.
    let other = world.draw(|dice| usize::from(dice.chance(60)));
    let name = NAMES[(history.place() + other) % 2];
    let known = history.known_ids();
    let pick = |world: &World| known[world.draw(|dice| dice.below(known.len() as u64)) as usize];
    let what = world.draw(|dice| dice.below(100));
    match what {
        0..55 => {
            let count = 1 + world.draw(|dice| dice.below(3));
            let rows: Vec<Row> = (0..count).map(|_| (fresh_id(world), 0)).collect();
            let at = history.ask(world, Asked::Append(rows.clone()));
            history.answer(world, at, &gateway.append(name, &rows).await);
        }
        55..72 if !known.is_empty() => {
            let row = (pick(world), fresh_id(world));
            let at = history.ask(world, Asked::Update(row));
            history.answer(world, at, &gateway.update(name, row).await);
        }
        72..82 if !known.is_empty() => {
            let id = pick(world);
            let at = history.ask(world, Asked::Delete(id));
            history.answer(world, at, &gateway.delete(name, id).await);
        }
        82..88 => {
            let [from, to] = if name == NAMES[0] { NAMES } else { [NAMES[1], NAMES[0]] };
            let outcome = gateway.rename(from, to).await.map(|_| ());
            if outcome.is_ok() {
                history.moved_to(NAMES.iter().position(|name| *name == to).unwrap());
            }
            world.note(&format!("rename of {from}: {outcome:?}"));
        }
        88..91 => {
            let outcome = gateway.drop_table(name).await;
            world.note(&format!("drop of {name}: {outcome:?}"));
        }
        91..98 => {
            let restored = gateway.restore().await;
            if let Ok(snapshot) = &restored {
                let at = NAMES.iter().position(|name| *name == snapshot.table.simple_name.as_str());
                history.moved_to(at.unwrap());
            }
            let outcome = restored.map(|_| ());
            world.note(&format!("restore: {outcome:?}"));
        }
        _ => world.wait(Duration::from_millis(world.draw(|dice| dice.below(500)))).await,
    }
}

/// A number that was not used before.
fn fresh_id(world: &World) -> i64 {
    // Below the examiner's and unlike each other: 2^40 places for some hundred numbers.
    world.draw(|dice| i64::try_from(dice.below(1 << 40)).unwrap()) + 2 * EXAMINER
}

/// Looks with a gateway that knows nothing whether the lake agrees with the answers.
async fn examine(lab: &Lab, history: &History) -> Vec<String> {
    let eye = lab.gateway(98);
    let mut found = Vec::new();
    let mut there = settle(&eye, &mut found).await;
    if there.is_empty() {
        // It was dropped; every entry of the trash may be the one.
        let outcome = eye.restore().await.map(|_| ());
        lab.world.note(&format!("the examiner restores: {outcome:?}"));
        there = settle(&eye, &mut found).await;
    }
    if there.len() != 1 {
        found.push(format!("the table is under {} names", there.len()));
    }
    let mut rows = Vec::new();
    for name in there {
        match eye.rows(name).await {
            Ok((_, all)) => rows.extend(all.into_iter().filter(|(id, _)| !is_examiners(*id))),
            Err(error) => found.push(format!("{name} cannot be read: {error}")),
        }
        match eye.versions(name).await {
            Ok(versions) if versions.windows(2).all(|two| two[0] > two[1]) => {}
            other => found.push(format!("versions of {name}: {other:?}")),
        }
    }
    found.extend(history.contradictions(&rows));
    found
}

fn is_examiners(id: i64) -> bool {
    (EXAMINER..EXAMINER + 100).contains(&id)
}

/// Commits to each name; those that exist.
async fn settle(eye: &Gateway, found: &mut Vec<String>) -> Vec<&'static str> {
    let mut there = Vec::new();
    for name in NAMES {
        let free = EXAMINER + i64::try_from(eye.life().world.draw(|dice| dice.below(100))).unwrap();
        match eye.append(name, &[(free, 0)]).await {
            // Of two attempts the second may find the first one's row.
            Ok(_) => there.push(name),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => found.push(format!("{name} takes no commit: {error}")),
        }
    }
    there
}

fn seeds() -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("MOUNTABLE_SIM_SEED") {
        return (seed, 1);
    }
    let first = number("MOUNTABLE_SIM_FIRST").unwrap_or(1);
    let long = std::env::var_os("MOUNTABLE_LONG").is_some();
    let standard = if long {
        100_000
    } else if cfg!(debug_assertions) {
        24
    } else {
        200
    };
    (first, number("MOUNTABLE_SIM_SEEDS").unwrap_or(standard))
}

#[test]
fn every_seed_keeps_what_was_acknowledged_and_nothing_that_was_refused() {
    let (first, wanted) = seeds();
    let next = Arc::new(AtomicU64::new(first));
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let next = Arc::clone(&next);
            std::thread::spawn(move || {
                let mut reports = Vec::new();
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + wanted {
                        return reports;
                    }
                    let report = run(seed);
                    let wrong = report.contradictions.join("\n");
                    assert!(
                        wrong.is_empty(),
                        "replay with MOUNTABLE_SIM_SEED={seed}\n{wrong}\n{}",
                        report.last
                    );
                    reports.push(report);
                }
            })
        })
        .collect();
    let reports: Vec<Report> = workers.into_iter().flat_map(|w| w.join().unwrap()).collect();
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    count(&format!(
        "simulation: {} seeds from {first}, {} acknowledged, {} refused, {} open, {} calls, \
         {} of them failed, {} crashes, {} pauses beyond the lock, {} roll-backs, {} clock jumps; \
         0 lost, 0 doubled, 0 refused but there",
        reports.len(),
        sum(|report| report.acknowledged),
        sum(|report| report.refused),
        sum(|report| report.open),
        sum(|report| report.tally.calls),
        sum(|report| report.tally.failed),
        sum(|report| report.tally.crashes),
        sum(|report| report.tally.pauses),
        sum(|report| report.tally.roll_backs),
        sum(|report| report.tally.jumps),
    ));
    // One seed alone may have had bad luck.
    let enough = wanted < 20 || sum(|report| report.acknowledged) > 3 * wanted;
    assert!(enough, "too little was acknowledged");
}

#[test]
fn a_seed_gives_the_same_digest_each_time() {
    let (first, _) = seeds();
    let seeds = 4;
    for seed in first..first + seeds {
        let (one, two) = (run(seed), run(seed));
        assert_eq!(one.digest, two.digest, "seed {seed}\n{}\n-----\n{}", one.last, two.last);
    }
    let other = run(first + 1).digest;
    assert_ne!(run(first).digest, other, "the digest tells nothing");
    count(&format!("simulation: {seeds} seeds run twice, each with one digest"));
}

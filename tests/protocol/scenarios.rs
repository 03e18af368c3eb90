//! What is explored, and what must come out.

use crate::counts::count;
use crate::rules::Operation::{Commit, Create, Drop, Rename};
use crate::rules::{Foreign, Operation, Protocol, Scenario};
use crate::search::{Found, explore, explore_until, shortest_way};
use crate::state::Budget;

/// States after which a search gives up: far above what any scenario has. Without optimization only
/// the beginning is searched, so that the tests can be run while working on something else.
const STATES_MAX: u64 = if cfg!(debug_assertions) { 60_000 } else { 400_000_000 };

const OLD: Foreign = Foreign { checks: false, commits: 1 };
const NEW: Foreign = Foreign { checks: true, commits: 1 };

fn faults(expiries: u8, failovers: u8, crashes: u8, unknown: u8) -> Budget {
    Budget { expiries, failovers, crashes, unknown }
}

fn scenario(
    name: &'static str,
    gateways: &[&[Operation]],
    foreign: &[Foreign],
    budget: Budget,
) -> Scenario {
    Scenario {
        name,
        protocol: Protocol::Successor,
        gateways: gateways.iter().map(|operations| operations.to_vec()).collect(),
        foreign: foreign.to_vec(),
        budget,
        row_ids: false,
    }
}

/// What writers of one table do to each other.
fn one_table() -> Vec<Scenario> {
    let one: &[Operation] = &[Commit(0)];
    let two: &[Operation] = &[Commit(0), Commit(0)];
    vec![
        scenario("no fault", &[two, two], &[], faults(0, 0, 0, 0)),
        scenario("lock expiry", &[two, two], &[], faults(2, 0, 0, 0)),
        scenario("expiry, crash", &[two, two], &[], faults(2, 0, 1, 0)),
        scenario("failover", &[two, two], &[], faults(0, 1, 0, 0)),
        scenario("expiry, 2 failovers, crash", &[two, two], &[], faults(1, 2, 1, 0)),
        scenario("expiry, failover, crash, 2 unknown", &[two, one], &[], faults(1, 1, 1, 2)),
        scenario("foreign 2.0.2, expiry", &[two], &[OLD], faults(2, 0, 0, 0)),
        scenario("foreign 3.4.3, expiry", &[two], &[NEW], faults(2, 0, 0, 0)),
        scenario("foreign, 2 gateways, all faults", &[one, one], &[OLD], faults(1, 1, 1, 1)),
        scenario("2 foreign, 1 gateway, expiry", &[two], &[OLD, NEW], faults(3, 0, 0, 0)),
    ]
}

/// Tables that go, come and change their names while others write to them.
fn names() -> Vec<Scenario> {
    let two: &[Operation] = &[Commit(0), Commit(0)];
    vec![
        scenario("drop", &[two, &[Drop]], &[], faults(2, 1, 1, 1)),
        scenario("drop, foreign 2.0.2", &[&[Commit(0)], &[Drop]], &[OLD], faults(2, 0, 1, 0)),
        scenario("drop and recreate", &[two, &[Drop, Create, Commit(0)]], &[], faults(2, 0, 1, 1)),
        scenario("rename", &[two, &[Rename, Commit(1)]], &[], faults(2, 1, 1, 0)),
        scenario("two renames", &[&[Rename], &[Rename], &[Commit(0)]], &[], faults(2, 1, 1, 0)),
        scenario("rename and recreate", &[two, &[Rename, Create]], &[], faults(2, 0, 1, 1)),
        scenario("rename, foreign 2.0.2", &[&[Rename], &[Commit(0)]], &[OLD], faults(1, 0, 1, 0)),
    ]
}

fn with_row_ids() -> Scenario {
    let two: &[Operation] = &[Commit(0), Commit(0)];
    let one: &[Operation] = &[Commit(0)];
    let mut scenario = scenario("row ids, 2 failovers", &[two, one], &[], faults(2, 2, 1, 0));
    scenario.row_ids = true;
    scenario
}

fn long() -> Vec<Scenario> {
    let one: &[Operation] = &[Commit(0)];
    let two: &[Operation] = &[Commit(0), Commit(0)];
    let three: &[Operation] = &[Commit(0), Commit(0), Commit(0)];
    vec![
        scenario("3 gateways, all faults", &[two, one, one], &[], faults(2, 1, 2, 2)),
        scenario("foreign, 2 gateways, 2 of each fault", &[two, one], &[OLD], faults(2, 2, 2, 2)),
        scenario("2 foreign, 2 gateways", &[one, one], &[OLD, NEW], faults(3, 1, 1, 1)),
        scenario("3 commits, 2 foreign", &[three], &[OLD, NEW], faults(3, 1, 1, 1)),
    ]
}

fn is_long() -> bool {
    static LONG: std::sync::LazyLock<bool> =
        std::sync::LazyLock::new(|| std::env::var_os("MOUNTABLE_LONG").is_some());
    *LONG
}

fn line(scenario: &Scenario, found: &Found) {
    println!(
        "protocol {:?}: {}: {} states, {} ends, lost {}, unreachable {}, doubled {}, refused but \
         there {}, same row id {}, foreign lost {}{}",
        scenario.protocol,
        scenario.name,
        found.states,
        found.ends,
        found.lost,
        found.unreachable,
        found.doubled,
        found.refused_stands,
        found.same_row_id,
        found.foreign_lost,
        if found.complete { "" } else { ", NOT COMPLETE" },
    );
}

/// Explores a scenario that must keep every promise; the number of its states.
fn must_hold(scenario: &Scenario) -> u64 {
    let found = explore(scenario, STATES_MAX);
    line(scenario, &found);
    let whole = found.complete || cfg!(debug_assertions);
    assert!(whole, "{}: gave up after {} states", scenario.name, found.states);
    assert!(found.ends > 0, "{}: nothing comes to an end", scenario.name);
    if found.broken() > 0 {
        let way = shortest_way(scenario, 20_000_000).unwrap_or_default();
        panic!("{}: {found:?}\n{}", scenario.name, way.join("\n"));
    }
    found.states
}

fn must_all_hold(what: &str, scenarios: &[Scenario]) {
    let states: u64 = scenarios.iter().map(must_hold).sum();
    count(&format!("protocol model, {what}: {states} states in {} scenarios", scenarios.len()));
}

#[test]
fn nothing_acknowledged_is_lost_whatever_happens_to_the_writers_of_a_table() {
    must_all_hold("one table", &one_table());
}

#[test]
fn nothing_acknowledged_is_lost_while_tables_come_and_go() {
    must_all_hold("names", &names());
}

#[test]
fn no_row_id_is_given_twice_when_the_counter_is_rolled_back() {
    must_all_hold("row ids", &[with_row_ids()]);
}

#[test]
fn nothing_is_lost_in_the_long_scenarios() {
    if is_long() {
        must_all_hold("long", &long());
    }
}

/// A new table of an old name is not linked to the old trunk. A catalogue that is rolled back to
/// before both leads to the old one: nothing is lost, but only `mountable fsck --rebuild` finds it.
#[test]
fn a_name_used_again_may_need_a_rebuild_after_a_failover() {
    let scenario = scenario(
        "drop and recreate, failover",
        &[&[Commit(0), Drop, Create, Commit(0)]],
        &[],
        faults(0, 1, 0, 0),
    );
    let found = explore(&scenario, STATES_MAX);
    line(&scenario, &found);
    assert!(found.complete && found.unreachable > 0, "the documentation is wrong: {found:?}");
    assert_eq!(found.broken(), found.unreachable);
}

/// Each of these must break a promise in each scenario named, or the model sees nothing.
#[test]
fn losing_protocols_lose() {
    let mut failed = 0;
    let mut states = 0;
    let all = one_table();
    let expected: [(Protocol, &[usize]); 5] = [
        (Protocol::LockAndSet, &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (Protocol::LockCheckAndSet, &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (Protocol::Swap, &[3, 4, 5, 6, 7, 8, 9]),
        (Protocol::SwapAndWait, &[6, 7, 8, 9]),
        (Protocol::PointerWins, &[6, 7, 8, 9]),
    ];
    for (protocol, losing) in expected {
        for (index, scenario) in all.iter().enumerate() {
            let scenario = Scenario { protocol, ..scenario.clone() };
            // One loss is enough to know, unless all of them are to be counted.
            let lost = |found: &Found| found.lost + found.unreachable > 0;
            let found = explore_until(&scenario, STATES_MAX, |found| !is_long() && lost(found));
            line(&scenario, &found);
            states += found.states;
            let loses = lost(&found);
            failed += u64::from(loses);
            if !found.complete && !loses && cfg!(debug_assertions) {
                continue;
            }
            assert_eq!(loses, losing.contains(&index), "{protocol:?}: {}", scenario.name);
        }
    }
    count(&format!("protocol model, negative controls: {failed} of 50 lose, {states} states"));
}

/// Our protocol with one rule taken away.
#[test]
fn every_rule_is_needed() {
    let controls = [
        (Protocol::NoOwnCheck, one_table().swap_remove(5), "doubled"),
        (Protocol::DropWithoutMark, names().swap_remove(0), "lost"),
        (Protocol::VanishUnchecked, names().swap_remove(0), "lost"),
        (Protocol::VanishUnchecked, names().swap_remove(3), "lost"),
        (Protocol::RowIdsUnchecked, with_row_ids(), "same row id"),
        (Protocol::LockAtSwap, one_table().swap_remove(1), "refused but there"),
    ];
    for (protocol, scenario, what) in controls {
        let scenario = Scenario { protocol, ..scenario };
        let count_of = |found: &Found| match what {
            "doubled" => found.doubled,
            "lost" => found.lost + found.unreachable,
            "same row id" => found.same_row_id,
            _ => found.refused_stands,
        };
        let enough = |found: &Found| !is_long() && count_of(found) > 0;
        let found = explore_until(&scenario, STATES_MAX, enough);
        line(&scenario, &found);
        assert!(count_of(&found) > 0, "{protocol:?} keeps its promises: {found:?}");
    }
    count("protocol model, rules taken away: 6 of 6 are noticed");
}

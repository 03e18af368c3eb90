//! Breadth-first search through every state that a scenario can reach.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::rules::Scenario;
use crate::state::State;

/// 128 bits of a state. Two of a hundred million states having the same is less likely than 1 in
/// 10^22.
type Print = u128;

/// The prints are random enough to be their own hash.
#[derive(Default)]
struct Straight(u64);

impl Hasher for Straight {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}

/// Two multiplicative lanes with a final mix.
struct Lanes(u64, u64);

impl Lanes {
    fn mix(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.1 = (self.1.rotate_left(23) ^ value).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    }

    fn print(&self) -> Print {
        let end = |mut z: u64| {
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        u128::from(end(self.0)) << 64 | u128::from(end(self.1 ^ self.0.rotate_left(32)))
    }
}

impl Hasher for Lanes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value) + 1);
    }

    fn write_u16(&mut self, value: u16) {
        self.mix(u64::from(value));
    }

    fn write_isize(&mut self, value: isize) {
        self.mix(value as u64);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }
}

fn print_of(state: &State) -> Print {
    let mut lanes = Lanes(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);
    state.hash(&mut lanes);
    lanes.print()
}

type Prints = HashSet<Print, BuildHasherDefault<Straight>>;

/// What a search found.
#[derive(Debug, Default, Clone)]
pub(crate) struct Found {
    /// States seen.
    pub(crate) states: u64,
    /// Of these, states in which every writer is done or dead.
    pub(crate) ends: u64,
    /// Ends in which an acknowledged commit of ours is nowhere.
    pub(crate) lost: u64,
    /// Ends in which an acknowledged commit of ours is on a trunk that no pointer leads to.
    pub(crate) unreachable: u64,
    /// States in which a commit is twice in one history.
    pub(crate) doubled: u64,
    /// Ends in which a refused commit stands.
    pub(crate) refused_stands: u64,
    /// States in which two rows have one id.
    pub(crate) same_row_id: u64,
    /// Ends in which an acknowledged commit of another writer is nowhere.
    pub(crate) foreign_lost: u64,
    /// Whether every reachable state was seen.
    pub(crate) complete: bool,
}

impl Found {
    /// States or ends that break a promise.
    pub(crate) fn broken(&self) -> u64 {
        self.lost + self.unreachable + self.doubled + self.refused_stands + self.same_row_id
    }
}

/// Explores a scenario, at most `states_max` states.
pub(crate) fn explore(scenario: &Scenario, states_max: u64) -> Found {
    explore_until(scenario, states_max, |_| false)
}

/// Explores a scenario until enough was found, or as [`explore`] does.
pub(crate) fn explore_until(
    scenario: &Scenario,
    states_max: u64,
    enough: impl Fn(&Found) -> bool,
) -> Found {
    let mut found = Found::default();
    let mut seen = Prints::default();
    let start = scenario.start();
    seen.insert(print_of(&start));
    let mut level = vec![start];
    while !level.is_empty() {
        let mut next = Vec::new();
        for state in &level {
            found.states += 1;
            if found.states > states_max {
                return found;
            }
            scenario.judge(state, &mut found);
            if enough(&found) {
                return found;
            }
            scenario.steps(state, &mut |_, after| {
                if seen.insert(print_of(&after)) {
                    next.push(after);
                }
            });
        }
        level = next;
    }
    found.complete = true;
    found
}

/// The shortest way to a state that breaks a promise, one step a line.
pub(crate) fn shortest_way(scenario: &Scenario, states_max: usize) -> Option<Vec<String>> {
    let start = scenario.start();
    let mut from: HashMap<Print, (Print, String)> = HashMap::new();
    let first = print_of(&start);
    let mut level = vec![start];
    while !level.is_empty() && from.len() < states_max {
        let mut next = Vec::new();
        for state in &level {
            let own = print_of(state);
            let mut found = Found::default();
            scenario.judge(state, &mut found);
            if found.broken() > 0 {
                let mut way = vec![format!("{found:?}")];
                let mut at = own;
                while let Some((before, step)) = from.get(&at) {
                    way.push(step.clone());
                    at = *before;
                }
                way.reverse();
                return Some(way);
            }
            scenario.steps(state, &mut |step, after| {
                let print = print_of(&after);
                if print != first && !from.contains_key(&print) {
                    from.insert(print, (own, step.to_string()));
                    next.push(after);
                }
            });
        }
        level = next;
    }
    None
}

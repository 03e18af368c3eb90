//! The fuzz targets with inputs made by chance, the same ones for the same seed.
//!
//! `FUZZ_EXECUTIONS` is the number of inputs of each target (those behind a socket get a tenth),
//! `FUZZ_SEED` the seed, `FUZZ_TARGET` runs one target only. A failure prints the input; what was
//! found once stands in `regressions`.

mod seeds;
mod targets;
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use proptest::test_runner::{RngAlgorithm, TestRng};
use rand_core::Dice;
use targets::Target;

mod rand_core {
    //! Numbers by chance from the generator of the property tests.

    use super::{RngAlgorithm, TestRng};
    use proptest::prelude::RngCore as _;

    pub(crate) struct Dice(TestRng);

    impl Dice {
        pub(crate) fn new(seed: u64, target: &str) -> Self {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            for (to, from) in bytes[8..].iter_mut().zip(target.bytes()) {
                *to = from;
            }
            Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
        }

        /// A number below `end`, which is not 0.
        pub(crate) fn roll(&mut self, end: usize) -> usize {
            usize::try_from(self.0.next_u64() % end as u64).unwrap()
        }

        pub(crate) fn byte(&mut self) -> u8 {
            self.0.next_u64().to_le_bytes()[0]
        }
    }
}

/// Memory of the process may grow by this much while a target runs: inputs are kilobytes.
const GROWTH_KIB_MAX: u64 = 512 << 10;
const INPUT_BYTES_MAX: usize = 8 << 10;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Changes some bytes, inserts words of the format, cuts, repeats, mixes with another input.
fn mutate(dice: &mut Dice, corpus: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
    let mut input = corpus[dice.roll(corpus.len())].clone();
    for _ in 0..=dice.roll(6) {
        let at = dice.roll(input.len() + 1);
        let end = at + dice.roll(input.len() - at + 1);
        match dice.roll(9) {
            0 if at < input.len() => input[at] = dice.byte(),
            1 if at < input.len() => input[at] ^= 1 << dice.roll(8),
            2 => input.truncate(at),
            3 => drop(input.drain(at..end)),
            4 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            5 => {
                let other = &corpus[dice.roll(corpus.len())];
                let from = dice.roll(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
            6 => input.insert(at, dice.byte()),
            _ if words.is_empty() => input.push(dice.byte()),
            _ => {
                let word = words[dice.roll(words.len())];
                input.splice(at..at, word.iter().copied());
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn run(target: &str, execute: fn(&[u8]), input: &[u8], seed: u64) {
    let outcome = catch_unwind(AssertUnwindSafe(|| execute(input)));
    if let Err(panic) = outcome {
        println!("FUZZ_TARGET={target} FUZZ_SEED={seed}\ninput: b\"{}\"", input.escape_ascii());
        resume_unwind(panic);
    }
}

fn campaign(targets: &[Target], executions: u64) {
    let seed = number("FUZZ_SEED", 1);
    let only = std::env::var("FUZZ_TARGET").ok();
    for (target, execute) in targets {
        if only.as_ref().is_some_and(|only| only != target) {
            continue;
        }
        let (seeds, words) = seeds::of(target);
        let mut corpus: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
        corpus.push(Vec::new());
        for input in &corpus {
            run(target, *execute, input, seed);
        }
        let before = peak_kib();
        let mut dice = Dice::new(seed, target);
        for round in 0..executions {
            let input = mutate(&mut dice, &corpus, words);
            run(target, *execute, &input, seed);
            // Some of what was made is changed further.
            if round % 50 == 0 && corpus.len() < 500 {
                corpus.push(input);
            }
        }
        let growth = peak_kib().saturating_sub(before);
        println!("{target}: {executions} inputs, memory grew by {growth} KiB");
        assert!(growth < GROWTH_KIB_MAX, "{target} took {growth} KiB, FUZZ_SEED={seed}");
    }
}

#[test]
fn no_input_breaks_a_parser() {
    campaign(targets::TARGETS, number("FUZZ_EXECUTIONS", 3_000));
}

#[test]
fn no_message_breaks_the_server() {
    campaign(wire::TARGETS, number("FUZZ_EXECUTIONS", 3_000).div_ceil(10));
}

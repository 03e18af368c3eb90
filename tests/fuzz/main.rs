//! The fuzz targets with inputs made by chance, the same ones for the same seed.
//!
//! `FUZZ_EXECUTIONS` is the number of inputs of each target (those behind a socket get a tenth),
//! `FUZZ_SEED` the seed, `FUZZ_TARGET` runs one target only. A failure prints the input; what was
//! found once stands in `regressions`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod regressions;
mod seeds;
mod targets;
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use targets::Target;

/// Numbers by chance, the same ones for the same seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn new(seed: u64, target: &str) -> Self {
        let mixed = target
            .bytes()
            .fold(seed, |mixed, byte| mixed.wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from(byte));
        Self(mixed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    fn roll(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
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

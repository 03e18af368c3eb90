//! Protocols that lose commits, and the writers of the Python library.

use crate::rules::{Emit, Protocol, Scenario, Step};
use crate::state::{At, Kind, NONE, Object, State, Writer};

/// Steps of a gateway that works by lock and pointer alone.
pub(crate) fn steps(scenario: &Scenario, state: &State, index: usize, emit: &mut Emit<'_>) {
    let protocol = scenario.protocol;
    let writer = state.writers[index];
    let mut after = *state;
    match writer.at {
        At::Lock if state.catalog.lock != NONE => return,
        At::Crashed => return,
        At::Check if u8::try_from(index) != Ok(state.catalog.lock) => {
            after.writers[index] = Writer { operation: writer.operation, ..Writer::NEW };
        }
        At::Check => after.writers[index].at = At::Swap,
        At::Put => {
            put(&mut after, index, Kind::Ours, scenario.commit(state, index));
            let check = protocol == Protocol::LockCheckAndSet;
            after.writers[index].at = if check { At::Check } else { At::Swap };
        }
        At::Swap => swap(protocol, &mut after, index),
        At::Wait => {
            let bit = 1_u32 << scenario.commit(state, index);
            if writer.epoch == state.epoch {
                after.replica = state.catalog;
                after.writers[index].at = At::Answer;
            } else if state.commits(state.catalog.leaves[0].snapshot) & bit != 0 {
                after.writers[index].epoch = state.epoch;
            } else {
                after.writers[index].at = At::Read;
            }
        }
        _ => common(&mut after, index, scenario.commit(state, index)),
    }
    emit(&Step(name(writer.at), index), after);
    if state.budget.crashes > 0 && writer.at != At::Lock {
        let mut after = *state;
        after.budget.crashes -= 1;
        after.writers[index] =
            Writer { at: At::Crashed, operation: writer.operation, ..Writer::NEW };
        emit(&Step("crash of", index), after);
    }
}

fn swap(protocol: Protocol, state: &mut State, index: usize) {
    let writer = state.writers[index];
    let leaf = state.catalog.leaves[0];
    let compares = matches!(protocol, Protocol::Swap | Protocol::SwapAndWait);
    if compares && leaf != writer.leaf {
        state.writers[index].at = At::Read;
        return;
    }
    state.catalog.leaves[0] = leaf.next(writer.made);
    let waits = protocol == Protocol::SwapAndWait;
    state.writers[index].at = if waits { At::Wait } else { At::Answer };
    state.writers[index].epoch = state.epoch;
}

/// Steps of the Python library; `checks` = it looks at its lock before it sets the pointer.
pub(crate) fn foreign_steps(
    state: &State,
    index: usize,
    (number, checks): (usize, bool),
    emit: &mut Emit<'_>,
) {
    let writer = state.writers[index];
    let commit =
        crate::state::FOREIGN_COMMITS + u8::try_from(number).unwrap() * 2 + writer.operation;
    let mut after = *state;
    match writer.at {
        At::Lock if state.catalog.lock != NONE => return,
        At::Put => {
            put(&mut after, index, Kind::Foreign, commit);
            after.writers[index].at = if checks { At::Check } else { At::Swap };
        }
        At::Check if u8::try_from(index) != Ok(state.catalog.lock) => {
            // It raises an error; the commit is not tried again.
            after.writers[index].refused = true;
            after.writers[index].at = At::Answer;
        }
        At::Check => after.writers[index].at = At::Swap,
        At::Swap => {
            let leaf = state.catalog.leaves[0];
            after.catalog.leaves[0] = leaf.next(writer.made);
            after.writers[index].at = At::Answer;
        }
        _ => common(&mut after, index, commit),
    }
    emit(&Step(name(writer.at), index), after);
}

fn put(state: &mut State, index: usize, kind: Kind, commit: u8) {
    let previous = state.writers[index].leaf.snapshot;
    let object = Object { commit, ..Object::behind(NONE, previous, kind) };
    state.writers[index].made = state.add(object);
}

/// Steps that are the same for all: lock, read, answer.
fn common(state: &mut State, index: usize, commit: u8) {
    let writer = &mut state.writers[index];
    match writer.at {
        At::Lock => {
            writer.at = At::Read;
            state.catalog.lock = u8::try_from(index).unwrap();
        }
        At::Read => {
            writer.leaf = state.catalog.leaves[0];
            let there = writer.leaf.snapshot != NONE;
            writer.refused = !there;
            writer.at = if there { At::Put } else { At::Answer };
        }
        At::Answer => answer(state, index, commit),
        at => unreachable!("{at:?} is no common step"),
    }
}

/// Answers an operation, lets the lock go and turns to the next one.
pub(crate) fn answer(state: &mut State, index: usize, commit: u8) {
    let writer = state.writers[index];
    if commit != NONE {
        let bits = if writer.refused { &mut state.refused } else { &mut state.acknowledged };
        *bits |= 1 << commit;
    }
    if u8::try_from(index) == Ok(state.catalog.lock) {
        state.catalog.lock = NONE;
    }
    state.writers[index] = Writer { operation: writer.operation + 1, ..Writer::NEW };
}

/// What a writer does from where it is.
pub(crate) fn name(at: At) -> &'static str {
    match at {
        At::Lock => "lock by",
        At::Read => "read of the pointer by",
        At::Reserve => "row id for",
        At::SettlePut => "repairing put by",
        At::SettleSwap => "repairing swap by",
        At::FinishDrop => "trash entry by",
        At::FinishRename => "new name by",
        At::UndoRename => "rename undone by",
        At::Vanish => "pointer removed by",
        At::PutFirst => "first snapshot by",
        At::Appear => "first pointer by",
        At::Put => "put by",
        At::Check => "look at the lock by",
        At::Swap => "swap by",
        At::Wait => "wait of",
        At::Answer => "answer of",
        At::Crashed => "nothing by",
    }
}

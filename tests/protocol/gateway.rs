//! A gateway's steps: `src/table/{commit,settle,merge,lifecycle,rename}.rs`, one request a step.

use crate::losing::{answer, name};
use crate::rules::{Emit, HEALER, Operation, Protocol, Scenario, Step};
use crate::state::{At, Id, Kind, Leaf, NONE, Object, State, Writer};

/// A writer's place and what it is asked to do.
type Who = (usize, Operation);

/// All states that a gateway's next step leads to.
pub(crate) fn steps(scenario: &Scenario, state: &State, who: Who, emit: &mut Emit<'_>) {
    let (index, _) = who;
    let writer = state.writers[index];
    if writer.at == At::Crashed || (writer.at == At::Lock && state.catalog.lock != NONE) {
        return;
    }
    let mut after = *state;
    advance(scenario, &mut after, who);
    emit(&Step(name(writer.at), index), after);
    let put = object_to_put(scenario, state, who);
    if state.budget.unknown > 0 {
        unknown(state, who, put, emit);
    }
    if state.budget.crashes > 0 && writer.at != At::Lock {
        let mut after = *state;
        after.budget.crashes -= 1;
        after.writers[index] =
            Writer { at: At::Crashed, operation: writer.operation, ..Writer::NEW };
        // A put may be on its way when its sender dies.
        if let Some(object) = put {
            let mut sent = after;
            if sent.send(object) {
                emit(&Step("crash with a put under way of", index), sent);
            }
        }
        emit(&Step("crash of", index), after);
    }
}

/// A request happens and its answer is lost, or it is under way and its sender gives up waiting.
fn unknown(state: &State, who: Who, put: Option<Object>, emit: &mut Emit<'_>) {
    let (index, operation) = who;
    let mut after = *state;
    after.budget.unknown -= 1;
    match (state.writers[index].at, put) {
        (At::Put, Some(object)) if matches!(operation, Operation::Commit(_)) => {
            let mut landed = after;
            if landed.create(object).is_ok() {
                emit(&Step("put without answer by", index), landed);
            }
            if after.send(object) {
                emit(&Step("put given up by", index), after);
            }
        }
        (At::Swap, _) => {
            after.writers[index].at = At::Answer;
            emit(&Step("swap given up by", index), after);
        }
        _ => {}
    }
}

/// The object that the next step puts under a successor's name.
fn object_to_put(scenario: &Scenario, state: &State, (index, operation): Who) -> Option<Object> {
    let writer = state.writers[index];
    let behind = |kind| Object::behind(writer.tip, writer.tip, kind);
    match (writer.at, operation) {
        (At::SettlePut, _) => {
            let (slot, kind, from) = writer.repair;
            let adopts = kind == Kind::Adopt;
            let commit = if adopts { NONE } else { state.object(from).commit };
            Some(Object { commit, from, ..Object::behind(slot, slot, kind) })
        }
        (At::UndoRename, _) => {
            Some(Object::behind(writer.tip, state.object(writer.tip).previous, Kind::Ours))
        }
        (At::Put, Operation::Commit(_)) => {
            let commit = scenario.commit(state, index);
            Some(Object { commit, row_id: writer.row_id, ..behind(Kind::Ours) })
        }
        (At::Put, Operation::Drop) if scenario.protocol != Protocol::DropWithoutMark => {
            Some(behind(Kind::Dropped))
        }
        (At::Put, Operation::Rename) => Some(Object { from: writer.made, ..behind(Kind::Renamed) }),
        _ => None,
    }
}

/// Takes a gateway's next step as it goes without a fault.
fn advance(scenario: &Scenario, state: &mut State, who: Who) {
    let (index, operation) = who;
    let writer = state.writers[index];
    match writer.at {
        At::Lock => {
            state.catalog.lock = u8::try_from(index).unwrap();
            state.writers[index].at = At::Read;
            state.writers[index].closely =
                !matches!(operation, Operation::Commit(_) | Operation::Create);
        }
        At::Read => read(scenario, state, who),
        At::Reserve => {
            let above = state.row_ids(writer.tip).max(state.catalog.row_ids);
            state.catalog.row_ids = above + 1;
            state.writers[index].row_id = above + 1;
            state.writers[index].at = At::Read;
        }
        At::SettlePut => {
            let object = object_to_put(scenario, state, who).unwrap();
            let _ = state.create(object);
            look(scenario, state, who);
        }
        At::SettleSwap => {
            if swap(state, who, writer.tip) {
                have_head(scenario, state, who, writer.tip);
            } else {
                state.writers[index].at = At::Read;
            }
        }
        At::FinishDrop => {
            state.catalog.trash = trash(state, writer.tip);
            state.writers[index].at = At::Vanish;
        }
        At::FinishRename => finish_rename(state, who),
        At::UndoRename => {
            let object = object_to_put(scenario, state, who).unwrap();
            let back = state.create(object).unwrap_or_else(|there| there);
            state.writers[index].tip = back;
            state.writers[index].at = At::SettleSwap;
        }
        At::Vanish => vanish(scenario, state, who),
        At::PutFirst => put_first(state, who),
        At::Appear => appear(state, who),
        At::Put => put(scenario, state, who),
        At::Swap => swing(scenario, state, who),
        At::Answer => {
            let commits = matches!(operation, Operation::Commit(_));
            let commit = if commits { scenario.commit(state, index) } else { NONE };
            answer(state, index, commit);
        }
        At::Check | At::Wait | At::Crashed => unreachable!("{:?}", writer.at),
    }
}

/// Names a table in the catalogue for the first time.
fn appear(state: &mut State, (index, operation): Who) {
    let leaf = &mut state.catalog.leaves[operation.table()];
    let free = *leaf == Leaf::ABSENT;
    if free {
        *leaf = Leaf { version: 0, snapshot: state.writers[index].made };
    }
    state.writers[index].refused = !free;
    state.writers[index].at = At::Answer;
}

/// Swings the pointer to a commit that stands.
fn swing(scenario: &Scenario, state: &mut State, who: Who) {
    let (index, _) = who;
    let made = state.writers[index].made;
    let unlocked = u8::try_from(index) != Ok(state.catalog.lock);
    if scenario.protocol == Protocol::LockAtSwap && unlocked {
        state.writers[index].refused = true;
        state.writers[index].at = At::Answer;
    } else if swap(state, who, made) {
        state.writers[index].at = At::Answer;
    } else {
        state.writers[index].closely = true;
        state.writers[index].at = At::Read;
    }
}

/// The last snapshot of a dropped table.
fn trash(state: &State, mark: Id) -> Id {
    let end = state.object(mark);
    if end.kind == Kind::Dropped { end.previous } else { mark }
}

/// Removes the pointer of a table that ended, if what must be there first is there.
fn vanish(scenario: &Scenario, state: &mut State, (index, operation): Who) {
    let writer = state.writers[index];
    let table = operation.table();
    if state.catalog.leaves[table] == writer.leaf {
        let renamed = state.object(writer.tip).kind == Kind::Renamed;
        let missing = if renamed {
            state.catalog.leaves[1] == Leaf::ABSENT
        } else {
            state.catalog.trash != trash(state, writer.tip)
        };
        if missing && scenario.protocol != Protocol::VanishUnchecked {
            let again = if renamed { At::FinishRename } else { At::FinishDrop };
            state.writers[index].at = again;
            return;
        }
        state.catalog.leaves[table] = Leaf::ABSENT;
    }
    let own = writer.stands && matches!(operation, Operation::Drop | Operation::Rename);
    state.writers[index].at = if own { At::Answer } else { At::Read };
}

/// Compares the pointer with what was read and swaps it.
fn swap(state: &mut State, (index, operation): Who, snapshot: Id) -> bool {
    let leaf = &mut state.catalog.leaves[operation.table()];
    let same = *leaf == state.writers[index].leaf;
    if same {
        *leaf = leaf.next(snapshot);
        state.writers[index].leaf = *leaf;
    }
    same
}

/// Reads the pointer (S2).
fn read(scenario: &Scenario, state: &mut State, who: Who) {
    let (index, operation) = who;
    let leaf = state.catalog.leaves[operation.table()];
    let writer = &mut state.writers[index];
    writer.leaf = leaf;
    match (operation, leaf.snapshot) {
        (Operation::Create, NONE) => writer.at = At::PutFirst,
        (Operation::Create, _) => refuse(writer),
        (_, NONE) if writer.stands => writer.at = At::Answer,
        (_, NONE) => refuse(writer),
        _ => look(scenario, state, who),
    }
}

fn refuse(writer: &mut Writer) {
    writer.refused = true;
    writer.at = At::Answer;
}

/// What settling does next about the pointer as read.
fn look(scenario: &Scenario, state: &mut State, who: Who) {
    let (index, _) = who;
    let writer = state.writers[index];
    let named = writer.leaf.snapshot;
    let ours = state.object(named).kind != Kind::Foreign;
    if ours && !writer.closely {
        return have_head(scenario, state, who, named);
    }
    let beside = !state.on_trunk(named);
    let believed = scenario.protocol == Protocol::PointerWins
        && state.successor(state.object(named).previous) != NONE;
    let mut from = named;
    if beside && !believed {
        match take_over(state, named) {
            Ok(tip) => from = tip,
            Err(repair) => {
                state.writers[index].repair = repair;
                state.writers[index].at = At::SettlePut;
                return;
            }
        }
    }
    let walk = state.walk(from);
    let writer = &mut state.writers[index];
    if walk.end != NONE {
        writer.tip = walk.end;
        let dropped = state.object(walk.end).kind == Kind::Dropped;
        state.writers[index].at = if dropped { At::FinishDrop } else { At::FinishRename };
    } else if walk.tip == named {
        have_head(scenario, state, who, named);
    } else {
        writer.tip = walk.tip;
        writer.at = At::SettleSwap;
    }
}

/// The trunk snapshot from which a walk finds all that ended in the foreign snapshot `named`, or
/// the put that is missing for it.
fn take_over(state: &State, named: Id) -> Result<Id, (Id, Kind, Id)> {
    let mut foreign = vec![named];
    let mut trunk = state.object(named).previous;
    while !state.on_trunk(trunk) {
        foreign.push(trunk);
        trunk = state.object(trunk).previous;
    }
    let first = foreign.pop().unwrap_or(named);
    if state.successor(trunk) == NONE {
        return Err((trunk, Kind::Adopt, first));
    }
    let walk = state.walk(trunk);
    if walk.end != NONE {
        return Ok(trunk);
    }
    let missing = std::iter::once(first).chain(foreign.into_iter().rev());
    match missing.into_iter().find(|id| walk.foreign & (1 << id) == 0) {
        Some(missing) => Err((walk.tip, Kind::Ours, missing)),
        None => Ok(trunk),
    }
}

/// Goes on with the operation on the newest snapshot.
fn have_head(scenario: &Scenario, state: &mut State, who: Who, tip: Id) {
    let (index, operation) = who;
    let commits = matches!(operation, Operation::Commit(_));
    let own = if commits { 1_u32 << scenario.commit(state, index) } else { 0 };
    let taken = state.row_ids(tip) >= state.writers[index].row_id
        && scenario.protocol != Protocol::RowIdsUnchecked;
    let known = state.commits(tip) & own != 0 && scenario.protocol != Protocol::NoOwnCheck;
    let target = state.catalog.leaves[1];
    let writer = &mut state.writers[index];
    writer.tip = tip;
    writer.at = match operation {
        _ if writer.stands => At::Answer,
        Operation::Settle(_) => At::Answer,
        Operation::Commit(_) if known => At::Answer,
        Operation::Commit(_) if scenario.row_ids && (writer.row_id == 0 || taken) => At::Reserve,
        Operation::Rename if target != Leaf::ABSENT => return refuse(writer),
        Operation::Rename => At::PutFirst,
        Operation::Commit(_) | Operation::Drop | Operation::Create => At::Put,
    };
}

/// Puts the first snapshot of a name.
fn put_first(state: &mut State, (index, operation): Who) {
    let tip = state.writers[index].tip;
    let renames = operation == Operation::Rename;
    let previous = if renames { tip } else { NONE };
    state.writers[index].made = state.add(Object { previous, ..Object::FIRST });
    state.writers[index].at = if renames { At::Put } else { At::Appear };
}

/// The commit point (S4).
fn put(scenario: &Scenario, state: &mut State, who: Who) {
    let (index, operation) = who;
    let Some(object) = object_to_put(scenario, state, who) else {
        // The broken form of a drop has none.
        state.writers[index].stands = true;
        state.writers[index].at = At::FinishDrop;
        return;
    };
    let put = state.create(object).or_else(|there| {
        let own = object.commit != NONE
            && state.object(there).commit == object.commit
            && scenario.protocol != Protocol::NoOwnCheck;
        if own { Ok(there) } else { Err(there) }
    });
    let writer = &mut state.writers[index];
    let Ok(made) = put else {
        writer.closely = true;
        writer.at = At::Read;
        return;
    };
    writer.stands = true;
    match operation {
        Operation::Drop => (writer.tip, writer.at) = (made, At::FinishDrop),
        Operation::Rename => (writer.tip, writer.at) = (made, At::FinishRename),
        _ => (writer.made, writer.at) = (made, At::Swap),
    }
}

/// Lets the new name's pointer appear; if the name was taken, the old table goes on.
fn finish_rename(state: &mut State, (index, _): Who) {
    let first = state.object(state.writers[index].tip).from;
    let target = state.catalog.leaves[1];
    let at = if target == Leaf::ABSENT {
        state.catalog.leaves[1] = Leaf { version: 0, snapshot: first };
        At::Vanish
    } else if descends(state, target.snapshot, first) {
        At::Vanish
    } else {
        At::UndoRename
    };
    state.writers[index].at = at;
}

fn descends(state: &State, from: Id, first: Id) -> bool {
    let mut next = from;
    while next != NONE {
        if next == first {
            return true;
        }
        next = state.object(next).previous;
    }
    false
}

/// Lets a gateway that comes later repair a table.
pub(crate) fn settle(scenario: &Scenario, state: &mut State, table: usize) {
    let who = (HEALER, Operation::Settle(table));
    state.writers[HEALER] = Writer { at: At::Read, closely: true, ..Writer::NEW };
    for _ in 0..200 {
        if state.writers[HEALER].at == At::Answer {
            return;
        }
        advance(scenario, state, who);
    }
    panic!("a repair does not end: {state:?}");
}

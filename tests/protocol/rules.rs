//! A scenario: who does what, what may go wrong, and what must hold.

use std::fmt;

use crate::gateway;
use crate::losing;
use crate::search::Found;
use crate::state::{At, Budget, FOREIGN_COMMITS, Id, Kind, NONE, State, Writer};

/// Place of the gateway that repairs everything at an end.
pub(crate) const HEALER: usize = 4;

/// How a commit is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Lock, read, put, set (SuperTable 2.0.2).
    LockAndSet,
    /// The same; the lock is looked at before the set (SuperTable 3.4.3).
    LockCheckAndSet,
    /// The pointer is compared and swapped.
    Swap,
    /// The same, and the replica has it before the answer.
    SwapAndWait,
    /// Ours: the create-only put of the successor.
    Successor,
    /// Ours, but a foreign pointer beside the trunk is believed.
    PointerWins,
    /// Ours, but who finds the successor taken does not look whether it is his own.
    NoOwnCheck,
    /// Ours, but a drop only removes the pointer.
    DropWithoutMark,
    /// Ours, but the old pointer is removed without a look at what was to be there first: the
    /// entry in the trash, the pointer of the new name.
    VanishUnchecked,
    /// Ours, but row ids are not looked at again when the pointer moved.
    RowIdsUnchecked,
    /// Ours, but the swap demands the lock and is answered with an error without it.
    LockAtSwap,
}

impl Protocol {
    /// Whether it is ours or a broken form of ours.
    pub(crate) fn has_trunk(self) -> bool {
        !matches!(self, Self::LockAndSet | Self::LockCheckAndSet | Self::Swap | Self::SwapAndWait)
    }
}

/// What a gateway is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Commit a row to the table of this number.
    Commit(usize),
    /// Drop table 0.
    Drop,
    /// Make table 0 anew.
    Create,
    /// Give table 0 the name of table 1.
    Rename,
    /// Only repair.
    Settle(usize),
}

impl Operation {
    pub(crate) fn table(self) -> usize {
        match self {
            Self::Commit(table) | Self::Settle(table) => table,
            Self::Drop | Self::Create | Self::Rename => 0,
        }
    }
}

/// Another writer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Foreign {
    /// Whether it looks at its lock before it sets the pointer.
    pub(crate) checks: bool,
    /// Number of its commits.
    pub(crate) commits: u8,
}

/// Who does what and what may go wrong.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) gateways: Vec<Vec<Operation>>,
    pub(crate) foreign: Vec<Foreign>,
    pub(crate) budget: Budget,
    /// Whether commits reserve row ids.
    pub(crate) row_ids: bool,
}

/// One step of somebody.
pub(crate) struct Step(pub(crate) &'static str, pub(crate) usize);

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}

pub(crate) type Emit<'a> = dyn FnMut(&Step, State) + 'a;

impl Scenario {
    pub(crate) fn start(&self) -> State {
        State::new(self.budget)
    }

    /// All states that may follow.
    pub(crate) fn steps(&self, state: &State, emit: &mut Emit<'_>) {
        for (index, operations) in self.gateways.iter().enumerate() {
            let writer = state.writers[index];
            let Some(operation) = operations.get(usize::from(writer.operation)) else { continue };
            if self.protocol.has_trunk() {
                gateway::steps(self, state, (index, *operation), emit);
            } else {
                losing::steps(self, state, index, emit);
            }
        }
        for (number, foreign) in self.foreign.iter().enumerate() {
            let index = self.gateways.len() + number;
            if state.writers[index].operation < foreign.commits {
                losing::foreign_steps(state, index, (number, foreign.checks), emit);
            }
        }
        self.surroundings(state, emit);
    }

    /// What happens without any writer.
    fn surroundings(&self, state: &State, emit: &mut Emit<'_>) {
        let holder = state.catalog.lock;
        if holder != NONE {
            let dead = state.writers[usize::from(holder)].at == At::Crashed;
            if dead || state.budget.expiries > 0 {
                let mut after = *state;
                after.catalog.lock = NONE;
                after.budget.expiries -= u8::from(!dead);
                emit(&Step("lock expires", usize::from(holder)), after);
            }
        }
        if state.budget.failovers > 0 {
            if state.replica != state.catalog {
                let mut after = *state;
                after.replica = state.catalog;
                emit(&Step("replica follows", 0), after);
            }
            let mut after = *state;
            after.catalog = state.replica;
            after.epoch += 1;
            after.budget.failovers -= 1;
            emit(&Step("failover", 0), after);
        }
        for (index, object) in state.pending() {
            let mut after = *state;
            after.forget_pending(index);
            let _ = after.create(object);
            emit(&Step("late put arrives", index), after);
        }
    }

    /// Number of the commit that a writer is at.
    pub(crate) fn commit(&self, state: &State, index: usize) -> u8 {
        let operation = state.writers[index].operation;
        match index.checked_sub(self.gateways.len()) {
            None => u8::try_from(index).unwrap() * 4 + operation,
            Some(number) => FOREIGN_COMMITS + u8::try_from(number).unwrap() * 2 + operation,
        }
    }

    fn is_done(&self, index: usize, writer: &Writer) -> bool {
        let all = match self.gateways.get(index) {
            Some(operations) => operations.len(),
            None => match self.foreign.get(index - self.gateways.len()) {
                Some(foreign) => usize::from(foreign.commits),
                None => 0,
            },
        };
        writer.at == At::Crashed || usize::from(writer.operation) >= all
    }

    /// Looks whether the promises hold in a state.
    pub(crate) fn judge(&self, state: &State, found: &mut Found) {
        if doubled(state, |object| object.commit, NONE) {
            found.doubled += 1;
        }
        if doubled(state, |object| object.row_id, 0) {
            found.same_row_id += 1;
        }
        if !state.writers.iter().enumerate().all(|(index, writer)| self.is_done(index, writer)) {
            return;
        }
        found.ends += 1;
        let mut healed = *state;
        if self.protocol.has_trunk() {
            for table in [0, 1, 0] {
                gateway::settle(self, &mut healed, table);
            }
        }
        let shown = shown(&healed);
        let stored = stored(&healed) | shown;
        let ours = u32::from(state.acknowledged) & ((1 << FOREIGN_COMMITS) - 1);
        let theirs = u32::from(state.acknowledged) & !((1 << FOREIGN_COMMITS) - 1);
        found.lost += u64::from(ours & !stored != 0);
        found.unreachable += u64::from(ours & !stored == 0 && ours & !shown != 0);
        found.refused_stands += u64::from(u32::from(state.refused) & stored != 0);
        found.foreign_lost += u64::from(theirs & !shown != 0);
    }
}

/// Whether something is twice in the history of a name.
fn doubled(state: &State, of: fn(&crate::state::Object) -> u8, nothing: u8) -> bool {
    ends(state).any(|end| {
        let mut seen = 0_u32;
        state.ancestry(end).map(of).filter(|value| *value != nothing).any(|value| {
            let bit = 1 << value;
            let twice = seen & bit != 0;
            seen |= bit;
            twice
        })
    })
}

/// Where histories end: the pointers and the trunks.
fn ends(state: &State) -> impl Iterator<Item = Id> {
    let named = state.catalog.leaves.into_iter().map(|leaf| leaf.snapshot);
    let firsts = state.objects().filter(|(_, object)| object.kind == Kind::First);
    let tips = firsts.map(|(id, _)| state.walk(id).tip);
    named.chain(tips).filter(|id| *id != NONE)
}

/// Commits that a user finds: in a table or in the trash.
fn shown(state: &State) -> u32 {
    let leaves = state.catalog.leaves.iter().map(|leaf| leaf.snapshot);
    let ends = leaves.chain([state.catalog.trash]);
    ends.filter(|id| *id != NONE).fold(0, |all, id| all | state.commits(id))
}

/// Commits on any trunk, whether a pointer leads there or not.
fn stored(state: &State) -> u32 {
    let firsts = state.objects().filter(|(_, object)| object.kind == Kind::First);
    firsts.fold(0, |all, (id, _)| all | state.commits(state.walk(id).tip))
}

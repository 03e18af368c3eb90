//! What the model knows of a lake: objects, pointers, lock, writers. Everything is a few bytes, so
//! that millions of states fit.

/// Number of an object; also of a snapshot.
pub(crate) type Id = u8;
/// No object, no holder, no commit.
pub(crate) const NONE: u8 = u8::MAX;
/// Most objects of a run.
const OBJECTS_MAX: usize = 18;
/// Most puts whose sender is gone or gave up waiting.
const PENDING_MAX: usize = 3;
/// Number of the first commit of another writer; those below are ours.
pub(crate) const FOREIGN_COMMITS: u8 = 12;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// First snapshot of a name.
    First,
    /// Snapshot of a gateway.
    Ours,
    /// Snapshot of another writer, under a name of its own.
    Foreign,
    /// Takes a foreign snapshot over unchanged.
    Adopt,
    /// Ends the trunk: the table was dropped.
    Dropped,
    /// Ends the trunk: the table has another name.
    Renamed,
}

/// An object; never changed once it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    /// Snapshot before it.
    pub(crate) previous: Id,
    /// Object whose successor's name it has; `NONE` = a name of its own.
    pub(crate) slot: Id,
    /// Commit that made it.
    pub(crate) commit: u8,
    /// Foreign snapshot that it takes over or re-applies; first snapshot of the new name.
    pub(crate) from: Id,
    /// Row id of the commit's one row.
    pub(crate) row_id: u8,
}

/// A table's pointer: number of changes and the snapshot, as the leaf's bytes hold both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Leaf {
    pub(crate) version: u8,
    pub(crate) snapshot: Id,
}

impl Leaf {
    pub(crate) const ABSENT: Self = Self { version: 0, snapshot: NONE };

    pub(crate) fn next(self, snapshot: Id) -> Self {
        Self { version: self.version.saturating_add(1), snapshot }
    }
}

/// The catalogue; all of it may be rolled back to what the replica has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Catalog {
    pub(crate) leaves: [Leaf; 2],
    pub(crate) lock: u8,
    pub(crate) row_ids: u8,
    /// Last snapshot of the table that was dropped last.
    pub(crate) trash: Id,
}

/// Where a writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum At {
    Lock,
    Read,
    Reserve,
    SettlePut,
    SettleSwap,
    FinishDrop,
    FinishRename,
    UndoRename,
    Vanish,
    PutFirst,
    Appear,
    Put,
    Check,
    Swap,
    Wait,
    Answer,
    Crashed,
}

/// A gateway or another writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Writer {
    pub(crate) at: At,
    /// Index of the operation under way.
    pub(crate) operation: u8,
    /// Whether the trunk is to be followed to its end.
    pub(crate) closely: bool,
    /// Whether the operation's own object stands and only the pointer is repaired.
    pub(crate) stands: bool,
    /// Whether the operation is answered with a refusal.
    pub(crate) refused: bool,
    /// The leaf as read.
    pub(crate) leaf: Leaf,
    /// Newest snapshot found, or the mark at the trunk's end.
    pub(crate) tip: Id,
    /// Object put by this operation, or to be swapped to.
    pub(crate) made: Id,
    /// Slot, kind and origin of the object that a repair puts.
    pub(crate) repair: (Id, Kind, Id),
    pub(crate) row_id: u8,
    /// Failovers seen when the pointer was swapped.
    pub(crate) epoch: u8,
}

impl Writer {
    pub(crate) const NEW: Self = Self {
        at: At::Lock,
        operation: 0,
        closely: false,
        stands: false,
        refused: false,
        leaf: Leaf::ABSENT,
        tip: NONE,
        made: NONE,
        repair: (NONE, Kind::Ours, NONE),
        row_id: 0,
        epoch: 0,
    };
}

/// What may still go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// Locks that expire under a live holder.
    pub(crate) expiries: u8,
    /// Failovers to the replica.
    pub(crate) failovers: u8,
    /// Crashes of gateways.
    pub(crate) crashes: u8,
    /// Requests whose outcome their sender does not learn.
    pub(crate) unknown: u8,
}

/// Everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) catalog: Catalog,
    pub(crate) replica: Catalog,
    pub(crate) epoch: u8,
    objects: [Object; OBJECTS_MAX],
    pub(crate) count: u8,
    pub(crate) writers: [Writer; 5],
    pending: [Object; PENDING_MAX],
    /// Commits that were acknowledged, one bit each.
    pub(crate) acknowledged: u16,
    /// Commits that were refused.
    pub(crate) refused: u16,
    pub(crate) budget: Budget,
}

/// End of a walk along the trunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk {
    pub(crate) tip: Id,
    /// Mark at which it ended.
    pub(crate) end: Id,
    /// Foreign snapshots taken over or re-applied on the way, one bit each.
    pub(crate) foreign: u32,
}

const NOTHING: Object =
    Object { kind: Kind::Ours, previous: NONE, slot: NONE, commit: NONE, from: NONE, row_id: 0 };

impl Object {
    /// A first snapshot.
    pub(crate) const FIRST: Self = Self { kind: Kind::First, ..NOTHING };

    pub(crate) fn behind(slot: Id, previous: Id, kind: Kind) -> Self {
        Self { kind, previous, slot, ..NOTHING }
    }
}

impl State {
    /// One table with an empty first snapshot.
    pub(crate) fn new(budget: Budget) -> Self {
        let leaf = Leaf { version: 0, snapshot: 0 };
        let catalog = Catalog { leaves: [leaf, Leaf::ABSENT], lock: NONE, row_ids: 0, trash: NONE };
        let mut state = Self {
            catalog,
            replica: catalog,
            epoch: 0,
            objects: [NOTHING; OBJECTS_MAX],
            count: 0,
            writers: [Writer::NEW; 5],
            pending: [NOTHING; PENDING_MAX],
            acknowledged: 0,
            refused: 0,
            budget,
        };
        state.add(Object::FIRST);
        state
    }

    pub(crate) fn object(&self, id: Id) -> &Object {
        &self.objects[usize::from(id)]
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = (Id, &Object)> {
        (0..self.count).zip(&self.objects)
    }

    /// Puts an object.
    pub(crate) fn add(&mut self, object: Object) -> Id {
        let id = self.count;
        self.objects[usize::from(id)] = object;
        self.count += 1;
        id
    }

    /// Puts an object create-only under its name; `false` if the name is taken.
    pub(crate) fn create(&mut self, object: Object) -> Result<Id, Id> {
        match self.successor(object.slot) {
            NONE => Ok(self.add(object)),
            there => Err(there),
        }
    }

    /// What stands at the successor's name of an object.
    pub(crate) fn successor(&self, of: Id) -> Id {
        if of == NONE {
            return NONE;
        }
        self.objects().find(|(_, object)| object.slot == of).map_or(NONE, |(id, _)| id)
    }

    /// Remembers a put that is under way without a sender; `false` if there is no room.
    pub(crate) fn send(&mut self, object: Object) -> bool {
        match self.pending.iter_mut().find(|place| **place == NOTHING) {
            Some(place) => {
                *place = object;
                true
            }
            None => false,
        }
    }

    pub(crate) fn pending(&self) -> impl Iterator<Item = (usize, Object)> + use<> {
        self.pending.into_iter().enumerate().filter(|(_, object)| *object != NOTHING)
    }

    pub(crate) fn forget_pending(&mut self, index: usize) {
        self.pending[index] = NOTHING;
        // One order only, so that equal states are equal.
        self.pending.sort_by_key(|object| (object.slot, object.commit));
    }

    /// Whether a snapshot is on the trunk.
    pub(crate) fn on_trunk(&self, id: Id) -> bool {
        let object = self.object(id);
        if object.kind != Kind::Foreign {
            return true;
        }
        let mark = self.successor(object.previous);
        mark != NONE && self.object(mark).kind == Kind::Adopt && self.object(mark).from == id
    }

    /// Follows the trunk to its end.
    pub(crate) fn walk(&self, from: Id) -> Walk {
        let mut walk = Walk { tip: from, end: NONE, foreign: 0 };
        loop {
            let next = self.successor(walk.tip);
            if next == NONE {
                return walk;
            }
            let object = *self.object(next);
            match object.kind {
                Kind::Adopt => {
                    walk.foreign |= 1 << object.from;
                    walk.tip = object.from;
                }
                Kind::Dropped | Kind::Renamed => match self.successor(next) {
                    NONE => {
                        walk.end = next;
                        return walk;
                    }
                    restored => walk.tip = restored,
                },
                _ => {
                    if object.from != NONE {
                        walk.foreign |= 1 << object.from;
                    }
                    walk.tip = next;
                }
            }
        }
    }

    /// A snapshot and all before it, newest first.
    pub(crate) fn ancestry(&self, from: Id) -> impl Iterator<Item = &Object> {
        let mut next = from;
        std::iter::from_fn(move || {
            let object = (next != NONE).then(|| self.object(next))?;
            next = object.previous;
            Some(object)
        })
    }

    /// Commits in an ancestry, one bit each.
    pub(crate) fn commits(&self, from: Id) -> u32 {
        let found = self.ancestry(from).filter(|object| object.commit != NONE);
        found.fold(0, |all, object| all | 1 << object.commit)
    }

    /// Highest row id of an ancestry.
    pub(crate) fn row_ids(&self, from: Id) -> u8 {
        self.ancestry(from).map(|object| object.row_id).max().unwrap_or_default()
    }
}

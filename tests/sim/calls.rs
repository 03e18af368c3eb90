//! At every call of every operation something happens once, until no call is left: it fails before
//! or after it happened, the gateway dies, or it pauses until its lock is another's. Then the
//! operation has happened or not, and can be asked for again.

use mountable::error::{Error, ErrorKind, Result};
use mountable::lake::CommitOutcome;

use crate::counts::count;
use crate::lab::{Gateway, Lab, Row};
use crate::world::{Fate, Weather, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Create,
    Append,
    Edit,
    Delete,
    Configure,
    Drop,
    Restore,
    Rename,
    /// An append by a gateway whose pointer is behind: it finds others' commits first.
    Rebase,
    /// An append after the catalogue was rolled back.
    Settle,
    Vacuum,
    Read,
}

const OPERATIONS: [Operation; 12] = [
    Operation::Create,
    Operation::Append,
    Operation::Edit,
    Operation::Delete,
    Operation::Configure,
    Operation::Drop,
    Operation::Restore,
    Operation::Rename,
    Operation::Rebase,
    Operation::Settle,
    Operation::Vacuum,
    Operation::Read,
];

const FATES: [Fate; 6] = [
    Fate::FailsBefore,
    Fate::FailsAfter,
    Fate::Late,
    Fate::CrashesBefore,
    Fate::CrashesAfter,
    Fate::Pauses,
];

/// A table as a user sees it; `None` = there is no such table.
type Shown = Option<(Vec<Row>, bool)>;

async fn shown(gateway: &Gateway, name: &str) -> Shown {
    match gateway.rows(name).await {
        Ok((snapshot, mut rows)) => {
            rows.sort_unstable();
            let refuses = snapshot.config.on_conflict == mountable::lake::OnConflict::Refuse;
            Some((rows, refuses))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("{name} cannot be read: {error}"),
    }
}

fn done(outcome: Result<CommitOutcome>) -> Result<()> {
    match outcome? {
        CommitOutcome::Committed { .. } => Ok(()),
        other => panic!("{other:?}"),
    }
}

/// What must be there before the operation.
async fn prepare(lab: &Lab, operation: Operation) -> Gateway {
    lab.furnish().await;
    let gateway = lab.gateway(0);
    if operation == Operation::Create {
        gateway.drop_table("orders").await.unwrap();
    } else {
        done(gateway.append("orders", &[(1, 10), (2, 20), (3, 30)]).await).unwrap();
    }
    match operation {
        Operation::Restore => gateway.drop_table("orders").await.unwrap(),
        Operation::Rebase => {
            let other = lab.gateway(1);
            done(other.append("orders", &[(4, 40)]).await).unwrap();
        }
        Operation::Settle => {
            lab.server.pin();
            done(gateway.append("orders", &[(4, 40)]).await).unwrap();
            assert!(lab.server.roll_back(6) || lab.server.roll_back(2));
            // The lock is held again; nobody is left to give it back.
            lab.world.wait(std::time::Duration::from_secs(60)).await;
            return lab.gateway(0);
        }
        Operation::Vacuum => {
            done(gateway.update("orders", (2, 21)).await).unwrap();
            done(gateway.append("orders", &[(4, 40)]).await).unwrap();
        }
        _ => {}
    }
    if operation == Operation::Rebase { gateway } else { lab.gateway(0) }
}

async fn act(gateway: &Gateway, operation: Operation) -> Result<()> {
    match operation {
        Operation::Create => gateway.create("orders").await.map(|_| ()),
        Operation::Append | Operation::Rebase | Operation::Settle => {
            done(gateway.append("orders", &[(9, 90), (8, 80)]).await)
        }
        Operation::Edit => done(gateway.update("orders", (2, 21)).await),
        Operation::Delete => done(gateway.delete("orders", 2).await),
        Operation::Configure => done(gateway.configure("orders").await),
        Operation::Drop => gateway.drop_table("orders").await,
        Operation::Restore => gateway.restore().await.map(|_| ()),
        Operation::Rename => gateway.rename("orders", "archive").await.map(|_| ()),
        Operation::Vacuum => gateway.vacuum("orders").await.map(|_| ()),
        Operation::Read => gateway.rows("orders").await.map(|_| ()),
    }
}

/// Both names, as a gateway sees them that comes later; it commits nothing.
async fn later(lab: &Lab) -> [Shown; 2] {
    let eye = lab.gateway(98);
    // A drop or a rename whose mark stands is completed by whoever meets it: a commit meets it.
    for name in ["orders", "archive"] {
        if let Ok(base) = eye.latest(name).await {
            let none = mountable::lake::Edit { at: 0, remove: 0, insert: 0 };
            match eye.edit(&base, none, &[]).await {
                Ok(CommitOutcome::Unchanged { .. }) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => panic!("an empty change: {other:?}"),
            }
        }
    }
    [shown(&eye, "orders").await, shown(&eye, "archive").await]
}

/// A row that another gateway appends.
const RIVALS: Row = (555, 5);

/// While a gateway pauses, its lock expires and another one commits; whether it did.
async fn compete(world: &World, rival: &Gateway, fate: Fate) -> bool {
    if fate != Fate::Pauses {
        return false;
    }
    world.wait(std::time::Duration::from_secs(40)).await;
    match rival.append("orders", &[RIVALS]).await {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => panic!("the lock has expired: {error}"),
    }
}

/// What is seen when a rival's row has come in.
fn joined(mut seen: [Shown; 2], rivals: bool) -> [Shown; 2] {
    if rivals {
        // There is one table, under one of the names.
        for (rows, _) in seen.iter_mut().flatten() {
            rows.push(RIVALS);
        }
    }
    seen
}

/// How one case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// The call was not reached any more.
    Over,
    /// It was, and the operation was answered well in spite of it.
    Answered,
    /// It was, and the operation was answered with an error.
    Refused,
}

async fn case(world: World, operation: Operation, n: u64, fate: Fate) -> Case {
    // How it looks without a fault.
    let calm = Lab::new(&world);
    let gateway = prepare(&calm, operation).await;
    act(&gateway, operation).await.unwrap();
    let after = later(&calm).await;
    let lab = Lab::new(&world);
    let gateway = prepare(&lab, operation).await;
    let rolled_back = operation == Operation::Settle;
    let before = if rolled_back { None } else { Some(later(&lab).await) };
    world.fail_nth(n, fate);
    let rival = lab.gateway(7);
    let (outcome, rivals) = tokio::select! {
        biased;
        both = futures::future::join(act(&gateway, operation), compete(&world, &rival, fate)) => both,
        () = world.death() => (Err(Error::new(ErrorKind::Unknown, "it died")), false),
    };
    let reached = world.reached();
    let (before, after) = (before.map(|shown| joined(shown, rivals)), joined(after, rivals));
    // Whatever was put aside for later.
    world.wait(std::time::Duration::from_secs(1_000)).await;
    let name = format!("{operation:?}, call {n} {fate:?}");
    let seen = later(&lab).await;
    match &outcome {
        Ok(()) => assert_eq!(seen, after, "{name}: acknowledged"),
        Err(error) => {
            let old = before.as_ref().is_none_or(|before| seen == *before);
            assert!(seen == after || old, "{name}: neither old nor new: {seen:?} ({error})");
            let certain = matches!(
                operation,
                Operation::Append
                    | Operation::Edit
                    | Operation::Delete
                    | Operation::Configure
                    | Operation::Rebase
            );
            if certain && error.kind() != ErrorKind::Unknown {
                assert_eq!(Some(&seen), before.as_ref(), "{name}: refused ({error})");
            }
        }
    }
    // It can be asked for again, and the lake goes on.
    let fresh = lab.gateway(2);
    if seen != after {
        act(&fresh, operation).await.unwrap_or_else(|error| panic!("{name}: again: {error}"));
        assert_eq!(later(&lab).await, after, "{name}: again");
    }
    for (place, shown) in ["orders", "archive"].into_iter().zip(&after) {
        if shown.is_some() {
            done(fresh.append(place, &[(77, 7)]).await).unwrap();
        }
    }
    match (reached, outcome) {
        (false, _) => Case::Over,
        (true, Ok(())) => Case::Answered,
        (true, Err(_)) => Case::Refused,
    }
}

#[test]
fn any_call_of_any_operation_may_fail_crash_or_pause() {
    let (mut cases, mut refused) = (0, 0);
    for operation in OPERATIONS {
        for fate in FATES {
            let mut n = 1;
            loop {
                let world = World::new(n, Weather::default());
                match world.run(case(world.clone(), operation, n, fate)) {
                    Case::Over => break,
                    ended => refused += u64::from(ended == Case::Refused),
                }
                cases += 1;
                n += 1;
                assert!(n < 200, "{operation:?}: calls do not end");
            }
            assert!(n > 2, "{operation:?} makes no calls");
        }
    }
    count(&format!(
        "at the n-th call: {cases} cases of {} operations x {} ways (error before, after, late; crash \
         before, after; pause beyond the lock while another commits), {refused} without an answer \
         or refused, 0 half done",
        OPERATIONS.len(),
        FATES.len()
    ));
}

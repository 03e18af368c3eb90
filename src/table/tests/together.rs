//! Changes that wait for each other's commit, and share the next one.

use super::*;
use crate::error::ErrorKind;
use crate::store::fault::{Call, Fault};

/// Rows at the end that stay in memory until the commit.
async fn held(table: &Table, base: &Arc<Snapshot>, rows: &[(i64, &str)]) -> ChangeSet {
    held_edit(table, base, &[(Edit::END, 0, u64::try_from(rows.len()).expect("small"))], rows).await
}

async fn held_edit(
    table: &Table,
    base: &Arc<Snapshot>,
    edits: &[(u64, u64, u64)],
    rows: &[(i64, &str)],
) -> ChangeSet {
    let mut change = change(table, base, edits, &[]).await;
    let mut writer = table.writer(base, &base.schema, &base.config.keys).expect("writer");
    if !rows.is_empty() {
        writer.write(batch(rows)).await.expect("write");
    }
    change.rows = writer.hold().await.expect("hold");
    assert_eq!(change.rows.held.is_some(), !rows.is_empty(), "few rows stay in memory");
    change
}

fn named(id: &str) -> Lineage {
    Lineage { write_id: id.to_owned(), client: format!("client {id}"), ..by("append") }
}

/// Commits changes that all wait before the first of them gets the table's lock.
async fn at_once(table: &Table, changes: Vec<(&str, ChangeSet)>) -> Vec<Result<CommitOutcome>> {
    let lease = table.lock().await.expect("lock");
    let mut tasks = Vec::new();
    for (id, change) in changes {
        let (table, lineage) = (table.clone(), named(id));
        tasks.push(tokio::spawn(async move { table.commit(change, lineage, Vec::new()).await }));
        // Each is in the queue before the next one comes.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    table.unlock(lease).await;
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.expect("no panic"));
    }
    outcomes
}

#[tokio::test]
async fn appends_that_wait_share_one_commit_and_one_file() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let base = append(&table, &[(1, "a")]).await;
    let ids = ["w0", "w1", "w2", "w3", "w4"];
    let mut changes = Vec::new();
    for (n, id) in (10..).zip(ids) {
        changes.push((id, held(&table, &base, &[(n, "x"), (n + 100, "yy")]).await));
    }
    for outcome in at_once(&table, changes).await {
        let CommitOutcome::Committed { snapshot, inserted, updated, deleted } =
            outcome.expect("commit")
        else {
            panic!("not committed")
        };
        assert_eq!((snapshot.version, inserted, updated, deleted), (base.version + 1, 2, 0, 0));
    }
    let fresh = lab.table("orders");
    let snapshot = latest(&fresh).await;
    assert_eq!(snapshot.version, base.version + 1);
    assert_eq!(snapshot.files.len(), 2, "one new file");
    assert_eq!(
        text(&fresh).await,
        "1=a 10=x 110=yy 11=x 111=yy 12=x 112=yy 13=x 113=yy 14=x 114=yy"
    );
    assert_eq!(snapshot.lineage.inserted, 10);
    let told: Vec<(&str, &str, u64)> = snapshot
        .lineage
        .changes()
        .iter()
        .map(|change| (change.write_id.as_str(), change.client.as_str(), change.inserted))
        .collect();
    let expected = ids.map(|id| (id, format!("client {id}"), 2_u64));
    let expected: Vec<_> = expected.iter().map(|(id, c, n)| (*id, c.as_str(), *n)).collect();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn each_of_a_shared_commit_is_found_by_its_id_and_not_repeated() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let base = append(&table, &[(1, "a")]).await;
    let mut changes = Vec::new();
    for (n, id) in [(2, "w2"), (3, "w3"), (4, "w4")] {
        changes.push((id, held(&table, &base, &[(n, "x")]).await));
    }
    for outcome in at_once(&table, changes).await {
        committed(outcome);
    }
    append(&table, &[(9, "z")]).await;
    let fresh = lab.table("orders");
    for (n, id) in [(2, "w2"), (3, "w3"), (4, "w4")] {
        let found = fresh.committed_since(&base, id).await.expect("look").expect("committed");
        assert_eq!(found.version, base.version + 1, "{id}");
        let again = held(&fresh, &base, &[(n, "x")]).await;
        let outcome = fresh.commit(again, named(id), Vec::new()).await.expect("commit");
        let CommitOutcome::Committed { snapshot, inserted, .. } = outcome else {
            panic!("not committed")
        };
        assert_eq!((snapshot.version, inserted), (base.version + 1, 1), "{id}");
    }
    assert_eq!(fresh.committed_since(&base, "w5").await.expect("look").map(|s| s.version), None);
    assert_eq!(text(&fresh).await, "1=a 2=x 3=x 4=x 9=z");
    // Repeated while others wait, it is not applied either.
    let mut changes = vec![("w3", held(&fresh, &base, &[(3, "x")]).await)];
    for (n, id) in [(20, "v0"), (21, "v1"), (20, "v0")] {
        changes.push((id, held(&fresh, &base, &[(n, "n")]).await));
    }
    for outcome in at_once(&fresh, changes).await {
        committed(outcome);
    }
    assert_eq!(text(&lab.table("orders")).await, "1=a 2=x 3=x 4=x 9=z 20=n 21=n");
}

#[tokio::test]
async fn a_refused_change_harms_none_that_waits_with_it() {
    let lab = Lab::with_super().await;
    let table = lab.table("keyed");
    let config = TableConfig { keys: vec!["id".to_owned()], ..TableConfig::default() };
    table.create(schema(), config, by("create")).await.expect("create");
    let base = append(&table, &[(1, "a"), (2, "b"), (3, "c")]).await;
    let changes = vec![
        ("w0", held(&table, &base, &[(10, "x")]).await),
        ("exists", held(&table, &base, &[(20, "x"), (1, "again")]).await),
        ("w1", held(&table, &base, &[(11, "x")]).await),
        ("taken", held(&table, &base, &[(10, "other")]).await),
        ("twice", held(&table, &base, &[(30, "x"), (30, "y")]).await),
        ("edit", held_edit(&table, &base, &[(1, 1, 1)], &[(2, "B")]).await),
        ("same row", held_edit(&table, &base, &[(1, 1, 1)], &[(2, "lost")]).await),
        ("freed", held_edit(&table, &base, &[(2, 1, 0)], &[]).await),
        ("outside", change(&table, &base, &[(7, 1, 0)], &[]).await),
    ];
    let ids: Vec<&str> = changes.iter().map(|(id, _)| *id).collect();
    let outcomes = at_once(&table, changes).await;
    let mut verdicts = Vec::new();
    for (id, outcome) in ids.iter().zip(outcomes) {
        let verdict = match outcome {
            Ok(CommitOutcome::Committed { snapshot, inserted, updated, deleted }) => {
                assert_eq!(snapshot.version, base.version + 1, "{id}");
                format!("+{inserted} ~{updated} -{deleted}")
            }
            Ok(CommitOutcome::Conflict { rows, .. }) => {
                format!("{:?} {:?}", rows[0].reason, rows[0].new_row)
            }
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("{:?}", error.kind()),
        };
        verdicts.push(verdict);
    }
    assert_eq!(
        verdicts,
        [
            "+1 ~0 -0",
            "KeyExists Some(1)",
            "+1 ~0 -0",
            "KeyExists Some(0)",
            "DuplicateKey Some(1)",
            "+0 ~1 -0",
            "ChangedByOther Some(0)",
            "+0 ~0 -1",
            "Invalid",
        ]
    );
    assert_eq!(text(&lab.table("keyed")).await, "1=a 2=B 10=x 11=x");
}

#[tokio::test]
async fn large_and_small_writes_and_deletes_go_together() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let base = append(&table, &[(1, "a"), (2, "b"), (3, "c"), (4, "d")]).await;
    let changes = vec![
        ("held", held(&table, &base, &[(10, "x")]).await),
        ("stored", change(&table, &base, &[(Edit::END, 0, 2)], &[(20, "s"), (21, "t")]).await),
        ("front", held_edit(&table, &base, &[(0, 0, 1)], &[(0, "first")]).await),
        ("gone", held_edit(&table, &base, &[(1, 2, 0)], &[]).await),
        ("edit", held_edit(&table, &base, &[(3, 1, 2)], &[(4, "D"), (5, "E")]).await),
    ];
    for outcome in at_once(&table, changes).await {
        assert_eq!(committed(outcome).version, base.version + 1);
    }
    assert_eq!(text(&lab.table("orders")).await, "0=first 1=a 4=D 5=E 10=x 20=s 21=t");
    let Lineage { inserted, updated, deleted, .. } = latest(&table).await.lineage.clone();
    assert_eq!((inserted, updated, deleted), (5, 1, 2));
}

#[tokio::test]
async fn a_change_of_columns_waits_for_its_own_commit() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let base = append(&table, &[(1, "a")]).await;
    let mut wider: Vec<Field> = schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    wider.push(Field::new("note", DataType::Utf8, true));
    let mut evolve = change(&table, &base, &[], &[]).await;
    evolve.schema = Some(SchemaChange { columns: Arc::new(Schema::new(wider)) });
    let changes = vec![
        ("w0", held(&table, &base, &[(2, "b")]).await),
        ("columns", evolve),
        ("w1", held(&table, &base, &[(3, "c")]).await),
    ];
    let mut versions = Vec::new();
    for outcome in at_once(&table, changes).await {
        versions.push(committed(outcome).version - base.version);
    }
    assert_eq!(versions, [1, 2, 1]);
    let fresh = lab.table("orders");
    assert_eq!(latest(&fresh).await.schema.fields().len(), 3);
    assert_eq!(text(&fresh).await, "1=a 2=b 3=c");
}

/// Three changes together with the n-th store call failing; whoever got an error asks again under
/// the same id, as a gateway does after a restart.
async fn fail_each_call(call: Call, fault: Fault) {
    for n in 1..80 {
        let lab = Lab::with_super().await;
        let table = lab.orders().await;
        let base = append(&table, &[(1, "a"), (2, "b"), (3, "c")]).await;
        let fresh = lab.table("orders");
        let changes = vec![
            ("w0", held(&fresh, &base, &[(10, "x")]).await),
            ("w1", held_edit(&fresh, &base, &[(1, 1, 1)], &[(2, "B")]).await),
            ("w2", held(&fresh, &base, &[(11, "y")]).await),
        ];
        let calls = lab.store.calls(call);
        lab.store.inject(call, n, fault);
        let outcomes = at_once(&fresh, changes).await;
        let reached = lab.store.calls(call) >= calls + n;
        lab.store.heal();
        let other = lab.table("orders");
        other.settle().await.expect("settle");
        let mut rows = vec!["1=a", "2=b", "3=c"];
        for (outcome, row) in outcomes.iter().zip(["10=x", "2=B", "11=y"]) {
            match outcome {
                Ok(CommitOutcome::Committed { .. }) => rows.push(row),
                Ok(other) => panic!("n={n}: {other:?}"),
                Err(_) => {}
            }
        }
        let seen = text(&other).await;
        for row in rows.iter().filter(|row| **row != "2=b") {
            assert!(seen.split(' ').any(|found| found == *row), "n={n}: {row} is lost: {seen}");
        }
        for (id, edit, row) in [
            ("w0", (Edit::END, 0, 1), (10, "x")),
            ("w1", (1, 1, 1), (2, "B")),
            ("w2", (Edit::END, 0, 1), (11, "y")),
        ] {
            let again = held_edit(&other, &base, &[edit], &[row]).await;
            committed(other.commit(again, named(id), Vec::new()).await);
        }
        let mut seen: Vec<String> =
            text(&lab.table("orders")).await.split(' ').map(str::to_owned).collect();
        seen.sort_unstable();
        assert_eq!(seen, ["10=x", "11=y", "1=a", "2=B", "3=c"], "n={n}");
        if !reached {
            assert!(n > 1, "no call was made");
            return;
        }
    }
    panic!("calls do not end");
}

#[tokio::test]
async fn a_put_that_fails_leaves_all_or_none_of_a_shared_commit() {
    fail_each_call(Call::Put, Fault::Before).await;
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_repeats_none_of_a_shared_commit() {
    fail_each_call(Call::Put, Fault::After).await;
}

#[tokio::test]
async fn a_read_that_fails_harms_no_shared_commit() {
    fail_each_call(Call::Get, Fault::Before).await;
}

#[tokio::test]
async fn a_change_whose_caller_has_gone_is_not_begun() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let base = append(&table, &[(1, "a")]).await;
    let lease = table.lock().await.expect("lock");
    let gone = held(&table, &base, &[(2, "gone")]).await;
    let waiting = table.clone();
    let task = tokio::spawn(async move { waiting.commit(gone, named("gone"), Vec::new()).await });
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    task.abort();
    assert!(task.await.is_err());
    let here = held(&table, &base, &[(3, "here")]).await;
    let waiting = table.clone();
    let task = tokio::spawn(async move { waiting.commit(here, named("here"), Vec::new()).await });
    table.unlock(lease).await;
    committed(task.await.expect("no panic"));
    assert_eq!(text(&lab.table("orders")).await, "1=a 3=here");
}

#[tokio::test]
async fn a_lock_that_stays_held_refuses_all_that_wait_and_nobody_later() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let base = append(&table, &[(1, "a")]).await;
    let mut parts = table.parts().clone();
    parts.settings.lock_wait = Duration::from_millis(20);
    let hasty = Table::new(parts, table.id().clone());
    let lease = table.lock().await.expect("lock");
    let (one, two) =
        (held(&table, &base, &[(2, "x")]).await, held(&table, &base, &[(3, "x")]).await);
    let (one, two) = tokio::join!(
        hasty.commit(one, named("one"), Vec::new()),
        hasty.commit(two, named("two"), Vec::new())
    );
    for outcome in [one, two] {
        assert_eq!(outcome.expect_err("busy").kind(), ErrorKind::Busy);
    }
    table.unlock(lease).await;
    append(&hasty, &[(4, "d")]).await;
    assert_eq!(text(&lab.table("orders")).await, "1=a 4=d");
}

/// Several gateways, each with several clients that append, change and remove rows of their own,
/// or try what must be refused. What was acknowledged is there, once; nothing else is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_rows_of_many_writers_are_there_once() {
    let lab = Lab::with_super().await;
    let table = lab.table("keyed");
    let config = TableConfig { keys: vec!["id".to_owned()], ..TableConfig::default() };
    table.create(schema(), config, by("create")).await.expect("create");
    append(&table, &[(1, "taken")]).await;
    let gateways = [lab.table("keyed"), lab.table("keyed")];
    let mut tasks = Vec::new();
    for client in 0..8_i64 {
        let table = gateways[usize::from(client % 2 == 1)].clone();
        tasks.push(tokio::spawn(work(table, client)));
    }
    let mut expected = vec!["1=taken".to_owned()];
    for task in tasks {
        expected.extend(task.await.expect("no panic"));
    }
    let fresh = lab.table("keyed");
    let mut seen: Vec<String> = text(&fresh).await.split(' ').map(str::to_owned).collect();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
    let together = fresh.history(1000).await.expect("history");
    assert!(together.iter().any(|snapshot| snapshot.lineage.is_shared()), "none went together");
}

/// What one client of the test above does; its rows in the end.
async fn work(table: Table, client: i64) -> Vec<String> {
    let mut own: Vec<(i64, String)> = Vec::new();
    for step in 0..10_i64 {
        let id = 1000 + client * 100 + step;
        let name = format!("c{client}s{step}");
        if step % 4 == 3 {
            let base = latest(&table).await;
            let taken = held(&table, &base, &[(id, &name), (1, "again")]).await;
            let outcome = commit_until_heard(&table, taken).await;
            assert!(matches!(outcome, CommitOutcome::Conflict { .. }), "{outcome:?}");
            continue;
        }
        let base = latest(&table).await;
        let place = match own.last() {
            Some((id, name)) if step % 4 == 2 => {
                let wanted = format!("{id}={name}");
                let rows = try_text(&table, &base).await.expect("readable");
                rows.split(' ').position(|row| row == wanted)
            }
            _ => None,
        };
        let edit = match place {
            Some(at) => (u64::try_from(at).expect("small"), 1, 1),
            None => (Edit::END, 0, 1),
        };
        let change = held_edit(&table, &base, &[edit], &[(id, &name)]).await;
        let outcome = commit_until_heard(&table, change).await;
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        if place.is_some() {
            own.pop();
        }
        own.push((id, name));
    }
    own.into_iter().map(|(id, name)| format!("{id}={name}")).collect()
}

/// Commits without the lock of the other gateway in the way for long.
async fn commit_until_heard(table: &Table, change: ChangeSet) -> CommitOutcome {
    table.commit(change, by("edit"), Vec::new()).await.expect("commit")
}

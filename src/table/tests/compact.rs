//! Compaction: files change, nothing that is shown does.

use std::collections::HashSet;

use super::*;
use crate::store::fault::{Call, Fault};

/// A table of many small files with changed and deleted rows.
async fn torn(lab: &Lab) -> Table {
    let table = lab.orders().await;
    append(&table, &[(1, "a"), (2, "b"), (3, "c"), (4, "d")]).await;
    append(&table, &[(5, "e")]).await;
    let base = latest(&table).await;
    committed(try_edit(&table, &base, &[(1, 1, 1)], &[(2, "B")]).await);
    append(&table, &[(6, "f"), (7, "g")]).await;
    let base = latest(&table).await;
    committed(try_edit(&table, &base, &[(0, 0, 1), (5, 1, 0)], &[(0, "first")]).await);
    assert_eq!(text(&table).await, TORN);
    table
}

const TORN: &str = "0=first 1=a 2=B 3=c 4=d 5=e 7=g";

async fn compact(table: &Table) -> Compacted {
    table.compact(&CompactSettings::all(), by(COMPACT), Vec::new()).await.expect("compact")
}

/// Row ids in the order of the rows.
async fn ids(table: &Table, snapshot: &Snapshot) -> Vec<i64> {
    let layout = table.layout(snapshot).await.expect("layout");
    let mut out = Vec::new();
    for piece in &layout.pieces {
        let path = layout.path(piece.file).expect("file");
        let file = snapshot.files.iter().find(|file| file.path == *path).expect("listed");
        // As another process reads them.
        let ids = stored::read_row_ids(&table.parts().objects, file).await.expect("ids");
        out.extend(piece.range().map(|row| ids.at(row).expect("id")));
    }
    out
}

#[tokio::test]
async fn many_files_become_one_and_rows_keep_order_ids_and_times() {
    let lab = Lab::with_super().await;
    let table = torn(&lab).await;
    let before = latest(&table).await;
    let row_ids = ids(&table, &before).await;
    let done = compact(&table).await;
    assert_eq!((done.files_before, done.files_after), (before.files.len(), 1));
    let fresh = lab.table("orders");
    let after = latest(&fresh).await;
    assert_eq!(after.version, before.version + 1);
    assert_eq!(text(&fresh).await, TORN);
    assert_eq!(after.deletes, Deletes::None);
    assert_eq!(fresh.layout(&after).await.expect("layout").pieces.len(), 1);
    assert_eq!(ids(&fresh, &after).await, row_ids, "ids are kept, in their order");
    assert_ne!(row_ids, (row_ids[0]..).take(row_ids.len()).collect::<Vec<_>>());
    assert_eq!(after.text_ms(), before.text_ms());
    assert_eq!(after.text_version(), before.version);
    assert_eq!(text_at(&fresh, before.version).await, TORN, "the old version is still there");
    // Without its layout the new file alone tells the same order.
    let mut lost = Snapshot::clone(&after);
    lost.document = Arc::new(snapshot::JsonMap::new());
    assert_eq!(try_text(&lab.table("orders"), &lost).await.expect("readable"), TORN);
    // Once more there is nothing to do.
    let again = compact(&fresh).await;
    assert_eq!((again.files_before, again.snapshot.version), (0, after.version));
    let next = append(&fresh, &[(8, "h")]).await;
    assert!(next.text_ms() > after.text_ms());
    assert_eq!(next.text_version(), next.version);
    assert_eq!(text(&lab.table("orders")).await, format!("{TORN} 8=h"));
}

#[tokio::test]
async fn an_editor_from_before_a_compaction_changes_its_rows_and_no_others() {
    let lab = Lab::with_super().await;
    let table = torn(&lab).await;
    let base = latest(&table).await;
    compact(&table).await;
    append(&table, &[(9, "after")]).await;
    compact(&table).await;
    let edits = [(0, 1, 0), (2, 1, 1), (4, 0, 1), (Edit::END, 0, 1)];
    committed(try_edit(&table, &base, &edits, &[(2, "new"), (33, "between"), (10, "end")]).await);
    let expected = "1=a 2=new 3=c 33=between 4=d 5=e 7=g 9=after 10=end";
    assert_eq!(text(&lab.table("orders")).await, expected);
    // The row that is changed by now is in the way of another editor with the old base.
    let late = try_edit(&table, &base, &[(2, 1, 1)], &[(2, "late")]).await.expect("no error");
    let CommitOutcome::Conflict { rows, .. } = late else { panic!("passed: {late:?}") };
    assert_eq!(rows[0].reason, ConflictReason::ChangedByOther);
    assert_eq!(text(&lab.table("orders")).await, expected);
}

#[tokio::test]
async fn the_last_writer_replaces_the_changed_row_only_after_a_compaction() {
    let lab = Lab::with_super().await;
    let table = lab.table("late");
    let config = TableConfig { on_conflict: OnConflict::LastWriterWins, ..TableConfig::default() };
    table.create(schema(), config, by("create")).await.expect("create");
    let base = append(&table, &[(1, "a"), (2, "b"), (3, "c")]).await;
    committed(try_edit(&table, &base, &[(1, 1, 1)], &[(2, "theirs")]).await);
    compact(&table).await;
    committed(try_edit(&table, &base, &[(1, 1, 1)], &[(2, "mine")]).await);
    assert_eq!(text(&lab.table("late")).await, "1=a 2=mine 3=c");
    // A row that is gone, with nothing of theirs in its place: the neighbours stay.
    let base = latest(&table).await;
    committed(try_edit(&table, &base, &[(1, 1, 0)], &[]).await);
    compact(&table).await;
    committed(try_edit(&table, &base, &[(1, 1, 1)], &[(2, "again")]).await);
    assert_eq!(text(&lab.table("late")).await, "1=a 2=again 3=c");
}

#[tokio::test]
async fn a_deletion_of_deleted_rows_is_no_conflict_after_a_compaction() {
    let lab = Lab::with_super().await;
    let table = torn(&lab).await;
    let base = latest(&table).await;
    committed(try_edit(&table, &base, &[(1, 1, 0)], &[]).await);
    compact(&table).await;
    committed(try_edit(&table, &base, &[(1, 2, 0)], &[]).await);
    assert_eq!(text(&lab.table("orders")).await, "0=first 3=c 4=d 5=e 7=g");
}

#[tokio::test]
async fn what_happens_while_files_are_rewritten_is_kept() {
    let lab = Lab::with_super().await;
    let table = torn(&lab).await;
    let base = latest(&table).await;
    let layout = table.layout(&base).await.expect("layout");
    let chosen: HashSet<Arc<str>> = base.files.iter().map(|file| Arc::clone(&file.path)).collect();
    let rewritten = table.rewrite_files(&base, &layout, &chosen).await.expect("rewrite");
    committed(try_edit(&table, &base, &[(3, 1, 0)], &[]).await);
    append(&table, &[(8, "h")]).await;
    let newer = latest(&table).await;
    committed(try_edit(&table, &newer, &[(1, 1, 2)], &[(1, "A"), (11, "aa")]).await);
    let expected = "0=first 1=A 11=aa 2=B 4=d 5=e 7=g 8=h";
    assert_eq!(text(&table).await, expected);
    let done = table
        .replace_files(&base.schema, &chosen, &rewritten, &table.named(by(COMPACT)), &[])
        .await
        .expect("commit")
        .expect("replaced");
    assert_eq!(text(&lab.table("orders")).await, expected);
    assert_eq!(done.deletes.rows(), 2, "rows that died meanwhile are dead in the new file");
    // Healed from files and deletes alone: the same rows.
    let mut lost = Snapshot::clone(&done);
    lost.document = Arc::new(snapshot::JsonMap::new());
    let healed = try_text(&lab.table("orders"), &lost).await.expect("readable");
    let (mut a, mut b): (Vec<&str>, Vec<&str>) =
        (healed.split(' ').collect(), expected.split(' ').collect());
    a.sort_unstable();
    b.sort_unstable();
    assert_eq!(a, b);
    // Files that somebody else has put together meanwhile are not put back.
    let late = table
        .replace_files(&base.schema, &chosen, &rewritten, &table.named(by(COMPACT)), &[])
        .await
        .expect("no error");
    assert!(late.is_none());
    assert_eq!(text(&lab.table("orders")).await, expected);
}

#[tokio::test]
async fn a_call_that_fails_during_a_compaction_changes_nothing_shown() {
    for (call, fault) in
        [(Call::Put, Fault::Before), (Call::Put, Fault::After), (Call::Get, Fault::Before)]
    {
        for n in 1.. {
            assert!(n < 80, "calls do not end");
            let lab = Lab::with_super().await;
            torn(&lab).await;
            let fresh = lab.table("orders");
            let calls = lab.store.calls(call);
            lab.store.inject(call, n, fault);
            let outcome = fresh.compact(&CompactSettings::all(), by(COMPACT), Vec::new()).await;
            let reached = lab.store.calls(call) >= calls + n;
            lab.store.heal();
            let other = lab.table("orders");
            other.settle().await.expect("settle");
            assert_eq!(text(&other).await, TORN, "{call:?} {n}");
            compact(&other).await;
            assert_eq!(latest(&other).await.files.len(), 1, "{call:?} {n} {outcome:?}");
            append(&other, &[(9, "z")]).await;
            assert_eq!(text(&fresh).await, format!("{TORN} 9=z"), "{call:?} {n}");
            if !reached {
                break;
            }
        }
    }
}

/// Writers go on while their table is compacted again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_and_compactions_do_not_lose_rows_of_each_other() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    append(&table, &[(1, "start")]).await;
    let mut tasks = Vec::new();
    for client in 0..3_i64 {
        let table = lab.table("orders");
        tasks.push(tokio::spawn(async move {
            let mut own: Vec<String> = Vec::new();
            for step in 0..8_i64 {
                let base = latest(&table).await;
                let id = 100 * (client + 1) + step;
                let shown = try_text(&table, &base).await.expect("readable");
                let place = own
                    .last()
                    .filter(|_| step % 3 == 2)
                    .and_then(|wanted| shown.split(' ').position(|row| row == wanted));
                let edit = match place {
                    Some(at) => (u64::try_from(at).expect("small"), 1, 1),
                    None => (Edit::END, 0, 1),
                };
                committed(try_edit(&table, &base, &[edit], &[(id, "x")]).await);
                if place.is_some() {
                    own.pop();
                }
                own.push(format!("{id}=x"));
            }
            own
        }));
    }
    let compactor = lab.table("orders");
    let mut runs = 0;
    while tasks.iter().any(|task| !task.is_finished()) {
        let done = compactor.compact(&CompactSettings::all(), by(COMPACT), Vec::new()).await;
        runs += usize::from(done.is_ok_and(|done| done.files_before > 0));
        tokio::task::yield_now().await;
    }
    let mut expected = vec!["1=start".to_owned()];
    for task in tasks {
        expected.extend(task.await.expect("no panic"));
    }
    assert!(runs > 1, "compacted {runs} times");
    let mut seen: Vec<String> =
        text(&lab.table("orders")).await.split(' ').map(str::to_owned).collect();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

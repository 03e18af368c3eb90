//! Vacuum: what only old versions need goes, and nothing else; no old name becomes free.

use std::collections::BTreeSet;

use super::foreign::Python;
use super::*;
use crate::error::ErrorKind;
use crate::store;
use crate::store::fault::{Call, Fault};
use crate::table::check::{Depth, Severity};

const ALL: VacuumSettings = VacuumSettings {
    older_than: Duration::ZERO,
    strays_older_than: Duration::from_secs(3_600),
    rehearsal: false,
};

async fn vacuum(table: &Table, settings: VacuumSettings) -> Result<Vacuumed> {
    table.vacuum(&settings, by(VACUUM), Vec::new()).await
}

async fn objects(lab: &Lab) -> BTreeSet<String> {
    let objects = Arc::clone(&lab.store) as Objects;
    let all = store::list(&objects, "acme").await.expect("list");
    all.into_iter().map(|meta| meta.location.to_string()).collect()
}

/// What a check finds worth acting on.
async fn findings(table: &Table) -> Vec<String> {
    let report = table.check(Depth::Text).await.expect("check runs");
    let worth = report.findings.iter().filter(|finding| finding.severity > Severity::Note);
    worth.map(|finding| format!("{finding:?}")).collect()
}

/// Versions 1 to 4: an append, a row replaced, everything rewritten into one file, an append.
async fn lived(lab: &Lab) -> Table {
    let table = lab.orders().await;
    let base = append(&table, &[(1, "a"), (2, "b"), (3, "c")]).await;
    committed(try_edit(&table, &base, &[(1, 1, 1)], &[(2, "B")]).await);
    let done = table.compact(&CompactSettings::all(), by(COMPACT), Vec::new()).await;
    assert_eq!(done.expect("compact").files_after, 1);
    append(&table, &[(4, "d")]).await;
    table
}

const TEXT: &str = "1=a 2=B 3=c 4=d";

#[tokio::test]
async fn old_versions_go_and_the_newest_stays() {
    let lab = Lab::with_super().await;
    let table = lived(&lab).await;
    let before = objects(&lab).await;
    let dry = vacuum(&table, VacuumSettings { rehearsal: true, ..ALL }).await.expect("dry run");
    assert_eq!((dry.versions, dry.first_kept, dry.snapshot.version), (4, 4, 4));
    assert_eq!(objects(&lab).await, before, "a rehearsal removes nothing");
    let done = vacuum(&table, ALL).await.expect("vacuum");
    assert_eq!((done.versions, done.objects, done.bytes), (4, dry.objects, dry.bytes));
    // Two data files and a deletion vector that only versions 1 and 2 had.
    assert_eq!(done.objects, 3);
    let gone: Vec<String> = before.difference(&objects(&lab).await).cloned().collect();
    assert_eq!(gone.len(), 3, "{gone:?}");
    assert!(gone.iter().all(|path| !path.contains("/snapshots/")), "{gone:?}");
    let fresh = lab.table("orders");
    assert_eq!(text(&fresh).await, TEXT);
    assert_eq!(text_at(&fresh, 4).await, TEXT);
    let newest = latest(&fresh).await;
    assert_eq!((newest.version, newest.text_version()), (5, 4), "the text did not change");
    assert_eq!(newest.lineage.operation, VACUUM);
    let history = fresh.history(100).await.expect("history");
    assert_eq!(history.iter().map(|one| one.version).collect::<Vec<_>>(), [5, 4]);
    for at in [At::Version(0), At::Version(3), At::Time(0)] {
        let error = fresh.snapshot(at).await.expect_err("vacuumed");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("vacuumed"), "{error}");
    }
    assert_eq!(findings(&fresh).await, Vec::<String>::new());
    // Once more: only the version of the vacuum itself has a past now.
    append(&fresh, &[(5, "e")]).await;
    let done = vacuum(&fresh, ALL).await.expect("again");
    assert_eq!((done.versions, done.first_kept, done.objects), (2, 6, 0));
    assert_eq!(findings(&lab.table("orders")).await, Vec::<String>::new());
    assert_eq!(text(&lab.table("orders")).await, format!("{TEXT} 5=e"));
}

#[tokio::test]
async fn nothing_young_is_taken() {
    let lab = Lab::with_super().await;
    let table = lived(&lab).await;
    let before = objects(&lab).await;
    // A save under way: its rows are stored, its commit is not.
    let base = latest(&table).await;
    let mut writer = table.writer(&base, &schema(), &[]).expect("writer");
    let many: Vec<(i64, &str)> = (0..5_000).map(|id| (id, "x")).collect();
    writer.write(batch(&many)).await.expect("write");
    let rows = writer.finish().await.expect("finish");
    assert_eq!(rows.files.len(), 1);
    let hour = Duration::from_secs(3_600);
    let done = vacuum(&table, VacuumSettings { older_than: hour, ..ALL }).await.expect("vacuum");
    assert_eq!((done.versions, done.objects, done.snapshot.version), (0, 0, 4));
    let done = vacuum(&table, ALL).await.expect("vacuum");
    assert_eq!((done.versions, done.objects), (4, 3));
    assert!(objects(&lab).await.contains(rows.files[0].file.path.as_ref()));
    // Nobody came for them: they are strays.
    let none = Duration::ZERO;
    append(&table, &[(9, "z")]).await;
    let strays = VacuumSettings { strays_older_than: none, ..ALL };
    let done = vacuum(&table, strays).await.expect("vacuum");
    assert_eq!(done.objects, 1);
    assert!(!objects(&lab).await.contains(rows.files[0].file.path.as_ref()));
    assert!(before.len() > 4);
    assert_eq!(text(&lab.table("orders")).await, format!("{TEXT} 9=z"));
}

#[tokio::test]
async fn a_sleeper_on_a_vacuumed_version_commits_nothing() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let old = append(&table, &[(1, "a"), (2, "b")]).await;
    // Another process that read version 1 and prepared its change.
    let sleeper = lab.table("orders");
    let base = sleeper.snapshot(At::Version(1)).await.expect("version 1");
    let sleeping = change(&sleeper, &base, &[(0, 1, 1)], &[(1, "A")]).await;
    for (id, name) in [(3, "c"), (4, "d")] {
        append(&table, &[(id, name)]).await;
    }
    vacuum(&table, ALL).await.expect("vacuum");
    let error = sleeper.commit(sleeping, by("edit"), Vec::new()).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    // Bringing a vacuumed version back is refused as well, also by who still has it.
    let error = table.go_back(&old, by("restore"), Vec::new()).await.expect_err("refused");
    assert!(error.to_string().contains("vacuumed"), "{error}");
    // The name behind the old version stays taken.
    let path = store::layout::successor(&old.path, 2);
    let put = table.put_create(&path, "{}".into()).await.expect("put");
    assert_eq!(put, store::PutCreate::Exists);
    assert_eq!(text(&lab.table("orders")).await, "1=a 2=b 3=c 4=d");
    assert_eq!(findings(&lab.table("orders")).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_pointer_that_goes_back_behind_a_vacuum_is_brought_forward() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    append(&table, &[(1, "a")]).await;
    let old = lab.catalog.leaf(table.id()).await.expect("leaf").expect("exists");
    for (id, name) in [(2, "b"), (3, "c")] {
        append(&table, &[(id, name)]).await;
    }
    vacuum(&table, ALL).await.expect("vacuum");
    let now = lab.catalog.leaf(table.id()).await.expect("leaf").expect("exists");
    let swap = crate::catalog::LeafSwap {
        table: table.id().clone(),
        expected: Some(now.raw),
        new: Some(old.raw),
        schema: None,
        now_ms: 1,
        bump_root: true,
        audit: Vec::new(),
        requires: None,
        removes: None,
    };
    let _swapped = lab.catalog.swap(swap).await.expect("swap");
    let other = lab.table("orders");
    // What was read through the old pointer is no base any more, and the pointer moves.
    let old = latest(&other).await;
    assert_eq!(old.version, 1);
    let error = try_edit(&other, &old, &[(1, 0, 1)], &[(9, "z")]).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    append(&other, &[(4, "d")]).await;
    assert_eq!(text(&lab.table("orders")).await, "1=a 2=b 3=c 4=d");
    assert_eq!(findings(&lab.table("orders")).await, Vec::<String>::new());
}

#[tokio::test]
async fn other_writers_commits_are_vacuumed_and_one_that_slept_erases_nothing() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    append(&table, &[(1, "a")]).await;
    let sleeper = Python::reads(&lab, &table).await;
    Python::reads(&lab, &table).await.writes("00000000000000a1", &[(2, "b")], &[]).await;
    table.settle().await.expect("settle");
    // On an older version: it is merged.
    append(&table, &[(3, "c")]).await;
    let late = Python::reads(&lab, &table).await;
    append(&table, &[(4, "d")]).await;
    late.writes("00000000000000a2", &[(5, "e")], &[]).await;
    table.settle().await.expect("settle");
    append(&table, &[(6, "f")]).await;
    let before = text(&lab.table("orders")).await;
    let done = vacuum(&lab.table("orders"), ALL).await.expect("vacuum");
    assert!(done.versions > 4, "{done:?}");
    assert_eq!(text(&lab.table("orders")).await, before);
    assert_eq!(findings(&lab.table("orders")).await, Vec::<String>::new());
    sleeper.writes("00000000000000a3", &[(7, "late")], &[]).await;
    let fresh = lab.table("orders");
    fresh.settle().await.expect("settle");
    append(&fresh, &[(8, "g")]).await;
    assert_eq!(text(&lab.table("orders")).await, format!("{before} 8=g"));
    let found = findings(&lab.table("orders")).await;
    assert!(found.len() == 1 && found[0].contains("lost-snapshot"), "{found:?}");
    append(&lab.table("orders"), &[(9, "h")]).await;
    vacuum(&lab.table("orders"), ALL).await.expect("vacuum");
    assert_eq!(text(&lab.table("orders")).await, format!("{before} 8=g 9=h"));
}

#[tokio::test]
async fn dropped_and_renamed_tables_keep_what_they_share() {
    let lab = Lab::with_super().await;
    let table = lived(&lab).await;
    let to = crate::ident::TableId::parse("acme/shop/archive").expect("id");
    table.rename(&to, by("rename"), Vec::new()).await.expect("rename");
    let archive = lab.table("archive");
    append(&archive, &[(5, "e")]).await;
    // A new table under the old name, vacuumed: the files of the other are in its folder.
    let again = lab.orders().await;
    append(&again, &[(1, "x")]).await;
    append(&again, &[(2, "y")]).await;
    vacuum(&again, VacuumSettings { strays_older_than: Duration::ZERO, ..ALL })
        .await
        .expect("vacuum");
    vacuum(&archive, ALL).await.expect("vacuum");
    assert_eq!(text(&lab.table("archive")).await, format!("{TEXT} 5=e"));
    assert_eq!(text(&lab.table("orders")).await, "1=x 2=y");
    // Dropped, brought back, gone on, vacuumed across the drop.
    let fresh = lab.table("orders");
    fresh.drop(by("drop"), Vec::new()).await.expect("drop");
    let trash = lab.catalog.trash(&fresh.id().super_id()).await.expect("trash");
    let name = trash.last().expect("in the trash").clone();
    fresh.restore_dropped(&name, by("restore"), Vec::new()).await.expect("restore");
    append(&fresh, &[(3, "z")]).await;
    let done = vacuum(&lab.table("orders"), ALL).await.expect("vacuum");
    assert!(done.versions > 2, "{done:?}");
    append(&lab.table("orders"), &[(4, "w")]).await;
    assert_eq!(text(&lab.table("orders")).await, "1=x 2=y 3=z 4=w");
    for name in ["orders", "archive"] {
        assert_eq!(findings(&lab.table(name)).await, Vec::<String>::new(), "{name}");
    }
}

#[tokio::test]
async fn a_damaged_table_is_left_alone() {
    let lab = Lab::with_super().await;
    let table = lived(&lab).await;
    let path = latest(&table).await.previous.clone().expect("previous");
    store::put_overwrite(&(Arc::clone(&lab.store) as Objects), &path, "{".into())
        .await
        .expect("overwrite");
    let before = objects(&lab).await;
    let error = vacuum(&lab.table("orders"), ALL).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(objects(&lab).await, before);
}

#[tokio::test]
async fn a_vacuum_that_breaks_off_anywhere_harms_nothing_and_is_finished_later() {
    for call in [Call::Put, Call::Get, Call::Delete] {
        for fault in [Fault::Before, Fault::After] {
            let mut ended = false;
            for n in 1..120 {
                let lab = Lab::with_super().await;
                lived(&lab).await;
                let table = lab.table("orders");
                let calls = lab.store.calls(call);
                lab.store.inject(call, n, fault);
                let outcome = vacuum(&table, ALL).await;
                let reached = lab.store.calls(call) >= calls + n;
                lab.store.heal();
                let fresh = lab.table("orders");
                assert_eq!(text(&fresh).await, TEXT, "{call:?} {fault:?} {n} {outcome:?}");
                assert_eq!(findings(&fresh).await, Vec::<String>::new(), "{call:?} {fault:?} {n}");
                append(&fresh, &[(5, "e")]).await;
                let strays = VacuumSettings { strays_older_than: Duration::ZERO, ..ALL };
                vacuum(&fresh, strays).await.expect("finished");
                assert_eq!(text(&lab.table("orders")).await, format!("{TEXT} 5=e"));
                let data = objects(&lab).await;
                let data = data.iter().filter(|path| path.contains("/data/")).count();
                assert_eq!(data, 3, "{call:?} {fault:?} {n}: what is not needed is gone");
                if !reached {
                    ended = true;
                    break;
                }
            }
            assert!(ended, "calls do not end");
        }
    }
}

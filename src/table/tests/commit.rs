//! Creating, editing, conflicts, keys, columns.

use super::*;

#[tokio::test]
async fn a_new_table_is_empty_and_its_name_is_taken() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let snapshot = latest(&table).await;
    assert_eq!((snapshot.version, snapshot.rows()), (0, 0));
    assert_eq!(snapshot.schema, schema());
    let again = lab.table("orders").create(schema(), TableConfig::default(), by("create")).await;
    assert_eq!(again.expect_err("taken").kind(), crate::error::ErrorKind::AlreadyExists);
    assert!(lab.table("other").latest().await.expect("no error").is_none());
}

#[tokio::test]
async fn rows_stay_where_they_were_put() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    append(&table, &[(1, "a"), (2, "b"), (3, "c"), (4, "d")]).await;
    let base = latest(&table).await;
    let edits = [(1, 1, 1), (3, 1, 2)];
    let outcome = try_edit(&table, &base, &edits, &[(2, "B"), (4, "D"), (5, "e")]).await;
    let CommitOutcome::Committed { inserted, updated, deleted, snapshot } =
        outcome.expect("commit")
    else {
        panic!("not committed")
    };
    assert_eq!((inserted, updated, deleted), (1, 2, 0));
    assert_eq!(text(&table).await, "1=a 2=B 3=c 4=D 5=e");
    assert_eq!(snapshot.deletes.rows(), 2);
    // Another gateway sees the same, also in a layout object of its own.
    assert!(matches!(snapshot.layout, LayoutRef::Object(_)));
    let other = lab.table("orders");
    assert_eq!(text(&other).await, "1=a 2=B 3=c 4=D 5=e");
    let base = latest(&other).await;
    committed(try_edit(&other, &base, &[(0, 2, 0), (4, 1, 0)], &[]).await);
    assert_eq!(text(&table).await, "3=c 4=D");
    assert_eq!(text_at(&table, 1).await, "1=a 2=b 3=c 4=d");
    let history = table.history(10).await.expect("history");
    let versions: Vec<u64> = history.iter().map(|snapshot| snapshot.version).collect();
    assert_eq!(versions, [3, 2, 1, 0]);
    assert!(history.windows(2).all(|two| two[0].committed_ms > two[1].committed_ms));
    let found = table.snapshot(At::Time(history[1].committed_ms)).await.expect("at time");
    assert_eq!(found.version, 2);
}

#[tokio::test]
async fn a_file_without_live_rows_is_dropped_with_its_deletes() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    append(&table, &[(1, "a"), (2, "b")]).await;
    append(&table, &[(3, "c"), (4, "d")]).await;
    let base = latest(&table).await;
    let one = committed(try_edit(&table, &base, &[(0, 1, 0), (2, 1, 0)], &[]).await);
    assert_eq!((one.files.len(), one.deletes.rows()), (2, 2));
    let two = committed(try_edit(&table, &one, &[(0, 1, 0)], &[]).await);
    assert_eq!((two.files.len(), two.deletes.rows()), (1, 1));
    assert_eq!(text(&table).await, "4=d");
    let none = committed(try_edit(&table, &two, &[(0, 1, 0)], &[]).await);
    assert_eq!((none.files.len(), none.deletes.clone()), (0, Deletes::None));
    assert_eq!(none.row_id_high_watermark, 4);
    assert_eq!(text(&table).await, "");
}

#[tokio::test]
async fn many_deletes_are_folded_into_one_part() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let rows: Vec<(i64, &str)> = (0..120).map(|id| (id, "x")).collect();
    append(&table, &rows).await;
    for _ in 0..105 {
        let base = latest(&table).await;
        committed(try_edit(&table, &base, &[(0, 1, 0)], &[]).await);
    }
    let Deletes::Rows { parts, rows } = latest(&table).await.deletes.clone() else {
        panic!("no deletes")
    };
    assert_eq!((parts.len(), rows), (5, 105));
    assert_eq!(text(&lab.table("orders")).await.split(' ').count(), 15);
}

#[tokio::test]
async fn appends_of_two_gateways_are_all_there_once() {
    let lab = Lab::with_super().await;
    lab.orders().await;
    let mut tasks = Vec::new();
    for gateway in 0..4_i64 {
        let table = lab.table("orders");
        tasks.push(tokio::spawn(async move {
            for n in 0..5 {
                // Without the lock, so that they really race.
                let base = latest(&table).await;
                let change =
                    change(&table, &base, &[(Edit::END, 0, 1)], &[(gateway * 100 + n, "x")]).await;
                loop {
                    let mut copy = ChangeSet {
                        base: Arc::clone(&base),
                        edits: change.edits.clone(),
                        rows: change.rows.clone(),
                        schema: None,
                        config: None,
                        on_existing_key: OnExistingKey::Refuse,
                    };
                    let done = table
                        .commit_alone(&mut copy, by("append"), Vec::new(), &lock::Hold::none())
                        .await;
                    match done {
                        Ok(CommitOutcome::Committed { .. }) => break,
                        Err(error) if error.kind() == crate::error::ErrorKind::Busy => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let table = lab.table("orders");
    let mut rows: Vec<i64> = text(&table)
        .await
        .split(' ')
        .map(|row| row.trim_end_matches("=x").parse().expect("id"))
        .collect();
    rows.sort_unstable();
    let expected: Vec<i64> = (0..4).flat_map(|g| (0..5).map(move |n| g * 100 + n)).collect();
    assert_eq!(rows, expected);
    assert_eq!(latest(&table).await.version, 20);
}

#[tokio::test]
async fn an_edit_made_on_an_older_snapshot_is_rebased() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    append(&table, &[(1, "a"), (2, "b"), (3, "c")]).await;
    let base = latest(&table).await;
    committed(try_edit(&table, &base, &[(0, 1, 1)], &[(1, "A")]).await);
    committed(try_edit(&table, &base, &[(2, 1, 2)], &[(3, "C"), (4, "d")]).await);
    assert_eq!(text(&table).await, "1=A 2=b 3=C 4=d");
    let conflict = try_edit(&table, &base, &[(0, 1, 1)], &[(1, "Z")]).await.expect("no error");
    let CommitOutcome::Conflict { rows, current } = conflict else { panic!("no conflict") };
    assert_eq!(rows[0].base_row, Some(0));
    assert_eq!(current.version, 3);
    assert_eq!(text(&table).await, "1=A 2=b 3=C 4=d");
}

#[tokio::test]
async fn a_change_that_changes_nothing_makes_no_snapshot() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let base = append(&table, &[(1, "a")]).await;
    let outcome = try_edit(&table, &base, &[], &[]).await.expect("no error");
    assert!(matches!(outcome, CommitOutcome::Unchanged { .. }));
    assert_eq!(latest(&table).await.version, 1);
}

#[tokio::test]
async fn the_same_commit_again_is_not_applied_twice() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let base = latest(&table).await;
    let lineage = Lineage { write_id: "once".to_owned(), ..by("append") };
    for _ in 0..2 {
        let change = change(&table, &base, &[(Edit::END, 0, 1)], &[(1, "a")]).await;
        committed(table.commit(change, lineage.clone(), Vec::new()).await);
    }
    assert_eq!(text(&table).await, "1=a");
}

async fn keyed(lab: &Lab) -> Table {
    let table = lab.table("orders");
    let config = TableConfig { keys: vec!["id".to_owned()], ..TableConfig::default() };
    table.create(schema(), config, by("create")).await.expect("create");
    table
}

#[tokio::test]
async fn a_key_that_a_live_row_holds_is_refused_or_replaced() {
    let lab = Lab::with_super().await;
    let table = keyed(&lab).await;
    let base = append(&table, &[(1, "a"), (2, "b"), (3, "c")]).await;
    let refused = try_edit(&table, &base, &[(Edit::END, 0, 2)], &[(4, "d"), (2, "x")]).await;
    let CommitOutcome::Conflict { rows, .. } = refused.expect("no error") else {
        panic!("no conflict")
    };
    assert_eq!(rows[0].reason, ConflictReason::KeyExists);
    assert_eq!((rows[0].new_row, rows[0].current_row), (Some(1), Some(1)));
    let mut upsert = change(&table, &base, &[(Edit::END, 0, 2)], &[(4, "d"), (2, "x")]).await;
    upsert.on_existing_key = OnExistingKey::Replace;
    committed(table.commit(upsert, by("upsert"), Vec::new()).await);
    assert_eq!(text(&table).await, "1=a 2=x 3=c 4=d");
    let base = latest(&table).await;
    let twice = try_edit(&table, &base, &[(Edit::END, 0, 2)], &[(9, "d"), (9, "x")]).await;
    let CommitOutcome::Conflict { rows, .. } = twice.expect("no error") else { panic!("passed") };
    assert_eq!(rows[0].reason, ConflictReason::DuplicateKey);
    // The row that holds the key may be the one that is replaced.
    committed(try_edit(&table, &base, &[(1, 1, 1)], &[(2, "y")]).await);
    assert_eq!(text(&table).await, "1=a 2=y 3=c 4=d");
}

#[tokio::test]
async fn keys_can_be_configured_only_if_they_are_unique() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let base = append(&table, &[(1, "a"), (1, "b")]).await;
    let keys = TableConfig { keys: vec!["id".to_owned()], ..TableConfig::default() };
    let mut configure = change(&table, &base, &[], &[]).await;
    configure.config = Some(keys.clone());
    let outcome = table.commit(configure, by("configure"), Vec::new()).await.expect("no error");
    assert!(matches!(outcome, CommitOutcome::Conflict { .. }));
    let mut both = change(&table, &base, &[(1, 1, 0)], &[]).await;
    both.config = Some(keys);
    let snapshot = committed(table.commit(both, by("configure"), Vec::new()).await);
    assert_eq!(snapshot.config.keys, ["id"]);
}

#[tokio::test]
async fn columns_change_and_old_files_stay() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let base = append(&table, &[(1, "a")]).await;
    let mut wider: Vec<Field> = vec![Field::new("note", DataType::Utf8, true)];
    wider.extend(schema().fields().iter().map(|field| field.as_ref().clone()));
    let mut evolve = change(&table, &base, &[], &[]).await;
    evolve.schema = Some(SchemaChange { columns: Arc::new(Schema::new(wider.clone())) });
    let snapshot = committed(table.commit(evolve, by("schema"), Vec::new()).await);
    assert_eq!(snapshot.schema.as_ref(), &Schema::new(wider));
    assert_eq!(snapshot.files.len(), 1);
    let same = lab.table("orders").latest().await.expect("latest").expect("exists");
    assert_eq!(same.schema, snapshot.schema);
    // An append made before the change still fits.
    committed(try_edit(&table, &base, &[(Edit::END, 0, 1)], &[(2, "b")]).await);
    assert_eq!(text(&table).await, "1=a 2=b");
    // Another change of the columns made on the old ones does not.
    let mut late = change(&table, &base, &[], &[]).await;
    late.schema =
        Some(SchemaChange { columns: Arc::new(Schema::new(vec![schema().field(0).clone()])) });
    let outcome = table.commit(late, by("schema"), Vec::new()).await.expect("no error");
    let CommitOutcome::Conflict { rows, .. } = outcome else { panic!("passed") };
    assert_eq!(rows[0].reason, ConflictReason::SchemaChangedByOther);
}

#[tokio::test]
async fn rows_whose_ids_a_rolled_back_counter_gave_twice_are_rewritten() {
    let lab = Lab::with_super().await;
    let table = lab.orders().await;
    let base = latest(&table).await;
    let mut late = change(&table, &base, &[(Edit::END, 0, 1)], &[(1, "a")]).await;
    append(&table, &[(2, "b")]).await;
    // What a counter that lost its last steps would have done: the id of the row above again.
    late.rows.files[0].first_row_id = 2;
    let file = late.rows.files[0].file.path.clone();
    let done = committed(table.commit(late, by("append"), Vec::new()).await);
    assert_eq!(text(&lab.table("orders")).await, "2=b 1=a");
    assert!(done.files.iter().all(|kept| kept.path != file));
    assert_eq!(done.row_id_high_watermark, 3);
}

//! Merges of random changes against a naive three-way merge, and branches under a vacuum.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use object_store::memory::InMemory;
use proptest::prelude::*;

use super::*;
use crate::catalog::{EmbeddedCatalog, KeyLayout, SharedCatalog};
use crate::clock::{ManualClock, SharedClock};
use crate::config::Settings;
use crate::lake::{
    BranchName, ChangeSet, DropBranch, Edit, OnExistingKey, RowsWanted, TableConfig, VacuumSettings,
};
use crate::store::Objects;

/// Rows by id: name and quantity. Without keys an id may stand there several times.
type Model = Vec<(i64, String, i64)>;

struct Lab {
    lake: Lake,
    who: Principal,
    main: SuperId,
    branch: SuperId,
    keys: Vec<String>,
}

fn schema() -> SchemaRef {
    let field = |name, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("id", DataType::Int64),
        field("name", DataType::Utf8),
        field("qty", DataType::Int64),
    ]))
}

fn name(text: &str) -> SimpleName {
    SimpleName::new(text).unwrap()
}

impl Lab {
    async fn new(keys: &[&str]) -> Self {
        Self::in_layout(keys, KeyLayout::V2).await
    }

    async fn in_layout(keys: &[&str], layout: KeyLayout) -> Self {
        let clock: SharedClock = Arc::new(ManualClock::new(1_000_000, 1));
        let objects: Objects = Arc::new(InMemory::new());
        let catalog = EmbeddedCatalog::memory(clock.clone()).unwrap();
        let catalog: SharedCatalog = Arc::new(catalog.spelled(layout));
        let settings = Settings { state: "".into(), ..Settings::default() };
        let lake = Lake::from_parts(&settings, objects, catalog, clock).unwrap();
        let (client, role) = ("test".to_owned(), "superadmin".to_owned());
        let who = Principal { uid: 0, client, role, read_only: false };
        let main = SuperId::parse("acme/shop").unwrap();
        let branch = SuperId::parse("acme/shop@dev").unwrap();
        lake.create_super(&who, &main).await.unwrap();
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Self { lake, who, main, branch, keys }
    }

    async fn create(&self, id: &SuperId, table: &str, rows: &[(i64, &str, i64)]) {
        let table = id.table(name(table));
        let config = TableConfig { keys: self.keys.clone(), ..TableConfig::default() };
        self.lake.create_table(&self.who, &table, schema(), config).await.unwrap();
        let rows: Model = rows.iter().map(|(id, name, qty)| (*id, (*name).into(), *qty)).collect();
        self.append(&table, &rows).await;
    }

    async fn append(&self, table: &TableId, rows: &[(i64, String, i64)]) {
        if rows.is_empty() {
            return;
        }
        let base = self.lake.latest(&self.who, table).await.unwrap();
        let mut writer = self.lake.writer(&self.who, table, &schema(), &self.keys).await.unwrap();
        let ids = Int64Array::from_iter_values(rows.iter().map(|row| row.0));
        let names = StringArray::from_iter_values(rows.iter().map(|row| &row.1));
        let counts = Int64Array::from_iter_values(rows.iter().map(|row| row.2));
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(ids), Arc::new(names), Arc::new(counts)];
        writer.write(RecordBatch::try_new(schema(), columns).unwrap()).await.unwrap();
        let insert = u64::try_from(rows.len()).unwrap();
        let change = ChangeSet {
            base,
            edits: vec![Edit { at: Edit::END, remove: 0, insert }],
            rows: writer.finish().await.unwrap(),
            schema: None,
            config: None,
            on_existing_key: OnExistingKey::Refuse,
        };
        let done = self.lake.commit(&self.who, table, change, "append", "").await.unwrap();
        assert!(matches!(done, CommitOutcome::Committed { .. }), "{done:?}");
    }

    async fn change(&self, table: &TableId, condition: &str, assignments: &[String]) {
        let rehearsal = Rehearsal::No;
        let wanted = RowsWanted { condition, assignments, message: "", rehearsal };
        self.lake.change_rows(&self.who, table, &wanted).await.unwrap();
    }

    async fn text(&self, table: &TableId) -> String {
        let view = self.lake.view(&self.who, table, At::Latest).await.unwrap();
        let parts = view.read_at(0..view.len()).await.unwrap();
        String::from_utf8(parts.concat()).unwrap()
    }

    /// The rows of a table, sorted.
    async fn rows(&self, table: &TableId) -> Model {
        let text = self.text(table).await;
        let row = |line: &str| {
            let cells: Vec<&str> = line.split(',').collect();
            (cells[0].parse().unwrap(), cells[1].to_owned(), cells[2].parse().unwrap())
        };
        let mut rows: Model = text.lines().skip(1).map(row).collect();
        rows.sort();
        rows
    }

    async fn make(&self) {
        let dev = BranchName::new("dev").unwrap();
        let wanted = BranchWanted { name: &dev, at: At::Latest, message: "" };
        self.lake.create_branch(&self.who, &self.main, &wanted).await.unwrap();
    }

    async fn merge(&self, way: Way, rehearsal: Rehearsal) -> Vec<TableMerge> {
        let wanted = MergeWanted { branch: &self.branch, way, table: None, message: "", rehearsal };
        self.lake.merge(&self.who, &wanted).await.unwrap()
    }

    async fn only(&self, way: Way) -> TableMerge {
        let tried = self.merge(way, Rehearsal::Yes).await;
        let done = self.merge(way, Rehearsal::No).await;
        assert_eq!(tried, done, "a rehearsal tells what happens");
        // A table that never changed on the branch is not looked at.
        done.into_iter().next().unwrap_or_else(|| TableMerge {
            table: String::new(),
            outcome: MergeOutcome::Unchanged,
            counts: MergeCounts::default(),
            conflicts: Vec::new(),
        })
    }
}

/// What somebody does with a table.
#[derive(Debug, Clone)]
enum Act {
    Rename(i64, u8),
    Recount(i64, u8),
    Remove(i64),
    Add(i64, u8),
}

fn act() -> impl Strategy<Value = Act> {
    let value = 0..3_u8;
    prop_oneof![
        (0..8_i64, value.clone()).prop_map(|(id, value)| Act::Rename(id, value)),
        (0..8_i64, value.clone()).prop_map(|(id, value)| Act::Recount(id, value)),
        (0..8_i64).prop_map(Act::Remove),
        (0..12_i64, value).prop_map(|(id, value)| Act::Add(id, value)),
    ]
}

async fn perform(lab: &Lab, table: &TableId, acts: &[Act]) {
    for act in acts {
        match act {
            Act::Rename(id, value) => {
                lab.change(table, &format!("id = {id}"), &[format!("name = 'n{value}'")]).await;
            }
            Act::Recount(id, value) => {
                lab.change(table, &format!("id = {id}"), &[format!("qty = {value}")]).await;
            }
            Act::Remove(id) => lab.change(table, &format!("id = {id}"), &[]).await,
            Act::Add(id, value) => {
                let taken = lab.rows(table).await.iter().any(|row| row.0 == *id);
                if lab.keys.is_empty() || !taken {
                    lab.append(table, &[(*id, format!("n{value}"), i64::from(*value))]).await;
                }
            }
        }
    }
}

/// The merged rows by keys; `None` = both sides changed the same.
fn naive_by_key(base: &Model, ours: &Model, theirs: &Model) -> Option<Model> {
    let map = |rows: &Model| -> BTreeMap<i64, (String, i64)> {
        rows.iter().map(|(id, name, qty)| (*id, (name.clone(), *qty))).collect()
    };
    fn side<T: PartialEq>(base: Option<T>, ours: T, theirs: T) -> Option<T> {
        if ours == theirs || base.as_ref() == Some(&theirs) {
            return Some(ours);
        }
        (base == Some(ours)).then_some(theirs)
    }
    let (base, ours, theirs) = (map(base), map(ours), map(theirs));
    let mut merged = Model::new();
    for id in 0..12 {
        let (b, o, t) = (base.get(&id), ours.get(&id), theirs.get(&id));
        let row = if let Some(row) = side(Some(b), o, t) {
            row.cloned()
        } else {
            let (o, t) = (o?, t?);
            let name = side(b.map(|b| &b.0), &o.0, &t.0)?;
            let qty = side(b.map(|b| b.1), o.1, t.1)?;
            Some((name.clone(), qty))
        };
        merged.extend(row.map(|(name, qty)| (id, name, qty)));
    }
    Some(merged)
}

/// The merged rows by what they hold.
fn naive_by_row(base: &Model, ours: &Model, theirs: &Model) -> Option<Model> {
    let count = |rows: &Model, row: &(i64, String, i64)| rows.iter().filter(|r| *r == row).count();
    let mut all: Model = [base, ours, theirs].into_iter().flatten().cloned().collect();
    all.sort();
    all.dedup();
    let mut merged = Model::new();
    for row in all {
        let (b, o, t) = (count(base, &row), count(ours, &row), count(theirs, &row));
        let left = match (b == o, b == t, o == t) {
            (_, true, _) | (_, _, true) => o,
            (true, ..) => t,
            _ => return None,
        };
        merged.extend(std::iter::repeat_n(row, left));
    }
    Some(merged)
}

async fn compare(keys: &[&str], rounds: &[(Vec<Act>, Vec<Act>)], update: bool) {
    let lab = Lab::new(keys).await;
    let rows = [(0, "a", 0), (1, "b", 1), (2, "c", 2), (3, "d", 0), (4, "e", 1), (5, "f", 2)];
    lab.create(&lab.main, "items", &rows).await;
    lab.make().await;
    let (here, there) = (lab.main.table(name("items")), lab.branch.table(name("items")));
    let mut base = lab.rows(&here).await;
    assert_eq!(lab.rows(&there).await, base);
    for (ours, theirs) in rounds {
        perform(&lab, &here, ours).await;
        perform(&lab, &there, theirs).await;
        let (ours, theirs) = (lab.rows(&here).await, lab.rows(&there).await);
        let naive = if keys.is_empty() { naive_by_row } else { naive_by_key };
        let done = lab.only(Way::ToMain).await;
        let merged = match naive(&base, &ours, &theirs) {
            Some(expected) => {
                assert_ne!(done.outcome, MergeOutcome::Conflict, "{done:?}");
                expected
            }
            None => {
                assert_eq!(done.outcome, MergeOutcome::Conflict);
                assert!(!done.conflicts.is_empty());
                ours
            }
        };
        assert_eq!(lab.rows(&here).await, merged);
        assert_eq!(lab.rows(&there).await, theirs);
        if done.outcome == MergeOutcome::Conflict {
            continue;
        }
        base = theirs;
        assert_eq!(lab.only(Way::ToMain).await.outcome, MergeOutcome::Unchanged);
        if update {
            let done = lab.only(Way::ToBranch).await;
            assert_ne!(done.outcome, MergeOutcome::Conflict, "{done:?}");
            assert_eq!(lab.rows(&there).await, merged);
            base = merged;
        }
    }
    let report = lab.lake.check(&lab.who, &crate::lake::Scope::Lake, crate::lake::Depth::Text);
    let report = report.await.unwrap();
    assert!(report.worst() <= Some(crate::lake::Severity::Note), "{report:?}");
}

fn run(keys: &[&str], rounds: &[(Vec<Act>, Vec<Act>)], update: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(compare(keys, rounds, update));
}

fn rounds() -> impl Strategy<Value = Vec<(Vec<Act>, Vec<Act>)>> {
    let acts = || proptest::collection::vec(act(), 0..4);
    proptest::collection::vec((acts(), acts()), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn merges_by_key_are_those_of_a_naive_merge(rounds in rounds(), update in any::<bool>()) {
        run(&["id"], &rounds, update);
    }

    #[test]
    fn merges_by_row_are_those_of_a_naive_merge(rounds in rounds(), update in any::<bool>()) {
        run(&[], &rounds, update);
    }
}

#[tokio::test]
async fn branches_of_supertable_2_0_are_merged() {
    for keys in [&["id"][..], &[]] {
        let lab = Lab::in_layout(keys, KeyLayout::V1).await;
        lab.create(&lab.main, "items", &[(1, "a", 1), (2, "b", 2), (3, "c", 3)]).await;
        lab.make().await;
        let (here, there) = (lab.main.table(name("items")), lab.branch.table(name("items")));
        lab.change(&there, "id = 1", &["name = 'x'".to_owned()]).await;
        lab.change(&there, "id = 2", &[]).await;
        lab.append(&there, &[(4, "d".to_owned(), 4)]).await;
        lab.change(&here, "id = 3", &["qty = 9".to_owned()]).await;
        assert_eq!(lab.only(Way::ToMain).await.outcome, MergeOutcome::Merged);
        let merged = [(1, "x".into(), 1), (3, "c".into(), 9), (4, "d".into(), 4)];
        assert_eq!(lab.rows(&here).await, merged);
        lab.only(Way::ToBranch).await;
        assert_eq!(lab.rows(&there).await, merged);
        lab.lake.drop_branch(&lab.who, &lab.branch, DropBranch::IfMerged).await.unwrap();
        let all = crate::lake::Scope::Lake;
        let report = lab.lake.check(&lab.who, &all, crate::lake::Depth::Text).await.unwrap();
        assert!(report.worst() <= Some(crate::lake::Severity::Note), "{report:?}");
    }
}

#[tokio::test]
async fn a_lost_catalogue_is_made_again_with_its_branches() {
    let lab = Lab::new(&["id"]).await;
    lab.create(&lab.main, "items", &[(1, "a", 1)]).await;
    lab.make().await;
    let there = lab.branch.table(name("items"));
    lab.change(&there, "id = 1", &["qty = 2".to_owned()]).await;
    let gone = BranchName::new("gone").unwrap();
    let wanted = BranchWanted { name: &gone, at: At::Latest, message: "" };
    let dropped = lab.lake.create_branch(&lab.who, &lab.main, &wanted).await.unwrap();
    lab.lake.drop_branch(&lab.who, &dropped, DropBranch::IfMerged).await.unwrap();
    let clock: SharedClock = Arc::new(ManualClock::new(9_000_000, 2));
    let catalog: SharedCatalog = Arc::new(EmbeddedCatalog::memory(clock.clone()).unwrap());
    let settings = Settings { state: "".into(), ..Settings::default() };
    let objects = Arc::clone(&lab.lake.0.objects);
    let lake = Lake::from_parts(&settings, objects, catalog, clock).unwrap();
    let (all, mode) = (crate::lake::Scope::Lake, crate::lake::Rebuild::Do);
    let rebuilt = lake.rebuild(&lab.who, &all, mode).await.unwrap();
    assert!(rebuilt.findings.is_empty(), "{rebuilt:?}");
    let names: Vec<String> =
        lake.branches(&lab.main).await.unwrap().into_iter().map(|branch| branch.name).collect();
    assert_eq!(names, ["dev"]);
    let lab = Lab { lake, ..lab };
    assert_eq!(lab.rows(&there).await, [(1, "a".into(), 2)]);
    assert_eq!(lab.only(Way::ToMain).await.outcome, MergeOutcome::Merged);
    assert_eq!(lab.rows(&lab.main.table(name("items"))).await, [(1, "a".into(), 2)]);
}

#[tokio::test]
async fn a_merge_whose_record_was_lost_is_found_again() {
    let lab = Lab::new(&[]).await;
    lab.create(&lab.main, "items", &[(1, "a", 1)]).await;
    lab.make().await;
    let (here, there) = (lab.main.table(name("items")), lab.branch.table(name("items")));
    lab.append(&there, &[(2, "b".to_owned(), 2)]).await;
    assert_eq!(lab.only(Way::ToMain).await.outcome, MergeOutcome::Merged);
    // As if the process had died between the commit and its record.
    lab.lake.put_record(&there, &Record::default()).await.unwrap();
    lab.change(&here, "id = 2", &[]).await;
    lab.append(&there, &[(3, "c".to_owned(), 3)]).await;
    assert_eq!(lab.only(Way::ToMain).await.counts.inserted, 1);
    assert_eq!(lab.text(&here).await, "id,name,qty\n1,a,1\n3,c,3\n");
}

#[tokio::test]
async fn tables_made_and_dropped_on_the_branch_are_made_and_dropped() {
    let lab = Lab::new(&["id"]).await;
    lab.create(&lab.main, "items", &[(1, "a", 1)]).await;
    lab.create(&lab.main, "kept", &[(1, "a", 1)]).await;
    lab.create(&lab.main, "old", &[(1, "a", 1)]).await;
    lab.make().await;
    lab.create(&lab.branch, "new", &[(1, "x", 1), (2, "y", 2)]).await;
    lab.lake.drop_table(&lab.who, &lab.branch.table(name("old"))).await.unwrap();
    lab.lake.drop_table(&lab.who, &lab.branch.table(name("kept"))).await.unwrap();
    lab.change(&lab.main.table(name("kept")), "id = 1", &["qty = 7".to_owned()]).await;
    let unmerged = lab.lake.unmerged(&lab.who, &lab.branch).await.unwrap();
    let unmerged: Vec<String> = unmerged.iter().map(ToString::to_string).collect();
    assert_eq!(unmerged, ["kept", "new", "old"]);
    let outcomes = |done: Vec<TableMerge>| -> Vec<(String, MergeOutcome)> {
        done.into_iter().map(|table| (table.table, table.outcome)).collect()
    };
    let expected = [
        ("kept", MergeOutcome::Conflict),
        ("new", MergeOutcome::Created),
        ("old", MergeOutcome::Dropped),
    ]
    .map(|(name, outcome)| (name.to_owned(), outcome));
    assert_eq!(outcomes(lab.merge(Way::ToMain, Rehearsal::Yes).await), expected);
    assert_eq!(outcomes(lab.merge(Way::ToMain, Rehearsal::No).await), expected);
    let here = |table: &str| lab.main.table(name(table));
    assert_eq!(lab.text(&here("new")).await, "id,name,qty\n1,x,1\n2,y,2\n");
    assert!(lab.lake.latest(&lab.who, &here("old")).await.is_err());
    assert_eq!(lab.text(&here("kept")).await, "id,name,qty\n1,a,7\n");
    // What is made under the name afterwards is another table.
    lab.create(&lab.main, "old", &[(5, "e", 5)]).await;
    let again = outcomes(lab.merge(Way::ToMain, Rehearsal::No).await);
    assert!(again.contains(&("old".to_owned(), MergeOutcome::Unchanged)), "{again:?}");
    assert_eq!(lab.text(&here("old")).await, "id,name,qty\n5,e,5\n");
}

#[tokio::test]
async fn added_columns_merge_and_different_types_are_conflicts() {
    let lab = Lab::new(&["id"]).await;
    lab.create(&lab.main, "items", &[(1, "a", 1), (2, "b", 2)]).await;
    lab.make().await;
    let (here, there) = (lab.main.table(name("items")), lab.branch.table(name("items")));
    lab.add_column(&there, Field::new("note", DataType::Utf8, true)).await;
    lab.change(&there, "id = 1", &["note = 'x'".to_owned()]).await;
    lab.add_column(&here, Field::new("price", DataType::Int64, true)).await;
    lab.change(&here, "id = 1", &["price = 9".to_owned()]).await;
    assert_eq!(lab.only(Way::ToMain).await.outcome, MergeOutcome::Merged);
    assert_eq!(lab.text(&here).await, "id,name,qty,price,note\n1,a,1,9,x\n2,b,2,,\n");
    lab.add_column(&there, Field::new("last", DataType::Utf8, true)).await;
    lab.add_column(&here, Field::new("last", DataType::Int64, true)).await;
    let done = lab.only(Way::ToMain).await;
    assert_eq!(done.outcome, MergeOutcome::Conflict);
    assert_eq!(done.conflicts[0].column, "last");
}

impl Lab {
    async fn add_column(&self, table: &TableId, field: Field) {
        let base = self.lake.latest(&self.who, table).await.unwrap();
        let mut fields = base.schema.fields().to_vec();
        fields.push(Arc::new(field));
        let columns = Arc::new(Schema::new(fields));
        let change = ChangeSet {
            base,
            edits: Vec::new(),
            rows: crate::lake::NewRows::none(),
            schema: Some(crate::lake::SchemaChange { columns }),
            config: None,
            on_existing_key: OnExistingKey::Refuse,
        };
        let done = self.lake.commit(&self.who, table, change, "schema", "").await.unwrap();
        assert!(matches!(done, CommitOutcome::Committed { .. }), "{done:?}");
    }

    /// Removes all that may go at once; the number of objects.
    async fn vacuum(&self, table: &TableId) -> u64 {
        let settings = VacuumSettings {
            older_than: Duration::ZERO,
            strays_older_than: Duration::ZERO,
            rehearsal: false,
        };
        self.lake.vacuum(&self.who, table, &settings, "").await.unwrap().objects
    }
}

#[tokio::test]
async fn a_vacuum_leaves_what_a_branch_needs_until_the_branch_is_dropped() {
    let lab = Lab::new(&["id"]).await;
    lab.create(&lab.main, "items", &[(1, "a", 1), (2, "b", 2)]).await;
    lab.make().await;
    let (here, there) = (lab.main.table(name("items")), lab.branch.table(name("items")));
    let before = lab.text(&there).await;
    lab.change(&here, "id = 1", &["qty = 7".to_owned()]).await;
    lab.lake.compact(&lab.who, &here, &crate::lake::CompactSettings::all()).await.unwrap();
    assert_eq!(lab.vacuum(&here).await, 2, "the changed row's file and its deletion vector");
    lab.lake.forget(&there);
    assert_eq!(lab.text(&there).await, before);
    let report = lab.lake.check(&lab.who, &crate::lake::Scope::Lake, crate::lake::Depth::Text);
    let findings = report.await.unwrap().findings;
    assert!(findings.is_empty(), "{findings:?}");
    let settings = VacuumSettings::older_than(Duration::ZERO);
    let refused = lab.lake.vacuum(&lab.who, &there, &settings, "").await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
    // A merge still knows what both sides began with.
    lab.change(&there, "id = 2", &["qty = 8".to_owned()]).await;
    assert_eq!(lab.only(Way::ToMain).await.outcome, MergeOutcome::Merged);
    assert_eq!(lab.rows(&here).await, [(1, "a".into(), 7), (2, "b".into(), 8)]);
    lab.lake.drop_branch(&lab.who, &lab.branch, DropBranch::IfMerged).await.unwrap();
    lab.lake.compact(&lab.who, &here, &crate::lake::CompactSettings::all()).await.unwrap();
    assert!(lab.vacuum(&here).await > 1, "the file that only the branch needed goes");
    // The same name again: nothing of the earlier branch is left.
    lab.make().await;
    assert_eq!(lab.text(&there).await, lab.text(&here).await);
    let report = lab.lake.check(&lab.who, &crate::lake::Scope::Lake, crate::lake::Depth::Text);
    let findings = report.await.unwrap().findings;
    assert!(findings.iter().all(|f| f.severity == crate::lake::Severity::Note), "{findings:?}");
}

#[tokio::test]
async fn a_branch_outlives_the_tables_of_its_supertable() {
    let lab = Lab::new(&["id"]).await;
    lab.create(&lab.main, "items", &[(1, "a", 1)]).await;
    lab.make().await;
    let (here, there) = (lab.main.table(name("items")), lab.branch.table(name("items")));
    lab.lake.drop_table(&lab.who, &here).await.unwrap();
    assert_eq!(lab.rows(&there).await, [(1, "a".into(), 1)]);
    assert_eq!(lab.only(Way::ToMain).await.outcome, MergeOutcome::Unchanged);
    let error = lab.lake.drop_super(&lab.who, &lab.main).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    lab.change(&there, "id = 1", &["qty = 2".to_owned()]).await;
    assert_eq!(lab.only(Way::ToMain).await.outcome, MergeOutcome::Conflict);
    lab.create(&lab.main, "items", &[(9, "z", 9)]).await;
    assert_eq!(lab.vacuum(&here).await, 0);
    assert_eq!(lab.rows(&there).await, [(1, "a".into(), 2)]);
}

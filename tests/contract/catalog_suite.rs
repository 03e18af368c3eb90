//! What every catalogue must do. `one` and `two` are handles on the same catalogue, as two
//! processes would have them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mountable::catalog::{
    DocKey, Expected, Leaf, LeafSwap, LogKey, Required, SharedCatalog, SwapOutcome,
};
use mountable::clock::{Clock, SystemClock};
use mountable::ident::{OrgName, SimpleName, SuperId, TableId};

pub(crate) fn table(text: &str) -> TableId {
    TableId::parse(text).expect("valid id")
}

fn super_id(text: &str) -> SuperId {
    SuperId::parse(text).expect("valid id")
}

fn org(text: &str) -> OrgName {
    OrgName::new(text).expect("valid name")
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A swap without schema and audit that raises the root.
pub(crate) fn swap(id: &TableId, expected: Option<&Bytes>, new: Option<&Bytes>) -> LeafSwap {
    LeafSwap {
        table: id.clone(),
        expected: expected.cloned(),
        new: new.cloned(),
        schema: None,
        now_ms: 1_795_253_675_030,
        bump_root: true,
        audit: Vec::new(),
        requires: None,
        removes: None,
    }
}

pub(crate) async fn put(c: &SharedCatalog, id: &TableId, leaf: &'static str) {
    let outcome = c.swap(swap(id, None, Some(&leaf.into()))).await.expect("swap");
    assert!(matches!(outcome, SwapOutcome::Swapped { .. }), "{outcome:?}");
}

async fn names(c: &SharedCatalog) -> Vec<String> {
    c.organizations().await.expect("list").iter().map(ToString::to_string).collect()
}

async fn supers(c: &SharedCatalog, organization: &str) -> Vec<String> {
    c.supers(&org(organization)).await.expect("list").iter().map(ToString::to_string).collect()
}

pub(crate) async fn organizations_appear_when_made_or_used(
    one: &SharedCatalog,
    two: &SharedCatalog,
) {
    assert_eq!(names(one).await, Vec::<String>::new());
    assert!(one.create_organization(&org("beta")).await.expect("create"));
    assert!(!two.create_organization(&org("beta")).await.expect("create"));
    for id in ["a-b/x", "a/y", "a_b/z", "a/x-1", "a/x"] {
        assert!(one.create_super(&super_id(id), 7).await.expect("create"));
    }
    assert!(!two.create_organization(&org("a")).await.expect("create"), "it is in use");
    assert_eq!(names(two).await, ["a", "a-b", "a_b", "beta"]);
    assert_eq!(supers(two, "a").await, ["x", "x-1", "y"]);
    assert_eq!(supers(two, "beta").await, Vec::<String>::new());
}

pub(crate) async fn an_organization_goes_only_when_empty(one: &SharedCatalog, two: &SharedCatalog) {
    assert!(one.create_organization(&org("a")).await.expect("create"));
    assert!(one.create_super(&super_id("a/x"), 7).await.expect("create"));
    assert!(!two.remove_organization(&org("a")).await.expect("remove"));
    assert!(two.remove_super(&super_id("a/x")).await.expect("remove"));
    assert_eq!(names(one).await, ["a"], "made explicitly, so it stays");
    assert!(one.remove_organization(&org("a")).await.expect("remove"));
    assert_eq!(names(two).await, Vec::<String>::new());
}

pub(crate) async fn a_new_supertable_has_root_and_roles(one: &SharedCatalog, two: &SharedCatalog) {
    let id = super_id("acme/shop");
    assert_eq!(two.root(&id).await.expect("root"), None);
    assert!(one.create_super(&id, 1_795_253_675_030).await.expect("create"));
    assert!(!two.create_super(&id, 5).await.expect("create"));
    let root = two.root(&id).await.expect("root").expect("there");
    assert_eq!(text(&root.raw), r#"{"version":0,"ts":1795253675030}"#);
    let role = two.role(&id, "superadmin").await.expect("role").expect("there");
    let field = |name: &str| role.get(name).map(String::as_str);
    assert_eq!(field("role"), Some("superadmin"));
    assert_eq!(field("content_hash"), Some("3607ae233e71442cbd554939c6be54cf"));
    assert_eq!(field("tables"), Some(r#"{"*": {"columns": ["*"], "filters": ["*"]}}"#));
    assert_eq!(field("role_id").map(str::len), Some(32));
}

pub(crate) async fn a_supertable_goes_only_when_empty_and_alone(
    one: &SharedCatalog,
    two: &SharedCatalog,
) {
    for id in ["a/shop", "a/shop-2", "a/shop2", "a/sho"] {
        assert!(one.create_super(&super_id(id), 7).await.expect("create"));
        put(one, &table(&format!("{id}/t")), "leaf").await;
    }
    let id = super_id("a/shop");
    let trash = DocKey::Trash(id.clone(), "t".to_owned());
    assert!(one.put_doc(&trash, Expected::Any, "doc".into()).await.expect("put"));
    let log = LogKey::TableRefusals(table("a/shop/t"));
    one.append(&log, &["no".into()], 5).await.expect("append");
    assert!(!two.remove_super(&id).await.expect("remove"), "it holds a table");
    assert!(two.root(&id).await.expect("root").is_some());
    let gone = one.swap(swap(&table("a/shop/t"), Some(&"leaf".into()), None)).await;
    assert!(matches!(gone, Ok(SwapOutcome::Swapped { .. })));
    assert!(two.remove_super(&id).await.expect("remove"));
    assert_eq!(one.root(&id).await.expect("root"), None);
    assert_eq!(one.doc(&trash).await.expect("doc"), None);
    assert_eq!(one.trash(&id).await.expect("trash"), Vec::<String>::new());
    assert_eq!(one.read_log(&log, 9).await.expect("log"), Vec::<Bytes>::new());
    assert_eq!(one.role(&id, "superadmin").await.expect("role"), None);
    assert_eq!(supers(one, "a").await, ["sho", "shop-2", "shop2"]);
    for id in ["a/shop-2", "a/shop2", "a/sho"] {
        assert_eq!(one.leaves(&super_id(id)).await.expect("leaves").len(), 1, "{id}");
        assert!(one.role(&super_id(id), "superadmin").await.expect("role").is_some(), "{id}");
    }
}

pub(crate) async fn a_leaf_is_swapped_only_from_what_was_seen(
    one: &SharedCatalog,
    two: &SharedCatalog,
) {
    let id = table("acme/shop/orders");
    let (first, second, other) = (Bytes::from("first"), Bytes::from("second"), Bytes::from("x"));
    let moved = |leaf: Option<&Bytes>| SwapOutcome::Moved {
        current: leaf.map(|raw| Leaf { raw: raw.clone() }),
    };
    assert_eq!(one.leaf(&id).await.expect("leaf"), None);
    let outcome = one.swap(swap(&id, Some(&other), Some(&first))).await.expect("swap");
    assert_eq!(outcome, moved(None));
    let outcome = one.swap(swap(&id, None, Some(&first))).await.expect("swap");
    assert!(matches!(outcome, SwapOutcome::Swapped { .. }));
    let outcome = two.swap(swap(&id, None, Some(&second))).await.expect("swap");
    assert_eq!(outcome, moved(Some(&first)));
    let outcome = two.swap(swap(&id, Some(&other), Some(&second))).await.expect("swap");
    assert_eq!(outcome, moved(Some(&first)));
    let empty = Bytes::new();
    let outcome = two.swap(swap(&id, Some(&empty), Some(&second))).await.expect("swap");
    assert_eq!(outcome, moved(Some(&first)), "an empty leaf is not a missing one");
    let outcome = two.swap(swap(&id, Some(&first), Some(&second))).await.expect("swap");
    assert!(matches!(outcome, SwapOutcome::Swapped { .. }));
    assert_eq!(one.leaf(&id).await.expect("leaf"), Some(Leaf { raw: second.clone() }));
    let outcome = one.swap(swap(&id, Some(&other), None)).await.expect("swap");
    assert_eq!(outcome, moved(Some(&second)));
    let outcome = one.swap(swap(&id, Some(&second), None)).await.expect("swap");
    assert!(matches!(outcome, SwapOutcome::Swapped { .. }));
    assert_eq!(two.leaf(&id).await.expect("leaf"), None);
}

pub(crate) async fn a_swap_happens_only_with_what_it_requires(
    one: &SharedCatalog,
    two: &SharedCatalog,
) {
    let (id, other) = (table("acme/shop/orders"), table("acme/shop/archive"));
    let leaf = r#"{"version":0,"path":"a"}"#;
    put(one, &id, leaf).await;
    let key = DocKey::Trash(id.super_id(), "orders_1".to_owned());
    let remove = |requires: Required| LeafSwap {
        requires: Some(requires),
        removes: None,
        ..swap(&id, Some(&leaf.into()), None)
    };
    let still = SwapOutcome::Moved { current: Some(Leaf { raw: leaf.into() }) };
    for requires in [Required::Doc(key.clone()), Required::Leaf(other.clone())] {
        assert_eq!(one.swap(remove(requires)).await.expect("swap"), still);
    }
    // Of another name in the same trash.
    let neighbour = DocKey::Trash(id.super_id(), "orders_2".to_owned());
    assert!(two.put_doc(&neighbour, Expected::Absent, "{}".into()).await.expect("put"));
    assert_eq!(one.swap(remove(Required::Doc(key.clone()))).await.expect("swap"), still);
    put(two, &other, leaf).await;
    let gone = one.swap(remove(Required::Leaf(other))).await.expect("swap");
    assert!(matches!(gone, SwapOutcome::Swapped { .. }), "{gone:?}");
    put(one, &id, leaf).await;
    assert!(two.put_doc(&key, Expected::Absent, "{}".into()).await.expect("put"));
    let gone = one.swap(remove(Required::Doc(key))).await.expect("swap");
    assert!(matches!(gone, SwapOutcome::Swapped { .. }), "{gone:?}");
    assert_eq!(two.leaf(&id).await.expect("leaf"), None);
}

pub(crate) async fn bytes_come_back_exactly(one: &SharedCatalog, two: &SharedCatalog) {
    let id = table("acme/shop/orders");
    let every: Bytes = (0..=255_u8).cycle().take(1024).collect();
    let json = Bytes::from(
        r#"{"a":[],"b":{},"n":1234567890123456789,"m":9007199254740993,"f":1.0,"s":"a\/\u00e9"}"#,
    );
    let mut seen = None;
    for leaf in [every.clone(), json.clone(), Bytes::new(), Bytes::from("0"), every] {
        let mut change = swap(&id, seen.as_ref(), Some(&leaf));
        change.schema = Some(json.clone());
        let outcome = one.swap(change).await.expect("swap");
        assert!(matches!(outcome, SwapOutcome::Swapped { .. }));
        assert_eq!(two.leaf(&id).await.expect("leaf"), Some(Leaf { raw: leaf.clone() }));
        seen = Some(leaf);
    }
}

pub(crate) async fn a_value_of_many_megabytes_is_kept(one: &SharedCatalog, two: &SharedCatalog) {
    let id = table("acme/shop/orders");
    let big: Bytes = (0..16_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    assert!(matches!(one.swap(swap(&id, None, Some(&big))).await, Ok(SwapOutcome::Swapped { .. })));
    assert_eq!(two.leaf(&id).await.expect("leaf"), Some(Leaf { raw: big.clone() }));
    assert!(matches!(
        two.swap(swap(&id, Some(&big), Some(&"small".into()))).await,
        Ok(SwapOutcome::Swapped { .. })
    ));
}

pub(crate) async fn root_is_raised_by_commits_only(one: &SharedCatalog, two: &SharedCatalog) {
    let id = table("acme/shop/orders");
    one.create_super(&id.super_id(), 5).await.expect("create");
    let mut create = swap(&id, None, Some(&"0".into()));
    create.bump_root = false;
    let outcome = one.swap(create).await.expect("swap");
    assert_eq!(outcome, SwapOutcome::Swapped { root_version: 0 });
    let root = async || text(&two.root(&id.super_id()).await.expect("root").expect("there").raw);
    assert_eq!(root().await, r#"{"version":0,"ts":5}"#);
    let outcome = one.swap(swap(&id, Some(&"0".into()), Some(&"1".into()))).await.expect("swap");
    assert_eq!(outcome, SwapOutcome::Swapped { root_version: 1 });
    assert_eq!(root().await, r#"{"version":1,"ts":1795253675030}"#);
    let lost = one.swap(swap(&id, Some(&"0".into()), Some(&"2".into()))).await.expect("swap");
    assert!(matches!(lost, SwapOutcome::Moved { .. }));
    assert_eq!(root().await, r#"{"version":1,"ts":1795253675030}"#, "a lost swap changes nothing");
}

pub(crate) async fn of_competing_swaps_exactly_one_wins(one: &SharedCatalog, two: &SharedCatalog) {
    const WRITERS: usize = 8;
    const COMMITS: usize = 25;
    let id = table("acme/shop/orders");
    put(one, &id, "0").await;
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let (catalog, id) = (Arc::clone(if writer % 2 == 0 { one } else { two }), id.clone());
        tasks.push(tokio::spawn(async move {
            let mut done = 0;
            while done < COMMITS {
                let seen = catalog.leaf(&id).await.expect("leaf").expect("there").raw;
                let next: u64 = text(&seen).parse::<u64>().expect("number") + 1;
                let new = Bytes::from(next.to_string());
                match catalog.swap(swap(&id, Some(&seen), Some(&new))).await.expect("swap") {
                    SwapOutcome::Swapped { .. } => done += 1,
                    SwapOutcome::Moved { current } => {
                        assert_ne!(current.map(|l| l.raw), Some(seen))
                    }
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("writer");
    }
    let leaf = two.leaf(&id).await.expect("leaf").expect("there");
    assert_eq!(text(&leaf.raw), (WRITERS * COMMITS).to_string());
    let root = one.root(&id.super_id()).await.expect("root").expect("there");
    let version = WRITERS * COMMITS;
    assert_eq!(text(&root.raw), format!(r#"{{"version":{version},"ts":1795253675030}}"#));
}

pub(crate) async fn of_competing_creations_exactly_one_wins(
    one: &SharedCatalog,
    two: &SharedCatalog,
) {
    for round in 0..10 {
        let id = table(&format!("acme/shop/t{round}"));
        let tries = (0..12).map(|writer| {
            let catalog = Arc::clone(if writer % 2 == 0 { one } else { two });
            let change = swap(&id, None, Some(&Bytes::from(writer.to_string())));
            tokio::spawn(async move { catalog.swap(change).await.expect("swap") })
        });
        let outcomes = futures::future::join_all(tries).await;
        let won = outcomes
            .into_iter()
            .filter(|outcome| matches!(outcome, Ok(SwapOutcome::Swapped { .. })))
            .count();
        assert_eq!(won, 1);
    }
}

pub(crate) async fn a_removed_table_leaves_nothing_that_a_new_one_inherits(
    one: &SharedCatalog,
    two: &SharedCatalog,
) {
    let id = table("acme/shop/orders");
    put(one, &id, "leaf").await;
    assert_eq!(one.reserve_row_ids(&id, 10, 0).await.expect("ids"), 1);
    assert!(one.acquire(&id, "token", Duration::from_secs(60)).await.expect("lock"));
    let config = DocKey::TableConfig(id.clone());
    assert!(one.put_doc(&config, Expected::Any, "{}".into()).await.expect("put"));
    let gone = two.swap(swap(&id, Some(&"leaf".into()), None)).await.expect("swap");
    assert!(matches!(gone, SwapOutcome::Swapped { .. }));
    assert_eq!(one.leaves(&id.super_id()).await.expect("leaves"), Vec::new());
    assert!(!one.release(&id, "token").await.expect("lock"), "the lock went with the table");
    assert_eq!(one.reserve_row_ids(&id, 1, 0).await.expect("ids"), 1);
    assert_eq!(one.doc(&config).await.expect("doc"), Some("{}".into()), "documents stay");
}

pub(crate) async fn all_leaves_are_listed_in_order(one: &SharedCatalog, two: &SharedCatalog) {
    let id = super_id("acme/shop");
    assert_eq!(one.leaves(&id).await.expect("leaves"), Vec::new());
    let mut expected = BTreeSet::new();
    for number in 0..600 {
        let name = format!("t{number}");
        let raw = Bytes::from(format!("leaf of {name}"));
        let change = swap(&table(&format!("acme/shop/{name}")), None, Some(&raw));
        assert!(matches!(one.swap(change).await, Ok(SwapOutcome::Swapped { .. })));
        expected.insert(name);
    }
    put(one, &table("acme/shop-2/other"), "x").await;
    let found = two.leaves(&id).await.expect("leaves");
    let listed: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(listed, expected.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, leaf) in &found {
        assert_eq!(text(&leaf.raw), format!("leaf of {name}"));
    }
}

pub(crate) async fn a_lock_has_one_holder_until_it_expires(
    one: &SharedCatalog,
    two: &SharedCatalog,
) {
    let id = table("acme/shop/orders");
    let (short, long) = (Duration::from_secs(6), Duration::from_secs(60));
    assert!(one.acquire(&id, "a", short).await.expect("lock"));
    assert!(one.acquire(&id, "a", short).await.expect("lock"), "again by the same token");
    assert!(!two.acquire(&id, "b", long).await.expect("lock"));
    assert!(!two.renew(&id, "b", long).await.expect("lock"));
    assert!(!two.release(&id, "b").await.expect("lock"));
    SystemClock.sleep(Duration::from_millis(3_500)).await;
    assert!(one.renew(&id, "a", short).await.expect("lock"));
    SystemClock.sleep(Duration::from_millis(3_500)).await;
    assert!(!two.acquire(&id, "b", long).await.expect("lock"), "it was renewed");
    SystemClock.sleep(Duration::from_millis(4_000)).await;
    assert!(two.acquire(&id, "b", long).await.expect("lock"), "it has expired");
    assert!(!one.renew(&id, "a", long).await.expect("lock"));
    assert!(!one.release(&id, "a").await.expect("lock"));
    assert!(two.release(&id, "b").await.expect("lock"));
    assert!(!two.release(&id, "b").await.expect("lock"));
    let other = table("acme/shop/other");
    assert!(one.acquire(&id, "c", long).await.expect("lock"));
    assert!(one.acquire(&other, "d", long).await.expect("lock"), "another table");
}

pub(crate) async fn a_swap_releases_the_lock_of_its_token_only(
    one: &SharedCatalog,
    two: &SharedCatalog,
) {
    let id = table("acme/shop/orders");
    let long = Duration::from_secs(60);
    put(one, &id, "leaf 1").await;
    assert!(one.acquire(&id, "a", long).await.expect("lock"));
    let (first, second, third): (Bytes, Bytes, Bytes) =
        ("leaf 1".into(), "leaf 2".into(), "leaf 3".into());
    let other = swap(&id, Some(&first), Some(&second));
    let outcome = two.swap_and_release(other, "b").await.expect("swap");
    assert!(matches!(outcome, SwapOutcome::Swapped { .. }), "{outcome:?}");
    assert!(!two.acquire(&id, "b", long).await.expect("lock"), "it is another one's");
    let late = swap(&id, Some(&first), Some(&third));
    let outcome = one.swap_and_release(late, "a").await.expect("swap");
    assert!(matches!(outcome, SwapOutcome::Moved { .. }), "{outcome:?}");
    assert!(!two.acquire(&id, "b", long).await.expect("lock"), "nothing was swapped");
    let outcome =
        one.swap_and_release(swap(&id, Some(&second), Some(&third)), "a").await.expect("swap");
    assert!(matches!(outcome, SwapOutcome::Swapped { .. }), "{outcome:?}");
    assert!(two.acquire(&id, "b", long).await.expect("lock"), "it is free");
    assert!(!one.release(&id, "a").await.expect("lock"));
}

/// What a leaf replaces goes in the step that brings the leaf, and only then.
pub(crate) async fn a_swap_removes_what_it_replaces(one: &SharedCatalog, two: &SharedCatalog) {
    let (id, leaf) = (table("acme/shop/orders"), Bytes::from("leaf 1"));
    let documents =
        [DocKey::Trash(id.super_id(), "orders_1".to_owned()), DocKey::TableConfig(id.clone())];
    for (turn, key) in documents.into_iter().enumerate() {
        let id = table(&format!("acme/shop/orders_{turn}"));
        assert!(one.put_doc(&key, Expected::Absent, "{}".into()).await.expect("put"));
        let other = DocKey::Trash(id.super_id(), "another".to_owned());
        one.put_doc(&other, Expected::Absent, "{}".into()).await.expect("put");
        let appear = |expected| LeafSwap {
            removes: Some(key.clone()),
            requires: Some(Required::Doc(other.clone())),
            ..swap(&id, expected, Some(&leaf))
        };
        let early = one.swap(appear(Some(&leaf))).await.expect("swap");
        assert_eq!(early, SwapOutcome::Moved { current: None });
        assert!(two.doc(&key).await.expect("doc").is_some(), "nothing was swapped");
        let outcome = one.swap(appear(None)).await.expect("swap");
        assert!(matches!(outcome, SwapOutcome::Swapped { .. }), "{outcome:?}");
        assert_eq!(two.doc(&key).await.expect("doc"), None);
        assert!(two.doc(&other).await.expect("doc").is_some(), "it was only required");
    }
}

/// Every optional part of a swap in one: what it requires, the lock's token, schema, audit.
pub(crate) async fn a_swap_with_all_its_parts_keeps_them_apart(
    one: &SharedCatalog,
    two: &SharedCatalog,
) {
    let (id, other) = (table("acme/shop/orders"), table("acme/shop/archive"));
    let long = Duration::from_secs(60);
    let key = DocKey::Trash(id.super_id(), "orders_1".to_owned());
    let document = DocKey::SchemaDocument(id.clone());
    let mut leaf: Bytes = "leaf 0".into();
    put(one, &id, "leaf 0").await;
    for (turn, requires) in
        [Required::Doc(key.clone()), Required::Leaf(other.clone())].into_iter().enumerate()
    {
        let token = format!("token {turn}");
        let (next, schema) =
            (Bytes::from(format!("leaf {}", turn + 1)), Bytes::from(format!("schema {turn}")));
        let event = vec![("action".to_owned(), format!("edit {turn}"))];
        let whole = LeafSwap {
            requires: Some(requires.clone()),
            removes: None,
            schema: Some(schema.clone()),
            audit: vec![event.clone(), event],
            ..swap(&id, Some(&leaf), Some(&next))
        };
        assert!(one.acquire(&id, &token, long).await.expect("lock"));
        let early = one.swap_and_release(whole.clone(), &token).await.expect("swap");
        assert_eq!(early, SwapOutcome::Moved { current: Some(Leaf { raw: leaf.clone() }) });
        assert!(!two.acquire(&id, "thief", long).await.expect("lock"), "nothing was swapped");
        assert_ne!(two.doc(&document).await.expect("doc"), Some(schema.clone()));
        match requires {
            Required::Doc(key) => {
                assert!(two.put_doc(&key, Expected::Absent, "{}".into()).await.expect("put"));
            }
            Required::Leaf(other) => put(two, &other, "leaf").await,
        }
        let outcome = one.swap_and_release(whole, &token).await.expect("swap");
        assert!(matches!(outcome, SwapOutcome::Swapped { .. }), "{outcome:?}");
        assert_eq!(two.leaf(&id).await.expect("leaf"), Some(Leaf { raw: next.clone() }));
        assert_eq!(two.doc(&document).await.expect("doc"), Some(schema));
        assert!(two.acquire(&id, "next", long).await.expect("lock"), "it was released");
        assert!(two.release(&id, "next").await.expect("lock"));
        leaf = next;
    }
}

pub(crate) async fn row_ids_are_never_given_twice(one: &SharedCatalog, two: &SharedCatalog) {
    let id = table("acme/shop/orders");
    let tries = (0..40_u64).map(|writer| {
        let (catalog, id) = (Arc::clone(if writer % 2 == 0 { one } else { two }), id.clone());
        let count = writer % 7 + 1;
        tokio::spawn(async move {
            (catalog.reserve_row_ids(&id, count, 0).await.expect("reserve"), count)
        })
    });
    let mut blocks: Vec<(u64, u64)> =
        futures::future::join_all(tries).await.into_iter().map(|b| b.expect("task")).collect();
    blocks.sort_unstable();
    let mut next = 1;
    for (first, count) in blocks {
        assert_eq!(first, next, "blocks follow one another");
        next = first + count;
    }
}

pub(crate) async fn row_ids_stay_above_the_floor_after_a_roll_back(
    one: &SharedCatalog,
    two: &SharedCatalog,
) {
    let id = table("acme/shop/orders");
    let reserve = async |c: &SharedCatalog, count, above| {
        c.reserve_row_ids(&id, count, above).await.expect("reserve")
    };
    assert_eq!(reserve(one, 5, 0).await, 1);
    // The counter says 5, the snapshots say that 100 ids were given: it was rolled back.
    assert_eq!(reserve(two, 5, 100).await, 101);
    assert_eq!(reserve(one, 5, 100).await, 106);
    assert_eq!(reserve(one, 1, 9).await, 111, "compared as numbers, not as text");
    assert_eq!(reserve(one, 1, 1_000).await, 1_001);
    // Numbers that a double cannot hold.
    let large = 9_007_199_254_740_993;
    assert_eq!(reserve(two, 3, large).await, large + 1);
    assert_eq!(reserve(one, 1, 0).await, large + 4);
    let last = u64::try_from(i64::MAX).expect("fits");
    assert!(one.reserve_row_ids(&id, 2, last - 1).await.is_err(), "used up");
}

pub(crate) async fn documents_are_replaced_only_from_what_was_expected(
    one: &SharedCatalog,
    two: &SharedCatalog,
) {
    let id = table("acme/shop/orders");
    let odd: Bytes = (0..=255_u8).collect();
    for key in [
        DocKey::Secret("handles"),
        DocKey::Trash(id.super_id(), "orders~1 \u{e9}:*".to_owned()),
        DocKey::TableConfig(id.clone()),
        DocKey::Views(id.super_id()),
    ] {
        let put = async |c: &SharedCatalog, expected: Expected, value: &Bytes| {
            c.put_doc(&key, expected, value.clone()).await.expect("put")
        };
        assert_eq!(one.doc(&key).await.expect("doc"), None, "{key:?}");
        assert!(!one.remove_doc(&key).await.expect("remove"));
        assert!(!put(one, Expected::Is("x".into()), &odd).await);
        assert!(!put(one, Expected::Is(Bytes::new()), &odd).await, "empty is not absent");
        assert!(put(one, Expected::Absent, &odd).await);
        assert!(!put(two, Expected::Absent, &"y".into()).await);
        assert_eq!(two.doc(&key).await.expect("doc"), Some(odd.clone()));
        assert!(!put(two, Expected::Is("x".into()), &"y".into()).await);
        assert!(put(two, Expected::Is(odd.clone()), &"y".into()).await);
        assert!(put(one, Expected::Any, &"z".into()).await);
        assert!(put(one, Expected::Any, &"z".into()).await, "again the same");
        assert_eq!(two.doc(&key).await.expect("doc"), Some("z".into()));
        assert!(two.remove_doc(&key).await.expect("remove"));
        assert!(put(one, Expected::Any, &Bytes::new()).await);
        assert_eq!(two.doc(&key).await.expect("doc"), Some(Bytes::new()));
    }
}

pub(crate) async fn trash_is_listed_in_order(one: &SharedCatalog, two: &SharedCatalog) {
    let id = super_id("acme/shop");
    for name in ["b", "a~2", "a~10", "c"] {
        let key = DocKey::Trash(id.clone(), name.to_owned());
        assert!(one.put_doc(&key, Expected::Absent, "{}".into()).await.expect("put"));
    }
    assert!(two.remove_doc(&DocKey::Trash(id.clone(), "c".to_owned())).await.expect("remove"));
    assert_eq!(two.trash(&id).await.expect("trash"), ["a~10", "a~2", "b"]);
    assert_eq!(two.trash(&super_id("acme/other")).await.expect("trash"), Vec::<String>::new());
}

pub(crate) async fn a_branch_is_seen_by_its_own_name_only(
    one: &SharedCatalog,
    two: &SharedCatalog,
) {
    let (main, branch) = (super_id("a/shop"), super_id("a/shop@dev"));
    assert!(one.create_super(&main, 7).await.expect("create"));
    let entry = DocKey::Branch(main.clone(), "dev".to_owned());
    let root = DocKey::BranchRoot(branch.clone());
    for key in [&root, &entry] {
        assert!(one.put_doc(key, Expected::Absent, r#"{"version":0}"#.into()).await.expect("put"));
    }
    put(one, &table("a/shop@dev/t"), "leaf").await;
    let merged = DocKey::Merged(table("a/shop@dev/t"));
    assert!(one.put_doc(&merged, Expected::Any, "{}".into()).await.expect("put"));
    assert_eq!(two.branches(&main).await.expect("branches"), ["dev"]);
    assert_eq!(two.branches(&branch).await.expect("branches"), ["dev"], "of the SuperTable");
    assert_eq!(two.branches(&super_id("a/shop2")).await.expect("branches"), Vec::<String>::new());
    assert_eq!(supers(two, "a").await, ["shop"]);
    assert_eq!(two.leaves(&main).await.expect("leaves"), []);
    assert_eq!(two.leaves(&branch).await.expect("leaves").len(), 1);
    assert!(two.root(&branch).await.expect("root").is_some());
    // Roles are those of the SuperTable.
    assert!(two.role(&branch, "superadmin").await.expect("role").is_some());
    assert!(!one.remove_super(&branch).await.expect("remove"), "it holds a table");
    let gone = one.swap(swap(&table("a/shop@dev/t"), Some(&"leaf".into()), None)).await;
    assert!(matches!(gone, Ok(SwapOutcome::Swapped { .. })));
    assert!(one.remove_super(&branch).await.expect("remove"));
    assert_eq!(two.doc(&merged).await.expect("doc"), None);
    assert_eq!(two.root(&branch).await.expect("root"), None);
    assert!(two.root(&main).await.expect("root").is_some());
    assert!(two.role(&main, "superadmin").await.expect("role").is_some());
}

pub(crate) async fn logs_keep_their_newest_entries(one: &SharedCatalog, two: &SharedCatalog) {
    let id = table("acme/shop/orders");
    let log = LogKey::TableRefusals(id.clone());
    let entry = |number: u32| Bytes::from(format!("entry {number}\0\n\u{e9}"));
    assert_eq!(one.read_log(&log, 5).await.expect("read"), Vec::<Bytes>::new());
    for start in (0..30).step_by(3) {
        let entries: Vec<Bytes> = (start..start + 3).map(entry).collect();
        let catalog = if start % 2 == 0 { one } else { two };
        catalog.append(&log, &entries, 10).await.expect("append");
    }
    one.append(&LogKey::SuperRefusals(id.super_id()), &["x".into()], 10).await.expect("append");
    let newest = |count: u32| (30 - count..30).map(entry).collect::<Vec<_>>();
    assert_eq!(two.read_log(&log, 100).await.expect("read"), newest(10));
    assert_eq!(two.read_log(&log, 4).await.expect("read"), newest(4));
    assert_eq!(two.read_log(&log, 0).await.expect("read"), newest(0));
    one.append(&log, &[], 2).await.expect("append nothing");
    assert_eq!(two.read_log(&log, 100).await.expect("read"), newest(2));
    one.append(&log, &[entry(1)], 0).await.expect("append");
    assert_eq!(two.read_log(&log, 100).await.expect("read"), newest(0));
}

pub(crate) async fn audit_events_of_any_text_are_taken(one: &SharedCatalog, two: &SharedCatalog) {
    let id = table("acme/shop/orders");
    let event = vec![
        ("event_id".to_owned(), "1".to_owned()),
        ("detail".to_owned(), "{\"a\":\"\u{e9}\n\0\"}".to_owned()),
    ];
    one.audit(&id.organization, &[event.clone(), Vec::new(), event.clone()]).await.expect("audit");
    one.audit(&id.organization, &[]).await.expect("nothing to audit");
    let mut change = swap(&id, None, Some(&"leaf".into()));
    change.audit = vec![event.clone(), event];
    assert!(matches!(two.swap(change).await, Ok(SwapOutcome::Swapped { .. })));
}

pub(crate) async fn roles_are_found_without_regard_to_case(
    one: &SharedCatalog,
    two: &SharedCatalog,
) {
    let id = super_id("acme/shop");
    assert_eq!(one.role(&id, "superadmin").await.expect("role"), None, "no such SuperTable");
    one.create_super(&id, 7).await.expect("create");
    assert!(two.role(&id, "SuperAdmin").await.expect("role").is_some());
    assert_eq!(two.role(&id, "nobody").await.expect("role"), None);
}

pub(crate) async fn health_names_the_same_epoch_to_all(one: &SharedCatalog, two: &SharedCatalog) {
    let health = one.health().await.expect("health");
    assert_eq!(health.epoch, two.health().await.expect("health").epoch);
    assert!(!health.epoch.is_empty() && !health.description.is_empty());
    // A name that no identifier allows is never looked up.
    assert!(SimpleName::new("a:b").is_err());
}

//! What every object store must do for the commit protocol.

use std::sync::Arc;

use bytes::Bytes;
use mountable::store::{
    Objects, PutCreate, StoreOptions, delete, get, get_range, list, open, put_create,
};

async fn a_name_is_created_once(objects: &Objects) {
    for round in 0..8 {
        let path = format!("acme/shop/tables/t/snapshots/{round:020}_0123456789abcdef_tables.json");
        let tries = (0..8_u8).map(|writer| {
            let (objects, path) = (Arc::clone(objects), path.clone());
            tokio::spawn(async move {
                let bytes = Bytes::from(vec![writer; 100_000]);
                (put_create(&objects, &path, bytes).await.expect("put"), writer)
            })
        });
        let outcomes = futures::future::join_all(tries).await;
        let winners: Vec<u8> = outcomes
            .into_iter()
            .map(|outcome| outcome.expect("task"))
            .filter_map(|(outcome, writer)| (outcome == PutCreate::Created).then_some(writer))
            .collect();
        assert_eq!(winners.len(), 1);
        let stored = get(objects, &path).await.expect("get").expect("there");
        assert_eq!(stored, Bytes::from(vec![winners[0]; 100_000]), "the winner's bytes, all");
    }
}

async fn objects_are_listed_read_and_deleted(objects: &Objects) {
    for path in ["a/data/2", "a/data/1", "a/dat", "a/data2/1"] {
        let created = put_create(objects, path, Bytes::from(path)).await.expect("put");
        assert_eq!(created, PutCreate::Created);
    }
    let found = list(objects, "a/data").await.expect("list");
    let paths: Vec<&str> = found.iter().map(|meta| meta.location.as_ref()).collect();
    assert_eq!(paths, ["a/data/1", "a/data/2"]);
    assert_eq!(list(objects, "a/nothing").await.expect("list"), Vec::new());
    assert_eq!(get_range(objects, "a/data/1", 2..6).await.expect("range"), "data");
    assert!(delete(objects, "a/data/1").await.expect("delete"));
    assert_eq!(get(objects, "a/data/1").await.expect("get"), None);
}

async fn check(objects: Objects) {
    a_name_is_created_once(&objects).await;
    objects_are_listed_read_and_deleted(&objects).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_the_contract() {
    check(open("memory:", &StoreOptions::new()).expect("opens")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_keeps_the_contract() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("lake").display().to_string();
    check(open(&path, &StoreOptions::new()).expect("opens")).await;
    // Another process would see the same.
    let again = open(&format!("file://{path}"), &StoreOptions::new()).expect("opens");
    assert_eq!(get(&again, "a/data/2").await.expect("get"), Some(Bytes::from("a/data/2")));
}

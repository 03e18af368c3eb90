//! Tests of the local directory store.

use object_store::ObjectStoreExt;

use super::*;
use crate::error::ErrorKind;
use crate::store::{Objects, PutCreate, error_of, get, list, put_create, put_overwrite};

fn store() -> (tempfile::TempDir, Objects) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = LocalStore::open(&directory.path().join("new/lake")).expect("opens");
    (directory, Arc::new(store))
}

fn files_below(directory: &FilePath) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).expect("read directory") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            names.extend(files_below(&path));
        } else {
            names.push(path.display().to_string());
        }
    }
    names
}

#[tokio::test]
async fn a_created_object_reads_back_and_leaves_no_other_file() {
    let (directory, objects) = store();
    let bytes = Bytes::from_static(b"\0\xff\r\n,");
    let created = put_create(&objects, "a/year=2026/b", bytes.clone()).await.expect("put");
    assert_eq!(created, PutCreate::Created);
    assert_eq!(get(&objects, "a/year=2026/b").await.expect("get"), Some(bytes));
    assert_eq!(files_below(directory.path()).len(), 1);
    let again = put_create(&objects, "a/year=2026/b", Bytes::from_static(b"x")).await;
    assert_eq!(again.expect("put"), PutCreate::Exists);
    assert_eq!(files_below(directory.path()).len(), 1);
    put_overwrite(&objects, "a/year=2026/b", Bytes::from_static(b"stub")).await.expect("put");
    assert_eq!(get(&objects, "a/year=2026/b").await.expect("get").as_deref(), Some(&b"stub"[..]));
}

#[tokio::test]
async fn a_file_system_without_hard_links_still_creates_only() {
    let (directory, _) = store();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    std::fs::write(&from, "1").expect("write");
    std::fs::write(&to, "2").expect("write");
    let error = link(&from, &to).expect_err("taken");
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&to).expect("read"), b"2");
}

#[tokio::test]
async fn an_upload_in_parts_is_complete_or_absent() {
    let (directory, objects) = store();
    let location = Path::from("t/data");
    let mut upload = objects.put_multipart(&location).await.expect("upload");
    let first = upload.put_part(Bytes::from_static(b"one,").into());
    let second = upload.put_part(Bytes::from_static(b"two").into());
    // Parts may end in any order.
    second.await.expect("part");
    first.await.expect("part");
    assert!(list(&objects, "t").await.expect("list").is_empty(), "hidden until complete");
    upload.complete().await.expect("complete");
    assert_eq!(get(&objects, "t/data").await.expect("get").as_deref(), Some(&b"one,two"[..]));

    let mut taken = objects.put_multipart(&location).await.expect("upload");
    taken.put_part(Bytes::from_static(b"x").into()).await.expect("part");
    let error = error_of(taken.complete().await.expect_err("taken"), "write object", "t/data");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);

    let mut lacking = objects.put_multipart(&Path::from("t/other")).await.expect("upload");
    drop(lacking.put_part(Bytes::from_static(b"never written").into()));
    assert!(lacking.complete().await.is_err(), "a part is missing");

    let mut aborted = objects.put_multipart(&Path::from("t/third")).await.expect("upload");
    aborted.put_part(Bytes::from_static(b"x").into()).await.expect("part");
    aborted.abort().await.expect("abort");
    assert!(aborted.complete().await.is_err());
    drop(lacking);
    assert_eq!(files_below(directory.path()).len(), 1);
}

#[tokio::test]
async fn a_link_out_of_the_lake_is_not_written_through() {
    let (directory, objects) = store();
    let outside = directory.path().join("outside");
    std::fs::create_dir(&outside).expect("make");
    std::os::unix::fs::symlink(&outside, directory.path().join("new/lake/org")).expect("link");
    let error = put_create(&objects, "org/x", Bytes::from_static(b"1")).await.expect_err("out");
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(files_below(&outside).is_empty());
}

#[tokio::test]
async fn one_of_many_competing_puts_wins() {
    let (_directory, objects) = store();
    let mut tasks = Vec::new();
    for number in 0..16_u8 {
        let objects = Arc::clone(&objects);
        tasks.push(tokio::spawn(async move {
            put_create(&objects, "a/b/c", Bytes::from(vec![number])).await.expect("put")
        }));
    }
    let mut winners = 0;
    for task in tasks {
        winners += usize::from(task.await.expect("task") == PutCreate::Created);
    }
    assert_eq!(winners, 1);
}

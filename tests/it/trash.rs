//! Removal: with a time of grace, into the trash, and back.

use mountable::vfs::CreateMode;

use crate::support::{Lab, principal};

const TEXT: &str = "id,qty\n1,5\n2,6\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_table_is_gone_at_once_and_dropped_later() {
    let lab = Lab::new().await;
    lab.table("t").rows(TEXT).await;
    let a = lab.client("a");
    a.remove("t.csv").await.unwrap();
    assert!(a.lookup("t.csv").await.is_err());
    assert_eq!(a.names().await, [".", ".."]);
    assert!(lab.exists("t").await);
    lab.quiet().await;
    assert!(!lab.exists("t").await);
    let trash = a.at("acme/shop/.trash");
    let names = trash.names().await;
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(trash.cat(&names[2]).await, TEXT);
    let (from, to) = (trash.directory().await, a.directory().await);
    let from = (from, names[2].as_bytes());
    mountable::vfs::FileSystem::rename(&*a.vfs, &a.caller, from, (to, b"t.csv"))
        .await
        .result
        .unwrap();
    assert_eq!(a.cat("t.csv").await, TEXT);
    a.append_cold("t.csv", "3,7\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n3,7\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_made_anew_under_a_dropped_name_shows_its_own_rows() {
    let lab = Lab::new().await;
    lab.table("t").rows(TEXT).await;
    let a = lab.client("a");
    a.append_cold("t.csv", "3,7\n").await.unwrap();
    a.cat("t.csv").await;
    a.remove("t.csv").await.unwrap();
    lab.quiet().await;
    assert!(!lab.exists("t").await);
    lab.table("t").rows("x,y\n8,8\n").await;
    assert_eq!(a.cat("t.csv").await, "x,y\n8,8\n");
    a.append_cold("t.csv", "9,9\n").await.unwrap();
    assert_eq!(a.cat("t.csv").await, "x,y\n8,8\n9,9\n");
    // The same behind this gateway's back.
    let door = lab.another_door();
    door.drop_table(&principal("eye"), &Lab::id("t")).await.unwrap();
    lab.table("t").rows("p,q,r\n1,2,3\n").await;
    lab.foreign_append("t", "4,5,6\n").await;
    assert_eq!(a.cat("t.csv").await, "p,q,r\n1,2,3\n4,5,6\n");
    a.sed("t.csv", |text| text.replace("2,3", "2,33")).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "p,q,r\n1,2,33\n4,5,6\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_goes_on_while_the_table_waits_to_be_dropped() {
    let lab = Lab::new().await;
    lab.table("t").rows(TEXT).await;
    let a = lab.client("a");
    let file = a.open("t.csv").await.unwrap();
    a.remove("t.csv").await.unwrap();
    assert_eq!(a.read_all(file).await.unwrap(), TEXT);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_create_is_answered_alike_when_it_is_repeated() {
    let lab = Lab::new().await;
    let a = lab.client("a");
    for name in ["n.csv", "x.tmp"] {
        let first = a.create(name, CreateMode::Exclusive([7; 8])).await.unwrap();
        let again = a.create(name, CreateMode::Exclusive([7; 8])).await.unwrap();
        assert_eq!(first.handle, again.handle);
        assert!(a.create(name, CreateMode::Exclusive([8; 8])).await.is_err());
        assert!(a.create(name, CreateMode::Guarded(Default::default())).await.is_err());
        a.remove(name).await.unwrap();
        assert!(a.lookup(name).await.is_err());
    }
    assert_eq!(lab.staged_files(), 0);
}

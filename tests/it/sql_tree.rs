//! Parts, formats and views as files of the tree.

use std::time::Duration;

use mountable::error::ErrorKind;
use mountable::vfs::{CreateMode, FsError, SetAttr};

use crate::support::{Client, Lab};

async fn lab() -> Lab {
    // As long as a machine under load may take from one call to the next.
    let lab = Lab::with(|settings| settings.timing.reader = Duration::from_secs(60)).await;
    lab.table("t").key("id").rows("id,city,qty\n1,Wien,5\n2,\"a,b\",6\n3,,7\n4,Wien,8\n").await;
    lab
}

fn at(lab: &Lab, dir: &str) -> Client {
    lab.client("a").at(&format!("acme/shop/{dir}"))
}

async fn missing(client: &Client, name: &str) -> bool {
    let Err(FsError::Lake(error)) = client.lookup(name).await else { return false };
    error.kind() == ErrorKind::NotFound
}

#[tokio::test(flavor = "multi_thread")]
async fn first_and_last_rows_are_files() {
    let lab = lab().await;
    let (head, tail) = (at(&lab, "t/.head"), at(&lab, "t/.tail"));
    assert_eq!(head.cat("2.csv").await, "id,city,qty\n1,Wien,5\n2,\"a,b\",6\n");
    assert_eq!(head.cat("0.csv").await, "id,city,qty\n");
    assert_eq!(head.cat("99.csv").await, lab.engine_csv("t").await);
    assert_eq!(tail.cat("2.csv").await, "id,city,qty\n3,,7\n4,Wien,8\n");
    assert_eq!(tail.cat("0.csv").await, "id,city,qty\n");
    assert_eq!(tail.cat("99.csv").await, lab.engine_csv("t").await);
    for none in ["x.csv", "2", "-1.csv"] {
        assert!(missing(&head, none).await, "{none}");
    }
    assert_eq!(head.names().await, [".", ".."], "what repeats data is not listed");
    assert!(head.append_cold("2.csv", "x\n").await.is_err());
    lab.foreign_append("t", "5,Graz,9\n").await;
    assert_eq!(tail.cat("1.csv").await, "id,city,qty\n5,Graz,9\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_goes_on_with_the_version_that_was_opened() {
    let lab = lab().await;
    let files = [("t/.tail", "2.csv"), ("t/.by/city", "Wien.csv"), (".", "t.tsv")];
    let mut open = Vec::new();
    for (dir, name) in files {
        let client = at(&lab, dir);
        let file = client.open(name).await.unwrap();
        open.push((client.clone(), file, client.cat(name).await));
    }
    lab.foreign_edit("t", 0, 4, "9,Wien,1\n").await;
    for ((client, file, before), (_, name)) in open.into_iter().zip(files) {
        assert_eq!(client.read_all(file).await.unwrap(), before, "{name}");
        assert_ne!(client.cat(name).await, before, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_nobody_reads_is_stale_so_that_clients_look_again() {
    let lab = lab().await;
    save(&at(&lab, ".views"), "n.sql", "SELECT count(*) AS n FROM t").await;
    for (dir, name) in [("t/.head", "2.csv"), ("", "t.tsv"), (".views", "n.csv")] {
        let client = at(&lab, dir);
        let file = client.open(name).await.unwrap();
        client.read_all(file).await.unwrap();
        assert!(client.getattr(file).await.is_ok(), "{name}");
        lab.foreign_append("t", &format!("{},x,1\n", 100 + lab.versions("t").await)).await;
        assert!(matches!(client.getattr(file).await, Err(FsError::Stale)), "{name}");
        // Who is in the middle goes on.
        let file = client.open(name).await.unwrap();
        client.pread(file, 0, 1).await.unwrap();
        lab.foreign_append("t", &format!("{},x,1\n", 100 + lab.versions("t").await)).await;
        assert!(client.getattr(file).await.is_ok(), "{name}");
        client.read_all(file).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_a_value_and_some_columns_are_files() {
    let lab = lab().await;
    let by = at(&lab, "t/.by/city");
    assert_eq!(by.cat("Wien.csv").await, "id,city,qty\n1,Wien,5\n4,Wien,8\n");
    assert_eq!(by.cat("a,b.csv").await, "id,city,qty\n2,\"a,b\",6\n");
    assert_eq!(by.cat(".csv").await, "id,city,qty\n3,,7\n", "NULL");
    assert_eq!(by.cat("Graz.csv").await, "id,city,qty\n", "no such row");
    assert_eq!(at(&lab, "t/.by/id").cat("3.csv").await, "id,city,qty\n3,,7\n");
    assert!(missing(&at(&lab, "t/.by/id"), "x.csv").await, "not a number");
    assert!(missing(&at(&lab, "t/.by"), "nothing").await, "no such column");
    let columns = at(&lab, "t/.cols");
    assert_eq!(columns.cat("qty,id.csv").await, "qty,id\n5,1\n6,2\n7,3\n8,4\n");
    assert_eq!(columns.cat("city.csv").await, "city\nWien\n\"a,b\"\n\nWien\n");
    assert!(missing(&columns, "id,nothing.csv").await);
    assert!(by.append_cold("Wien.csv", "x\n").await.is_err());
    lab.foreign_append("t", "5,Wien,9\n").await;
    assert_eq!(by.cat("Wien.csv").await, "id,city,qty\n1,Wien,5\n4,Wien,8\n5,Wien,9\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_stands_beside_itself_in_other_formats() {
    let lab = lab().await;
    lab.table("f").rows("name,n\n=1+1,1\nplain,2\n").await;
    let shop = at(&lab, "");
    assert_eq!(
        shop.cat("t.tsv").await,
        "id\tcity\tqty\n1\tWien\t5\n2\t\"a,b\"\t6\n3\t\t7\n4\tWien\t8\n"
    );
    assert_eq!(shop.cat("f.safe.csv").await, "name,n\n'=1+1,1\nplain,2\n");
    let lines = shop.cat("f.jsonl").await;
    assert_eq!(lines, "{\"name\":\"=1+1\",\"n\":1}\n{\"name\":\"plain\",\"n\":2}\n");
    let parquet = shop.open("t.parquet").await.unwrap();
    let whole = shop.pread(parquet, 0, 1 << 20).await.unwrap();
    assert!(whole.starts_with(b"PAR1") && whole.ends_with(b"PAR1"));
    let names = shop.names().await;
    assert!(!names.iter().any(|name| name.ends_with(".tsv")), "{names:?}");
    for none in ["nothing.tsv", "t.txt"] {
        assert!(missing(&shop, none).await, "{none}");
    }
    assert!(shop.append_cold("t.tsv", "x\n").await.is_err());
    // A name that no table has is scratch, as before.
    let file = shop.create("mine.tsv", CreateMode::Unchecked(SetAttr::default())).await.unwrap();
    shop.write_sync(file, 0, "my\tnotes\n").await.unwrap();
    assert_eq!(shop.cat("mine.tsv").await, "my\tnotes\n");
}

/// `echo TEXT > NAME`
async fn save(client: &Client, name: &str, text: &str) {
    let file = match client.open(name).await {
        Ok(file) => file,
        Err(_) => client.create(name, CreateMode::Unchecked(SetAttr::default())).await.unwrap(),
    };
    client.truncate(file, 0).await.unwrap();
    client.write_sync(file, 0, text).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_a_query_and_its_answer() {
    let lab = lab().await;
    let views = at(&lab, ".views");
    save(&views, "cities.sql", "SELECT city, sum(qty) AS n FROM t GROUP BY city ORDER BY city\n")
        .await;
    let first = views.cat("cities.csv").await;
    assert_eq!(first, "city,n\nWien,13\n\"a,b\",6\n,7\n");
    assert!(missing(&views, "cities.error").await);
    assert_eq!(views.names().await, [".", "..", "cities.sql"]);
    // Another gateway has it, too, and a reader keeps the answer that he opened.
    let file = views.open("cities.csv").await.unwrap();
    let gateway = lab.another_gateway().await;
    let other = gateway.client("b").at("acme/shop/.views");
    assert_eq!(other.cat("cities.csv").await, first);
    lab.foreign_append("t", "5,Graz,1\n").await;
    assert_eq!(views.cat("cities.csv").await, "city,n\nGraz,1\nWien,13\n\"a,b\",6\n,7\n");
    assert_eq!(views.read_all(file).await.unwrap(), first);
    assert!(views.append_cold("cities.csv", "x\n").await.is_err());
    views.remove("cities.sql").await.unwrap();
    assert!(missing(&views, "cities.sql").await && missing(&views, "cities.csv").await);
    assert_eq!(other.names().await, [".", ".."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_without_an_answer_says_why() {
    let lab = lab().await;
    let views = at(&lab, ".views");
    for (name, text, why) in [
        ("a", "SELECT nothing FROM t", "nothing"),
        ("b", "SELECT * FROM nobody", "nobody"),
        ("c", "DELETE FROM t", "only SELECT"),
        ("d", "", "SQL"),
        ("e", "SELECT 1/0 FROM t", "zero"),
    ] {
        save(&views, &format!("{name}.sql"), text).await;
        assert!(views.lookup(&format!("{name}.csv")).await.is_err(), "{text}");
        let error = views.cat(&format!("{name}.error")).await;
        assert!(error.contains(why), "{text}: {error}");
    }
    // A repaired one has an answer at once.
    save(&views, "a.sql", "SELECT id FROM t WHERE id = 1").await;
    assert_eq!(views.cat("a.csv").await, "id\n1\n");
    assert!(missing(&views, "a.error").await);
    assert_eq!(lab.versions("t").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn editors_save_views() {
    let lab = lab().await;
    let views = at(&lab, ".views");
    save(&views, "v.sql", "SELECT 1 AS one\n").await;
    // As vim: the old file is put aside, a new one is written, the old one is removed.
    views.rename("v.sql", "v.sql~").await.unwrap();
    assert_eq!(views.cat("v.sql~").await, "SELECT 1 AS one\n");
    assert!(missing(&views, "v.csv").await);
    save(&views, "v.sql", "SELECT 2 AS two\n").await;
    views.remove("v.sql~").await.unwrap();
    assert_eq!(views.cat("v.csv").await, "two\n2\n");
    // As sed -i: a finished file is renamed onto it.
    let file = views.create("sedXYZ", CreateMode::Unchecked(SetAttr::default())).await.unwrap();
    views.write_sync(file, 0, "SELECT 3 AS three\n").await.unwrap();
    views.rename("sedXYZ", "v.sql").await.unwrap();
    assert_eq!(views.cat("v.csv").await, "three\n3\n");
    // An append, and a rename.
    let file = views.open("v.sql").await.unwrap();
    views.write_sync(file, file.size, "-- a comment\n").await.unwrap();
    assert_eq!(views.cat("v.sql").await, "SELECT 3 AS three\n-- a comment\n");
    views.rename("v.sql", "w.sql").await.unwrap();
    assert_eq!(views.names().await, [".", "..", "w.sql"]);
    assert_eq!(views.cat("w.csv").await, "three\n3\n");
    for refused in ["Bad Name.sql", "v.csv", "v.error"] {
        let made = views.create(refused, CreateMode::Unchecked(SetAttr::default())).await;
        assert!(made.is_err(), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_changes_by_itself_is_whole_while_it_is_read() {
    let lab = lab().await;
    let views = at(&lab, ".views");
    save(&views, "dice.sql", "SELECT id, random() AS r FROM t").await;
    let file = views.open("dice.csv").await.unwrap();
    let first = views.read_all(file).await.unwrap();
    assert_eq!(views.read_all(file).await.unwrap(), first);
    assert_eq!(first.lines().count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_stays_within_its_limits() {
    let lab = Lab::with(|settings| {
        settings.sql.file_bytes_max = 40;
        settings.sql.kept_bytes_max = 60;
    })
    .await;
    lab.table("t").rows("id,city\n1,Wien\n2,Graz\n3,Linz\n").await;
    let shop = at(&lab, "");
    assert_eq!(shop.cat("t.tsv").await.len(), 29);
    lab.table("u").rows("id,city\n1,Wien\n2,Graz\n3,Linz\n4,Linz and the places around it\n").await;
    let Err(FsError::Lake(error)) = shop.lookup("u.tsv").await else { panic!("too large") };
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let columns = at(&lab, "t/.cols");
    assert_eq!(columns.cat("city.csv").await, "city\nWien\nGraz\nLinz\n");
    assert_eq!(columns.cat("id.csv").await, "id\n1\n2\n3\n");
    // Whatever had to go is made again.
    assert_eq!(shop.cat("t.tsv").await.len(), 29);
    assert_eq!(columns.cat("city.csv").await, "city\nWien\nGraz\nLinz\n");
}

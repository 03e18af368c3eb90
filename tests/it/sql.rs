//! Queries over the lake: what they see, what they are refused, and where they stop.

use futures::TryStreamExt;
use mountable::config::Settings;
use mountable::error::{ErrorKind, Result};
use mountable::lake::{ExportFormat, Lake, QueryScope, SuperId, texts, write_answer};

use crate::support::{Lab, principal};

fn scope() -> QueryScope {
    QueryScope { organization: None, super_table: Some(SuperId::parse("acme/shop").unwrap()) }
}

/// The answer as CSV.
pub(crate) async fn csv(lake: &Lake, text: &str) -> Result<String> {
    let answer = lake.query(&principal("sql"), text, &scope()).await?;
    let mut out = Vec::new();
    write_answer(answer, ExportFormat::Csv, &mut out).await?;
    Ok(String::from_utf8(out).unwrap())
}

async fn refused(lake: &Lake, text: &str) -> ErrorKind {
    csv(lake, text).await.expect_err(text).kind()
}

async fn plan(lake: &Lake, text: &str) -> String {
    let answer = lake.query(&principal("sql"), &format!("EXPLAIN {text}"), &scope()).await.unwrap();
    let rows: Vec<_> = answer.rows.try_collect().await.unwrap();
    let cells = rows.iter().flat_map(|batch| texts(batch).unwrap()).flatten();
    cells.flatten().collect::<Vec<_>>().join("\n")
}

async fn shop() -> Lab {
    let lab = Lab::new().await;
    lab.table("orders")
        .key("id")
        .rows("id,customer,Total,note\n1,7,5.5,a\n2,8,,\n3,7,1.5,\"x,y\"\n")
        .await;
    lab.table("customers").key("id").rows("id,name\n7,ann\n8,bob\n").await;
    lab
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_shows_the_rows_of_the_file_in_their_order() {
    let lab = shop().await;
    lab.foreign_edit("orders", 1, 1, "9,8,2.0,new\n2,7,3.0,\"\"\n").await;
    let whole = lab.engine_csv("orders").await;
    assert_eq!(csv(&lab.lake, "SELECT * FROM orders").await.unwrap(), whole);
    assert_eq!(csv(&lab.lake, "SELECT * FROM shop.orders WHERE id > 0").await.unwrap(), whole);
    let full = csv(&lab.lake, "SELECT id, Total FROM acme.shop.orders LIMIT 2").await.unwrap();
    assert_eq!(full, "id,Total\n1,5.5\n9,2.0\n");
    let none = csv(&lab.lake, "SELECT note FROM orders WHERE id = 77").await.unwrap();
    assert_eq!(none, "note\n");
    let count = csv(&lab.lake, "SELECT count(*) AS n FROM orders").await.unwrap();
    assert_eq!(count, "n\n4\n");
    assert_eq!(csv(&lab.lake, "SELECT 1 + 1 AS two").await.unwrap(), "two\n2\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_joined_grouped_and_sorted() {
    let lab = shop().await;
    let text = "SELECT name, sum(\"Total\") AS spent, count(*) AS n FROM orders o \
                JOIN customers c ON o.customer = c.id GROUP BY name ORDER BY name";
    assert_eq!(csv(&lab.lake, text).await.unwrap(), "name,spent,n\nann,7.0,2\nbob,,1\n");
    let both = csv(
        &lab.lake,
        "SELECT * FROM customers a JOIN customers b ON a.id = b.id \
                               ORDER BY a.id LIMIT 1",
    )
    .await
    .unwrap();
    assert_eq!(both, "id,name,id_1,name_1\n7,ann,7,ann\n");
    let inner = "WITH few AS (SELECT id FROM orders WHERE id IN (SELECT max(id) FROM orders)) \
                 SELECT * FROM few";
    assert_eq!(csv(&lab.lake, inner).await.unwrap(), "id\n3\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn earlier_versions_are_queried_beside_the_newest() {
    let lab = shop().await;
    lab.foreign_append("orders", "4,8,1.0,z\n").await;
    let count = async |from: &str| {
        csv(&lab.lake, &format!("SELECT count(*) AS n FROM {from}")).await.unwrap()
    };
    assert_eq!(count("orders").await, "n\n4\n");
    assert_eq!(count("orders@1").await, "n\n3\n");
    assert_eq!(count("\"orders~1\"").await, "n\n3\n");
    assert_eq!(count("acme.shop.orders@0").await, "n\n0\n");
    assert_eq!(count("\"orders@2100-01-01T00:00:00Z\"").await, "n\n4\n");
    let new = "SELECT new.id FROM orders AS new LEFT JOIN orders@1 AS old ON new.id = old.id \
               WHERE old.id IS NULL";
    assert_eq!(csv(&lab.lake, new).await.unwrap(), "id\n4\n");
    assert_eq!(refused(&lab.lake, "SELECT * FROM orders@9").await, ErrorKind::NotFound);
    assert_eq!(refused(&lab.lake, "SELECT * FROM \"orders@soon\"").await, ErrorKind::Invalid);
    let history = csv(&lab.lake, "SELECT version, operation, added FROM orders$snapshots").await;
    assert_eq!(history.unwrap(), "version,operation,added\n0,create,0\n1,append,3\n2,edit,1\n");
    let files = csv(&lab.lake, "SELECT sum(rows) AS r, count(*) AS f FROM orders$files").await;
    assert_eq!(files.unwrap(), "r,f\n4,2\n");
    let before = csv(&lab.lake, "SELECT count(*) AS f FROM orders@1$files").await;
    assert_eq!(before.unwrap(), "f\n1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supertable_is_the_union_of_its_tables() {
    let lab = shop().await;
    let all =
        csv(&lab.lake, "SELECT _table, id, name, customer FROM acme.shop ORDER BY _table, id")
            .await
            .unwrap();
    let expected = "_table,id,name,customer\ncustomers,7,ann,\ncustomers,8,bob,\n\
                    orders,1,,7\norders,2,,8\norders,3,,7\n";
    assert_eq!(all, expected);
    let one = csv(&lab.lake, "SELECT count(*) AS n FROM shop WHERE _table = 'orders'").await;
    assert_eq!(one.unwrap(), "n\n3\n");
    // The same column in another type: as wide as both need it, spelled as the file spells it.
    lab.table("texts").rows("id,name\nx,1\n").await;
    let wide = csv(&lab.lake, "SELECT id FROM shop ORDER BY id").await.unwrap();
    assert_eq!(wide, "id\n1\n2\n3\n7\n8\nx\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_was_dropped_does_not_come_back() {
    let lab = shop().await;
    let a = lab.client("a");
    a.sed("orders.csv", |text| {
        let lines = text.lines().map(|line| line.split(',').take(2).collect::<Vec<_>>().join(","));
        lines.collect::<Vec<_>>().join("\n") + "\n"
    })
    .await
    .unwrap();
    lab.settles("orders", "id,customer\n1,7\n2,8\n3,7\n").await;
    assert_eq!(refused(&lab.lake, "SELECT note FROM orders").await, ErrorKind::Invalid);
    lab.table("notes").rows("id,note\n1,mine\n").await;
    let union = csv(&lab.lake, "SELECT _table, note FROM shop WHERE note IS NOT NULL").await;
    assert_eq!(union.unwrap(), "_table,note\nnotes,mine\n");
    let nulls = csv(&lab.lake, "SELECT count(*) AS n FROM shop WHERE note IS NULL").await;
    assert_eq!(nulls.unwrap(), "n\n5\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_select_and_explain_are_answered() {
    let lab = shop().await;
    for text in [
        "DELETE FROM orders",
        "INSERT INTO orders VALUES (1)",
        "UPDATE orders SET id = 1",
        "CREATE TABLE t AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "COPY orders TO '/tmp/x.csv'",
        "COPY (SELECT 1) TO '/tmp/x.parquet'",
        "DROP TABLE orders",
        "SET datafusion.execution.batch_size = 1",
        "RESET datafusion.execution.batch_size",
        "SHOW TABLES",
        "EXPLAIN DELETE FROM orders",
        "EXPLAIN COPY orders TO '/tmp/x.csv'",
        "PREPARE p AS SELECT 1",
        "SELECT * INTO t FROM orders",
        "WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone",
        "SELECT 1; SELECT 2",
        "",
    ] {
        let kind = refused(&lab.lake, text).await;
        assert!(matches!(kind, ErrorKind::Invalid | ErrorKind::Unsupported), "{text}: {kind:?}");
    }
    for text in [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM \"/etc/passwd\"",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_parquet('http://127.0.0.1/x')",
        "SELECT * FROM \"file:///etc/passwd\"",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM parquet_metadata('/etc/passwd')",
    ] {
        let kind = refused(&lab.lake, text).await;
        let fits =
            matches!(kind, ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Unsupported);
        assert!(fits, "{text}: {kind:?}");
    }
    assert_eq!(lab.versions("orders").await, 2);
    let series = csv(&lab.lake, "SELECT value FROM generate_series(1, 3)").await;
    assert_eq!(series.unwrap(), "value\n1\n2\n3\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_mean_several_tables_are_refused() {
    let lab = shop().await;
    let who = principal("lab");
    let other = SuperId::parse("acme/other").unwrap();
    lab.lake.create_super(&who, &other).await.unwrap();
    let schema = lab.lake.latest(&who, &Lab::id("customers")).await.unwrap().schema.clone();
    let id = mountable::lake::TableId::parse("acme/other/customers").unwrap();
    lab.lake.create_table(&who, &id, schema, Default::default()).await.unwrap();
    // The SuperTable that is meant comes first; without one the name is ambiguous.
    assert!(csv(&lab.lake, "SELECT * FROM customers").await.is_ok());
    let nowhere = QueryScope::default();
    let query = async |text: &str| lab.lake.query(&who, text, &nowhere).await.map(drop);
    assert!(query("SELECT * FROM orders").await.is_ok());
    let error = query("SELECT * FROM customers").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("acme.other.customers"), "{error}");
    assert!(query("SELECT * FROM other.customers").await.is_ok());
    assert_eq!(query("SELECT * FROM nobody").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_files_that_cannot_match_are_not_read() {
    let lab = Lab::new().await;
    let rows = |file: i32| -> String {
        let row = |n: i32| format!("{},n{},{}.5\n", file * 100 + n, file * 100 + n, n);
        (0..100).map(row).collect()
    };
    lab.table("t").rows(&format!("id,name,price\n{}", rows(0))).await;
    for file in 1..5 {
        lab.foreign_append("t", &rows(file)).await;
    }
    lab.foreign_append("t", ",,\n").await;
    let one = plan(&lab.lake, "SELECT name FROM t WHERE id = 250").await;
    assert!(one.contains("files=6, files_skipped=5"), "{one}");
    assert!(one.contains("rows=100,"), "{one}");
    let nulls = plan(&lab.lake, "SELECT name FROM t WHERE id IS NULL").await;
    assert!(nulls.contains("files=6, files_skipped=5"), "{nulls}");
    let text = plan(&lab.lake, "SELECT id FROM t WHERE name = 'n250'").await;
    assert!(text.contains("files_skipped=4"), "n0 to n99 may hold it: {text}");
    // Bounds of floats leave NaN out: they rule nothing out but the file of NULLs.
    let floats = plan(&lab.lake, "SELECT id FROM t WHERE price > 1000").await;
    assert!(floats.contains("files_skipped=1"), "{floats}");
    let found = csv(&lab.lake, "SELECT name FROM t WHERE id BETWEEN 199 AND 200").await;
    assert_eq!(found.unwrap(), "name\nn199\nn200\n");
    let snapshot = lab.lake.latest(&principal("eye"), &Lab::id("t")).await.unwrap();
    let stats = lab.lake.stats(&principal("eye"), &snapshot).await.unwrap();
    let skipped: Vec<_> = stats.columns.iter().map(|column| column.skipped_percent).collect();
    // One of six row groups is read for an id; the ranges of names overlap only around `n10`.
    assert_eq!((skipped[0], skipped[2]), (Some(83), None), "{stats:?}");
    let first = plan(&lab.lake, "SELECT * FROM t LIMIT 10").await;
    assert!(first.contains("rows=10,") && first.contains("files_skipped=5"), "{first}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_at_their_edges() {
    let limited = async |change: fn(&mut Settings)| Lab::with(change).await;
    let rows = |n: u32| (0..n).map(|n| format!("{n},{}\n", n % 7)).collect::<String>();
    // Rows: as many as allowed, and one more.
    let lab = limited(|settings| settings.sql.rows_max = 10).await;
    lab.table("t").rows(&format!("id,x\n{}", rows(11))).await;
    let gate = lab.gate();
    assert!(csv(&gate, "SELECT * FROM t LIMIT 10").await.is_ok());
    assert_eq!(refused(&gate, "SELECT * FROM t").await, ErrorKind::TooLarge);
    assert!(csv(&gate, "SELECT count(*) FROM t").await.is_ok(), "rows of the answer count");
    // Memory.
    let lab = limited(|settings| settings.sql.memory_bytes_max = 1 << 20).await;
    let gate = lab.gate();
    let sorted = "SELECT value FROM generate_series(1, 1000000) ORDER BY value DESC";
    assert_eq!(refused(&gate, sorted).await, ErrorKind::TooLarge);
    assert!(csv(&gate, "SELECT value FROM generate_series(1, 100) ORDER BY value").await.is_ok());
    // Time.
    let lab =
        limited(|settings| settings.sql.time_max = std::time::Duration::from_millis(300)).await;
    let endless = "SELECT count(*) FROM generate_series(1, 1000000000) a, \
                   generate_series(1, 1000000000) b";
    assert_eq!(refused(&lab.gate(), endless).await, ErrorKind::TooLarge);
    // Text.
    let long = format!("SELECT '{}'", "x".repeat(64 << 10));
    assert_eq!(refused(&lab.lake, &long).await, ErrorKind::TooLarge);
    let deep = format!("SELECT {}1", "1+".repeat(5_000));
    assert_eq!(refused(&lab.lake, &deep).await, ErrorKind::TooLarge);
    let brackets = format!("SELECT {}1{}", "(".repeat(300), ")".repeat(300));
    assert_eq!(refused(&lab.lake, &brackets).await, ErrorKind::Invalid);
    // As deep as may be, planned and computed.
    lab.table("t").rows("id\n1\n2\n").await;
    let sum = format!("{}id", "id + ".repeat(390));
    let chain = format!("SELECT {sum} AS n FROM t WHERE {sum} > 391");
    assert_eq!(refused(&lab.lake, &chain).await, ErrorKind::TooLarge);
    let sum = format!("{}id", "id + ".repeat(190));
    let chain = format!("SELECT {sum} AS n FROM t WHERE {sum} > 191");
    assert_eq!(csv(&lab.lake, &chain).await.unwrap(), "n\n382\n");
    let any: Vec<String> =
        (0..90).map(|n| format!("abs(id) = {}", if n == 7 { 2 } else { n + 10 })).collect();
    let deep = format!("SELECT id FROM t WHERE {}", any.join(" OR "));
    assert_eq!(csv(&lab.lake, &deep).await.unwrap(), "id\n2\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_given_up_lets_others_run() {
    let lab = Lab::with(|settings| settings.sql.queries_max = 1).await;
    let gate = lab.gate();
    let endless = "SELECT * FROM generate_series(1, 1000000000)";
    let answer = gate.query(&principal("sql"), endless, &scope()).await.unwrap();
    drop(answer);
    assert_eq!(csv(&gate, "SELECT 1 AS one").await.unwrap(), "one\n1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_asked_for_each_table() {
    let lab = shop().await;
    let mut nobody = principal("sql");
    nobody.role = "nobody".to_owned();
    for text in ["SELECT * FROM orders", "SELECT * FROM shop", "SELECT * FROM orders$files"] {
        let error = lab.lake.query(&nobody, text, &scope()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_data_file_is_an_error_and_never_fewer_rows() {
    let lab = shop().await;
    let files = csv(&lab.lake, "SELECT path FROM orders$files").await.unwrap();
    lab.remove_object(files.lines().nth(1).unwrap()).await;
    let door = lab.another_door();
    assert_eq!(refused(&door, "SELECT * FROM orders").await, ErrorKind::Corrupt);
    assert_eq!(refused(&door, "SELECT * FROM orders WHERE id = 1").await, ErrorKind::Corrupt);
}

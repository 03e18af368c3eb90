//! Edits of the header line.

use crate::support::{Client, Lab};

async fn saved(before: &str, after: &str) -> String {
    let lab = Lab::new().await;
    lab.table("t").rows(before).await;
    let a = lab.client("a");
    a.sed("t.csv", |_| after.to_owned()).await.unwrap();
    let engine = lab.engine_csv("t").await;
    assert_eq!(a.cat("t.csv").await, engine);
    assert_eq!(lab.client("b").cat("t.csv").await, engine);
    engine
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_dropped_renamed_and_moved() {
    let before = "id,qty,note\n1,5,a\n2,6,b\n";
    for after in [
        "id,qty,note,price\n1,5,a,1.5\n2,6,b,\n",
        "id,qty,note,price\n1,5,a,\n2,6,b,\n",
        "price,id,qty,note\n1.5,1,5,a\n2.5,2,6,b\n",
        "id,note\n1,a\n2,b\n",
        "note,id,qty\na,1,5\nb,2,6\n",
        "id,amount,note\n1,5,a\n2,6,b\n",
        "id,qty,note\n2,6,b\n",
        "id,note,extra\n1,a,x\n3,c,z\n",
    ] {
        assert_eq!(saved(before, after).await, after);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_header_is_refused() {
    let lab = Lab::new().await;
    lab.table("t").rows("id,qty\n1,5\n2,6\n").await;
    let a = lab.client("a");
    for lost in ["1,5\n2,6\n", "\n1,5\n2,6\n", "2,6\n"] {
        assert!(a.sed("t.csv", |_| lost.to_owned()).await.is_err(), "{lost:?}");
    }
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5\n2,6\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_edit_in_place_is_one_save() {
    let lab = Lab::new().await;
    lab.table("t").rows("id,qty\n1,5\n2,6\n").await;
    let a = lab.client("a");
    a.overwrite("t.csv", "id,qty,note\n1,5,x\n2,6,\n").await.unwrap();
    lab.settles("t", "id,qty,note\n1,5,x\n2,6,\n").await;
    a.append_warm("t.csv", "3,7,z\n").await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty,note\n1,5,x\n2,6,\n3,7,z\n");
}

fn about(lab: &Lab, client: &str) -> Client {
    lab.client(client).at("acme/shop/t")
}

/// What the table shows and the types of its columns after `types` were saved in config.toml.
async fn retyped(before: &str, types: &str) -> Result<(String, Vec<String>), String> {
    let lab = Lab::new().await;
    lab.table("t").key("id").rows(before).await;
    let a = about(&lab, "a");
    let config = a.cat("config.toml").await;
    let column = |line: &str| line.split('=').next().map(str::to_owned);
    let kept = config.lines().filter(|line| !types.lines().any(|new| column(new) == column(line)));
    let text: String = kept.chain(types.lines()).map(|line| format!("{line}\n")).collect();
    let saved = a.overwrite("config.toml", &text).await;
    let shown = lab.engine_csv("t").await;
    assert_eq!(lab.client("b").cat("t.csv").await, shown);
    if let Err(error) = saved {
        assert_eq!(shown, before, "refused and changed");
        assert!(about(&lab, "b").cat("config.toml").await == config, "refused and changed");
        return Err(format!("{error:?}\n{}", about(&lab, "b").cat("last-error.txt").await));
    }
    let schema: serde_json::Value =
        serde_json::from_str(&about(&lab, "b").cat("schema.json").await).unwrap();
    let types = schema["columns"].as_array().unwrap().iter();
    Ok((shown, types.map(|column| column["type"].as_str().unwrap().to_owned()).collect()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_type_of_a_column_is_changed_in_config_toml() {
    let before = "id,qty,note\n1,5,a\n2,,b\n3,700,\n";
    let (text, types) = retyped(before, "qty = \"float64\"\n").await.unwrap();
    assert_eq!(text, "id,qty,note\n1,5.0,a\n2,,b\n3,700.0,\n");
    assert_eq!(types, ["Int64", "Float64", "Utf8"]);
    let (text, types) = retyped(before, "qty = \"text\"\n").await.unwrap();
    assert_eq!((text.as_str(), types[1].as_str()), (before, "Utf8"));
    let (text, _) = retyped(before, "qty = \"decimal(10,2)\"\nid = \"text\"\n").await.unwrap();
    assert_eq!(text, "id,qty,note\n1,5.00,a\n2,,b\n3,700.00,\n");
    // Narrower, as long as every value fits.
    let (text, types) = retyped(before, "qty = \"int16\"\n").await.unwrap();
    assert_eq!((text.as_str(), types[1].as_str()), (before, "Int16"));
    let (text, types) = retyped("id,qty\n", "qty = \"date\"\n").await.unwrap();
    assert_eq!((text.as_str(), types[1].as_str()), ("id,qty\n", "Date32"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_does_not_hold_every_value_is_refused_with_the_remedy() {
    let before = "id,qty,note\n1,5,a\n2,,b\n3,9007199254740993,\n";
    let told = retyped(before, "qty = \"int16\"\n").await.unwrap_err();
    for word in ["config.toml", "line 4", "qty", "9007199254740993", "choose a type that holds"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let told = retyped(before, "qty = \"float64\"\n").await.unwrap_err();
    assert!(told.contains("line 4"), "a digit would be lost: {told}");
    let told = retyped(before, "note = \"int64\"\n").await.unwrap_err();
    assert!(told.contains("line 2") && told.contains("note"), "{told}");
    let told = retyped(before, "nothing = \"int64\"\n").await.unwrap_err();
    assert!(told.contains("does not exist") && told.contains("header line"), "{told}");
    let told = retyped(before, "qty = \"int46\"\n").await.unwrap_err();
    assert!(told.contains("int46") && told.contains("What to do"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_keys_go_on_in_columns_of_another_type() {
    let lab = Lab::new().await;
    lab.table("t").key("id").rows("id,qty\n1,5\n2,6\n").await;
    let (a, b) = (lab.client("a"), lab.client("b"));
    a.cat("t.csv").await;
    b.cat("t.csv").await;
    about(&lab, "a")
        .overwrite("config.toml", "keys = [\"id\"]\n[types]\nid = \"text\"\nqty = \"float64\"\n")
        .await
        .unwrap();
    assert!(b.append_cold("t.csv", "2,7.5\n").await.is_err(), "the key 2 is there");
    b.append_cold("t.csv", "x,7.5\n").await.unwrap();
    a.sed("t.csv", |text| text.replace("1,5.0", "1,5.25")).await.unwrap();
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,5.25\n2,6.0\nx,7.5\n");
}

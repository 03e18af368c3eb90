//! What conditions and assignments mean.

use arrow::array::{
    Array, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    StringArray,
};
use arrow::datatypes::{DataType, Field, Schema};

use super::*;

/// Rows 0 to 3; row 3 is NULL in every column but `id`.
fn batch() -> RecordBatch {
    let price = Decimal128Array::from(vec![Some(150), Some(-200), Some(999), None]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3, 4]))),
        ("size", Arc::new(Int64Array::from(vec![Some(1), Some(9), Some(2), None]))),
        ("name", Arc::new(StringArray::from(vec![Some("ann"), Some("it's"), Some(""), None]))),
        ("ok", Arc::new(BooleanArray::from(vec![Some(true), Some(false), Some(true), None]))),
        ("price", Arc::new(price.with_precision_and_scale(6, 2).unwrap())),
        ("x", Arc::new(Float64Array::from(vec![Some(-0.0), Some(f64::NAN), Some(2.5), None]))),
        ("day", Arc::new(Date32Array::from(vec![Some(0), Some(1), Some(20_000), None]))),
        ("and", Arc::new(StringArray::from(vec![Some("a"), Some("b"), Some("c"), None]))),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

#[track_caller]
fn check(text: &str, rows: &[usize]) {
    let batch = batch();
    let filter = Filter::parse(text, &batch.schema()).unwrap_or_else(|error| panic!("{error}"));
    let mask = filter.matches(&batch).unwrap();
    assert_eq!(mask.null_count(), 0, "{text}");
    let got: Vec<usize> = (0..mask.len()).filter(|row| mask.value(*row)).collect();
    assert_eq!(got, rows, "{text}");
}

#[track_caller]
fn refused(text: &str, part: &str) {
    let error = Filter::parse(text, &batch().schema()).unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Invalid, "{text}");
    assert!(error.to_string().contains(part), "{text}: {error}");
}

#[test]
fn comparisons_take_the_type_of_their_column() {
    check("id = 2", &[1]);
    check("id == 2", &[1]);
    check("2 < id", &[2, 3]);
    check("id >= '3'", &[2, 3]);
    check("price = 1.5", &[0]);
    check("price < -1", &[1]);
    check("day = '1970-01-02'", &[1]);
    check("day > '2000-01-01'", &[2]);
    check("name = 'it''s'", &[1]);
    check("name = ''", &[2]);
    check("ok = FALSE", &[1]);
    check("size <> 1", &[1, 2]);
    check("size != id", &[1, 2]);
    check("\"and\" = 'b'", &[1]);
    check("x = 0", &[0]);
    check("x > 1", &[1, 2]);
}

#[test]
fn unknown_is_not_met_and_its_negation_neither() {
    check("size = 9", &[1]);
    check("NOT size = 9", &[0, 2]);
    check("size = 9 OR id = 4", &[1, 3]);
    check("NOT (size = 9 AND id = 4)", &[0, 1, 2]);
    check("size IS NULL", &[3]);
    check("size IS NOT NULL", &[0, 1, 2]);
    check("size NOT IN (1, 9)", &[2]);
}

#[test]
fn and_binds_closer_than_or() {
    check("id = 1 OR id = 2 AND name = 'ann'", &[0]);
    check("(id = 1 OR id = 2) AND name = 'ann'", &[0]);
    check("(id = 1 or id = 2) and not ok", &[1]);
    check("not not ok", &[0, 2]);
    check("TRUE", &[0, 1, 2, 3]);
    check("false OR ok", &[0, 2]);
}

#[test]
fn lists_ranges_and_patterns() {
    check("id IN (1, 4)", &[0, 3]);
    check("id in (7)", &[]);
    check("id BETWEEN 2 AND 3 AND ok", &[2]);
    check("id NOT BETWEEN 2 AND 3", &[0, 3]);
    check("name LIKE 'a%'", &[0]);
    check("name LIKE '_t_s'", &[1]);
    check("name NOT LIKE '%n%'", &[1, 2]);
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_place() {
    refused("", "character 1");
    refused("id", "a comparison");
    refused("id =", "character 5");
    refused("id = 1 2", "character 8");
    refused("(id = 1", "`)` is expected");
    refused("id = 1)", "character 7");
    refused("nam = 'x'", "did you mean: name");
    refused("name = ann", "'ann'");
    refused("name = 5", "'5'");
    refused("id = 'x'", "does not fit");
    refused("id = 1.5", "does not fit");
    refused("price = 1.234", "does not fit");
    refused("id = NULL", "IS NULL");
    refused("id IN (1, NULL)", "character 11");
    refused("id = name", "different types");
    refused("1 = 1", "needs a column");
    refused("id LIKE '1%'", "columns of text");
    refused("id = TRUE", "type bool");
    refused("id IN ()", "character 8");
    refused("id; DROP", "`;`");
    refused(&"(".repeat(10_000), "too many parentheses");
    let deep = format!("{}ok", "NOT ".repeat(10_000));
    check(&deep, &[0, 2]);
}

#[test]
fn only_the_columns_that_are_named_are_read() {
    let schema = batch().schema();
    let names = |text: &str| -> Vec<String> {
        let filter = Filter::parse(text, &schema).unwrap();
        filter.columns().fields().iter().map(|field| field.name().clone()).collect()
    };
    assert_eq!(names("x > 1 OR size < id AND x IS NULL"), ["id", "size", "x"]);
    assert_eq!(names("TRUE"), ["id"], "rows have to be counted");
}

#[track_caller]
fn assign(texts: &[&str]) -> (Vec<usize>, RecordBatch) {
    let batch = batch();
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let assignments = Assignments::parse(&texts, &batch.schema()).unwrap();
    let changed = assignments.change(&batch).unwrap();
    let rows = (0..changed.len()).filter(|row| changed.value(*row)).collect();
    (rows, assignments.apply(&batch).unwrap())
}

#[test]
fn assignments_change_what_differs_and_use_the_old_values() {
    let (rows, after) = assign(&["id = size", "size = id"]);
    assert_eq!(rows, [1, 2, 3]);
    assert_eq!(after["size"].as_ref(), &Int64Array::from(vec![1, 2, 3, 4]));
    assert_eq!(after["id"].as_ref(), batch()["size"].as_ref());
    assert_eq!(assign(&["ok = TRUE"]).0, [1, 3]);
    assert_eq!(assign(&["price = -2"]).0, [0, 2, 3]);
    let (rows, after) = assign(&["name = NULL"]);
    assert_eq!(rows, [0, 1, 2]);
    assert_eq!(after["name"].null_count(), 4);
}

#[test]
fn assignments_that_cannot_be_meant_are_refused() {
    let schema = batch().schema();
    for bad in [
        &["id"][..],
        &["id ="],
        &["id = 1", "id = 2"],
        &["id > 1"],
        &["id = 1 AND size = 2"],
        &["id = 'x'"],
        &["id = name"],
        &["5 = id"],
        &[],
    ] {
        let texts: Vec<String> = bad.iter().map(|text| (*text).to_owned()).collect();
        let error = Assignments::parse(&texts, &schema).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Invalid, "{bad:?}");
    }
    let list = Field::new("l", DataType::new_list(DataType::Int64, true), true);
    let schema = Arc::new(Schema::new(vec![list]));
    assert!(Filter::parse("l IS NULL", &schema).is_ok());
    assert!(Filter::parse("l = '[1]'", &schema).is_err());
    assert!(Filter::parse("l = l", &schema).is_err());
    assert!(Assignments::parse(&["l = NULL".to_owned()], &schema).is_ok());
}

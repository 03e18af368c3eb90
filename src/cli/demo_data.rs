//! The sample web shop: the same rows on every machine, made of nothing but row numbers.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::error::{Error, Result};

/// Rows of a batch.
const BATCH_ROWS: u64 = 8_192;
const CUSTOMERS: u64 = 5_000;
const PRODUCTS: u64 = 500;
const ORDERS: u64 = 40_000;
/// 2024-01-01T00:00:00Z in seconds since 1970; orders spread over the two years behind it.
const FIRST_SECOND: i64 = 1_704_067_200;
const SPAN_SECONDS: u64 = 2 * 365 * 86_400;

const GIVEN: &[&str] = &[
    "Ada",
    "Alan",
    "Barbara",
    "Chen",
    "Dennis",
    "Edsger",
    "Fatima",
    "Grace",
    "Hedy",
    "Ines",
    "Jun",
    "Katherine",
    "Lars",
    "Margaret",
    "Niklaus",
    "Olga",
    "Per",
    "Radia",
    "Sofie",
    "Tomoko",
    "Ursula",
    "Vint",
    "Wei",
    "Yusuf",
    "Zo\u{eb}",
];
const FAMILY: &[&str] = &[
    "Almeida",
    "Berger",
    "Carlsson",
    "Dubois",
    "Eriksen",
    "Fischer",
    "Garc\u{ed}a",
    "Hopper",
    "Ivanova",
    "Jensen",
    "Kowalski",
    "Lovelace",
    "M\u{fc}ller",
    "Nakamura",
    "O'Brien",
    "Peeters",
    "Quist",
    "Rossi",
    "Santos",
    "Tanaka",
    "Usman",
    "Vogel",
    "Wang",
    "Yilmaz",
    "Zimmer",
];
const CITIES: &[(&str, &str)] = &[
    ("Berlin", "DE"),
    ("Paris", "FR"),
    ("Lisboa", "PT"),
    ("Oslo", "NO"),
    ("Wien", "AT"),
    ("Z\u{fc}rich", "CH"),
    ("Madrid", "ES"),
    ("Roma", "IT"),
    ("Gent", "BE"),
    ("Praha", "CZ"),
];
const ADJECTIVES: &[&str] =
    &["Oak", "Linen", "Steel", "Wool", "Glass", "Cork", "Copper", "Cotton", "Bamboo", "Clay"];
const THINGS: &[(&str, &str)] = &[
    ("Table", "furniture"),
    ("Chair", "furniture"),
    ("Shelf, wide", "furniture"),
    ("Lamp", "light"),
    ("Blanket", "textiles"),
    ("Towel", "textiles"),
    ("Mug", "kitchen"),
    ("Pan 28\" deep", "kitchen"),
    ("Bowl", "kitchen"),
    ("Clock", "decoration"),
];
const STATUS: &[&str] = &["paid", "paid", "shipped", "shipped", "shipped", "open", "returned"];
const NOTES: &[&str] = &[
    "please ring twice",
    "gift, no invoice",
    "leave at the door",
    "said: \"after 6 pm\"",
    "second floor, left",
];

/// One sample table.
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) key: &'static str,
    pub(super) rows: u64,
    pub(super) schema: SchemaRef,
    columns: fn(std::ops::Range<u64>) -> Vec<ArrayRef>,
}

impl Sample {
    /// The rows, batch by batch.
    pub(super) fn batches(&self) -> impl Iterator<Item = Result<RecordBatch>> {
        let step = usize::try_from(BATCH_ROWS).unwrap_or(usize::MAX);
        (0..self.rows).step_by(step).map(|first| {
            let rows = first..self.rows.min(first + BATCH_ROWS);
            RecordBatch::try_new(self.schema.clone(), (self.columns)(rows))
                .map_err(|error| Error::internal("make sample rows").caused_by(error))
        })
    }
}

/// The tables; `lines` = rows of the largest.
pub(super) fn samples(lines: u64) -> Vec<Sample> {
    let sample = |name, key, rows, schema, columns| Sample { name, key, rows, schema, columns };
    vec![
        sample("customers", "customer_id", CUSTOMERS, customers_schema(), customers),
        sample("products", "product_id", PRODUCTS, products_schema(), products),
        sample("orders", "order_id", ORDERS, orders_schema(), orders),
        sample("order_lines", "line_id", lines, order_lines_schema(), order_lines),
    ]
}

const PRICE: DataType = DataType::Decimal128(10, 2);

fn zoned() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    let field = |(name, kind): &(&str, DataType)| Field::new(*name, kind.clone(), true);
    Arc::new(Schema::new(fields.iter().map(field).collect::<Vec<_>>()))
}

fn customers_schema() -> SchemaRef {
    schema(&[
        ("customer_id", DataType::Int64),
        ("name", DataType::Utf8),
        ("email", DataType::Utf8),
        ("city", DataType::Utf8),
        ("country", DataType::Utf8),
        ("birthday", DataType::Date32),
        ("newsletter", DataType::Boolean),
        ("created_at", zoned()),
    ])
}

fn products_schema() -> SchemaRef {
    schema(&[
        ("product_id", DataType::Int64),
        ("sku", DataType::Utf8),
        ("name", DataType::Utf8),
        ("category", DataType::Utf8),
        ("price", PRICE),
        ("weight_kg", DataType::Float64),
        ("in_stock", DataType::Int32),
    ])
}

fn orders_schema() -> SchemaRef {
    schema(&[
        ("order_id", DataType::Int64),
        ("customer_id", DataType::Int64),
        ("ordered_at", zoned()),
        ("status", DataType::Utf8),
        ("shipping", PRICE),
        ("note", DataType::Utf8),
    ])
}

fn order_lines_schema() -> SchemaRef {
    schema(&[
        ("line_id", DataType::Int64),
        ("order_id", DataType::Int64),
        ("product_id", DataType::Int64),
        ("quantity", DataType::Int32),
        ("unit_price", PRICE),
        ("discount_percent", DataType::Float64),
    ])
}

/// Bits that look random but follow from table, row and column (splitmix64 finalizer).
fn bits(salt: u64, row: u64) -> u64 {
    let mut z =
        row.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(salt.wrapping_mul(0xd1b5_4a32));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number below `limit`.
fn below(salt: u64, row: u64, limit: u64) -> u64 {
    bits(salt, row) % limit.max(1)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn small(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn pick<T: Copy + Default>(list: &[T], salt: u64, row: u64) -> T {
    let limit = u64::try_from(list.len()).unwrap_or(1);
    let index = usize::try_from(below(salt, row, limit)).unwrap_or_default();
    list.get(index).copied().unwrap_or_default()
}

fn ids(rows: std::ops::Range<u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(rows.map(|row| signed(row + 1))))
}

fn texts(rows: std::ops::Range<u64>, text: impl Fn(u64) -> Option<String>) -> ArrayRef {
    Arc::new(rows.map(text).collect::<StringArray>())
}

fn prices(rows: std::ops::Range<u64>, cents: impl Fn(u64) -> Option<u64>) -> ArrayRef {
    let array: Decimal128Array = rows.map(|row| cents(row).map(i128::from)).collect();
    Arc::new(array.with_data_type(PRICE))
}

fn times(rows: std::ops::Range<u64>, seconds: impl Fn(u64) -> u64) -> ArrayRef {
    let micros = |row| FIRST_SECOND.saturating_add(signed(seconds(row))) * 1_000_000;
    let array = TimestampMicrosecondArray::from_iter_values(rows.map(micros));
    Arc::new(array.with_timezone("UTC"))
}

fn customers(rows: std::ops::Range<u64>) -> Vec<ArrayRef> {
    let given = |row| pick(GIVEN, 1, row);
    let family = |row| pick(FAMILY, 2, row);
    let email = |row: u64| {
        let plain = |name: &str| -> String {
            name.to_lowercase().chars().filter(char::is_ascii_alphabetic).collect()
        };
        let name = format!("{}.{}{}", plain(given(row)), plain(family(row)), row + 1);
        (below(3, row, 20) > 0).then(|| format!("{name}@example.com"))
    };
    let birthday = |row| (below(6, row, 5) > 0).then(|| small(below(7, row, 18_000)) - 3_000);
    let newsletter = |row| (below(8, row, 10) > 0).then(|| below(9, row, 3) == 0);
    vec![
        ids(rows.clone()),
        texts(rows.clone(), |row| Some(format!("{} {}", given(row), family(row)))),
        texts(rows.clone(), email),
        texts(rows.clone(), |row| Some(pick(CITIES, 4, row).0.to_owned())),
        texts(rows.clone(), |row| Some(pick(CITIES, 4, row).1.to_owned())),
        Arc::new(rows.clone().map(birthday).collect::<Date32Array>()),
        Arc::new(rows.clone().map(newsletter).collect::<BooleanArray>()),
        times(rows, |row| row * SPAN_SECONDS / CUSTOMERS + below(10, row, 3_000)),
    ]
}

fn product_cents(row: u64) -> u64 {
    499 + below(11, row, 300) * 100
}

#[expect(clippy::cast_precision_loss, reason = "numbers below 30,000")]
fn products(rows: std::ops::Range<u64>) -> Vec<ArrayRef> {
    let thing = |row| pick(THINGS, 12, row);
    let weight = |row| (below(13, row, 15) > 0).then(|| (50 + below(14, row, 20_000)) as f64 / 1e3);
    vec![
        ids(rows.clone()),
        texts(rows.clone(), |row| Some(format!("{:06}", (row + 1) * 37))),
        texts(rows.clone(), |row| Some(format!("{} {}", pick(ADJECTIVES, 15, row), thing(row).0))),
        texts(rows.clone(), |row| Some(thing(row).1.to_owned())),
        prices(rows.clone(), |row| Some(product_cents(row))),
        Arc::new(rows.clone().map(weight).collect::<Float64Array>()),
        Arc::new(Int32Array::from_iter_values(rows.map(|row| small(below(16, row, 400))))),
    ]
}

fn orders(rows: std::ops::Range<u64>) -> Vec<ArrayRef> {
    let customer = |row| signed(below(17, row, CUSTOMERS) + 1);
    let note = |row| (below(18, row, 12) == 0).then(|| pick(NOTES, 19, row).to_owned());
    vec![
        ids(rows.clone()),
        Arc::new(Int64Array::from_iter_values(rows.clone().map(customer))),
        times(rows.clone(), |row| row * SPAN_SECONDS / ORDERS + below(20, row, 1_000)),
        texts(rows.clone(), |row| Some(pick(STATUS, 21, row).to_owned())),
        prices(rows.clone(), |row| (below(22, row, 9) > 0).then(|| 390 + below(23, row, 4) * 100)),
        texts(rows, note),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "numbers below 30")]
fn order_lines(rows: std::ops::Range<u64>) -> Vec<ArrayRef> {
    let product = |row| below(24, row, PRODUCTS);
    let discount = |row| (below(25, row, 6) == 0).then(|| below(26, row, 5) as f64 * 2.5 + 2.5);
    vec![
        ids(rows.clone()),
        // Three lines an order, so that the lines of one order stand together.
        Arc::new(Int64Array::from_iter_values(
            rows.clone().map(|row| signed(row / 3 % ORDERS + 1)),
        )),
        Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| signed(product(row) + 1)))),
        Arc::new(Int32Array::from_iter_values(rows.clone().map(|r| small(below(27, r, 5) + 1)))),
        prices(rows.clone(), |row| Some(product_cents(product(row)))),
        Arc::new(rows.map(discount).collect::<Float64Array>()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arrow prints only zones that are offsets.
    fn printable(batch: &RecordBatch) -> RecordBatch {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
            let column = match column.data_type() {
                DataType::Timestamp(unit, Some(_)) => {
                    let utc = DataType::Timestamp(*unit, Some("+00:00".into()));
                    arrow::compute::cast(column, &utc).unwrap()
                }
                _ => column.clone(),
            };
            (field.name().clone(), column)
        });
        RecordBatch::try_from_iter(columns.collect::<Vec<_>>()).unwrap()
    }

    fn digest(lines: u64) -> String {
        let mut hasher = blake3::Hasher::new();
        for sample in samples(lines) {
            let mut text = Vec::new();
            let mut writer = arrow::csv::WriterBuilder::new().build(&mut text);
            for batch in sample.batches() {
                writer.write(&printable(&batch.unwrap())).unwrap();
            }
            drop(writer);
            hasher.update(&text);
        }
        hasher.finalize().to_hex().as_str()[..16].to_owned()
    }

    #[test]
    fn sample_rows_are_the_same_every_time() {
        assert_eq!(digest(20_000), digest(20_000));
        // Pinned: whoever changes the sample data changes what the documentation shows.
        expect_test::expect!["b25cb91d43f4d3d6"].assert_eq(&digest(20_000));
    }

    #[test]
    fn sample_has_the_awkward_values_that_it_is_there_to_show() {
        let all = samples(120_000);
        let rows: Vec<u64> = all.iter().map(|sample| sample.rows).collect();
        assert_eq!(rows, [5_000, 500, 40_000, 120_000]);
        let mut text = Vec::new();
        for sample in &all {
            let mut writer = arrow::csv::WriterBuilder::new().build(&mut text);
            writer.write(&printable(&sample.batches().next().unwrap().unwrap())).unwrap();
        }
        let text = String::from_utf8(text).unwrap();
        for part in ["\"Oak Shelf, wide\"", "28\"\" deep", "\"\"after 6 pm\"\"", "O'Brien", ",,"] {
            assert!(text.contains(part), "{part}");
        }
    }
}

//! Properties of the whole layer: every value of every type survives text, lengths are exact.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit, i256};
use proptest::prelude::*;

use super::*;

type Seed = Option<(i64, String)>;

fn seeds() -> impl Strategy<Value = Vec<Seed>> {
    let number = prop_oneof![
        any::<i64>(),
        -100_i64..100,
        Just(i64::MIN),
        Just(i64::MAX),
        Just(0),
        any::<f64>().prop_map(|float| i64::from_ne_bytes(float.to_ne_bytes())),
        (-1_000_000_000_i64..4_000_000_000).prop_map(|seconds| seconds * 1_000_000),
    ];
    let text = prop_oneof![
        "[a-z ]{0,8}",
        "[,\"\r\n a\u{e4}\u{1f600}\\\\]{0,8}",
        Just(String::new()),
        Just("NULL".to_owned()),
        Just("\"\"".to_owned()),
        "[\u{1}-\u{10ffff}]{0,6}",
        "[a-z,]{30,70}",
    ];
    prop::collection::vec(prop::option::weighted(0.8, (number, text)), 0..40)
}

fn zoned(unit: TimeUnit) -> DataType {
    DataType::Timestamp(unit, Some("Europe/Berlin".into()))
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

fn text_map(values: DataType) -> DataType {
    map(DataType::Utf8, values)
}

fn map(keys: DataType, values: DataType) -> DataType {
    let fields =
        Fields::from(vec![Field::new("key", keys, false), Field::new("value", values, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(fields), false)), false)
}

fn all_types() -> Vec<DataType> {
    use DataType as T;
    let units =
        [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    let mut types = vec![
        T::Null,
        T::Boolean,
        T::Int8,
        T::Int16,
        T::Int32,
        T::Int64,
        T::UInt8,
        T::UInt16,
        T::UInt32,
        T::UInt64,
        T::Float16,
        T::Float32,
        T::Float64,
        T::Decimal32(9, 2),
        T::Decimal64(18, 18),
        T::Decimal128(38, 10),
        T::Decimal128(20, 0),
        T::Decimal128(10, -3),
        T::Decimal256(76, 20),
        T::Date32,
        T::Date64,
        T::Time32(TimeUnit::Second),
        T::Time32(TimeUnit::Millisecond),
        T::Time64(TimeUnit::Microsecond),
        T::Time64(TimeUnit::Nanosecond),
        T::Utf8,
        T::LargeUtf8,
        T::Utf8View,
        T::Binary,
        T::LargeBinary,
        T::BinaryView,
        T::FixedSizeBinary(8),
        T::Dictionary(Box::new(T::Int32), Box::new(T::Utf8)),
        T::Dictionary(Box::new(T::UInt16), Box::new(T::LargeUtf8)),
        T::Dictionary(Box::new(T::Int16), Box::new(T::Int64)),
        list(T::Int64),
        list(T::Utf8),
        list(T::Boolean),
        list(list(T::Float64)),
        T::LargeList(Arc::new(Field::new("item", T::Date32, true))),
        T::FixedSizeList(Arc::new(Field::new("item", T::Int32, true)), 2),
        T::Struct(Fields::from(vec![
            Field::new("a", T::Int64, true),
            Field::new("b \"q\"", T::Utf8, true),
            Field::new("c", list(T::Decimal128(20, 3)), true),
        ])),
        text_map(T::Float64),
        text_map(list(T::Binary)),
        map(T::Int32, zoned(TimeUnit::Second)),
    ];
    for unit in units {
        types.extend([T::Timestamp(unit, None), zoned(unit), T::Duration(unit)]);
    }
    types
}

/// An array of any type from seeds; numbers are cut to the range of the type.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::too_many_lines)]
fn array(data_type: &DataType, seeds: &[Seed]) -> ArrayRef {
    use arrow::array as a;
    let numbers = || seeds.iter().map(|seed| seed.as_ref().map(|(number, _)| *number));
    let texts = || seeds.iter().map(|seed| seed.as_ref().map(|(_, text)| text.as_str()));
    let children = |item: &DataType, at: usize| -> ArrayRef {
        let mut rotated = seeds.to_vec();
        rotated.rotate_left(at.min(seeds.len()));
        array(item, &rotated)
    };
    match data_type {
        DataType::Null => a::new_null_array(data_type, seeds.len()),
        DataType::Boolean => {
            Arc::new(numbers().map(|n| n.map(|n| n % 2 == 0)).collect::<BooleanArray>())
        }
        DataType::Int8 => Arc::new(numbers().map(|n| n.map(|n| n as i8)).collect::<a::Int8Array>()),
        DataType::Int16 => {
            Arc::new(numbers().map(|n| n.map(|n| n as i16)).collect::<a::Int16Array>())
        }
        DataType::Int32 => {
            Arc::new(numbers().map(|n| n.map(|n| n as i32)).collect::<a::Int32Array>())
        }
        DataType::Int64 => Arc::new(numbers().collect::<Int64Array>()),
        DataType::UInt8 => {
            Arc::new(numbers().map(|n| n.map(|n| n as u8)).collect::<a::UInt8Array>())
        }
        DataType::UInt16 => {
            Arc::new(numbers().map(|n| n.map(|n| n as u16)).collect::<a::UInt16Array>())
        }
        DataType::UInt32 => {
            Arc::new(numbers().map(|n| n.map(|n| n as u32)).collect::<a::UInt32Array>())
        }
        DataType::UInt64 => {
            Arc::new(numbers().map(|n| n.map(|n| n as u64)).collect::<a::UInt64Array>())
        }
        DataType::Float16 => {
            let halves = numbers().map(|n| {
                n.map(|n| {
                    let half =
                        <arrow::datatypes::Float16Type as a::ArrowPrimitiveType>::Native::from_bits(
                            n as u16,
                        );
                    if half.is_nan() {
                        <arrow::datatypes::Float16Type as a::ArrowPrimitiveType>::Native::from_f32(
                            f32::NAN,
                        )
                    } else {
                        half
                    }
                })
            });
            Arc::new(halves.collect::<a::Float16Array>())
        }
        DataType::Float32 => Arc::new(
            numbers()
                .map(|n| {
                    n.map(|n| {
                        let float = f32::from_bits(n as u32);
                        if float.is_nan() { f32::NAN } else { float }
                    })
                })
                .collect::<a::Float32Array>(),
        ),
        DataType::Float64 => Arc::new(
            numbers()
                .map(|n| {
                    n.map(|n| {
                        let float = f64::from_bits(n as u64);
                        if float.is_nan() { f64::NAN } else { float }
                    })
                })
                .collect::<a::Float64Array>(),
        ),
        DataType::Decimal32(p, s) => Arc::new(
            numbers()
                .map(|n| n.map(|n| (n % 10_i64.pow(u32::from(*p))) as i32))
                .collect::<a::Decimal32Array>()
                .with_precision_and_scale(*p, *s)
                .unwrap(),
        ),
        DataType::Decimal64(p, s) => Arc::new(
            numbers()
                .map(|n| n.map(|n| n % 10_i64.pow(u32::from(*p))))
                .collect::<a::Decimal64Array>()
                .with_precision_and_scale(*p, *s)
                .unwrap(),
        ),
        DataType::Decimal128(p, s) => Arc::new(
            numbers()
                .map(|n| {
                    n.map(|n| {
                        (i128::from(n) * i128::from(n.unsigned_abs())) % 10_i128.pow(u32::from(*p))
                    })
                })
                .collect::<a::Decimal128Array>()
                .with_precision_and_scale(*p, *s)
                .unwrap(),
        ),
        DataType::Decimal256(p, s) => Arc::new(
            numbers()
                .map(|n| n.map(|n| i256::from_i128(i128::from(n) * i128::from(n))))
                .collect::<a::Decimal256Array>()
                .with_precision_and_scale(*p, *s)
                .unwrap(),
        ),
        DataType::Date32 => {
            Arc::new(numbers().map(|n| n.map(|n| n as i32)).collect::<a::Date32Array>())
        }
        DataType::Time32(TimeUnit::Second) => Arc::new(
            numbers()
                .map(|n| n.map(|n| n.rem_euclid(86_400) as i32))
                .collect::<a::Time32SecondArray>(),
        ),
        DataType::Time32(_) => Arc::new(
            numbers()
                .map(|n| n.map(|n| n.rem_euclid(86_400_000) as i32))
                .collect::<a::Time32MillisecondArray>(),
        ),
        DataType::Time64(TimeUnit::Microsecond) => Arc::new(
            numbers()
                .map(|n| n.map(|n| n.rem_euclid(86_400_000_000)))
                .collect::<a::Time64MicrosecondArray>(),
        ),
        DataType::Time64(_) => Arc::new(
            numbers()
                .map(|n| n.map(|n| n.rem_euclid(86_400_000_000_000)))
                .collect::<a::Time64NanosecondArray>(),
        ),
        DataType::Date64 | DataType::Timestamp(..) | DataType::Duration(_) => {
            cast(&(Arc::new(numbers().collect::<Int64Array>()) as ArrayRef), data_type).unwrap()
        }
        DataType::Utf8 => Arc::new(texts().collect::<StringArray>()),
        DataType::Binary => {
            Arc::new(texts().map(|t| t.map(str::as_bytes)).collect::<a::BinaryArray>())
        }
        DataType::LargeUtf8 | DataType::Utf8View => {
            cast(&array(&DataType::Utf8, seeds), data_type).unwrap()
        }
        DataType::LargeBinary | DataType::BinaryView => {
            cast(&array(&DataType::Binary, seeds), data_type).unwrap()
        }
        DataType::FixedSizeBinary(_) => {
            let bytes = numbers().map(|n| n.map(i64::to_le_bytes));
            Arc::new(a::FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, 8).unwrap())
        }
        DataType::Dictionary(_, values) => cast(&array(values, seeds), data_type).unwrap(),
        DataType::List(item) => {
            let items = children(item.data_type(), 1);
            let nulls = arrow::buffer::NullBuffer::from_iter(seeds.iter().map(Option::is_some));
            let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths(seeds));
            Arc::new(a::ListArray::new(item.clone(), offsets, items, Some(nulls)))
        }
        DataType::LargeList(item) => {
            cast(&array(&DataType::List(item.clone()), seeds), data_type).unwrap()
        }
        DataType::FixedSizeList(item, size) => {
            let items = children(item.data_type(), 1);
            let doubled = arrow::compute::concat(&[items.as_ref(), items.as_ref()]).unwrap();
            let nulls = arrow::buffer::NullBuffer::from_iter(seeds.iter().map(Option::is_some));
            Arc::new(
                a::FixedSizeListArray::try_new(item.clone(), *size, doubled, Some(nulls)).unwrap(),
            )
        }
        DataType::Struct(fields) => {
            let columns = fields
                .iter()
                .enumerate()
                .map(|(at, field)| children(field.data_type(), at))
                .collect();
            let nulls = arrow::buffer::NullBuffer::from_iter(seeds.iter().map(Option::is_some));
            Arc::new(a::StructArray::new(fields.clone(), columns, Some(nulls)))
        }
        DataType::Map(entries, sorted) => {
            let DataType::Struct(fields) = entries.data_type() else { unreachable!() };
            let filled: Vec<Seed> =
                seeds.iter().map(|seed| seed.clone().or(Some((5, "k".into())))).collect();
            let keys = array(fields[0].data_type(), &filled);
            let values = children(fields[1].data_type(), 1);
            let pairs = a::StructArray::new(fields.clone(), vec![keys, values], None);
            let nulls = arrow::buffer::NullBuffer::from_iter(seeds.iter().map(Option::is_some));
            let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths(seeds));
            Arc::new(a::MapArray::new(entries.clone(), offsets, pairs, Some(nulls), *sorted))
        }
        other => unreachable!("{other}"),
    }
}

/// Lengths that add up to the number of seeds: the items of an absent row go to the next one.
fn lengths(seeds: &[Seed]) -> Vec<usize> {
    let mut waiting = 0;
    let mut lengths: Vec<usize> = seeds
        .iter()
        .map(|seed| {
            waiting += 1;
            let take =
                seed.as_ref().map_or(0, |(number, _)| if number % 3 == 0 { 0 } else { waiting });
            waiting -= take;
            take
        })
        .collect();
    if let (Some(place), Some(last)) =
        (seeds.iter().position(Option::is_some), lengths.iter().sum::<usize>().checked_sub(0))
    {
        lengths[place] += seeds.len() - last;
    }
    lengths
}

fn batch_of(types: &[DataType], seeds: &[Seed]) -> RecordBatch {
    let fields: Vec<Field> = types
        .iter()
        .enumerate()
        .map(|(at, data_type)| Field::new(format!("c{at}"), data_type.clone(), true))
        .collect();
    let columns = types.iter().map(|data_type| array(data_type, seeds)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(seeds.len()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).unwrap()
}

fn rendered(batch: &RecordBatch) -> (String, Vec<u32>) {
    let (mut out, mut ends) = (b"before".to_vec(), Vec::new());
    render(batch, &mut out, &mut ends).unwrap();
    (String::from_utf8(out.split_off(6)).unwrap(), ends)
}

fn names(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

fn parsed(text: &str, schema: &SchemaRef) -> Result<RecordBatch, Vec<Rejection>> {
    Parser::new(&names(schema), schema).unwrap().parse(text.as_bytes(), 2)
}

#[track_caller]
fn assert_round_trip(batch: &RecordBatch) {
    let (text, ends) = rendered(batch);
    let records: Vec<u32> =
        Records::new(text.as_bytes()).map(|range| u32::try_from(range.end).unwrap()).collect();
    assert_eq!(records, ends, "{text}");
    let back = parsed(&text, &batch.schema())
        .unwrap_or_else(|rejections| panic!("{}\n{text}", rejections[0]));
    for (one, other) in batch.columns().iter().zip(back.columns()) {
        assert_eq!(one.as_ref(), other.as_ref(), "{text}");
    }
    assert_eq!(back.num_rows(), batch.num_rows());
    let columns = batch.num_columns() as u64;
    let cells: u64 = batch
        .columns()
        .iter()
        .map(|column| text_bytes(column.as_ref(), 0..column.len()).unwrap())
        .sum();
    assert_eq!(cells + columns * batch.num_rows() as u64, text.len() as u64);
}

#[test]
fn every_listed_type_is_supported_and_others_are_refused() {
    assert!(all_types().iter().all(supported));
    let interval = DataType::Interval(arrow::datatypes::IntervalUnit::DayTime);
    assert!(!supported(&interval));
    let empty = arrow::array::new_null_array(&interval, 1);
    assert!(text_bytes(empty.as_ref(), 0..1).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_value_of_every_type_survives_as_single_column(seeds in seeds()) {
        for data_type in all_types() {
            assert_round_trip(&batch_of(&[data_type], &seeds));
        }
    }

    #[test]
    fn all_types_together_survive(seeds in seeds()) {
        assert_round_trip(&batch_of(&all_types(), &seeds));
    }

    #[test]
    fn index_equals_rendered_blocks_however_batches_are_cut(
        seeds in seeds(), block in 1_u32..9, cuts in prop::collection::vec(0_usize..12, 0..8),
    ) {
        let types = [DataType::Utf8, DataType::Int64, DataType::Float64, zoned(TimeUnit::Microsecond)];
        let batch = batch_of(&types, &seeds);
        let mut builder = OffsetIndex::builder(&batch.schema(), block);
        let mut at = 0;
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let rows = cut.min(batch.num_rows() - at);
            builder.observe(&batch.slice(at, rows)).unwrap();
            at += rows;
        }
        let index = builder.finish();
        let index = OffsetIndex::decode(&index.encode()).unwrap();
        let (_, ends) = rendered(&batch);
        let mut expected = Vec::new();
        let mut last = 0;
        for rows in ends.chunks(block as usize) {
            expected.push(u64::from(rows[rows.len() - 1] - last));
            last = rows[rows.len() - 1];
        }
        prop_assert_eq!(index.block_bytes(&batch.schema()), Some(expected.clone()));
        prop_assert_eq!(index.blocks() as usize, expected.len());
        let mut wider: Vec<Field> = batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
        wider.push(Field::new("absent", DataType::Int64, true));
        let more: Vec<u64> = expected.iter().enumerate()
            .map(|(at, bytes)| bytes + index.rows_of_block(u32::try_from(at).unwrap())).collect();
        prop_assert_eq!(index.block_bytes(&Schema::new(wider)), Some(more));
    }

    #[test]
    fn any_text_is_parsed_or_refused_with_a_place(text in "[ab1,\"\r\n\u{0} .-]{0,80}") {
        let fields = vec![Field::new("a", DataType::Utf8, true), Field::new("b", DataType::Int64, true)];
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let lines = text.bytes().filter(|byte| *byte == b'\n').count() as u64 + 1;
        match parsed(&text, &schema) {
            Ok(batch) => prop_assert_eq!(batch.num_rows(), Records::new(text.as_bytes()).count()),
            Err(rejections) => {
                prop_assert!(!rejections.is_empty());
                for rejection in rejections {
                    prop_assert!(explain(rejection.code).is_some());
                    prop_assert!((2..2 + lines).contains(&rejection.line), "{rejection}");
                    prop_assert!(!rejection.row.is_empty());
                }
            }
        }
    }

    #[test]
    fn damaged_indexes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..80), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        prop_assert!(OffsetIndex::decode(&bytes).is_err());
        let mut builder = OffsetIndex::builder(&Schema::new(vec![Field::new("a", DataType::Int64, true)]), 2);
        builder.observe(&batch_of(&[DataType::Int64], &[None, Some((300, String::new())), None])).unwrap();
        let mut good = builder.finish().encode();
        let place = at.index(good.len());
        good[place] ^= 1 << bit;
        prop_assert!(OffsetIndex::decode(&good).is_err());
        good.truncate(place);
        prop_assert!(OffsetIndex::decode(&good).is_err());
    }

    #[test]
    fn arrow_csv_writes_the_same_where_its_rules_are_the_same(seeds in seeds()) {
        let types = [DataType::Int64, DataType::Boolean, DataType::UInt8, DataType::Decimal128(38, 10), DataType::Utf8];
        let plain: Vec<Seed> = seeds.into_iter().map(|seed| {
            seed.map(|(number, text)| (number, format!("x{}x", text.replace('\r', ""))))
        }).collect();
        let batch = batch_of(&types, &plain);
        let mut reference = Vec::new();
        arrow::csv::WriterBuilder::new().with_header(true).build(&mut reference).write(&batch).unwrap();
        let mut ours = Vec::new();
        render_header(&batch.schema(), &mut ours);
        render(&batch, &mut ours, &mut Vec::new()).unwrap();
        if batch.num_rows() > 0 {
            prop_assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(reference).unwrap());
        }
    }
}

fn schema_of(columns: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(
        columns
            .iter()
            .map(|(name, kind)| Field::new(*name, kind.clone(), true))
            .collect::<Vec<_>>(),
    ))
}

#[test]
fn generous_forms_mean_the_canonical_values() {
    let schema = schema_of(&[
        ("i", DataType::Int64),
        ("f", DataType::Float64),
        ("b", DataType::Boolean),
        ("t", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("s", DataType::Utf8),
    ]);
    let canonical = "1000,1000.0,true,2026-11-21T10:00:00,x\n";
    for generous in [
        "1e3,1e3,TRUE,2026-11-21 10:00:00,x\r\n",
        "\"1000\",\"1000\",\"True\",\"2026-11-21T10:00:00\",\"x\"",
        " 1000 ,+1000.000, true,2026-11-21 10:00,x\r\n",
        "1000.0,10e2,tRuE,2026-11-21T10:00:00.000,x",
    ] {
        let batch = parsed(generous, &schema).unwrap();
        assert_eq!(rendered(&batch).0, canonical, "{generous}");
    }
    let order: Vec<String> = ["s", "i"].map(str::to_owned).to_vec();
    let batch = Parser::new(&order, &schema).unwrap().parse(b"\"\",7\n,\n", 2).unwrap();
    assert_eq!(rendered(&batch).0, "7,,,,\"\"\n,,,,\n");
}

#[test]
fn every_refusal_has_line_column_value_and_code() {
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
    ]));
    let refusals = |text: &str| -> Vec<(&'static str, u64, Option<u32>, String)> {
        parsed(text, &schema)
            .unwrap_err()
            .into_iter()
            .map(|refusal| (refusal.code, refusal.line, refusal.column, refusal.value))
            .collect()
    };
    assert_eq!(refusals("1,a\nx,b\n"), [("MNT-1203", 3, Some(1), "x".into())]);
    assert_eq!(refusals("1,\"a\nb\"\n,b\n"), [("MNT-1205", 4, Some(1), String::new())]);
    assert_eq!(refusals("\"\",b\n"), [("MNT-1203", 2, Some(1), String::new())]);
    assert_eq!(
        refusals("1,a\n2\n3,a,b\n"),
        [("MNT-1201", 3, None, String::new()), ("MNT-1201", 4, None, String::new()),]
    );
    assert_eq!(refusals("1,a\0b\n")[0].0, "MNT-1209");
    assert_eq!(refusals("1,a\rb\n")[0].0, "MNT-1210");
    assert_eq!(refusals("1,\"a\n2,b\n")[0], ("MNT-1202", 2, Some(2), "1,\"a\n2,b".into()));
    assert_eq!(refusals("1,\"a\"b\n")[0].0, "MNT-1206");
    assert_eq!(
        refusals("1,5\" pipe\n2,b\nz,c\n")
            .iter()
            .map(|refusal| (refusal.0, refusal.1))
            .collect::<Vec<_>>(),
        [("MNT-1207", 2), ("MNT-1203", 4)]
    );
    let bad =
        Parser::new(&names(&schema), &schema).unwrap().parse(b"1,ok\n2,\xff\n", 2).unwrap_err();
    assert_eq!((bad[0].code, bad[0].line, &bad[0].row[..]), ("MNT-1208", 3, &b"2,\xff\n"[..]));
    let many: String = (0..5_000).map(|_| "x,y\n").collect();
    let mut parser = Parser::new(&names(&schema), &schema).unwrap();
    assert_eq!(parser.parse(many.as_bytes(), 2).unwrap_err().len(), REJECTIONS_KEPT);
    assert_eq!(parser.rejected(), 5_000);
    assert_eq!(parser.parse(b"1,a\n", 2).unwrap().num_rows(), 1);
}

#[test]
fn headers_that_do_not_fit_the_table_are_refused() {
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
    ]));
    let code = |columns: &[&str]| {
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        Parser::new(&columns, &schema).err().map(|rejection| rejection.code)
    };
    assert_eq!(code(&["name", "id"]), None);
    assert_eq!(code(&["id"]), None);
    assert_eq!(code(&["name"]), Some("MNT-1224"));
    assert_eq!(code(&["id", "Name"]), Some("MNT-1223"));
    assert_eq!(code(&["1", "x"]), Some("MNT-1220"));
    assert_eq!(code(&["id", "id"]), Some("MNT-1221"));
}

#[test]
fn single_column_null_and_empty_text_differ() {
    let schema = schema_of(&[("s", DataType::Utf8)]);
    let batch = parsed("\n\"\"\r\n\r\nx", &schema).unwrap();
    assert_eq!(rendered(&batch).0, "\n\"\"\n\nx\n");
    assert_eq!(batch.column(0).null_count(), 2);
}

#[test]
fn large_batches_are_rendered_like_their_slices() {
    let seeds: Vec<Seed> = (0..5_000_i64)
        .map(|row| (row % 7 != 0).then(|| (row * 1_234_567, format!("text {row}"))))
        .collect();
    let batch = batch_of(&all_types(), &seeds);
    let whole = rendered(&batch).0;
    let parts: String = (0..5).map(|part| rendered(&batch.slice(part * 1_000, 1_000)).0).collect();
    assert_eq!(whole, parts);
    let back = parsed(&whole, &batch.schema()).unwrap();
    let again = concat_batches(&batch.schema(), [&back]).unwrap();
    assert_eq!(rendered(&again).0, whole);
}

#[test]
fn stored_and_shown_types_share_an_index_only_if_their_text_is_equal() {
    let index = |stored: DataType| {
        let mut builder = OffsetIndex::builder(&schema_of(&[("a", stored.clone())]), BLOCK_ROWS);
        builder.observe(&batch_of(&[stored], &[Some((5, "x".into()))])).unwrap();
        builder.finish()
    };
    let shown = |stored, shown| index(stored).block_bytes(&schema_of(&[("a", shown)])).is_some();
    assert!(shown(DataType::Int32, DataType::Int64));
    assert!(shown(DataType::UInt32, DataType::Int64));
    assert!(!shown(DataType::Int64, DataType::Int32));
    assert!(!shown(DataType::UInt64, DataType::Int64));
    assert!(!shown(DataType::Int64, DataType::Float64));
    assert!(shown(DataType::LargeUtf8, DataType::Utf8View));
    assert!(shown(
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        DataType::Utf8
    ));
    assert!(shown(
        zoned(TimeUnit::Second),
        DataType::Timestamp(TimeUnit::Second, Some("UTC".into()))
    ));
    assert!(!shown(zoned(TimeUnit::Second), DataType::Timestamp(TimeUnit::Second, None)));
}

//! Properties of the whole layer: every value of every type survives text, lengths are exact.

mod arrays;

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use proptest::prelude::*;

use self::arrays::{Seed, all_types, array, seeds, zoned};
use super::*;

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
        let batch = batch_of(&all_types(), &seeds);
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

/// Texts are quoted by marks that are made for a run of them at a time.
#[test]
fn quotes_of_one_run_of_texts_do_not_reach_the_next() {
    let texts = arrow::array::StringArray::from_iter_values((0..5_000).map(|row| {
        match (row / 700 % 2, row % 3) {
            (0, _) => format!("{}\"{row}\",", "long".repeat(row % 40)),
            (_, 0) => " odd".to_owned(),
            (_, 1) => String::new(),
            _ => "plain".to_owned(),
        }
    }));
    for data_type in [
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into()),
    ] {
        let column = arrow::compute::cast(&texts, &data_type).unwrap();
        let schema = Schema::new(vec![Field::new("c", data_type, true)]);
        assert_round_trip(&RecordBatch::try_new(Arc::new(schema), vec![column]).unwrap());
    }
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

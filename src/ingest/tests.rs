//! Formats by content, types of odd files, exact values, places of errors.

use std::io::Write;

use arrow::array::{Array as _, AsArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::*;
use crate::clock::ManualClock;
use crate::error::ErrorKind;

fn options(dir: &Path) -> Options {
    Options {
        spool: dir.join("spool"),
        record_bytes_max: 1 << 20,
        columns_max: 100,
        clock: Arc::new(ManualClock::new(0, 1)),
        progress: Arc::new(|_| {}),
    }
}

fn input(name: &str, bytes: &[u8]) -> Result<Input> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    Input::open(&path, &options(dir.path()))
}

fn printable(column: &arrow::array::ArrayRef) -> arrow::array::ArrayRef {
    match column.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            let utc = DataType::Timestamp(*unit, Some("+00:00".into()));
            arrow::compute::cast(column, &utc).unwrap()
        }
        _ => column.clone(),
    }
}

/// A row, NULL as `-`.
fn row_of(batch: &RecordBatch, row: usize) -> String {
    let format = FormatOptions::default().with_null("-");
    let cell = |column: &arrow::array::ArrayRef| {
        let column = printable(column);
        ArrayFormatter::try_new(&column, &format).unwrap().value(row).to_string()
    };
    batch.columns().iter().map(cell).collect::<Vec<_>>().join("|")
}

fn rows(input: &Input, target: &SchemaRef) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    input.read(target, &mut |batch| {
        lines.extend((0..batch.num_rows()).map(|row| row_of(&batch, row)));
        Ok(())
    })?;
    Ok(lines)
}

/// Columns as `name:Type`, then the rows.
fn loaded(name: &str, bytes: &[u8]) -> Result<String> {
    let input = input(name, bytes)?;
    let schema = input.schema()?;
    let columns: Vec<String> =
        schema.fields().iter().map(|f| format!("{}:{}", f.name(), f.data_type())).collect();
    let mut lines = vec![columns.join(" ").replace('\u{b5}', "u")];
    lines.extend(rows(&input, &schema)?);
    Ok(lines.join("\n"))
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    assert_eq!(loaded("x", text.as_bytes()).unwrap(), expected.join("\n"));
}

#[track_caller]
fn check_refused(text: &[u8], parts: &[&str]) {
    let error = loaded("x.dat", text).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part} in {error}");
    }
    assert!(error.to_string().contains("x.dat"), "{error}");
}

#[test]
fn delimiters_are_found_by_content() {
    for delimiter in [",", ";", "\t", "|"] {
        let text = "id,name,note\n1,a,x\n2,\"b,;|\t\",y\n".replace(',', delimiter);
        let input = input("x.txt", text.as_bytes()).unwrap();
        assert_eq!(input.format(), Format::Delimited(delimiter.as_bytes()[0]), "{delimiter:?}");
        assert_eq!(input.schema().unwrap().fields().len(), 3);
    }
    // Decimal commas inside must not win over the semicolons.
    let input_ = input("x", b"a;b;c\n1,5;2,5;x\n2,5;3,5;y\n").unwrap();
    assert_eq!(input_.format(), Format::Delimited(b';'));
    assert_eq!(input("x", b"only\n1\n2\n").unwrap().format(), Format::Delimited(b','));
}

#[test]
fn types_follow_all_values_and_lose_nothing() {
    check(
        "i,f,b,d,t,z,s,zero,big,plus,none,mix\n\
         1,1,true,2026-11-21,2026-11-21 10:00:00,2026-11-21T10:00:00Z,\
         x,007,9223372036854775808,+1,,1\n\
         -2,1.5,FALSE,2026-11-22,2026-11-21T10:00,2026-11-21T12:00:00.5+02:00,\
         \"\",1,1,1,,x\n\
         ,,,,,,,,,,,\n",
        "i:Int64 f:Float64 b:Boolean d:Date32 t:Timestamp(us) z:Timestamp(us, \"UTC\") \
         s:Utf8 zero:Utf8 big:Utf8 plus:Utf8 none:Utf8 mix:Utf8
         1|1.0|true|2026-11-21|2026-11-21T10:00:00|2026-11-21T10:00:00Z|\
         x|007|9223372036854775808|+1|-|1
         -2|1.5|false|2026-11-22|2026-11-21T10:00:00|2026-11-21T10:00:00.500Z||1|1|1|-|x
         -|-|-|-|-|-|-|-|-|-|-|-",
    );
}

#[test]
fn integers_that_a_float_cannot_hold_make_the_column_text() {
    check(
        "a,b\n9007199254740993,9007199254740992\n1.5,1.5\n",
        "a:Utf8 b:Float64\n9007199254740993|9007199254740992.0\n1.5|1.5",
    );
    check("a\nNaN\n", "a:Utf8\nNaN");
    check("a\nNaN\n1\n", "a:Float64\nNaN\n1.0");
    check("a\n1e999\n", "a:Utf8\n1e999");
    check("a\n2026-11-21T10:00:00.0000001\n", "a:Utf8\n2026-11-21T10:00:00.0000001");
    check("a\n2026-02-30\n", "a:Utf8\n2026-02-30");
}

#[test]
fn widening_is_found_however_late_it_comes() {
    let mut text = "a\n".to_owned();
    for number in 0..20_000 {
        text.push_str(&format!("{number}\n"));
    }
    text.push_str("x\n");
    let input = input("x", text.as_bytes()).unwrap();
    assert_eq!(*input.schema().unwrap().field(0).data_type(), DataType::Utf8);
    assert_eq!(rows(&input, &input.schema().unwrap()).unwrap().len(), 20_001);
}

#[test]
fn odd_but_whole_csv_is_read() {
    let text = "\u{feff}a,b\r\n1,\"x\r\ny\"\r\n\r\n2,\"q\"\"q\"";
    assert_eq!(loaded("x", text.as_bytes()).unwrap(), "a:Int64 b:Utf8\n1|x\r\ny\n2|q\"q");
    check("a,b\n1,5\" pipe\n", "a:Int64 b:Utf8\n1|5\" pipe");
    check("\"a\",\"b\"\n\"1\",\"\"\n\"2\",\"3\"\n", "a:Int64 b:Int64\n1|-\n2|3");
    check("a\n1\n\n2\n", "a:Int64\n1\n-\n2");
    check(",a\n0,x\n", "column_1:Int64 a:Utf8\n0|x");
    check("a,b\n", "a:Utf8 b:Utf8");
    check("a, b\n1, 2\n", "a:Int64 b:Int64\n1|2");
}

#[test]
fn broken_csv_is_refused_with_its_place() {
    check_refused(b"a,b\n1,2\n3\n", &["line: 3", "1 cells", "has 2"]);
    check_refused(b"a,b\n1,\"x\"y\n", &["line: 2", "column: 2", "quote"]);
    check_refused(b"a,b\n1,\"x\n2,3\n", &["line: 2", "not closed"]);
    check_refused(b"a,A\n1,2\n", &["twice"]);
    check_refused(b"a,b\n1,\xe9\n", &["line: 2", "column: 2", "UTF-8"]);
    check_refused(b"__rowid__,b\n1,2\n", &["__"]);
    check_refused(b"", &["empty"]);
    check_refused(b"\n \n", &["empty"]);
    check_refused(b"PK\x03\x04rest", &["zip"]);
    check_refused(b"a\0b", &["binary"]);
    check_refused(b"\xff\xfea\0", &["UTF-16"]);
}

#[test]
fn values_that_do_not_fit_the_table_are_named() {
    let schema = |kind| Arc::new(Schema::new(vec![Field::new("q", kind, true)]));
    let refused = |text: &str, kind: DataType| {
        let input = input("x", text.as_bytes()).unwrap();
        rows(&input, &schema(kind)).unwrap_err().to_string()
    };
    let message = refused("p,q\n1,2\n1,two\n", DataType::Int64);
    for part in ["line: 3", "column: 2", "name: q", "value: two", "whole number"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(refused("q\n300\n", DataType::Int8).contains("300"));
    assert!(refused("q\n1.005\n", DataType::Decimal128(10, 2)).contains("1.005"));
    assert!(refused("q\n2026-11-21T10:00\n", DataType::Date32).contains("date"));
    let local = DataType::Timestamp(TimeUnit::Microsecond, None);
    assert!(refused("q\n2026-11-21T10:00:00Z\n", local).contains("offset"));
    let text = input("x", b"q\n007\n1.50\n").unwrap();
    assert_eq!(rows(&text, &schema(DataType::Utf8)).unwrap(), ["007", "1.50"]);
    assert_eq!(rows(&text, &schema(DataType::Decimal128(5, 2))).unwrap(), ["7.00", "1.50"]);
    // A column that the file does not have is NULL.
    let other = input("x", b"z\n1\n").unwrap();
    assert_eq!(rows(&other, &schema(DataType::Int64)).unwrap(), ["-"]);
}

#[test]
fn json_lines_and_arrays_give_the_same_rows() {
    let expected = "a:Int64 s:Utf8 d:Date32 n:Utf8 x:Boolean
                    1|007|2026-11-21|{\"k\":[1,2]}|-
                    -|y|-|-|true";
    let first = r#"{"a": 1, "s": "007", "d": "2026-11-21", "n": {"k": [1, 2]}}"#;
    let second = r#"{"x": true, "s": "y", "a": null}"#;
    check(&format!("{first}\n\n{second}\n"), expected);
    check(&format!("[{first},\n{second}]\n"), expected);
    check(&format!("{}\n{second}", first.replace(", ", ",\n  ")), expected);
    assert_eq!(input("x", b" [ {}]").unwrap().format(), Format::JsonArray);
    assert_eq!(input("x", b"[a],[b]\n1,2\n").unwrap().format(), Format::Delimited(b','));
    check("{\"a\": \"}\\\"{\"}\n{\n\"a\"\n:\"x\"}\n", "a:Utf8\n}\"{\nx");
    check_refused(b"{\"a\":1}\n{\"a\":}\n", &["line: 2"]);
    check_refused(b"{\"a\":1}\n\n{\"a\":[\n1}\n", &["line: 4"]);
    check_refused(b"{\"a\":1}\n[1]\n", &["line: 2", "object"]);
    check_refused(b"[{\"a\":1},\n{\"a\"]\n", &["line: 2"]);
}

#[test]
fn compressed_text_is_read_as_if_plain() {
    let text = b"id,name\n1,a\n2,b\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&text[..], 1).unwrap();
    let plain = loaded("x", text).unwrap();
    assert_eq!(loaded("x.csv.gz", &gzip).unwrap(), plain);
    assert_eq!(loaded("x.csv.zst", &zstd).unwrap(), plain);
    check_refused(&gzip[..gzip.len() - 9], &["damaged"]);
}

fn batch() -> RecordBatch {
    use arrow::array::{
        Date64Array, DictionaryArray, Int32Array, StringArray, TimestampNanosecondArray,
        UInt64Array,
    };
    use arrow::datatypes::Int32Type;
    let words: DictionaryArray<Int32Type> = vec![Some("a"), None].into_iter().collect();
    RecordBatch::try_from_iter_with_nullable([
        ("i", Arc::new(Int32Array::from(vec![1, 2])) as _, true),
        ("w", Arc::new(words) as _, true),
        ("u", Arc::new(UInt64Array::from(vec![7, 8])) as _, true),
        ("t", Arc::new(TimestampNanosecondArray::from(vec![1_000, 2_000])) as _, true),
        ("d", Arc::new(Date64Array::from(vec![0, 86_400_000])) as _, true),
        ("s", Arc::new(StringArray::from(vec![Some("x"), None])) as _, true),
        ("__rowid__", Arc::new(Int32Array::from(vec![1, 2])) as _, true),
    ])
    .unwrap()
}

fn parquet_bytes(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer =
        ::parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn columnar_files_are_normalised_to_types_that_can_be_stored() {
    let batch = batch();
    let expected = "i:Int32 w:Utf8 u:Int64 t:Timestamp(us) d:Timestamp(ms) s:Utf8
                    1|a|7|1970-01-01T00:00:00.000001|1970-01-01T00:00:00|x
                    2|-|8|1970-01-01T00:00:00.000002|1970-01-02T00:00:00|-";
    let expected: Vec<&str> = expected.lines().map(str::trim).collect();
    let expected = expected.join("\n");
    let parquet = parquet_bytes(&batch);
    assert_eq!(loaded("x", &parquet).unwrap(), expected);
    assert_eq!(loaded("x", &zstd::encode_all(&parquet[..], 1).unwrap()).unwrap(), expected);
    let mut file = Vec::new();
    let mut writer = arrow::ipc::writer::FileWriter::try_new(&mut file, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    assert_eq!(loaded("x", &file).unwrap(), expected);
    let mut stream = Vec::new();
    let mut writer =
        arrow::ipc::writer::StreamWriter::try_new(&mut stream, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    assert_eq!(loaded("x", &stream).unwrap(), expected);
}

#[test]
fn columnar_values_that_would_change_are_refused() {
    use arrow::array::{Int64Array, IntervalYearMonthArray, TimestampNanosecondArray, UInt64Array};
    let one = |array: arrow::array::ArrayRef| {
        let batch = RecordBatch::try_from_iter([("c", array)]).unwrap();
        loaded("x", &parquet_bytes(&batch)).unwrap_err().to_string()
    };
    assert!(one(Arc::new(UInt64Array::from(vec![u64::MAX]))).contains("18446744073709551615"));
    assert!(one(Arc::new(TimestampNanosecondArray::from(vec![1]))).contains("exactly"));
    let interval = one(Arc::new(IntervalYearMonthArray::from(vec![1])));
    assert!(interval.contains("cannot be stored") || interval.contains("Parquet"), "{interval}");
    // Read as the table's type: an integer that a float cannot hold.
    let batch =
        RecordBatch::try_from_iter([("c", Arc::new(Int64Array::from(vec![(1 << 53) + 1])) as _)])
            .unwrap();
    let input = input("x", &parquet_bytes(&batch)).unwrap();
    let target = Arc::new(Schema::new(vec![Field::new("c", DataType::Float64, true)]));
    assert!(rows(&input, &target).is_err());
}

#[test]
fn several_files_are_united() {
    let open = |text: &str| {
        let input = input("x", text.as_bytes()).unwrap();
        let schema = input.schema().unwrap();
        (input, schema)
    };
    let inputs = vec![open("a,b\n1,x\n"), open("b,a,c\ny,1.5,2026-11-21\n")];
    let schema = unify(&inputs);
    let all: Vec<String> = inputs.iter().flat_map(|(i, _)| rows(i, &schema).unwrap()).collect();
    assert_eq!(all, ["1.0|x|-", "1.5|y|2026-11-21"]);
}

#[test]
fn rows_that_nobody_wants_end_the_reading() {
    let input = input("x", b"a\n1\n").unwrap();
    let schema = input.schema().unwrap();
    let outcome = input.read(&schema, &mut |batch| {
        assert_eq!(batch.column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0), 1);
        Err(Error::new(ErrorKind::Full, "no room"))
    });
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Full);
}

/// Reads piece by piece what was cut into tiny chunks and pieces.
fn cut_small(text: &str, chunk: usize, piece: u64) -> Result<(SchemaRef, Vec<String>)> {
    let mut input = input("x.csv", text.as_bytes())?;
    input.sizes = Sizes { chunk, piece };
    let schema = input.schema()?;
    let mut lines = Vec::new();
    for piece in input.pieces()? {
        lines.extend(rows(&piece, &schema)?);
    }
    Ok((schema, lines))
}

/// What the generous reader alone makes of a text.
fn generous(text: &str) -> Result<(SchemaRef, Vec<String>)> {
    let limits = Limits { record_bytes_max: 1 << 20, columns_max: 100 };
    let mut inference = infer::Inference::default();
    let names = delimited::read(text.as_bytes(), b',', limits, &mut |names, record| {
        inference.observe(names, record);
        Ok(())
    })?;
    let schema = inference.finish(&names)?;
    let mut lines = Vec::new();
    let mut batches = batches::Batches::new(&schema);
    let emit: &mut Emit<'_> = &mut |batch| {
        for row in 0..batch.num_rows() {
            lines.push(row_of(&batch, row));
        }
        Ok(())
    };
    delimited::read(text.as_bytes(), b',', limits, &mut |names, record| {
        batches.push(names, record, emit)
    })?;
    batches.finish(emit)?;
    Ok((schema, lines))
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    #[test]
    fn pieces_and_the_fast_parser_change_nothing(
        cells in proptest::collection::vec(
            "|1|-2|7[.]5|true|2026-11-21|2026-11-21T10:00:00Z|x|\"\"|\"a,b\"|\"a\nb\"|\"q\"\"\"|5\" p| 3 |a\rb",
            0..40,
        ),
        ending in "\n|\r\n",
        blank in 0_usize..20,
        chunk in 1_usize..60,
        piece in 1_u64..90,
    ) {
        let mut text = format!("a,b,c{ending}");
        for (row, cells) in cells.chunks(3).enumerate() {
            if row == blank {
                text.push_str(&ending);
            }
            text.push_str(&cells.join(","));
            text.push_str(&ending);
        }
        match (generous(&text), cut_small(&text, chunk, piece)) {
            (Ok(expected), Ok(found)) => proptest::prop_assert_eq!(expected, found),
            (Err(expected), Err(found)) => {
                // The file's name comes last and is no part of the first.
                let (expected, found) = (expected.to_string(), found.to_string());
                let same = found.starts_with(expected.trim_end_matches(')'));
                proptest::prop_assert!(same, "{text:?} {expected} {found}");
            }
            (expected, found) => {
                proptest::prop_assert!(false, "{:?} {:?} {:?}", text, expected, found);
            }
        }
    }
}

#[test]
fn structs_and_empty_bytes_are_read_from_text() {
    let member = Field::new("n", DataType::Int64, true);
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("s", DataType::Struct(vec![member].into()), true),
        Field::new("b", DataType::Binary, true),
    ]));
    // The stray quote sends the whole text to the generous reader.
    for odd in ["", "9,,YQ\n\n"] {
        let text = format!("id,s,b\n1,\"{{\"\"n\"\":5}}\",\"\"\n2,,\n3,\"{{}}\",YQ==\n{odd}");
        let mut batches = Vec::new();
        input("x.csv", text.as_bytes())
            .unwrap()
            .read(&schema, &mut |batch| {
                batches.push(batch);
                Ok(())
            })
            .unwrap();
        let batch = &batches[0];
        let (structs, bytes) = (batch.column(1).as_struct(), batch.column(2).as_binary::<i32>());
        assert_eq!((structs.null_count(), bytes.null_count()), (1 + odd.len().min(1), 1));
        assert_eq!(structs.column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0), 5);
        assert!(bytes.is_valid(0) && bytes.value(0).is_empty() && bytes.is_null(1));
    }
    let refused = input("x.csv", b"id,s,b\n1,\"{\"\"m\"\":5}\",\n").unwrap();
    let error = refused.read(&schema, &mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("there is no member \"m\"") && error.contains("line: 2"), "{error}");
}

#[test]
fn the_first_error_of_a_file_in_pieces_is_the_one_that_is_told() {
    let mut text = "a,b\n".to_owned();
    for row in 0..2_000 {
        text.push_str(if row == 700 || row == 1_500 { "1,2,3\n" } else { "1,2\n" });
    }
    let error = cut_small(&text, 64, 500).unwrap_err().to_string();
    assert!(error.contains("line: 702") || error.contains("line=702"), "{error}");
}

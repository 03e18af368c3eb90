//! Writers against a store and a catalogue in memory.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use object_store::memory::InMemory;

use super::*;
use crate::catalog::EmbeddedCatalog;
use crate::clock::ManualClock;
use crate::csv;
use crate::table::scan::FileReader;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

fn batch(ids: impl Iterator<Item = i64>) -> RecordBatch {
    let ids: Vec<i64> = ids.collect();
    let names: StringArray =
        ids.iter().map(|id| (id % 3 != 0).then(|| format!("n,{}", id % 100))).collect();
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(Int64Array::from(ids)), Arc::new(names)];
    RecordBatch::try_new(schema(), columns).expect("batch")
}

async fn parts() -> WriterParts {
    let clock: SharedClock = Arc::new(ManualClock::new(1_700_000_000_000, 1));
    let catalog = EmbeddedCatalog::memory(clock.clone()).expect("catalogue");
    let table = TableId::parse("acme/shop/orders").expect("id");
    let catalog: SharedCatalog = Arc::new(catalog);
    catalog.create_organization(&table.organization).await.expect("organization");
    catalog.create_super(&table.super_id(), 1).await.expect("super");
    let (objects, system) = (Arc::new(InMemory::new()), SystemColumns::RowIdAndTime);
    WriterParts { objects, catalog, clock, table, system, row_ids_above: 40 }
}

fn text_of(batch: &RecordBatch) -> Vec<u8> {
    let mut text = Vec::new();
    csv::render(batch, &mut text, &mut Vec::new()).expect("render");
    text
}

#[tokio::test]
async fn few_rows_make_one_file_with_as_many_row_ids() {
    let parts = parts().await;
    let mut writer = RowWriter::new(parts.clone(), &schema(), &[]).expect("writer");
    writer.write(batch(0..3)).await.expect("write");
    writer.write(batch(3..3)).await.expect("write nothing");
    writer.write(batch(3..10)).await.expect("write");
    let new = writer.finish().await.expect("finish");
    let [file] = new.files.as_slice() else { panic!("one file") };
    assert_eq!((new.rows, file.file.rows, file.file.columns), (10, 10, 4));
    assert_eq!(file.text_bytes, text_of(&batch(0..10)).len() as u64);
    assert!(file.first_row_id > 40, "above the ids that are known to be taken");
    assert!(new.key_digests.is_empty());
    let next = parts.catalog.reserve_row_ids(&parts.table, 1, 0).await.expect("reserve");
    assert_eq!(next, file.first_row_id + 10, "no id is wasted");

    let zone = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let stored = Arc::new(Schema::new(vec![
        Field::new("__rowid__", DataType::Int64, true),
        Field::new("__timestamp__", zone, true),
        Field::new("name", DataType::Utf8, true),
    ]));
    let reader = FileReader::new(parts.objects.clone(), 1 << 20);
    let rows = reader.read_rows(&file.file, 2..10, &stored).await.expect("read");
    let ids: Vec<i64> = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
    let first = i64::try_from(file.first_row_id).expect("id");
    assert_eq!(ids, (first + 2..first + 10).collect::<Vec<_>>());
    assert_eq!(rows.column(1).null_count(), 0);
    assert_eq!(rows.column(2), batch(2..10).column(1));
    let footer = reader.footer(&file.file).await.expect("footer");
    assert!(footer.has_page_index() && footer.value(csv::FOOTER_KEY).is_some());
    assert_eq!(footer.value(crate::table::scan::PAGES_KEY), Some(footer.pages_digest()).as_deref());
}

#[tokio::test]
async fn no_rows_make_no_file() {
    let writer = RowWriter::new(parts().await, &schema(), &[]).expect("writer");
    let new = writer.finish().await.expect("finish");
    assert!(new.files.is_empty() && new.rows == 0);
}

#[tokio::test]
async fn many_rows_roll_to_a_new_file_and_keep_their_order() {
    let parts = parts().await;
    let mut writer = RowWriter::new(parts.clone(), &schema(), &[]).expect("writer");
    let rows = (1 << 20) + 50_000;
    let mut next = 0;
    while next < rows {
        let end = rows.min(next + 30_011);
        writer.write(batch(next..end)).await.expect("write");
        next = end;
    }
    let new = writer.finish().await.expect("finish");
    let sizes: Vec<u64> = new.files.iter().map(|file| file.file.rows).collect();
    assert_eq!(sizes, [1 << 20, 50_000]);
    let reader = FileReader::new(parts.objects.clone(), 1 << 20);
    let mut expected = 0;
    for file in &new.files {
        for first in (0..u32::try_from(file.file.rows).expect("rows")).step_by(37_000) {
            let rows = first..(first + 10).min(u32::try_from(file.file.rows).expect("rows"));
            let got = reader.read_rows(&file.file, rows.clone(), &schema()).await.expect("read");
            let start = expected + i64::from(rows.start);
            assert_eq!(got, batch(start..start + rows.len() as i64));
        }
        expected += i64::try_from(file.file.rows).expect("rows");
    }
    let (one, two) = (&new.files[0], &new.files[1]);
    assert!(two.first_row_id >= one.first_row_id + one.file.rows);
}

#[tokio::test]
async fn keys_are_digested_in_row_order_and_the_first_null_key_is_noticed() {
    let keys = ["name".to_owned()];
    let mut writer = RowWriter::new(parts().await, &schema(), &keys).expect("writer");
    writer.write(batch(1..3)).await.expect("write");
    writer.write(batch(101..105)).await.expect("write");
    let new = writer.finish().await.expect("finish");
    // Names of 1, 2, 101, 102 (NULL), 103, 104.
    assert_eq!(new.null_key, Some(3));
    let [a, b, c, _, d, e] = new.key_digests.as_slice() else { panic!("six digests") };
    assert!(a == c && a != b && d != e);
    let error = RowWriter::new(parts().await, &schema(), &["nope".to_owned()]).expect_err("none");
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn system_columns_cannot_be_written() {
    let fields = vec![Field::new("__rowid__", DataType::Int64, true)];
    let error = RowWriter::new(parts().await, &Arc::new(Schema::new(fields)), &[]);
    assert_eq!(error.expect_err("refused").kind(), ErrorKind::Invalid);
}

#[test]
fn blocks_of_wide_rows_hold_fewer_rows() {
    assert_eq!(encode::block_rows_for(60), csv::BLOCK_ROWS);
    assert_eq!(encode::block_rows_for(1024), 1024);
    assert_eq!(encode::block_rows_for(u64::MAX >> 20), 16);
}

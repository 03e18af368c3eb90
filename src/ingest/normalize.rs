//! Arrow types of foreign files to the types that can be stored and that the Python library reads
//! back (format spec sections 2.2 and 3.7). Values are kept exactly or refused.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::{Error, Result};
use crate::ingest::shown;

/// The stored type for a foreign one.
///
/// # Errors
/// `Invalid` with the reason if there is none.
pub(super) fn stored_type(foreign: &DataType) -> Result<DataType> {
    use DataType as D;
    Ok(match foreign {
        D::Null => D::Utf8,
        D::Utf8 | D::LargeUtf8 | D::Utf8View => D::Utf8,
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => D::Binary,
        D::Dictionary(_, value) => stored_type(value)?,
        D::RunEndEncoded(_, values) => stored_type(values.data_type())?,
        D::UInt64 => D::Int64,
        D::Float16 => D::Float32,
        D::Date64 => D::Timestamp(TimeUnit::Millisecond, None),
        D::Timestamp(unit, zone) => {
            let unit = match unit {
                TimeUnit::Second | TimeUnit::Millisecond => TimeUnit::Millisecond,
                TimeUnit::Microsecond | TimeUnit::Nanosecond => TimeUnit::Microsecond,
            };
            // The moment stays; only the name of the zone in which it is shown goes.
            D::Timestamp(unit, zone.as_ref().map(|_| "UTC".into()))
        }
        D::Time32(_) | D::Time64(_) => D::Time64(TimeUnit::Microsecond),
        D::Duration(_) => D::Duration(TimeUnit::Microsecond),
        D::Decimal32(precision, scale)
        | D::Decimal64(precision, scale)
        | D::Decimal128(precision, scale)
        | D::Decimal256(precision, scale) => decimal(*precision, *scale)?,
        D::List(field)
        | D::LargeList(field)
        | D::ListView(field)
        | D::LargeListView(field)
        | D::FixedSizeList(field, _) => D::List(stored_field(field)?),
        D::Struct(fields) => {
            D::Struct(fields.iter().map(stored_field).collect::<Result<Vec<_>>>()?.into())
        }
        D::Boolean
        | D::Int8
        | D::Int16
        | D::Int32
        | D::Int64
        | D::UInt8
        | D::UInt16
        | D::UInt32
        | D::Float32
        | D::Float64
        | D::Date32 => foreign.clone(),
        D::Interval(_) | D::Union(..) | D::Map(..) => {
            return Err(Error::invalid(format!(
                "type {foreign} cannot be stored in a SuperTable; cast the column to text first"
            )));
        }
    })
}

fn decimal(precision: u8, scale: i8) -> Result<DataType> {
    let scale_fits = u8::try_from(scale).is_ok_and(|scale| scale <= precision);
    if precision > DECIMAL128_MAX_PRECISION || !scale_fits {
        return Err(Error::invalid(format!(
            "decimal({precision},{scale}) cannot be stored; at most 38 digits, none of them left \
             of the point by a negative scale"
        )));
    }
    Ok(DataType::Decimal128(precision, scale))
}

fn stored_field(field: &Arc<Field>) -> Result<Arc<Field>> {
    Ok(Arc::new(Field::new(field.name(), stored_type(field.data_type())?, true)))
}

/// Casts a column so that casting it back gives the same values.
///
/// # Errors
/// `Invalid` with the row (from 0, within the array) and the value that would change.
pub(super) fn cast_exactly(array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    if array.data_type() == target {
        return Ok(array.clone());
    }
    let source = unwrapped(array)?;
    if source.data_type() == target {
        return Ok(source);
    }
    let source = if *target == DataType::Utf8 { printable(&source) } else { source };
    if !can_cast_types(source.data_type(), target) {
        return Err(Error::invalid(format!(
            "type {} cannot be stored as {target}",
            source.data_type()
        )));
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let failed = |error| Error::invalid(format!("convert to {target}")).caused_by(error);
    let out = cast_with_options(&source, target, &options).map_err(failed)?;
    if let Some(row) = (0..source.len()).find(|row| source.is_valid(*row) && out.is_null(*row)) {
        return Err(changed(&source, row, target));
    }
    if is_lossless(source.data_type(), target) {
        return Ok(out);
    }
    if !can_cast_types(target, source.data_type()) {
        return Ok(out);
    }
    let back = cast_with_options(&out, source.data_type(), &options).map_err(failed)?;
    let differs = distinct(&source, &back).map_err(failed)?;
    match (0..differs.len()).find(|row| differs.value(*row)) {
        Some(row) => Err(changed(&source, row, target)),
        None => Ok(out),
    }
}

/// Dictionaries and run-end encodings as plain columns.
fn unwrapped(array: &ArrayRef) -> Result<ArrayRef> {
    let value = match array.data_type() {
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        DataType::RunEndEncoded(_, values) => values.data_type().clone(),
        _ => return Ok(array.clone()),
    };
    cast_with_options(array, &value, &CastOptions::default())
        .map_err(|error| Error::invalid("decode column").caused_by(error))
}

/// Casts that cannot change a value once they succeed, or whose values have no order to compare.
fn is_lossless(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    if from.is_nested() || to.is_nested() {
        return true;
    }
    match (from, to) {
        (_, D::Utf8) | (D::Null, _) => true,
        (from, D::Binary) => from.is_binary() || matches!(from, D::FixedSizeBinary(_)),
        (from, to) => from.is_integer() && to.is_integer(),
    }
}

/// Zone-aware times under the offset of UTC: Arrow prints only zones that are offsets.
fn printable(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            let utc = DataType::Timestamp(*unit, Some("+00:00".into()));
            cast_with_options(array, &utc, &CastOptions::default())
                .unwrap_or_else(|_| array.clone())
        }
        _ => array.clone(),
    }
}

fn changed(array: &ArrayRef, row: usize, target: &DataType) -> Error {
    let options = FormatOptions::default();
    let value = ArrayFormatter::try_new(&printable(array), &options)
        .ok()
        .and_then(|formatter| formatter.value(row).try_to_string().ok())
        .unwrap_or_default();
    Error::invalid(format!("the value does not fit type {target} exactly"))
        .with("row", row)
        .with("value", shown(&value))
}

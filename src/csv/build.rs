//! Columns of fields to Arrow arrays, one builder for each type.

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanBuilder, GenericStringArray,
    LargeBinaryArray, NullBufferBuilder, OffsetSizeTrait, PrimitiveArray, new_null_array,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{self as types, DataType, TimeUnit};
use arrow::error::ArrowError;
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::sync::Arc;

use super::calendar::Zoned;
use super::codes::{self, Refusal};
use super::fields::{Cell, ColumnFields};
use super::{decimal, moment, nested, number, quote};

/// A refused cell: which row of the fields that were appended, and why.
pub(super) type Refused = (usize, Refusal);

/// Collects the cells of one column.
pub(super) trait ColumnBuilder: std::fmt::Debug + Send {
    /// Converts the fields of a chunk; a refused cell is reported and takes the place of a NULL.
    fn append(&mut self, fields: ColumnFields<'_>, refused: &mut Vec<Refused>);

    /// The array of all cells so far; the builder is empty afterwards.
    fn finish(&mut self) -> Result<ArrayRef, ArrowError>;
}

/// The builder for a type, or nothing for a type without a text.
pub(super) fn builder(data_type: &DataType) -> Option<Box<dyn ColumnBuilder>> {
    macro_rules! primitive {
        ($arrow:ty, $parse:expr) => {
            Box::new(Primitive::<$arrow, _>::new(data_type, $parse))
        };
    }
    macro_rules! integer {
        ($arrow:ty) => {
            primitive!($arrow, |text: &[u8]| number::parse_integer(trim(text)))
        };
    }
    Some(match data_type {
        DataType::Null => Box::new(NullColumn { rows: 0 }),
        DataType::Boolean => Box::new(BooleanColumn { values: BooleanBuilder::new() }),
        DataType::Int8 => integer!(types::Int8Type),
        DataType::Int16 => integer!(types::Int16Type),
        DataType::Int32 => integer!(types::Int32Type),
        DataType::Int64 => integer!(types::Int64Type),
        DataType::UInt8 => integer!(types::UInt8Type),
        DataType::UInt16 => integer!(types::UInt16Type),
        DataType::UInt32 => integer!(types::UInt32Type),
        DataType::UInt64 => integer!(types::UInt64Type),
        DataType::Float16 => primitive!(types::Float16Type, |text: &[u8]| parse_half(trim(text))),
        DataType::Float32 => {
            primitive!(types::Float32Type, |text: &[u8]| number::parse_float(trim(text)))
        }
        DataType::Float64 => {
            primitive!(types::Float64Type, |text: &[u8]| number::parse_double(trim(text)))
        }
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => return decimal_builder(data_type),
        DataType::Utf8 => Box::new(Text::<i32>::default()),
        DataType::LargeUtf8 => Box::new(Text::<i64>::default()),
        DataType::Binary => Box::new(Base64::<i32>::new(None)),
        DataType::LargeBinary => Box::new(Base64::<i64>::new(None)),
        DataType::Utf8View => converted(Box::new(Text::<i32>::default()), data_type),
        DataType::BinaryView => converted(Box::new(Base64::<i32>::new(None)), data_type),
        DataType::FixedSizeBinary(size) => {
            let size = usize::try_from(*size).ok()?;
            converted(Box::new(Base64::<i32>::new(Some(size))), data_type)
        }
        DataType::Dictionary(_, values) => converted(builder(values)?, data_type),
        other if other.is_nested() => Box::new(nested::NestedColumn::new(other)),
        other => return moment_builder(other),
    })
}

fn decimal_builder(data_type: &DataType) -> Option<Box<dyn ColumnBuilder>> {
    macro_rules! decimals {
        ($arrow:ty, $precision:expr, $scale:expr) => {{
            let (precision, scale) = (*$precision, *$scale);
            Box::new(Primitive::<$arrow, _>::new(data_type, move |text: &[u8]| {
                let value = decimal::parse_decimal(trim(text), precision, scale)?;
                value.try_into().map_err(|_| Refusal::new(&codes::OUT_OF_RANGE, "too many digits"))
            }))
        }};
    }
    Some(match data_type {
        DataType::Decimal32(precision, scale) => decimals!(types::Decimal32Type, precision, scale),
        DataType::Decimal64(precision, scale) => decimals!(types::Decimal64Type, precision, scale),
        DataType::Decimal128(precision, scale) => {
            decimals!(types::Decimal128Type, precision, scale)
        }
        DataType::Decimal256(precision, scale) => {
            let (precision, scale) = (*precision, *scale);
            Box::new(Primitive::<types::Decimal256Type, _>::new(data_type, move |text: &[u8]| {
                decimal::parse_decimal256(trim(text), precision, scale)
            }))
        }
        _ => return None,
    })
}

fn moment_builder(data_type: &DataType) -> Option<Box<dyn ColumnBuilder>> {
    match data_type {
        DataType::Timestamp(unit, zone) => {
            let (unit, zoned) = (*unit, zone.as_ref().map_or(Zoned::Naive, |_| Zoned::Utc));
            let parse = move |text: &[u8]| moment::parse_timestamp(text, unit, zoned);
            Some(match unit {
                TimeUnit::Second => moments::<types::TimestampSecondType>(data_type, parse),
                TimeUnit::Millisecond => {
                    moments::<types::TimestampMillisecondType>(data_type, parse)
                }
                TimeUnit::Microsecond => {
                    moments::<types::TimestampMicrosecondType>(data_type, parse)
                }
                TimeUnit::Nanosecond => moments::<types::TimestampNanosecondType>(data_type, parse),
            })
        }
        DataType::Duration(unit) => {
            let unit = *unit;
            let parse = move |text: &[u8]| moment::parse_duration(text, unit);
            Some(match unit {
                TimeUnit::Second => moments::<types::DurationSecondType>(data_type, parse),
                TimeUnit::Millisecond => {
                    moments::<types::DurationMillisecondType>(data_type, parse)
                }
                TimeUnit::Microsecond => {
                    moments::<types::DurationMicrosecondType>(data_type, parse)
                }
                TimeUnit::Nanosecond => moments::<types::DurationNanosecondType>(data_type, parse),
            })
        }
        _ => day_builder(data_type),
    }
}

fn day_builder(data_type: &DataType) -> Option<Box<dyn ColumnBuilder>> {
    Some(match data_type {
        DataType::Date32 => moments::<types::Date32Type>(data_type, moment::parse_date),
        DataType::Date64 => moments::<types::Date64Type>(data_type, moment::parse_date64),
        DataType::Time32(unit) | DataType::Time64(unit) => {
            let unit = *unit;
            let parse = move |text: &[u8]| moment::parse_time(text, unit);
            match unit {
                TimeUnit::Second => moments::<types::Time32SecondType>(data_type, parse),
                TimeUnit::Millisecond => moments::<types::Time32MillisecondType>(data_type, parse),
                TimeUnit::Microsecond => moments::<types::Time64MicrosecondType>(data_type, parse),
                TimeUnit::Nanosecond => moments::<types::Time64NanosecondType>(data_type, parse),
            }
        }
        _ => return None,
    })
}

fn moments<T>(
    data_type: &DataType,
    parse: impl Fn(&[u8]) -> Result<i64, Refusal> + Send + 'static,
) -> Box<dyn ColumnBuilder>
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i64>,
{
    Box::new(Primitive::<T, _>::new(data_type, move |text: &[u8]| parse(trim(text)).and_then(fit)))
}

/// Narrows to the native type of the column.
fn fit<N: TryFrom<i64>>(value: i64) -> Result<N, Refusal> {
    N::try_from(value)
        .map_err(|_| Refusal::new(&codes::OUT_OF_RANGE, "beyond what the column's type can hold"))
}

fn parse_half(text: &[u8]) -> Result<<types::Float16Type as ArrowPrimitiveType>::Native, Refusal> {
    let value = number::parse_float::<f32>(text)?;
    let half = <types::Float16Type as ArrowPrimitiveType>::Native::from_f32(value);
    if value.is_finite() && half.is_infinite() {
        return Err(Refusal::new(&codes::OUT_OF_RANGE, "larger than this float type can hold"));
    }
    Ok(half)
}

/// Removes spaces around values that are not text.
#[inline]
pub(super) fn trim(text: &[u8]) -> &[u8] {
    match text {
        [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => text.trim_ascii(),
        text => text,
    }
}

struct Primitive<T: ArrowPrimitiveType, F> {
    data_type: DataType,
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
    parse: F,
}

impl<T: ArrowPrimitiveType, F> std::fmt::Debug for Primitive<T, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Primitive").field("data_type", &self.data_type).finish_non_exhaustive()
    }
}

impl<T: ArrowPrimitiveType, F> Primitive<T, F> {
    fn new(data_type: &DataType, parse: F) -> Self {
        let nulls = NullBufferBuilder::new(0);
        Self { data_type: data_type.clone(), values: Vec::new(), nulls, parse }
    }
}

impl<T, F> ColumnBuilder for Primitive<T, F>
where
    T: ArrowPrimitiveType,
    F: Fn(&[u8]) -> Result<T::Native, Refusal> + Send,
{
    fn append(&mut self, fields: ColumnFields<'_>, refused: &mut Vec<Refused>) {
        for (row, field) in fields.iter().enumerate() {
            if field.is_null() {
                self.values.push(T::Native::default());
                self.nulls.append_null();
                continue;
            }
            // Numbers hold no quotes: a doubled quote inside cannot convert either way.
            match (self.parse)(field.bytes(fields.text)) {
                Ok(value) => {
                    self.values.push(value);
                    self.nulls.append_non_null();
                }
                Err(refusal) => {
                    refused.push((row, refusal));
                    self.values.push(T::Native::default());
                    self.nulls.append_null();
                }
            }
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let values = ScalarBuffer::from(std::mem::take(&mut self.values));
        let array = PrimitiveArray::<T>::try_new(values, self.nulls.finish())?;
        Ok(Arc::new(array.with_data_type(self.data_type.clone())))
    }
}

#[derive(Debug)]
struct BooleanColumn {
    values: BooleanBuilder,
}

impl ColumnBuilder for BooleanColumn {
    fn append(&mut self, fields: ColumnFields<'_>, refused: &mut Vec<Refused>) {
        for (row, field) in fields.iter().enumerate() {
            let text = trim(field.bytes(fields.text));
            if text.eq_ignore_ascii_case(b"true") {
                self.values.append_value(true);
            } else if text.eq_ignore_ascii_case(b"false") {
                self.values.append_value(false);
            } else {
                self.values.append_null();
                if !field.is_null() {
                    let reason = "neither true nor false";
                    refused.push((row, Refusal::new(&codes::NOT_CONVERTIBLE, reason)));
                }
            }
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(self.values.finish()))
    }
}

#[derive(Debug)]
struct NullColumn {
    rows: usize,
}

impl ColumnBuilder for NullColumn {
    fn append(&mut self, fields: ColumnFields<'_>, refused: &mut Vec<Refused>) {
        for (row, field) in fields.iter().enumerate() {
            self.rows += 1;
            if !field.is_null() {
                let reason = "the column has no type yet and holds NULL only";
                refused.push((row, Refusal::new(&codes::NOT_CONVERTIBLE, reason)));
            }
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(new_null_array(&DataType::Null, std::mem::take(&mut self.rows)))
    }
}

/// Offsets, bytes and validity of a column of variable length.
#[derive(Debug)]
struct Lengths<O> {
    offsets: Vec<O>,
    bytes: Vec<u8>,
    nulls: NullBufferBuilder,
    overflow: bool,
}

impl<O: OffsetSizeTrait> Lengths<O> {
    fn new() -> Self {
        let offsets = vec![O::default()];
        Self { offsets, bytes: Vec::new(), nulls: NullBufferBuilder::new(0), overflow: false }
    }

    /// Ends a cell of which the bytes were appended.
    #[inline]
    fn end_cell(&mut self) {
        match O::from_usize(self.bytes.len()) {
            Some(offset) => self.offsets.push(offset),
            None => self.overflow = true,
        }
    }

    fn take(&mut self) -> Result<Self, ArrowError> {
        let full = std::mem::replace(self, Self::new());
        if full.overflow {
            return Err(ArrowError::OffsetOverflowError(full.bytes.len()));
        }
        Ok(full)
    }
}

#[derive(Debug)]
struct Text<O> {
    cells: Lengths<O>,
}

impl<O: OffsetSizeTrait> Default for Text<O> {
    fn default() -> Self {
        Self { cells: Lengths::new() }
    }
}

impl<O: OffsetSizeTrait> ColumnBuilder for Text<O> {
    fn append(&mut self, fields: ColumnFields<'_>, _refused: &mut Vec<Refused>) {
        let cells = &mut self.cells;
        for field in fields.iter() {
            if field.is_null() {
                cells.nulls.append_null();
            } else {
                let bytes = field.bytes(fields.text);
                if field.is_escaped() {
                    quote::write_unescaped(bytes, &mut cells.bytes);
                } else {
                    cells.bytes.extend_from_slice(bytes);
                }
                cells.nulls.append_non_null();
            }
            cells.end_cell();
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let mut cells = self.cells.take()?;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(cells.offsets));
        let array =
            GenericStringArray::<O>::try_new(offsets, cells.bytes.into(), cells.nulls.finish())?;
        Ok(Arc::new(array))
    }
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Debug)]
struct Base64<O> {
    cells: Lengths<O>,
    size: Option<usize>,
}

impl<O: OffsetSizeTrait> Base64<O> {
    fn new(size: Option<usize>) -> Self {
        Self { cells: Lengths::new(), size }
    }
}

impl<O: OffsetSizeTrait> ColumnBuilder for Base64<O> {
    fn append(&mut self, fields: ColumnFields<'_>, refused: &mut Vec<Refused>) {
        for (row, field) in fields.iter().enumerate() {
            let before = self.cells.bytes.len();
            let mut valid = false;
            if let Cell::Text(text) = field.cell(fields.text) {
                let decoded = BASE64.decode_vec(trim(&text), &mut self.cells.bytes);
                let length = self.cells.bytes.len() - before;
                match (decoded, self.size) {
                    (Ok(()), Some(size)) if size != length => {
                        let reason = format!("{length} bytes where the column keeps {size}");
                        refused.push((row, Refusal::new(&codes::NOT_CONVERTIBLE, reason)));
                    }
                    (Ok(()), _) => valid = true,
                    (Err(_), _) => {
                        refused.push((row, Refusal::new(&codes::NOT_CONVERTIBLE, "not base64")));
                    }
                }
            }
            if !valid {
                self.cells.bytes.truncate(before);
            }
            self.cells.nulls.append(valid);
            self.cells.end_cell();
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let mut cells = self.cells.take()?;
        let nulls = cells.nulls.finish();
        // The arrays are named, as the generic one has no constructor for a chosen offset type
        // that would keep the offsets without a copy.
        if O::IS_LARGE {
            let offsets: Vec<i64> =
                cells.offsets.iter().map(|offset| offset.as_usize() as i64).collect();
            let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
            Ok(Arc::new(LargeBinaryArray::try_new(offsets, cells.bytes.into(), nulls)?))
        } else {
            let offsets: Result<Vec<i32>, _> =
                cells.offsets.iter().map(|offset| i32::try_from(offset.as_usize())).collect();
            let offsets =
                offsets.map_err(|_| ArrowError::OffsetOverflowError(cells.bytes.len()))?;
            let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
            Ok(Arc::new(BinaryArray::try_new(offsets, cells.bytes.into(), nulls)?))
        }
    }
}

/// Builds another type first and converts at the end.
#[derive(Debug)]
struct Converted {
    inner: Box<dyn ColumnBuilder>,
    data_type: DataType,
}

fn converted(inner: Box<dyn ColumnBuilder>, data_type: &DataType) -> Box<dyn ColumnBuilder> {
    Box::new(Converted { inner, data_type: data_type.clone() })
}

impl ColumnBuilder for Converted {
    fn append(&mut self, fields: ColumnFields<'_>, refused: &mut Vec<Refused>) {
        self.inner.append(fields, refused);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        cast(&self.inner.finish()?, &self.data_type)
    }
}

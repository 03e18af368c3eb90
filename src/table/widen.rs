//! What two types of the same column become (format spec sections 3.8 and 11).
//!
//! No value is ever lost by widening, with one exception that the format itself makes: integers
//! beside floats become floats.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// Most digits of a decimal.
const DECIMAL_DIGITS_MAX: u8 = 38;

/// The type that holds the values of both.
pub fn widen(one: &DataType, other: &DataType) -> DataType {
    use DataType::{
        Date32, Decimal128, Duration, Float32, Float64, List, Null, Struct, Timestamp, Utf8,
    };
    if one == other {
        return one.clone();
    }
    match (one, other) {
        (Null, wide) | (wide, Null) => wide.clone(),
        (Float32, Float64) | (Float64, Float32) => Float64,
        (a, b) if a.is_integer() && b.is_integer() => widen_integers(a, b),
        (a, b) if is_number(a) && is_number(b) && (a.is_floating() || b.is_floating()) => Float64,
        (Decimal128(_, _), b) if b.is_integer() => widen_decimals(one, &integer_as_decimal(b)),
        (a, Decimal128(_, _)) if a.is_integer() => widen_decimals(&integer_as_decimal(a), other),
        (Decimal128(_, _), Decimal128(_, _)) => widen_decimals(one, other),
        (Date32, Timestamp(unit, None)) | (Timestamp(unit, None), Date32) => Timestamp(*unit, None),
        (Timestamp(a, zone), Timestamp(b, zone_b)) if zone.is_some() == zone_b.is_some() => {
            Timestamp(finer(*a, *b), zone.clone())
        }
        (Duration(a), Duration(b)) => Duration(finer(*a, *b)),
        (List(a), List(b)) => {
            List(Arc::new(Field::new("item", widen(a.data_type(), b.data_type()), true)))
        }
        (Struct(a), Struct(b)) => Struct(union_fields(a, b)),
        _ => Utf8,
    }
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_integer()
        || data_type.is_floating()
        || matches!(data_type, DataType::Decimal128(_, _))
}

fn bits(data_type: &DataType) -> u8 {
    match data_type {
        DataType::Int8 | DataType::UInt8 => 8,
        DataType::Int16 | DataType::UInt16 => 16,
        DataType::Int32 | DataType::UInt32 => 32,
        _ => 64,
    }
}

fn widen_integers(one: &DataType, other: &DataType) -> DataType {
    let wider = if bits(one) >= bits(other) { one } else { other };
    if one.is_signed_integer() == other.is_signed_integer() {
        return wider.clone();
    }
    let (signed, unsigned) = if one.is_signed_integer() { (one, other) } else { (other, one) };
    if bits(signed) > bits(unsigned) {
        return signed.clone();
    }
    match bits(unsigned) {
        8 => DataType::Int16,
        16 => DataType::Int32,
        32 => DataType::Int64,
        _ => DataType::Decimal128(20, 0),
    }
}

fn integer_as_decimal(integer: &DataType) -> DataType {
    let digits = match bits(integer) {
        8 => 3,
        16 => 5,
        32 => 10,
        _ => 20,
    };
    DataType::Decimal128(digits, 0)
}

fn widen_decimals(one: &DataType, other: &DataType) -> DataType {
    let (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)) = (one, other) else {
        return DataType::Utf8;
    };
    let whole = (i16::from(*p1) - i16::from(*s1)).max(i16::from(*p2) - i16::from(*s2));
    let scale = (*s1).max(*s2);
    match u8::try_from(whole + i16::from(scale)) {
        Ok(precision) if precision <= DECIMAL_DIGITS_MAX => DataType::Decimal128(precision, scale),
        _ => DataType::Utf8,
    }
}

fn finer(one: TimeUnit, other: TimeUnit) -> TimeUnit {
    one.max(other)
}

fn union_fields(one: &Fields, other: &Fields) -> Fields {
    let mut fields: Vec<Field> = one.iter().map(|field| field.as_ref().clone()).collect();
    for field in other {
        match fields.iter_mut().find(|known| known.name() == field.name()) {
            Some(known) => {
                let wide = widen(known.data_type(), field.data_type());
                *known = Field::new(field.name(), wide, true);
            }
            None => fields.push(Field::new(field.name(), field.data_type().clone(), true)),
        }
    }
    Fields::from(fields)
}

/// The columns of both: those of `one` in their order, then the ones that only `other` has.
pub fn union(one: &Schema, other: &Schema) -> SchemaRef {
    Arc::new(Schema::new(union_fields(one.fields(), other.fields())))
}

/// Whether every value of `from` can be shown as `to` without loss.
pub fn fits(from: &DataType, to: &DataType) -> bool {
    widen(from, to) == *to
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType::*;

    #[test]
    fn widening_keeps_every_value() {
        assert_eq!(widen(&Int32, &Int64), Int64);
        assert_eq!(widen(&UInt32, &Int32), Int64);
        assert_eq!(widen(&UInt64, &Int64), Decimal128(20, 0));
        assert_eq!(widen(&UInt8, &Int64), Int64);
        assert_eq!(widen(&Int64, &Float32), Float64);
        assert_eq!(widen(&Int64, &Utf8), Utf8);
        assert_eq!(widen(&Null, &Date32), Date32);
        assert_eq!(widen(&Decimal128(10, 2), &Decimal128(8, 4)), Decimal128(12, 4));
        assert_eq!(widen(&Decimal128(38, 0), &Decimal128(38, 10)), Utf8);
        assert_eq!(widen(&Boolean, &Int64), Utf8);
        assert_eq!(
            widen(&Timestamp(TimeUnit::Millisecond, None), &Timestamp(TimeUnit::Nanosecond, None)),
            Timestamp(TimeUnit::Nanosecond, None)
        );
        assert!(fits(&Int32, &Int64));
        assert!(!fits(&Int64, &Int32));
    }

    #[test]
    fn union_keeps_the_first_order_and_adds_new_columns_last() {
        let one = Schema::new(vec![Field::new("b", Int32, true), Field::new("a", Utf8, true)]);
        let two = Schema::new(vec![Field::new("c", Utf8, true), Field::new("b", Int64, true)]);
        let names: Vec<String> = union(&one, &two)
            .fields()
            .iter()
            .map(|f| format!("{}:{}", f.name(), f.data_type()))
            .collect();
        assert_eq!(names, ["b:Int64", "a:Utf8", "c:Utf8"]);
    }
}

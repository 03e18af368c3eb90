//! One set of columns for several files.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::ingest::Input;

/// The union of the inputs' columns, in order of first appearance. Where types differ the wider
/// one is taken, in the end text.
pub fn unify(inputs: &[(Input, SchemaRef)]) -> SchemaRef {
    let mut fields: Vec<Field> = Vec::new();
    for (_, schema) in inputs {
        for field in schema.fields() {
            match fields.iter_mut().find(|known| known.name() == field.name()) {
                Some(known) => {
                    let wider = wider(known.data_type(), field.data_type());
                    known.set_data_type(wider);
                }
                None => fields.push(field.as_ref().clone()),
            }
        }
    }
    Arc::new(Schema::new(fields))
}

/// The narrowest type that holds the values of both, text if there is no other.
fn wider(a: &DataType, b: &DataType) -> DataType {
    use DataType as D;
    let micros = |zone: &Option<Arc<str>>| D::Timestamp(TimeUnit::Microsecond, zone.clone());
    match (a, b) {
        _ if a == b => a.clone(),
        _ if a.is_integer() && b.is_integer() => D::Int64,
        _ if a.is_floating() && b.is_floating() => D::Float64,
        _ if (a.is_floating() && b.is_integer()) || (a.is_integer() && b.is_floating()) => {
            D::Float64
        }
        (D::Timestamp(_, x), D::Timestamp(_, y)) if x == y => micros(x),
        (D::Timestamp(_, None), D::Date32) | (D::Date32, D::Timestamp(_, None)) => micros(&None),
        (D::Decimal128(p1, s1), D::Decimal128(p2, s2)) => {
            let (Ok(w1), Ok(w2)) = (whole(*p1, *s1), whole(*p2, *s2)) else { return D::Utf8 };
            let scale = *s1.max(s2);
            let precision = w1.max(w2).saturating_add(scale.unsigned_abs());
            if precision <= 38 { D::Decimal128(precision, scale) } else { D::Utf8 }
        }
        _ => D::Utf8,
    }
}

/// Digits left of the point.
fn whole(precision: u8, scale: i8) -> Result<u8, std::num::TryFromIntError> {
    u8::try_from(i16::from(precision) - i16::from(scale))
}

//! Lists, structs and maps from their JSON texts (`members` writes them).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, FixedSizeListArray, GenericListArray, MapArray, NullBufferBuilder,
    OffsetSizeTrait, StructArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::concat;
use arrow::datatypes::{DataType, FieldRef, Fields};
use arrow::error::ArrowError;

use super::build::{ColumnBuilder, Refused, builder};
use super::codes::{self, Refusal};
use super::fields::{Cell, ColumnFields, Field};
use super::json::{self, Json};

/// Collects JSON cells of one nested type.
#[derive(Debug)]
pub(super) struct NestedColumn {
    data_type: DataType,
    chunks: Vec<ArrayRef>,
}

impl NestedColumn {
    pub(super) fn new(data_type: &DataType) -> Self {
        Self { data_type: data_type.clone(), chunks: Vec::new() }
    }
}

impl ColumnBuilder for NestedColumn {
    fn append(&mut self, fields: ColumnFields<'_>, refused: &mut Vec<Refused>) {
        let mut values = Vec::new();
        for (row, field) in fields.iter().enumerate() {
            values.push(match field.cell(fields.text) {
                Cell::Null => None,
                Cell::Text(text) => match json::parse(&text) {
                    // JSON null for a whole cell would be a second text for NULL.
                    Ok(Json::Null) => {
                        refused.push((row, shape("null; leave the cell empty for NULL")));
                        None
                    }
                    Ok(value) => Some(value),
                    Err(reason) => {
                        refused.push((row, shape(reason)));
                        None
                    }
                },
            });
        }
        let cells: Vec<Option<&Json>> = values.iter().map(Option::as_ref).collect();
        if let Ok(array) = build(&self.data_type, &cells) {
            self.chunks.push(array);
            return;
        }
        // Something in the chunk has the wrong shape: row by row, to know where.
        for (row, cell) in cells.iter().enumerate() {
            let array = build(&self.data_type, &[*cell]).unwrap_or_else(|refusal| {
                refused.push((row, refusal));
                new_null_array(&self.data_type, 1)
            });
            self.chunks.push(array);
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let chunks = std::mem::take(&mut self.chunks);
        let arrays: Vec<&dyn Array> = chunks.iter().map(AsRef::as_ref).collect();
        if arrays.is_empty() { Ok(new_null_array(&self.data_type, 0)) } else { concat(&arrays) }
    }
}

fn shape(reason: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(&codes::BAD_JSON, reason)
}

fn arrow_refusal(error: ArrowError) -> Refusal {
    shape(error.to_string())
}

type Built = std::result::Result<ArrayRef, Refusal>;

/// Builds an array of JSON values; `None` and JSON `null` are NULL.
fn build(data_type: &DataType, values: &[Option<&Json>]) -> Built {
    let values: Vec<Option<&Json>> =
        values.iter().map(|value| value.filter(|value| **value != Json::Null)).collect();
    match data_type {
        DataType::List(item) => build_list::<i32>(item, &values),
        DataType::LargeList(item) => build_list::<i64>(item, &values),
        DataType::FixedSizeList(item, size) => build_fixed_list(item, *size, &values),
        DataType::Struct(fields) => build_struct(fields, &values),
        DataType::Map(entries, sorted) => build_map(entries, *sorted, &values),
        leaf => build_leaf(leaf, &values),
    }
}

fn build_field(field: &FieldRef, values: &[Option<&Json>]) -> Built {
    let array = build(field.data_type(), values)?;
    if !field.is_nullable() && array.null_count() > 0 {
        return Err(shape(format!("null where {:?} must have a value", field.name())));
    }
    Ok(array)
}

fn validity(values: &[Option<&Json>]) -> Option<NullBuffer> {
    let mut nulls = NullBufferBuilder::new(values.len());
    for value in values {
        nulls.append(value.is_some());
    }
    nulls.finish()
}

fn items(value: &Json) -> std::result::Result<&[Json], Refusal> {
    match value {
        Json::Array(items) => Ok(items),
        _ => Err(shape("an array is expected")),
    }
}

fn build_list<O: OffsetSizeTrait>(item: &FieldRef, values: &[Option<&Json>]) -> Built {
    let mut children = Vec::new();
    let mut offsets = vec![O::default()];
    for value in values {
        if let Some(value) = value {
            children.extend(items(value)?.iter().map(Some));
        }
        offsets.push(O::from_usize(children.len()).ok_or_else(|| shape("too many items"))?);
    }
    let children = build_field(item, &children)?;
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let list = GenericListArray::try_new(Arc::clone(item), offsets, children, validity(values));
    Ok(Arc::new(list.map_err(arrow_refusal)?))
}

fn build_fixed_list(item: &FieldRef, size: i32, values: &[Option<&Json>]) -> Built {
    let count = usize::try_from(size).unwrap_or(0);
    let mut children = Vec::new();
    let mut absent = Vec::new();
    for value in values {
        match value {
            Some(value) if items(value)?.len() == count => {
                children.extend(items(value)?.iter().map(Some));
            }
            Some(_) => return Err(shape(format!("an array of {count} items is expected"))),
            None => {
                absent.push(children.len());
                children.extend(std::iter::repeat_n(None, count));
            }
        }
    }
    // Items of an absent list are NULL even where items must have values: they are never seen.
    let array = build(item.data_type(), &children)?;
    if !item.is_nullable() && array.null_count() > absent.len() * count {
        return Err(shape("null where an item must have a value"));
    }
    let list = FixedSizeListArray::try_new_with_length(
        Arc::clone(item),
        size,
        array,
        validity(values),
        values.len(),
    );
    Ok(Arc::new(list.map_err(arrow_refusal)?))
}

fn build_struct(fields: &Fields, values: &[Option<&Json>]) -> Built {
    let mut members: Vec<Vec<Option<&Json>>> = vec![vec![None; values.len()]; fields.len()];
    for (row, value) in values.iter().enumerate() {
        let Some(value) = value else { continue };
        let Json::Object(object) = value else { return Err(shape("an object is expected")) };
        for (name, member) in object {
            let place = fields
                .iter()
                .position(|field| field.name() == name)
                .and_then(|index| members.get_mut(index))
                .and_then(|column| column.get_mut(row))
                .ok_or_else(|| shape(format!("there is no member {name:?}")))?;
            if place.replace(member).is_some() {
                return Err(shape(format!("the member {name:?} stands there twice")));
            }
        }
    }
    let present = validity(values);
    let mut columns = Vec::with_capacity(fields.len());
    for (field, column) in fields.iter().zip(&members) {
        let array = build(field.data_type(), column)?;
        let missing = (0..array.len()).any(|row| {
            array.is_null(row) && present.as_ref().is_none_or(|present| present.is_valid(row))
        });
        if missing && !field.is_nullable() {
            return Err(shape(format!("the member {:?} must have a value", field.name())));
        }
        columns.push(array);
    }
    if fields.is_empty() {
        return Ok(Arc::new(StructArray::new_empty_fields(values.len(), present)));
    }
    let array = StructArray::try_new(fields.clone(), columns, present);
    Ok(Arc::new(array.map_err(arrow_refusal)?))
}

fn build_map(entries: &FieldRef, sorted: bool, values: &[Option<&Json>]) -> Built {
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(shape("the column's map type is broken"));
    };
    let [key_field, value_field] = &fields[..] else {
        return Err(shape("the column's map type is broken"));
    };
    let mut names = Vec::new();
    for value in values.iter().flatten() {
        if let Json::Object(members) = value {
            names.extend(members.iter().map(|(name, _)| Json::Text(name.clone())));
        }
    }
    let mut names = names.iter();
    let (mut keys, mut items, mut offsets) = (Vec::new(), Vec::new(), vec![0_i32]);
    for value in values {
        match value {
            None => {}
            Some(Json::Object(members)) => {
                keys.extend(names.by_ref().take(members.len()).map(Some));
                items.extend(members.iter().map(|(_, item)| Some(item)));
            }
            Some(Json::Array(pairs)) => {
                for pair in pairs {
                    let Json::Array(pair) = pair else { return Err(shape("a pair is expected")) };
                    let [key, item] = &pair[..] else { return Err(shape("a pair is expected")) };
                    keys.push(Some(key));
                    items.push(Some(item));
                }
            }
            Some(_) => return Err(shape("an object or an array of pairs is expected")),
        }
        offsets.push(i32::try_from(keys.len()).map_err(|_| shape("too many entries"))?);
    }
    let columns = vec![build_field(key_field, &keys)?, build_field(value_field, &items)?];
    let entry_array = StructArray::try_new(fields.clone(), columns, None).map_err(arrow_refusal)?;
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let map =
        MapArray::try_new(Arc::clone(entries), offsets, entry_array, validity(values), sorted);
    Ok(Arc::new(map.map_err(arrow_refusal)?))
}

/// Scalars go through the builders of plain columns, by the text that they would have as cells.
fn build_leaf(data_type: &DataType, values: &[Option<&Json>]) -> Built {
    let mut text = Vec::new();
    let mut fields = Vec::with_capacity(values.len());
    for value in values {
        let start = text.len();
        match value {
            None => {
                fields.push(Field::NULL);
                continue;
            }
            Some(Json::Literal(value) | Json::Text(value)) => {
                text.extend_from_slice(value.as_bytes());
            }
            Some(_) => return Err(shape("a single value is expected")),
        }
        let field =
            Field::literal(start..text.len()).ok_or_else(|| shape("the text is too long"))?;
        fields.push(field);
    }
    let mut column = builder(data_type).ok_or_else(|| shape("the type has no text"))?;
    let mut refused = Vec::new();
    column.append(ColumnFields { text: &text, fields: &fields, width: 1, column: 0 }, &mut refused);
    match refused.into_iter().next() {
        Some((_, refusal)) => Err(refusal),
        None => column.finish().map_err(arrow_refusal),
    }
}

//! Conditions, evaluated on batches of rows by Arrow's kernels: three-valued logic as in SQL.

use std::collections::BTreeSet;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Datum, PrimitiveArray, RecordBatch,
    Scalar, StringArray,
};
use arrow::compute::kernels::cmp;
use arrow::compute::{and_kleene, cast, is_null, like, not, or_kleene};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use arrow::error::ArrowError;

use crate::error::{Error, Result};

/// A condition whose columns exist and whose values have their columns' types.
#[derive(Debug, Clone)]
pub(super) enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Compare(Operand, Test, Operand),
    Like(String, String),
    IsNull(String),
    Bool(String),
    Constant(bool),
}

/// One side of a comparison.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    /// The name of a column.
    Column(String),
    /// One value.
    Literal(ArrayRef),
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Equal,
    Different,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Test {
    /// The same with its sides exchanged.
    pub(super) fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }

    fn run(self, left: &dyn Datum, right: &dyn Datum) -> Result<BooleanArray, ArrowError> {
        match self {
            Self::Equal => cmp::eq(left, right),
            Self::Different => cmp::neq(left, right),
            Self::Less => cmp::lt(left, right),
            Self::LessOrEqual => cmp::lt_eq(left, right),
            Self::Greater => cmp::gt(left, right),
            Self::GreaterOrEqual => cmp::gt_eq(left, right),
        }
    }
}

impl Node {
    pub(super) fn all(mut nodes: Vec<Self>) -> Self {
        if nodes.len() == 1 { nodes.remove(0) } else { Self::All(nodes) }
    }

    pub(super) fn any(mut nodes: Vec<Self>) -> Self {
        if nodes.len() == 1 { nodes.remove(0) } else { Self::Any(nodes) }
    }

    /// Adds the names of the columns that it looks at.
    pub(super) fn columns<'a>(&'a self, out: &mut BTreeSet<&'a str>) {
        match self {
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().for_each(|node| node.columns(out)),
            Self::Not(node) => node.columns(out),
            Self::Compare(left, _, right) => {
                for side in [left, right] {
                    if let Operand::Column(name) = side {
                        out.insert(name);
                    }
                }
            }
            Self::Like(name, _) | Self::IsNull(name) | Self::Bool(name) => {
                out.insert(name);
            }
            Self::Constant(_) => {}
        }
    }

    /// Its value for each row: true, false or unknown.
    pub(super) fn evaluate(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        match self {
            Self::All(nodes) => joined(nodes, batch, and_kleene),
            Self::Any(nodes) => joined(nodes, batch, or_kleene),
            Self::Not(node) => not(&node.evaluate(batch)?).map_err(failed),
            Self::Compare(left, test, right) => {
                let (left, right) = (left.datum(batch)?, right.datum(batch)?);
                test.run(left.as_ref(), right.as_ref()).map_err(failed)
            }
            Self::Like(name, pattern) => {
                let array = column(batch, name)?;
                let text = cast(&StringArray::from(vec![pattern.as_str()]), &text_type(&array));
                let pattern = Scalar::new(text.map_err(failed)?);
                like(&array, &pattern).map_err(failed)
            }
            Self::IsNull(name) => is_null(&column(batch, name)?).map_err(failed),
            Self::Bool(name) => column(batch, name)?
                .as_boolean_opt()
                .cloned()
                .ok_or_else(|| Error::internal("column is not of type bool")),
            Self::Constant(value) => {
                Ok(std::iter::repeat_n(Some(*value), batch.num_rows()).collect())
            }
        }
    }
}

fn joined(
    nodes: &[Node],
    batch: &RecordBatch,
    join: fn(&BooleanArray, &BooleanArray) -> Result<BooleanArray, ArrowError>,
) -> Result<BooleanArray> {
    let mut joined: Option<BooleanArray> = None;
    for node in nodes {
        let value = node.evaluate(batch)?;
        joined = Some(match joined {
            None => value,
            Some(before) => join(&before, &value).map_err(failed)?,
        });
    }
    joined.ok_or_else(|| Error::internal("condition of nothing"))
}

impl Operand {
    fn datum(&self, batch: &RecordBatch) -> Result<Box<dyn Datum>> {
        Ok(match self {
            Self::Column(name) => Box::new(one_zero(column(batch, name)?)),
            Self::Literal(value) => Box::new(Scalar::new(one_zero(ArrayRef::clone(value)))),
        })
    }
}

/// Arrow orders floats by their bits; in SQL zero has no sign.
fn one_zero(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float16 => std::sync::Arc::new(
            array
                .as_primitive::<Float16Type>()
                .unary::<_, Float16Type>(|value| value + Float16Type::default_value()),
        ),
        DataType::Float32 => {
            let plain: PrimitiveArray<Float32Type> =
                array.as_primitive::<Float32Type>().unary(|value| value + 0.0);
            std::sync::Arc::new(plain)
        }
        DataType::Float64 => {
            let plain: PrimitiveArray<Float64Type> =
                array.as_primitive::<Float64Type>().unary(|value| value + 0.0);
            std::sync::Arc::new(plain)
        }
        _ => array,
    }
}

fn text_type(array: &ArrayRef) -> DataType {
    match array.data_type() {
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        plain => plain.clone(),
    }
}

/// A column of a batch.
pub(super) fn column(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    batch
        .column_by_name(name)
        .cloned()
        .ok_or_else(|| Error::internal("column was not read").with("column", name))
}

/// A kernel that does not take what the parser let through.
pub(super) fn failed(error: ArrowError) -> Error {
    Error::unsupported("the condition cannot be evaluated").caused_by(error)
}

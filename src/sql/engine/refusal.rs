//! Errors of the engine as errors of ours.

use datafusion::common::DataFusionError;

use crate::error::{Error, ErrorKind};

/// What the engine's error means for whoever asked.
pub(super) fn refused(error: DataFusionError) -> Error {
    let root = error.find_root();
    match root {
        DataFusionError::External(inner) => {
            if let Some(own) = inner.downcast_ref::<Error>() {
                // It went through the engine and comes back as what it was.
                return Error::new(own.kind(), own.to_string());
            }
            Error::internal("run query").caused_by(root.strip_backtrace())
        }
        DataFusionError::ResourcesExhausted(_) => Error::new(
            ErrorKind::TooLarge,
            "the query needs more memory than `sql.memory_bytes_max` allows",
        )
        .caused_by(root.strip_backtrace()),
        DataFusionError::NotImplemented(_) => {
            Error::unsupported("the query cannot be run").caused_by(root.strip_backtrace())
        }
        DataFusionError::Internal(_) | DataFusionError::ExecutionJoin(_) => {
            Error::internal("run query").caused_by(root.strip_backtrace())
        }
        _ => Error::invalid("the query is wrong").caused_by(root.strip_backtrace()),
    }
}

/// Our error on its way through the engine.
pub(super) fn outward(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

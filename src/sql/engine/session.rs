//! Sessions: what the engine may use, and how it reads names.

use std::sync::Arc;

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::refusal::refused;
use crate::config::SqlSettings;
use crate::error::Result;

/// Where names of fewer than three parts are registered: no organization and no SuperTable can
/// have this name.
const HERE: &str = "*";

/// Names as they are written, text as plain text, and nothing that describes the process.
fn config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(HERE, HERE)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false);
    let options = config.options_mut();
    // The header line of a file has capitals, and people write what they see.
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    config
}

/// A session that can parse.
pub(super) fn for_parsing() -> SessionState {
    SessionStateBuilder::new_with_default_features().with_config(config()).build()
}

/// A session that can run one query within the limits: memory is counted, and nothing is ever
/// written to a disk.
pub(super) fn for_running(settings: &SqlSettings) -> Result<SessionContext> {
    let memory = usize::try_from(settings.memory_bytes_max).unwrap_or(usize::MAX);
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory)))
        .with_disk_manager_builder(disk)
        .build_arc()
        .map_err(refused)?;
    let state = SessionStateBuilder::new_with_default_features()
        .with_config(config())
        .with_runtime_env(runtime)
        .build();
    Ok(SessionContext::new_with_state(state))
}

/// Catalogue, schema and table that the engine looks a name up under.
pub(super) fn resolved(parts: &[String]) -> [String; 3] {
    let here = || HERE.to_owned();
    match parts {
        [catalog, schema, table] => [catalog.clone(), schema.clone(), table.clone()],
        [schema, table] => [here(), schema.clone(), table.clone()],
        parts => [here(), here(), parts.last().cloned().unwrap_or_default()],
    }
}

//! `<table>/config.toml`: what its text is, and what saving it does. Key columns and the rule for
//! conflicts are kept with the table; the types under `[types]` are its columns'.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

use super::gateway::Vfs;
use super::save::{Save, SaveError};
use super::text::{Frozen, SameBase};
use super::{Caller, FsError, FsResult};
use crate::clock::random_hex;
use crate::csv::{self, Rejection};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::{
    At, ChangeSet, CommitOutcome, NewRows, OnExistingKey, Snapshot, TableConfig, TableId,
};

/// Text up to which the types of all columns are shown: editors write so much in one piece.
const SHOWN_BYTES_MAX: usize = 4 << 10;
/// Code of a refusal of the file itself.
const CODE: &str = "MNT-1320";

/// Why a configuration was not taken.
enum NotTaken {
    /// The file or the rows are at fault.
    Refused(Vec<Rejection>),
    /// Something else is.
    Failed(Error),
}

impl From<Error> for NotTaken {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Vfs {
    /// Checks and commits a table's configuration.
    ///
    /// # Errors
    /// The refusal (recorded for `errors.csv`, the old configuration stays) or the back end's.
    pub(super) async fn save_config(
        &self,
        caller: &Caller,
        table: &TableId,
        text: &[u8],
    ) -> FsResult<()> {
        let outcome = self.configure(caller, table, text).await;
        self.generated_changed();
        match outcome {
            Ok(()) => Ok(()),
            Err(NotTaken::Failed(error)) => Err(error.into()),
            Err(NotTaken::Refused(rejections)) => {
                Err(FsError::Lake(self.refuse_config(caller, table, &rejections).await))
            }
        }
    }

    async fn configure(
        &self,
        caller: &Caller,
        table: &TableId,
        text: &[u8],
    ) -> std::result::Result<(), NotTaken> {
        let who = self.principal(caller);
        let snapshot = self.lake.snapshot(&who, table, At::Latest).await?;
        let (config, schema) = read(text, &snapshot).map_err(|why| NotTaken::Refused(vec![why]))?;
        let changed = (config != snapshot.config).then_some(config);
        if let Some(schema) = schema {
            return self.retype(caller, snapshot, schema, changed).await;
        }
        let Some(config) = changed else { return Ok(()) };
        let change = ChangeSet {
            base: snapshot,
            edits: Vec::new(),
            rows: NewRows::default(),
            schema: None,
            config: Some(config),
            on_existing_key: OnExistingKey::Refuse,
        };
        match self.lake.commit(&who, table, change, "configure", "").await? {
            CommitOutcome::Conflict { .. } => Err(NotTaken::Refused(vec![fault(
                "the rows do not have these keys: a key is NULL or not unique",
                "give every row a key of its own, or choose other key columns",
            )])),
            _ => Ok(()),
        }
    }

    /// Writes all rows anew in columns of other types; each value is taken exactly or refused.
    async fn retype(
        &self,
        caller: &Caller,
        snapshot: Arc<Snapshot>,
        schema: SchemaRef,
        config: Option<TableConfig>,
    ) -> std::result::Result<(), NotTaken> {
        let who = self.principal(caller);
        let view = self.lake.view_of(&snapshot).await?;
        let save = Save {
            lake: &self.lake,
            who: &who,
            table: &snapshot.table,
            text: Frozen::of(&view)?,
            base: Some(view),
            same_base: SameBase::No,
            write_id: random_hex(&*self.clock),
            added_from: None,
        };
        match save.retype(schema, config).await {
            Ok(_) => Ok(()),
            Err(SaveError::Failed(error)) => Err(NotTaken::Failed(error)),
            Err(SaveError::Refused(ErrorKind::Invalid, mut rejections)) => {
                for rejection in rejections.iter_mut().filter(|one| one.column.is_some()) {
                    "change the value first, or choose a type that holds it (text holds every one)"
                        .clone_into(&mut rejection.remedy);
                }
                Err(NotTaken::Refused(rejections))
            }
            Err(SaveError::Refused(..)) => Err(NotTaken::Failed(Error::new(
                ErrorKind::Conflict,
                "rows were changed by somebody else meanwhile; save the file again",
            ))),
        }
    }
}

/// The text of the file.
///
/// # Errors
/// `Internal` if it cannot be written.
pub(super) fn config_text(snapshot: &Snapshot) -> Result<String> {
    let body = toml::to_string(&snapshot.config)
        .map_err(|error| Error::internal("write config.toml").caused_by(error))?;
    let mut text = format!(
        "# Key columns, rules and types of this table; save the file to change them.\n\
         # keys: columns that identify a row, for example [\"id\"]\n\
         # on_conflict: \"refuse\" or \"last-writer-wins\"\n{body}\n\
         # Another type writes all rows anew; every value must fit: int8-int64 uint8-uint32\n\
         # float32 float64 text bool date time timestamp timestamptz decimal(p,s) binary\n\
         [types]\n"
    );
    let before = text.len();
    for field in snapshot.schema.fields() {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let line = format!(
            "{} = {}\n",
            toml_key(field.name()),
            quoted(&csv::type_name(field.data_type()))
        );
        text.push_str(&line);
    }
    if text.len() > SHOWN_BYTES_MAX {
        text.truncate(before);
        text.push_str("# the columns of this table are many: schema.json has their types\n");
    }
    Ok(text)
}

/// A column name as a key of a table.
fn toml_key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) {
        return name.to_owned();
    }
    // Not in single quotes, which cannot hold every name.
    let mut key = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => key.extend(['\\', c]),
            c if c.is_control() => key.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => key.push(c),
        }
    }
    key.push('"');
    key
}

/// What a text asks for: the configuration, and the columns if types are to change.
fn read(
    text: &[u8],
    snapshot: &Snapshot,
) -> std::result::Result<(TableConfig, Option<SchemaRef>), Rejection> {
    const SYNTAX: &str = "write it as in the comments of the file; schema.json has the columns";
    let text = std::str::from_utf8(text)
        .map_err(|_| fault("config.toml is not UTF-8", "save it in UTF-8"))?;
    let unreadable = |error: toml::de::Error| {
        fault(&format!("config.toml cannot be read: {}", error.message()), SYNTAX)
    };
    let mut whole: toml::Table = toml::from_str(text).map_err(unreadable)?;
    let types = whole.remove("types");
    let config: TableConfig = whole.try_into().map_err(unreadable)?;
    for key in &config.keys {
        if snapshot.schema.field_with_name(key).is_err() {
            let why = format!("the key column {key:?} does not exist");
            return Err(fault(&why, "schema.json has the columns of the table"));
        }
    }
    let types = match types {
        None => return Ok((config, None)),
        Some(toml::Value::Table(types)) => types,
        Some(_) => return Err(fault("types is no table of columns and types", SYNTAX)),
    };
    Ok((config, retyped(&types, &snapshot.schema)?))
}

/// The columns with the types that were asked for; `None` if they have them.
fn retyped(
    types: &toml::Table,
    schema: &SchemaRef,
) -> std::result::Result<Option<SchemaRef>, Rejection> {
    let unknown = types.keys().find(|name| schema.field_with_name(name).is_err());
    if let Some(name) = unknown {
        let why = format!("the column {name:?} under [types] does not exist");
        return Err(fault(&why, "add and rename columns in the header line of the table's file"));
    }
    let mut fields: Vec<Field> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let now = csv::type_name(field.data_type());
        let wanted = match types.get(field.name()) {
            None => now.as_str(),
            Some(toml::Value::String(wanted)) => wanted,
            Some(_) => {
                let why = format!("the type of the column {:?} is no text", field.name());
                return Err(fault(&why, "write it in quotes, for example \"float64\""));
            }
        };
        let data_type = if wanted == now {
            field.data_type().clone()
        } else {
            csv::type_named(wanted).map_err(|error| {
                fault(&error.to_string(), "use one of the types in the comments of the file")
            })?
        };
        fields.push(field.as_ref().clone().with_data_type(data_type));
    }
    let wanted = Schema::new_with_metadata(fields, schema.metadata().clone());
    Ok((wanted != **schema).then(|| Arc::new(wanted)))
}

fn fault(reason: &str, remedy: &str) -> Rejection {
    super::plan::rejection(CODE, reason, remedy)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("a \"b\"\n", DataType::Utf8, true),
        ]))
    }

    #[test]
    fn every_column_name_is_a_key() {
        for name in ["id", "a b", "a\"b\\c", "x\ny\t\u{7f}", "\u{e4}", "'", "", "a.b"] {
            let text = format!("[types]\n{} = \"text\"\n", toml_key(name));
            let read: toml::Table = toml::from_str(&text).expect(&text);
            assert_eq!(read["types"][name].as_str(), Some("text"), "{text}");
        }
    }

    #[test]
    fn only_types_that_differ_are_a_change() {
        let types = |text: &str| -> toml::Table { toml::from_str(text).unwrap() };
        assert_eq!(retyped(&types("id = 'int64'"), &schema()).unwrap(), None);
        assert_eq!(retyped(&types("id = 'bigint'"), &schema()).unwrap(), None);
        let wider = retyped(&types("id = 'decimal(20,2)'"), &schema()).unwrap().unwrap();
        assert_eq!(*wider.field(0).data_type(), DataType::Decimal128(20, 2));
        assert_eq!(wider.field(1), schema().field(1));
        for wrong in ["id = 'int46'", "id = 64", "none = 'int64'"] {
            assert!(retyped(&types(wrong), &schema()).is_err(), "{wrong}");
        }
    }
}

//! `Table` and `Column`, and their only wire form: an Arrow schema whose metadata carries what Arrow has no place for.

use std::sync::Arc;

use arrow::datatypes::{Field, Metadata, Schema, SchemaRef};

use crate::extension::Extension;
use crate::wire::WireError;

/// The column that identifies a row in every destination.
pub const CQ_ID: &str = "_cq_id";
/// The column that holds the `_cq_id` of the parent table's row.
pub const CQ_PARENT_ID: &str = "_cq_parent_id";

/// Metadata keys (CloudQuery plugin SDK, package `schema`).
pub(crate) mod key {
    pub(crate) const TABLE_NAME: &str = "cq:table_name";
    pub(crate) const TITLE: &str = "cq:table_title";
    pub(crate) const DESCRIPTION: &str = "cq:table_description";
    pub(crate) const PARENT: &str = "cq:table_depends_on";
    pub(crate) const PAID: &str = "cq:table_paid";
    pub(crate) const PERMISSIONS: &str = "cq:table_permissions_needed";
    pub(crate) const SENSITIVE: &str = "cq:table_sensitive_columns";
    pub(crate) const CONSTRAINT: &str = "cq:extension:constraint_name";
    /// On a schema: the table is incremental. On a field: the column is the incremental key.
    pub(crate) const INCREMENTAL: &str = "cq:extension:incremental";
    pub(crate) const PRIMARY_KEY: &str = "cq:extension:primary_key";
    pub(crate) const PRIMARY_KEY_COMPONENT: &str = "cq:extension:primary_key_component";
    pub(crate) const UNIQUE: &str = "cq:extension:unique";
    pub(crate) const TYPE_SCHEMA: &str = "cq:extension:type_schema";
}

/// A table as CloudQuery sees it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// Unique among the tables of the plugin.
    pub name: String,
    /// For people; may be empty.
    pub title: String,
    /// For people; may be empty.
    pub description: String,
    /// In the order in which records have them.
    pub columns: Vec<Column>,
    /// The table that this one is a child of.
    pub parent: Option<String>,
    /// A sync sends a part of the rows. With a state backend the caller then does not delete what was not sent.
    pub incremental: bool,
    /// Whether CloudQuery bills its rows.
    pub paid: bool,
    /// Permissions that reading it takes; for documentation.
    pub permissions_needed: Vec<String>,
    /// Names of columns that may hold secrets.
    pub sensitive_columns: Vec<String>,
    /// Name of the primary key constraint; empty leaves it to the destination.
    pub constraint_name: String,
}

/// A column of a [`Table`].
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent flags of the protocol"
)]
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Name, type, nullability and the metadata of extension types, also of nested fields. All other metadata of
    /// the field goes on the wire as it is: drop what came from a file.
    pub field: Field,
    /// Part of the primary key.
    pub primary_key: bool,
    /// No two rows have the same value.
    pub unique: bool,
    /// The column by which an incremental table remembers how far it got.
    pub incremental_key: bool,
    /// `_cq_id` is computed from this column.
    pub primary_key_component: bool,
    /// The shape of a JSON column, as JSON text.
    pub type_schema: Option<String>,
}

impl Column {
    /// A plain column.
    #[must_use]
    pub fn new(field: Field) -> Self {
        Self {
            field,
            primary_key: false,
            unique: false,
            incremental_key: false,
            primary_key_component: false,
            type_schema: None,
        }
    }

    /// The column's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.field.name()
    }

    fn to_field(&self) -> Field {
        let mut metadata = self.field.metadata().clone();
        for (key, flag) in [
            (key::PRIMARY_KEY, self.primary_key),
            (key::UNIQUE, self.unique),
            (key::INCREMENTAL, self.incremental_key),
            (key::PRIMARY_KEY_COMPONENT, self.primary_key_component),
        ] {
            metadata.insert(key, flag.to_string());
        }
        metadata.insert(
            key::TYPE_SCHEMA,
            self.type_schema.clone().unwrap_or_default(),
        );
        self.field.clone().with_metadata(metadata)
    }

    fn from_field(field: &Field) -> Self {
        let mut metadata = field.metadata().clone();
        let type_schema = metadata.remove(key::TYPE_SCHEMA);
        let mut flag = |key| take_flag(&mut metadata, key);
        Self {
            primary_key: flag(key::PRIMARY_KEY),
            unique: flag(key::UNIQUE),
            incremental_key: flag(key::INCREMENTAL),
            primary_key_component: flag(key::PRIMARY_KEY_COMPONENT),
            type_schema: type_schema.filter(|text| !text.is_empty()),
            field: field.clone().with_metadata(metadata),
        }
    }
}

/// The `_cq_id` column: a UUID, not null, unique, the primary key. A table with another primary key clears the flag.
#[must_use]
pub fn id_column() -> Column {
    Column {
        primary_key: true,
        unique: true,
        ..Column::new(Extension::Uuid.field(CQ_ID, false))
    }
}

/// The `_cq_parent_id` column: a UUID, null in tables without a parent.
#[must_use]
pub fn parent_id_column() -> Column {
    Column::new(Extension::Uuid.field(CQ_PARENT_ID, true))
}

impl Table {
    /// A table with these columns and nothing else.
    #[must_use]
    pub fn new(name: impl Into<String>, columns: Vec<Column>) -> Self {
        Self {
            name: name.into(),
            columns,
            ..Self::default()
        }
    }

    /// The Arrow schema for the wire; every record of the table must carry the same one.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let mut metadata = Metadata::from([
            (key::TABLE_NAME, self.name.clone()),
            (key::TITLE, self.title.clone()),
            (key::DESCRIPTION, self.description.clone()),
            (key::CONSTRAINT, self.constraint_name.clone()),
            (key::PERMISSIONS, json_list(&self.permissions_needed)),
            (key::SENSITIVE, json_list(&self.sensitive_columns)),
        ]);
        // These three are absent, not "false", in what the Go SDK writes.
        if let Some(parent) = &self.parent {
            metadata.insert(key::PARENT, parent.clone());
        }
        for (key, flag) in [(key::INCREMENTAL, self.incremental), (key::PAID, self.paid)] {
            if flag {
                metadata.insert(key, true.to_string());
            }
        }
        let fields: Vec<Field> = self.columns.iter().map(Column::to_field).collect();
        Arc::new(Schema::new_with_metadata(fields, metadata))
    }

    /// Reads a table from a schema. Only the name must be there; anything but `true` is false.
    pub fn from_schema(schema: &Schema) -> Result<Self, WireError> {
        let mut metadata = schema.metadata().clone();
        let mut take = |key| metadata.remove(key).unwrap_or_default();
        let name = take(key::TABLE_NAME);
        if name.is_empty() {
            return Err(WireError::NoTableName);
        }
        Ok(Self {
            name,
            title: take(key::TITLE),
            description: take(key::DESCRIPTION),
            constraint_name: take(key::CONSTRAINT),
            parent: Some(take(key::PARENT)).filter(|parent| !parent.is_empty()),
            permissions_needed: parse_list(key::PERMISSIONS, &take(key::PERMISSIONS))?,
            sensitive_columns: parse_list(key::SENSITIVE, &take(key::SENSITIVE))?,
            incremental: take_flag(&mut metadata, key::INCREMENTAL),
            paid: take_flag(&mut metadata, key::PAID),
            columns: schema
                .fields()
                .iter()
                .map(|f| Column::from_field(f))
                .collect(),
        })
    }
}

fn take_flag(metadata: &mut Metadata, key: &str) -> bool {
    metadata.remove(key).is_some_and(|text| text == "true")
}

/// Go writes a nil slice as `null`.
fn json_list(texts: &[String]) -> String {
    if texts.is_empty() {
        return "null".to_owned();
    }
    serde_json::Value::from(texts.to_vec()).to_string()
}

fn parse_list(key: &'static str, text: &str) -> Result<Vec<String>, WireError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str::<Option<Vec<String>>>(text)
        .map(Option::unwrap_or_default)
        .map_err(|source| WireError::Metadata { key, source })
}

#[cfg(test)]
mod tests;

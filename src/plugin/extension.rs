//! The four Arrow extension types that CloudQuery's destinations know, with the exact texts that the Go side compares.
//! They are not Arrow's canonical `arrow.uuid` and `arrow.json`, which destinations do not map.

use arrow::datatypes::{DataType, Field};

/// The field metadata key of an extension type's name (Arrow columnar format, "Extension Types").
pub(crate) const NAME_KEY: &str = "ARROW:extension:name";
/// The field metadata key of an extension type's parameters.
pub(crate) const METADATA_KEY: &str = "ARROW:extension:metadata";

/// A CloudQuery extension type (CloudQuery plugin SDK, package `types`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extension {
    /// 16 raw bytes.
    Uuid,
    /// JSON as UTF-8 text, in a binary column.
    Json,
    /// A network in CIDR notation as text, in a binary column.
    Inet,
    /// The raw bytes of a hardware address.
    Mac,
}

impl Extension {
    const ALL: [Self; 4] = [Self::Uuid, Self::Json, Self::Inet, Self::Mac];

    /// The type's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Json => "json",
            Self::Inet => "inet",
            Self::Mac => "mac",
        }
    }

    /// The metadata text; a Go reader refuses the column when it differs.
    #[must_use]
    pub fn metadata(self) -> &'static str {
        match self {
            Self::Uuid => "uuid-serialized",
            Self::Json => "json-serialized",
            Self::Inet => "inet-serialized",
            Self::Mac => "mac-serialized",
        }
    }

    /// How the values lie in memory; a Go reader refuses the column when it differs.
    #[must_use]
    pub fn storage(self) -> DataType {
        match self {
            Self::Uuid => DataType::FixedSizeBinary(16),
            Self::Json | Self::Inet | Self::Mac => DataType::Binary,
        }
    }

    /// A field of this type.
    #[must_use]
    pub fn field(self, name: impl Into<String>, nullable: bool) -> Field {
        Field::new(name, self.storage(), nullable)
            .with_metadata([(NAME_KEY, self.name()), (METADATA_KEY, self.metadata())])
    }

    /// The extension type of a field: name, metadata and storage must all be right.
    #[must_use]
    pub fn of(field: &Field) -> Option<Self> {
        let text = |key| field.metadata().get(key).map(String::as_str);
        Self::ALL.into_iter().find(|e| {
            text(NAME_KEY) == Some(e.name())
                && text(METADATA_KEY) == Some(e.metadata())
                && *field.data_type() == e.storage()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_recognised_only_when_all_of_it_fits() {
        for extension in Extension::ALL {
            let field = extension.field("c", true);
            assert_eq!(Extension::of(&field), Some(extension));
            assert_eq!(
                Extension::of(&field.clone().with_data_type(DataType::Utf8)),
                None
            );
            assert_eq!(
                Extension::of(&Field::new("c", extension.storage(), true)),
                None
            );
        }
    }
}

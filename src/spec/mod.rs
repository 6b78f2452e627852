//! What the user wrote (`Spec`) and what the plugin works with (`Settings`).
//!
//! Parsing happens here and nowhere else: past `Settings` nothing checks an option again. The JSON Schema
//! that `validate-config` and editors use is derived from the same struct. No I/O.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::catalog::{Mapping, Rules};
use crate::s3;

mod keys;
#[cfg(test)]
mod tests;

/// Rows of one insert message when `rows_per_record` is left out: what users of the Go plugin know.
pub const DEFAULT_ROWS_PER_RECORD: u32 = 500;
/// Objects read at once when `concurrency` is left out.
pub const DEFAULT_CONCURRENCY: usize = 50;
/// What a negative `concurrency` means: about what one client can keep busy before S3 answers `SlowDown`.
pub const MAX_CONCURRENCY: usize = 256;
/// Bytes that fetched and decoded data may occupy when `max_memory` is left out.
pub const DEFAULT_MAX_MEMORY: u64 = 256 << 20;
/// Below this not even one insert message of the usual size fits beside its source bytes.
pub const MIN_MAX_MEMORY: u64 = 32 << 20;
/// Objects that `on_error: skip` tolerates when `max_errors` is left out.
pub const DEFAULT_MAX_ERRORS: u32 = 10;

/// The options of the source, as written under `spec.spec` of a CloudQuery source.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "cq-source-s3 spec", extend("required" = ["bucket"]))]
pub struct Spec {
    /// Name of the bucket to read.
    #[schemars(length(min = 1))]
    bucket: String,
    /// AWS region of the bucket; found by asking S3 when left out.
    region: Option<String>,
    /// Profile of the shared AWS configuration files to take credentials and region from.
    local_profile: Option<String>,
    /// Only keys that start with this text are read.
    path_prefix: Option<String>,
    /// Format of the files; keys that do not end in `.parquet` (in any case) are skipped.
    filetype: Option<FileType>,
    /// Most rows of one record batch sent to CloudQuery (default 500).
    #[schemars(range(min = 1))]
    rows_per_record: Option<i64>,
    /// Most objects read at the same time (default 50); a negative number means the most the plugin allows, 256.
    concurrency: Option<i64>,
    /// URL of an S3-compatible store, such as `http://localhost:9000`.
    endpoint: Option<String>,
    /// Put the bucket into the path of the URL instead of the host name; most S3-compatible stores need it.
    use_path_style: Option<bool>,
    /// The Go plugin's name of `use_path_style`.
    path_style: Option<bool>,
    /// Credentials other than those of the AWS default chain.
    credentials: Option<CredentialsSpec>,
    /// Read a public bucket without credentials.
    no_sign_request: Option<bool>,
    /// Skip keys with a path segment that starts with `_` or `.` after `path_prefix` (default true).
    skip_hidden_files: Option<bool>,
    /// Which keys make which table, where the directory name does not do.
    tables: Option<Vec<TableSpec>>,
    /// Whether an object that cannot be read fails the sync at its end (`fail`, the default) or is only reported (`skip`).
    on_error: Option<OnError>,
    /// With `on_error: skip`: more failed objects than this fail the sync (default 10).
    #[schemars(range(min = 0))]
    max_errors: Option<i64>,
    /// Bytes that fetched and decoded data may occupy, as a number or as text such as `512MiB` (default 256MiB).
    max_memory: Option<Size>,
}

/// Credentials, by the names of CloudQuery's S3 destination.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CredentialsSpec {
    /// Profile of the shared AWS configuration files.
    local_profile: Option<String>,
    /// ARN of a role to assume.
    role_arn: Option<String>,
    /// Name of the session of the assumed role.
    role_session_name: Option<String>,
    /// External id that the role's trust policy asks for.
    external_id: Option<String>,
}

/// One table named by the user.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// Name of the table, taken as it stands.
    #[schemars(length(min = 1))]
    name: String,
    /// Keys that start with one of these belong to the table; the longest match over all tables wins.
    #[schemars(length(min = 1))]
    prefixes: Vec<String>,
}

/// Formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileType {
    /// Apache Parquet.
    Parquet,
}

/// What a failed object does to the sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The sync goes on with the other objects and ends with an error.
    Fail,
    /// The object is reported and left out, up to `max_errors` of them.
    Skip,
}

/// A number of bytes, or text with a unit.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Size {
    Bytes(u64),
    Text(String),
}

/// The options resolved: every value checked, every default filled in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How to reach the bucket.
    pub s3: s3::Config,
    /// Only keys that start with this are listed.
    pub prefix: String,
    /// Which keys become which table.
    pub rules: Rules,
    /// Most rows of one insert.
    pub rows_per_record: NonZeroU32,
    /// Most objects read at once.
    pub concurrency: NonZeroUsize,
    /// Failed objects that the sync tolerates; `None` means that any failure fails it.
    pub max_errors: Option<u32>,
    /// Bytes of fetched and decoded data.
    pub max_memory: u64,
}

/// Why a spec was refused.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum SpecError {
    /// The text is not JSON at all.
    #[error("the spec is not valid JSON: {0}")]
    Json(String),
    /// An option that does not exist.
    #[error("unknown option `{key}`{}", hint.as_ref().map_or_else(String::new, |near| format!(": did you mean `{near}`?")))]
    UnknownKey {
        /// Path of the option.
        key: String,
        /// The existing option nearest to it.
        hint: Option<String>,
    },
    /// A value of the wrong type or out of range.
    #[error("`{field}`: {reason}")]
    Invalid {
        /// Path of the option.
        field: String,
        /// What was wrong and what is allowed.
        reason: String,
    },
}

fn invalid(field: &str, reason: impl Into<String>) -> SpecError {
    SpecError::Invalid {
        field: field.to_owned(),
        reason: reason.into(),
    }
}

impl Settings {
    /// Parses the JSON that CloudQuery sends; `null` (no spec at all) is read as `{}`.
    pub fn parse(json: &[u8]) -> Result<Self, SpecError> {
        let value = serde_json::from_slice(json).map_err(|e| SpecError::Json(e.to_string()))?;
        Self::from_value(value)
    }

    /// The same from a value that is already parsed.
    pub fn from_value(value: serde_json::Value) -> Result<Self, SpecError> {
        let value = keys::prepare(value)?;
        let spec: Spec = serde_path_to_error::deserialize(value).map_err(|e| {
            let field = e.path().to_string();
            invalid(&field, e.into_inner().to_string())
        })?;
        spec.resolve()
    }
}

/// JSON Schema (draft 2020-12) of the spec, as text.
#[must_use]
pub fn json_schema() -> String {
    schemars::schema_for!(Spec).to_value().to_string()
}

impl Spec {
    fn resolve(self) -> Result<Settings, SpecError> {
        let s3 = self.s3_config()?;
        let prefix = self.path_prefix.unwrap_or_default();
        let rules = Rules {
            hidden_after: self
                .skip_hidden_files
                .unwrap_or(true)
                .then_some(prefix.len()),
            mapping: mapping(self.tables.unwrap_or_default())?,
        };
        let rows = self
            .rows_per_record
            .unwrap_or(i64::from(DEFAULT_ROWS_PER_RECORD));
        let rows_per_record = u32::try_from(rows)
            .ok()
            .and_then(NonZeroU32::new)
            .ok_or_else(|| invalid("rows_per_record", format!("{rows} is not allowed: it must be at least 1; leave it out for {DEFAULT_ROWS_PER_RECORD}")))?;
        Ok(Settings {
            s3,
            prefix,
            rules,
            rows_per_record,
            concurrency: concurrency(self.concurrency)?,
            max_errors: max_errors(self.on_error, self.max_errors)?,
            max_memory: max_memory(self.max_memory)?,
        })
    }

    fn s3_config(&self) -> Result<s3::Config, SpecError> {
        if self.bucket.is_empty() {
            return Err(invalid(
                "bucket",
                "is required: the name of the bucket to read",
            ));
        }
        if self.bucket.contains('/') || self.bucket.contains("://") {
            return Err(invalid(
                "bucket",
                format!(
                    "{:?} is not a bucket name: give the name alone, and keys in `path_prefix`",
                    self.bucket
                ),
            ));
        }
        if let Some(endpoint) = &self.endpoint
            && !(endpoint.starts_with("http://") || endpoint.starts_with("https://"))
        {
            return Err(invalid(
                "endpoint",
                format!(
                    "{endpoint:?} is not a URL: write it as http://host:port or https://host:port"
                ),
            ));
        }
        let credentials = self.credentials.clone().unwrap_or_default();
        let no_sign_request = self.no_sign_request.unwrap_or(false);
        if no_sign_request && (self.credentials.is_some() || self.local_profile.is_some()) {
            return Err(invalid(
                "no_sign_request",
                "reads without credentials, so it excludes `credentials` and `local_profile`",
            ));
        }
        let role = match credentials.role_arn {
            Some(role_arn) => Some(s3::AssumeRole {
                role_arn,
                external_id: credentials.external_id,
                session_name: credentials.role_session_name,
            }),
            None if credentials.external_id.is_some()
                || credentials.role_session_name.is_some() =>
            {
                return Err(invalid(
                    "credentials",
                    "`external_id` and `role_session_name` need a `role_arn`",
                ));
            }
            None => None,
        };
        let profile = agree(
            "local_profile",
            self.local_profile.clone(),
            "credentials.local_profile",
            credentials.local_profile,
        )?;
        let path_style = agree(
            "use_path_style",
            self.use_path_style,
            "path_style",
            self.path_style,
        )?;
        Ok(s3::Config {
            bucket: self.bucket.clone(),
            region: self.region.clone().filter(|region| !region.is_empty()),
            endpoint: self.endpoint.clone(),
            path_style: path_style.unwrap_or(false),
            no_sign_request,
            credentials: s3::Credentials {
                profile: profile.filter(|name| !name.is_empty()),
                role,
            },
            max_requests: concurrency(self.concurrency)?,
        })
    }
}

/// One value from two options that mean the same.
fn agree<T: PartialEq>(
    name: &str,
    a: Option<T>,
    other: &str,
    b: Option<T>,
) -> Result<Option<T>, SpecError> {
    match (a, b) {
        (Some(a), Some(b)) if a != b => Err(invalid(
            name,
            format!("says something else than `{other}`: keep one of them"),
        )),
        (a, b) => Ok(a.or(b)),
    }
}

fn concurrency(written: Option<i64>) -> Result<NonZeroUsize, SpecError> {
    let number = match written {
        None => DEFAULT_CONCURRENCY,
        Some(n) if n < 0 => MAX_CONCURRENCY,
        Some(n) => usize::try_from(n)
            .unwrap_or(MAX_CONCURRENCY)
            .min(MAX_CONCURRENCY),
    };
    NonZeroUsize::new(number)
        .ok_or_else(|| invalid("concurrency", format!("0 is not allowed: 1 reads one object at a time, a negative number means {MAX_CONCURRENCY}, leave it out for {DEFAULT_CONCURRENCY}")))
}

fn max_errors(on_error: Option<OnError>, written: Option<i64>) -> Result<Option<u32>, SpecError> {
    match (on_error.unwrap_or(OnError::Fail), written) {
        (OnError::Fail, None) => Ok(None),
        (OnError::Fail, Some(_)) => Err(invalid(
            "max_errors",
            "has a meaning only with `on_error: skip`",
        )),
        (OnError::Skip, None) => Ok(Some(DEFAULT_MAX_ERRORS)),
        (OnError::Skip, Some(n)) => u32::try_from(n).map(Some).map_err(|_| {
            invalid(
                "max_errors",
                format!("{n} is not allowed: it must be 0 or more"),
            )
        }),
    }
}

fn max_memory(written: Option<Size>) -> Result<u64, SpecError> {
    let bytes = match written {
        None => DEFAULT_MAX_MEMORY,
        Some(Size::Bytes(bytes)) => bytes,
        Some(Size::Text(text)) => text
            .parse::<bytesize::ByteSize>()
            .map_err(|_| {
                invalid(
                    "max_memory",
                    format!(
                        "{text:?} is not a size: write bytes as a number, or text such as 512MiB"
                    ),
                )
            })?
            .as_u64(),
    };
    if bytes < MIN_MAX_MEMORY {
        return Err(invalid(
            "max_memory",
            format!("{bytes} bytes are too few: the least is 32MiB"),
        ));
    }
    Ok(bytes)
}

fn mapping(tables: Vec<TableSpec>) -> Result<Mapping, SpecError> {
    let mut prefixes = BTreeMap::new();
    for (i, table) in tables.into_iter().enumerate() {
        if table.name.is_empty() {
            return Err(invalid(&format!("tables[{i}].name"), "must not be empty"));
        }
        if table.prefixes.is_empty() {
            return Err(invalid(
                &format!("tables[{i}].prefixes"),
                "must name at least one prefix",
            ));
        }
        for prefix in table.prefixes {
            if let Some(other) = prefixes.insert(prefix.clone(), table.name.clone())
                && other != table.name
            {
                return Err(invalid(
                    &format!("tables[{i}].prefixes"),
                    format!("{prefix:?} belongs to table {other:?} already"),
                ));
            }
        }
    }
    Ok(Mapping::new(prefixes))
}

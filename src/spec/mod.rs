//! What the user wrote (`Spec`) and what the plugin works with (`Settings`).
//!
//! Parsing happens here and nowhere else: past `Settings` nothing checks an option again. The JSON Schema
//! that `validate-config` and editors use is derived from the same struct. No I/O.

mod keys;
mod settings;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::Deserialize;

pub use settings::{
    DEFAULT_CONCURRENCY, DEFAULT_MAX_ERRORS, DEFAULT_MAX_MEMORY, DEFAULT_ROWS_PER_RECORD,
    MAX_CONCURRENCY, MIN_MAX_MEMORY, Settings, SpecError,
};

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
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
    rows_per_record: Option<i64>,
    /// Most objects read at the same time (default 50); a negative number means the most the plugin allows, 256.
    #[schemars(extend("not" = {"const": 0}))]
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
#[serde(untagged, expecting = "a number of bytes, or text such as 512MiB")]
enum Size {
    Bytes(u64),
    Text(String),
}

/// JSON Schema (draft 2020-12) of the spec, as text.
#[must_use]
pub fn json_schema() -> String {
    schemars::schema_for!(Spec).to_value().to_string()
}

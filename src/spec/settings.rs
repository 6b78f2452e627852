//! From what was written to what is worked with: every value checked, every default filled in.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};

use super::{OnError, Size, Spec, TableSpec, keys};
use crate::catalog::{Mapping, Rules};
use crate::s3;

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
            // Where a secret may stand, the value that the parser quotes is not repeated.
            if field.starts_with("credentials") {
                invalid(
                    &field,
                    "has the wrong type: `credentials` is an object of texts",
                )
            } else {
                invalid(&field, e.into_inner().to_string())
            }
        })?;
        spec.resolve()
    }
}

impl Spec {
    fn resolve(self) -> Result<Settings, SpecError> {
        let concurrency = concurrency(self.concurrency)?;
        let s3 = self.s3_config(concurrency)?;
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
            concurrency,
            max_errors: max_errors(self.on_error, self.max_errors)?,
            max_memory: max_memory(self.max_memory)?,
        })
    }

    fn s3_config(&self, max_requests: NonZeroUsize) -> Result<s3::Config, SpecError> {
        if self.bucket.is_empty() {
            return Err(invalid(
                "bucket",
                "is required: the name of the bucket to read",
            ));
        }
        // An access point's ARN has a slash.
        if self.bucket.contains('/') && !self.bucket.starts_with("arn:") {
            return Err(invalid(
                "bucket",
                format!(
                    "{:?} is not a bucket name: give the name alone, and keys in `path_prefix`",
                    self.bucket
                ),
            ));
        }
        let endpoint = self.endpoint.clone().filter(|url| !url.is_empty());
        let is_url = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        if !endpoint.iter().all(is_url) {
            // The text is not repeated: it may hold a password.
            return Err(invalid(
                "endpoint",
                "is not a URL: write it as http://host:port or https://host:port",
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
            endpoint,
            path_style: path_style.unwrap_or(false),
            no_sign_request,
            credentials: s3::Credentials {
                profile: profile.filter(|name| !name.is_empty()),
                role,
            },
            max_requests,
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

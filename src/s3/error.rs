//! What can go wrong between us and a store, as kinds that a caller decides by and one clause that a user can act on.
//! Which store answer is which kind stands in one table here; what an error stops is not decided here.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;

/// The header by which AWS (and LocalStack) tell a bucket's region, on errors too.
pub(super) const BUCKET_REGION: &str = "x-amz-bucket-region";

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Loading the configuration and finding the bucket's region.
    Open,
    /// Listing a page of keys.
    List,
    /// Reading a range of an object.
    Get,
    /// Asking for an object's newest generation.
    Head,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such bucket at this endpoint.
    NoSuchBucket,
    /// The object is gone, or never was.
    NoSuchKey,
    /// The object is not the generation that was listed (412, or 416: it shrank).
    Changed,
    /// The credentials are good but not allowed to do this; also any 403 that says no more.
    Denied,
    /// No source of credentials had any.
    NoCredentials,
    /// The credentials are unknown, wrong or expired, or could not be obtained (a role that may not be assumed).
    BadCredentials,
    /// The bucket is in another region than the configured one.
    WrongRegion {
        /// Where it is, if the store told.
        actual: Option<String>,
    },
    /// The object is in an archive tier and has no restored copy.
    Archived,
    /// The store wants fewer requests, still so after all retries.
    Throttled,
    /// The body, or the object itself, ended before the range did.
    Truncated {
        /// Bytes asked for.
        want: u64,
        /// Bytes there were.
        got: u64,
    },
    /// No answer, or no more bytes of one, within the limits.
    Timeout,
    /// No connection: name not found, refused, TLS.
    Unreachable,
    /// An option that cannot be right, found before any request.
    InvalidConfig(&'static str),
    /// An answer that breaks the S3 protocol; the text says how.
    BadResponse(&'static str),
    /// Anything else; the source says what.
    Other,
}

/// An operation on a bucket that failed, with everything needed to find out why.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    /// What was being done.
    pub op: Operation,
    /// In which bucket.
    pub bucket: Box<str>,
    /// With which object.
    pub key: Option<Arc<str>>,
    /// With which bytes of it.
    pub range: Option<Box<Range<u64>>>,
    /// At which endpoint, if the user named one.
    pub endpoint: Option<Arc<str>>,
    /// What went wrong.
    pub kind: ErrorKind,
    /// By which AWS support, and a store's own log, find the request.
    pub request_id: Option<Box<str>>,
    /// The SDK's error, still typed.
    pub source: Option<BoxError>,
}

impl Error {
    pub(super) fn new(op: Operation, bucket: &str, kind: ErrorKind) -> Self {
        Self {
            op,
            bucket: bucket.into(),
            key: None,
            range: None,
            endpoint: None,
            kind,
            request_id: None,
            source: None,
        }
    }

    pub(super) fn at(self, key: &Arc<str>) -> Self {
        Self {
            key: Some(Arc::clone(key)),
            ..self
        }
    }

    pub(super) fn via(self, endpoint: Option<&Arc<str>>) -> Self {
        Self {
            endpoint: endpoint.map(Arc::clone),
            ..self
        }
    }

    pub(super) fn within(self, range: &Range<u64>) -> Self {
        Self {
            range: Some(Box::new(range.clone())),
            ..self
        }
    }

    pub(super) fn because(self, source: impl Into<BoxError>) -> Self {
        Self {
            source: Some(source.into()),
            ..self
        }
    }

    /// The one way from an SDK error to ours.
    pub(super) fn from_sdk<E>(op: Operation, bucket: &str, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let kind = match &error {
            SdkError::ServiceError(service) => {
                let raw = service.raw();
                let region = raw.headers().get(BUCKET_REGION);
                of_answer(
                    op,
                    service.err().code().unwrap_or_default(),
                    raw.status().as_u16(),
                    region,
                )
            }
            SdkError::TimeoutError(_) => ErrorKind::Timeout,
            SdkError::ResponseError(_) => ErrorKind::BadResponse("it is not an S3 answer"),
            SdkError::DispatchFailure(failure) => match of_credentials(&error) {
                Some(kind) => kind,
                None if failure.is_timeout() => ErrorKind::Timeout,
                // Names, refusals, resets, TLS; also an endpoint that cannot be resolved from the options.
                None => of_options(&error).unwrap_or(ErrorKind::Unreachable),
            },
            SdkError::ConstructionFailure(_) => of_credentials(&error)
                .or_else(|| of_options(&error))
                .unwrap_or(ErrorKind::Other),
            _ => ErrorKind::Other,
        };
        let request_id = error.request_id().map(Box::from);
        Self {
            request_id,
            ..Self::new(op, bucket, kind).because(error)
        }
    }
}

/// The table: which answer of a store is which kind. A HEAD has no body, so it comes without a code and only the
/// status is left to tell.
fn of_answer(op: Operation, code: &str, status: u16, region: Option<&str>) -> ErrorKind {
    match (code, status) {
        ("NoSuchBucket", _) => ErrorKind::NoSuchBucket,
        ("NoSuchKey", _) => ErrorKind::NoSuchKey,
        ("PreconditionFailed" | "InvalidRange", _) | (_, 412 | 416) => ErrorKind::Changed,
        ("InvalidObjectState", _) => ErrorKind::Archived,
        (
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "RequestTimeTooSkewed"
            | "InvalidSecurity",
            _,
        )
        | (_, 401) => ErrorKind::BadCredentials,
        ("PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed", _)
        | (_, 301 | 307) => ErrorKind::WrongRegion {
            actual: region.map(str::to_owned),
        },
        // A HEAD signed for another region: 400 without a body, but with the right region.
        (_, 400) if region.is_some() => ErrorKind::WrongRegion {
            actual: region.map(str::to_owned),
        },
        ("InvalidBucketName", _) => {
            ErrorKind::InvalidConfig("the store does not take that bucket name")
        }
        (
            "SlowDown"
            | "ServiceUnavailable"
            | "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded",
            _,
        )
        | (_, 429 | 503) => ErrorKind::Throttled,
        ("RequestTimeout", _) | (_, 408 | 504) => ErrorKind::Timeout,
        (_, 403) => ErrorKind::Denied,
        (_, 404) => match op {
            Operation::Open | Operation::List => ErrorKind::NoSuchBucket,
            Operation::Get | Operation::Head => ErrorKind::NoSuchKey,
        },
        _ => ErrorKind::Other,
    }
}

/// Errors of the credentials chain come up through the request that first needed them.
fn of_credentials(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    Some(match find::<CredentialsError>(error)? {
        CredentialsError::CredentialsNotLoaded(_) => ErrorKind::NoCredentials,
        CredentialsError::InvalidConfiguration(_) => {
            ErrorKind::InvalidConfig("the AWS profile or environment cannot be used")
        }
        _ => ErrorKind::BadCredentials,
    })
}

/// The endpoint rules refuse a bucket name or a combination of options.
fn of_options(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    // Two crates have one of this name: the rules' own, and that of applying their result.
    use aws_smithy_http::endpoint::ResolveEndpointError as Unruled;
    use aws_smithy_runtime_api::client::endpoint::error::ResolveEndpointError as Unfit;
    let refused = find::<Unruled>(error).is_some() || find::<Unfit>(error).is_some();
    refused.then_some(ErrorKind::InvalidConfig(
        "bucket, region, endpoint and path style do not go together",
    ))
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    std::iter::successors(Some(error), |&error| error.source())
        .find_map(|error| error.downcast_ref())
}

/// One lower-case clause: what, where, and the way out.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bucket = &self.bucket;
        // Keys may hold line breaks and control characters; a log line may not.
        let place = self.key.as_ref().map_or_else(
            || format!("s3://{bucket}"),
            |key| format!("s3://{bucket}/{}", key.escape_debug()),
        );
        let store = self.endpoint.as_deref().unwrap_or("AWS");
        match &self.kind {
            ErrorKind::NoSuchBucket => write!(
                f,
                "bucket {bucket:?} does not exist at this endpoint: \
                 check bucket, endpoint and region"
            ),
            ErrorKind::NoSuchKey => write!(f, "{place} does not exist (any more)"),
            ErrorKind::Changed => write!(f, "{place} changed after it was listed"),
            ErrorKind::Denied => {
                let permission = match self.op {
                    Operation::Open | Operation::List => "s3:ListBucket",
                    Operation::Get | Operation::Head => "s3:GetObject",
                };
                write!(f, "access denied to {place}: the credentials need {permission} on it")
            }
            ErrorKind::NoCredentials => f.write_str(
                "no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, local_profile, \
                 credentials.role_arn or no_sign_request: true",
            ),
            ErrorKind::BadCredentials => {
                write!(
                    f,
                    "the credentials for {place} are not accepted: check that they are right, \
                     not expired, and may assume the role"
                )
            }
            ErrorKind::WrongRegion { actual: Some(actual) } => {
                write!(
                    f,
                    "bucket {bucket:?} is in region {actual:?}, not the configured one: \
                     set region to it or leave it out"
                )
            }
            ErrorKind::WrongRegion { actual: None } => {
                write!(
                    f,
                    "bucket {bucket:?} is in another region than the configured one: \
                     correct region or leave it out"
                )
            }
            ErrorKind::Archived => write!(f, "{place} is archived: restore it before reading it"),
            ErrorKind::Throttled => write!(
                f,
                "the store throttles requests to {place}: lower the concurrency"
            ),
            ErrorKind::Truncated { want, got } => write!(f, "{place} ended after {got} of {want} bytes"),
            ErrorKind::Timeout => write!(
                f,
                "no answer for {place} from {store} in time: check endpoint, region and network"
            ),
            ErrorKind::Unreachable => write!(
                f,
                "cannot connect to {store} for {place}: check endpoint, region and network"
            ),
            ErrorKind::InvalidConfig(what) => write!(f, "cannot open bucket {bucket:?}: {what}"),
            ErrorKind::BadResponse(what) => write!(f, "bad answer of the store for {place}: {what}"),
            ErrorKind::Other => write!(f, "request for {place} failed"),
        }?;
        if let Some(range) = &self.range {
            write!(f, " (bytes {}..{})", range.start, range.end)?;
        }
        self.request_id
            .as_ref()
            .map_or(Ok(()), |id| write!(f, " (request id {id})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(op: Operation, code: &str, status: u16) -> ErrorKind {
        of_answer(op, code, status, None)
    }

    #[test]
    fn answers_about_objects_are_told_apart_by_code_then_status() {
        use ErrorKind::{Archived, Changed, Denied, NoSuchBucket, NoSuchKey, Other, Throttled};
        use Operation::{Get, Head, List, Open};
        let cases = [
            (List, "NoSuchBucket", 404, NoSuchBucket),
            (Open, "NotFound", 404, NoSuchBucket),
            (Get, "NoSuchKey", 404, NoSuchKey),
            (Get, "NoSuchBucket", 404, NoSuchBucket),
            (Head, "NotFound", 404, NoSuchKey),
            (Get, "PreconditionFailed", 412, Changed),
            (Head, "", 412, Changed),
            (Get, "InvalidRange", 416, Changed),
            (Get, "InvalidObjectState", 403, Archived),
            (Get, "AccessDenied", 403, Denied),
            (List, "SlowDown", 503, Throttled),
            (List, "", 503, Throttled),
            (List, "InternalError", 500, Other),
            (Head, "", 400, Other),
        ];
        for (op, code, status, want) in cases {
            assert_eq!(kind_of(op, code, status), want, "{op:?} {code} {status}");
        }
    }

    #[test]
    fn answers_about_who_and_where_are_told_apart() {
        for code in [
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "ExpiredToken",
        ] {
            let kind = kind_of(Operation::List, code, 403);
            assert_eq!(kind, ErrorKind::BadCredentials, "{code}");
        }
        let wrong = |actual: Option<&str>| ErrorKind::WrongRegion {
            actual: actual.map(str::to_owned),
        };
        let cases = [
            ("PermanentRedirect", 301, Some("r"), wrong(Some("r"))),
            ("AuthorizationHeaderMalformed", 400, None, wrong(None)),
            ("", 400, Some("r"), wrong(Some("r"))),
            ("", 403, Some("r"), ErrorKind::Denied),
        ];
        for (code, status, region, want) in cases {
            let kind = of_answer(Operation::Head, code, status, region);
            assert_eq!(kind, want, "{code} {status}");
        }
    }

    #[test]
    fn messages_name_the_place_and_the_way_out() {
        let error = |kind| Error::new(Operation::Get, "b", kind);
        let key: Arc<str> = "a\nb".into();
        let denied = Error {
            request_id: Some("R1".into()),
            ..error(ErrorKind::Denied).at(&key).within(&(3..9))
        };
        assert_eq!(
            denied.to_string(),
            r"access denied to s3://b/a\nb: the credentials need s3:GetObject on it (bytes 3..9) (request id R1)"
        );
        let wrong = error(ErrorKind::WrongRegion {
            actual: Some("eu-west-1".into()),
        });
        assert!(
            wrong
                .to_string()
                .starts_with("bucket \"b\" is in region \"eu-west-1\""),
            "{wrong}"
        );
    }

    #[test]
    fn an_error_is_cheap_to_return() {
        assert!(size_of::<Error>() < 128, "{}", size_of::<Error>());
    }
}

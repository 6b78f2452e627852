//! The S3 operations of the fake server, as the `s3s` crate calls them.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::contents::{Contents, Stored, body};
use super::{BUCKET, Fault, Op, Request, Shared};

pub(super) struct Handler(pub(super) Arc<Shared>);

impl Handler {
    /// Logs a request and finds what the script has for it: errors and new contents are dealt with here.
    fn arrive(
        &self,
        op: Op,
        bucket: &str,
        key: Option<&str>,
        range: Option<&dto::Range>,
    ) -> S3Result<Option<Fault>> {
        let mut state = self.0.state.lock().unwrap();
        let mut fault = None;
        for script in &mut state.scripts {
            if script.op == op && (script.key.is_none() || script.key.as_deref() == key) {
                script.seen += 1;
                if fault.is_none() && script.nth.contains(&script.seen) {
                    fault = Some(script.fault.clone());
                }
            }
        }
        if let (Some(Fault::Replace(bytes)), Some(key)) = (&fault, key) {
            state
                .objects
                .insert(key.to_owned(), Stored::new(Contents::Stored(bytes.clone())));
        }
        let length = key
            .and_then(|key| state.objects.get(key))
            .map(|object| object.contents.len());
        let range = length
            .filter(|_| op == Op::Get)
            .map(|length| range.map_or(0..length, |range| range.check(length).unwrap_or(0..0)));
        state.log.push(Request {
            op,
            key: key.map(str::to_owned),
            range,
        });
        drop(state);
        self.0.changed.send_replace(());
        match fault {
            _ if bucket != BUCKET => Err(self.refuse("NoSuchBucket", 404)),
            Some(Fault::Error { code, status }) => Err(self.refuse(code, status)),
            fault => Ok(fault),
        }
    }

    fn find(&self, key: &str, if_match: Option<&dto::ETagCondition>) -> S3Result<Stored> {
        let object = self.0.state.lock().unwrap().objects.get(key).cloned();
        let object = object.ok_or_else(|| self.refuse("NoSuchKey", 404))?;
        let wanted = if_match
            .and_then(dto::ETagCondition::as_etag)
            .map(dto::ETag::value);
        if wanted.is_some_and(|wanted| wanted != object.etag) {
            return Err(self.refuse("PreconditionFailed", 412));
        }
        Ok(object)
    }

    fn refuse(&self, code: &str, status: u16) -> S3Error {
        let mut error =
            S3Error::new(S3ErrorCode::from_bytes(code.as_bytes()).expect("an error code"));
        error.set_status_code(http::StatusCode::from_u16(status).expect("a status"));
        let mut headers = http::HeaderMap::new();
        headers.insert(
            "x-amz-request-id",
            http::HeaderValue::from_static("FAKE-REQUEST"),
        );
        if let Some(region) = &self.0.state.lock().unwrap().region {
            headers.insert("x-amz-bucket-region", region.parse().expect("a region"));
        }
        error.set_headers(headers);
        error
    }
}

/// The one pair of keys that is accepted; signatures are checked.
pub(super) struct OnlyKeys(pub(super) String, pub(super) String);

#[async_trait::async_trait]
impl S3Auth for OnlyKeys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let Self(known, secret) = self;
        let known = (access_key == known).then(|| SecretKey::from(secret.as_str()));
        known.ok_or_else(|| S3Error::new(S3ErrorCode::InvalidAccessKeyId))
    }
}

#[async_trait::async_trait]
impl S3 for Handler {
    async fn head_bucket(
        &self,
        request: S3Request<dto::HeadBucketInput>,
    ) -> S3Result<S3Response<dto::HeadBucketOutput>> {
        self.arrive(Op::HeadBucket, &request.input.bucket, None, None)?;
        let bucket_region = self.0.state.lock().unwrap().region.clone();
        Ok(S3Response::new(dto::HeadBucketOutput {
            bucket_region,
            ..Default::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<dto::HeadObjectInput>,
    ) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        let input = request.input;
        self.arrive(Op::Head, &input.bucket, Some(&input.key), None)?;
        let object = self.find(&input.key, input.if_match.as_ref())?;
        Ok(S3Response::new(dto::HeadObjectOutput {
            content_length: i64::try_from(object.contents.len()).ok(),
            e_tag: Some(dto::ETag::Strong(object.etag)),
            last_modified: Some(object.last_modified.into()),
            storage_class: object.storage_class.map(Into::into),
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<dto::ListObjectsV2Input>,
    ) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
        let input = request.input;
        let fault = self.arrive(Op::List, &input.bucket, None, None)?;
        let state = self.0.state.lock().unwrap();
        let encoded = state.encodes
            && input
                .encoding_type
                .as_ref()
                .is_some_and(|kind| kind.as_str() == "url");
        let encode = |key: &str| if encoded { encode(key) } else { key.to_owned() };
        // A token is the last key of the page before, encoded: it must pass through a URL and through XML.
        let after = input
            .continuation_token
            .as_deref()
            .map(|token| percent_decode_str(token).decode_utf8_lossy().into_owned())
            .or(input.start_after)
            .map_or(Bound::Unbounded, Bound::Excluded);
        let prefix = input.prefix.unwrap_or_default();
        let page_size = state.page_size.min(
            input
                .max_keys
                .and_then(|keys| usize::try_from(keys).ok())
                .unwrap_or(usize::MAX),
        );
        let mut listed = state
            .objects
            .range((after, Bound::Unbounded))
            .filter(|(key, _)| key.starts_with(&prefix));
        let page: Vec<_> = listed.by_ref().take(page_size).collect();
        let more = listed.next().is_some();
        let token = match (fault, page.last()) {
            (Some(Fault::SameToken), _) => {
                Some(input.continuation_token.clone().unwrap_or_default())
            }
            (_, Some((last, _))) if more => {
                Some(utf8_percent_encode(last, NON_ALPHANUMERIC).to_string())
            }
            _ => None,
        };
        let contents = page.iter().map(|(key, object)| dto::Object {
            key: Some(encode(key)),
            size: i64::try_from(object.contents.len()).ok(),
            e_tag: Some(dto::ETag::Strong(object.etag.clone())),
            last_modified: Some(object.last_modified.into()),
            storage_class: object.storage_class.clone().map(Into::into),
            ..Default::default()
        });
        Ok(S3Response::new(dto::ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encode(&prefix)),
            key_count: i32::try_from(page.len()).ok(),
            max_keys: input.max_keys,
            is_truncated: Some(token.is_some()),
            next_continuation_token: token,
            encoding_type: input.encoding_type.filter(|_| encoded),
            contents: Some(contents.collect()),
            ..Default::default()
        }))
    }

    async fn get_object(
        &self,
        request: S3Request<dto::GetObjectInput>,
    ) -> S3Result<S3Response<dto::GetObjectOutput>> {
        let input = request.input;
        let fault = self.arrive(
            Op::Get,
            &input.bucket,
            Some(&input.key),
            input.range.as_ref(),
        )?;
        let object = self.find(&input.key, input.if_match.as_ref())?;
        if object
            .storage_class
            .as_deref()
            .is_some_and(|class| class == "GLACIER" || class == "DEEP_ARCHIVE")
        {
            return Err(self.refuse("InvalidObjectState", 403));
        }
        let size = object.contents.len();
        let range = input
            .range
            .map(|range| range.check(size))
            .transpose()
            .map_err(|_| self.refuse("InvalidRange", 416))?;
        let content_range = range
            .as_ref()
            .map(|range| format!("bytes {}-{}/{size}", range.start, range.end - 1));
        let range = range.unwrap_or(0..size);
        Ok(S3Response::new(dto::GetObjectOutput {
            content_length: i64::try_from(range.end - range.start).ok(),
            content_range,
            e_tag: Some(dto::ETag::Strong(object.etag)),
            last_modified: Some(object.last_modified.into()),
            body: Some(dto::StreamingBlob::wrap(body(
                Arc::clone(&self.0),
                object.contents,
                range,
                fault,
            ))),
            ..Default::default()
        }))
    }
}

/// What a URL-encoded listing leaves as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'*')
    .remove(b'/');

/// As S3 applies `encoding-type=url`: form encoding, with a plus for a space.
fn encode(key: &str) -> String {
    utf8_percent_encode(key, PLAIN)
        .to_string()
        .replace("%20", "+")
}

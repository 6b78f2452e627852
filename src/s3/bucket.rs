//! [`Bucket`]: the handle that all requests go through, and its two small requests, HEAD and probe. Listing is in
//! `list.rs`, reading in `read.rs`.

use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{ObjectStorageClass, StorageClass};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::client::{Config, connect};
use super::error::{Error, ErrorKind, Operation};
use super::object::{ETag, Object};
use super::stats::{Counters, Stats};

/// One bucket of one store. Clones share the connections, the limit on requests and the counters.
#[derive(Clone, Debug)]
pub struct Bucket(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    region: String,
    endpoint: Option<Arc<str>>,
    client: Client,
    /// One permit a request, held until its body ended.
    requests: Semaphore,
    counters: Arc<Counters>,
}

impl Bucket {
    /// Loads the credentials chain and, when neither region nor endpoint is given, asks AWS for the bucket's region (one request).
    ///
    /// Credentials are looked up by the first request, so their absence shows there.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        let counters = Arc::new(Counters::default());
        let connected = connect(config, &counters).await?;
        Ok(Self(Arc::new(Inner {
            name: config.bucket.clone(),
            region: connected.region,
            endpoint: config.endpoint.as_deref().map(Arc::from),
            client: connected.client,
            requests: Semaphore::new(config.max_requests.get().min(Semaphore::MAX_PERMITS)),
            counters,
        })))
    }

    /// The bucket's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The region that requests are signed for.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// What was done so far, by all clones.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.counters.snapshot()
    }

    /// The newest generation of `key`.
    pub async fn head(&self, key: &str) -> Result<Object, Error> {
        let key: Arc<str> = key.into();
        let error = |kind| Error::new(Operation::Head, self.name(), kind).at(&key);
        // The SDK would refuse it as well, but as an error of its own making.
        if key.is_empty() {
            return Err(error(ErrorKind::NoSuchKey));
        }
        let _permit = self.permit(Operation::Head).await?;
        Counters::add(&self.counters().heads, 1);
        let answer = self
            .client()
            .head_object()
            .bucket(self.name())
            .key(&*key)
            .send()
            .await;
        let answer = answer.map_err(|e| self.failed(Operation::Head, e).at(&key))?;
        let size = answer
            .content_length()
            .and_then(|size| u64::try_from(size).ok());
        let class = matches!(
            answer.storage_class(),
            Some(StorageClass::Glacier | StorageClass::DeepArchive)
        );
        // `ongoing-request="false", expiry-date="..."`: there is a restored copy, and it can be read.
        let restored = answer
            .restore()
            .is_some_and(|status| status.contains("ongoing-request=\"false\""));
        Ok(Object {
            size: size.ok_or_else(|| error(ErrorKind::BadResponse("it has no Content-Length")))?,
            etag: ETag::new(answer.e_tag().unwrap_or_default()),
            last_modified: answer
                .last_modified()
                .and_then(|at| at.to_millis().ok())
                .unwrap_or(0),
            archived: class && !restored,
            key,
        })
    }

    /// Lists at most one key: tells whether bucket, endpoint and credentials go together. An empty bucket is fine.
    pub async fn probe(&self, prefix: &str) -> Result<(), Error> {
        self.page(prefix, None, 1).await.map(drop)
    }

    /// An error of a request on this bucket.
    pub(super) fn failed<E>(&self, op: Operation, error: SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        Error::from_sdk(op, self.name(), error).via(self.0.endpoint.as_ref())
    }

    pub(super) fn client(&self) -> &Client {
        &self.0.client
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Waits for the right to send one request. Keep it until the answer's body ended: a body is what takes the time and
    /// the bandwidth that the limit is for.
    pub(super) async fn permit(&self, op: Operation) -> Result<SemaphorePermit<'_>, Error> {
        // The semaphore is never closed; if it were, that is no reason to panic.
        self.0
            .requests
            .acquire()
            .await
            .map_err(|e| Error::new(op, self.name(), ErrorKind::Other).because(e))
    }
}

/// Whether a listed storage class needs a restore before a read. `GLACIER_IR` does not.
pub(super) fn is_archive(class: Option<&ObjectStorageClass>) -> bool {
    matches!(
        class,
        Some(ObjectStorageClass::Glacier | ObjectStorageClass::DeepArchive)
    )
}

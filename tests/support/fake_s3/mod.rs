//! An S3 server for tests and examples: one bucket in memory, served on a real TCP port with path-style addresses, with a log of
//! what was asked and a script of what goes wrong. Listing (pages, `encoding-type=url`), ranged and conditional GET, HEAD. No
//! writes over the wire: what the bucket holds is the test's to say.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that loses its server has failed"
)]

mod contents;
mod handler;

use std::collections::BTreeMap;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub(crate) use contents::ramp;
use contents::{Contents, Stored};
use handler::{Handler, OnlyKeys};

/// The name of the one bucket.
pub(crate) const BUCKET: &str = "bucket";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    List,
    Get,
    Head,
    HeadBucket,
}

/// A request that arrived; `range` is what it resolved to, for a GET of an object that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) op: Op,
    pub(crate) key: Option<String>,
    pub(crate) range: Option<Range<u64>>,
}

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// An error answer.
    Error { code: &'static str, status: u16 },
    /// The connection closes after that many bytes of the body, although more were promised.
    Truncate { after: u64 },
    /// The body pauses after that many bytes, until [`FakeS3::release`].
    Stall { after: u64 },
    /// The object has new contents from just before this request on.
    Replace(Bytes),
    /// A page of a listing whose continuation token leads to itself.
    SameToken,
}

struct Script {
    op: Op,
    key: Option<String>,
    nth: (Bound<usize>, Bound<usize>),
    seen: usize,
    fault: Fault,
}

struct State {
    objects: BTreeMap<String, Stored>,
    scripts: Vec<Script>,
    log: Vec<Request>,
    page_size: usize,
    encodes: bool,
    region: Option<String>,
    bodies: usize,
    most_bodies: usize,
}

struct Shared {
    state: Mutex<State>,
    /// Told after every request and every body, for [`FakeS3::until`].
    changed: watch::Sender<()>,
    released: watch::Sender<bool>,
}

/// The server; it stops when this is dropped.
pub(crate) struct FakeS3 {
    shared: Arc<Shared>,
    port: u16,
    server: JoinHandle<()>,
}

impl Drop for FakeS3 {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeS3 {
    /// Takes any credentials, and none.
    pub(crate) async fn start() -> Self {
        Self::start_on(0).await
    }

    /// Takes these credentials only, and checks signatures.
    pub(crate) async fn start_with_credentials(access_key: &str, secret_key: &str) -> Self {
        Self::serve(
            0,
            Some(OnlyKeys(access_key.to_owned(), secret_key.to_owned())),
        )
        .await
    }

    /// On a chosen port of 127.0.0.1; 0 for any.
    pub(crate) async fn start_on(port: u16) -> Self {
        Self::serve(port, None).await
    }

    async fn serve(port: u16, auth: Option<OnlyKeys>) -> Self {
        let state = State {
            objects: BTreeMap::new(),
            scripts: Vec::new(),
            log: Vec::new(),
            page_size: 1000,
            encodes: true,
            region: None,
            bodies: 0,
            most_bodies: 0,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: watch::Sender::default(),
            released: watch::Sender::new(false),
        });
        let anyone = auth.is_none();
        let mut service = S3ServiceBuilder::new(Handler(Arc::clone(&shared)));
        if let Some(auth) = auth {
            service.set_auth(auth);
        }
        let service = service.build();
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .expect("a port of 127.0.0.1");
        let port = listener.local_addr().expect("an address").port();
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // Without it every small answer waits 40 ms for an acknowledgement.
                stream.set_nodelay(true).ok();
                let service = service.clone();
                let service = service_fn(move |mut request: hyper::Request<Incoming>| {
                    if anyone {
                        // The `s3s` crate refuses a signature that it has no secret to check with.
                        request.headers_mut().remove(http::header::AUTHORIZATION);
                    }
                    Service::call(&service, request)
                });
                let connection = hyper::server::conn::http1::Builder::new();
                connections.spawn(connection.serve_connection(TokioIo::new(stream), service));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            shared,
            port,
            server,
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn put(&self, key: &str, contents: impl Into<Bytes>) {
        self.insert(key, Stored::new(Contents::Stored(contents.into())));
    }

    pub(crate) fn put_with(
        &self,
        key: &str,
        contents: impl Into<Bytes>,
        last_modified: SystemTime,
        storage_class: Option<&str>,
    ) {
        let storage_class = storage_class.map(str::to_owned);
        self.insert(
            key,
            Stored {
                last_modified,
                storage_class,
                ..Stored::new(Contents::Stored(contents.into()))
            },
        );
    }

    /// An object of any length whose bytes are [`ramp`]; nothing is stored.
    pub(crate) fn put_ramp(&self, key: &str, length: u64) {
        self.insert(key, Stored::new(Contents::Ramp(length)));
    }

    pub(crate) fn delete(&self, key: &str) {
        self.state().objects.remove(key);
    }

    /// Keys a page of a listing, if the request does not ask for fewer.
    pub(crate) fn page_size(&self, keys: usize) {
        self.state().page_size = keys;
    }

    /// Be a store that does not know `encoding-type`.
    pub(crate) fn ignore_encoding_type(&self) {
        self.state().encodes = false;
    }

    /// The region that `HeadBucket` and errors tell.
    pub(crate) fn region(&self, region: &str) {
        self.state().region = Some(region.to_owned());
    }

    /// Lets `fault` happen to the `nth` requests (counted from 1, from now on) of `op`, of any key or of one.
    pub(crate) fn fail<'a>(
        &self,
        op: Op,
        key: impl Into<Option<&'a str>>,
        nth: impl RangeBounds<usize>,
        fault: Fault,
    ) {
        let nth = (nth.start_bound().cloned(), nth.end_bound().cloned());
        let key = key.into().map(str::to_owned);
        self.state().scripts.push(Script {
            op,
            key,
            nth,
            seen: 0,
            fault,
        });
    }

    /// Lets all stalled bodies go on, now and from now on.
    pub(crate) fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// All requests so far, in the order of arrival.
    pub(crate) fn log(&self) -> Vec<Request> {
        self.state().log.clone()
    }

    pub(crate) fn clear_log(&self) {
        self.state().log.clear();
    }

    /// The most object bodies that were under way at once.
    pub(crate) fn most_bodies(&self) -> usize {
        self.state().most_bodies
    }

    /// Waits until the log is as wished.
    pub(crate) async fn until(&self, wished: impl Fn(&[Request]) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        while !wished(&self.state().log) {
            changed.changed().await.expect("the server lives");
        }
    }

    fn insert(&self, key: &str, stored: Stored) {
        self.state().objects.insert(key.to_owned(), stored);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

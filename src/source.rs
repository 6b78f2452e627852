//! The plugin as CloudQuery sees it: spec in, tables and rows out. Assembles everything else.

use std::sync::Arc;

use cq_plugin::{
    Failure, FailureKind, Info, Message, OpenOptions, Selection, Session, Source, SyncRequest,
    Table,
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::sync::OnceCell;

use crate::error::store_failure;
use crate::s3::Bucket;
use crate::spec::{Settings, json_schema};
use crate::sync::Engine;

/// Commit that the image was built from; set by the image, not compiled in, so that a commit without a change of the
/// source rebuilds nothing.
const REVISION_VARIABLE: &str = "CQ_SOURCE_S3_REVISION";

/// The source plugin.
#[derive(Debug, Clone, Copy, Default)]
pub struct S3Source;

/// What `Init` makes of a spec. Nothing is contacted before tables or rows are asked for.
#[derive(Debug)]
pub struct S3Session {
    settings: Settings,
    engine: OnceCell<Arc<Engine>>,
}

/// Version and commit of this program, for `--version`, the first log line and the protocol.
#[must_use]
pub fn info() -> Info {
    Info {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: std::env::var(REVISION_VARIABLE)
            .ok()
            .filter(|revision| !revision.is_empty()),
        kind: "source",
    }
}

impl Source for S3Source {
    type Session = S3Session;

    fn info(&self) -> Info {
        info()
    }

    fn spec_schema(&self) -> Option<String> {
        Some(json_schema())
    }

    async fn check(&self, spec: &[u8]) -> Result<(), Failure> {
        let settings = parse(spec)?;
        let bucket = Bucket::open(&settings.s3).await.map_err(store_failure)?;
        bucket.probe(&settings.prefix).await.map_err(store_failure)
    }

    async fn open(&self, spec: &[u8], _options: OpenOptions) -> Result<S3Session, Failure> {
        parse(spec).map(S3Session::new)
    }
}

fn parse(spec: &[u8]) -> Result<Settings, Failure> {
    Settings::parse(spec).map_err(|e| Failure::new(FailureKind::InvalidSpec, e))
}

impl S3Session {
    /// A session over checked settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            engine: OnceCell::new(),
        }
    }

    /// The engine, made on first use: finding credentials and region takes requests.
    pub async fn engine(&self) -> Result<Arc<Engine>, Failure> {
        let open = || async {
            let bucket = Bucket::open(&self.settings.s3)
                .await
                .map_err(store_failure)?;
            Ok(Arc::new(Engine::new(bucket, self.settings.clone())))
        };
        self.engine.get_or_try_init(open).await.map(Arc::clone)
    }
}

impl Session for S3Session {
    async fn tables(&self, selection: &Selection) -> Result<Vec<Table>, Failure> {
        let engine = self.engine().await?;
        let found = engine.discover(selection, None).await?;
        for failure in &found.failures {
            tracing::warn!(table = &*failure.table, "object left out: {}", failure.line);
        }
        Ok(found.tables.into_iter().map(|found| found.table).collect())
    }

    fn sync(
        self: Arc<Self>,
        request: SyncRequest,
    ) -> impl Stream<Item = Result<Message, Failure>> + Send + 'static {
        if request.backend.is_some() {
            tracing::info!(
                "backend_options are accepted but not used yet: every sync reads every object"
            );
        }
        let readers = self.settings.concurrency;
        let engine = async move {
            self.engine()
                .await
                .map(|engine| engine.sync(request, readers))
        };
        stream::once(engine).try_flatten().boxed()
    }
}

//! Discovery: the listing, the tables in it that the request selects, and the columns of their objects.
//!
//! Only tables that are selected cost object reads, one range of each object whose generation is not known yet.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::Fields;
use cq_plugin::{Failure, FailureKind, Selection, Table};
use futures::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

use super::report::fatal;
use super::{Engine, Progress};
use crate::catalog::{Builder, Catalog, TableObjects};
use crate::error::{ObjectError, ObjectFailure, store_failure};
use crate::s3::{ErrorKind, Object};
use crate::schema::Merger;

/// Generations of one object that are tried when it is replaced again and again.
pub(super) const GENERATIONS: u32 = 3;
/// Keys between two log lines of a long listing.
const LISTED_PER_LINE: u64 = 100_000;

/// What a listing and the footers say.
#[derive(Debug)]
pub struct Discovery {
    /// The selected tables, by name.
    pub tables: Vec<FoundTable>,
    /// Objects that cannot take part.
    pub failures: Vec<ObjectFailure>,
}

/// One table and the objects that hold its rows.
#[derive(Debug)]
pub struct FoundTable {
    /// Name and columns.
    pub table: Table,
    /// Its objects, oldest first.
    pub objects: Vec<Object>,
}

/// A table while its files are looked at.
struct Learning {
    name: String,
    merger: Merger,
    objects: Vec<Object>,
    reserved: bool,
}

impl Learning {
    fn new(name: String) -> Self {
        Self {
            name,
            merger: Merger::default(),
            objects: Vec::new(),
            reserved: false,
        }
    }

    fn add(&mut self, object: Object, columns: &Columns) -> Result<(), ObjectError> {
        self.merger.add(&columns.fields)?;
        self.reserved |= columns.reserved;
        self.objects.push(object);
        Ok(())
    }

    /// The table; none if no file could be read.
    fn finish(self) -> Option<FoundTable> {
        if self.reserved {
            tracing::warn!(
                table = self.name,
                "columns of its files that start with _cq_ are left out: CloudQuery fills those itself"
            );
        }
        Some(FoundTable {
            table: self.merger.finish(&self.name)?,
            objects: self.objects,
        })
    }
}

/// The columns of an object.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    fields: Fields,
    /// The file has columns that CloudQuery owns, which are left out.
    reserved: bool,
}

/// Columns of the generations seen before, about 50 bytes an object; equal ones are shared.
#[derive(Debug, Default)]
pub(super) struct SchemaCache(Mutex<Cached>);

#[derive(Debug, Default)]
struct Cached {
    known: HashMap<[u8; 16], Columns>,
    shared: HashSet<Fields>,
}

impl SchemaCache {
    fn get(&self, object: &Object) -> Option<Columns> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .known
            .get(&generation(object))
            .cloned()
    }

    fn put(&self, object: &Object, mut columns: Columns) -> Columns {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = cached.shared.get(&columns.fields) {
            columns.fields = same.clone();
        } else {
            cached.shared.insert(columns.fields.clone());
        }
        cached.known.insert(generation(object), columns.clone());
        columns
    }

    /// Forgets the generations that the newest listing does not have.
    fn retain<'a>(&self, current: impl Iterator<Item = &'a Object>) {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !cached.known.is_empty() {
            let current: HashSet<_> = current.map(generation).collect();
            cached.known.retain(|known, _| current.contains(known));
            cached.shared.clear();
        }
    }
}

/// A generation in 128 bits of a hash: ten million of them collide with a probability of 1.5e-25.
fn generation(object: &Object) -> [u8; 16] {
    let digest = Sha256::new()
        .chain_update(object.etag.as_str())
        .chain_update([0])
        .chain_update(object.size.to_le_bytes())
        .chain_update(&*object.key)
        .finalize();
    let mut short = [0; 16];
    short
        .iter_mut()
        .zip(digest)
        .for_each(|(to, from)| *to = from);
    short
}

impl Engine {
    /// Lists the bucket and learns the columns of the selected tables. With more failures than `most` it gives up early:
    /// what it returns then is not all there is.
    pub async fn discover(
        &self,
        selection: &Selection,
        most: Option<u32>,
    ) -> Result<Discovery, Failure> {
        let (catalog, mut failures) = self.list().await?;
        if catalog.tables.is_empty() {
            tracing::warn!(
                bucket = self.bucket.name(),
                prefix = self.settings.prefix,
                "no Parquet object to read: the sync will be empty"
            );
            return Ok(Discovery {
                tables: Vec::new(),
                failures,
            });
        }
        self.schemas
            .retain(catalog.tables.iter().flat_map(|table| &table.objects));
        let selected = selection
            .apply(catalog.tables, |table| &table.name, |_| None)
            .map_err(|e| Failure::new(FailureKind::InvalidSpec, e))?;
        Progress::add(
            &self.progress.wanted,
            selected.iter().map(|table| table.objects.len()).sum(),
        );
        let tables = self.learn(selected, &mut failures, most).await?;
        Ok(Discovery { tables, failures })
    }

    /// Everything under the prefix.
    async fn list(&self) -> Result<(Catalog, Vec<ObjectFailure>), Failure> {
        let mut catalog = Builder::new(&self.settings.rules);
        let mut failures = Vec::new();
        let mut listed = 0_u64;
        let mut pages = std::pin::pin!(self.bucket.list(&self.settings.prefix));
        while let Some(page) = pages.try_next().await.map_err(store_failure)? {
            let before = listed;
            listed += (page.objects.len() + page.undecodable.len()) as u64;
            self.progress.listed.store(listed, Ordering::Relaxed);
            if before / LISTED_PER_LINE < listed / LISTED_PER_LINE {
                tracing::info!(listed, "listing goes on");
            }
            failures.extend(
                page.undecodable
                    .into_iter()
                    .map(|key| self.failure("", &key, &ObjectError::Undecodable)),
            );
            for object in page.objects {
                catalog
                    .add(object)
                    .map_err(|e| Failure::new(FailureKind::InvalidSpec, e))?;
            }
        }
        let catalog = catalog.finish();
        for object in &catalog.unnamed {
            let origin = crate::naming::origin(&object.key).to_owned();
            failures.push(self.failure("", &object.key, &ObjectError::Unnamed(origin)));
        }
        for (reason, count) in &catalog.skipped {
            tracing::info!(reason = reason.text(), count, "keys skipped");
        }
        tracing::info!(
            bucket = self.bucket.name(),
            region = self.bucket.region(),
            listed,
            tables = catalog.tables.len(),
            "listing done"
        );
        Ok((catalog, failures))
    }

    /// Learns the columns of all objects, many at a time over all tables; one that cannot take part is a failure of its own.
    async fn learn(
        &self,
        tables: Vec<TableObjects>,
        failures: &mut Vec<ObjectFailure>,
        most: Option<u32>,
    ) -> Result<Vec<FoundTable>, Failure> {
        let (mut learning, mut jobs) = (Vec::new(), Vec::new());
        for (table, TableObjects { name, objects, .. }) in tables.into_iter().enumerate() {
            learning.push(Learning::new(name));
            jobs.extend(objects.into_iter().map(|object| (table, object)));
        }
        let learned = stream::iter(jobs).map(|(table, object)| async move {
            let key = Arc::clone(&object.key);
            (table, key, self.columns(object).await)
        });
        // In order: which files a table's schema comes from must not depend on which answer is first.
        let mut learned = std::pin::pin!(learned.buffered(self.settings.concurrency.get()));
        while let Some((table, key, outcome)) = learned.next().await {
            Progress::add(&self.progress.known, 1);
            let Some(table) = learning.get_mut(table) else {
                continue;
            };
            if let Err(error) = outcome.and_then(|(object, columns)| table.add(object, &columns)) {
                if self.ends_the_sync(&error).await {
                    return Err(fatal(error));
                }
                failures.push(self.failure(&table.name, &key, &error));
                if most.is_some_and(|most| failures.len() > most as usize) {
                    break;
                }
            }
        }
        Ok(learning.into_iter().filter_map(Learning::finish).collect())
    }

    /// Columns of an object, from its newest generation if it is replaced meanwhile.
    async fn columns(&self, mut object: Object) -> Result<(Object, Columns), ObjectError> {
        for _ in 1..GENERATIONS {
            match self.columns_of(&object).await {
                Err(ObjectError::Store(error)) if error.kind == ErrorKind::Changed => {
                    object = self.bucket.head(&object.key).await?;
                }
                outcome => return Ok((object, outcome?)),
            }
        }
        let columns = self.columns_of(&object).await?;
        Ok((object, columns))
    }

    fn failure(&self, table: &str, key: &str, error: &ObjectError) -> ObjectFailure {
        ObjectFailure::new(self.bucket.name(), table, key, error)
    }

    async fn columns_of(&self, object: &Object) -> Result<Columns, ObjectError> {
        if let Some(columns) = self.schemas.get(object) {
            return Ok(columns);
        }
        let opened = self.open(object).await?;
        self.tails.put(object, &opened.tail);
        let columns = Columns {
            fields: opened.footer.fields()?,
            reserved: opened.footer.reserved().next().is_some(),
        };
        Ok(self.schemas.put(object, columns))
    }
}

//! From listed objects to tables: which objects count, and which table each belongs to. Pure.
//!
//! Nothing is dropped without a reason: a key is in a table, among the counted skips, or among the unnamed.

use std::collections::BTreeMap;

use crate::naming;
use crate::s3::Object;

/// Suffix that makes a key a data file, compared without regard to case.
const SUFFIX: &str = ".parquet";

/// How keys become tables.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Skip keys with a hidden segment past this many leading bytes (those of `path_prefix`); `None` reads them.
    pub hidden_after: Option<usize>,
    /// The tables that the user named.
    pub mapping: Mapping,
}

/// Key prefixes that the user gave to tables; the longest match decides.
#[derive(Debug, Clone, Default)]
pub struct Mapping(Vec<(String, String)>);

impl Mapping {
    /// From prefix to table name.
    #[must_use]
    pub fn new(prefixes: BTreeMap<String, String>) -> Self {
        let mut longest_first: Vec<_> = prefixes.into_iter().collect();
        longest_first.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Self(longest_first)
    }

    fn find(&self, key: &str) -> Option<&(String, String)> {
        self.0
            .iter()
            .find(|(prefix, _)| key.starts_with(prefix.as_str()))
    }
}

/// Why a listed key is not data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkipReason {
    /// The key ends in `/`.
    DirectoryMarker,
    /// The object holds no byte.
    Empty,
    /// A path segment starts with `_` or `.`.
    Hidden,
    /// The key does not end in `.parquet`.
    OtherType,
}

impl SkipReason {
    /// For logs.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::DirectoryMarker => "directory markers",
            Self::Empty => "empty objects",
            Self::Hidden => "hidden paths",
            Self::OtherType => "other file types",
        }
    }
}

/// One table's objects.
#[derive(Debug, Clone)]
pub struct TableObjects {
    /// Name of the table.
    pub name: String,
    /// What named it: the directory, the root key's stem, or the mapped prefix.
    pub origin: String,
    /// Its objects, oldest first (then by key), which is the order in which their schemas are merged.
    pub objects: Vec<Object>,
}

/// Everything a listing holds.
#[derive(Debug, Default)]
pub struct Catalog {
    /// The tables in the order of their names.
    pub tables: Vec<TableObjects>,
    /// How many keys were left out, by reason.
    pub skipped: BTreeMap<SkipReason, u64>,
    /// Data files whose path leaves no table name.
    pub unnamed: Vec<Object>,
}

/// Two paths claim one table name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{first:?} and {second:?} both name the table {name:?}: name the tables yourself, for example `tables: [{{name: {name}, prefixes: [{first:?}, {second:?}]}}]` to join them"
)]
pub struct Collision {
    name: String,
    first: String,
    second: String,
}

/// Collects a listing page by page.
#[derive(Debug)]
pub struct Builder<'a> {
    rules: &'a Rules,
    tables: BTreeMap<String, (TableObjects, bool)>,
    catalog: Catalog,
}

impl<'a> Builder<'a> {
    /// An empty catalog.
    #[must_use]
    pub fn new(rules: &'a Rules) -> Self {
        Self {
            rules,
            tables: BTreeMap::new(),
            catalog: Catalog::default(),
        }
    }

    /// Files one object; a table name claimed by two paths is an error unless the user mapped them.
    pub fn add(&mut self, object: Object) -> Result<(), Collision> {
        if let Some(reason) = self.skip(&object) {
            *self.catalog.skipped.entry(reason).or_default() += 1;
            return Ok(());
        }
        let (name, origin, mapped) = match self.rules.mapping.find(&object.key) {
            Some((prefix, name)) => (name.clone(), prefix.as_str(), true),
            None => {
                if let Some(name) = naming::table_name(&object.key) {
                    (name, naming::origin(&object.key), false)
                } else {
                    self.catalog.unnamed.push(object);
                    return Ok(());
                }
            }
        };
        let (table, table_mapped) = self.tables.entry(name.clone()).or_insert_with(|| {
            (
                TableObjects {
                    name: name.clone(),
                    origin: origin.to_owned(),
                    objects: Vec::new(),
                },
                mapped,
            )
        });
        if *table_mapped != mapped || (!mapped && table.origin != origin) {
            return Err(Collision {
                name,
                first: table.origin.clone(),
                second: origin.to_owned(),
            });
        }
        table.objects.push(object);
        Ok(())
    }

    /// The finished catalog.
    #[must_use]
    pub fn finish(mut self) -> Catalog {
        self.catalog.tables = self.tables.into_values().map(|(table, _)| table).collect();
        for table in &mut self.catalog.tables {
            table
                .objects
                .sort_by(|a, b| (a.last_modified, &a.key).cmp(&(b.last_modified, &b.key)));
        }
        self.catalog
    }

    fn skip(&self, object: &Object) -> Option<SkipReason> {
        let key: &str = &object.key;
        if key.ends_with('/') {
            return Some(SkipReason::DirectoryMarker);
        }
        if self.rules.hidden_after.is_some_and(|len| hidden(key, len)) {
            return Some(SkipReason::Hidden);
        }
        let tail = key
            .len()
            .checked_sub(SUFFIX.len())
            .and_then(|at| key.get(at..));
        if !tail.is_some_and(|tail| tail.eq_ignore_ascii_case(SUFFIX)) {
            return Some(SkipReason::OtherType);
        }
        (object.size == 0).then_some(SkipReason::Empty)
    }
}

/// Whether a segment that begins at or after byte `from` is hidden; one that the prefix cut through is the user's choice.
fn hidden(key: &str, from: usize) -> bool {
    let Some((before, own)) = key.split_at_checked(from) else {
        return false;
    };
    let cut_through = !before.is_empty() && !before.ends_with('/');
    own.split('/')
        .skip(usize::from(cut_through))
        .any(|segment| segment.starts_with(['_', '.']))
}

#[cfg(test)]
mod tests;

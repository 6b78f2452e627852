//! Which tables a request means: `tables` and `skip_tables` patterns, and what follows for parents and children.
//! Pure; it knows names only.

use std::collections::HashMap;

/// A pattern that matches no table: most likely a typo of the user's, hence an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// One of `tables`.
    #[error("tables include a pattern {0} with no matches")]
    Tables(String),
    /// One of `skip_tables`.
    #[error("skip_tables include a pattern {0} with no matches")]
    SkipTables(String),
}

/// The table filter of a request. The rules are those of the CloudQuery plugin SDK (`schema.Tables.FilterDfs`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    tables: Vec<String>,
    skip_tables: Vec<String>,
    skip_dependent_tables: bool,
}

impl Selection {
    /// `tables` and `skip_tables` are patterns in which only `*` is special. With `skip_dependent_tables` a child
    /// must be named by a pattern itself; without, it comes with its parent.
    #[must_use]
    pub fn new(tables: Vec<String>, skip_tables: Vec<String>, skip_dependent_tables: bool) -> Self {
        Self {
            tables,
            skip_tables,
            skip_dependent_tables,
        }
    }

    /// Every table: the pattern `*`.
    #[must_use]
    pub fn all() -> Self {
        Self::new(vec!["*".to_owned()], Vec::new(), false)
    }

    /// Keeps the selected items, in their order.
    ///
    /// A skipped table takes all its descendants with it, also those that `tables` names; a selected child keeps its
    /// ancestors. No pattern in `tables` selects nothing. Any pattern without a match is an error, `*` over no
    /// items included: a source that may have no tables asks for that before. An item whose parent is not among
    /// the items counts as one without a parent.
    pub fn apply<T>(
        &self,
        items: Vec<T>,
        name: impl Fn(&T) -> &str,
        parent: impl Fn(&T) -> Option<&str>,
    ) -> Result<Vec<T>, SelectionError> {
        let unmatched = |patterns: &[String]| {
            patterns
                .iter()
                .find(|pattern| !items.iter().any(|item| matches(pattern, name(item))))
                .cloned()
        };
        if let Some(pattern) = unmatched(&self.tables) {
            return Err(SelectionError::Tables(pattern));
        }
        if let Some(pattern) = unmatched(&self.skip_tables) {
            return Err(SelectionError::SkipTables(pattern));
        }

        let any = |patterns: &[String], item: &T| patterns.iter().any(|p| matches(p, name(item)));
        let mut nodes: Vec<Node> = items
            .iter()
            .map(|item| Node {
                parent: None,
                skipped: any(&self.skip_tables, item),
                wanted: any(&self.tables, item),
                kept: false,
            })
            .collect();
        let order = link(&items, &mut nodes, &name, &parent);

        for &at in &order {
            let above = nodes
                .get(at)
                .and_then(|n| n.parent)
                .and_then(|p| nodes.get(p))
                .copied();
            if let (Some(above), Some(node)) = (above, nodes.get_mut(at)) {
                node.skipped |= above.skipped;
                node.wanted |= above.wanted && !self.skip_dependent_tables;
            }
            if let Some(node) = nodes.get_mut(at) {
                node.wanted &= !node.skipped;
                node.kept = node.wanted;
            }
        }
        for &at in order.iter().rev() {
            let Some(node) = nodes.get(at).copied() else {
                continue;
            };
            if let Some(above) = node.parent.and_then(|p| nodes.get_mut(p)) {
                above.kept |= node.kept;
            }
        }
        Ok(items
            .into_iter()
            .zip(nodes)
            .filter_map(|(item, node)| node.kept.then_some(item))
            .collect())
    }
}

#[derive(Clone, Copy)]
struct Node {
    parent: Option<usize>,
    skipped: bool,
    wanted: bool,
    kept: bool,
}

/// Fills in the parents and gives an order in which a parent stands before its children. Items on a cycle are in no
/// such order and therefore never selected.
fn link<'a, T>(
    items: &'a [T],
    nodes: &mut [Node],
    name: &impl Fn(&T) -> &str,
    parent: &impl Fn(&T) -> Option<&str>,
) -> Vec<usize> {
    let mut by_name: HashMap<&'a str, usize> = HashMap::new();
    for (at, item) in items.iter().enumerate() {
        by_name.entry(name(item)).or_insert(at);
    }
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); items.len()];
    let mut order = Vec::with_capacity(items.len());
    for (at, (item, node)) in items.iter().zip(nodes).enumerate() {
        node.parent = parent(item).and_then(|p| by_name.get(p).copied());
        match node.parent.and_then(|p| children.get_mut(p)) {
            Some(siblings) => siblings.push(at),
            None => order.push(at),
        }
    }
    let mut done = 0;
    while let Some(&at) = order.get(done) {
        order.extend(children.get(at).into_iter().flatten());
        done += 1;
    }
    order
}

/// Whether the whole of `text` matches. Only `*` is special; the parts between stars must not overlap, so `a*a`
/// does not match `a`.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((prefix, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let (middle, suffix) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut text) = text
        .strip_prefix(prefix)
        .and_then(|text| text.strip_suffix(suffix))
    else {
        return false;
    };
    for part in middle.split('*') {
        match text.split_once(part) {
            Some((_, after)) => text = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests;

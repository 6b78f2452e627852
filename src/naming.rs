//! From the key of an object to the name of its table: the rule of the Go plugin, which existing tables carry.
//!
//! The part of the key before the last `/` names the table; a key without one is named by its stem. Every
//! character outside `[A-Za-z0-9_]` counts as `_`, runs of `_` are one, and none stands at either end. Pure.

/// The part of a key that decides its table: the directory, or the stem of a file at the root.
#[must_use]
pub fn origin(key: &str) -> &str {
    match key.rsplit_once('/') {
        Some((directory, _)) => directory,
        None => key.rsplit_once('.').map_or(key, |(stem, _)| stem),
    }
}

/// The table name for a key; `None` if no legal character is left.
#[must_use]
pub fn table_name(key: &str) -> Option<String> {
    let mut name = String::new();
    for part in origin(key)
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty())
    {
        if !name.is_empty() {
            name.push('_');
        }
        name.push_str(part);
    }
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// "The directory part of the key, `/` joined by `_`, other characters to `_`, runs collapsed, ends
    /// trimmed, is the table name; a root file gives its stem. Case is kept." (semantics 1)
    #[test]
    fn names() {
        for (key, name) in [
            ("data/2024/01/14/file.parquet", Some("data_2024_01_14")),
            ("datafile_0.parquet", Some("datafile_0")),
            ("data_2024.parquet", Some("data_2024")),
            ("a-b/x.parquet", Some("a_b")),
            ("a//b/x.parquet", Some("a_b")),
            ("/a/x.parquet", Some("a")),
            ("Sales.EU/Q1 (new)/x.parquet", Some("Sales_EU_Q1_new")),
            ("year=2024/month=01/x.parquet", Some("year_2024_month_01")),
            ("archive.v2.parquet", Some("archive_v2")),
            ("__x__/y.parquet", Some("x")),
            ("größe/x.parquet", Some("gr_e")),
            ("日本/x.parquet", None),
            ("-/x.parquet", None),
            ("/x.parquet", None),
        ] {
            assert_eq!(table_name(key).as_deref(), name, "{key}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_legal_and_names_itself(key in "[ -~äß/._-]{0,40}") {
            if let Some(name) = table_name(&key) {
                prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
                prop_assert!(!name.starts_with('_') && !name.ends_with('_') && !name.contains("__"));
                prop_assert_eq!(table_name(&format!("{name}/file.parquet")), Some(name));
            }
        }
    }
}

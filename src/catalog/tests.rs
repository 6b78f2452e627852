use super::*;
use crate::s3::ETag;

fn object(key: &str, size: u64, last_modified: i64) -> Object {
    Object {
        key: key.into(),
        size,
        etag: ETag::new("e"),
        last_modified,
        archived: false,
    }
}

fn file(keys: &[&str], rules: &Rules) -> Result<Catalog, Collision> {
    let mut builder = Builder::new(rules);
    for key in keys {
        builder.add(object(key, 1, 0))?;
    }
    Ok(builder.finish())
}

fn names(catalog: &Catalog) -> Vec<(&str, usize)> {
    catalog
        .tables
        .iter()
        .map(|table| (table.name.as_str(), table.objects.len()))
        .collect()
}

fn hiding(prefix: &str) -> Rules {
    Rules {
        hidden_after: Some(prefix.len()),
        mapping: Mapping::default(),
    }
}

#[test]
fn objects_of_one_directory_are_one_table_oldest_first() {
    let rules = Rules::default();
    let mut builder = Builder::new(&rules);
    for (key, time) in [
        ("a/2.parquet", 5),
        ("a/3.PARQUET", 1),
        ("a/1.parquet", 5),
        ("b/x.parquet", 0),
        ("root.parquet", 0),
    ] {
        builder.add(object(key, 1, time)).unwrap();
    }
    let catalog = builder.finish();
    assert_eq!(names(&catalog), [("a", 3), ("b", 1), ("root", 1)]);
    let keys: Vec<_> = catalog.tables[0].objects.iter().map(|o| &*o.key).collect();
    assert_eq!(keys, ["a/3.PARQUET", "a/1.parquet", "a/2.parquet"]);
}

/// "Two prefixes that map to one table name are an error that names both, unless the user maps them explicitly."
/// (semantics 2)
#[test]
fn a_collision_names_both_prefixes() {
    for pair in [
        ["a-b/x.parquet", "a_b/x.parquet"],
        ["a/b/x.parquet", "a_b.parquet"],
        ["a//b/x.parquet", "a/b/x.parquet"],
        ["a-b.parquet", "a_b.parquet"],
    ] {
        let text = file(&pair, &Rules::default()).unwrap_err().to_string();
        assert!(
            text.contains("\"a_b\"") && text.contains("tables"),
            "{text}"
        );
        for key in pair {
            assert!(
                text.contains(&format!("{:?}", naming::origin(key))),
                "{text}"
            );
        }
    }
}

#[test]
fn mapped_prefixes_join_and_the_longest_match_wins() {
    let prefixes = [
        ("a-b/", "both"),
        ("a_b/", "both"),
        ("logs/", "logs"),
        ("logs/error/", "errors"),
    ];
    let mapping = Mapping::new(prefixes.map(|(p, n)| (p.to_owned(), n.to_owned())).into());
    let rules = Rules {
        hidden_after: None,
        mapping,
    };
    let keys = [
        "a-b/1.parquet",
        "a_b/2.parquet",
        "logs/d=1/x.parquet",
        "logs/d=2/x.parquet",
        "logs/error/x.parquet",
        "z/x.parquet",
    ];
    assert_eq!(
        names(&file(&keys, &rules).unwrap()),
        [("both", 2), ("errors", 1), ("logs", 2), ("z", 1)]
    );
    assert!(
        file(&["both/x.parquet", "a-b/1.parquet"], &rules).is_err(),
        "a directory may not slip into a mapped table"
    );
}

/// "A key whose name would be empty is reported, never dropped in silence." (semantics 2)
#[test]
fn unnamed_objects_are_kept_apart() {
    let catalog = file(
        &["日本/x.parquet", "/x.parquet", ".parquet"],
        &Rules::default(),
    )
    .unwrap();
    assert!(catalog.tables.is_empty());
    assert_eq!(catalog.unnamed.len(), 3);
}

/// "Directory markers, zero-byte objects and hidden paths (a segment starting with `_` or `.`; `skip_hidden_files:
/// false` reads them) are skipped with a counted reason that the log and the load report show." (semantics 3)
#[test]
fn skips_are_counted_by_reason() {
    let keys = [
        "dir/",
        "t/_delta_log/1.parquet",
        "t/.tmp/1.parquet",
        "t/_SUCCESS",
        ".x.parquet",
        "t/a.csv",
        "t/ok.parquet",
    ];
    let catalog = file(&keys, &hiding("")).unwrap();
    assert_eq!(names(&catalog), [("t", 1)]);
    let mut skipped = catalog.skipped;
    let counts = [
        (SkipReason::DirectoryMarker, 1),
        (SkipReason::Hidden, 4),
        (SkipReason::OtherType, 1),
    ];
    assert_eq!(skipped, counts.into());

    let rules = Rules::default();
    let mut builder = Builder::new(&rules);
    builder.add(object("t/empty.parquet", 0, 0)).unwrap();
    builder.add(object("t/_x/1.parquet", 1, 0)).unwrap();
    let catalog = builder.finish();
    skipped = catalog.skipped.clone();
    assert_eq!(skipped, [(SkipReason::Empty, 1)].into());
    assert_eq!(
        names(&catalog),
        [("t_x", 1)],
        "skip_hidden_files: false reads them"
    );
}

#[test]
fn a_hidden_segment_that_the_prefix_names_is_wanted() {
    for (prefix, key, read) in [
        ("_landing/", "_landing/t/x.parquet", true),
        ("_landing/", "_landing/_t/x.parquet", false),
        ("_land", "_landing/t/x.parquet", true),
        ("data", "data_x/t.parquet", true),
        ("data", "data/_x/t.parquet", false),
        ("", "_data/t.parquet", false),
    ] {
        let catalog = file(&[key], &hiding(prefix)).unwrap();
        assert_eq!(catalog.tables.len(), usize::from(read), "{prefix} {key}");
    }
}

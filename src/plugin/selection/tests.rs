//! The pattern language against a naive matcher, and each rule of the selection with the SDK's error texts.

use proptest::prelude::*;

use super::*;

#[test]
fn patterns() {
    for (pattern, text, want) in [
        ("", "", true),
        ("", "a", false),
        ("*", "", true),
        ("*", "anything", true),
        ("**", "a", true),
        ("a", "a", true),
        ("a", "ab", false),
        ("A", "a", false),
        ("a*", "a", true),
        ("a*", "abc", true),
        ("*a", "ba", true),
        ("*a", "ab", false),
        ("a*a", "a", false),
        ("a*a", "aa", true),
        ("a*b*c", "abbc", true),
        ("a*b*c", "ac", false),
        ("*b*", "abc", true),
        ("a*ab*ab", "aab", false),
        ("a*ab*ab", "aabab", true),
        ("?", "a", false),
        ("[a]", "[a]", true),
        ("\\*", "\\x", true),
        ("é*", "éa", true),
    ] {
        assert_eq!(matches(pattern, text), want, "{pattern:?} {text:?}");
    }
}

/// The definition: a star stands for any text.
fn naive(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|at| naive(rest, &text[at..])),
        Some((byte, rest)) => text
            .split_first()
            .is_some_and(|(b, t)| b == byte && naive(rest, t)),
    }
}

proptest! {
    #[test]
    fn matcher_agrees_with_the_definition(pattern in "[ab*]{0,7}", text in "[ab]{0,9}") {
        prop_assert_eq!(
            matches(&pattern, &text),
            naive(pattern.as_bytes(), text.as_bytes()),
            "{} {}", pattern, text
        );
    }
}

type Item = (&'static str, Option<&'static str>);

const TREE: [Item; 6] = [
    ("a", None),
    ("a_child", Some("a")),
    ("a_grandchild", Some("a_child")),
    ("b", None),
    ("b_child", Some("b")),
    ("c", None),
];

fn select(
    items: &[Item],
    tables: &[&str],
    skip: &[&str],
    skip_dependent: bool,
) -> Result<Vec<&'static str>, SelectionError> {
    let owned = |texts: &[&str]| texts.iter().map(|&t| t.to_owned()).collect();
    Selection::new(owned(tables), owned(skip), skip_dependent)
        .apply(items.to_vec(), |item| item.0, |item| item.1)
        .map(|kept| kept.into_iter().map(|item| item.0).collect())
}

#[test]
fn rules() {
    for (tables, skip, skip_dependent, want, why) in [
        (
            &["*"][..],
            &[][..],
            false,
            &["a", "a_child", "a_grandchild", "b", "b_child", "c"][..],
            "all",
        ),
        (&[], &[], false, &[], "no pattern, nothing selected"),
        (
            &["a"],
            &[],
            false,
            &["a", "a_child", "a_grandchild"],
            "children come along",
        ),
        (
            &["a"],
            &[],
            true,
            &["a"],
            "unless they are dependent tables to skip",
        ),
        (
            &["a_grandchild"],
            &[],
            true,
            &["a", "a_child", "a_grandchild"],
            "a child pulls its ancestors in",
        ),
        (
            &["*"],
            &["a_child"],
            false,
            &["a", "b", "b_child", "c"],
            "a skipped table takes its descendants",
        ),
        (
            &["*", "a_grandchild"],
            &["a"],
            false,
            &["b", "b_child", "c"],
            "skip wins over include",
        ),
        (
            &["c", "b"],
            &[],
            true,
            &["b", "c"],
            "the order is that of the tables",
        ),
        (&["b*"], &["b_*"], false, &["b"], "patterns on both sides"),
    ] {
        assert_eq!(
            select(&TREE, tables, skip, skip_dependent).unwrap(),
            want,
            "{why}"
        );
    }
}

#[test]
fn a_pattern_without_a_match_is_an_error() {
    for (items, tables, skip, want) in [
        (
            &TREE[..],
            &["a", "x*"][..],
            &[][..],
            "tables include a pattern x* with no matches",
        ),
        (
            &TREE,
            &["*"],
            &["y"],
            "skip_tables include a pattern y with no matches",
        ),
        (
            &[],
            &["*"],
            &[],
            "tables include a pattern * with no matches",
        ),
    ] {
        assert_eq!(
            select(items, tables, skip, false).unwrap_err().to_string(),
            want
        );
    }
}

#[test]
fn odd_trees_end() {
    let cycle = [
        ("x", Some("y")),
        ("y", Some("x")),
        ("z", Some("z")),
        ("orphan", Some("gone")),
    ];
    assert_eq!(select(&cycle, &["*"], &[], false).unwrap(), ["orphan"]);

    let chain: Vec<(String, Option<String>)> = (0..50_000_u32)
        .map(|n| (format!("t{n}"), n.checked_sub(1).map(|p| format!("t{p}"))))
        .collect();
    let kept = Selection::new(vec!["t49999".to_owned()], Vec::new(), true)
        .apply(chain, |item| &item.0, |item| item.1.as_deref())
        .unwrap();
    assert_eq!(kept.len(), 50_000, "depth is no recursion");
}

use proptest::prelude::*;

use super::*;

fn fields(columns: &[(&str, DataType, bool)]) -> Fields {
    columns
        .iter()
        .map(|(name, data_type, nullable)| Field::new(*name, data_type.clone(), *nullable))
        .collect()
}

fn merge(files: &[Fields]) -> Result<Vec<(String, DataType, bool)>, Conflict> {
    let mut merger = Merger::default();
    files.iter().try_for_each(|file| merger.add(file))?;
    let table = merger.finish("t").unwrap();
    let own = table.columns[..2].iter().map(Column::name);
    assert!(own.eq(["_cq_id", "_cq_parent_id"]));
    Ok(table.columns[2..]
        .iter()
        .map(|c| {
            (
                c.name().to_owned(),
                c.field.data_type().clone(),
                c.field.is_nullable(),
            )
        })
        .collect())
}

fn column(name: &str, data_type: DataType, nullable: bool) -> (String, DataType, bool) {
    (name.to_owned(), data_type, nullable)
}

use DataType::{
    Binary, Date32, Date64, Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, Null, Time32,
    Time64, UInt8, UInt32, UInt64, Utf8,
};

#[test]
fn columns_are_united_by_name() {
    let first = fields(&[("a", Int32, false), ("b", Utf8, false)]);
    let second = fields(&[("c", Date32, false), ("a", Int32, false)]);
    let merged = merge(&[first, second]).unwrap();
    assert_eq!(
        merged,
        [
            column("a", Int32, false),
            column("b", Utf8, true),
            column("c", Date32, true)
        ],
        "what a file lacks is nullable"
    );
}

#[test]
fn types_widen_without_loss_or_not_at_all() {
    let seconds = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Second, zone.map(Into::into));
    let nanos =
        |zone: Option<&str>| DataType::Timestamp(TimeUnit::Nanosecond, zone.map(Into::into));
    for (a, b, wide) in [
        (Int8, Int32, Some(Int32)),
        (UInt8, Int8, Some(Int16)),
        (UInt32, Int8, Some(Int64)),
        (UInt64, Int8, None),
        (UInt8, UInt64, Some(UInt64)),
        (Int64, Float64, None),
        (Float32, Float64, Some(Float64)),
        (Date32, Date64, Some(Date64)),
        (seconds(None), nanos(None), Some(nanos(None))),
        (seconds(None), nanos(Some("UTC")), None),
        (
            Time32(TimeUnit::Millisecond),
            Time64(TimeUnit::Microsecond),
            Some(Time64(TimeUnit::Microsecond)),
        ),
        (Decimal128(5, 2), Decimal128(6, 4), Some(Decimal128(7, 4))),
        (Decimal128(38, 0), Decimal128(38, 2), None),
        (Null, Utf8, Some(Utf8)),
        (Utf8, Binary, None),
        (Utf8, Int32, None),
    ] {
        for (left, right) in [(&a, &b), (&b, &a)] {
            let merged = merge(&[
                fields(&[("c", left.clone(), true)]),
                fields(&[("c", right.clone(), true)]),
            ]);
            assert_eq!(
                merged.ok().map(|columns| columns[0].1.clone()),
                wide,
                "{left} with {right}"
            );
        }
    }
}

/// "A file that disagrees with its table's schema (beyond lossless widening and missing nullable columns) is that
/// object's failure" (semantics 11): the merger refuses it and stays as it was.
#[test]
fn a_conflict_names_the_column_and_changes_nothing() {
    let mut merger = Merger::default();
    let inner = |data_type| DataType::Struct(fields(&[("x", data_type, true)]));
    merger.add(&fields(&[("s", inner(Int32), true)])).unwrap();
    let conflict = merger
        .add(&fields(&[("new", Int8, true), ("s", inner(Utf8), true)]))
        .unwrap_err();
    let text = conflict.to_string();
    assert!(
        text.contains("\"s.x\"") && text.contains("Utf8") && text.contains("Int32"),
        "{text}"
    );
    let table = merger.finish("t").unwrap();
    assert_eq!(
        table.columns.len(),
        3,
        "the refused file's new column is not there"
    );
}

#[test]
fn a_uuid_is_not_a_binary() {
    let uuid: Fields = vec![Extension::Uuid.field("c", true)].into();
    assert!(merge(&[uuid.clone(), uuid.clone()]).is_ok());
    assert!(merge(&[uuid, fields(&[("c", Binary, true)])]).is_err());
}

#[test]
fn an_announced_table_admits_what_it_was_made_of_and_nothing_wider() {
    let narrow = fields(&[("a", Int32, true), ("u", Int8, true)]);
    let uuid: Fields = vec![Extension::Uuid.field("id", true)].into();
    let mut merger = Merger::default();
    merger.add(&narrow).unwrap();
    merger.add(&uuid).unwrap();
    let schema = merger.finish("t").unwrap().schema();
    admits(&schema, &narrow).unwrap();
    admits(&schema, &uuid).unwrap();
    admits(&schema, &fields(&[("a", Null, true)])).unwrap();
    for wider in [fields(&[("a", Int64, true)]), fields(&[("z", Int8, true)])] {
        assert!(admits(&schema, &wider).is_err(), "{wider:?}");
    }
}

fn arbitrary_type() -> impl Strategy<Value = DataType> {
    let leaf = prop::sample::select(vec![
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt32,
        UInt64,
        Float32,
        Float64,
        Date32,
        Date64,
        Utf8,
        Binary,
        Null,
        Decimal128(5, 2),
        Decimal128(9, 4),
    ]);
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            inner
                .clone()
                .prop_map(|t| DataType::List(Arc::new(Field::new("item", t, true)))),
            prop::collection::btree_map("[xyz]", inner, 1..3).prop_map(|m| DataType::Struct(
                m.into_iter().map(|(n, t)| Field::new(n, t, true)).collect()
            )),
        ]
    })
}

fn arbitrary_fields() -> impl Strategy<Value = Fields> {
    prop::collection::btree_map("[abc]", (arbitrary_type(), any::<bool>()), 1..4).prop_map(
        |columns| {
            columns
                .into_iter()
                .map(|(name, (t, nullable))| Field::new(name, t.clone(), nullable || t == Null))
                .collect()
        },
    )
}

/// Columns in the order of their names, struct members too: order is by first appearance, which merging does not promise.
fn sorted(
    merged: Result<Vec<(String, DataType, bool)>, Conflict>,
) -> Option<Vec<(String, DataType, bool)>> {
    fn canonical(data_type: &DataType) -> DataType {
        match data_type {
            DataType::List(item) => DataType::List(Arc::new(
                item.as_ref()
                    .clone()
                    .with_data_type(canonical(item.data_type())),
            )),
            DataType::Struct(members) => {
                let mut members: Vec<Field> = members
                    .iter()
                    .map(|f| f.as_ref().clone().with_data_type(canonical(f.data_type())))
                    .collect();
                members.sort_by(|a, b| a.name().cmp(b.name()));
                DataType::Struct(members.into())
            }
            other => other.clone(),
        }
    }
    let mut columns: Vec<_> = merged
        .ok()?
        .into_iter()
        .map(|(name, t, nullable)| (name, canonical(&t), nullable))
        .collect();
    columns.sort_by(|a, b| a.0.cmp(&b.0));
    Some(columns)
}

proptest! {
    #[test]
    fn merging_is_commutative_associative_and_idempotent(a in arbitrary_fields(), b in arbitrary_fields(), c in arbitrary_fields()) {
        prop_assert_eq!(sorted(merge(&[a.clone(), b.clone()])), sorted(merge(&[b.clone(), a.clone()])));
        prop_assert_eq!(sorted(merge(&[a.clone(), b.clone(), c.clone()])), sorted(merge(&[c.clone(), a.clone(), b.clone()])));
        prop_assert_eq!(sorted(merge(&[a.clone(), a.clone()])), sorted(merge(std::slice::from_ref(&a))));
    }

    #[test]
    fn a_table_admits_every_file_it_was_made_of(a in arbitrary_fields(), b in arbitrary_fields()) {
        let mut merger = Merger::default();
        merger.add(&a).unwrap();
        if merger.add(&b).is_ok() {
            let schema = merger.finish("t").unwrap().schema();
            prop_assert!(admits(&schema, &a).is_ok());
            prop_assert!(admits(&schema, &b).is_ok());
        }
    }
}

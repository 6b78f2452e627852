use arrow::datatypes::{IntervalUnit, TimeUnit, UnionFields, UnionMode};

use super::*;

fn mapped(data_type: DataType) -> DataType {
    table_field(&Field::new("c", data_type, true))
        .unwrap()
        .data_type()
        .clone()
}

fn item(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("element", data_type, true))
}

/// "No column type reaches a destination that the safe list does not have: dictionaries, run-ends and views are
/// unpacked" (semantics 10)
#[test]
fn types_outside_the_safe_list_are_converted() {
    use DataType::*;
    let utc = |zone: &str| Timestamp(TimeUnit::Microsecond, Some(zone.into()));
    for (file, table) in [
        (LargeUtf8, Utf8),
        (Utf8View, Utf8),
        (LargeBinary, Binary),
        (BinaryView, Binary),
        (FixedSizeBinary(7), Binary),
        (Float16, Float32),
        (utc("Europe/Berlin"), utc("UTC")),
        (utc("+02:00"), utc("UTC")),
        (Decimal32(5, 2), Decimal128(5, 2)),
        (Decimal64(12, 2), Decimal128(12, 2)),
        (Decimal256(38, 3), Decimal128(38, 3)),
        (Decimal256(76, 3), Utf8),
        (Dictionary(Box::new(Int8), Box::new(LargeUtf8)), Utf8),
        (RunEndEncoded(item(Int32), item(Int64)), Int64),
        (
            LargeList(item(LargeUtf8)),
            List(Arc::new(Field::new("item", Utf8, true))),
        ),
        (
            FixedSizeList(item(Float16), 3),
            List(Arc::new(Field::new("item", Float32, true))),
        ),
    ] {
        assert_eq!(mapped(file.clone()), table, "{file}");
    }
    for same in [
        Boolean,
        Int8,
        UInt64,
        Float64,
        Date32,
        Date64,
        Time32(TimeUnit::Second),
        Time64(TimeUnit::Nanosecond),
        Timestamp(TimeUnit::Second, None),
        Duration(TimeUnit::Millisecond),
        Interval(IntervalUnit::MonthDayNano),
        Decimal128(19, 10),
        Null,
    ] {
        assert_eq!(mapped(same.clone()), same);
    }
}

/// "Parquet UUID and JSON become CloudQuery's `uuid` and `json` extension types" (semantics 10)
#[test]
fn extension_types_are_cloudquerys_also_when_nested() {
    let with = |data_type, name: &str| {
        Field::new("c", data_type, true)
            .with_metadata([(EXTENSION_NAME.to_owned(), name.to_owned())])
    };
    let uuid = with(DataType::FixedSizeBinary(16), ARROW_UUID);
    let json = with(DataType::Utf8, ARROW_JSON);
    assert_eq!(
        Extension::of(&table_field(&uuid).unwrap()),
        Some(Extension::Uuid)
    );
    assert_eq!(
        Extension::of(&table_field(&json).unwrap()),
        Some(Extension::Json)
    );
    let nested = table_field(&Field::new("l", DataType::List(Arc::new(uuid)), true)).unwrap();
    let DataType::List(inner) = nested.data_type() else {
        panic!("{nested}")
    };
    assert_eq!(Extension::of(inner), Some(Extension::Uuid));
    let wrong = with(DataType::FixedSizeBinary(4), ARROW_UUID);
    assert_eq!(
        *table_field(&wrong).unwrap().data_type(),
        DataType::Binary,
        "a name alone makes no type"
    );
}

#[test]
fn metadata_of_a_file_cannot_declare_keys() {
    let sly = Field::new("c", DataType::Int32, false)
        .with_metadata([("cq:extension:primary_key".to_owned(), "true".to_owned())]);
    assert!(table_field(&sly).unwrap().metadata().is_empty());
}

/// "what cannot be mapped is an error that names the column" (semantics 10)
#[test]
fn what_cannot_be_mapped_names_the_column() {
    let union = DataType::Union(UnionFields::empty(), UnionMode::Dense);
    let nested = Field::new(
        "outer",
        DataType::Struct(vec![Field::new("inner", union, true)].into()),
        true,
    );
    let text = table_field(&nested).unwrap_err().to_string();
    assert!(
        text.contains("\"outer.inner\"") && text.contains("Union"),
        "{text}"
    );
}

#[test]
fn columns_without_a_value_are_text_in_the_end() {
    let field = Field::new("c", DataType::List(item(DataType::Null)), true);
    let DataType::List(inner) = settled(&field).data_type().clone() else {
        panic!("a list")
    };
    assert_eq!(*inner.data_type(), DataType::Utf8);
}

use arrow::array::{BinaryViewArray, Int32Array, Int64Array, StringArray, StringViewArray};
use arrow::buffer::NullBuffer;
use cq_plugin::{Column, Table, id_column, parent_id_column};
use proptest::prelude::*;

use super::*;

/// A table, and the shaper that a file of the batch's columns would get.
struct Shape(SchemaRef);

impl Shape {
    fn shape(&self, batch: &RecordBatch, first_row: u64) -> Result<RecordBatch, BatchError> {
        let ids = RowIds::new("b", "k");
        Shaper::new(Arc::clone(&self.0), batch.schema().fields(), ids).shape(batch, first_row)
    }
}

fn shaper(columns: Vec<Field>) -> Shape {
    let data = columns.into_iter().map(Column::new);
    let table = Table::new(
        "t",
        [id_column(), parent_id_column()]
            .into_iter()
            .chain(data)
            .collect(),
    );
    Shape(table.schema())
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap()
}

fn nullable(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

#[test]
fn rows_get_the_tables_columns_types_and_ids() {
    let shaper = shaper(vec![
        nullable("missing", DataType::Utf8),
        nullable("n", DataType::Int64),
        nullable("s", DataType::Utf8),
    ]);
    let text: ArrayRef = Arc::new(StringViewArray::from(vec![Some("x"), None]));
    let file = batch(vec![
        ("s", text),
        ("n", Arc::new(Int32Array::from(vec![7, 8]))),
    ]);
    let shaped = shaper.shape(&file, 5).unwrap();
    let ids = shaped.column(0).as_fixed_size_binary();
    assert_eq!(ids.value(1), RowIds::new("b", "k").id(6));
    assert_eq!(
        shaped.column(1).null_count(),
        2,
        "_cq_parent_id is null (semantics 9)"
    );
    assert_eq!(shaped.column(2).null_count(), 2);
    assert_eq!(
        shaped.column(3).as_ref(),
        &Int64Array::from(vec![7, 8]) as &dyn Array
    );
    assert_eq!(
        shaped.column(4).as_ref(),
        &StringArray::from(vec![Some("x"), None]) as &dyn Array
    );
}

#[test]
fn nested_values_survive_slicing() {
    let item = Arc::new(Field::new("element", DataType::Utf8View, true));
    let words: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b", "c", "d"]));
    let list = ListArray::new(
        item,
        OffsetBuffer::from_lengths([1, 0, 2, 1]),
        words,
        Some(NullBuffer::from(vec![true, false, true, true])),
    );
    let whole = batch(vec![("l", Arc::new(list))]);
    let shaper = shaper(vec![nullable(
        "l",
        DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
    )]);
    let part = shaper.shape(&whole.slice(1, 2), 1).unwrap();
    let list = part.column(2).as_list::<i32>();
    assert!(list.is_null(0));
    assert_eq!(
        list.value(1)
            .as_string::<i32>()
            .iter()
            .flatten()
            .collect::<Vec<_>>(),
        ["b", "c"]
    );
    assert_eq!(
        list.values().len(),
        2,
        "only the slice's values are carried"
    );
}

#[test]
fn struct_members_go_by_name_and_map_parts_by_position() {
    let members = Fields::from(vec![
        nullable("b", DataType::Int32),
        nullable("a", DataType::Int32),
    ]);
    let ints = |n: i32| Arc::new(Int32Array::from(vec![n])) as ArrayRef;
    let structs: ArrayRef = Arc::new(StructArray::new(members, vec![ints(2), ints(1)], None));
    let pair = Fields::from(vec![
        Field::new("k", DataType::Utf8View, false),
        nullable("v", DataType::Int32),
    ]);
    let keys: ArrayRef = Arc::new(StringViewArray::from(vec!["key"]));
    let pairs = StructArray::new(pair.clone(), vec![keys, ints(3)], None);
    let entries = Arc::new(Field::new("key_value", DataType::Struct(pair), false));
    let map: ArrayRef = Arc::new(MapArray::new(
        entries,
        OffsetBuffer::from_lengths([1]),
        pairs,
        None,
        false,
    ));

    let wanted = DataType::Struct(
        vec![
            nullable("a", DataType::Int64),
            nullable("b", DataType::Int64),
            nullable("c", DataType::Utf8),
        ]
        .into(),
    );
    let map_type = crate::types::map(
        &Field::new("key", DataType::Utf8, false),
        Arc::new(nullable("value", DataType::Int64)),
    );
    let shaped = shaper(vec![nullable("s", wanted), nullable("m", map_type)])
        .shape(&batch(vec![("s", structs), ("m", map)]), 0)
        .unwrap();
    let structs = shaped.column(2).as_struct();
    assert_eq!(
        structs.column(0).as_ref(),
        &Int64Array::from(vec![1]) as &dyn Array
    );
    assert_eq!(structs.column(2).null_count(), 1);
    let map = shaped.column(3).as_map();
    assert_eq!(map.keys().as_string::<i32>().value(0), "key");
    assert_eq!(
        map.values().as_ref(),
        &Int64Array::from(vec![3]) as &dyn Array
    );
}

#[test]
fn a_value_that_does_not_fit_names_column_and_row() {
    let narrow = shaper(vec![nullable("n", DataType::Int8)]);
    let text = narrow
        .shape(
            &batch(vec![("n", Arc::new(Int32Array::from(vec![300])))]),
            40,
        )
        .unwrap_err()
        .to_string();
    assert!(text.contains("\"n\"") && text.contains("40"), "{text}");

    let json = shaper(vec![Extension::Json.field("j", true)]);
    let values: ArrayRef = Arc::new(StringViewArray::from(vec![
        Some("{\"a\": 1}"),
        None,
        Some("{oops"),
    ]));
    let text = json
        .shape(&batch(vec![("j", values)]), 40)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("\"j\", row 42") && text.contains("not JSON"),
        "{text}"
    );
    let fine: ArrayRef = Arc::new(StringViewArray::from(vec![Some("[1, 2]"), None]));
    let shaped = json.shape(&batch(vec![("j", fine)]), 0).unwrap();
    assert_eq!(shaped.column(2).as_binary::<i32>().value(0), b"[1, 2]");
}

#[test]
fn text_too_wide_for_number_types_keeps_its_digits() {
    let big = arrow::array::Decimal256Array::from(vec![
        arrow::datatypes::i256::from_string("123456789012345678901234567890123456789012").unwrap(),
    ]);
    let big: ArrayRef = Arc::new(big.with_precision_and_scale(50, 2).unwrap());
    let shaped = shaper(vec![nullable("d", DataType::Utf8)])
        .shape(&batch(vec![("d", big)]), 0)
        .unwrap();
    assert_eq!(
        shaped.column(2).as_string::<i32>().value(0),
        "1234567890123456789012345678901234567890.12"
    );
}

/// A list of lists is JSON in the table: no SQL destination has a type for it.
#[test]
fn lists_of_lists_become_json() {
    let innermost: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), None, Some("b\"")]));
    let word = Arc::new(nullable("element", DataType::Utf8View));
    let inner = ListArray::new(
        Arc::clone(&word),
        OffsetBuffer::from_lengths([2, 0, 1]),
        innermost,
        None,
    );
    let middle = Arc::new(nullable("element", DataType::List(word)));
    let nulls = NullBuffer::from(vec![true, false, true]);
    let outer = ListArray::new(
        middle,
        OffsetBuffer::from_lengths([2, 0, 1]),
        Arc::new(inner),
        Some(nulls),
    );
    let field = crate::types::table_field(&nullable("l", outer.data_type().clone())).unwrap();
    assert_eq!(Extension::of(&field), Some(Extension::Json));
    let shaped = shaper(vec![field])
        .shape(&batch(vec![("l", Arc::new(outer))]).slice(0, 3), 0)
        .unwrap();
    let texts: Vec<_> = shaped
        .column(2)
        .as_binary::<i32>()
        .iter()
        .map(|t| t.map(|t| std::str::from_utf8(t).unwrap()))
        .collect();
    assert_eq!(
        texts,
        [Some(r#"[["a",null],[]]"#), None, Some(r#"[["b\""]]"#)]
    );
}

/// "an oversized batch is split, an oversized single row is an error that names object and row" (semantics 8)
#[test]
fn an_oversized_row_is_an_error() {
    let words: ArrayRef = Arc::new(StringViewArray::from(vec![
        "a".repeat(10),
        "b".repeat(5000),
        "c".repeat(10),
    ]));
    let limits = |limit| Cut {
        rows: 100,
        target: 1000,
        limit,
    };
    let parts = cut(&batch(vec![("s", Arc::clone(&words))]), 7, limits(10_000)).unwrap();
    assert_eq!(
        parts.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(),
        [1, 1, 1]
    );
    let text = cut(&batch(vec![("s", words)]), 7, limits(4000))
        .unwrap_err()
        .to_string();
    assert!(text.contains("row 8") && text.contains("4000"), "{text}");
}

/// The size of a row counts what its view stands for, however often a page's dictionary repeats it.
#[test]
fn shared_values_count_every_time() {
    let mut builder = arrow::array::StringViewBuilder::new();
    let block = builder.append_block(vec![b'x'; 10_000].into());
    (0..100).for_each(|_| builder.try_append_view(block, 0, 10_000).unwrap());
    let words: ArrayRef = Arc::new(builder.finish());
    let parts = cut(
        &batch(vec![("s", words)]),
        0,
        Cut {
            rows: 100,
            target: 50_000,
            limit: 50_000,
        },
    )
    .unwrap();
    assert!(
        parts.iter().all(|part| part.num_rows() <= 4),
        "50 kB hold four rows of 10 kB"
    );
}

proptest! {
    #[test]
    fn cutting_keeps_rows_and_order_within_both_bounds(lengths in prop::collection::vec(0_usize..300, 0..200), rows in 1_usize..50, target in 400_u64..5000) {
        let words: Vec<_> = lengths.iter().enumerate().map(|(i, len)| format!("{i:04}{}", "x".repeat(*len))).collect();
        let array: ArrayRef = Arc::new(BinaryViewArray::from_iter_values(&words));
        let parts = cut(&batch(vec![("s", array)]), 0, Cut { rows, target, limit: 1 << 20 }).unwrap();
        let mut seen = Vec::new();
        for part in &parts {
            prop_assert!(part.num_rows() <= rows && part.num_rows() > 0);
            let values: Vec<_> = part.column(0).as_binary_view().iter().flatten().map(<[u8]>::to_vec).collect();
            let bytes = values.iter().map(|v| v.len() as u64 + 36).sum::<u64>() + (values.len() as u64).div_ceil(8);
            prop_assert!(bytes <= target, "{} > {}", bytes, target);
            seen.extend(values);
        }
        prop_assert_eq!(seen, words.into_iter().map(String::into_bytes).collect::<Vec<_>>());
    }
}

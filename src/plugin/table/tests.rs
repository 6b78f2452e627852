//! The metadata keys, one by one, and that reading gives back what was written.

use arrow::datatypes::DataType;

use super::*;

fn full() -> Table {
    let nested = Field::new(
        "s",
        DataType::Struct(vec![Extension::Json.field("j", true)].into()),
        true,
    );
    Table {
        name: "t".to_owned(),
        title: "T".to_owned(),
        description: "all of \"it\"".to_owned(),
        columns: vec![
            id_column(),
            parent_id_column(),
            Column {
                primary_key_component: true,
                incremental_key: true,
                ..Column::new(Field::new("n", DataType::Int64, false))
            },
            Column {
                type_schema: Some("{\"a\":\"utf8\"}".to_owned()),
                ..Column::new(Extension::Json.field("j", true))
            },
            Column::new(nested),
        ],
        parent: Some("p".to_owned()),
        incremental: true,
        paid: true,
        permissions_needed: vec!["s3:GetObject".to_owned(), "s3:ListBucket".to_owned()],
        sensitive_columns: vec!["j".to_owned()],
        constraint_name: "t_pk".to_owned(),
    }
}

#[test]
fn every_key_of_a_full_table() {
    let schema = full().schema();
    let want = [
        ("cq:table_name", "t"),
        ("cq:table_title", "T"),
        ("cq:table_description", "all of \"it\""),
        ("cq:table_depends_on", "p"),
        ("cq:table_paid", "true"),
        (
            "cq:table_permissions_needed",
            "[\"s3:GetObject\",\"s3:ListBucket\"]",
        ),
        ("cq:table_sensitive_columns", "[\"j\"]"),
        ("cq:extension:constraint_name", "t_pk"),
        ("cq:extension:incremental", "true"),
    ];
    assert_eq!(*schema.metadata(), Metadata::from(want));

    let id = schema.field(0);
    assert_eq!((id.name().as_str(), id.is_nullable()), (CQ_ID, false));
    let want = [
        ("ARROW:extension:name", "uuid"),
        ("ARROW:extension:metadata", "uuid-serialized"),
        ("cq:extension:primary_key", "true"),
        ("cq:extension:unique", "true"),
        ("cq:extension:incremental", "false"),
        ("cq:extension:primary_key_component", "false"),
        ("cq:extension:type_schema", ""),
    ];
    assert_eq!(*id.metadata(), Metadata::from(want));

    let parent = schema.field(1);
    assert_eq!(
        (parent.name().as_str(), parent.is_nullable()),
        (CQ_PARENT_ID, true)
    );
    assert_eq!(parent.metadata()["cq:extension:unique"], "false");
    assert_eq!(
        schema.field(2).metadata()["cq:extension:incremental"],
        "true"
    );
    assert_eq!(
        schema.field(2).metadata()["cq:extension:primary_key_component"],
        "true"
    );
    assert_eq!(
        schema.field(3).metadata()["cq:extension:type_schema"],
        "{\"a\":\"utf8\"}"
    );
}

#[test]
fn every_key_of_a_plain_table() {
    let schema = Table::new(
        "t",
        vec![Column::new(Field::new("n", DataType::Int64, true))],
    )
    .schema();
    let want = [
        ("cq:table_name", "t"),
        ("cq:table_title", ""),
        ("cq:table_description", ""),
        ("cq:table_permissions_needed", "null"),
        ("cq:table_sensitive_columns", "null"),
        ("cq:extension:constraint_name", ""),
    ];
    assert_eq!(*schema.metadata(), Metadata::from(want));
    assert_eq!(schema.field(0).metadata().len(), 5);
}

#[test]
fn round_trip() {
    for table in [full(), Table::new("t", Vec::new())] {
        assert_eq!(Table::from_schema(&table.schema()).unwrap(), table);
    }
}

#[test]
fn what_others_write() {
    let read = |metadata: &[(&str, &str)]| {
        let metadata: Metadata = metadata.iter().copied().collect();
        Table::from_schema(&Schema::new_with_metadata(Vec::<Field>::new(), metadata))
    };
    let only_name = read(&[("cq:table_name", "t")]).unwrap();
    assert_eq!(only_name, Table::new("t", Vec::new()));
    let odd = [
        ("cq:table_name", "t"),
        ("cq:extension:incremental", "TRUE"),
        ("cq:table_depends_on", ""),
    ];
    assert_eq!(read(&odd).unwrap(), only_name);

    assert!(matches!(read(&[]), Err(WireError::NoTableName)));
    let broken = read(&[("cq:table_name", "t"), ("cq:table_permissions_needed", "{")]);
    assert!(matches!(
        broken,
        Err(WireError::Metadata {
            key: "cq:table_permissions_needed",
            ..
        })
    ));
}

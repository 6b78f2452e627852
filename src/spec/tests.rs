use serde_json::json;

use super::*;

fn parse(spec: serde_json::Value) -> Result<Settings, String> {
    Settings::from_value(spec).map_err(|e| e.to_string())
}

fn refused(spec: serde_json::Value) -> String {
    parse(spec).unwrap_err()
}

#[test]
fn the_defaults_are_those_of_the_go_plugin() {
    let settings = parse(json!({"bucket": "b"})).unwrap();
    assert_eq!(settings.rows_per_record.get(), 500);
    assert_eq!(settings.concurrency.get(), 50);
    assert_eq!(settings.prefix, "");
    assert_eq!(settings.max_errors, None);
    assert_eq!(settings.max_memory, 256 << 20);
    assert_eq!(settings.rules.hidden_after, Some(0));
    assert!(
        !settings.s3.path_style && settings.s3.region.is_none() && settings.s3.endpoint.is_none()
    );
}

#[test]
fn every_option_arrives() {
    let settings = parse(json!({
        "bucket": "b", "region": "eu-west-1", "local_profile": "p", "path_prefix": "x/", "filetype": "parquet",
        "rows_per_record": 5.0, "concurrency": -1, "endpoint": "http://localhost:9000", "path_style": true,
        "credentials": {"role_arn": "arn", "external_id": "e", "role_session_name": "s"},
        "skip_hidden_files": false, "tables": [{"name": "t", "prefixes": ["x/a/"]}],
        "on_error": "skip", "max_errors": 3, "max_memory": "1GiB"
    }))
    .unwrap();
    assert_eq!(settings.rows_per_record.get(), 5);
    assert_eq!(settings.concurrency.get(), MAX_CONCURRENCY);
    assert_eq!(settings.max_errors, Some(3));
    assert_eq!(settings.max_memory, 1 << 30);
    assert_eq!(settings.rules.hidden_after, None);
    let s3 = settings.s3;
    assert!(s3.path_style);
    assert_eq!(s3.credentials.profile.as_deref(), Some("p"));
    let role = s3.credentials.role.unwrap();
    assert_eq!(
        (
            role.role_arn.as_str(),
            role.external_id.as_deref(),
            role.session_name.as_deref()
        ),
        ("arn", Some("e"), Some("s"))
    );
}

#[test]
fn a_missing_spec_asks_for_the_bucket() {
    for spec in ["null", "{}", r#"{"bucket": null}"#] {
        let text = Settings::parse(spec.as_bytes()).unwrap_err().to_string();
        assert!(
            text.contains("`bucket`") && text.contains("required"),
            "{text}"
        );
    }
}

/// "A wrong spec: the field, what was wrong, what is allowed."
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn errors_name_the_field_and_the_way_out() {
    for (spec, parts) in [
        (
            json!({"bucket": "b", "pathprefix": "x"}),
            vec!["`pathprefix`", "did you mean `path_prefix`"],
        ),
        (
            json!({"bucket": "b", "Region": "x"}),
            vec!["`Region`", "`region`"],
        ),
        (
            json!({"bucket": "b", "zzz": 1}),
            vec!["unknown option `zzz`"],
        ),
        (
            json!({"bucket": "b", "credentials": {"role": "x"}}),
            vec!["`credentials.role`", "`role_arn`"],
        ),
        (
            json!({"bucket": "b", "tables": [{"nam": "x", "prefixes": ["a"]}]}),
            vec!["`tables[0].nam`", "`name`"],
        ),
        (
            json!({"bucket": "b", "rows_per_record": 0}),
            vec!["`rows_per_record`", "at least 1"],
        ),
        (
            json!({"bucket": "b", "rows_per_record": "many"}),
            vec!["`rows_per_record`", "many"],
        ),
        (
            json!({"bucket": "b", "rows_per_record": 5.5}),
            vec!["`rows_per_record`", "5.5"],
        ),
        (
            json!({"bucket": "b", "concurrency": 0}),
            vec!["`concurrency`", "negative"],
        ),
        (
            json!({"bucket": "b", "filetype": "csv"}),
            vec!["`filetype`", "csv", "parquet"],
        ),
        (
            json!({"bucket": "b", "endpoint": "localhost:9000"}),
            vec!["`endpoint`", "http://"],
        ),
        (
            json!({"bucket": "s3://b/x"}),
            vec!["`bucket`", "name alone"],
        ),
        (
            json!({"bucket": "b", "path_style": true, "use_path_style": false}),
            vec!["`use_path_style`", "`path_style`"],
        ),
        (
            json!({"bucket": "b", "local_profile": "a", "credentials": {"local_profile": "b"}}),
            vec!["`local_profile`", "credentials.local_profile"],
        ),
        (
            json!({"bucket": "b", "no_sign_request": true, "local_profile": "a"}),
            vec!["`no_sign_request`", "excludes"],
        ),
        (
            json!({"bucket": "b", "credentials": {"external_id": "a"}}),
            vec!["`credentials`", "role_arn"],
        ),
        (
            json!({"bucket": "b", "max_errors": 3}),
            vec!["`max_errors`", "on_error: skip"],
        ),
        (
            json!({"bucket": "b", "on_error": "ignore"}),
            vec!["`on_error`", "ignore", "skip"],
        ),
        (
            json!({"bucket": "b", "max_memory": "lots"}),
            vec!["`max_memory`", "512MiB"],
        ),
        (
            json!({"bucket": "b", "max_memory": 1}),
            vec!["`max_memory`", "32MiB"],
        ),
        (
            json!({"bucket": "b", "tables": [{"name": "", "prefixes": ["a"]}]}),
            vec!["tables[0].name"],
        ),
        (
            json!({"bucket": "b", "tables": [{"name": "a", "prefixes": []}]}),
            vec!["tables[0].prefixes"],
        ),
        (
            json!({"bucket": "b", "tables": [{"name": "a", "prefixes": ["x"]}, {"name": "b", "prefixes": ["x"]}]}),
            vec!["tables[1].prefixes", "\"a\""],
        ),
        (json!([1]), vec!["must be an object", "a list"]),
    ] {
        let text = refused(spec.clone());
        for part in parts {
            assert!(text.contains(part), "{spec}: {text:?} lacks {part:?}");
        }
    }
    assert!(
        Settings::parse(b"{")
            .unwrap_err()
            .to_string()
            .contains("not valid JSON")
    );
}

/// "never a credential in any output" (semantics 22)
#[test]
fn errors_do_not_repeat_secrets() {
    for spec in [
        json!({"bucket": "b", "endpoint": "admin:hunter2@minio:9000"}),
        json!({"bucket": "b", "credentials": "hunter2"}),
        json!({"bucket": "b", "credentials": {"external_id": ["hunter2"]}}),
    ] {
        let text = refused(spec);
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn the_json_schema_agrees_with_the_parser() {
    let schema: serde_json::Value = serde_json::from_str(&json_schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (spec, fine) in [
        (json!({"bucket": "b"}), true),
        (
            json!({"bucket": "b", "region": null, "max_memory": 67_108_864, "concurrency": -1}),
            true,
        ),
        (
            json!({"bucket": "b", "credentials": {"role_arn": "a"}, "tables": [{"name": "t", "prefixes": ["p"]}]}),
            true,
        ),
        (json!({}), false),
        (json!({"bucket": ""}), false),
        (json!({"bucket": "b", "bukcet": "b"}), false),
        (json!({"bucket": "b", "filetype": "csv"}), false),
        (json!({"bucket": "b", "concurrency": 0}), false),
        (
            json!({"bucket": "b", "rows_per_record": 4_294_967_296_i64}),
            false,
        ),
        (
            json!({"bucket": "arn:aws:s3:eu-west-1:111122223333:accesspoint/ap"}),
            true,
        ),
        (json!({"bucket": "b", "endpoint": ""}), true),
        (json!({"bucket": "b", "rows_per_record": 0}), false),
        (json!({"bucket": "b", "credentials": {"x": 1}}), false),
    ] {
        assert_eq!(validator.is_valid(&spec), fine, "schema on {spec}");
        assert_eq!(parse(spec.clone()).is_ok(), fine, "parser on {spec}");
    }
}

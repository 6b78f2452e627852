"""The CLI's other commands on our source: tables, test-connection, validate-config, migrate."""

import json

import pytest

import data
import rig


def test_tables_as_json(setup, bucket, logs):
    """`tables` shows every table with its columns, ours first; it calls Init with no_connection and still needs the bucket."""
    bucket.put_table("one/a.parquet", data.simple(0, 1))
    bucket.put_table("two/b/a.parquet", data.types_table())
    folder = logs / f"tables-{bucket.name}"
    result = setup.run("tables", args=["--format", "json", "--output-dir", folder])
    assert result.code == 0, result
    tables = {t["name"]: t for t in json.loads((folder / "s3" / "__tables.json").read_text())}
    assert set(tables) == {"one", "two_b"}
    assert [c["name"] for c in tables["one"]["columns"]] == ["_cq_id", "_cq_parent_id", "id", "name"]
    assert [c["name"] for c in tables["two_b"]["columns"]][2:] == [c.name for c in data.types_columns()]
    columns = {c["name"]: c for c in tables["two_b"]["columns"]}
    kinds = {"_cq_id": "uuid", "_cq_parent_id": "uuid", "id": "int64", "c_utf8": "utf8", "c_uuid": "uuid", "c_json": "json",
             "c_dictionary": "utf8", "c_decimal256_wide": "utf8", "c_float16": "float32", "c_fixed_binary": "binary"}
    assert {name: columns[name]["type"] for name in kinds} == kinds
    assert [n for n, c in columns.items() if c.get("is_primary_key")] == ["_cq_id"]


def test_connection_good(setup, bucket):
    """TestConnection lists one key; an empty bucket is a good connection too."""
    result = setup.run("test-connection")
    assert result.code == 0, result
    bucket.put_table("a/a.parquet", data.simple(0, 1))
    assert setup.run("test-connection").code == 0


def test_connection_no_such_bucket(setup):
    """... and says what is wrong in words a user can act on (no such bucket)."""
    result = setup.run("test-connection", bucket="no-such-bucket-anywhere")
    assert result.code == 1, result
    assert "no-such-bucket-anywhere" in result.out and '"success":false' in result.out


def test_connection_unreachable(setup):
    """... (nothing listens at the endpoint): an answer, and not after minutes of retries."""
    port = rig.free_port()
    result = setup.run("test-connection", endpoint=f"http://127.0.0.1:{port}")
    assert result.code == 1, result
    assert f"127.0.0.1:{port}" in result.out and '"success":false' in result.out
    assert result.seconds < 30


NO_CREDENTIALS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}


def test_connection_without_credentials(over_local):
    """... (no credentials): says so, instead of waiting for a metadata service."""
    over_local.env = NO_CREDENTIALS
    result = over_local.run("test-connection")
    assert result.code == 1, result
    assert "credentials" in result.out.lower()
    assert result.seconds < 30


def test_no_sign_request(over_local, bucket, database):
    """`no_sign_request`: a public bucket needs no credentials at all."""
    over_local.env = NO_CREDENTIALS
    bucket.put_table("public/a.parquet", data.simple(0, 3))
    over_local.sync(no_sign_request=True)
    assert database.count("public") == 3


def test_validate_config_good(setup):
    """validate-config checks the spec against the JSON Schema that GetSpecSchema serves: every option once."""
    result = setup.run("validate-config", path_prefix="p/", rows_per_record=10, concurrency=4, on_error="skip", max_errors=3,
                       no_sign_request=True, skip_hidden_files=False, max_memory="64MiB", filetype="parquet")
    assert result.code == 0, result
    result = setup.run("validate-config", max_memory=64 * 2**20, on_error="fail")
    assert result.code == 0, result


@pytest.mark.parametrize("wrong", [
    {"rows_per_recrod": 10}, {"on_error": "ignore"}, {"rows_per_record": 0}, {"bucket": None}, {"concurrency": "many"},
    {"filetype": "csv"},
], ids=lambda w: next(iter(w)))
def test_validate_config_refuses(setup, wrong):
    """... a misspelt option, a value that is not allowed, a missing bucket."""
    result = setup.run("validate-config", **wrong)
    assert result.code == 1, result
    assert next(iter(wrong)) in result.out


def test_migrate_makes_tables_without_rows(setup, bucket, database):
    """migrate: Init with no_connection, GetTables, nothing read but footers."""
    bucket.put_table("m/a.parquet", data.simple(0, 5))
    result = setup.run("migrate")
    assert result.code == 0, result
    assert database.tables() == {"m"} and database.count("m") == 0
    migrated = database.columns("m")
    setup.sync()
    assert database.columns("m") == migrated and database.count("m") == 5


def test_summary(setup, bucket, logs):
    """`--summary-location` makes the CLI call GetTables after Sync: the plugin must still answer."""
    bucket.put_table("s/a.parquet", data.simple(0, 5))
    path = logs / f"summary-{bucket.name}.json"
    setup.sync(args=["--summary-location", path])
    summary = json.loads(path.read_text().splitlines()[-1])
    assert summary["resources"] == 5 and summary["source_errors"] == 0

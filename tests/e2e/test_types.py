"""Every type that may reach a destination, compared value by value with what PostgreSQL holds."""

import datetime as dt
import json
import math
import uuid

import pyarrow as pa
import pytest

import data


def comparable(value):
    """NaN equals itself here; everything else is compared as it is."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    return value


def parsed(column, value):
    if not isinstance(column, data.Nested) or value is None:
        return comparable(value)
    if isinstance(value, list):
        return [None if v is None else json.loads(v) for v in value]
    return json.loads(value)


def check(database, table, columns):
    rows = database.rows(table)
    types = database.columns(table)
    assert list(types)[:2] == ["_cq_sync_time", "_cq_source_name"]
    assert list(types)[2:4] == ["_cq_id", "_cq_parent_id"], "ours come first"
    assert list(types)[4:] == [c.name for c in columns], "no column is lost, added or moved"
    wrong = []
    for column in columns:
        if types[column.name] != column.pg_type:
            wrong.append(f"{column.name}: PostgreSQL type {types[column.name]}, expected {column.pg_type}")
        got = [parsed(column, row[column.name]) for row in rows]
        if got != column.expected:
            wrong.append(f"{column.name}: {got!r}\n     expected {column.expected!r}")
    assert not wrong, "\n".join(wrong)
    return rows


def test_every_safe_type(setup, bucket, database):
    """10. No column type reaches a destination that the safe list does not have: dictionaries, run-ends and views are
    unpacked; Parquet UUID and JSON become CloudQuery's `uuid` and `json` extension types; int96 is UTC nanoseconds.

    9. `_cq_id` is always filled; `_cq_parent_id` is null."""
    columns = data.types_columns()
    bucket.put_table("types/all.parquet", data.types_table(columns))
    setup.sync()
    rows = check(database, "types", columns)
    assert all(isinstance(r["_cq_id"], uuid.UUID) for r in rows) and len({r["_cq_id"] for r in rows}) == 4
    assert all(r["_cq_parent_id"] is None and r["_cq_source_name"] == "s3" for r in rows)


DURATIONS = {f"c_duration_{unit}" for unit in ("s", "ms", "us", "ns")}


def test_files_without_an_arrow_schema(over_grpc, bucket, database):
    """10. (files of other writers than Arrow's) Parquet UUID and JSON become CloudQuery's `uuid` and `json`."""
    columns = data.types_columns()
    bucket.put_table("types/all.parquet", data.types_table(columns), store_schema=False)
    over_grpc.sync()
    for column in columns:
        if column.name in DURATIONS:  # Parquet has no duration: such a file holds plain integers
            column.pg_type, column.expected = "bigint", column.array.cast(pa.int64()).to_pylist()
    check(database, "types", columns)


def test_int96_timestamps(over_grpc, bucket, database):
    """10. int96 is UTC nanoseconds."""
    when = [dt.datetime(1969, 12, 31, 23, 59, 59), dt.datetime(2024, 2, 29, 12, 30, 45, 123456), None]
    columns = [data.Column("id", pa.int64(), [0, 1, 2], "bigint"),
               data.Column("at", pa.timestamp("ns"), when, "timestamp without time zone")]
    bucket.put_table("int96/a.parquet", data.types_table(columns), use_deprecated_int96_timestamps=True)
    bucket.put_table("int96/b.parquet", data.types_table(columns).slice(0, 0), use_deprecated_int96_timestamps=True,
                     store_schema=False)
    over_grpc.sync()
    check(database, "int96", columns)


def test_views_are_unpacked(over_grpc, bucket, database):
    """10. Dictionaries, run-ends and views are unpacked."""
    columns = [data.Column("id", pa.int64(), [0, 1, 2, 3], "bigint"),
               data.Column("t", pa.string_view(), data.TEXT, "text"),
               data.Column("b", pa.binary_view(), data.BYTES, "bytea")]
    bucket.put_table("views/a.parquet", data.types_table(columns))
    over_grpc.sync()
    check(database, "views", columns)


def test_nan_and_negative_zero(over_grpc, bucket, database):
    """The values that equality gets wrong."""
    table = pa.table({"id": [0, 1], "d": [math.nan, -0.0], "f": pa.array([math.nan, -0.0], pa.float32())})
    bucket.put_table("floats/a.parquet", table)
    over_grpc.sync()
    rows = database.rows("floats")
    assert all(math.isnan(rows[0][c]) for c in "df")
    assert all(rows[1][c] == 0 and math.copysign(1, rows[1][c]) == -1 for c in "df")


def test_required_columns_are_not_null(over_grpc, bucket, database):
    """A column that the file says is never null stays so at the destination."""
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("n", pa.int64())])
    bucket.put_table("req/a.parquet", pa.table({"id": [1], "n": [None]}, schema=schema))
    over_grpc.sync()
    found = database.query("select attname, attnotnull from pg_attribute where attrelid = 'req'::regclass and attnum > 0")
    nullable = {r["attname"]: not r["attnotnull"] for r in found}
    assert nullable["id"] is False and nullable["n"] is True
    assert nullable["_cq_id"] is False and nullable["_cq_parent_id"] is True


def test_a_files_own_cq_columns_do_not_shadow_ours(setup, bucket, database):
    """9. A `_cq_*` column found in a file never shadows ours."""
    old = dt.datetime(2001, 1, 1)
    table = pa.table({"id": [1, 2], "_cq_id": ["not", "ours"], "_cq_parent_id": ["x", "y"], "_cq_source_name": ["o", "o"],
                      "_cq_sync_time": pa.array([old, old], pa.timestamp("us"))})
    bucket.put_table("shadow/a.parquet", table)
    setup.sync()
    rows = database.rows("shadow")
    assert len(rows) == 2, "with the file's sync time the rows would be deleted as stale"
    for row in rows:
        assert isinstance(row["_cq_id"], uuid.UUID) and row["_cq_parent_id"] is None
        assert row["_cq_source_name"] == "s3" and row["_cq_sync_time"] > old


def test_a_files_metadata_cannot_declare_keys(over_grpc, bucket, database):
    """9. Only `_cq_id` is the key: what a file claims about its fields is not believed."""
    claim = {"cq:extension:primary_key": "true", "cq:extension:unique": "true", "cq:extension:incremental": "true"}
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("k", pa.utf8(), metadata=claim)],
                       metadata={"cq:table_name": "another", "cq:extension:incremental": "true"})
    bucket.put_table("claims/a.parquet", pa.table({"id": [1, 2], "k": ["same", "same"]}, schema=schema))
    over_grpc.sync()
    assert database.tables() == {"claims"}
    assert database.count("claims") == 2


@pytest.mark.parametrize("codec", ["snappy", "gzip", "zstd", "lz4", "brotli", "none"])
def test_compressions(over_grpc, bucket, database, codec):
    """Every compression that Parquet writers use today, with dictionary pages and without."""
    table = data.simple(0, 5000)
    bucket.put_table("packed/a.parquet", table, compression=codec, use_dictionary=True)
    bucket.put_table("packed/b.parquet", data.simple(5000, 5000), compression=codec, use_dictionary=False)
    over_grpc.sync()
    assert [(r["id"], r["name"]) for r in database.rows("packed")] == [(i, f"row {i}") for i in range(10000)]


@pytest.mark.parametrize("options", [
    {"data_page_version": "2.0"}, {"column_encoding": {"id": "DELTA_BINARY_PACKED", "name": "DELTA_BYTE_ARRAY"}, "use_dictionary": False},
    {"version": "1.0"}, {"write_page_index": True, "data_page_size": 512}, {"use_byte_stream_split": ["id"], "use_dictionary": False},
], ids=lambda o: next(iter(o)))
def test_encodings(over_grpc, bucket, database, options):
    """The page formats and encodings that pyarrow can write."""
    bucket.put_table("enc/a.parquet", data.simple(0, 3000), **options)
    over_grpc.sync()
    assert [(r["id"], r["name"]) for r in database.rows("enc")] == [(i, f"row {i}") for i in range(3000)]

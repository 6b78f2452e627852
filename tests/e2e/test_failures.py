"""Bad objects and bad specs: what is reported, what goes on, what is never deleted."""

import struct

import pyarrow as pa
import pytest

import data

GOOD = data.parquet(data.simple(0, 2000), row_group_size=500)


def broken_pages():
    """A sound footer over a damaged third row group: the file breaks only after rows were read from it."""
    body = bytearray(GOOD)
    start = int(len(body) * 0.55)
    body[start:start + 400] = b"\xff" * 400
    return bytes(body)


def footer_length(claim):
    """A file whose last eight bytes claim a footer of `claim` bytes."""
    return GOOD[:-8] + struct.pack("<I", claim) + b"PAR1"


BAD = {
    "truncated": GOOD[:-300],
    "cut_in_the_middle": GOOD[:len(GOOD) // 2],
    "text": b"this is a text file that somebody called .parquet\n" * 20,
    "one_byte": b"x",
    "magic_only": b"PAR1PAR1",
    "footer_longer_than_the_file": footer_length(0x7FFFFFF0),
    "footer_of_no_length": footer_length(0),
    "garbage_footer": GOOD[:-600] + b"\xa5" * 592 + GOOD[-8:],
    "broken_pages": broken_pages(),
    "encrypted_magic": GOOD[:-4] + b"PARE",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_object_fails_alone(over_grpc, bucket, database, kind):
    """12. A failing object fails its object: the rest of the sync goes on; at the end the sync reports every failed object
    and ends with a non-OK status."""
    bucket.put_table("a/good.parquet", data.simple(0, 5)).put_table("z/good.parquet", data.simple(0, 5))
    bucket.put_table("mixed/1.parquet", data.simple(10, 5)).put("mixed/2.parquet", BAD[kind])
    bucket.put_table("mixed/3.parquet", data.simple(90000, 5))
    result = over_grpc.sync(expect=1)
    assert "mixed/2.parquet" in result.out, "the message names the object"
    assert "good.parquet" not in result.out and "mixed/1.parquet" not in result.out, "and only that object"
    over_grpc.check_rest("a", 5)
    over_grpc.check_rest("z", 5)
    # A file that breaks in its middle has rows here as well: what was decoded before it broke.
    ids = {r["id"] for r in database.rows("mixed")}
    assert over_grpc.buffers or set(range(10, 15)) | set(range(90000, 90005)) <= ids
    # The plugin is as good as new.
    bucket.delete("mixed/2.parquet")
    over_grpc.sync()
    assert database.count("mixed") == 10


def test_nothing_is_deleted_after_a_failure(setup, bucket, database):
    """12. ... so that nothing is deleted as stale."""
    bucket.put_table("t/a.parquet", data.simple(0, 10, "old")).put_table("t/b.parquet", data.simple(100, 10, "old"))
    bucket.put_table("u/c.parquet", data.simple(0, 10))
    setup.sync()
    bucket.put_table("t/a.parquet", data.simple(0, 10, "new")).put("t/b.parquet", BAD["truncated"]).delete("u/c.parquet")
    bucket.put_table("u/d.parquet", data.simple(500, 1))
    result = setup.sync(expect=1)
    assert "t/b.parquet" in result.out
    rows = database.rows("t")
    assert [r["id"] for r in rows] == [*range(10), *range(100, 110)]
    generations = [r["name"].split()[0] for r in rows]
    assert generations == ["new"] * 10 + ["old"] * 10 or (setup.buffers and generations == ["old"] * 20)
    assert database.count("u") >= 10, "also nothing of other tables"
    setup.check_rest("u", 11)


def test_on_error_skip(setup, bucket, database):
    """12. With `on_error: skip` up to `max_errors` objects are reported and tolerated."""
    bucket.put_table("t/a.parquet", data.simple(0, 5)).put_table("t/z.parquet", data.simple(10, 5))
    bucket.put("t/b.parquet", BAD["truncated"]).put("t/c.parquet", BAD["text"]).put("t/d.parquet", BAD["one_byte"])
    result = setup.sync(on_error="skip", max_errors=5)
    assert [r["id"] for r in database.rows("t")] == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]
    if setup.registry == "local":  # over grpc the CLI does not see what the plugin logs
        for name in "bcd":
            assert f"t/{name}.parquet" in result.out


def test_more_errors_than_max_errors(over_grpc, bucket, database):
    """12. ... up to `max_errors`: one more is a failed sync."""
    bucket.put_table("t/a.parquet", data.simple(0, 5))
    for n in range(3):
        bucket.put(f"t/bad{n}.parquet", BAD["text"])
    result = over_grpc.sync(expect=1, on_error="skip", max_errors=2)
    assert "max_errors" in result.out


def test_every_failed_object_is_named(over_grpc, bucket, database):
    """12. ... the sync reports every failed object."""
    bucket.put_table("t/a.parquet", data.simple(0, 5))
    for n in range(4):
        bucket.put(f"t{n}/bad.parquet", BAD["text"])
    result = over_grpc.sync(expect=1)
    for n in range(4):
        assert f"t{n}/bad.parquet" in result.out
    over_grpc.check_rest("t", 5)


def test_a_file_that_disagrees_fails_alone(over_grpc, bucket, database):
    """11. A file that disagrees with its table's schema is that object's failure, never that of another table."""
    bucket.put_table("t/a.parquet", pa.table({"id": [1, 2], "v": ["x", "y"]}))
    bucket.put_table("t/b.parquet", pa.table({"id": [3], "v": pa.array([[1, 2]], pa.list_(pa.int64()))}))
    bucket.put_table("u/a.parquet", data.simple(0, 3))
    result = over_grpc.sync(expect=1)
    assert "t/b.parquet" in result.out and "v" in result.out
    over_grpc.check_rest("u", 3)
    over_grpc.check_rest("t", 2)
    assert database.columns("t")["v"] == "text"


def test_a_glacier_object_fails_alone(over_grpc, bucket, database):
    """12. (issue 2: Glacier class ...) named in the report, the rest synced, the sync not OK."""
    bucket.put_table("t/a.parquet", data.simple(0, 3))
    bucket.put("t/cold.parquet", GOOD, StorageClass="GLACIER")
    result = over_grpc.sync(expect=1)
    assert "t/cold.parquet" in result.out and "archived" in result.out
    over_grpc.check_rest("t", 3)


def test_a_column_name_twice(over_grpc, bucket, database):
    """The protocol: Parquet allows duplicate column names, destinations do not."""
    bucket.put_table("t/a.parquet", data.simple(0, 3))
    bucket.put_table("twice/a.parquet", pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["same", "same"]))
    result = over_grpc.sync(expect=1)
    assert "twice/a.parquet" in result.out and "same" in result.out
    over_grpc.check_rest("t", 3)


def test_a_column_of_nothing(over_grpc, bucket, database):
    """10. A column without a value in any file is text without a value."""
    bucket.put_table("u/a.parquet", pa.table({"id": [1, 2], "nothing": pa.nulls(2)}))
    over_grpc.sync()
    assert [r["nothing"] for r in database.rows("u")] == [None, None]
    assert database.columns("u")["nothing"] == "text"


def test_an_empty_bucket(setup):
    """4. An empty bucket or prefix is a successful sync of nothing, with a warning."""
    result = setup.sync()
    if setup.registry == "local":
        assert " WRN " in result.out and setup.bucket.name in result.out


def test_an_empty_prefix(setup, bucket, database):
    """4. An empty bucket or prefix ..."""
    bucket.put_table("a/a.parquet", data.simple(0, 1))
    result = setup.sync(path_prefix="nothing/here/")
    assert database.tables() == set()
    if setup.registry == "local":
        assert " WRN " in result.out and "nothing/here/" in result.out


WRONG = [
    ({"rows_per_recrod": 5}, ["rows_per_recrod", "rows_per_record"]),
    ({"buckett": "x"}, ["buckett", "bucket"]),
    ({"bucket": None}, ["bucket", "required"]),
    ({"bucket": ""}, ["bucket"]),
    ({"rows_per_record": 0}, ["rows_per_record"]),
    ({"filetype": "csv"}, ["filetype", "csv", "parquet"]),
    ({"on_error": "ignore"}, ["on_error", "fail", "skip"]),
    ({"max_memory": "plenty"}, ["max_memory", "plenty"]),
    ({"endpoint": "not a url"}, ["endpoint"]),
    ({"concurrency": "many"}, ["concurrency"]),
]


@pytest.mark.parametrize("wrong,says", WRONG, ids=[next(iter(wrong)) for wrong, _ in WRONG])
def test_a_wrong_spec(setup, wrong, says):
    """Issue 2: the field, what was wrong, what is allowed, nothing started. sync does not look at the JSON Schema: Init must."""
    result = setup.sync(expect=1, **wrong)
    for word in says:
        assert word in result.out.split("failed to init source")[-1], word


def test_no_such_bucket(setup):
    """A missing bucket: the sync fails and names it."""
    result = setup.sync(expect=1, bucket="no-such-bucket-anywhere")
    assert "no-such-bucket-anywhere" in result.out


def test_the_plugin_stays_usable_after_wrong_specs(over_grpc, bucket, database):
    """The protocol: Init can be called again on the same process, whatever came before."""
    bucket.put_table("t/a.parquet", data.simple(0, 1))
    over_grpc.sync(expect=1, nonsense=1)
    over_grpc.sync(expect=1, bucket="no-such-bucket-anywhere")
    over_grpc.sync()
    assert database.count("t") == 1


def test_an_oversized_row(over_grpc, bucket, database):
    """8. An oversized single row is an error that names object and row."""
    bucket.put_table("ok/a.parquet", data.simple(0, 1))
    table = pa.table({"id": [0, 1], "t": ["small", "x" * (210 * 2**20)]})
    bucket.put_table("huge/a.parquet", table, compression="zstd", use_dictionary=False, write_statistics=False)
    result = over_grpc.sync(expect=1, max_memory="1GiB")
    assert "huge/a.parquet" in result.out and "row" in result.out
    over_grpc.check_rest("ok", 1)

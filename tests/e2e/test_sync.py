"""Which rows arrive: tables, files, row groups, many objects, repeated syncs, write modes, selection."""

import pyarrow as pa

import data


def ids(database, table):
    return [r["id"] for r in database.rows(table)]


def test_tables_from_prefixes(setup, bucket, database):
    """1. The directory part of the key, `/` joined by `_`, other characters to `_`, runs collapsed, ends trimmed, is the
    table name; a root file gives its stem. Case is kept."""
    keys = {
        "data/2024/01/14/x.parquet": "data_2024_01_14",
        "datafile_0.parquet": "datafile_0",
        "Mixed/Case/f.parquet": "Mixed_Case",
        "dash-and.dot/f.parquet": "dash_and_dot",
        "year=2024/month=01/f.parquet": "year_2024_month_01",
        "--trim me--/f.parquet": "trim_me",
    }
    for number, key in enumerate(keys):
        bucket.put_table(key, data.simple(number * 10, 3))
    setup.sync()
    assert database.tables() == set(keys.values())
    for number, table in enumerate(keys.values()):
        assert ids(database, table) == [number * 10, number * 10 + 1, number * 10 + 2], table


def test_several_files_row_groups_and_tables(setup, bucket, database):
    """8. Every insert message holds exactly one record batch (a second one would be lost without a word)."""
    for table in range(3):
        for file in range(4):
            start = table * 100_000 + file * 10_000
            bucket.put_table(f"t{table}/part-{file}.parquet", data.simple(start, 2500), row_group_size=700)
    setup.sync()
    assert database.tables() == {"t0", "t1", "t2"}
    for table in range(3):
        expected = [table * 100_000 + file * 10_000 + n for file in range(4) for n in range(2500)]
        assert ids(database, f"t{table}") == expected


def test_rows_per_record_and_concurrency(over_grpc, bucket, database):
    """The options of the Go plugin with their meaning: batches of at most that many rows, objects one after another."""
    for file in range(3):
        bucket.put_table(f"small/{file}.parquet", data.simple(file * 1000, 1000), row_group_size=333)
    over_grpc.sync(rows_per_record=7, concurrency=1, max_memory="64MiB")
    assert ids(database, "small") == list(range(3000))


def test_an_empty_file_is_a_table_without_rows(setup, bucket, database):
    """A Parquet file of no rows still says what its table looks like."""
    bucket.put_table("empty/a.parquet", data.simple(0, 0))
    bucket.put_table("mixed/a.parquet", data.simple(0, 0))
    bucket.put_table("mixed/b.parquet", data.simple(5, 2))
    setup.sync()
    assert database.count("empty") == 0
    assert list(database.columns("empty")) == ["_cq_sync_time", "_cq_source_name", "_cq_id", "_cq_parent_id", "id", "name"]
    assert ids(database, "mixed") == [5, 6]


def test_more_than_a_thousand_objects(over_grpc, bucket, database):
    """Listing pages end at 1,000 keys: nothing is lost or doubled where they meet."""
    bucket.put_many([(f"many/{n % 7}/{n:05}.parquet", data.parquet(data.simple(n, 1))) for n in range(1200)])
    over_grpc.sync()
    found = [i for table in range(7) for i in ids(database, f"many_{table}")]
    assert sorted(found) == list(range(1200))


def test_one_table_of_more_than_a_thousand_objects(over_grpc, bucket, database):
    """The same within one table."""
    bucket.put_many([(f"one/{n:05}.parquet", data.parquet(data.simple(n, 1))) for n in range(1050)])
    over_grpc.sync()
    assert ids(database, "one") == list(range(1050))


def test_a_second_sync_changes_nothing(setup, bucket, database):
    """9. `_cq_id` is a UUID determined by bucket, key and row number. Replaying an object yields the same ids."""
    bucket.put_table("again/a.parquet", data.simple(0, 50), row_group_size=20)
    bucket.put_table("again/b.parquet", data.simple(0, 50))
    setup.sync()
    first = {(r["_cq_id"], r["id"]) for r in database.rows("again")}
    assert len(first) == 100 and len({i for i, _ in first}) == 100
    # Another batch size cuts the rows differently; the ids must not notice.
    setup.sync(rows_per_record=3)
    assert {(r["_cq_id"], r["id"]) for r in database.rows("again")} == first


def test_ids_do_not_depend_on_the_prefix_option(over_grpc, bucket, database):
    """9. The id is determined by bucket, key and row number: not by what else the spec says."""
    bucket.put_table("p/same/a.parquet", data.simple(0, 10))
    over_grpc.sync()
    before = [(r["id"], r["_cq_id"]) for r in database.rows("p_same")]
    over_grpc.sync(path_prefix="p/same/")
    assert [(r["id"], r["_cq_id"]) for r in database.rows("p_same")] == before


def test_rows_of_a_deleted_object_become_stale(over_grpc, bucket, database):
    """overwrite-delete-stale: what is no longer in the bucket is no longer in the table."""
    bucket.put_table("gone/a.parquet", data.simple(0, 5))
    bucket.put_table("gone/b.parquet", data.simple(100, 5))
    over_grpc.sync()
    assert database.count("gone") == 10
    bucket.delete("gone/a.parquet")
    over_grpc.sync()
    assert ids(database, "gone") == [100, 101, 102, 103, 104]


def test_overwrite_keeps_what_is_gone(over_grpc, bucket, database):
    """overwrite: an object's rows are replaced, nothing is deleted."""
    bucket.put_table("kept/a.parquet", data.simple(0, 3, "old"))
    bucket.put_table("kept/b.parquet", data.simple(10, 1))
    over_grpc.sync(write_mode="overwrite")
    bucket.put_table("kept/a.parquet", data.simple(0, 3, "new")).delete("kept/b.parquet")
    over_grpc.sync(write_mode="overwrite")
    assert [r["name"] for r in database.rows("kept")] == ["new 0", "new 1", "new 2", "row 10"]


def test_append_adds_every_time(setup, bucket, database):
    """append: two syncs, every row twice; the ids tell which rows are the same."""
    bucket.put_table("log/a.parquet", data.simple(0, 4))
    setup.sync(write_mode="append")
    setup.sync(write_mode="append")
    assert ids(database, "log") == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len({r["_cq_id"] for r in database.rows("log")}) == 4


def test_selected_tables_only(setup, bucket, database):
    """5. Tables that the request filters out cost no object read at all: a broken object there does no harm."""
    bucket.put_table("want/a.parquet", data.simple(0, 2))
    bucket.put_table("want_not/a.parquet", data.simple(0, 2))
    bucket.put("broken/a.parquet", b"this is not a Parquet file at all")
    setup.sync(source=setup.source(tables=["want*"], skip_tables=["want_not"]))
    assert database.tables() == {"want"}
    assert database.count("want") == 2


def test_a_pattern_without_a_match_is_an_error(over_grpc, bucket):
    """The protocol: each pattern must match a table; the text is the SDK's."""
    bucket.put_table("there/a.parquet", data.simple(0, 1))
    result = over_grpc.sync(expect=1, source=over_grpc.source(tables=["not_there"]))
    assert "tables include a pattern not_there with no matches" in result.out


def test_path_prefix(setup, bucket, database):
    """path_prefix: only keys under it; the table name still has the whole directory part."""
    bucket.put_table("in/a/x.parquet", data.simple(0, 1))
    bucket.put_table("in/b/x.parquet", data.simple(1, 1))
    bucket.put_table("out/x.parquet", data.simple(2, 1))
    setup.sync(path_prefix="in/")
    assert database.tables() == {"in_a", "in_b"}


def test_region_and_path_style_by_another_name(over_grpc, bucket, database):
    """Issue 2: region found by itself when it is left out; `use_path_style` is `path_style`."""
    bucket.put_table("r/a.parquet", data.simple(0, 3))
    over_grpc.sync(region=None, path_style=None, use_path_style=True)
    assert database.count("r") == 3


def test_files_of_a_table_may_differ_without_loss(over_grpc, bucket, database):
    """11. (lossless widening and missing nullable columns) Columns are joined by name, whatever their order."""
    bucket.put_table("wide/a.parquet", pa.table({"id": pa.array([1], pa.int32()), "a": ["x"]}))
    bucket.put_table("wide/b.parquet", pa.table({"b": [1.5], "id": pa.array([2**40], pa.int64())}))
    over_grpc.sync()
    rows = [(r["id"], r["a"], r["b"]) for r in database.rows("wide")]
    assert rows == [(1, "x", None), (2**40, None, 1.5)]


def test_big_rows_and_batches(over_grpc, bucket, database):
    """8. An insert stays below the byte limit; an oversized batch is split."""
    rows = 400
    body = "x" * 300_000  # 120 MB in one row group and one record: above what one message may hold
    bucket.put_table("big/a.parquet", pa.table({"id": list(range(rows)), "t": [body + str(n) for n in range(rows)]}),
                     compression="zstd", use_dictionary=False)
    over_grpc.sync(rows_per_record=100_000)
    found = database.query("select id, length(t) n, right(t, 3) e from big order by id")
    assert [r["id"] for r in found] == list(range(rows))
    assert all(r["n"] == 300_000 + len(str(r["id"])) and r["e"].endswith(str(r["id"])[-3:]) for r in found)

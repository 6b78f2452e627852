"""Keys as S3 allows them: every legal key is read, what is no data is left out with a reason."""

import pytest

import data

ODD = [
    "sp ace/a b.parquet", "plus+/a+b.parquet", "percent%41/100%.parquet", "question?/x?y=1.parquet", "hash#/a#b.parquet",
    "double//slash/a.parquet", "/leading/a.parquet", "dots.in.dir/a..b.parquet", "quote'\"/it's \"a\".parquet",
    "equal=1/a=b.parquet", "emoji 🚀/🚀.parquet", "umlaut ü/Grüße.parquet", "cjk 東京/データ.parquet", "amp&/<a>&b.parquet",
    "back\\slash/a.parquet", "star*/a*.parquet", "brace{}/[a].parquet", "tilde~/a~.parquet", "colon:/a:b;c,d.parquet",
    "deep/" + "/".join("abcdefghij") + "/a.parquet", "combining e\u0301/a.parquet", "long/" + "n" * 900 + ".parquet",
]


def all_ids(database):
    return sorted(row["id"] for table in database.tables() for row in database.rows(table))


def test_odd_keys(setup, bucket, database):
    """Every legal key is listed and read under exactly its own name."""
    for number, key in enumerate(ODD):
        bucket.put_table(key, data.simple(number, 1))
    setup.sync()
    assert all_ids(database) == list(range(len(ODD)))
    assert {"sp_ace", "plus", "percent_41", "double_slash", "leading", "dots_in_dir", "equal_1"} <= database.tables()


@pytest.mark.parametrize("key", ["ctl\x01/a.parquet", "tab\there/a.parquet", "new\nline/a.parquet"])
def test_control_characters(over_grpc, bucket, database, key):
    """A key with a control character breaks an XML listing that is not URL-encoded; the others must not suffer."""
    bucket.put_table("fine/a.parquet", data.simple(0, 1))
    bucket.put_table(key, data.simple(1, 1))
    over_grpc.sync()
    assert all_ids(database) == [0, 1]


NOT_DATA = {
    "data/_SUCCESS": b"", "data/_delta_log/00000.parquet": None, "data/.hidden.parquet": None, ".git/x.parquet": None,
    "data/_temporary/0/part.parquet": None, "data/_metadata": b"PAR1", "dir/": b"", "data/sub/": b"", "data/zero.parquet": b"",
}


def test_hidden_and_empty_objects_are_left_out(setup, bucket, database):
    """3. Directory markers, zero-byte objects and hidden paths are skipped with a counted reason that the log shows."""
    bucket.put_table("data/a.parquet", data.simple(0, 3))
    for key, body in NOT_DATA.items():
        bucket.put(key, data.parquet(data.simple(100, 1)) if body is None else body)
    setup.sync()
    assert database.tables() == {"data"}
    assert all_ids(database) == [0, 1, 2]


def test_what_is_left_out_is_counted(over_local, bucket):
    """3. ... are skipped with a counted reason that the log and the load report show."""
    bucket.put_table("data/a.parquet", data.simple(0, 3))
    bucket.put("data/zero1.parquet", b"").put("data/zero2.parquet", b"").put("dir/", b"")
    bucket.put_table("_hidden/a.parquet", data.simple(0, 1))
    result = over_local.sync()
    words = result.out.lower()
    assert "skipped" in words, "the log names the skipped objects"
    assert "hidden" in words and ("zero" in words or "empty" in words) and ("marker" in words or "directory" in words)


def test_hidden_files_can_be_read(over_grpc, bucket, database):
    """3. (`skip_hidden_files: false` reads them)"""
    bucket.put_table("data/a.parquet", data.simple(0, 1))
    bucket.put_table("_hidden/a.parquet", data.simple(1, 1))
    bucket.put_table("data/.b.parquet", data.simple(2, 1))
    over_grpc.sync(skip_hidden_files=False)
    assert all_ids(database) == [0, 1, 2]
    assert database.tables() == {"data", "hidden"}


def test_two_prefixes_with_one_table_name(setup, bucket, database):
    """2. Two prefixes that map to one table name are an error that names both."""
    bucket.put_table("a-b/x.parquet", data.simple(0, 1))
    bucket.put_table("a_b/x.parquet", data.simple(1, 1))
    result = setup.sync(expect=1)
    assert "a-b" in result.out and result.out.count("a_b") > 1, "both prefixes, and the table's name"
    assert database.tables() == set(), "nothing is written before the question is settled"


def test_a_key_without_a_name_is_reported(over_local, bucket, database):
    """2. A key whose name would be empty is reported, never dropped in silence."""
    bucket.put_table("fine/a.parquet", data.simple(0, 1))
    bucket.put_table("***/x.parquet", data.simple(1, 1))
    result = over_local.run("sync")
    assert "***/" in result.out
    assert 1 not in all_ids(database)

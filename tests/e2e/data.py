"""Sample tables and their files. Types: `types_table` has every type that the plugin must carry, with what PostgreSQL
holds afterwards written out value by value."""

import datetime as dt
import decimal
import io
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

D = decimal.Decimal


def parquet(table, **options):
    """The bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def simple(start, count, prefix="row"):
    """`count` rows with ids from `start`: for tests where the point is which rows arrive, not their types."""
    ids = list(range(start, start + count))
    return pa.table({"id": pa.array(ids, pa.int64()), "name": pa.array([f"{prefix} {i}" for i in ids], pa.utf8())})


class Column:
    """A column of the types table: what is written, and what PostgreSQL must show for it."""

    def __init__(self, name, kind, values, pg_type, expected=None):
        self.name, self.pg_type = name, pg_type
        self.array = pa.array(values, kind)
        self.expected = values if expected is None else expected


def stamp(*parts):
    return dt.datetime(*parts)


def ticks(kind, values):
    """Values of a time-like type given as its integers: Python's own types end at microseconds."""
    return pa.array(values, pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)


def lists(kind, values):
    """Lists of an extension type, which pyarrow makes from their storage only."""
    plain = pa.array(values, pa.list_(kind.storage_type))
    return pa.ListArray.from_arrays(plain.offsets, pa.ExtensionArray.from_storage(kind, plain.values), mask=plain.is_null())


U1, U2 = uuid.UUID("00000000-0000-0000-0000-000000000001"), uuid.UUID("ffeeddcc-bbaa-9988-7766-554433221100")
WHEN = [stamp(1969, 12, 31, 23, 59, 59), stamp(2024, 2, 29, 12, 30, 45), None, stamp(2262, 4, 11)]
FINE = [stamp(1969, 12, 31, 23, 59, 59, 999999), stamp(2024, 2, 29, 12, 30, 45, 123456), None, stamp(2262, 4, 11)]
TEXT = ["", "plain", None, "Grüße 東京 🚀 'quoted' \"double\" \\back\nline"]
BYTES = [b"", b"\x00\x01\xfe\xff", None, b"plain"]


def types_columns():
    """Four rows; every column has a null in row 2, and its extremes or awkward values in the others."""
    utc = "UTC"
    c = [
        Column("id", pa.int64(), [0, 1, 2, 3], "bigint"),
        Column("c_bool", pa.bool_(), [True, False, None, True], "boolean"),
        Column("c_int8", pa.int8(), [-128, 127, None, 0], "smallint"),
        Column("c_int16", pa.int16(), [-(2**15), 2**15 - 1, None, 0], "smallint"),
        Column("c_int32", pa.int32(), [-(2**31), 2**31 - 1, None, 0], "integer"),
        Column("c_int64", pa.int64(), [-(2**63), 2**63 - 1, None, 0], "bigint"),
        Column("c_uint8", pa.uint8(), [0, 255, None, 1], "smallint"),
        Column("c_uint16", pa.uint16(), [0, 65535, None, 1], "integer"),
        Column("c_uint32", pa.uint32(), [0, 2**32 - 1, None, 1], "bigint"),
        Column("c_uint64", pa.uint64(), [0, 2**64 - 1, None, 1], "numeric(20,0)"),
        # Values that binary fractions hold exactly, so that equality is the right comparison.
        Column("c_float16", pa.float16(), [-1.5, 65504.0, None, 0.25], "real"),
        Column("c_float32", pa.float32(), [-1.5, 2.0**100, None, float("inf")], "real"),
        Column("c_float64", pa.float64(), [-1.5, 1.7976931348623157e308, None, float("-inf")], "double precision"),
        Column("c_utf8", pa.utf8(), TEXT, "text"),
        Column("c_large_utf8", pa.large_utf8(), TEXT, "text"),
        Column("c_dictionary", pa.dictionary(pa.int32(), pa.utf8()), ["red", "blue", None, "red"], "text"),
        Column("c_binary", pa.binary(), BYTES, "bytea"),
        Column("c_large_binary", pa.large_binary(), BYTES, "bytea"),
        Column("c_fixed_binary", pa.binary(4), [b"\0\0\0\0", b"abcd", None, b"\xff" * 4], "bytea"),
        Column("c_date32", pa.date32(), [dt.date(1, 1, 1), dt.date(2024, 2, 29), None, dt.date(9999, 12, 31)], "date"),
        Column("c_date64", pa.date64(), [dt.date(1969, 12, 31), dt.date(2024, 2, 29), None, dt.date(2100, 1, 1)], "date"),
        Column("c_time32_s", pa.time32("s"), ticks(pa.time32("s"), [0, 45296, None, 86399]), "time without time zone",
               [dt.time(0), dt.time(12, 34, 56), None, dt.time(23, 59, 59)]),
        Column("c_time32_ms", pa.time32("ms"), ticks(pa.time32("ms"), [0, 45296789, None, 86399999]), "time without time zone",
               [dt.time(0), dt.time(12, 34, 56, 789000), None, dt.time(23, 59, 59, 999000)]),
        Column("c_time64_us", pa.time64("us"), ticks(pa.time64("us"), [0, 45296789012, None, 86399999999]),
               "time without time zone", [dt.time(0), dt.time(12, 34, 56, 789012), None, dt.time(23, 59, 59, 999999)]),
        # PostgreSQL ends at microseconds; the destination cuts the rest off.
        Column("c_time64_ns", pa.time64("ns"), ticks(pa.time64("ns"), [0, 45296789012345, None, 86399999999999]),
               "time without time zone", [dt.time(0), dt.time(12, 34, 56, 789012), None, dt.time(23, 59, 59, 999999)]),
        Column("c_decimal128", pa.decimal128(19, 10), [D("-999999999.9999999999"), D("0.0000000001"), None, D("1")],
               "numeric(19,10)"),
        Column("c_decimal128_max", pa.decimal128(38, 0), [D("-" + "9" * 38), D("9" * 38), None, D(0)], "numeric(38,0)"),
        Column("c_decimal256_fits", pa.decimal256(30, 4), [D("-" + "9" * 26 + ".9999"), D("0.0001"), None, D(1)],
               "numeric(30,4)"),
        Column("c_decimal256_wide", pa.decimal256(50, 2), [D("-" + "9" * 48 + ".99"), D("0.01"), None, D("1.00")], "text",
               ["-" + "9" * 48 + ".99", "0.01", None, "1.00"]),
        Column("c_uuid", pa.uuid(), [U1.bytes, U2.bytes, None, U1.bytes], "uuid", [U1, U2, None, U1]),
        Column("c_json", pa.json_(), ['{"a": [1, null, "x"]}', '"text"', None, "[]"], "jsonb",
               [{"a": [1, None, "x"]}, "text", None, []]),
        Column("c_list", pa.list_(pa.int64()), [[], [1, None, -3], None, [2**62]], "bigint[]"),
        Column("c_large_list", pa.large_list(pa.utf8()), [[], ["a", None, "ü"], None, [""]], "text[]"),
        Column("c_fixed_list", pa.list_(pa.int32(), 2), [[1, 2], [None, 4], None, [-1, 0]], "integer[]"),
        Column("c_list_of_list", pa.list_(pa.list_(pa.int32())), [[[1, 2], [3, 4]], [[5], []], None, [[6], None]], "jsonb"),
        Column("c_list_of_dictionary", pa.list_(pa.dictionary(pa.int32(), pa.utf8())), [["x", "y"], [], None, ["x", None]],
               "text[]"),
    ]
    for unit, values in (("s", WHEN), ("ms", WHEN), ("us", FINE), ("ns", FINE)):
        c.append(Column(f"c_timestamp_{unit}", pa.timestamp(unit), values, "timestamp without time zone"))
        c.append(Column(f"c_timestamp_{unit}_utc", pa.timestamp(unit, utc), values, "timestamp without time zone"))
        c.append(Column(f"c_duration_{unit}", pa.duration(unit), ticks(pa.duration(unit), [-1, 90061, None, 0]), "text",
                        [f"-1{unit}", f"90061{unit}", None, f"0{unit}"]))
    # The instant is what counts: the column has no zone and shows UTC.
    c.append(Column("c_timestamp_zone", pa.timestamp("us", "Asia/Tokyo"), WHEN, "timestamp without time zone"))
    return c + nested_columns()


class Nested(Column):
    """Lands as JSON text; `expected` is what that text parses to."""


def nested_columns():
    point = pa.struct([("x", pa.int32()), ("label", pa.utf8()), ("tags", pa.list_(pa.utf8()))])
    full = {"x": 1, "label": "eins", "tags": ["a", None]}
    empty = {"x": None, "label": None, "tags": None}
    scores = pa.map_(pa.utf8(), pa.int64())
    kind = pa.struct([("kind", pa.dictionary(pa.int32(), pa.utf8()))])
    return [
        Nested("c_struct", point, [full, empty, None, {"x": 2, "label": "", "tags": []}], "text"),
        Nested("c_struct_of_dictionary", kind, [{"kind": "k"}, {"kind": None}, None, {"kind": "l"}], "text"),
        Nested("c_map", scores, [[("a", 1), ("b", None)], [], None, [("ü", -1)]], "text",
               [[{"key": "a", "value": 1}, {"key": "b", "value": None}], [], None, [{"key": "ü", "value": -1}]]),
        Column("c_list_of_uuid", pa.list_(pa.uuid()), lists(pa.uuid(), [[U1.bytes, None], [], None, [U2.bytes]]), "uuid[]",
               [[U1, None], [], None, [U2]]),
        Column("c_list_of_json", pa.list_(pa.json_()), lists(pa.json_(), [['{"a": 1}', None], [], None, ["[]"]]), "jsonb[]",
               [[{"a": 1}, None], [], None, [[]]]),
        Column("c_list_of_float16", pa.list_(pa.float16()), [[1.5, None], [], None, [-2.0]], "real[]"),
        Column("c_list_of_fixed_binary", pa.list_(pa.binary(2)), [[b"ab", None], [], None, [b"\0\xff"]], "bytea[]"),
        Column("c_list_of_decimal256", pa.list_(pa.decimal256(50, 2)), [[D("0.01"), None], [], None, [D("9" * 48 + ".99")]],
               "text[]", [["0.01", None], [], None, ["9" * 48 + ".99"]]),
        Column("c_list_of_time", pa.list_(pa.timestamp("ns", "UTC")), [[FINE[0], None], [], None, [FINE[1]]],
               "timestamp without time zone[]"),
        Nested("c_struct_of_struct", pa.struct([("in", pa.struct([("f", pa.float16()), ("d", pa.decimal256(50, 2))]))]),
               [{"in": {"f": 1.5, "d": D("0.01")}}, {"in": None}, None, {"in": {"f": None, "d": None}}], "text",
               [{"in": {"f": 1.5, "d": "0.01"}}, {"in": None}, None, {"in": {"f": None, "d": None}}]),
        Nested("c_map_of_dictionary", pa.map_(pa.utf8(), pa.dictionary(pa.int32(), pa.utf8())),
               [[("a", "x"), ("b", None)], [], None, [("c", "x")]], "text",
               [[{"key": "a", "value": "x"}, {"key": "b", "value": None}], [], None, [{"key": "c", "value": "x"}]]),
        Nested("c_list_of_map", pa.list_(scores), [[[("a", 1)], []], [], None, [None]], "text[]",
               [[[{"key": "a", "value": 1}], []], [], None, [None]]),
        Nested("c_list_of_struct", pa.list_(pa.struct([("n", pa.int64())])), [[{"n": 1}, {"n": None}], [], None, [{"n": 3}]],
               "text[]"),
    ]


def types_table(columns=None):
    columns = columns or types_columns()
    return pa.table({c.name: c.array for c in columns})

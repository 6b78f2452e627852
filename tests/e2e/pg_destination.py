"""A CloudQuery destination that writes to PostgreSQL: the stand-in for CloudQuery's own (a Go module).

usage: pg_destination.py HOST:PORT

It keeps CloudQuery's type mapping (each Arrow type lands as the same PostgreSQL type with the same value), its upsert by
primary key and its delete of stale rows, so that the tests' expectations hold for both. On top of that it is strict where the
original is lenient: what the protocol forbids a source to send (several batches in one insert, a record that differs from
its migrate message, a type outside the safe list) ends the write with an error instead of landing as text."""

import base64
import datetime
import json
import signal
import sys
import threading
import traceback
from concurrent import futures

import grpc
import psycopg
import pyarrow as pa
from psycopg import sql

from cloudquery.discovery_v1 import discovery_pb2, discovery_pb2_grpc
from cloudquery.plugin_v3 import plugin_pb2 as pb
from cloudquery.plugin_v3 import plugin_pb2_grpc

T = pa.types
EPOCH = datetime.datetime(1970, 1, 1)
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# Arrow types that CloudQuery's own destination tests cover and that map to one PostgreSQL type.
SIMPLE = {
    pa.bool_(): "boolean", pa.int8(): "smallint", pa.int16(): "smallint", pa.int32(): "int", pa.int64(): "bigint",
    pa.uint8(): "smallint", pa.uint16(): "int", pa.uint32(): "bigint", pa.uint64(): "numeric(20,0)",
    pa.float32(): "real", pa.float64(): "double precision", pa.utf8(): "text", pa.large_utf8(): "text",
    pa.binary(): "bytea", pa.large_binary(): "bytea", pa.date32(): "date", pa.date64(): "date",
}
EXTENSIONS = {"uuid": "uuid", "json": "jsonb", "inet": "inet", "mac": "macaddr"}


class Refused(Exception):
    """The source sent what the protocol does not allow."""


def meta(holder, key):
    return ((holder.metadata or {}).get(key.encode()) or b"").decode()


def extension(field):
    return meta(field, "ARROW:extension:name")


def pg_type(field):
    kind = field.type
    name = extension(field)
    if name:
        if name not in EXTENSIONS:
            raise Refused(f"column {field.name}: extension type {name} is not one of CloudQuery's")
        if meta(field, "ARROW:extension:metadata") != f"{name}-serialized":
            raise Refused(f"column {field.name}: extension {name} without its exact metadata text")
        wanted = pa.binary(16) if name == "uuid" else pa.binary()
        if kind != wanted:
            raise Refused(f"column {field.name}: extension {name} is stored as {kind}, not {wanted}")
        return EXTENSIONS[name]
    if kind in SIMPLE:
        return SIMPLE[kind]
    if T.is_timestamp(kind):
        return "timestamp without time zone"
    if T.is_time(kind):
        return "time without time zone"
    if T.is_decimal128(kind):
        return f"numeric({kind.precision},{kind.scale})"
    if T.is_duration(kind):
        return "text"
    if T.is_list(kind):
        return pg_type(kind.value_field) + "[]"
    if T.is_struct(kind):
        for child in kind:
            pg_type(child)
        return "text"
    if T.is_map(kind):
        pg_type(kind.key_field)
        pg_type(kind.item_field)
        return "text"
    raise Refused(f"column {field.name}: {kind} is not in the safe list of types")


def instant(value, unit):
    """PostgreSQL keeps microseconds; what is finer is cut off, as CloudQuery's destination does."""
    return value * 10**6 // PER_SECOND[unit]


def values(field, array):
    """The column as Python values that psycopg sends as `pg_type(field)`."""
    kind = field.type
    name = extension(field)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if name == "uuid":
        return [None if v is None else v.hex() for v in array.to_pylist()]
    if name in ("json", "inet"):
        return [None if v is None else v.decode().replace("\\u0000", "") for v in array.to_pylist()]
    if T.is_timestamp(kind):
        raw = array.cast(pa.int64()).to_pylist()
        return [None if v is None else EPOCH + datetime.timedelta(microseconds=instant(v, kind.unit)) for v in raw]
    if T.is_time(kind):
        raw = array.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).to_pylist()
        return [None if v is None else (EPOCH + datetime.timedelta(microseconds=instant(v, kind.unit))).time() for v in raw]
    if T.is_duration(kind):
        return [None if v is None else f"{v}{kind.unit}" for v in array.cast(pa.int64()).to_pylist()]
    if T.is_string(kind) or T.is_large_string(kind):
        return [None if v is None else v.replace("\0", "") for v in array.to_pylist()]
    if T.is_list(kind):
        rows = []
        for row in array:
            rows.append(None if not row.is_valid else values(kind.value_field, row.values))
        return rows
    if T.is_struct(kind) or T.is_map(kind):
        return [None if v is None else json.dumps(plain(field, v), ensure_ascii=False) for v in array.to_pylist()]
    return array.to_pylist()


def plain(field, value):
    """A nested value as JSON: bytes as base64, a map as a list of key and value, numbers and texts as they are."""
    kind = field.type
    if value is None:
        return None
    if T.is_struct(kind):
        return {child.name: plain(child, value[child.name]) for child in kind}
    if T.is_map(kind):
        return [{"key": plain(kind.key_field, k), "value": plain(kind.item_field, v)} for k, v in value]
    if T.is_list(kind):
        return [plain(kind.value_field, v) for v in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


class Store:
    """One connection, and what each table's migrate message said."""

    def __init__(self, url):
        self.conn = psycopg.connect(url, autocommit=True)
        self.tables = {}

    def migrate(self, schema, force):
        name = meta(schema, "cq:table_name")
        if not name:
            raise Refused("a migrate message without cq:table_name")
        if len(set(schema.names)) != len(schema.names):
            raise Refused(f"table {name}: a column name appears twice")
        self.tables[name] = schema
        table = sql.Identifier(name)
        types = {f.name: pg_type(f) for f in schema}
        keys = [f.name for f in schema if meta(f, "cq:extension:primary_key") == "true"]
        found = self.columns(name)
        changed = [c for c, kind in types.items() if found.get(c, kind) != kind]
        if changed and force:
            self.conn.execute(sql.SQL("drop table {}").format(table))
            found = {}
        elif changed:
            raise Refused(f"can't migrate table {name} in safe mode: {changed[0]} is {found[changed[0]]}, not {types[changed[0]]}")
        if not found:
            parts = [
                sql.SQL("{} {} {}").format(sql.Identifier(f.name), sql.SQL(types[f.name]), sql.SQL("" if f.nullable else "not null"))
                for f in schema
            ]
            if keys:
                parts.append(sql.SQL("primary key ({})").format(sql.SQL(",").join(map(sql.Identifier, keys))))
            self.conn.execute(sql.SQL("create table {} ({})").format(table, sql.SQL(",").join(parts)))
        for column in types if found else ():
            if column not in found:
                self.conn.execute(sql.SQL("alter table {} add column {} {}").format(
                    table, sql.Identifier(column), sql.SQL(types[column])))
        # PostgreSQL spells types differently (`int` is `integer`): the comment keeps ours for the next migrate.
        self.conn.execute(sql.SQL("comment on table {} is {}").format(table, sql.Literal(json.dumps({**found, **types}))))

    def columns(self, name):
        """Column name to type, as the last migrate wrote them; empty for a table that is not there."""
        row = self.conn.execute("select obj_description(to_regclass(quote_ident(%s)), 'pg_class')", [name]).fetchone()
        return json.loads(row[0]) if row[0] else {}

    def insert(self, payload):
        with pa.ipc.open_stream(payload) as reader:
            schema, batches = reader.schema, list(reader)
        if len(batches) != 1:
            raise Refused(f"an insert message with {len(batches)} record batches")
        name = meta(schema, "cq:table_name")
        known = self.tables.get(name)
        if known is None:
            raise Refused(f"an insert for table {name!r} before its migrate message")
        if not schema.equals(known, check_metadata=True):
            raise Refused(f"table {name}: the record's schema differs from the migrate message's\n{schema}\n{known}")
        batches[0].validate(full=True)
        keys = [f.name for f in schema if meta(f, "cq:extension:primary_key") == "true"]
        columns = sql.SQL(",").join(map(sql.Identifier, schema.names))
        marks = sql.SQL(",").join(sql.SQL("%s::" + pg_type(f)) for f in schema)
        query = sql.SQL("insert into {} ({}) values ({})").format(sql.Identifier(name), columns, marks)
        if keys:
            query += sql.SQL(" on conflict ({}) do update set ({}) = row({})").format(
                sql.SQL(",").join(map(sql.Identifier, keys)), columns,
                sql.SQL(",").join(sql.SQL("excluded.{}").format(sql.Identifier(c)) for c in schema.names))
        rows = list(zip(*[values(f, batches[0].column(i)) for i, f in enumerate(schema)]))
        if rows:
            with self.conn.cursor() as cursor:
                cursor.executemany(query, rows)

    def delete_stale(self, table, source, before):
        self.conn.execute(
            sql.SQL("delete from {} where _cq_source_name = %s and _cq_sync_time < %s").format(sql.Identifier(table)),
            [source, before])


class Plugin(plugin_pb2_grpc.PluginServicer):
    def __init__(self):
        self.store = None

    def GetName(self, request, context):
        return pb.GetName.Response(name="pg-stand-in")

    def GetVersion(self, request, context):
        return pb.GetVersion.Response(version="v0.0.0")

    def GetSpecSchema(self, request, context):
        return pb.GetSpecSchema.Response()

    def Init(self, request, context):
        self.Close(None, None)
        self.store = Store(json.loads(request.spec)["connection_string"])
        return pb.Init.Response()

    def TestConnection(self, request, context):
        try:
            psycopg.connect(json.loads(request.spec)["connection_string"]).close()
            return pb.TestConnection.Response(success=True)
        except psycopg.Error as error:
            return pb.TestConnection.Response(failure_code="CONNECTION_FAILED", failure_description=str(error))

    def Write(self, requests, context):
        try:
            for request in requests:
                kind = request.WhichOneof("message")
                if kind == "migrate_table":
                    with pa.ipc.open_stream(request.migrate_table.table) as reader:
                        self.store.migrate(reader.schema, request.migrate_table.migrate_force)
                elif kind == "insert":
                    self.store.insert(request.insert.record)
                elif kind == "delete":
                    stale = request.delete
                    # Naive UTC, as the column is without a zone.
                    self.store.delete_stale(stale.table_name, stale.source_name, stale.sync_time.ToDatetime())
                else:
                    raise Refused(f"a {kind} message")
        except (Refused, psycopg.Error, pa.ArrowException) as error:
            traceback.print_exc()
            context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
        return pb.Write.Response()

    def Close(self, request, context):
        if self.store:
            self.store.conn.close()
            self.store = None
        return pb.Close.Response()


class Discovery(discovery_pb2_grpc.DiscoveryServicer):
    def GetVersions(self, request, context):
        return discovery_pb2.GetVersions.Response(versions=[3])


def main():
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[
        ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
    discovery_pb2_grpc.add_DiscoveryServicer_to_server(Discovery(), server)
    plugin_pb2_grpc.add_PluginServicer_to_server(Plugin(), server)
    server.add_insecure_port(sys.argv[1])
    server.start()
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    end.wait()
    server.stop(0.5).wait()


if __name__ == "__main__":
    main()

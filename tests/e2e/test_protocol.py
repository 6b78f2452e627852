"""The wire: our compiled contract against the published one, and a client built from the published package."""

import os

import grpc
import pyarrow as pa
import pytest
from google.protobuf import descriptor_pb2

import client
import data
import rig
from cloudquery.discovery_v1 import discovery_pb2
from cloudquery.plugin_v3 import plugin_pb2
from cloudquery.plugin_v3 import plugin_pb2 as pb

PUBLISHED = {"cloudquery.plugin.v3": plugin_pb2, "cloudquery.discovery.v1": discovery_pb2}
TYPES = {v: k for k, v in descriptor_pb2.FieldDescriptorProto.Type.items()}
LABELS = {v: k for k, v in descriptor_pb2.FieldDescriptorProto.Label.items()}


def flatten(file):
    """A file descriptor as lines `what -> how`: two contracts are equal if these are."""
    found = {}

    def enum(prefix, e):
        for value in e.value:
            found[f"enum {prefix}.{e.name}.{value.name}"] = value.number

    def message(prefix, m):
        name = f"{prefix}.{m.name}"
        found[f"message {name}"] = "message"
        for field in m.field:
            oneof = None
            if field.HasField("oneof_index") and not field.proto3_optional:
                oneof = m.oneof_decl[field.oneof_index].name
            found[f"field {name}.{field.name}"] = (
                field.number, TYPES[field.type], LABELS[field.label], field.type_name, f"oneof {oneof}",
                "explicit presence" if field.proto3_optional else "implicit presence", f"packed {packed(field)}",
            )
        for e in m.enum_type:
            enum(name, e)
        for nested in m.nested_type:
            message(name, nested)

    def packed(field):
        return field.options.packed if field.options.HasField("packed") else "by default"

    for e in file.enum_type:
        enum(file.package, e)
    for m in file.message_type:
        message(file.package, m)
    for service in file.service:
        for method in service.method:
            found[f"rpc {file.package}.{service.name}/{method.name}"] = (
                method.input_type, method.output_type, method.client_streaming, method.server_streaming)
    found["syntax"] = file.syntax
    return found


@pytest.fixture(scope="session")
def ours():
    path = os.environ.get("CQ_S3_DESCRIPTORS")
    if not path or not os.path.getsize(path):
        pytest.fail("our descriptors are missing: run tests/run, or `cargo run -q -p cq-plugin --example descriptors > FILE` "
                    "and set CQ_S3_DESCRIPTORS to the file", pytrace=False)
    with open(path, "rb") as file:
        return {f.package: f for f in descriptor_pb2.FileDescriptorSet.FromString(file.read()).file}


@pytest.mark.parametrize("package", PUBLISHED)
def test_our_contract_is_the_published_one(ours, package):
    """Issue 2: field by field, against cloudquery-plugin-pb 0.0.57; both directions."""
    theirs = descriptor_pb2.FileDescriptorProto()
    PUBLISHED[package].DESCRIPTOR.CopyToProto(theirs)
    mine, published = flatten(ours[package]), flatten(theirs)
    differences = [f"{key}: ours {mine.get(key)}, published {published.get(key)}"
                   for key in sorted(mine.keys() | published.keys()) if mine.get(key) != published.get(key)]
    assert not differences, "\n".join(differences)
    assert len(published) > 3, "the comparison compared something"


def test_the_older_discovery(ours):
    """The protocol: no Python package holds discovery v0; its one method and field are written out here."""
    assert flatten(ours["cloudquery.discovery.v0"]) == {
        "syntax": "proto3",
        "message cloudquery.discovery.v0.GetVersions": "message",
        "message cloudquery.discovery.v0.GetVersions.Request": "message",
        "message cloudquery.discovery.v0.GetVersions.Response": "message",
        "field cloudquery.discovery.v0.GetVersions.Response.versions": (
            1, "TYPE_STRING", "LABEL_REPEATED", "", "oneof None", "implicit presence", "packed by default"),
        "rpc cloudquery.discovery.v0.Discovery/GetVersions": (
            ".cloudquery.discovery.v0.GetVersions.Request", ".cloudquery.discovery.v0.GetVersions.Response", False, False),
    }


@pytest.fixture
def plugin(plugin_address):
    with client.Plugin(plugin_address) as plugin:
        yield plugin


@pytest.fixture
def spec(bucket, endpoint):
    return {"bucket": bucket.name, "region": rig.REGION, "endpoint": endpoint, "path_style": True}


def test_a_whole_conversation(plugin, bucket, spec):
    """Issue 2: a client of that package completes GetTables and Sync.

    8. Every insert message holds exactly one record batch, with the full schema and metadata that the migrate message had."""
    table = data.types_table()
    bucket.put_table("t/a.parquet", table).put_table("t/b.parquet", table)
    bucket.put_table("u/a.parquet", data.simple(0, 1000), row_group_size=100)
    bucket.put_table("empty/a.parquet", data.simple(0, 0))
    assert 3 in plugin.versions()
    assert plugin.stub.GetName(pb.GetName.Request()).name
    assert plugin.stub.GetVersion(pb.GetVersion.Request()).version
    assert "bucket" in plugin.stub.GetSpecSchema(pb.GetSpecSchema.Request()).json_schema
    plugin.init(spec)
    tables = {s.metadata[b"cq:table_name"].decode(): s for s in plugin.tables()}
    assert set(tables) == {"t", "u", "empty"}
    migrated, rows = {}, {}
    for message in client.decode(plugin.sync()):
        name = message.schema.metadata[b"cq:table_name"].decode()
        if message.kind == "migrate":
            assert name not in migrated, "one migrate message a table"
            migrated[name] = message.schema
        else:
            assert message.schema.equals(migrated[name], check_metadata=True), name
            assert message.size < 100 * 2**20
            rows.setdefault(name, []).append(message.batch)
    assert set(migrated) == set(tables)
    for name, schema in tables.items():
        assert schema.equals(migrated[name], check_metadata=True), "GetTables and Sync say the same"
    assert sum(b.num_rows for b in rows["t"]) == 8 and sum(b.num_rows for b in rows["u"]) == 1000
    assert sum(b.num_rows for b in rows.get("empty", [])) == 0
    got = pa.Table.from_batches(rows["u"]).sort_by("id").select(["id", "name"])
    assert got.to_pydict() == data.simple(0, 1000).to_pydict()


def test_schema_metadata(plugin, bucket, spec):
    """The protocol: the keys that the Go SDK always writes, and how `_cq_id` looks on the wire."""
    bucket.put_table("t/a.parquet", data.simple(0, 1))
    plugin.init(spec)
    (schema,) = plugin.tables()
    always = {b"cq:table_name", b"cq:table_description", b"cq:table_title", b"cq:extension:constraint_name",
              b"cq:table_permissions_needed", b"cq:table_sensitive_columns"}
    assert always <= set(schema.metadata)
    assert b"cq:table_depends_on" not in schema.metadata and b"cq:table_paid" not in schema.metadata
    assert schema.names == ["_cq_id", "_cq_parent_id", "id", "name"]
    five = {b"cq:extension:primary_key", b"cq:extension:unique", b"cq:extension:incremental",
            b"cq:extension:primary_key_component", b"cq:extension:type_schema"}
    for field in schema:
        assert five <= set(field.metadata), field.name
        assert b"PARQUET:field_id" not in field.metadata, "the file's own metadata stays in the file"
        assert field.metadata[b"cq:extension:primary_key"] == (b"true" if field.name == "_cq_id" else b"false")
        assert field.metadata[b"cq:extension:unique"] == (b"true" if field.name == "_cq_id" else b"false")
    for name in ("_cq_id", "_cq_parent_id"):
        field = schema.field(name)
        assert field.type == pa.binary(16)
        assert field.metadata[b"ARROW:extension:name"] == b"uuid"
        assert field.metadata[b"ARROW:extension:metadata"] == b"uuid-serialized"
    assert not schema.field("_cq_id").nullable and schema.field("_cq_parent_id").nullable


def test_migrate_comes_before_inserts(plugin, bucket, spec):
    """The protocol: migrate_table of a table before its inserts."""
    for table in range(5):
        bucket.put_table(f"t{table}/a.parquet", data.simple(0, 100))
    plugin.init(spec)
    seen = set()
    for message in client.decode(plugin.sync()):
        name = message.schema.metadata[b"cq:table_name"]
        assert message.kind == "migrate" or name in seen
        seen.add(name)
    assert len(seen) == 5


def test_a_second_client_does_no_harm(plugin, plugin_address, bucket, spec):
    """The protocol: several CLI runs may hit one process. Whatever the second one is told, the first one's rows
    are whole."""
    for n in range(4):
        bucket.put_table(f"t/{n}.parquet", data.simple(n * 10_000, 10_000))
    plugin.init(spec | {"rows_per_record": 50})
    stream = plugin.sync()
    messages = [next(stream) for _ in range(3)]
    with client.Plugin(plugin_address) as other:
        try:
            other.init(spec | {"path_prefix": "nothing/"})
            list(other.sync())
        except client.RpcError as error:
            assert "in use" in error.details()
    messages.extend(stream)
    ids = [i for m in client.decode(messages) if m.kind == "insert" for i in m.batch.column("id").to_pylist()]
    assert sorted(ids) == list(range(40_000))


def failed(call):
    with pytest.raises(client.RpcError) as error:
        call()
    return error.value


def test_errors_travel_as_messages_only_if_asked(plugin, bucket, spec):
    """The protocol: an `error` message is fatal to older CLIs unless withErrorMessages. 12. ... ends with a non-OK status."""
    bucket.put_table("good/a.parquet", data.simple(0, 1)).put("bad/a.parquet", b"no Parquet file")
    plugin.init(spec)
    for asked in (False, True):
        messages = []
        status = failed(lambda: messages.extend(client.decode(plugin.sync(withErrorMessages=asked))))
        assert "bad/a.parquet" in status.details()
        assert status.code() not in (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
        errors = [m for m in messages if m.kind == "error"]
        assert any(m.kind == "insert" for m in messages)
        if asked:
            assert [m.table for m in errors] == ["bad"] and "bad/a.parquet" in errors[0].error
        else:
            assert not errors


def test_an_unchanged_checkpoint_flag_does_no_harm(plugin, bucket, spec):
    """16. (until there is a ledger) A CLI that supports checkpoints gets the same rows."""
    bucket.put_table("t/a.parquet", data.simple(0, 10))
    plugin.init(spec)
    rows = [m.batch.num_rows for m in client.decode(plugin.sync(supports_checkpoints=True)) if m.kind == "insert"]
    assert sum(rows) == 10


def test_what_a_source_does_not_do(plugin):
    """The protocol: UNIMPLEMENTED to what only destinations and transformers answer."""
    calls = [
        lambda: plugin.stub.Write(iter([])), lambda: list(plugin.stub.Read(pb.Read.Request())),
        lambda: list(plugin.stub.Transform(iter([]))), lambda: plugin.stub.TransformSchema(pb.TransformSchema.Request()),
        lambda: list(plugin.stub.WriteStream(iter([]))), lambda: plugin.stub.AssessTables(pb.AssessTables.Request()),
    ]
    for call in calls:
        assert failed(call).code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.starts_plugin
def test_calls_before_init(logs):
    """The protocol: Sync and GetTables before Init are errors in words; Close is fine."""
    process, address = rig.start_plugin(logs, "plugin-uninitialised")
    try:
        with client.Plugin(address) as plugin:
            assert "not initialized" in failed(plugin.tables).details()
            assert "not initialized" in failed(lambda: list(plugin.sync())).details()
            plugin.stub.Close(pb.Close.Request())
    finally:
        process.stop()


def test_a_null_spec(plugin):
    """The protocol: no `spec:` arrives as the four bytes `null`: an error that says what is required."""
    status = failed(lambda: plugin.init(None))
    assert "bucket" in status.details()


def test_connection_failures_are_answers(plugin, spec):
    """The protocol: a failed TestConnection is success=false with a code and words, not a gRPC error."""
    answer = plugin.test_connection(spec | {"bucket": "no-such-bucket-anywhere"})
    assert not answer.success and answer.failure_code
    assert "no-such-bucket-anywhere" in answer.failure_description
    answer = plugin.test_connection(spec | {"nonsense": 1})
    assert not answer.success and "nonsense" in answer.failure_description
    assert plugin.test_connection(spec).success


def test_health(plugin):
    """Issue 2: gRPC health on the same port. An empty HealthCheckRequest; field 1 of the answer, SERVING = 1."""
    check = plugin.channel.unary_unary("/grpc.health.v1.Health/Check")
    assert check(b"", timeout=client.TIMEOUT) == b"\x08\x01"

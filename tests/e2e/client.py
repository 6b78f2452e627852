"""A gRPC client built from the published Python package: an implementation that shares no code with ours or the CLI's."""

import json
from types import SimpleNamespace

import grpc
import pyarrow as pa

from cloudquery.discovery_v1 import discovery_pb2, discovery_pb2_grpc
from cloudquery.plugin_v3 import plugin_pb2 as pb
from cloudquery.plugin_v3 import plugin_pb2_grpc

RpcError = grpc.RpcError
LIMITS = [("grpc.max_receive_message_length", 200 * 2**20), ("grpc.max_send_message_length", 200 * 2**20)]
TIMEOUT = 60  # no call in these tests takes longer; a hanging plugin must not hang the suite


class Plugin:
    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, options=LIMITS)
        self.stub = plugin_pb2_grpc.PluginStub(self.channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def versions(self):
        stub = discovery_pb2_grpc.DiscoveryStub(self.channel)
        return list(stub.GetVersions(discovery_pb2.GetVersions.Request(), timeout=TIMEOUT).versions)

    def init(self, spec, no_connection=False):
        request = pb.Init.Request(spec=json.dumps(spec).encode(), no_connection=no_connection, invocation_id="e2e")
        return self.stub.Init(request, timeout=TIMEOUT)

    def test_connection(self, spec):
        return self.stub.TestConnection(pb.TestConnection.Request(spec=json.dumps(spec).encode()), timeout=TIMEOUT)

    def tables(self, *patterns, **more):
        request = pb.GetTables.Request(tables=patterns or ["*"], **more)
        return [schema(t) for t in self.stub.GetTables(request, timeout=TIMEOUT).tables]

    def sync(self, *patterns, **more):
        return self.stub.Sync(pb.Sync.Request(tables=patterns or ["*"], skip_dependent_tables=True, **more), timeout=TIMEOUT)


def schema(payload):
    with pa.ipc.open_stream(payload) as reader:
        assert list(reader) == [], "a table message holds a schema only"
        return reader.schema


def decode(responses):
    """The stream's messages as `kind` with `schema`, `batch` or `error`."""
    for response in responses:
        kind = response.WhichOneof("message")
        if kind == "migrate_table":
            yield SimpleNamespace(kind="migrate", schema=schema(response.migrate_table.table))
        elif kind == "insert":
            with pa.ipc.open_stream(response.insert.record) as reader:
                batches = list(reader)
                assert len(batches) == 1, f"an insert message with {len(batches)} batches: the CLI forwards the first only"
                batches[0].validate(full=True)
                size = response.ByteSize()
                yield SimpleNamespace(kind="insert", schema=reader.schema, batch=batches[0], size=size)
        elif kind == "error":
            yield SimpleNamespace(kind="error", table=response.error.table_name, error=response.error.error)
        else:
            raise AssertionError(f"a message of kind {kind}")

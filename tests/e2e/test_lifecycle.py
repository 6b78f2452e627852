"""The plugin as a process: signals, clients that vanish, logs, credentials, memory."""

import json
import signal
import time

import pyarrow as pa
import pytest

import client
import data
import rig

pytestmark = pytest.mark.starts_plugin
MAX_LOG_LINE = 4096  # the CLI discards longer lines


@pytest.fixture
def own_plugin(logs, request):
    """A plugin process for this test alone."""
    started = []

    def start(*args, **env):
        name = f"plugin-{request.node.name.translate({ord(c): '-' for c in '[]/ '})}-{len(started)}"
        process, address = rig.start_plugin(logs, name, rig.environment(**env), args)
        started.append(process)
        return process, address

    yield start
    for process in started:
        process.stop()


def spec(bucket, endpoint, **more):
    return {"bucket": bucket.name, "region": rig.REGION, "endpoint": endpoint, "path_style": True, **more}


def fill(bucket, objects=30, rows=2000):
    body = data.parquet(data.simple(0, rows))
    bucket.put_many([(f"t{n % 3}/{n}.parquet", body) for n in range(objects)])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_process(own_plugin, number):
    """21. SIGINT and SIGTERM end the process with 0 at once."""
    process, _ = own_plugin()
    started = time.monotonic()
    process.send(number)
    assert process.wait(5) == 0
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_do_not_wait_for_a_sync(own_plugin, number, bucket, endpoint):
    """21. ... also while a client holds a stream that it does not read: no graceful drain."""
    fill(bucket)
    process, address = own_plugin()
    with client.Plugin(address) as plugin:
        plugin.init(spec(bucket, endpoint, rows_per_record=10))
        stream = plugin.sync()
        next(stream)
        started = time.monotonic()
        process.send(number)
        assert process.wait(5) == 0
        assert time.monotonic() - started < 1


def test_a_client_that_disappears(own_plugin, bucket, endpoint):
    """13. If the client goes away, all work stops within a second and the plugin is ready for the next Init."""
    fill(bucket, rows=20000)
    process, address = own_plugin()
    for _ in range(3):
        with client.Plugin(address) as gone:
            gone.init(spec(bucket, endpoint, rows_per_record=10))
            stream = gone.sync()
            for _ in range(5):
                next(stream)
        # The channel is closed without a word, as when the client was killed.
        end = time.monotonic() + 1
        with client.Plugin(address) as after:
            while True:
                try:
                    after.init(spec(bucket, endpoint))
                    break
                except client.RpcError as error:
                    assert time.monotonic() < end, f"not ready a second after the client left: {error}"
                    time.sleep(0.05)
    with client.Plugin(address) as plugin:
        plugin.init(spec(bucket, endpoint))
        rows = sum(m.batch.num_rows for m in client.decode(plugin.sync()) if m.kind == "insert")
    assert rows == 30 * 20000, "and the next sync is whole"
    assert process.exit_code() is None


def cpu_seconds(process):
    fields = (rig.Path("/proc") / str(process.pid) / "stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100  # user and system time in ticks of 10 ms


def test_work_stops_when_the_client_is_gone(own_plugin, bucket, endpoint):
    """13. ... all work stops within a second: a plugin without a client uses no CPU."""
    fill(bucket, objects=60, rows=100_000)
    process, address = own_plugin()
    with client.Plugin(address) as gone:
        gone.init(spec(bucket, endpoint, rows_per_record=100))
        stream = gone.sync()
        for _ in range(20):
            next(stream)
    time.sleep(1)
    before = cpu_seconds(process)
    time.sleep(1)
    assert cpu_seconds(process) - before < 0.1


def test_a_client_that_stops_reading_stops_the_reading(own_plugin, bucket, endpoint):
    """Issue 2: streamed lazily: if the client stops reading, we stop fetching."""
    body = data.parquet(pa.table({"t": [f"{n:0200}" for n in range(20_000)]}), compression="none", use_dictionary=False)
    bucket.put_many([(f"t/{n}.parquet", body) for n in range(60)])  # 4 MB each
    process, address = own_plugin()
    with client.Plugin(address) as slow:
        slow.init(spec(bucket, endpoint, max_memory="32MiB", concurrency=4))
        stream = slow.sync()
        next(stream)
        time.sleep(2)
        before = cpu_seconds(process)
        time.sleep(1)
        assert cpu_seconds(process) - before < 0.1
        assert peak_megabytes(process) < 250


def peak_megabytes(process):
    status = (rig.Path("/proc") / str(process.pid) / "status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def test_a_decompression_bomb(own_plugin, bucket, endpoint):
    """Issue 2: a hostile file is an error under the memory budget, never a panic or an out-of-memory kill."""
    table = pa.table({"t": ["x" * (300 * 2**20)]})
    bucket.put_table("bomb/a.parquet", table, compression="zstd", use_dictionary=False, write_statistics=False)
    del table
    process, address = own_plugin()
    with client.Plugin(address) as plugin:
        plugin.init(spec(bucket, endpoint, max_memory="64MiB"))
        with pytest.raises(client.RpcError) as error:
            list(plugin.sync())
        assert "bomb/a.parquet" in error.value.details()
        plugin.init(spec(bucket, endpoint))
    assert process.exit_code() is None
    assert peak_megabytes(process) < 300


def drive(address, bucket, endpoint):
    """A good sync, a failing one, and every kind of wrong request: all that can lead to a log line."""
    with client.Plugin(address) as plugin:
        plugin.init(spec(bucket, endpoint))
        try:
            list(plugin.sync())
        except client.RpcError:
            pass
        for wrong in ({"nonsense": 1}, {"bucket": "no-such-bucket-anywhere"}, {"endpoint": "http://127.0.0.1:9"}):
            try:
                plugin.init(spec(bucket, endpoint) | wrong)
                list(plugin.sync())
            except client.RpcError:
                pass
            plugin.test_connection(spec(bucket, endpoint) | wrong)


def check_lines(text):
    lines = text.splitlines()
    assert lines
    for line in lines:
        assert len(line.encode()) < MAX_LOG_LINE, f"{len(line.encode())} bytes: {line[:200]}"
        record = json.loads(line)
        assert isinstance(record, dict), line
        assert record["level"] in ("trace", "debug", "info", "warn", "error"), line
        assert isinstance(record["message"], str) and record["message"], line
        assert "time" not in record, "the CLI adds its own"
        assert not any(isinstance(v, dict) for v in record.values()), f"not flat: {line}"


@pytest.mark.parametrize("level", ["info", "trace"])
def test_logs_are_what_the_cli_parses(own_plugin, bucket, endpoint, level):
    """22. Logs on stdout are the flat JSON lines that the CLI parses, each under 4 KiB; never a credential in any output."""
    fill(bucket, objects=6, rows=10)
    bucket.put("bad/" + "long" * 200 + ".parquet", b"no Parquet " * 1000)
    bucket.put("bad/line\nbreak.parquet", b"no Parquet either")
    process, address = own_plugin("--log-level", level)
    drive(address, bucket, endpoint)
    process.send(signal.SIGTERM)
    assert process.wait(5) == 0
    check_lines(process.text())
    assert rig.SECRET not in process.text()


def test_no_credential_in_any_output(over_local, bucket):
    """22. ... never a credential in any output: neither the log at its most talkative, nor the errors."""
    bucket.put_table("t/a.parquet", data.simple(0, 1)).put("u/b.parquet", b"no Parquet file")
    good = over_local.run("sync", args=["--log-level", "trace"])
    bad = over_local.run("sync", args=["--log-level", "trace"], bucket="no-such-bucket-anywhere")
    check = over_local.run("test-connection", args=["--log-level", "trace"], endpoint="http://127.0.0.1:9")
    for result in (good, bad, check):
        assert rig.SECRET not in result.out
        assert "AWS4-HMAC" not in result.out and "X-Amz-Signature" not in result.out


def test_local_logs_reach_the_user_as_they_are(over_local, bucket):
    """22. (as `registry: local` shows it) No line that the CLI could not read, none cut, no error counted in a good sync."""
    bucket.put_table("t/a.parquet", data.simple(0, 1))
    result = over_local.sync()
    for sign in ("unknown level", "truncated plugin log line", " UNK ", " ERR ", "??? "):
        assert sign not in result.out
    assert "errors=0" in result.out

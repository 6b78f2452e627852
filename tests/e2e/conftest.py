"""Fixtures: the parts of the rig (once a session), and what each test gets for itself (a bucket, a database, a config).

A part that cannot be had fails every test that needs it, with the line that says how to get it; nothing is skipped."""

import itertools
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import boto3
import botocore.config
import psycopg
import pytest
from psycopg import sql

import data
import rig

ADDRESS = os.environ.get("CQ_S3_ADDRESS")
LOCAL_ONLY = "CQ_S3_ADDRESS is set: {} tests that must start the plugin themselves are deselected"


def pytest_configure(config):
    config.addinivalue_line("markers", "starts_plugin: the test starts the plugin binary itself")
    config.addinivalue_line("filterwarnings", "ignore:XDG_RUNTIME_DIR")


def pytest_generate_tests(metafunc):
    if "registry" in metafunc.fixturenames:
        metafunc.parametrize("registry", ["grpc", "local"])


def pytest_collection_modifyitems(config, items):
    """Against a running plugin only what reaches it by address can run; say what is left out."""
    if not ADDRESS:
        return
    callspec = [getattr(item, "callspec", None) for item in items]
    local = [i for i, c in zip(items, callspec)
             if i.get_closest_marker("starts_plugin") or "over_local" in i.fixturenames
             or (c and c.params.get("registry") == "local")]
    items[:] = [i for i in items if i not in local]
    config.hook.pytest_deselected(items=local)
    config.stash[left_out] = len(local)


left_out = pytest.StashKey()


def pytest_terminal_summary(terminalreporter, config):
    count = config.stash.get(left_out, 0)
    if count:
        terminalreporter.write_line(LOCAL_ONLY.format(count))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.failed:
        for process in rig.Process.running:
            tail = process.tail()
            if tail:
                report.sections.append((f"log of {process.name}", tail))


@pytest.fixture(autouse=True)
def log_marks():
    """So that a failure shows what was logged during this test only."""
    for process in rig.Process.running:
        process.set_mark()


def part(start):
    try:
        return start()
    except rig.Missing as missing:
        pytest.fail(str(missing), pytrace=False)


@pytest.fixture(scope="session")
def logs():
    folder = rig.WORK / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="session")
def localstack(logs):
    process, url = part(lambda: rig.start_localstack(logs))
    yield url
    process.stop(grace=0)  # its state is in memory and its orderly end takes seconds


@pytest.fixture(scope="session")
def postgres(logs):
    server = part(lambda: rig.Postgres(logs))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def destination(logs, postgres):
    process, keys = part(lambda: rig.start_destination(logs))
    yield keys
    if process:
        process.stop()


@pytest.fixture(scope="session")
def plugin_address(logs):
    """The plugin that `registry: grpc` talks to: one process for the whole session, as in production."""
    if ADDRESS:
        yield ADDRESS
        return
    process, address = part(lambda: rig.start_plugin(logs))
    yield address
    code = process.exit_code()
    process.stop()
    assert code is None, f"the plugin ended during the session with {code}: {process.tail()}"


@pytest.fixture(scope="session")
def cli(logs):
    return part(lambda: rig.Cli(logs))


@pytest.fixture(scope="session")
def s3(localstack):
    config = botocore.config.Config(s3={"addressing_style": "path"}, max_pool_connections=16,
                                    request_checksum_calculation="when_required")
    return boto3.client("s3", endpoint_url=localstack, region_name=rig.REGION, aws_access_key_id="test",
                        aws_secret_access_key=rig.SECRET, config=config)


class Bucket:
    numbers = itertools.count(1)

    def __init__(self, s3):
        self.s3 = s3
        self.name = f"bucket-{next(Bucket.numbers)}"
        s3.create_bucket(Bucket=self.name)

    def put(self, key, body, **headers):
        self.s3.put_object(Bucket=self.name, Key=key, Body=body, **headers)
        return self

    def put_table(self, key, table, **options):
        return self.put(key, data.parquet(table, **options))

    def put_many(self, objects, threads=8):
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda item: self.put(*item), objects))

    def delete(self, key):
        self.s3.delete_object(Bucket=self.name, Key=key)


@pytest.fixture
def bucket(s3):
    return Bucket(s3)


class Database:
    """What a destination wrote, read back (in binary: as text, a `real` comes rounded to its shortest form)."""

    def __init__(self, url):
        self.url = url

    def query(self, text, *values):
        with psycopg.connect(self.url) as conn, conn.cursor(binary=True, row_factory=psycopg.rows.dict_row) as cursor:
            return cursor.execute(text, values).fetchall()

    def rows(self, table, order="id"):
        return self.query(sql.SQL("select * from {} order by {}").format(sql.Identifier(table), sql.Identifier(order)))

    def count(self, table):
        return self.query(sql.SQL("select count(*) n from {}").format(sql.Identifier(table)))[0]["n"]

    def tables(self):
        return {r["tablename"] for r in self.query("select tablename from pg_tables where schemaname = 'public'")}

    def columns(self, table):
        """Column name to PostgreSQL type, in the table's order."""
        found = self.query("select attname, format_type(atttypid, atttypmod) t from pg_attribute where attrelid = "
                           "to_regclass(quote_ident(%s)) and attnum > 0 and not attisdropped order by attnum", table)
        return {r["attname"]: r["t"] for r in found}


@pytest.fixture
def database(postgres):
    name = postgres.database()
    yield Database(postgres.url(name))
    postgres.execute(f"drop database {name} with (force)")  # some MB each; force, as the destination may still hold it


class Setup:
    """A CloudQuery configuration: our source, the destination, and the commands run on them."""

    def __init__(self, registry, address, endpoint, bucket, destination, database, cli):
        self.registry, self.address, self.endpoint = registry, address, endpoint
        self.bucket, self.keys, self.database, self.cli = bucket, destination, database, cli
        self.env = {}

    def source(self, tables=("*",), skip_tables=None, name="s3", **spec):
        path = self.address if self.registry == "grpc" else str(part(rig.plugin_binary))
        defaults = {"bucket": self.bucket.name, "region": rig.REGION, "endpoint": self.endpoint, "path_style": True}
        body = {"name": name, "registry": self.registry, "path": path, "tables": list(tables), "destinations": ["pg"],
                "spec": {k: v for k, v in {**defaults, **spec}.items() if v is not None}}
        if skip_tables:
            body["skip_tables"] = skip_tables
        return {"kind": "source", "spec": body}

    def sink(self, write_mode="overwrite-delete-stale"):
        body = {"name": "pg", **self.keys, "write_mode": write_mode, "spec": {"connection_string": self.database.url}}
        return {"kind": "destination", "spec": body}

    def run(self, command, source=None, write_mode="overwrite-delete-stale", args=(), **spec):
        return self.cli.run(command, source or self.source(**spec), self.sink(write_mode), args=args, env=self.env)

    def check_rest(self, table, want):
        """The rows of the good objects after a sync that failed. CloudQuery's own destination holds rows back in batches,
        and loses those when the CLI cancels it because of the failure (the next sync brings them): there, `want` is the most."""
        got = self.database.count(table)
        assert got == want or (self.buffers and got < want), f"{got} rows in {table}, not {want}"

    @property
    def buffers(self):
        return self.keys["registry"] == "local"

    def sync(self, expect=0, **keywords):
        result = self.run("sync", **keywords)
        assert result.code == expect, f"expected exit code {expect}: {result}"
        return result


@pytest.fixture(scope="session")
def endpoint(localstack):
    """The S3 as the plugin sees it: another address than ours when the plugin runs in a container."""
    return os.environ.get("CQ_S3_ENDPOINT_FOR_PLUGIN") or localstack


@pytest.fixture
def setup(registry, request, endpoint, bucket, destination, database, cli):
    address = request.getfixturevalue("plugin_address") if registry == "grpc" else None
    return Setup(registry, address, endpoint, bucket, destination, database, cli)


@pytest.fixture
def over_grpc(plugin_address, endpoint, bucket, destination, database, cli):
    """For tests whose point has nothing to do with how the CLI reaches the plugin."""
    return Setup("grpc", plugin_address, endpoint, bucket, destination, database, cli)


@pytest.fixture
def over_local(endpoint, bucket, destination, database, cli):
    """`registry: local`, where the CLI also shows what the plugin logs."""
    return Setup("local", None, endpoint, bucket, destination, database, cli)

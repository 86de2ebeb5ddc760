"""Nothing of a checkpoint is run, nothing is fetched, and nothing that `.meta` tells of its machine leaves it."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import google
from faults_cli import run_locked

# Of the graph of default_small: where its trainer read its examples from.
SECRETS = ("tfrecord", "electra_data")


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Convert the checkpoint with everything told; return OUT and all that was printed."""
    out = tmp_path_factory.mktemp("privacy") / "out"
    plain = run_locked("tf1", str(google("default_small")), str(out), "--no-verify", "-v")
    assert plain.returncode == 0, plain.stderr
    shutil.rmtree(out)
    done = run_locked("tf1", str(google("default_small")), str(out), "--no-verify", "-v", "--json")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    return out, plain.stdout + plain.stderr + done.stdout + done.stderr


def test_the_secrets_are_there_to_be_kept() -> None:
    content = next(google("default_small").glob("*.meta")).read_bytes()
    assert all(secret.encode() in content for secret in SECRETS)


def test_a_conversion_prints_and_records_none_of_them(converted: tuple[Path, str]) -> None:
    out, printed = converted
    written = "".join(path.read_text() for path in out.iterdir() if path.suffix != ".safetensors")
    weights = (out / "model.safetensors").read_bytes()
    for secret in SECRETS:
        assert secret not in printed
        assert secret not in written
        assert secret.encode() not in weights


def test_an_inspection_prints_none_of_them() -> None:
    for words in (["--json"], ["-v", "--variables"]):
        done = run_locked("inspect", str(google("default_small")), *words)
        assert done.returncode == 0, done.stderr
        assert not any(secret in done.stdout + done.stderr for secret in SECRETS)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
def test_a_verification_prints_and_reports_none_of_them(converted: tuple[Path, str], tmp_path: Path) -> None:
    """torch itself uses pickle when it is imported, so only sockets are locked here."""
    out, _ = converted
    words = ["verify", str(google("default_small")), str(out), "--json"]
    done = run_locked(*words, pickles=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert not any(secret in done.stdout + done.stderr for secret in SECRETS)


def test_a_damaged_graph_tells_none_of_them_either(tmp_path: Path) -> None:
    """The warning that a graph cannot be used names nodes and sizes, but no content."""
    folder = tmp_path / "ckpt"
    shutil.copytree(google("default_small"), folder)
    meta = next(folder.glob("*.meta"))
    content = meta.read_bytes()
    for number, size in enumerate((len(content) - 10, content.index(b"tfrecord") + 20)):
        meta.write_bytes(content[:size])
        done = run_locked("tf1", str(folder), str(tmp_path / f"out{number}"), "--no-verify", "-v", "--json")
        assert done.returncode == 0, done.stderr
        assert "graph not usable" in done.stderr
        record = (tmp_path / f"out{number}" / "conversion.json").read_text()
        assert not any(secret in done.stdout + done.stderr + record for secret in SECRETS)
        assert str(tmp_path) not in record


def test_the_locks_hold() -> None:
    """The oracle itself."""
    import subprocess
    import sys

    from faults_cli import LOCKED, environment

    for what in ("import socket; socket.create_connection(('localhost', 1))", "import pickle; pickle.loads(b'N.')"):
        program = LOCKED.replace("from electra_convert.cli import main", what).replace("sys.exit(main())", "")
        done = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True)
        assert done.returncode == 99


def test_no_module_imports_a_door_to_foreign_code_or_to_the_net() -> None:
    """Only what reads PyTorch's files knows the name of torch.load's error; and a batch talks to its workers."""
    import ast

    package = Path(__file__).parents[2] / "electra_convert"
    doors = {
        "pickle",
        "marshal",
        "shelve",
        "dill",
        "cloudpickle",
        "joblib",
        "socket",
        "urllib",
        "http",
        "requests",
        "ftplib",
    }
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found = {name.split(".")[0] for name in names} & doors
            # Between a batch and its own workers, over pipes that nobody else holds.
            if path.name in {"serving.py", "worker_process.py"}:
                found -= {"pickle"}
            if "pickle" in found:
                assert set(re.findall(r"pickle\.\w+", path.read_text())) == {"pickle.UnpicklingError"}
                assert "weights_only=True" in path.read_text()
                found -= {"pickle"}
            assert not found, path
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            assert called not in {"eval", "exec", "compile", "__import__"}, path

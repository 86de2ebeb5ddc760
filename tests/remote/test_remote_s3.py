"""Checkpoints and outputs in S3: a real server on loopback, its faults, and signals in the middle of an upload."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from conftest import google
from stores_rig import S3, Request

from electra_convert import convert, inspect
from electra_convert.errors import (
    AccessError,
    CheckpointError,
    ElectraConvertError,
    EnvironmentFailure,
    NotACheckpoint,
    OutputError,
    TruncatedFile,
)
from electra_convert.remote.clients import CLIENTS
from electra_convert.remote.stores import Store
from electra_convert.remote.urls import Address, parse_url, remote_record, remote_sizes, walk

ROOT = Path(__file__).parents[2]
RECORD = "conversion.json"
DATA = "model.ckpt-40.data-00000-of-00001"
BUCKET = "zoo"
FOLDER = (
    "README.md",
    "config.json",
    "conversion.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
)
FOLDER += ("tokenizer_config.json", "vocab.txt")


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with pytest.MonkeyPatch.context() as patch:
        running = S3()
        for name, value in running.environment().items():
            patch.setenv(name, value)
        yield running
        running.close()


@pytest.fixture
def s3(server, tmp_path_factory, monkeypatch) -> Iterator[S3]:
    """The server with one bucket, in which `run/` holds a checkpoint; no temporary file is left in the end."""
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    server.make(BUCKET)
    server.fill(BUCKET, "run", google("default_small"))
    server.requests.clear()
    yield server
    server.rule = lambda request: None
    server.empty(BUCKET)
    assert list(temporary.iterdir()) == []


def refusal(kind: type[ElectraConvertError], source: str, out: str = f"s3://{BUCKET}/out") -> str:
    with pytest.raises(kind) as caught:
        convert(source, out, verify=False)
    assert caught.value.exit_code == (3 if issubclass(kind, CheckpointError) else 4)
    assert "electra-convert-" not in str(caught.value), "the temporary folder shows"
    return str(caught.value)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "electra_convert", *words]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


@pytest.mark.parametrize(
    "path", ["run", "run/", "run/checkpoint", "run/model.ckpt-40", "run/model.ckpt-40.index", f"run/{DATA}"]
)
def test_a_look_fetches_the_index_and_the_graph_only(s3, path: str) -> None:
    """Beside them the small files that say what is meant; of the 509,444 bytes of data, none."""
    inspection = inspect(f"s3://{BUCKET}/{path}")
    assert inspection.checkpoint.prefix == f"s3://{BUCKET}/run/model.ckpt-40"
    assert inspection.missing == ()
    fetched = s3.fetched()
    fetched.pop("checkpoint", None)
    assert fetched == {"model.ckpt-40.index": 8468, "model.ckpt-40.meta": 1543360, "vocab.txt": 1284}


def test_a_look_at_a_v1_checkpoint_reads_it_whole_and_of_other_files_the_ends(s3) -> None:
    """V1 has no index: names and shapes stand in the file. Which file is one, its last 8 bytes tell."""
    s3.fill(BUCKET, "old", google("v1_format"))
    assert inspect(f"s3://{BUCKET}/old/model.ckpt-40").checkpoint.format == "V1"
    size = (google("v1_format") / "model.ckpt-40").stat().st_size
    assert {name: read for name, read in s3.fetched().items() if name != "vocab.txt"} == {
        "model.ckpt-40": size + 512 + 8 + 8
    }


def test_of_several_steps_one_is_fetched(s3) -> None:
    for suffix in ("index", "meta", "data-00000-of-00001"):
        name = f"model.ckpt-40.{suffix}"
        s3.put(BUCKET, f"run/model.ckpt-30.{suffix}", (google("default_small") / name).read_bytes())
    s3.put(BUCKET, "run/events.out.tfevents.1", bytes(100_000))
    convert(f"s3://{BUCKET}/run", f"s3://{BUCKET}/out", verify=False)
    fetched = s3.fetched()
    assert set(fetched) == {"checkpoint", "model.ckpt-40.index", "model.ckpt-40.meta", DATA, "vocab.txt"}
    assert fetched[DATA] == 509444


def test_from_bucket_to_bucket_it_is_the_local_conversion(s3, tmp_path) -> None:
    local = convert(google("default_small"), tmp_path / "out", export="both", verify=False)
    remote = convert(f"s3://{BUCKET}/run", f"s3://{BUCKET}/out", export="both", verify=False)
    there = {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert s3.objects(BUCKET, "out") == there
    assert [half.checked for half in remote.halves] == [half.checked for half in local.halves]
    puts = [request.path for request in s3.requests if request.method == "PUT"]
    assert puts[-2:] == [f"/{BUCKET}/out/{half}/{RECORD}" for half in ("discriminator", "generator")]


@pytest.mark.parametrize("name", ["published.zip", "published.tar.gz"])
def test_an_archive_in_a_bucket(s3, name: str) -> None:
    s3.put(BUCKET, name, (google("no_meta") / name).read_bytes())
    conversion = convert(f"s3://{BUCKET}/{name}", f"s3://{BUCKET}/out", verify=False)
    assert conversion.checkpoint.prefix == f"s3://{BUCKET}/{name}:electra_tiny/electra_tiny"
    assert sorted(s3.objects(BUCKET, "out")) == list(FOLDER)


@pytest.mark.slow
def test_the_commands_take_urls(s3) -> None:
    pytest.importorskip("torch")
    source, out = f"s3://{BUCKET}/run", f"s3://{BUCKET}/out"
    inspected = run("inspect", source, "--json")
    assert json.loads(inspected.stdout)["checkpoint"]["prefix"] == f"{source}/model.ckpt-40"
    converted = run("tf1", source, out)
    assert (converted.returncode, converted.stderr) == (0, "")
    assert out in converted.stdout
    assert "from_pretrained" not in converted.stdout, "transformers loads nothing from s3://"
    verified = run("verify", source, out, "--json")
    assert verified.returncode == 0, verified.stderr
    assert [half["folder"] for half in json.loads(verified.stdout)["halves"]] == [out]


def test_walking_and_looking_at_an_output(s3) -> None:
    convert(f"s3://{BUCKET}/run", f"s3://{BUCKET}/out", verify=False)
    s3.requests.clear()
    sizes, record = remote_sizes(f"s3://{BUCKET}/out"), remote_record(f"s3://{BUCKET}/out")
    assert {file["name"]: file["bytes"] for file in record["files"]} | {RECORD: sizes[RECORD]} == sizes
    assert set(s3.fetched()) == {RECORD}
    found = {root: (folders, files) for root, folders, files in walk(f"s3://{BUCKET}")}
    assert found[f"s3://{BUCKET}/"] == (["out", "run"], [])
    assert found[f"s3://{BUCKET}/out"] == ([], list(FOLDER))


def test_an_empty_object_that_marks_a_folder_is_no_file(s3) -> None:
    """Consoles put one there when somebody makes a folder."""
    s3.put(BUCKET, "out/", b"")
    convert(f"s3://{BUCKET}/run/", f"s3://{BUCKET}/out/", verify=False)
    assert sorted(s3.objects(BUCKET, "out")) == ["", *FOLDER]


# Faults of the store


def test_a_data_file_that_is_cut_short(s3) -> None:
    s3.put(BUCKET, f"run/{DATA}", (google("default_small") / DATA).read_bytes()[:1000])
    assert "1000 bytes" in refusal(TruncatedFile, f"s3://{BUCKET}/run")
    assert DATA not in s3.fetched()


def test_an_object_that_changes_between_the_listing_and_the_end(s3) -> None:
    index = (google("default_small") / "model.ckpt-40.index").read_bytes()

    def replace_the_index(request: Request) -> None:
        if request.name == DATA and request.method == "GET":
            s3.rule = lambda request: None
            s3.put(BUCKET, "run/model.ckpt-40.index", index[:-1] + b"!")

    s3.rule = replace_the_index
    message = refusal(CheckpointError, f"s3://{BUCKET}/run")
    assert "changed while it was fetched" in message
    assert f"s3://{BUCKET}/run/model.ckpt-40.index" in message
    assert s3.objects(BUCKET, "out") == {}


@pytest.mark.parametrize("fate", ["cut", "vanish"])
def test_answers_that_end_too_early(s3, fate: str) -> None:
    s3.rule = lambda request: fate if request.name == DATA and request.method == "GET" else None
    assert f"s3://{BUCKET}/run/{DATA}" in refusal(EnvironmentFailure, f"s3://{BUCKET}/run")


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(s3, monkeypatch) -> None:
    monkeypatch.setattr("electra_convert.remote.clients.SILENCE", 0.2)
    CLIENTS.clear()
    s3.rule = lambda request: "silent" if request.name == DATA else None
    assert "Timeout" in refusal(EnvironmentFailure, f"s3://{BUCKET}/run")
    s3.released.set()
    CLIENTS.clear()


def test_a_server_that_dies_midway() -> None:
    running = S3()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment().items():
            patch.setenv(name, value)
        running.make("other")
        running.fill("other", "run", google("default_small"))

        def die(request: Request) -> str | None:
            if request.name != DATA or request.method != "GET":
                return None
            running.close()
            return "cut"

        running.rule = die
        message = refusal(EnvironmentFailure, "s3://other/run", "s3://other/out")
    assert "the store failed" in message
    assert "hint: check the URL and the network" in message


@pytest.mark.parametrize("number", [1, 5, 8])
@pytest.mark.parametrize("fate", ["deny", "vanish"])
def test_an_upload_that_fails_leaves_no_object(s3, number: int, fate: str) -> None:
    puts: list[str] = []

    def fail(request: Request) -> str | None:
        if request.method == "PUT" and request.name not in puts:
            puts.append(request.name)
        return fate if request.method == "PUT" and len(puts) >= number else None

    s3.rule = fail
    message = refusal(AccessError if fate == "deny" else EnvironmentFailure, f"s3://{BUCKET}/run")
    assert f"s3://{BUCKET}/out/{FOLDER[number - 1] if number < 3 else ''}" in message
    assert s3.objects(BUCKET, "out") == {}


def test_what_may_not_be_removed_is_told(s3) -> None:
    s3.rule = lambda request: (
        "deny" if request.method == "DELETE" or (request.method == "PUT" and request.name == "vocab.txt") else None
    )
    assert "left there" in refusal(AccessError, f"s3://{BUCKET}/run")
    assert RECORD not in s3.objects(BUCKET, "out")


def test_who_may_not_list_can_still_read_by_name(s3, tmp_path) -> None:
    s3.rule = lambda request: "deny" if "list-type" in request.query else None
    for path in ("run/model.ckpt-40", "run/model.ckpt-40.index", "run/"):
        s3.requests.clear()
        assert inspect(f"s3://{BUCKET}/{path}").checkpoint.prefix == f"s3://{BUCKET}/run/model.ckpt-40"
    convert(f"s3://{BUCKET}/run/model.ckpt-40", tmp_path / "out", verify=False)
    # Whether nothing is there, or nothing that we may see, the store does not tell.
    refusal(AccessError, f"s3://{BUCKET}/empty/model.ckpt-40", tempfile.gettempdir() + "/out")


def test_who_may_do_nothing_is_told_how_to_log_in(s3) -> None:
    s3.rule = lambda request: "deny"
    message = refusal(AccessError, f"s3://{BUCKET}/run", tempfile.gettempdir() + "/out")
    assert "the store does not let us in" in message
    assert "AWS_PROFILE" in message


def test_buckets_that_are_not_there(s3) -> None:
    assert "nothing is at this URL" in refusal(NotACheckpoint, "s3://nowhere/run")
    assert "the bucket" in refusal(OutputError, f"s3://{BUCKET}/run", "s3://nowhere/out")


def test_an_output_that_exists(s3) -> None:
    s3.put(BUCKET, "out/mine.txt", b"x")
    s3.put(BUCKET, "output/other.txt", b"x")
    s3.requests.clear()
    assert "mine.txt" in refusal(OutputError, f"s3://{BUCKET}/run")
    assert s3.fetched() == {}, "refused before anything is fetched"
    convert(f"s3://{BUCKET}/run", f"s3://{BUCKET}/out", verify=False, overwrite=True)
    assert sorted(s3.objects(BUCKET, "out")) == list(FOLDER)
    assert list(s3.objects(BUCKET, "output")) == ["other.txt"], "only the folder itself is replaced"


def test_at_no_time_does_a_record_claim_a_wrong_whole(s3, tmp_path) -> None:
    """Whoever looks at any moment of a replacement finds no record, or one that lists what stands there."""
    convert(f"s3://{BUCKET}/run", f"s3://{BUCKET}/out", export="generator", verify=False)
    claims = []

    def look(request: Request) -> None:
        found = s3.sizes(BUCKET, "out")
        if found.pop(RECORD, None):
            record = json.loads(s3.get(BUCKET, f"out/{RECORD}"))
            claims.append(found == {file["name"]: file["bytes"] for file in record["files"]})

    s3.rule = look
    convert(f"s3://{BUCKET}/run", f"s3://{BUCKET}/out", verify=False, overwrite=True)
    assert claims
    assert all(claims)


# Signals


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", RECORD])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_an_upload_leaves_no_object(s3, name: str, number: signal.Signals) -> None:
    """It comes while an object is on its way, which arrives all the same; then everything is removed."""
    reached = []

    def interrupt(request: Request) -> None:
        if request.method == "PUT" and request.name == name and not reached:
            reached.append(request.name)
            process.send_signal(number)

    s3.rule = interrupt
    words = command("tf1", f"s3://{BUCKET}/run", f"s3://{BUCKET}/out", "--no-verify")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # Whoever runs the tests in the background has SIGINT ignored, and processes inherit that.
    deliver = partial(signal.signal, number, signal.SIG_DFL)
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=deliver)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, reached) == (128 + number, [name]), errors
    assert "nothing half-written is left" in errors
    assert s3.objects(BUCKET, "out") == {}


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
def test_a_killed_upload_leaves_no_record_and_can_be_repeated(s3, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # what is killed cleans nothing up

    def kill(request: Request) -> None:
        if request.method == "PUT" and request.name == "tokenizer.json":
            process.kill()

    s3.rule = kill
    words = ("tf1", f"s3://{BUCKET}/run", f"s3://{BUCKET}/out", "--no-verify")
    process = subprocess.Popen(command(*words), env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert process.wait(timeout=60) == -signal.SIGKILL
    s3.rule = lambda request: None
    left = s3.objects(BUCKET, "out")
    assert left
    assert RECORD not in left
    assert remote_record(f"s3://{BUCKET}/out") is None
    assert run(*words).returncode == 4
    assert run(*words, "--overwrite").returncode == 0
    assert sorted(s3.objects(BUCKET, "out")) == list(FOLDER)


@pytest.mark.parametrize(
    ("url", "variable"),
    [
        ("hf://org/model/ckpt", "HF_ENDPOINT"),
        pytest.param("gs://bucket/ckpt", "STORAGE_EMULATOR_HOST", marks=pytest.mark.slow),  # gcsfs tries six times
    ],
)
def test_stores_that_cannot_be_reached_are_told_as_such(monkeypatch, url: str, variable: str) -> None:
    """The exceptions are their libraries' own, and what those log does not stand beside the message."""
    pytest.importorskip("huggingface_hub" if url.startswith("hf") else "gcsfs")
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    done = run("inspect", url)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith(f"error: the store failed\n  where  {url}\n  found ")


@pytest.mark.slow
def test_a_large_object_goes_and_comes_in_parts_and_leaves_none_behind(s3, tmp_path) -> None:
    """120 MB: s3fs uploads and fetches in parts from 100 MB and 50 MB on."""
    large, back = tmp_path / "large", tmp_path / "back"
    large.write_bytes(os.urandom(1 << 20) * 120)
    address: Address = parse_url(f"s3://{BUCKET}/large")
    store = Store(address)
    moved: list[int] = []
    store.put(large, address, moved.append)
    assert sum(moved) == 120 << 20
    assert store.fetch(address, back, lambda _: None)
    assert back.read_bytes() == large.read_bytes()
    store.remove(address)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.put(large, address, interrupt)
    assert (s3.unfinished(BUCKET), list(s3.objects(BUCKET, "large"))) == (0, [])

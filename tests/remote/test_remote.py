"""Checkpoints and outputs in stores: fsspec's own in memory, and a web server that lists nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from conftest import google
from stores_rig import web_server

from electra_convert import convert, inspect, state_dict, verify
from electra_convert.errors import (
    AccessError,
    CheckpointError,
    ElectraConvertError,
    EnvironmentFailure,
    FolderError,
    InputError,
    MissingExtra,
    NotACheckpoint,
    OutputError,
    StrictError,
    TruncatedFile,
    UsageError,
)
from electra_convert.opening import opened
from electra_convert.remote.checkpoint import fetched
from electra_convert.remote.clients import CLIENTS
from electra_convert.remote.urls import (
    is_remote,
    parse_url,
    redact,
    remote_record,
    remote_sizes,
    shown_path,
    walk,
    without_file_scheme,
)

RECORD = "conversion.json"
DATA = "model.ckpt-40.data-00000-of-00001"


@pytest.fixture
def memory(monkeypatch) -> Iterator[Any]:
    """fsspec's store in memory, empty."""
    files = fsspec.filesystem("memory")
    monkeypatch.setattr(type(files), "store", {})
    monkeypatch.setattr(type(files), "pseudo_dirs", [""])
    return files


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory, monkeypatch) -> Iterator[Path]:
    """The folder for temporary files, which is empty again after every test."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    CLIENTS.clear()
    yield folder
    assert list(folder.iterdir()) == []


def upload(memory: Any, source: Path, folder: str) -> str:
    """Put the files of a folder into the store; return its URL."""
    for file in source.iterdir():
        memory.pipe_file(f"{folder}/{file.name}", file.read_bytes())
    return f"memory:/{folder}"


def objects(memory: Any, folder: str) -> dict[str, bytes]:
    return {name[len(folder) + 1 :]: memory.cat_file(name) for name in memory.find(folder)}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(kind: type[ElectraConvertError], action: Callable[..., Any], *args: Any, **settings: Any) -> str:
    with pytest.raises(kind) as caught:
        action(*args, **settings)
    assert "electra-convert-" not in str(caught.value), "the temporary folder shows"
    return str(caught.value)


# What a URL is


@pytest.mark.parametrize("path", ["s3://b/ckpt", "gs://b", "hf://org/model", "memory://x", "file:///x", "HTTPS://h/x"])
def test_urls_are_remote(path: str) -> None:
    assert is_remote(path)


@pytest.mark.parametrize(
    "path", ["", "ckpt", "C:/ckpt", "C:\\ckpt", "c://x", "./s3://x", '{"a": "s3://b"}', Path("x"), 3]
)
def test_everything_else_is_not(path: object) -> None:
    assert not is_remote(path)


@pytest.mark.parametrize(
    "url", ["zip://model.ckpt::s3://b/x.zip", "simplecache::s3://b/x", "s3://b/../x", "s3://b/./x"]
)
def test_a_chain_and_a_path_that_climbs_are_refused(url: str) -> None:
    assert is_remote(url)
    assert refusal(UsageError, inspect, url)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:secret@host/x.zip?sig=1", "https://…@host/x.zip?…"),
        ("Cannot GET 'https://host/x?a=b&c=d', 403", "Cannot GET 'https://host/x?…', 403"),
        ("ftp://me:pass/word@host/x", "ftp://me:pass/word@host/x"),
        ("hf://org/model@v1.0/ckpt", "hf://org/model@v1.0/ckpt"),
        ("hf://gpt2@main/ckpt", "hf://gpt2@main/ckpt"),
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("is it me@host? yes", "is it me@host? yes"),
    ],
)
def test_credentials_are_not_shown(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_a_url_in_parts() -> None:
    address = parse_url("https://me@host:8080/a//b/ckpt.zip?sig=1#top")
    assert (address.root, address.parts, address.query) == ("https://me@host:8080/", ("a", "b", "ckpt.zip"), "?sig=1")
    assert address.parent.child("x").url == "https://me@host:8080/a/b/x?sig=1"
    assert not address.is_folder
    assert parse_url("s3://b/run/").is_folder
    assert parse_url("s3://b").is_folder
    assert parse_url("s3://b/run/x").lies_in(parse_url("s3://b/run"))
    assert not parse_url("s3://b/running").lies_in(parse_url("s3://b/run"))


def test_a_file_url_is_a_path(tmp_path) -> None:
    """It is published by a rename, as every path is, and overlaps with what it overlaps with."""
    assert without_file_scheme("file:///C:/run") == "C:/run"
    url = f"file://{google('default_small')}"
    assert inspect(url).checkpoint.step_source == "global_step"
    conversion = convert(url, f"file://{tmp_path}/out", verify=False)
    assert set(files_of(tmp_path / "out")) == {name for name, _ in conversion.halves[0].files}
    assert "overlap" in refusal(UsageError, convert, url, google("default_small") / "out", verify=False)


# Finding and fetching


@pytest.mark.parametrize(
    "name",
    [
        *("default_small", "default_small/", "default_small/model.ckpt-40", "default_small/model.ckpt-40.index"),
        *(f"default_small/{DATA}", "default_small/model.ckpt-40.meta", "default_small/checkpoint", "sharded"),
        *("v1_format", "v1_format/model.ckpt-40", "v1_sharded", "v1_sharded/model.ckpt-40"),
        *("v1_sharded/model.ckpt-40-00001-of-00003", "v1_sharded/model.ckpt-40-?????-of-00003"),
        *("no_meta/published.zip", "no_meta/published.tar.gz"),
    ],
)
def test_a_url_means_what_the_path_means(memory, name: str) -> None:
    folder = google(name.partition("/")[0])
    upload(memory, folder, f"/zoo/{folder.name}")
    local, remote = inspect(str(folder.parent / name)), inspect(f"memory://zoo/{name}")
    told = local.checkpoint.prefix.replace(str(folder.parent), "memory://zoo")
    assert remote.checkpoint.prefix == told
    assert remote.checkpoint.path == f"memory://zoo/{name}"
    assert dataclasses.replace(remote, checkpoint=local.checkpoint, notices=()) == dataclasses.replace(
        local, notices=()
    )
    assert [notice.code for notice in remote.notices] == [notice.code for notice in local.notices]
    assert not [notice for notice in remote.notices if "electra-convert-" in str(notice)]


def test_the_step_is_known_from_the_name_only(memory) -> None:
    """`global_step` stands in a data file, and those stay where they are."""
    url = upload(memory, google("default_small"), "/run")
    assert (inspect(url).checkpoint.step, inspect(url).checkpoint.step_source) == (40, "prefix")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("run/model.ckpt-41", "did you mean memory://run/model.ckpt-40?"),
        ("run/vocab.txt", "a file of another kind"),
        ("run/golden.npz", "no TensorFlow checkpoint in the archive"),
        ("run/model.h5", "a Keras file"),
        ("run/empty", "an empty file"),
        ("run/zeros", "zero bytes"),
        ("run/page", "a web page"),
        ("nothing/", "nothing is at this URL"),
        ("run/below", "nothing"),
        ("saved", "SavedModel"),
    ],
)
def test_what_is_no_checkpoint_is_refused_by_name(memory, name: str, words: str) -> None:
    upload(memory, google("default_small"), "/run")
    memory.pipe_file("/run/model.h5", b"x" * 100)
    memory.pipe_file("/run/empty", b"")
    memory.pipe_file("/run/zeros", bytes(1000))
    memory.pipe_file("/run/page", b"<!DOCTYPE html>" + b"x" * 1000)
    memory.pipe_file("/saved/saved_model.pb", b"x")
    assert words in refusal(NotACheckpoint, inspect, f"memory://{name}")


def test_several_checkpoints_are_told_by_their_urls(memory) -> None:
    upload(memory, google("default_small"), "/run")
    memory.rm_file("/run/checkpoint")
    for kind in ("index", "data-00000-of-00001"):
        memory.pipe_file(f"/run/model.ckpt-50.{kind}", memory.cat_file(f"/run/model.ckpt-40.{kind}"))
    assert "pass memory://run/model.ckpt-50" in refusal(CheckpointError, inspect, "memory://run")
    assert inspect("memory://run/model.ckpt-40").checkpoint.step == 40


def test_a_checkpoint_file_may_name_its_own_url_or_one_below(memory) -> None:
    """Then nothing is strange about it; another bucket's name is a warning, as another machine's path is."""
    upload(memory, google("default_small"), "/run")

    def codes(latest: str, folder: str = "/run") -> list[str]:
        memory.pipe_file(f"{folder}/checkpoint", f'model_checkpoint_path: "{latest}"'.encode())
        return [notice.code for notice in inspect(f"memory:/{folder}").warnings]

    assert codes("memory://run/model.ckpt-40") == []
    assert codes("gs://other/run/model.ckpt-40") == ["checkpoint-path"]
    assert codes("/data/run/model.ckpt-40") == ["checkpoint-path"]
    upload(memory, google("default_small"), "/top/steps")
    assert codes("steps/model.ckpt-40", "/top") == []
    assert inspect("memory://top").checkpoint.prefix == "memory://top/steps/model.ckpt-40"
    assert "points outside" in refusal(CheckpointError, codes, "../run/model.ckpt-40", "/top")


def test_names_that_no_disk_takes_are_passed_over(memory) -> None:
    upload(memory, google("default_small"), "/run")
    memory.pipe_file("/run/" + 300 * "x", b"1")
    assert inspect("memory://run").checkpoint.step == 40


def test_the_vocabulary_is_found_where_googles_code_keeps_it(memory) -> None:
    upload(memory, google("default_small"), "/data/models/small")
    memory.mv("/data/models/small/vocab.txt", "/data/vocab.txt")
    inspection = inspect("memory://data/models/small")
    assert inspection.vocabulary is not None
    assert [notice.code for notice in inspection.warnings] == ["vocab-elsewhere"]


def test_what_is_not_fetched_is_known_by_name_and_size(memory) -> None:
    """So a record can be compared with its checkpoint for the price of the index."""
    for name in ("default_small", "sharded", "v1_sharded"):
        url = upload(memory, google(name), f"/{name}")
        with opened(url, data="optional", fetch=False) as there, opened(google(name)) as here:
            assert sorted(there.source_files(), key=str) == sorted(here.source_files(), key=str)
            there.check_unchanged()


def test_data_files_that_are_missing_or_short_are_told_without_fetching(memory) -> None:
    url = upload(memory, google("sharded"), "/run")
    memory.rm_file("/run/model.ckpt-40.data-00001-of-00003")
    memory.pipe_file("/run/model.ckpt-40.data-00002-of-00003", bytes(5))
    assert inspect(url).missing == (
        "model.ckpt-40.data-00001-of-00003: not there, expected at least 34408 bytes",
        "model.ckpt-40.data-00002-of-00003: 5 bytes, expected at least 68036 bytes",
    )
    assert "missing" in refusal(CheckpointError, convert, url, "memory://out", verify=False)
    memory.pipe_file("/run/model.ckpt-40.data-00001-of-00003", bytes(34408))
    assert "not all there" in refusal(TruncatedFile, convert, url, "memory://out", verify=False)


def test_an_object_that_arrives_short_is_refused(memory, monkeypatch) -> None:
    url = upload(memory, google("default_small"), "/run")
    fetch = type(memory).get_file

    def shorten(files: Any, path: str, target: str, **settings: Any) -> None:
        fetch(files, path, target, **settings)
        if path.endswith("00001"):
            os.truncate(target, 1000)

    monkeypatch.setattr(type(memory), "get_file", shorten)
    message = refusal(CheckpointError, convert, url, "memory://out", verify=False)
    assert "what arrived is not what the store has" in message
    assert "509,444 bytes" in message


@pytest.mark.parametrize("when", ["while it is read", "between the index and the data"])
def test_an_object_that_changes_meanwhile_is_refused(memory, monkeypatch, when: str) -> None:
    url = upload(memory, google("default_small"), "/run")
    fetch = type(memory).get_file
    replaced = DATA if when == "while it is read" else "model.ckpt-40.index"

    def replace_it(files: Any, path: str, target: str, **settings: Any) -> None:
        fetch(files, path, target, **settings)
        if path.endswith(DATA):
            files.pipe_file(f"/run/{replaced}", files.cat_file(f"/run/{replaced}"))

    monkeypatch.setattr(type(memory), "get_file", replace_it)
    message = refusal(CheckpointError, convert, url, "memory://out", verify=False)
    assert "a file changed while it was fetched" in message
    assert f"memory://run/{replaced}" in message


def test_a_disk_that_is_too_small_is_told_before_fetching(memory, monkeypatch) -> None:
    url = upload(memory, google("default_small"), "/run")
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 100_000))
    assert "TMPDIR" in refusal(EnvironmentFailure, convert, url, "memory://out", verify=False)


def test_whatever_ends_the_block_the_files_are_gone(memory, temporary) -> None:
    url = upload(memory, google("default_small"), "/run")
    with pytest.raises(KeyboardInterrupt), fetched(url) as found:  # noqa: PT012 - the block is what ends
        assert (found.source.folder / DATA).stat().st_size == 509444
        assert [path.name for path in temporary.iterdir()] != []
        raise KeyboardInterrupt


# Converting


def test_a_conversion_from_store_to_store_is_the_local_one(memory, tmp_path) -> None:
    """Byte for byte, records too: no URL is in them."""
    url = upload(memory, google("default_small"), "/bucket/run")
    local = convert(google("default_small"), tmp_path / "out", export="both", verify=False)
    remote = convert(url, "memory://bucket/out", export="both", verify=False)
    assert objects(memory, "/bucket/out") == files_of(tmp_path / "out")
    assert [half.folder for half in remote.halves] == [
        "memory://bucket/out/discriminator",
        "memory://bucket/out/generator",
    ]
    assert remote.out == "memory://bucket/out"
    assert remote.notices == local.notices


def test_a_proof_of_a_folder_in_a_store(memory) -> None:
    url = upload(memory, google("tied_generator"), "/run")
    convert(url, "memory://out", verify=False, hparams=google("tied_generator") / "hparams.json")
    parity = verify(url, "memory://out")
    assert parity.passed
    assert parity.halves[0].folder == "memory://out"
    assert "memory://none" in refusal(FolderError, verify, url, "memory://none")


def test_files_given_as_urls(memory, tmp_path) -> None:
    """What is recorded of them is what is recorded of files."""
    folder = google("odd_heads")
    upload(memory, folder, "/run")
    kept = [path for path in folder.iterdir() if path.suffix in {".index", ".data-00000-of-00001"}]
    for path in kept:
        memory.pipe_file(f"/bare/{path.name}", path.read_bytes())
    given = {name: f"memory://run/{file}" for name, file in (("hparams", "hparams.json"), ("vocab", "vocab.txt"))}
    remote = convert("memory://bare", "memory://out", verify=False, **given)
    (tmp_path / "bare").mkdir()
    for path in kept:
        (tmp_path / "bare" / path.name).write_bytes(path.read_bytes())
    given = {"hparams": folder / "hparams.json", "vocab": folder / "vocab.txt"}
    local = convert(tmp_path / "bare", tmp_path / "out", verify=False, **given)
    assert objects(memory, "/out") == files_of(tmp_path / "out")
    assert remote.halves[0].sources == local.halves[0].sources
    assert state_dict("memory://run", hparams="memory://run/hparams.json").keys() == state_dict(folder).keys()
    wrong = "memory://run/vocabulary.txt"
    assert wrong in refusal(InputError, convert, "memory://run", "memory://o2", vocab=wrong, verify=False)
    wrong = "memory://run/model.ckpt-40.index"
    assert wrong in refusal(InputError, convert, "memory://run", "memory://o2", vocab=wrong, verify=False)


def test_a_dry_run_writes_nothing(memory) -> None:
    url = upload(memory, google("default_small"), "/run")
    before = set(memory.store)
    assert convert(url, "memory://out", export="both", dry_run=True).halves[1].folder == "memory://out/generator"
    assert set(memory.store) == before


def test_progress_speaks_of_fetching_and_uploading(memory) -> None:
    url = upload(memory, google("default_small"), "/run")
    last: dict[str, tuple[int, int]] = {}
    convert(url, "memory://out", verify=False, progress=lambda done, total, what: last.update({what: (done, total)}))
    sizes = remote_sizes("memory://out")
    assert last["fetching"] == (509444, 509444)
    assert last["uploading"] == (sum(sizes.values()), sum(sizes.values()))


# Publishing


def order_of_puts(memory: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the name of every object that is put or removed, in order."""
    seen: list[str] = []
    put, remove = type(memory).put_file, type(memory).rm_file
    monkeypatch.setattr(
        type(memory),
        "put_file",
        lambda files, source, path, **settings: (seen.append(path), put(files, source, path, **settings)),
    )
    monkeypatch.setattr(type(memory), "rm_file", lambda files, path: (seen.append(f"-{path}"), remove(files, path)))
    return seen


def test_the_records_come_last(memory, monkeypatch) -> None:
    url = upload(memory, google("default_small"), "/run")
    seen = order_of_puts(memory, monkeypatch)
    convert(url, "memory://out", export="both", verify=False)
    assert len(seen) == 16
    assert seen[-2:] == [f"/out/discriminator/{RECORD}", f"/out/generator/{RECORD}"]


def test_replacing_removes_the_old_record_first_and_what_is_left_over(memory, monkeypatch) -> None:
    url = upload(memory, google("default_small"), "/run")
    convert(url, "memory://out", export="both", verify=False)
    memory.pipe_file("/out/notes/mine.txt", b"x")
    assert "--overwrite" in refusal(OutputError, convert, url, "memory://out", verify=False)
    seen = order_of_puts(memory, monkeypatch)
    convert(url, "memory://out", verify=False, overwrite=True)
    assert seen[:2] == [f"-/out/discriminator/{RECORD}", f"-/out/generator/{RECORD}"]
    assert seen[-1] == f"/out/{RECORD}"
    assert "-/out/notes/mine.txt" in seen
    assert RECORD in objects(memory, "/out")
    assert not [name for name in objects(memory, "/out") if "/" in name]


@pytest.mark.parametrize("number", range(8))
def test_an_upload_that_fails_leaves_no_object(memory, monkeypatch, number: int) -> None:
    url = upload(memory, google("default_small"), "/run")
    put, count = type(memory).put_file, iter(range(100))

    def fail(files: Any, source: str, path: str, **settings: Any) -> None:
        if next(count) == number:
            files.pipe_file(path, b"half")
            raise OSError("the network is gone")
        put(files, source, path, **settings)

    monkeypatch.setattr(type(memory), "put_file", fail)
    assert "the network is gone" in refusal(EnvironmentFailure, convert, url, "memory://out", verify=False)
    assert objects(memory, "/out") == {}


def test_what_cannot_be_taken_back_is_told(memory, monkeypatch) -> None:
    url = upload(memory, google("default_small"), "/run")
    seen = order_of_puts(memory, monkeypatch)
    put = type(memory).put_file

    def refuse(*_: object) -> None:
        raise OSError("the network is gone")

    def fail(files: Any, source: str, path: str, **settings: Any) -> None:
        if path.endswith("tokenizer.json"):
            monkeypatch.setattr(type(memory), "rm_file", refuse)
            raise OSError("the network is gone")
        put(files, source, path, **settings)

    monkeypatch.setattr(type(memory), "put_file", fail)
    message = refusal(EnvironmentFailure, convert, url, "memory://out", verify=False)
    assert re.search(r"left there\s+README.md\n\s+config.json\n", message)
    assert seen


@pytest.mark.parametrize("fault", ["short", "gone", "replaced", "joined"])
def test_what_stands_there_in_the_end_is_checked(memory, monkeypatch, fault: str) -> None:
    """A file that is short or not there, and one that another run has put there meanwhile."""
    url = upload(memory, google("default_small"), "/run")
    put = type(memory).put_file

    def disturb(files: Any, source: str, path: str, **settings: Any) -> None:
        put(files, source, path, **settings)
        if path.endswith(RECORD):
            content = files.cat_file("/out/config.json")
            if fault == "gone":
                files.rm_file("/out/config.json")
            elif fault == "joined":
                files.pipe_file("/out/pytorch_model.bin", b"x")
            else:
                files.pipe_file("/out/config.json", content[: 10 if fault == "short" else None])

    monkeypatch.setattr(type(memory), "put_file", disturb)
    message = refusal(OutputError, convert, url, "memory://out", verify=False)
    assert "what was uploaded" in message or "another run" in message
    assert set(objects(memory, "/out")) <= {"pytorch_model.bin"}


def test_what_is_not_verified_is_not_uploaded(memory, monkeypatch) -> None:
    url = upload(memory, google("default_small"), "/run")
    seen = order_of_puts(memory, monkeypatch)
    upload(memory, google("no_meta"), "/nm")
    refusal(StrictError, convert, "memory://nm/published.zip", "memory://out", verify=False, strict=True)
    memory.pipe_file(f"/run/{DATA}", memory.cat_file(f"/run/{DATA}")[:-8] + bytes(8))
    refusal(InputError, convert, url, "memory://out", export="both", verify=False)
    assert seen == []


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("memory://run", "overlap"),
        ("memory://run/out", "overlap"),
        ("memory://a/file.txt", "the output is a file"),
        ("https://host/out", "cannot be written to"),
        ("s3://bucket", "a whole bucket"),
        ("memory://a/../b", "climbs"),
    ],
)
def test_a_place_that_an_output_cannot_have_is_refused_before_fetching(
    memory, monkeypatch, out: str, words: str
) -> None:
    upload(memory, google("default_small"), "/run")
    memory.pipe_file("/a/file.txt", b"x")
    monkeypatch.setattr(type(memory), "get_file", None)
    assert words in refusal(ElectraConvertError, convert, "memory://run", out, verify=False, overwrite=True)


# Failures in words


@pytest.mark.parametrize(("url", "package"), [("s3://b/x", "s3fs"), ("gs://b/x", "gcsfs"), ("https://h/x", "aiohttp")])
def test_a_missing_package_is_named(monkeypatch, url: str, package: str) -> None:
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, url.partition(":")[0], raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    message = refusal(MissingExtra, inspect, url)
    assert f"{package} is not installed" in message
    assert "electra-convert[remote]" in message


def test_fsspec_itself_may_be_missing(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert "fsspec is not installed" in refusal(MissingExtra, inspect, "memory://x/y")


def test_an_unknown_scheme_is_a_usage_error() -> None:
    assert "no store of this kind" in refusal(UsageError, inspect, "foo://x/y")


def test_no_credentials_are_told_as_such(monkeypatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", "/nonexistent")
    message = refusal(AccessError, inspect, "s3://bucket/run")
    assert "NoCredentialsError" in message
    assert "FSSPEC_S3_ANON" in message


def test_a_bug_of_ours_is_not_taken_for_a_failure_of_the_store(memory, monkeypatch) -> None:
    upload(memory, google("default_small"), "/run")
    monkeypatch.setattr(type(memory), "info", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        inspect("memory://run/model.ckpt-40")


# Looking


def test_walking(memory) -> None:
    upload(memory, google("default_small"), "/zoo/b")
    upload(memory, google("masked_lm"), "/zoo/a/deep")
    memory.pipe_file("/zoo/README.md", b"x")
    found = list(walk("memory://zoo"))
    assert [root for root, _, _ in found] == ["memory://zoo", "memory://zoo/a", "memory://zoo/a/deep", "memory://zoo/b"]
    assert found[0][1:] == (["a", "b"], ["README.md"])
    assert "model.ckpt-40.index" in found[2][2]
    pruned = []
    for root, folders, _ in walk("memory://zoo"):
        pruned.append(root)
        folders.clear()
    assert pruned == ["memory://zoo"]
    assert "nothing" in refusal(InputError, list, walk("memory://none"))
    refusal(UsageError, list, walk("https://host/zoo"))


def test_a_record_and_sizes_are_read_without_weights(memory, monkeypatch) -> None:
    url = upload(memory, google("default_small"), "/run")
    assert (remote_record("memory://out"), remote_sizes("memory://out")) == (None, {})
    convert(url, "memory://out", verify=False)
    monkeypatch.setattr(type(memory), "get_file", None)
    record, sizes = remote_record("memory://out/"), remote_sizes("memory://out/")
    assert record is not None
    assert {file["name"]: file["bytes"] for file in record["files"]} == {
        name: size for name, size in sizes.items() if name != RECORD
    }
    for broken in (b"", b"[1]", b'{"a":', b"\xff", b"[" * 100_000):
        memory.pipe_file(f"/out/{RECORD}", broken)
        assert remote_record("memory://out") is None


# A web server


@pytest.fixture
def web(tmp_path) -> Iterator[tuple[str, Path, list[str]]]:
    """A web server: its URL, its folder, and what it was asked for."""
    seen: list[str] = []
    with web_server(tmp_path, seen) as url:
        yield url, tmp_path, seen


def publish(folder: Path, name: str) -> None:
    (folder / name).symlink_to(google(name))


@pytest.mark.parametrize(
    "path",
    [
        *("default_small/model.ckpt-40", "default_small/model.ckpt-40.index", f"default_small/{DATA}"),
        *("default_small/", "default_small/checkpoint", "sharded/model.ckpt-40", "no_meta/published.zip"),
        *("v1_format/model.ckpt-40", "v1_sharded/model.ckpt-40-00002-of-00003"),
    ],
)
def test_a_web_server_without_listings(web, tmp_path_factory, path: str) -> None:
    url, folder, _ = web
    name = path.partition("/")[0]
    publish(folder, name)
    given = {"verify": False, "vocab": google(name) / "vocab.txt"}
    out = tmp_path_factory.mktemp("out")
    convert(f"{url}/{path}", out / "remote", **given)
    convert(google(name) / path.partition("/")[2], out / "local", **given)
    assert files_of(out / "remote") == files_of(out / "local")


def test_a_look_over_the_web_fetches_no_data(web) -> None:
    url, folder, seen = web
    publish(folder, "default_small")
    assert inspect(f"{url}/default_small/model.ckpt-40").missing == ()
    fetched_names = {line.rpartition("/")[2] for line in seen if line.startswith("GET")}
    assert {"model.ckpt-40.index", "model.ckpt-40.meta", "vocab.txt"} <= fetched_names
    assert DATA not in fetched_names


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("default_small/model.ckpt-41", NotACheckpoint, "no TensorFlow checkpoint"),
        ("default_small", NotACheckpoint, "nothing"),
        ("nothing/", NotACheckpoint, "nothing is at this URL"),
        ("default_small/vocab.txt", NotACheckpoint, "a file of another kind"),
        ("denied/x.zip", AccessError, "403"),
        ("denied/", AccessError, "403"),
    ],
)
def test_what_a_web_server_does_not_give(web, path: str, kind: type[ElectraConvertError], words: str) -> None:
    url, folder, _ = web
    publish(folder, "default_small")
    assert words in refusal(kind, inspect, f"{url}/{path}")


def test_secrets_in_a_url_are_used_and_not_told(web, tmp_path_factory) -> None:
    url, folder, seen = web
    publish(folder, "no_meta")
    signed = url.replace("://", "://me:pa55@") + "/no_meta/published.zip?sig=secret%2Fsigned"
    inspection = inspect(signed)
    conversion = convert(signed, tmp_path_factory.mktemp("out") / "out", verify=False)
    assert {line for line in seen if "sig=secret%2Fsigned" in line}
    told = [
        json.dumps(inspection.to_json()),
        json.dumps(conversion.to_json()),
        refusal(NotACheckpoint, inspect, signed.replace("published", "none")),
    ]
    told += [refusal(ElectraConvertError, inspect, signed.replace("no_meta", "denied")), shown_path(signed)]
    assert not [text for text in told if "secret" in text or "pa55" in text]


def test_a_traceback_does_not_tell_what_a_message_hides(web) -> None:
    url, _, _ = web
    with pytest.raises(AccessError) as caught:
        inspect(f"{url}/denied/x.zip?sig=secret")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_server_that_is_not_there(monkeypatch) -> None:
    message = refusal(EnvironmentFailure, inspect, "http://127.0.0.1:9/x.zip")
    assert "the store failed" in message
    assert "Cannot connect" in message


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no alarm on this system")
def test_a_signal_while_fetching_ends_it_and_leaves_nothing(memory, monkeypatch) -> None:
    """The transfer is told to stop, and has ended when the signal's exception goes on."""
    url = upload(memory, google("default_small"), "/run")
    state = {"ended": False}

    def endless(files: Any, path: str, target: str, *, callback: Any, **_: Any) -> None:
        signal.raise_signal(signal.SIGALRM)
        try:
            while True:
                callback.relative_update(1)
        finally:
            state["ended"] = True

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(memory), "get_file", endless)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            inspect(url)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert state["ended"]

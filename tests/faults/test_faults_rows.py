"""Tables E to H of the contract under faults, a row each, from the conversion's side: what is refused, what is told.

E the right bytes of the wrong model, F the `checkpoint` file, G archives, H vocabularies. The parts have tests of their
own; here a whole conversion runs, must say what the row says, and must leave nothing behind.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from made_up import TOKENS, E, H, I, L, P, V, shapes_of, write_made_up
from message_form import faults_of

from electra_convert import convert
from electra_convert.errors import (
    CheckpointError,
    ElectraConvertError,
    LayoutError,
    MappingError,
    NotACheckpoint,
    SettingError,
    ValueRefused,
    VocabularyError,
)

Variables = dict[str, np.ndarray]
KERNEL = "electra/encoder/layer_0/intermediate/dense/kernel"
WORDS = "electra/embeddings/word_embeddings"


class Refused(NamedTuple):
    """The error that a row must end in, and words that must be in it."""

    kind: type[ElectraConvertError]
    words: tuple[str, ...]
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed


class Told(NamedTuple):
    """The notice with which a row is converted; no code is none."""

    code: str = ""
    words: tuple[str, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012


def check(path: Path, expected: Refused | Told, place: Path) -> None:
    """Convert, and compare the end with what was expected; after a refusal nothing new may be there."""
    before = sorted(place.rglob("*"))
    options = {"verify": False, "num_attention_heads": 1, "hidden_act": "gelu", **expected.options}
    if isinstance(expected, Refused):
        with pytest.raises(expected.kind) as caught:
            convert(path, place / "out", **options)
        assert caught.value.exit_code == 3
        assert faults_of(caught.value) == []
        assert [word for word in expected.words if word not in str(caught.value)] == [], str(caught.value)
        assert sorted(place.rglob("*")) == before
    else:
        conversion = convert(path, place / "out", **options)
        notices = {notice.code: str(notice) for notice in conversion.notices}
        if not expected.code:
            assert conversion.warnings == ()
        else:
            assert expected.code in notices
            assert [word for word in expected.words if word not in notices[expected.code]] == []


# --- E ----------------------------------------------------------------------------------------------------------------


def without(*names: str) -> Callable[[Variables], None]:
    def change(there: Variables) -> None:
        for name in [name for name in there if name.startswith(names)]:
            del there[name]

    return change


def put(name: str, array: np.ndarray) -> Callable[[Variables], None]:
    return lambda there: there.update({name: array})


def values(name: str, at: tuple[int, ...], value: float) -> Callable[[Variables], None]:
    def change(there: Variables) -> None:
        there[name][at] = value

    return change


def of_type(name: str, dtype: str) -> Callable[[Variables], None]:
    return lambda there: there.update({name: there[name].astype(dtype)})


def config_file(**changes: object) -> Callable[[Path], dict[str, Any]]:
    """Return how to write a config beside the checkpoint, as an option."""

    def write(place: Path) -> dict[str, Any]:
        sizes = {"vocab_size": V, "embedding_size": E, "hidden_size": H, "num_hidden_layers": L, "intermediate_size": I}
        (place / "config.json").write_text(json.dumps({"model_type": "electra", **sizes, **changes}))
        return {"config": place / "config.json"}

    return write


WEIGHT = np.ones((E, H), np.float32)
WRONG_MODEL: dict[str, tuple[Callable[[Variables], None], Refused | Told]] = {
    "a kernel is missing": (without(KERNEL), Refused(MappingError, ("1 of", KERNEL, "[8, 32]"))),
    "a bias is missing": (
        without("electra/encoder/layer_1/output/dense/bias"),
        Refused(MappingError, ("layer_1/output/dense/bias",)),
    ),
    "a layer is missing": (without("electra/encoder/layer_0/"), Refused(MappingError, ("16 of", "layer_0"))),
    "the head is missing": (without("discriminator_predictions/"), Refused(LayoutError, ("discriminator",))),
    "word_embeddings are missing": (without(WORDS), Refused(MappingError, (WORDS,))),
    "another vocabulary": (
        put("generator_predictions/output_bias", np.ones(V + 1, np.float32)),
        Refused(MappingError, ("output_bias", f"[{V + 1}]", f"[{V}]"), {"export": "generator"}),
    ),
    "other positions": (
        put("electra/embeddings/position_embeddings", np.ones((P, E + 1), np.float32)),
        Refused(MappingError, ("position_embeddings", f"[{P}, {E + 1}]", f"[{P}, {E}]")),
    ),
    "another kernel shape": (
        put(KERNEL, np.ones((H, I + 1), np.float32)),
        Refused(MappingError, (KERNEL, f"[{H}, {I + 1}]", f"[{H}, {I}]")),
    ),
    "a layer of another size": (
        put("electra/encoder/layer_1/attention/self/key/kernel", np.ones((H, 2 * H), np.float32)),
        Refused(MappingError, ("layer_1", f"[{H}, {2 * H}]", f"[{H}, {H}]")),
    ),
    "an unknown variable": (
        put("electra/pooler/kernel", WEIGHT),
        Refused(MappingError, ("electra/pooler/kernel", "--ignore")),
    ),
    "a second generator": (
        put("generator_1/encoder/layer_0/output/dense/kernel", WEIGHT),
        Refused(MappingError, ("--ignore 'generator_1/*'",)),
    ),
    "a NaN": (values(KERNEL, (1, 2), np.nan), Refused(ValueRefused, (KERNEL, "[1, 2]", "nan", "--allow-nonfinite"))),
    "an infinity": (
        values("electra/embeddings/LayerNorm/beta", (3,), -np.inf),
        Refused(ValueRefused, ("LayerNorm/beta", "[3]", "-inf")),
    ),
    "NaN that are allowed": (
        values(KERNEL, (1, 2), np.nan),
        Told("nonfinite", (KERNEL, "1 values"), {"allow_nonfinite": True}),
    ),
    "NaN in a slot": (put(f"{KERNEL}/adam_m", np.full((H, I), np.nan, np.float32)), Told()),
    "one float16 among float32": (of_type(KERNEL, "float16"), Refused(MappingError, (KERNEL, "float16", "--dtype"))),
    "one float64 among float32": (of_type(KERNEL, "float64"), Refused(MappingError, (KERNEL, "float64", "--dtype"))),
    "one float16, and a type was asked for": (of_type(KERNEL, "float16"), Told("dtype", (), {"dtype": "float32"})),
    "int32 where a weight should be": (of_type(KERNEL, "int32"), Refused(MappingError, (KERNEL, "int32", "float32"))),
    "a slot of another shape": (put(f"{KERNEL}/adam_v", np.ones(3, np.float32)), Told("slots", (f"{KERNEL}/adam_v",))),
    "no step": (without("global_step"), Told("global-step", ("not there",))),
    "a step that is no integer": (put("global_step", np.array(7, np.float32)), Told("global-step", ("float32",))),
    "heads that do not divide": (lambda there: None, Refused(SettingError, ("3", str(H)), {"num_attention_heads": 3})),
}


@pytest.mark.parametrize("row", WRONG_MODEL)
def test_the_right_bytes_of_the_wrong_model(row: str, tmp_path: Path) -> None:
    change, expected = WRONG_MODEL[row]
    check(write_made_up(tmp_path / "ckpt", change=change), expected, tmp_path)


@pytest.mark.parametrize(("layers", "what"), [(L + 1, "3"), (L - 1, "1")])
def test_a_config_of_more_or_fewer_layers_is_refused(layers: int, what: str, tmp_path: Path) -> None:
    options = config_file(num_hidden_layers=layers)(tmp_path)
    path = write_made_up(tmp_path / "ckpt")
    check(path, Refused(SettingError, ("num_hidden_layers", what, str(L)), options), tmp_path)


def test_a_generator_that_is_not_there_is_refused_and_the_reason_is_that_there_is_none(tmp_path: Path) -> None:
    path = write_made_up(tmp_path / "ckpt", "uniform")
    check(
        path,
        Refused(LayoutError, ("no generator can be exported", "has a discriminator only"), {"export": "generator"}),
        tmp_path,
    )


@pytest.mark.parametrize("name", [name for name in shapes_of("uniform") if not name.endswith(("beta", "gamma"))])
def test_no_tensor_is_ever_made_up(name: str, tmp_path: Path) -> None:
    """Whatever single variable is gone, it is named and nothing is written."""
    if name.startswith(("electra/embeddings_project/", "discriminator_predictions/")):
        words: tuple[str, ...] = (name.split("/")[0].split("_")[0],)
    else:
        words = (name,)
    path = write_made_up(tmp_path / "ckpt", "uniform", lambda there: there.__delitem__(name))
    check(path, Refused(LayoutError, words), tmp_path)


# --- F ----------------------------------------------------------------------------------------------------------------

STATE: dict[str, tuple[bytes, Refused | Told]] = {
    "an absolute path of another machine": (
        b'model_checkpoint_path: "/home/x/model.ckpt-7"',
        Told("checkpoint-path", ("/home/x",)),
    ),
    "a bucket": (b'model_checkpoint_path: "gs://bucket/run/model.ckpt-7"', Told("checkpoint-path", ("gs://bucket",))),
    "another machine's path, and no such step": (
        b'model_checkpoint_path: "/home/x/model.ckpt-9"',
        Refused(CheckpointError, ("model.ckpt-7", "step 7")),
    ),
    "a path that climbs out": (b'model_checkpoint_path: "../../x"', Refused(CheckpointError, ("outside", "line 1"))),
    "a file of the system": (
        b'model_checkpoint_path: "/etc/passwd"',
        Refused(CheckpointError, ("outside", "/etc/passwd")),
    ),
    "a pattern": (b'model_checkpoint_path: "model.ckpt-?"', Refused(CheckpointError, ("model.ckpt-?", "step 7"))),
    "an empty path": (b'model_checkpoint_path: ""', Told()),
    "nothing in it": (b"", Told()),
    "a bare word": (b"model_checkpoint_path: model.ckpt-7", Refused(CheckpointError, ("line 1, column 24",))),
    "an unknown field": (b'\nmodel_path: "model.ckpt-7"', Refused(CheckpointError, ("line 2, column 1",))),
    "a byte order mark": (
        b'\xef\xbb\xbfmodel_checkpoint_path: "model.ckpt-7"',
        Refused(CheckpointError, ("line 1, column 1",)),
    ),
    "a string without an end": (
        b'model_checkpoint_path: "model.ckpt-7',
        Refused(CheckpointError, ("line 1, column 24",)),
    ),
    "Latin-1": (b'model_checkpoint_path: "\xe4"', Refused(CheckpointError, ("byte 24", "0xe4"))),
    "UTF-16": ('model_checkpoint_path: "a"'.encode("utf-16"), Refused(CheckpointError, ("byte 0", "UTF-8"))),
    "a step that was deleted": (
        b'model_checkpoint_path: "model.ckpt-9"',
        Refused(CheckpointError, ("model.ckpt-9", "step 7")),
    ),
    "more than a megabyte": (b"# " + b"x" * (1 << 20), Refused(CheckpointError, ("too large",))),
    "escapes for a terminal": (
        b'model_checkpoint_path: "\\033[31m\\n../x"',
        Refused(CheckpointError, ("\\x1b[31m\\x0a",)),
    ),
}


@pytest.mark.parametrize("row", STATE)
def test_the_checkpoint_file(row: str, tmp_path: Path) -> None:
    content, expected = STATE[row]
    path = write_made_up(tmp_path / "ckpt")
    (path / "checkpoint").write_bytes(content)
    check(path, expected, tmp_path)


def test_an_unfinished_save_is_called_so(tmp_path: Path) -> None:
    path = write_made_up(tmp_path / "ckpt")
    for file in path.glob("model*"):
        file.rename(f"{file}.tempstate1583942400")
    check(path, Refused(NotACheckpoint, ("unfinished save",)), tmp_path)


# --- G ----------------------------------------------------------------------------------------------------------------


def zipped(*members: tuple[str, bytes], mode: int = 0) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return packed.getvalue()


def tarred(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


ARCHIVES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "a zip that climbs out": (zipped(("../evil", b"x")), ("../evil",)),
    "a tar that climbs out": (tarred(("a/../../evil", b"x")), ("a/../../evil",)),
    "an absolute path": (tarred(("/tmp/evil", b"x")), ("/tmp/evil",)),
    "a drive letter": (zipped(("C:/evil", b"x")), ("C:/evil", "drive letter")),
    "a backslash": (zipped(("a\\evil", b"x")), ("backslash",)),
    "a link in a zip": (zipped(("evil", b"/etc/passwd"), mode=0o120777), ("evil", "symbolic link")),
    "a link in a tar": (tarred(("evil", b""), kind=tarfile.SYMTYPE, link="/etc/passwd"), ("evil", "symbolic link")),
    "a hard link": (tarred(("evil", b""), kind=tarfile.LNKTYPE, link="a"), ("evil", "hard link")),
    "a device": (tarred(("evil", b""), kind=tarfile.CHRTYPE), ("evil", "device")),
    "a FIFO": (tarred(("evil", b""), kind=tarfile.FIFOTYPE), ("evil", "pipe")),
    "a name twice": (tarred(("evil", b"x"), ("./evil", b"y")), ("evil", "second time")),
    "a name with escapes": (tarred(("\x1b[31m/../evil", b"x")), ("\\x1b[31m",)),
    "an archive in it": (
        zipped(("model.tar.gz", tarred(("x.index", b"")))),
        ("no TensorFlow checkpoint", "model.tar.gz"),
    ),
    "cut": (tarred(("x.index", b"x" * 1000))[:-30], ("damaged",)),
    "several checkpoints": (zipped(("a.index", b""), ("b.index", b"")), ("several checkpoints", "a", "b")),
}


@pytest.mark.parametrize("row", ARCHIVES)
def test_an_archive_is_refused_and_nothing_of_it_is_unpacked(
    row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, words = ARCHIVES[row]
    (tmp_path / "temporary").mkdir()
    (tmp_path / "model.archive").write_bytes(content)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    check(tmp_path / "model.archive", Refused(CheckpointError, ("model.archive", *words)), tmp_path)


# --- H ----------------------------------------------------------------------------------------------------------------


def lines(tokens: list[str], end: str = "\n") -> bytes:
    return "".join(f"{token}{end}" for token in tokens).encode()


VOCABULARIES: dict[str, tuple[bytes, Refused | Told]] = {
    "too many lines": (lines([*TOKENS, "p"]), Refused(VocabularyError, (f"{V + 1} entries", f"at most {V}"))),
    "too few lines": (lines(TOKENS[:-1]), Told("vocab-short", (f"{V - 1} entries", f"{V} entries"))),
    "a token twice": (lines([*TOKENS[:-1], "a"]), Told("vocab-duplicate", ("a: lines 6, 20",))),
    "a byte order mark": (
        b"\xef\xbb\xbf" + lines(TOKENS),
        Refused(VocabularyError, ("byte order mark", "without a byte order mark")),
    ),
    "CR LF": (lines(TOKENS, "\r\n"), Told("vocab-crlf", ("20 lines",))),
    "no last newline": (lines(TOKENS)[:-1], Told()),
    "a blank last line": (lines([*TOKENS[:-1], ""]), Told("vocab-blank", ("line 20",))),
    "a blank line inside": (lines([*TOKENS[:-2], "", "o"]), Told("vocab-blank", ("line 19",))),
    "a line separator": (lines([*TOKENS[:-1], "\u2028"]), Told("vocab-blank", ("line 20",))),
    "a line separator in a token": (lines([*TOKENS[:-1], "a\u2028b"]), Told()),
    "white space around": (lines([*TOKENS[:-1], " o\t"]), Told("vocab-stripped", ("line 20",))),
    "a carriage return inside": (lines([*TOKENS[:-1], "a\rb"]), Refused(VocabularyError, ("line 20", "a\\x0db"))),
    "ids behind tabs": (
        lines([f"{token}\t{number}" for number, token in enumerate(TOKENS)]),
        Refused(VocabularyError, ("[UNK]",)),
    ),
    **{
        f"no {token}": (
            lines([other for other in TOKENS if other != token]),
            Refused(VocabularyError, (token, "--no-tokenizer")),
        )
        for token in TOKENS[:5]
    },
    "Latin-1": (lines(TOKENS[:-1]) + b"\xe4\n", Refused(VocabularyError, ("line 20, byte", "0xe4"))),
    "UTF-16": ("\n".join(TOKENS).encode("utf-16"), Refused(VocabularyError, ("UTF-16",))),
    "UTF-16 without a mark": ("\n".join(TOKENS).encode("utf-16-le"), Refused(VocabularyError, ("[UNK]",))),
    "nothing": (b"", Refused(VocabularyError, ("empty",))),
    "zeros": (bytes(100), Refused(VocabularyError, ("[UNK]",))),
}


@pytest.mark.parametrize("row", VOCABULARIES)
def test_the_vocabulary(row: str, tmp_path: Path) -> None:
    content, expected = VOCABULARIES[row]
    path = write_made_up(tmp_path / "ckpt")
    (path / "vocab.txt").write_bytes(content)
    check(path, expected, tmp_path)

"""What the user asked for: the keywords of `convert`, checked by themselves, and the files that they name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import google_crc32c

from electra_convert.electra.heads import TASK_KINDS, TaskKind
from electra_convert.electra.hparams import Hparams, parse_hparams
from electra_convert.electra.mapping import HalfName
from electra_convert.electra.settings import Given
from electra_convert.errors import SettingError, UsageError
from electra_convert.hf.config import read_config
from electra_convert.hf.files import read_file, read_json

Export = Literal["discriminator", "generator", "both", "available", "task", "encoder"]
Reader = Literal["auto", "tensorflow"]
Reference = Literal["auto", "graph", "numpy", "tensorflow"]
StrPath = str | os.PathLike[str]

EXPORTS: tuple[Export, ...] = ("discriminator", "generator", "both", "available", "task", "encoder")
EXPORT_DTYPES = ("float32", "float16", "bfloat16")
ACTIVATIONS = ("gelu", "gelu_new", "relu", "tanh", "linear")

# What changes no byte of a folder, or is on record by itself: the vocabulary's name, size and checksum, the proof.
NOT_FOR_THE_RECORD = {"vocab", "overwrite", "dry_run", "strict", "verify"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked for; the keywords of `convert`, which documents them."""

    export: Export = "discriminator"
    task: str | None = None
    task_kind: TaskKind | None = None
    labels: Sequence[str] | StrPath | None = None
    num_attention_heads: int | None = None
    hidden_act: str | None = None
    hparams: StrPath | Mapping[str, Any] | None = None
    config: StrPath | None = None
    vocab: StrPath | None = None
    tokenizer: bool = True
    cased: bool | None = None
    strip_accents: bool | None = None
    max_length: int | None = None
    dtype: str | None = None
    ignore: Sequence[str] = ()
    allow_nonfinite: bool = False
    overwrite: bool = False
    dry_run: bool = False
    strict: bool = False
    verify: bool | None = None
    reader: Reader = "auto"

    def __post_init__(self) -> None:
        _refuse_other("export", self.export, EXPORTS)
        _refuse_other("task_kind", self.task_kind, (None, *TASK_KINDS))
        _refuse_other("dtype", self.dtype, (None, *EXPORT_DTYPES))
        _refuse_other("hidden_act", self.hidden_act, (None, *ACTIVATIONS))
        _refuse_other("reader", self.reader, ("auto", "tensorflow"))
        told = [name for name in ("task", "task_kind", "labels") if getattr(self, name) is not None]
        if told and self.export != "task":
            what = f"{' and '.join(told)} say something about a task, but none is exported"
            raise UsageError(what, found=f"export {self.export}", hint="--export task")
        if isinstance(self.ignore, str):
            raise UsageError("ignore is one text, not a list of patterns", found=self.ignore, hint=f"[{self.ignore!r}]")
        if self.num_attention_heads is not None and self.num_attention_heads < 1:
            raise UsageError("num_attention_heads is not a head count", found=str(self.num_attention_heads))
        if not self.tokenizer and (self.vocab, self.cased, self.strip_accents, self.max_length) != (None,) * 4:
            raise UsageError("no tokenizer is to be written, but something is said about it")

    def flags_for(self, half: HalfName, body: str) -> dict[str, Any]:
        """Return the given settings of a half.

        Google's override of the head count reaches the tower `electra` only, so with two halves the flag does too;
        the activation is the same in every tower.
        """
        flags: dict[str, Any] = {}
        if self.num_attention_heads is not None and (self.export == half or body == "electra"):
            flags["num_attention_heads"] = self.num_attention_heads
        if self.hidden_act is not None:
            flags["hidden_act"] = self.hidden_act
        return flags


def options_for_the_record(options: Options, given: Given) -> dict[str, Any]:
    """Return what was asked for, as far as it decides about a folder's bytes; documents as checksums, no paths.

    Args:
        options: what the user asked for.
        given: the documents that the options name, as they were read.
    """
    asked = {field.name: getattr(options, field.name) for field in fields(options)}
    asked |= {
        "hparams": _document_crc(given.hparams.document if given.hparams else None),
        "config": _document_crc(given.config),
        "ignore": list(options.ignore),
        "labels": None if given.labels is None else list(given.labels),
    }
    return {name: value for name, value in asked.items() if name not in NOT_FOR_THE_RECORD}


def _document_crc(document: Mapping[str, Any] | None) -> str | None:
    """Return the CRC-32C of a document, however it was written down, in 8 hexadecimal digits."""
    if document is None:
        return None
    return f"{google_crc32c.value(json.dumps(document, sort_keys=True).encode()):08x}"


def read_given(options: Options) -> Given:
    """Return the hparams and the config that were given, read; a half's flags are added by `Options.flags_for`.

    Raises:
        SettingError: a file is missing or not what it must be.
        UsageError: hparams given as a JSON text do not parse.
    """
    config = None if options.config is None else read_config(options.config, SettingError)
    where = "--config" if options.config is None else os.fspath(options.config)
    if config and config.get("hidden_act", "gelu") not in ACTIVATIONS:
        raise SettingError(
            "the config has an activation that no ELECTRA was trained with",
            where=where,
            found=str(config["hidden_act"]),
            expected=", ".join(ACTIVATIONS),
        )
    labels, labels_where = (None, "--labels") if options.labels is None else _read_labels(options.labels)
    return Given({}, _read_hparams(options.hparams), config, where, labels, labels_where)


def _read_hparams(hparams: StrPath | Mapping[str, Any] | None) -> Hparams | None:
    """Return hparams from a mapping, a JSON text (its first character is `{`) or a file."""
    if hparams is None:
        return None
    if isinstance(hparams, Mapping):
        return parse_hparams(dict(hparams), "hparams")
    text = os.fspath(hparams)
    if not text.startswith("{"):
        return parse_hparams(read_json(text, "the hparams", SettingError), text)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, brackets within brackets
        raise UsageError(
            "--hparams is not JSON", found=str(error), hint="quote it for the shell, or pass a file"
        ) from error
    return parse_hparams(document, "--hparams")


def _read_labels(labels: Sequence[str] | StrPath) -> tuple[tuple[str, ...], str]:
    """Return labels from a sequence, a text with commas, or a file with one a line; and what messages call them."""
    if not isinstance(labels, (str, os.PathLike)):
        return tuple(map(str, labels)), "labels"
    if isinstance(labels, str) and "," in labels:
        return tuple(name.strip() for name in labels.split(",")), "--labels"
    where = os.fspath(labels)
    try:
        text = read_file(where, "the file of labels", SettingError).decode("utf-8")
    except UnicodeDecodeError as error:
        raise SettingError("the file of labels is not UTF-8", where=f"{where}, byte {error.start}") from error
    return tuple(line.strip() for line in text.rstrip().split("\n")), where


def _refuse_other(name: str, value: object, choices: Sequence[object]) -> None:
    if value not in choices:
        told = ", ".join(str(choice) for choice in choices if choice is not None)
        raise UsageError(f"{name} has no such choice", found=str(value), expected=told)

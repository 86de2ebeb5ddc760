"""What the user asked for: the keywords of `convert`, checked by themselves, and the files that they name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from electra_convert.electra.hparams import Hparams, parse_hparams
from electra_convert.electra.mapping import HalfName
from electra_convert.electra.settings import Given
from electra_convert.errors import SettingError, UsageError
from electra_convert.hf.config import read_config
from electra_convert.hf.files import read_json

Export = Literal["discriminator", "generator", "both", "available"]
Reader = Literal["auto", "tensorflow"]
Reference = Literal["auto", "graph", "numpy", "tensorflow"]
StrPath = str | os.PathLike[str]

EXPORTS: tuple[Export, ...] = ("discriminator", "generator", "both", "available")
EXPORT_DTYPES = ("float32", "float16", "bfloat16")
ACTIVATIONS = ("gelu", "gelu_new", "relu", "tanh", "linear")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked for; the keywords of `convert`, which documents them."""

    export: Export = "discriminator"
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
        _refuse_other("dtype", self.dtype, (None, *EXPORT_DTYPES))
        _refuse_other("hidden_act", self.hidden_act, (None, *ACTIVATIONS))
        _refuse_other("reader", self.reader, ("auto", "tensorflow"))
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
    return Given({}, _read_hparams(options.hparams), config, where)


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


def _refuse_other(name: str, value: object, choices: Sequence[object]) -> None:
    if value not in choices:
        told = ", ".join(str(choice) for choice in choices if choice is not None)
        raise UsageError(f"{name} has no such choice", found=str(value), expected=told)

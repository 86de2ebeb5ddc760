"""What `tf1` and `batch` are told in the same words: how to read a checkpoint, what to write, when it is good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from electra_convert.cli.options import WHAT, WRITE, option, reader_option
from electra_convert.errors import UsageError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Declaration = Callable[[Any], Any]

# What only a tokenizer can follow.
TOKENIZER_OPTIONS = {
    "vocab": "--vocab",
    "cased": "--cased/--uncased",
    "strip_accents": "--strip-accents/--keep-accents",
    "max_length": "--max-length",
}


def export_option(default: str) -> Declaration:
    """Declare `--export`."""
    halves = click.Choice(["discriminator", "generator", "both", "available", "task", "encoder"])
    return option(WHAT, "--export", type=halves, default=default, show_default=True, help="Which half")


def task_options(function: Decorated) -> Decorated:
    """Declare which task of a fine-tuned checkpoint is exported, and what no variable tells of it."""
    kinds = click.Choice(["classification", "regression", "tagging"])
    return _declare(
        function,
        option(WHAT, "--task", metavar="NAME", help="Which task, where there are several"),
        option(WHAT, "--task-kind", type=kinds, help="Where neither name nor .meta file tells"),
        option(WHAT, "--labels", metavar="A,B|FILE", help="Names of a task's labels"),
    )


def reading_options(function: Decorated) -> Decorated:
    """Declare how a checkpoint is read, and what no shape tells."""
    return _declare(
        function,
        option(WHAT, "--num-attention-heads", type=int, metavar="N", help="Where no .meta file tells"),
        option(WHAT, "--hidden-act", metavar="NAME", help="Activation, where no .meta file tells"),
        option(WHAT, "--hparams", metavar="FILE|JSON", help="What Google's training was started with"),
        option(WHAT, "--config", type=click.Path(), metavar="FILE", help="Take what no shape tells from this config"),
        option(WHAT, "--ignore", multiple=True, metavar="PATTERN", help="Variables to leave out; can be repeated"),
        option(WHAT, "--allow-nonfinite", is_flag=True, help="Convert weights that are NaN or infinite"),
        reader_option(WHAT),
    )


def writing_options(function: Decorated) -> Decorated:
    """Declare what is written: the tokenizer, the type of the weights."""
    return _declare(
        function,
        option(WRITE, "--vocab", type=click.Path(), metavar="FILE", help="vocab.txt; default: beside the checkpoint"),
        option(WRITE, "--no-tokenizer", is_flag=True, help="Weights and config only"),
        option(WRITE, "--cased/--uncased", default=None, help="Default: what the vocabulary shows"),
        option(WRITE, "--strip-accents/--keep-accents", default=None, help="Default: what the vocabulary shows"),
        option(WRITE, "--max-length", type=int, metavar="N", help="Default: the rows of the position table"),
        option(
            WRITE,
            "--dtype",
            type=click.Choice(["float32", "float16", "bfloat16"]),
            help="Default: as stored, float64 as float32",
        ),
    )


def proving_options(function: Decorated) -> Decorated:
    """Declare when a conversion counts as good."""
    return _declare(
        function,
        option(WRITE, "--strict", is_flag=True, help="Fail on warnings"),
        option(WRITE, "--verify/--no-verify", default=None, help="Prove the result; default: if torch is there"),
    )


def refuse_contradictions(settings: Mapping[str, Any]) -> None:
    """Refuse options that cannot be meant together.

    Raises:
        UsageError: something is said about a tokenizer that is not to be written, or a dry run is to be proven.
    """
    if settings["no_tokenizer"]:
        for name, flag in TOKENIZER_OPTIONS.items():
            if settings[name] is not None:
                raise UsageError(f"--no-tokenizer and {flag} contradict each other")
    if settings["dry_run"] and settings["verify"]:
        raise UsageError("--dry-run and --verify contradict each other", hint="a dry run writes nothing to verify")


def _declare(function: Decorated, *declarations: Declaration) -> Decorated:
    # The last decorator is applied first, as when they are written above a function.
    for declare in reversed(declarations):
        function = declare(function)
    return function

"""The command `tf1`: a TensorFlow 1 checkpoint to a Hugging Face folder."""

from __future__ import annotations

from typing import Any

import click

from electra_convert.cli.console import Console
from electra_convert.cli.options import WHAT, WRITE, option, reader_option, show_options, verb
from electra_convert.errors import UsageError

# What only a tokenizer can follow.
TOKENIZER_OPTIONS = {
    "vocab": "--vocab",
    "cased": "--cased/--uncased",
    "strip_accents": "--strip-accents/--keep-accents",
    "max_length": "--max-length",
}


@verb(
    "tf1",
    examples=(
        "electra-convert tf1 ckpt/ --export discriminator out/",
        "electra-convert tf1 ckpt/model.ckpt-1000000 --export both --dry-run out/",
        "electra-convert tf1 ckpt.zip --num-attention-heads 4 --vocab vocab.txt out/",
    ),
)
@click.argument("checkpoint", type=click.Path())
@click.argument("out", type=click.Path())
@option(
    WHAT,
    "--export",
    type=click.Choice(["discriminator", "generator", "both", "available"]),
    default="discriminator",
    show_default=True,
    help="Which half",
)
@option(WHAT, "--num-attention-heads", type=int, metavar="N", help="Where no .meta file tells")
@option(WHAT, "--hidden-act", metavar="NAME", help="Activation, where no .meta file tells")
@option(WHAT, "--hparams", metavar="FILE|JSON", help="What Google's training was started with")
@option(WHAT, "--config", type=click.Path(), metavar="FILE", help="Take what no shape tells from this config")
@option(WHAT, "--ignore", multiple=True, metavar="PATTERN", help="Variables to leave out; can be repeated")
@option(WHAT, "--allow-nonfinite", is_flag=True, help="Convert weights that are NaN or infinite")
@reader_option(WHAT)
@option(WRITE, "--vocab", type=click.Path(), metavar="FILE", help="vocab.txt; default: beside the checkpoint")
@option(WRITE, "--no-tokenizer", is_flag=True, help="Weights and config only")
@option(WRITE, "--cased/--uncased", default=None, help="Default: what the vocabulary shows")
@option(WRITE, "--strip-accents/--keep-accents", default=None, help="Default: what the vocabulary shows")
@option(WRITE, "--max-length", type=int, metavar="N", help="Default: the rows of the position table")
@option(
    WRITE,
    "--dtype",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    help="Default: as stored, float64 as float32",
)
@option(WRITE, "--overwrite", is_flag=True, help="Replace OUT")
@option(WRITE, "--dry-run", is_flag=True, help="Show the plan, write nothing")
@option(WRITE, "--strict", is_flag=True, help="Fail on warnings")
@option(WRITE, "--verify/--no-verify", default=None, help="Prove the result; default: if torch is there")
@show_options
@click.pass_obj
def command(
    console: Console,
    /,
    checkpoint: str,
    out: str,
    *,
    no_tokenizer: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **settings: Any,
) -> None:
    """Convert a TF1 checkpoint to a Hugging Face folder.

    CHECKPOINT is a folder, a prefix (ckpt/model.ckpt-1000000), any file of the checkpoint, or an archive of it.
    OUT must not exist or be empty.
    """
    _refuse_contradictions(no_tokenizer, settings)
    from electra_convert.conversion import convert

    with console.progress(quiet=quiet) as progress:
        conversion = convert(checkpoint, out, tokenizer=not no_tokenizer, progress=progress, **settings)

    from electra_convert.report import text

    console.show_notices(conversion.warnings)
    if verbose:
        console.show_notices(conversion.notes)
        for half in conversion.halves:
            console.show_details(text.source_lines(half.config, half.sources, f"Config of the {half.half}"))
    if as_json:
        console.answer(conversion.to_json(), conversion.warnings)
    elif not quiet:
        console.show_result(text.conversion_lines(conversion))


def _refuse_contradictions(no_tokenizer: bool, settings: dict[str, Any]) -> None:
    if no_tokenizer:
        for name, flag in TOKENIZER_OPTIONS.items():
            if settings[name] is not None:
                raise UsageError(f"--no-tokenizer and {flag} contradict each other")
    if settings["dry_run"] and settings["verify"]:
        raise UsageError("--dry-run and --verify contradict each other", hint="a dry run writes nothing to verify")

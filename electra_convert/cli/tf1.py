"""The command `tf1`: a TensorFlow 1 checkpoint to a Hugging Face folder."""

from __future__ import annotations

import os
from typing import Any

import click

from electra_convert.cli.console import Console
from electra_convert.cli.options import WRITE, option, show_options, verb
from electra_convert.cli.settings import (
    export_option,
    proving_options,
    reading_options,
    refuse_contradictions,
    task_options,
    writing_options,
)


@verb(
    "tf1",
    examples=(
        "electra-convert tf1 ckpt/ --export discriminator out/",
        "electra-convert tf1 ckpt/model.ckpt-1000000 --export both --dry-run out/",
        "electra-convert tf1 ckpt.zip --num-attention-heads 4 --vocab vocab.txt out/",
        "electra-convert tf1 finetuned/ --export task --labels negative,positive out/",
    ),
)
@click.argument("checkpoint", type=click.Path())
@click.argument("out", type=click.Path())
@export_option("discriminator")
@task_options
@reading_options
@writing_options
@option(WRITE, "--overwrite", is_flag=True, help="Replace OUT")
@option(WRITE, "--dry-run", is_flag=True, help="Show the plan, write nothing")
@proving_options
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

    CHECKPOINT is a folder, a prefix (ckpt/model.ckpt-1000000), any file of the checkpoint, an archive of it,
    or a URL (s3://, gs://, hf://, https://).
    OUT must not exist or be empty.
    """
    refuse_contradictions({"no_tokenizer": no_tokenizer, **settings})
    if settings["verify"] is False:
        # NumPy multiplies nothing then, and its import is a third shorter without threads for it.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from electra_convert.conversion import convert

    with console.progress(quiet=quiet) as progress:
        conversion = convert(checkpoint, out, tokenizer=not no_tokenizer, progress=progress, **settings)

    from electra_convert.report import text

    console.show_notices(conversion.warnings)
    if verbose:
        console.show_notices(conversion.notes)
        for half in conversion.halves:
            console.show_details(text.source_lines(half.config, half.sources, f"Config of the {half.told}"))
    if as_json:
        console.answer(conversion.to_json(), conversion.warnings)
    elif not quiet:
        console.show_result(text.conversion_lines(conversion))

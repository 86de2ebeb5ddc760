"""The command `to-tf1`: Hugging Face folders to a TensorFlow 1 checkpoint."""

from __future__ import annotations

from typing import Any

import click

from electra_convert.cli.console import Console
from electra_convert.cli.options import WHAT, WRITE, option, show_options, verb
from electra_convert.errors import UsageError


@verb(
    "to-tf1",
    examples=(
        "electra-convert to-tf1 hf/discriminator hf/generator ckpt/",
        "electra-convert to-tf1 hf/ ckpt/ --slots --step 1000000",
        "electra-convert to-tf1 my-finetuned-model/ ckpt/ --encoder",
    ),
)
@click.argument("folders", type=click.Path(), nargs=-1, required=True, metavar="FOLDER...")
@click.argument("out", type=click.Path())
@option(WHAT, "--encoder", is_flag=True, help="The tower alone, without the head it has")
@option(
    WHAT,
    "--generator-scope",
    type=click.Choice(["electra", "generator"]),
    help="Of a generator alone; default: electra",
)
@option(WHAT, "--allow-nonfinite", is_flag=True, help="Convert weights that are NaN or infinite")
@option(WRITE, "--step", type=int, metavar="N", help="global_step; default: as recorded, or 0")
@option(WRITE, "--slots", is_flag=True, help="Zeroed Adam slots, to go on pre-training")
@option(WRITE, "--vocab", type=click.Path(), metavar="FILE", help="vocab.txt; default: the folder's")
@option(WRITE, "--no-tokenizer", is_flag=True, help="No vocab.txt")
@option(WRITE, "--dtype", type=click.Choice(["float32", "float16", "bfloat16"]), help="Default: as stored")
@option(WRITE, "--overwrite", is_flag=True, help="Replace OUT")
@option(WRITE, "--dry-run", is_flag=True, help="Show the plan, write nothing")
@option(WRITE, "--strict", is_flag=True, help="Fail on warnings")
@show_options
@click.pass_obj
def command(
    console: Console,
    /,
    folders: tuple[str, ...],
    out: str,
    *,
    no_tokenizer: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **settings: Any,
) -> None:
    """Write Hugging Face folders as a TF1 checkpoint.

    FOLDER is a discriminator, a generator, a bare encoder, or a folder that holds `discriminator` and `generator`.
    OUT must not exist or be empty; it becomes what Google's code takes as DATA_DIR/models/NAME.
    """
    if no_tokenizer and settings["vocab"] is not None:
        raise UsageError("--no-tokenizer and --vocab contradict each other")
    from electra_convert.restoration.restoring import restore

    with console.progress(quiet=quiet) as progress:
        restoration = restore(folders, out, tokenizer=not no_tokenizer, progress=progress, **settings)

    from electra_convert.report import restoration_text

    console.show_notices(restoration.warnings)
    if verbose:
        console.show_notices(restoration.notes)
        console.show_details(restoration_text.hparams_lines(restoration))
    if as_json:
        console.answer(restoration.to_json(), restoration.warnings)
    elif not quiet:
        console.show_result(restoration_text.restoration_lines(restoration))

"""The command `inspect`: what a checkpoint contains, without reading its tensors."""

from __future__ import annotations

from typing import Literal

import click

from electra_convert.cli.console import Console
from electra_convert.cli.options import LOOK, option, reader_option, show_options, verb


@verb(
    "inspect",
    examples=(
        "electra-convert inspect ckpt/",
        "electra-convert inspect ckpt/model.ckpt-40.index --variables | grep gamma",
        "electra-convert inspect ckpt.zip --json",
    ),
)
@click.argument("checkpoint", type=click.Path())
@option(LOOK, "--variables", is_flag=True, help="A line a variable; columns by tabs when piped")
@reader_option(LOOK)
@show_options
@click.pass_obj
def command(
    console: Console,
    /,
    checkpoint: str,
    *,
    reader: Literal["auto", "tensorflow"],
    variables: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Show what a checkpoint contains.

    CHECKPOINT is a folder, a prefix (ckpt/model.ckpt-1000000), any file of the checkpoint, an archive of it,
    or a URL (s3://, gs://, hf://, https://).
    The .index file alone is enough.
    """
    from electra_convert.inspection import inspect

    inspection = inspect(checkpoint, reader=reader)

    from electra_convert.report import text

    console.show_notices(inspection.warnings)
    if verbose:
        console.show_notices(inspection.notes)
        for half in inspection.halves:
            console.show_details(text.source_lines(half.config, half.sources, f"Config of the {half.told}"))
    if as_json:
        console.answer(inspection.to_json(), inspection.warnings)
    elif variables:
        console.show_result(text.variable_lines(inspection.variables, tabs=not console.out_is_terminal))
    elif not quiet:
        console.show_result(text.inspection_lines(inspection))

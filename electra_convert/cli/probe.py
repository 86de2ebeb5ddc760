"""The command `probe`: do converted weights still play ELECTRA's game on real text?"""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from electra_convert.cli.console import Console
from electra_convert.cli.options import SHOW, option, show_options, verb

if TYPE_CHECKING:
    from electra_convert.report.probe_text import Level

# Headings of the help.
TEXT, GAME = "What to play on", "How to play"

# What `click.style` takes, by the level of a token.
STYLES: dict[Level, dict[str, Any]] = {
    "calm": {},
    "odd": {"fg": "yellow"},
    "suspect": {"fg": "red", "bold": True},
}

# The width of what is not read on a terminal.
PIPED_WIDTH = 80

STANDARD_INPUT = "-"


@verb(
    "probe",
    examples=(
        'electra-convert probe out/ "The chef cooked the meal."',
        "electra-convert probe out/discriminator --generator out/generator --file news.txt",
        "electra-convert probe out/ --file heldout.txt --as-google --rounds 5 --show 0",
    ),
    epilog=(
        "How to read it: the AUC is the chance that a replaced token looks more suspicious\n"
        "than an original one. Random weights: 0.5. It is high for a trained model in its\n"
        "place, lower where weights are mixed up, and below 0.5 where they are turned round.\n"
        "What is equal is proven by `verify`; this shows that it was trained.\n"
        "\n"
        "Exit codes: 0 played, 2 usage, 3 folder or text refused, 4 environment"
    ),
)
@click.argument("discriminator", type=click.Path())
@click.argument("text", required=False)
@option(TEXT, "--generator", type=click.Path(), metavar="FOLDER", help="Default: OUT/generator, else random tokens")
@option(TEXT, "--file", type=click.Path(allow_dash=True), metavar="FILE", help="A file of text; - for standard input")
@option(TEXT, "--max-length", type=int, metavar="N", help="Tokens of a window; default: as in training")
@option(TEXT, "--max-tokens", type=int, default=10_000, show_default=True, metavar="N", help="Tokens to read")
@option(GAME, "--mask", type=float, metavar="SHARE", help="Default: as in training, else 0.15")
@option(GAME, "--temperature", type=float, metavar="T", help="Of the sampling; default: as in training, else 1")
@option(GAME, "--rounds", type=int, metavar="N", help="Default: until 100 tokens were masked, at most 20")
@option(GAME, "--seed", type=int, default=0, show_default=True, metavar="N", help="Of everything random")
@option(GAME, "--as-google", is_flag=True, help="Repeat Google's evaluation, with its figures")
@option(SHOW, "--show", type=int, default=1, show_default=True, metavar="N", help="Windows of the text to show")
@option(SHOW, "--top", type=int, default=3, show_default=True, metavar="K", help="Guesses a masked token")
@show_options
@click.pass_obj
def command(
    console: Console,
    /,
    discriminator: str,
    text: str | None,
    *,
    file: str | None,
    show: int,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **settings: Any,
) -> None:
    """Play ELECTRA's game on real text with converted weights.

    DISCRIMINATOR is a Hugging Face folder, or one with the folders discriminator and generator. TEXT is played on, or
    a file, or standard input (-): a share of its tokens is masked, the generator puts tokens of its own in their
    place, and the discriminator points at those that it holds to be replaced.
    """
    from electra_convert.probing.probing import probe

    if text == STANDARD_INPUT and file is None:
        text, file = None, STANDARD_INPUT
    source = sys.stdin.buffer if file == STANDARD_INPUT else file
    with console.progress(quiet=quiet) as progress:
        played = probe(discriminator, text, file=source, progress=progress, **settings)
    console.show_notices(played.warnings)
    if verbose:
        console.show_notices(played.notes)
    if as_json:
        console.answer(played.to_json(), played.warnings)
    elif not quiet:
        from electra_convert.report.probe_text import ARROW, plain, probe_lines

        width = shutil.get_terminal_size().columns if console.out_is_terminal else PIPED_WIDTH
        console.show_result(
            probe_lines(
                played,
                show=max(0, show),
                verbose=verbose,
                width=width,
                paint=_painted if console.out_is_coloured else plain,
                ascii_only=not console.out_takes(ARROW),
            )
        )


def _painted(text: str, level: Level) -> str:
    return click.style(text, **STYLES[level]) if STYLES[level] else text

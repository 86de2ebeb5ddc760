"""The command `verify`: does a folder compute what its checkpoint computes, on the screen and as reports."""

from __future__ import annotations

import shlex
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from electra_convert.cli.console import Console
from electra_convert.cli.endings import ending_of
from electra_convert.cli.options import COMPARE, REPORT, option, reader_option, show_options, verb
from electra_convert.errors import ElectraConvertError, OutputError, UsageError
from electra_convert.notices import warning

if TYPE_CHECKING:
    from electra_convert.parity import Parity
    from electra_convert.report.verdict import Run

# What belongs to a checkpoint without being read here.
BESIDE = ("checkpoint", "vocab.txt")

NOT_EQUAL = 1  # the exit code of a verdict that is a no


@verb(
    "verify",
    examples=(
        "electra-convert verify ckpt/ out/",
        "electra-convert verify ckpt/ out/ --junit-xml parity.xml --html parity.html",
        "electra-convert verify ckpt.zip downloaded/ --with-transformers",
    ),
    epilog=(
        "Exit codes: 0 equal, 1 not equal, 2 usage, 3 input refused, 4 environment;\n"
        "reports are written for 0 and 1, and JUnit XML also for 3 and 4"
    ),
)
@click.argument("checkpoint", type=click.Path())
@click.argument("folder", metavar="OUT", type=click.Path())
@option(
    COMPARE,
    "--reference",
    type=click.Choice(["auto", "graph", "numpy", "tensorflow"]),
    default="auto",
    show_default=True,
    help="What is right; numpy is reference.py, the others run the graph in .meta",
)
@option(COMPARE, "--with-transformers", is_flag=True, help="Also load and run OUT with transformers")
@option(COMPARE, "--task", metavar="NAME", help="Which task OUT is, where there are several")
@option(COMPARE, "--seed", type=int, default=0, show_default=True, metavar="N", help="Of the inputs")
@reader_option(COMPARE)
@option(REPORT, "--junit-xml", type=click.Path(), metavar="FILE", help="A report for CI systems")
@option(REPORT, "--html", type=click.Path(), metavar="FILE", help="A report for people: one page, self-contained")
@show_options
@click.pass_obj
def command(
    console: Console,
    /,
    checkpoint: str,
    folder: str,
    *,
    reference: Literal["auto", "graph", "numpy", "tensorflow"],
    with_transformers: bool,
    task: str | None,
    seed: int,
    reader: Literal["auto", "tensorflow"],
    junit_xml: str | None,
    html: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Prove that a folder computes what its checkpoint computes.

    CHECKPOINT is a folder, a prefix (ckpt/model.ckpt-1000000), any file of the checkpoint, an archive of it,
    or a URL (s3://, gs://, hf://, https://).
    OUT is a Hugging Face ELECTRA folder of this or another tool, or one with the folders discriminator and generator.
    """
    from electra_convert.opening import opened
    from electra_convert.parity import parity_error, verify
    from electra_convert.remote.urls import shown_path
    from electra_convert.report.files import check_reports
    from electra_convert.report.verdict import Run

    shown = shown_path(checkpoint), shown_path(folder)
    words = ["electra-convert", "verify", *shown, "--seed", str(seed)]
    words += ["--reference", reference] if reference != "auto" else []
    words += ["--reader", reader] if reader != "auto" else []
    words += ["--task", task] if task else []
    words += ["--with-transformers"] if with_transformers else []
    started = time.monotonic()

    def run() -> Run:
        return Run(shlex.join(words), time.monotonic() - started, datetime.now(timezone.utc))

    reports = [report for report in (junit_xml, html) if report]
    check_reports(reports, folder)
    try:
        with console.progress(quiet=quiet) as progress, opened(checkpoint, reader, progress=progress) as source:
            beside = [source.folder / name for name in BESIDE]
            check_reports(reports, folder, [Path(checkpoint), *source.paths(), *beside])
            parity = verify(
                source,
                folder,
                reference=reference,
                seed=seed,
                with_transformers=with_transformers,
                task=task,
                progress=progress,
            )
    except UsageError:
        raise
    except (ElectraConvertError, OSError) as error:
        if junit_xml:
            _report_error(console, junit_xml, ending_of(error).error, *shown, run())
        raise
    unwritten = _report(parity, run(), junit_xml, html)
    console.show_notices(parity.warnings)
    if verbose:
        console.show_notices(parity.notes)
    if as_json:
        console.answer(parity.to_json(), parity.warnings, ok=parity.passed, error=unwritten)
    elif not quiet:
        from electra_convert.report.verdict_text import PICTURE, verdict_lines

        console.show_verdict(verdict_lines(parity, run(), verbose=verbose, ascii_only=not console.out_takes(PICTURE)))
    if unwritten:
        raise unwritten
    if quiet and not as_json and not parity.passed:
        raise parity_error(parity.halves)
    return 0 if parity.passed else NOT_EQUAL


def _report(parity: Parity, run: Run, junit_xml: str | None, html: str | None) -> OutputError | None:
    """Write the reports that were asked for; return why one could not be, since the verdict is shown all the same."""
    from electra_convert.report.files import write_report
    from electra_convert.report.html import html_document
    from electra_convert.report.junit import junit_document

    unwritten = None
    for report, document in ((junit_xml, junit_document), (html, html_document)):
        if report:
            try:
                write_report(report, document(parity, run))
            except OutputError as error:
                unwritten = unwritten or error
    return unwritten


def _report_error(
    console: Console, junit_xml: str, error: ElectraConvertError, checkpoint: str, folder: str, run: Run
) -> None:
    """Write why there is no verdict, unless that would replace a file that is no report.

    A checkpoint that could not be opened has not told which files are its own.
    """
    from electra_convert.report.files import may_replace, write_report
    from electra_convert.report.junit import junit_error

    document = junit_error(error, checkpoint, folder, run)
    if may_replace(junit_xml, document):
        write_report(junit_xml, document)
    else:
        console.show_notices(
            [warning("report", "no report was written: a file that is none stands there", found=junit_xml)]
        )

"""The command `batch`: many checkpoints to folders, each verified, and reports of what became of them."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from electra_convert.cli.console import Console
from electra_convert.cli.endings import ending_of
from electra_convert.cli.options import REPORT, WHAT, WRITE, option, show_options, verb
from electra_convert.cli.settings import (
    export_option,
    proving_options,
    reading_options,
    refuse_contradictions,
    task_options,
    writing_options,
)
from electra_convert.cli.signals import Stopped
from electra_convert.errors import ElectraConvertError, OutputError, UsageError

if TYPE_CHECKING:
    from electra_convert.batching.outcomes import BatchEvent, ItemResult, Watch
    from electra_convert.notices import Notice
    from electra_convert.report.batch_results import BatchRun
    from electra_convert.zoo.finding import Zoo

RUN = "How to run it"

SOME_FAILED = 1  # the exit code of a batch that is not done as a whole


@dataclass(frozen=True, slots=True)
class Reports:
    """The files that were asked for; each may be missing."""

    html: str | None
    junit_xml: str | None
    events: str | None

    def check(self, out: str) -> None:
        """Refuse what cannot be written, before the work: see `check_reports`; and to replace a file that is no report.

        Which files belong to a checkpoint is not known before each is opened.
        """
        from electra_convert.report.batch_events import EVENTS_BEGIN
        from electra_convert.report.files import check_reports, may_replace
        from electra_convert.report.html_page import PAGE_BEGINS
        from electra_convert.report.junit import XML_BEGINS

        every = [(self.html, PAGE_BEGINS), (self.junit_xml, XML_BEGINS), (self.events, EVENTS_BEGIN)]
        wanted = [(report, beginning) for report, beginning in every if report]
        check_reports([report for report, _ in wanted], out, called="the folder of all outputs")
        for report, beginning in wanted:
            if not may_replace(report, beginning):
                raise OutputError("a file that is no report stands where one is to be written", where=report)

    def write(self, results: Sequence[ItemResult], run: BatchRun) -> tuple[list[str], OutputError | None]:
        """Write the reports; return those written, and why one could not be: the summary is shown all the same."""
        from electra_convert.report import batch_html, batch_junit
        from electra_convert.report.files import write_report

        written, unwritten = [], None
        for report, document in ((self.junit_xml, batch_junit.junit_document), (self.html, batch_html.html_document)):
            if report:
                try:
                    write_report(report, document(results, run))
                    written.append(report)
                except OutputError as error:
                    unwritten = unwritten or error
        return written, unwritten


@verb(
    "batch",
    examples=(
        "electra-convert batch zoo/ out/ --report report.html",
        "electra-convert batch --manifest zoo.toml out/ --jobs 4 --dry-run",
        "electra-convert batch gs://bucket/zoo downloads/*.zip out/ --dtype float16",
    ),
    epilog=(
        "Exit codes: 0 all done, 1 an item failed, 2 usage, 3 input, 4 environment, 130\n"
        "and 143 stopped; reports are written for 0, 1, 130 and 143. The same command\n"
        "again goes on: what is up to date is skipped"
    ),
)
@click.argument("sources", metavar="[SOURCE]...", nargs=-1, type=click.Path())
@click.argument("out", type=click.Path())
@option(WHAT, "--manifest", type=click.Path(), metavar="FILE", help="A list with options: .toml, .json, .csv")
@option(WHAT, "--all-steps", is_flag=True, help="Every step of a folder, not the newest only")
@export_option("available")
@task_options
@reading_options
@writing_options
@proving_options
@option(WRITE, "--dry-run", is_flag=True, help="Show the plan, write nothing")
@option(RUN, "--jobs", type=int, metavar="N", help="How many at once; default: the cores")
@option(RUN, "--resume/--no-resume", default=True, show_default=True, help="Skip what is up to date")
@option(RUN, "--fail-fast", is_flag=True, help="Stop at the first failure")
@option(RUN, "--scheduler", metavar="ADDRESS", help="Run on a Dask cluster: tcp://…")
@option(REPORT, "--report", type=click.Path(), metavar="FILE", help="A report for people: one page, self-contained")
@option(REPORT, "--junit-xml", type=click.Path(), metavar="FILE", help="A report for CI systems")
@option(REPORT, "--events", type=click.Path(), metavar="FILE", help="JSON Lines, appended while it runs")
@show_options
@click.pass_obj
def command(
    console: Console,
    /,
    sources: tuple[str, ...],
    out: str,
    *,
    manifest: str | None,
    all_steps: bool,
    no_tokenizer: bool,
    dry_run: bool,
    jobs: int | None,
    resume: bool,
    fail_fast: bool,
    scheduler: str | None,
    report: str | None,
    junit_xml: str | None,
    events: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **settings: Any,
) -> int:
    """Convert and verify many checkpoints.

    SOURCE is a folder to walk, a checkpoint, an archive, a URL, or a manifest. OUT gets a folder for each item.
    """
    if not sources and manifest is None:
        raise UsageError("no source is given", found=f"only OUT: {out}", hint="electra-convert batch SOURCE... OUT")
    refuse_contradictions({"no_tokenizer": no_tokenizer, "dry_run": dry_run, **settings})
    reports = Reports(report, junit_xml, events)
    reports.check(out)
    started = time.monotonic()
    from electra_convert.parity import require_torch
    from electra_convert.zoo.finding import find_zoo

    settings["tokenizer"] = not no_tokenizer
    zoo = find_zoo(sources, out, manifest=manifest, all_steps=all_steps, settings=settings)
    console.show_notices(zoo.warnings)
    if verbose:
        console.show_notices(zoo.notes)
    if settings["verify"] and scheduler is None:
        require_torch()
    running = {"jobs": jobs, "resume": resume, "fail_fast": fail_fast, "scheduler": scheduler, "dry_run": dry_run}
    with _watching(console, zoo, events, quiet=quiet) as (watch, unlogged):
        results, stop = _run(zoo, out, watch, running)

    from electra_convert.report.batch_results import BatchRun

    words = shlex.join(["electra-convert", *sys.argv[1:]])
    ended_by = stop.signal.name if isinstance(stop, Stopped) else type(stop).__name__ if stop else ""
    run = BatchRun(words, time.monotonic() - started, datetime.now(timezone.utc), out, ended_by, zoo.notices)
    written, unwritten = reports.write(results, run)
    run = replace(run, reports=(*written, *([events] if events and not unlogged else [])))
    failure = stop or unwritten or next(iter(unlogged), None)
    return _tell(console, results, run, failure, zoo.warnings, as_json=as_json, quiet=quiet, verbose=verbose)


def _run(zoo: Zoo, out: str, watch: Watch, running: Mapping[str, Any]) -> tuple[list[ItemResult], BaseException | None]:
    """Return a result for every item in the order of the zoo, and what stopped the run, if it was stopped.

    What comes before the first result is no run, and is raised.
    """
    from electra_convert.batching.outcomes import dropped
    from electra_convert.batching.running import run_zoo

    done: dict[str, ItemResult] = {}
    stop: BaseException | None = None

    def keep(event: BatchEvent) -> None:
        # Told before it is yielded, so an interrupt in between loses nothing.
        if event.result is not None:
            done[event.item] = event.result
        watch(event)

    try:
        # Closed here, so that what is dropped is told while somebody watches.
        with closing(run_zoo(zoo, out, watch=keep, **running)) as finished:
            for _ in finished:
                pass
    except KeyboardInterrupt as error:
        stop = error
    except (ElectraConvertError, OSError) as error:
        if not done:
            raise
        stop = error
    return [done.get(item.name) or dropped(item, f"{out.rstrip('/')}/{item.name}") for item in zoo.items], stop


@contextmanager
def _watching(
    console: Console, zoo: Zoo, events: str | None, *, quiet: bool
) -> Iterator[tuple[Watch, list[OutputError]]]:
    """Give a callback for the screen and the log, and a list that then holds why the log could not be written."""
    from electra_convert.report.batch_events import EventLog

    log = EventLog(events) if events else None
    failures: list[OutputError] = []
    try:
        with console.watching([item.name for item in zoo.items], quiet=quiet) as show:

            def watch(event: BatchEvent) -> None:
                if log:
                    log.write(event)
                show(event)

            yield watch, failures
    finally:
        if log:
            log.close()
            failures += [log.failure] if log.failure else []


def _tell(
    console: Console,
    results: Sequence[ItemResult],
    run: BatchRun,
    failure: BaseException | None,
    warnings: Sequence[Notice],
    *,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Show what became of the items; return the exit code, or raise what stopped the run or its reports."""
    from electra_convert.report.batch_results import BAD, totals_of, warning_of_items, warnings_by_kind, word_of
    from electra_convert.report.batch_text import batch_lines, detail_lines, failure_lines

    totals = totals_of(results)
    if verbose:
        for result in results:
            console.show_details(detail_lines(result))
            console.show_notices(result.notices)
    else:
        console.show_notices(warning_of_items(notice, names) for notice, names in warnings_by_kind(results))
    if as_json:
        document = {"out": run.out, "summary": totals.to_json(), "items": [result.to_json() for result in results]}
        console.answer(document, warnings, ok=totals.good, error=ending_of(failure).error if failure else None)
    elif not quiet:
        console.show_verdict(batch_lines(results, run))
    if quiet or as_json:
        for result in results:
            if word_of(result) in BAD:
                console.show_details(failure_lines(result))
    if failure:
        raise failure
    return 0 if totals.good else SOME_FAILED

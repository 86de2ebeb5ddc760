"""The live view fits any terminal, says how far the batch is, and leaves nothing behind but what failed."""

from __future__ import annotations

import io
import os
import re

import pytest
from cli_runs import run_stub, stub_command

from electra_convert.batching.outcomes import BatchEvent, ItemResult, failed
from electra_convert.cli.live import Course, draw
from electra_convert.errors import ChecksumError, ParityError
from electra_convert.zoo.finding import Item

posix = pytest.mark.skipif(os.name != "posix", reason="pseudo terminals of POSIX")

HALF = {"half": "discriminator", "tensors": 43}


def result_of(name, status="converted"):
    return ItemResult(Item(name, name, {}), status, f"out/{name}", halves=(HALF,), seconds=1.0)


def course_of(*events, total=40):
    course = Course(total)
    for event in events:
        course.take(event)
    return course


def rendered(course, width, height, now=10.0):
    """Return the lines of a drawing as a terminal gets them."""
    from rich.console import Console

    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None, legacy_windows=False
    )
    console.print(draw(course, now, width, height))
    return console.file.getvalue().rstrip("\n").split("\n")


def busy(items, total=40):
    """Return the course of a batch in which so many items are worked on, of names that are hard to draw."""
    names = [f"模型/{number}/" + "x" * (7 * number) for number in range(items)]
    events = [BatchEvent("started", name, at=1.0) for name in names]
    events += [BatchEvent("progress", name, 34 << 20, 51 << 20, "reading back", at=2.0) for name in names[::2]]
    events += [BatchEvent("progress", name, 3, 5, "verifying: float64", at=2.0) for name in names[1::2]]
    events += [BatchEvent("finished", "a", 1, total, result=result_of("a"), at=3.0)]
    return course_of(*events, total=total)


@pytest.mark.parametrize("items", [0, 1, 3, 60])
@pytest.mark.parametrize("width", [12, 20, 47, 48, 75, 76, 200])
@pytest.mark.parametrize("height", [1, 2, 3, 4, 10, 50])
def test_the_drawing_fits_the_terminal(items, width, height):
    from rich.cells import cell_len

    lines = rendered(busy(items), width, height)
    assert len(lines) <= max(1, height - 1)
    assert max(map(cell_len, lines)) <= width


def test_the_drawing_says_what_goes_on_and_how_far_the_whole_is():
    lines = rendered(busy(2), 100, 24)
    assert re.match(r"模型/0/ +reading back +━+╸? +34.0/51.0 MiB +0:00:09$", lines[0].rstrip())
    assert re.match(r"模型/1/x+ +verifying: float64 +━+╸? +step 4 of 5 +0:00:09$", lines[1].rstrip())
    assert re.match(r"1 of 40 +━*╸? +3.4 MiB/s +0:03:10 left$", lines[2].rstrip())
    assert lines[3].strip() == "1 ok"


def test_of_more_items_than_lines_the_rest_is_counted():
    lines = rendered(busy(60), 100, 10)
    assert lines[-3].startswith("and 54 more")
    assert len(lines) == 9


def test_a_narrow_terminal_keeps_the_bars_and_the_time_left():
    lines = rendered(busy(1), 40, 10)
    assert "━" in lines[0]
    assert lines[-1].strip() == "1 ok, 0:04:16 left"


def test_a_name_that_would_steer_a_terminal_is_escaped():
    lines = rendered(course_of(BatchEvent("started", "\x1b[31m\u202e", at=0.0)), 100, 10)
    assert "\\x1b[31m" in lines[0]
    assert all(line.isprintable() for line in lines)


def test_bytes_are_counted_once_over_all_phases_and_steps_are_none():
    progress = [
        (0, 10, "writing"),
        (4, 10, "writing"),
        (10, 10, "writing"),
        (6, 10, "reading back"),
        (1, 5, "verifying: x"),
    ]
    course = course_of(*(BatchEvent("progress", "a", *how_far, at=1.0) for how_far in progress))
    assert course.moved == 16
    assert course.rate(4.0) == 4.0


def test_the_time_left_does_not_count_what_was_up_to_date():
    skipped = [
        BatchEvent("finished", f"s{n}", n, 100, result=result_of(f"s{n}", "up to date"), at=0.1) for n in range(50)
    ]
    course = course_of(*skipped, total=100)
    assert course.left(0.1) is None
    course.take(BatchEvent("finished", "a", 51, 100, result=result_of("a"), at=2.0))
    assert course.left(2.0) == pytest.approx(2.0 * 49)


def test_the_tally_has_every_word_that_occurs():
    errors = [ParityError("no"), ChecksumError("damaged")]
    events = [BatchEvent("finished", "f", result=failed(Item("f", "f", {}), "out/f", error)) for error in errors]
    events += [BatchEvent("finished", "g", result=result_of("g", status)) for status in ("converted", "up to date")]
    assert course_of(*events).tally() == "1 ok, 1 skipped, 1 FAILED, 1 error"


SLOW = """
    import time
    from electra_convert.errors import ChecksumError
    from electra_convert.batching.outcomes import BatchEvent, ItemResult, failed
    from electra_convert.zoo.finding import Item
    names = [f"item-{number}" for number in range(12)]
    items = [Item(name, name, {"export": "both"}) for name in names]
    half = {"half": "discriminator", "tensors": 43}
    bad = failed(items[0], "out", ChecksumError("damaged [/bold] :100:"), seconds=1.5)
    good = ItemResult(items[1], "converted", "out", halves=(half,), seconds=0.5)
    with console.watching(names, quiet=quiet) as watch:
        start = time.monotonic()
        watch(BatchEvent("planned", total=12))
        for name in names:
            watch(BatchEvent("started", name, at=time.monotonic() - start))
        for done in range(12):
            for name in names:
                watch(BatchEvent("progress", name, done << 20, 13 << 20, "writing", at=time.monotonic() - start))
            time.sleep(0.1)
        watch(BatchEvent("finished", "item-0", 1, 12, result=bad, at=1.2))
        watch(BatchEvent("note", "item-2", what="the worker was lost"))
        watch(BatchEvent("finished", "item-1", 2, 12, result=good, at=1.2))
        time.sleep(0.3)
    console.show_result(["12 items", "rich" in __import__("sys").modules and "rich" or "plain"])
"""

FAILED = "   1/12  error    item-0   discriminator, generator  checksum                 1.5 s"
NOTE = "  note: item-2: the worker was lost"
DONE = "   2/12  ok       item-1   discriminator             43 tensors               0.5 s"


@posix
@pytest.mark.parametrize(("width", "height"), [(100, 30), (100, 8), (60, 5), (30, 24)])
def test_what_failed_stays_and_the_drawing_is_gone(width, height):
    from screen import on_screen

    screen, _ = on_screen(stub_command(SLOW, "stub"), width, height)
    lines = screen.seen
    assert "".join(lines).replace(" ", "") == f"{FAILED}{NOTE}12itemsrich".replace(" ", "")
    assert "" in lines  # between what stays and the result
    assert screen.lost == 0
    assert screen.cursor


@posix
def test_while_it_runs_every_item_has_a_bar():
    from screen import on_screen

    screen, written = on_screen(stub_command(SLOW, "stub"), 100, 30)
    full = max(screen.frames, key=lambda frame: sum("writing" in line for line in frame))
    assert [line.split()[0] for line in full if "writing" in line] == [f"item-{number}" for number in range(12)]
    assert any(re.match(r"0 of 12 +━* +[0-9.,]+ MiB/s", line) for line in full)
    assert written.rfind("\x1b[?25h") > written.rfind("\x1b[?25l")


@posix
def test_a_short_terminal_counts_the_items_that_have_no_line():
    from screen import on_screen

    screen, _ = on_screen(stub_command(SLOW, "stub"), 100, 8)
    assert any("and 8 more" in line for frame in screen.frames for line in frame)
    assert all(len(frame) <= 8 for frame in screen.frames)


@posix
def test_without_colour_there_are_no_colour_codes():
    from screen import on_screen

    _, plain = on_screen(stub_command(SLOW, "--color", "never", "stub"), 100, 30)
    _, coloured = on_screen(stub_command(SLOW, "stub"), 100, 30)
    assert "writing" in plain
    assert not re.search(r"\x1b\[[0-9;]*m", plain)
    assert re.search(r"\x1b\[[0-9;]*m", coloured)


@posix
@pytest.mark.parametrize(("arguments", "changes"), [([], {"CI": "1"}), ([], {"TERM": "dumb"})])
def test_where_nothing_may_move_an_item_is_a_line(arguments, changes):
    from screen import on_screen

    screen, _ = on_screen(stub_command(SLOW, "--color", "never", "stub", *arguments), 100, 30, **changes)
    assert screen.seen == [FAILED, NOTE, DONE, "", "12 items", "plain"]


@pytest.mark.parametrize("changes", [{}, {"FORCE_COLOR": "1"}])
def test_a_pipe_gets_a_line_an_item_and_no_drawing(changes):
    done = run_stub(SLOW, **changes)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr)
    assert plain.splitlines() == [FAILED, NOTE, DONE]
    assert ("\x1b[31m" in done.stderr) is bool(changes)
    assert done.stdout == "12 items\nplain\n"


def test_quiet_is_quiet():
    done = run_stub(SLOW, "-q")
    assert (done.stderr, done.stdout) == ("", "12 items\nplain\n")


@posix
def test_work_that_is_soon_done_draws_nothing():
    from screen import on_screen

    screen, written = on_screen(stub_command(SLOW.replace("0.1)", "0.001)").replace("0.3)", "0.001)"), "stub"), 100, 30)
    assert screen.seen == ["12 items", "plain"]
    assert "\x1b[2K" not in written


@posix
def test_a_killed_process_leaves_the_cursor_visible():
    from screen import on_screen

    killed = SLOW.replace("time.sleep(0.3)", "time.sleep(0.3); import os; os.kill(os.getpid(), 9)")
    screen, written = on_screen(stub_command(killed, "stub"), 100, 30)
    assert "writing" in written
    assert screen.cursor

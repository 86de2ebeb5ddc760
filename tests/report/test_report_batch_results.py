"""Results of a batch are told apart by what a person does about them; totals add up; a warning is told once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from batches import DAMAGED, HEADS, UNEQUAL, failed, made_half, made_result, one_of_each

from electra_convert import rungs
from electra_convert.errors import OutputError, StrictError
from electra_convert.report import batch_results
from electra_convert.report.batch_results import (
    Figure,
    duration,
    facts_of,
    settings_told,
    tally_told,
    totals_of,
    warning_of_items,
    warnings_by_kind,
    word_of,
)


@pytest.mark.parametrize(
    ("result", "word"),
    [
        (made_result(), "ok"),
        (made_result(status="up to date"), "skipped"),
        (made_result(status="dropped"), "dropped"),
        (made_result(status="planned"), "planned"),
        (failed("a", UNEQUAL), "FAILED"),
        (failed("a", StrictError("a warning, and warnings count as failures")), "FAILED"),
        (failed("a", DAMAGED), "error"),
        (failed("a", OutputError("no space left for the output")), "error"),
    ],
)
def test_an_answer_that_is_no_is_told_apart_from_what_could_not_be_done(result, word):
    assert word_of(result) == word
    assert word in batch_results.WORDS


def test_totals_add_up_over_items_and_halves():
    results = one_of_each()
    totals = totals_of(results)
    assert totals.words == {"ok": 4, "skipped": 1, "FAILED": 1, "error": 1, "dropped": 1, "planned": 0}
    assert sum(totals.words.values()) == totals.items == len(results)
    halves = [half for result in results for half in result.halves]
    assert (totals.folders, totals.proven) == (len(halves), len(halves) - 1)
    assert totals.parameters == sum(half["parameters"] for half in halves)
    assert totals.nbytes == sum(half["bytes"] for half in halves)
    assert totals.written == totals.nbytes - made_half()["bytes"]  # that of the item that was up to date
    assert totals.warnings == 2
    assert totals.to_json()["failed"] == 1


def test_the_worst_of_each_rung_is_the_largest_share():
    worst = totals_of(one_of_each()).worst
    assert worst["float64"] == Figure(1e-14, False, 1e-10)
    assert worst["float32"] == Figure(1e-05, False, None)
    assert totals_of([failed("a", DAMAGED)]).worst == {}


@pytest.mark.parametrize(
    ("status", "good"), [("converted", True), ("up to date", True), ("planned", True), ("dropped", False)]
)
def test_a_batch_is_good_where_nothing_failed_or_was_left(status, good):
    assert totals_of([made_result(), made_result("b", status)]).good is good
    assert not totals_of([made_result(), failed("b", DAMAGED)]).good
    assert totals_of([]).good


def test_exact_figures_go_before_those_on_record():
    half = made_half(parity={"float64": 3e-16, "float32": 2e-7, "rounding": 4e-4, "float32_limit": 5e-6})
    assert facts_of(half).figures == {"float64": Figure(3e-16, True, 1e-10), "float32": Figure(2e-7, True, 5e-6)}
    assert facts_of(half).rounding == 4e-4
    on_record = facts_of(made_half(parity=None)).figures
    assert on_record == {"float64": Figure(1e-15, False, 1e-10), "float32": Figure(1e-6, False, None)}


def test_a_difference_of_nothing_is_a_figure():
    half = made_half(parity={"float64": 0.0, "float32": 0.0})
    half["verification"] = {**half["verification"], "figures": {"float64": 0.0, "float32": 0.0}}
    assert [figure.share for figure in facts_of(half).figures.values()] == [0.0, 0.0]


def test_the_limit_of_float64_is_that_of_the_proof():
    assert batch_results.FLOAT64_LIMIT == rungs.FLOAT64_LIMIT


def test_only_what_differs_from_the_defaults_was_told():
    settings = {
        "export": "available",
        "dtype": None,
        "ignore": (),
        "strict": False,
        "tokenizer": True,
        "verify": None,
        "cased": None,
    }
    assert settings_told(settings) == [("export", "available")]
    settings = {"tokenizer": False, "verify": False, "cased": False, "strip_accents": True, "ignore": ("a", "b")}
    told = [("tokenizer", "no"), ("verify", "no"), ("cased", "no"), ("strip_accents", "yes"), ("ignore", "a, b")]
    assert settings_told(settings) == told


def test_a_warning_of_many_items_is_told_once_with_their_names():
    results = [made_result(f"item-{number}", notices=(HEADS, HEADS)) for number in range(40)]
    ((notice, names),) = warnings_by_kind(results)
    assert names == [f"item-{number}" for number in range(40)]
    told = str(warning_of_items(notice, names))
    assert told.startswith(HEADS.message)
    assert "item-4" in told
    assert "and 35 more" in told
    assert HEADS.hint in told
    assert "hidden size 256" not in told  # that is a fact of the first only


def test_a_warning_of_one_item_keeps_its_facts():
    ((notice, names),) = warnings_by_kind([made_result("only", notices=(HEADS,))])
    told = str(warning_of_items(notice, names))
    assert "item   only" in told
    assert "hidden size 256" in told


def test_the_tally_ends_with_the_failures():
    assert tally_told(totals_of(one_of_each())) == "4 ok, 1 skipped, 1 dropped, 1 FAILED, 1 error"
    assert tally_told(totals_of([])) == "nothing to do"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (72, "1 min 12 s"),
        (3599.6, "1 h"),
        (7500, "2 h 5 min"),
        (360_000, "100 h"),
    ],
)
def test_times_are_told_without_more_digits_than_people_use(seconds, told):
    assert duration(seconds) == told


def test_every_kind_of_result_has_facts_to_show():
    for result in one_of_each():
        for half in result.halves:
            assert facts_of(half).half == half["half"]
    assert facts_of(replace(made_result(), seconds=0.0).halves[0]).layers == 12

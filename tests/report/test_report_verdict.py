"""What every report says is decided once: sections, folds, order of failures, series."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from verdicts import made_up, real

from electra_convert.report.verdict import (
    axis_position,
    excess,
    find_failures,
    find_missed,
    find_sections,
    find_series,
    fold_layers,
    tell_check,
    tell_faults,
)
from electra_convert.rungs import Check


def folds(bad):
    (section,) = [one for one in find_sections(made_up(bad).halves[0]) if one.title.startswith("float32")]
    return [(row.name, row.check.passed) for row in fold_layers(section.rows)]


def test_every_check_of_a_real_verdict_stands_in_one_section_under_a_name_of_its_own():
    half = real().halves[0]
    shown = [row.check for section in find_sections(half) for row in section.rows]
    assert sorted(map(str, shown)) == sorted(map(str, half.checks))
    assert len({tell_check(check) for check in half.checks}) == len(half.checks)
    titles = [section.title for section in find_sections(half)]
    assert titles[:3] == ["structure", "bytes", "float64, against the original graph"]
    assert "reference.py in float64, against the original graph" in titles


def test_layers_that_hold_are_folded():
    assert folds(range(0)) == [("embeddings", True), ("layers 0 to 11", True), ("logits", True)]


@pytest.mark.parametrize(
    ("bad", "layers"),
    [
        (range(3, 12), [("layers 0 to 2", True), ("layer 3", False), ("layers 4 to 11", False)]),
        (range(1), [("layer 0", False), ("layers 1 to 11", True)]),
        (range(10, 12), [("layers 0 to 9", True), ("layer 10", False), ("layer 11", False)]),
    ],
)
def test_the_first_layer_that_fails_stands_alone(bad, layers):
    assert folds(bad)[1:-1] == layers


def test_a_fold_shows_the_layer_nearest_to_its_limit():
    half = made_up().halves[0]
    worst = replace(next(check for check in half.checks if check.name == "layer 7"), found=3e-10)
    checks = tuple(worst if check.name == "layer 7" and check.rung == "float64" else check for check in half.checks)
    section = next(one for one in find_sections(replace(half, checks=checks)) if one.title.startswith("float64"))
    assert fold_layers(section.rows)[1].check.found == 3e-10


def test_failures_come_worst_first_and_those_of_references_last():
    figures = [("reference.py layer 0", 9.0), ("layer 0", 1.0), ("layer 1", 2.0), ("layer 2", "not finite")]
    checks = [Check("float64", name, False, found, 1e-10, "graph") for name, found in figures]
    half = replace(made_up().halves[0], checks=tuple(checks))
    names = [check.name for check in find_failures(half)]
    assert names == ["layer 2", "layer 1", "layer 0", "reference.py layer 0"]


def test_rungs_that_were_not_climbed_are_known():
    assert find_missed(real().halves[0]) == ()
    assert find_missed(real("dropped").halves[0]) == ("float64", "float32")


def test_a_series_has_a_point_for_every_state_and_of_two_references_the_worse():
    series = find_series(real("heads").halves[0])
    assert [its.title for its in series] == ["float64", "float32"]
    assert [point.state for point in series[0].points] == ["embeddings", "layer 0", "layer 1", "logits"]
    # reference.py is told the same wrong head count; only the graph knows better.
    assert [point.passed for point in series[0].points] == [True, False, False, False]
    assert all(point.passed for point in series[1].points)


def test_an_output_that_is_not_finite_fills_the_axis():
    points = find_series(real("infinite").halves[0])[0].points
    assert math.isinf(points[-1].share)
    assert not points[-1].passed


def test_what_is_behind_a_failure_is_told():
    (failed,) = [check for check in real("turned").halves[0].failed if check.rung == "bytes"]
    assert tell_faults(failed) == ["found 42 of 43, limit all", "electra.encoder.layer.1.attention.self.query.weight"]
    first = made_up(range(3, 4)).halves[0].failed[1]
    assert tell_faults(first) == ["found 5.0e-01, limit 4.0e-10 (1e-10 of scale)", "at mixed, row 3, token 17"]


@pytest.mark.parametrize("limit", [0.0, math.nan])
def test_a_limit_that_is_no_number_to_divide_by_counts_as_infinitely_exceeded(limit):
    assert excess(Check("float64", "logits", False, 1.0, limit, "graph")) == math.inf


@pytest.mark.parametrize(
    ("share", "place"), [(0.0, 0.0), (1e-17, 0.0), (1e-16, 1 / 17), (1.0, 1.0), (7.0, 1.0), (math.inf, 1.0)]
)
def test_the_axis_is_logarithmic_and_holds_everything(share, place):
    assert axis_position(share, 1e-17) == pytest.approx(place)

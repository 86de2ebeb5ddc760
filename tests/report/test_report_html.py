"""The HTML page stands alone: nothing from elsewhere, text escaped, and a real browser has no complaint."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from browser import Page, browse
from verdicts import EVIL, RUN, made_up, real

from electra_convert.report.html import html_document
from electra_convert.report.plot import plot_series
from electra_convert.report.verdict import find_series
from electra_convert.rungs import Check


@pytest.mark.parametrize("how", ["good", "turned", "heads", "dropped", "infinite"])
def test_the_page_says_the_verdict_what_was_compared_every_check_and_how_to_repeat_it(how):
    parity = real(how)
    words = Page(html_document(parity, RUN)).words
    assert words.startswith(f"{'PASSED' if parity.passed else 'FAILED'}: model.ckpt-40")
    order = ["What was compared", "Checks", "How to repeat it", RUN.command]
    places = [words.rindex(part) if part == RUN.command else words.index(part) for part in order if part in words]
    assert places == sorted(places)
    assert words.count(" ok ") + words.count(" FAILED ") >= len(parity.checks)
    for explanation in parity.halves[0].explanations:
        assert explanation in words


def test_a_failure_is_told_in_words_and_not_by_colour_alone():
    page = html_document(made_up(range(3, 5)), RUN).decode()
    rows = re.findall(r"<tr.*?</tr>", page)
    assert sum('class="failed"' in row for row in rows) == len(made_up(range(3, 5)).halves[0].failed)
    assert all(("FAILED" in row) == ('class="failed"' in row) for row in rows)
    assert page.count(" FAILED</text>") == 6


def test_what_was_not_proven_and_not_run_is_said():
    assert (
        "heads are taken from config.json"
        in Page(html_document(made_up(unproven=("heads are taken from config.json",)), RUN)).words
    )
    assert "not run, since a rung below does not hold" in Page(html_document(real("dropped"), RUN)).words


def test_nothing_is_loaded_from_elsewhere():
    for tag, attributes in Page(html_document(made_up(range(3, 5)), RUN)).elements:
        for name in ("src", "href", "action", "xlink:href", "data", "srcset"):
            assert attributes.get(name, "data:,") == "data:,", (tag, attributes)
    document = html_document(made_up(), RUN).decode()
    assert not re.search(r"https?:|@import|url\(|fetch\(", document)
    assert "default-src 'none'" in document


def test_two_halves_of_a_large_model_stay_below_300_kb():
    assert len(html_document(made_up(range(3, 24), layers=24, halves=2), RUN)) < 300_000


def test_any_text_is_escaped_once():
    check = Check("structure", EVIL, False, EVIL, EVIL, EVIL, where=EVIL, reason=EVIL)
    parity = made_up(
        checks=(check,), explanations=(EVIL,), unproven=(EVIL,), folder=EVIL, dtype=EVIL, references=(EVIL,)
    )
    parity = replace(parity, checkpoint=replace(parity.checkpoint, prefix=EVIL, name=EVIL))
    document = html_document(parity, replace(RUN, command=EVIL))
    page = Page(document)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert '<script>alert("1")</script>&' in page.words
    assert all(character.isprintable() for character in document.decode().replace("\n", ""))


def test_the_plot_is_well_formed_and_draws_a_bar_a_state_and_the_limit():
    (series, _) = find_series(made_up(range(3, 12)).halves[0])
    figure = ElementTree.fromstring(plot_series(series))
    bars = figure.findall(".//rect")
    assert len(bars) == 14
    widths = [float(bar.get("width")) for bar in bars]
    limit = float(re.match(r"M([0-9.]+) ", figure.find(".//path").get("d"))[1]) - float(bars[0].get("x"))
    assert [width > limit for width in widths] == [not point.passed for point in series.points]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Return what Chromium makes of the page after "layer 4, failed" was typed into its box, and what it logged."""
    script = 'const box = document.querySelector("input"); box.value = "layer 4, failed";'
    script += 'box.dispatchEvent(new Event("input"));'
    return browse(html_document(made_up(range(3, 12)), RUN), tmp_path_factory.mktemp("browser"), "", script)


def test_a_browser_shows_the_verdict_and_the_plot(shown):
    words = Page(shown[0].encode()).words
    assert words.startswith("FAILED: model.ckpt-1000000 FAILED model.ckpt-1000000 ")
    assert shown[0].count("<svg") == 2


def test_a_browser_shows_the_filter_box_and_it_filters(shown):
    assert '<p class="filter"><label>' in shown[0]
    rows = re.findall(r'<tr(?: class="failed")?(?: hidden="")?><th scope="row">.*?</tr>', shown[0])
    assert len(rows) == len(made_up().checks)
    left = [re.search('"row">(.*?)</th>', row)[1] for row in rows if " hidden" not in row]
    assert left == ["layer 4", "layer 4"]
    assert f"2 of {len(rows)}</output>" in shown[0]


def test_a_browser_has_nothing_to_complain_of(shown):
    assert "CONSOLE" not in shown[1]


def test_a_browser_loads_nothing_more_for_the_page(shown):
    assert '<body data-loaded="">' in shown[0]

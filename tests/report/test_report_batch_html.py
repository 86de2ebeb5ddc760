"""The page of a batch: it says everything without its script, and in a real browser it sorts, filters and is quick."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from batches import DAMAGED, EVIL, HEADS, RUN, UNEQUAL, failed, made_half, made_result, one_of_each
from browser import Page, browse

from electra_convert.errors import ChecksumError
from electra_convert.notices import note, warning
from electra_convert.report.batch_html import html_document
from electra_convert.report.batch_html_style import BATCH_STYLE
from electra_convert.report.html_page import PAGE_BEGINS
from electra_convert.report.html_style import STYLE

LONG = "n" * 10_000


def page_of(results=None, **changes):
    return html_document(one_of_each() if results is None else results, replace(RUN, **changes))


def names_of(document):
    """Return the names of the items that a page shows, from above to below."""
    rows = re.findall(r"<tbody(?P<all>[^>]*)><tr><th scope=\"row\"><span>(.*?)</span>", document)
    return [name for attributes, name in rows if "hidden" not in attributes]


def test_the_page_is_told_in_order_and_every_failure_whole():
    words = Page(page_of(notices=(warning("walk", "a folder was passed over", where="zoo/x"),))).words
    assert re.findall("<h2>(.*?)</h2>", page_of().decode()) == ["2 failures", "Items", "Proofs", "Warnings", "The run"]
    assert words.startswith("FAILED: out FAILED out 8 checkpoints: 4 ok")
    assert words.endswith(RUN.command)
    for error in (UNEQUAL, DAMAGED):
        assert " ".join(str(error).split()[3:]) in words
    assert "a folder was passed over" in words
    assert HEADS.message in words


@pytest.mark.parametrize(
    ("results", "changes", "word"),
    [
        ([made_result()], {}, "DONE"),
        ([made_result(), failed("b", DAMAGED)], {"stopped": "SIGINT"}, "FAILED"),
        ([made_result(), made_result("b", "dropped")], {"stopped": "SIGTERM"}, "STOPPED"),
        ([], {}, "DONE"),
        ([made_result(status="up to date"), made_result("b", "planned")], {}, "PLANNED"),
    ],
)
def test_the_first_word_says_how_it_went(results, changes, word):
    page = Page(page_of(results, **changes))
    assert page.words.startswith(f"{word}: out {word} out")
    assert ("stopped by" in page.words) is bool(changes)


def test_every_item_has_its_row_with_halves_sizes_proof_and_time():
    document = page_of().decode()
    assert names_of(document) == [result.item.name for result in one_of_each()]
    first = document[document.index('id="item-1"') : document.index('id="item-2"')]
    for part in (
        "discriminator",
        "generator",
        "256",
        "13,549,057",
        "51.7 MiB",
        "float32",
        "8.3e-16",
        "4.2e-07",
        "4.1 s",
    ):
        assert part in first
    assert first.count("<svg") == 2
    masked = document[document.index('id="item-7"') : document.index('id="item-8"')]
    assert "no forward pass" in masked
    assert "<svg" not in masked


def test_the_details_of_an_item_have_options_warnings_sources_and_what_was_refused():
    document = page_of().decode()
    parts = {
        2: ["zoo/korean/base", "V2, 1 shard, 162.5 MiB, step 1,000,000", HEADS.hint, "the casing is what"],
        3: ["No generator", "its embeddings are not there", "from graph: num_attention_heads 4, hidden_act gelu"],
        5: ["Option vocab", "zoo/vocab.txt", "zoo.toml, line 12"],
        6: ["Option dtype", "float16", "rounding to float16 moved outputs by 1e-03"],
    }
    for number, expected in parts.items():
        inside = document[document.index(f'id="item-{number}"') : document.index(f'id="item-{number + 1}"')]
        for part in expected:
            assert part in inside, (number, part)


def test_a_picture_says_in_words_what_it_shows():
    titles = re.findall(r"<title>(.*?)</title>", page_of().decode())[1:]
    assert titles[0] == (
        "discriminator: float64 8.3e-16 of scale (limit 1.0e-10), float32 4.2e-07 of scale (limit 5.1e-06)"
    )
    assert "float64 at most 1e-14 of scale" in " ".join(titles)
    assert titles[-2:] == [
        "float64: 6 halves, the farthest 1e-14 of scale",
        "float32: 6 halves, the farthest 1e-05 of scale",
    ]


def test_a_bar_ends_before_its_limit_where_the_difference_does():
    near, far = (made_half(parity={"float64": share, "float64_limit": 1e-10}) for share in (9e-11, 1.1e-10))
    widths = []
    for half in (near, far):
        document = page_of([made_result(halves=(half,))]).decode()
        limit = float(re.search(r'class="limit" d="M([0-9.]+) 0v', document)[1])
        end = float(re.search(r'class="float64(?: failed)?" d="M0 2h([0-9.]+)v', document)[1])
        widths.append(end - limit)
    assert widths[0] <= 0 <= widths[1]


def test_nothing_is_loaded_from_elsewhere():
    for tag, attributes in Page(page_of()).elements:
        for name in ("src", "href", "action", "xlink:href", "data", "srcset"):
            value = attributes.get(name, "data:,")
            assert value == "data:," or value.startswith("#status="), (tag, attributes)
    assert not re.search(r"https?:|@import|url\(|fetch\(|import\(", page_of().decode())


def test_the_look_is_that_of_all_reports():
    document = page_of().decode()
    assert f"<style>{STYLE}{BATCH_STYLE}" in document
    assert page_of().startswith(PAGE_BEGINS)


def test_a_table_is_a_table_for_those_who_hear_it():
    page = Page(page_of())
    assert all(attributes.get("scope") for tag, attributes in page.elements if tag == "th")
    pictures = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert pictures
    assert all(attributes["role"] == "img" for attributes in pictures)
    assert ("output", {"aria-live": "polite"}) in page.elements
    assert all(attributes["type"] == "button" for tag, attributes in page.elements if tag == "button")


def contrast(one, other):
    """Return the contrast of two colours as WCAG 2 has it."""

    def luminance(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(mode):
    style = STYLE + BATCH_STYLE
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)  # light and dark of all reports, then of this page
    light, dark, more, more_dark = (dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]+)", block)) for block in blocks)
    colours = {**light, **more} if mode == "light" else {**light, **more, **dark, **more_dark}
    pairs = [("text", "ground"), ("text", "panel"), ("quiet", "ground"), ("quiet", "panel"), ("good", "good-panel")]
    pairs += [
        ("bad", "bad-panel"),
        ("bad", "ground"),
        ("info", "info-panel"),
        ("chip", "bad"),
        ("other", "other-panel"),
    ]
    for text, ground in pairs:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


def test_any_text_is_escaped_once():
    error = ChecksumError(EVIL, where=EVIL, found=EVIL, hint=EVIL)
    half = {**made_half(), "half": EVIL, "dtype": EVIL}
    half["verification"] = {**half["verification"], "text": EVIL, "unproven": [EVIL]}
    half["config"] = {EVIL: {"value": EVIL, "source": "flag", "detail": EVIL}}
    checkpoint = {"name": EVIL, "format": EVIL, "shards": 1, "step": None}
    notices = (warning(EVIL, EVIL, hint=EVIL, found=EVIL), note(EVIL, EVIL))
    results = [
        failed(EVIL, error, settings={EVIL: EVIL}, where=EVIL, setup=EVIL),
        made_result(EVIL, halves=(half,), checkpoint=checkpoint, setup=EVIL, notices=notices,
                    refused=({"half": EVIL, "reason": EVIL},)),
    ]  # fmt: skip
    document = page_of(results, out=EVIL, command=EVIL, stopped=EVIL, notices=notices)
    page = Page(document)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert '</script><script>alert("1")</script>&' in page.words
    assert all(character.isprintable() for character in document.decode().replace("\n", ""))


def test_a_long_list_of_failures_is_folded_and_all_there():
    results = [failed(f"item-{number}", DAMAGED) for number in range(50)]
    document = page_of(results).decode()
    assert document.count("<details open>") == 2
    assert "<summary>30 more</summary>" in document
    assert document.count("0x5d3c91aa") == 2 * 50  # above the table, and in it


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Return what Chromium makes of the page as it is opened, and what it logged."""
    return browse(page_of(), tmp_path_factory.mktemp("browser"))


def test_a_browser_has_nothing_to_complain_of_and_loads_nothing_more(shown):
    assert "CONSOLE" not in shown[1]
    assert '<body data-loaded="">' in shown[0]
    assert "data-error" not in shown[0]


def test_a_browser_shows_the_filter_and_makes_the_heads_buttons(shown):
    assert '<div class="filter"><label>' in shown[0]
    heads = re.search(r"<thead>.*?</thead>", shown[0])[0]
    assert heads.count('<button type="button">') == heads.count('aria-sort="none"') == 11
    assert names_of(shown[0]) == [result.item.name for result in one_of_each()]


ADDRESSES = {
    "#status=failed": ["base-300k"],
    "#status=failed,error": ["base-300k", "base-v1"],
    "#status=nonsense": [result.item.name for result in one_of_each()],
    "#text=KOREAN": ["korean/small", "korean/base"],
    "#text=checksum,zoo.toml": ["base-v1"],
    "#status=ok&sort=parameters&order=descending": ["large", "korean/small", "korean/base", "masked"],
    "#status=ok&sort=size": ["masked", "korean/small", "korean/base", "large"],
    "#status=ok,skipped&sort=name": ["half", "korean/base", "korean/small", "large", "masked"],
    "#status=ok,skipped&sort=time": ["half", "masked", "korean/small", "korean/base", "large"],
    "#status=ok,skipped,error&sort=proof&order=descending": [
        *("half", "large", "korean/small", "korean/base"),
        *("base-v1", "masked"),  # without a figure: last, whatever the order
    ],
    "#sort=status&order=descending&text=base": ["base-v1", "base-300k", "korean/base"],
}


@pytest.mark.parametrize("fragment", ["#status=failed,error", "#status=ok&sort=size"])
def test_a_page_opens_as_its_address_says(tmp_path, fragment):
    document, log = browse(page_of(), tmp_path, fragment)
    assert names_of(document) == ADDRESSES[fragment]
    assert "CONSOLE" not in log


def test_the_address_says_what_is_shown(tmp_path):
    script = f"""document.body.dataset.told = {list(ADDRESSES)}.map(address => {{
    history.replaceState(null, "", address);
    dispatchEvent(new Event("hashchange"));
    return [...document.querySelectorAll("tbody:not([hidden]) th span")].map(each => each.textContent).join(" ");
    }}).join("\\n");"""
    document, log = browse(page_of(), tmp_path, "", script)
    told = re.search(r'data-told="(.*?)"', document, re.DOTALL)[1].split("\n")
    assert dict(zip(ADDRESSES, told, strict=True)) == {address: " ".join(names) for address, names in ADDRESSES.items()}
    assert "CONSOLE" not in log


def test_clicks_sort_and_filter_and_are_kept_in_the_address(tmp_path):
    script = """
    const head = document.querySelector('[data-column="time"]'), told = [];
    const order = () => [...document.querySelectorAll("tbody:not([hidden]) th span")].map(each => each.textContent);
    const keep = () => told.push([head.ariaSort, location.hash, order().join(" ")].join(" | "));
    head.querySelector("button").click(); keep();
    head.querySelector("button").click(); keep();
    head.querySelector("button").click(); keep();
    const ok = document.querySelector('.filter [data-status="ok"]');
    ok.click(); keep();
    const input = document.querySelector("input");
    input.value = "korean"; input.dispatchEvent(new Event("input")); keep();
    told.push(document.querySelector("output").textContent, ok.ariaPressed);
    document.querySelector(".reset").click(); keep();
    document.body.dataset.told = told.join("\\n");
    """
    document, log = browse(page_of(), tmp_path, "", script)
    told = re.search(r'data-told="(.*?)"', document, re.DOTALL)[1].replace("&amp;", "&").split("\n")
    by_time = "large base-300k korean/small korean/base masked base-v1 half tiny"
    assert told[0] == f"descending | #sort=time&order=descending | {by_time}"
    upward = "tiny half base-v1 masked korean/small korean/base base-300k large"
    assert told[1] == f"ascending | #sort=time&order=ascending | {upward}"
    zoo = " ".join(result.item.name for result in one_of_each())
    assert told[2] == f"none |  | {zoo}"
    assert told[3] == "none | #status=ok | korean/small korean/base large masked"
    assert told[4] == "none | #status=ok&text=korean | korean/small korean/base"
    assert told[5:7] == ["2 of 8", "true"]
    assert told[7] == f"none |  | {zoo}"
    assert "CONSOLE" not in log


def test_a_link_to_a_verdict_filters_the_table(tmp_path):
    script = """document.querySelector('.tiles a.error').click();
    setTimeout(() => { document.body.dataset.told = location.hash; }, 100);"""
    document, _ = browse(page_of(), tmp_path, "", script, "--virtual-time-budget=2000")
    assert 'data-told="#status=error"' in document
    assert names_of(document) == ["base-v1"]


def test_hostile_names_do_no_harm_in_a_browser(tmp_path):
    results = [failed(EVIL, ChecksumError(EVIL, where=EVIL)), made_result(EVIL, setup=EVIL), made_result(LONG)]
    script = "document.body.dataset.wide = document.documentElement.scrollWidth - innerWidth;"
    document, log = browse(page_of(results), tmp_path, "#text=%3Cscript%3E", script, "--window-size=1200,800")
    assert document.count("alert(") == document.count('alert("1")')  # as text only
    assert "CONSOLE" not in log
    assert len(names_of(document)) == 2
    assert int(re.search(r'data-wide="(-?\d+)"', document)[1]) <= 0


@pytest.mark.parametrize("width", [500, 1000])
def test_no_width_makes_the_page_scroll_sideways(tmp_path, width):
    script = "document.body.dataset.wide = document.documentElement.scrollWidth - innerWidth;"
    script += "document.body.dataset.inner = innerWidth;"
    document, _ = browse(
        page_of([*one_of_each(), made_result(LONG)]), tmp_path, "", script, f"--window-size={width},800"
    )
    assert f'data-inner="{width}"' in document
    assert int(re.search(r'data-wide="(-?\d+)"', document)[1]) <= 0


def test_a_thousand_items_are_a_page_that_a_browser_handles(tmp_path):
    results = [
        made_result(f"zoo/{number % 37}/model.ckpt-{number}", seconds=float(number % 90), notices=(HEADS,))
        for number in range(1000)
    ]
    document = page_of(results)
    assert len(document) < 5_000_000
    script = """const before = performance.now();
    document.querySelector('[data-column="time"] button').click();
    const input = document.querySelector("input"); input.value = "ckpt-99"; input.dispatchEvent(new Event("input"));
    document.body.dataset.took = performance.now() - before;"""
    shown, log = browse(document, tmp_path, "#sort=name", script)
    assert names_of(shown)[:3] == [
        name for name in (f"zoo/{n % 37}/model.ckpt-{n}" for n in sorted(range(1000), key=lambda n: -(n % 90)))
        if "ckpt-99" in name
    ][:3]  # fmt: skip
    assert "CONSOLE" not in log

"""A batch as JUnit XML: a suite an item, a case a half, in the shape that CI systems read.

    <testsuites name="electra-convert batch" tests= failures= errors= skipped= time=>
      <testsuite name="korean/small" … timestamp=>
        <properties><property name="source" value=/>…</properties>
        <testcase classname="electra_convert.batch.korean/small" name="discriminator" time=/>
        <testcase …><failure message="…">the whole message</failure></testcase>
        <testcase …><error message="a checksum differs">the whole message</error></testcase>
        <testcase …><skipped message="up to date"/></testcase>

A *failure* is an answer that is no (exit code 1); an *error* is what could not be converted at all. An item that failed
before it had halves has the halves that were asked for, or the one case `convert`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from electra_convert import __version__
from electra_convert.report.batch_results import BatchRun, settings_told, word_of
from electra_convert.report.junit import COUNTED, clean
from electra_convert.report.lines import safe

if TYPE_CHECKING:
    from electra_convert.batching.outcomes import ItemResult

CLASS = "electra_convert.batch"

# The halves of an item that failed before it had any; under `available` nobody knows which they are.
HALVES_OF = {"both": ("discriminator", "generator"), "available": ("convert",)}

# What a case has inside; a case that went well has nothing.
ELEMENTS = {"FAILED": "failure", "error": "error", "skipped": "skipped", "dropped": "skipped"}
WHY_SKIPPED = {"skipped": "up to date", "dropped": "dropped, since the run was stopped"}


def junit_document(results: Sequence[ItemResult], run: BatchRun) -> bytes:
    """Return a batch as the bytes of a JUnit file, with its items in the order of the zoo."""
    suites = [_suite(result, run) for result in results]
    cases = [case for suite in suites for case in suite.findall("testcase")]
    root = ElementTree.Element("testsuites", name="electra-convert batch", **_counts(cases, run.seconds))
    root.extend(suites)
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _suite(result: ItemResult, run: BatchRun) -> ElementTree.Element:
    cases = list(_cases(result))
    suite = ElementTree.Element("testsuite", name=clean(safe(result.item.name)), **_counts(cases, result.seconds))
    suite.set("timestamp", run.finished.isoformat(timespec="seconds"))
    listed = ElementTree.SubElement(suite, "properties")
    known = [("source", result.item.source), ("out", result.out), ("setup", result.setup)]
    known += [*settings_told(result.item.settings), ("command", run.command), ("version", __version__)]
    for key, value in known:
        if value:
            ElementTree.SubElement(listed, "property", name=key, value=clean(safe(value)))
    suite.extend(cases)
    return suite


def _cases(result: ItemResult) -> Iterable[ElementTree.Element]:
    asked = str(result.item.settings.get("export", "discriminator"))
    names = [half["half"] for half in result.halves] or HALVES_OF.get(asked, (asked,))
    for name in names:
        # An item is timed as a whole; its halves share the time, so that their sum is right.
        case = _case(result, name, result.seconds / len(names))
        _tell(case, result)
        yield case
    for refusal in result.refused:
        case = _case(result, refusal["half"], 0.0)
        ElementTree.SubElement(case, "skipped", message=clean(safe(refusal["reason"])))
        yield case


def _case(result: ItemResult, name: str, seconds: float) -> ElementTree.Element:
    classname = clean(f"{CLASS}.{safe(result.item.name)}")
    return ElementTree.Element("testcase", classname=classname, name=clean(safe(name)), time=f"{seconds:.3f}")


def _tell(case: ElementTree.Element, result: ItemResult) -> None:
    word = word_of(result)
    if word in WHY_SKIPPED:
        ElementTree.SubElement(case, ELEMENTS[word], message=WHY_SKIPPED[word])
    elif word in ELEMENTS:
        error: dict[str, Any] = dict(result.error or {})
        message, kind = clean(safe(str(error.get("message", "")))), str(error.get("kind", ""))
        ElementTree.SubElement(case, ELEMENTS[word], message=message, type=kind).text = clean(result.message)


def _counts(cases: Sequence[ElementTree.Element], seconds: float) -> dict[str, Any]:
    found = {what: str(sum(case.find(tag) is not None for case in cases)) for what, tag in COUNTED.items()}
    return {"tests": str(len(cases)), **found, "time": f"{seconds:.3f}"}

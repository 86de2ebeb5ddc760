"""A verdict as JUnit XML, in the shape that CI systems read.

    <testsuites tests= failures= errors= skipped= time=>
      <testsuite name="model.ckpt-1000000" … timestamp=>
        <properties><property name= value=/>…</properties>
        <testcase classname="electra_convert.verify.out" name="bytes"/>
        <testcase …><failure message="found 2.4e-01, limit 3.9e-10">the facts</failure></testcase>
        <testcase …><skipped message="not run, …"/></testcase>
        <testcase …><error message="a checksum differs">the facts</error></testcase>

A *failure* is a check that does not hold; an *error* is what kept the verdict from being found at all.
Checks have no time of their own: the networks run once for many of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from electra_convert import __version__
from electra_convert.report import verdict
from electra_convert.report.lines import safe
from electra_convert.report.verdict import Run

if TYPE_CHECKING:
    from electra_convert.errors import ElectraConvertError
    from electra_convert.parity import HalfParity, Parity
    from electra_convert.rungs import Check

XML_BEGINS = b"<?xml version="

CLASS = "electra_convert.verify"

# What the counts of a suite are called, and what is counted for each.
COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}

# Production [2] of XML 1.0: what else a name may hold, no escape can express.
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_document(parity: Parity, run: Run) -> bytes:
    """Return a verdict as the bytes of a JUnit file: a suite a checkpoint, a case a check."""
    properties = {
        "checkpoint": parity.checkpoint.prefix,
        "seed": str(parity.seed),
        "command": run.command,
        "version": __version__,
    }
    cases = [case for half in parity.halves for case in _cases(half)]
    return _document(parity.checkpoint.name, properties, cases, run)


def junit_error(error: ElectraConvertError, checkpoint: str, folder: str, run: Run) -> bytes:
    """Return a JUnit file that says why there is no verdict."""
    case = _case(folder, "verify")
    told = ElementTree.SubElement(case, "error", message=clean(safe(error.message)), type=type(error).__name__)
    told.text = clean(str(error))
    return _document(checkpoint, {"command": run.command, "version": __version__}, [case], run)


def _cases(half: HalfParity) -> Iterable[ElementTree.Element]:
    for check in half.checks:
        case = _case(half.folder, verdict.tell_check(check))
        if not check.passed:
            _fail(case, half, check)
        yield case
    for rung in verdict.find_missed(half):
        case = _case(half.folder, rung)
        ElementTree.SubElement(case, "skipped", message=verdict.NOT_RUN)
        yield case


def _case(folder: str, name: str) -> ElementTree.Element:
    classname = f"{CLASS}.{safe(folder).rstrip('/')}"
    return ElementTree.Element("testcase", classname=clean(classname), name=clean(safe(name)))


def _fail(case: ElementTree.Element, half: HalfParity, check: Check) -> None:
    figures, *faults = verdict.tell_faults(check)
    failure = ElementTree.SubElement(case, "failure", message=clean(safe(figures)), type=check.rung)
    why = half.explanations if check is half.failed[0] else ()
    lines = [verdict.tell_check(check), figures, *faults, *why]
    failure.text = clean("\n".join(safe(line) for line in lines))


def _document(name: str, properties: dict[str, str], cases: list[ElementTree.Element], run: Run) -> bytes:
    counts: dict[str, Any] = {
        "tests": str(len(cases)),
        **{what: str(sum(case.find(tag) is not None for case in cases)) for what, tag in COUNTED.items()},
        "time": f"{run.seconds:.3f}",
    }
    root = ElementTree.Element("testsuites", name="electra-convert verify", **counts)
    timestamp = run.finished.isoformat(timespec="seconds")
    suite = ElementTree.SubElement(root, "testsuite", name=clean(safe(name)), **counts, timestamp=timestamp)
    listed = ElementTree.SubElement(suite, "properties")
    for key, value in properties.items():
        ElementTree.SubElement(listed, "property", name=key, value=clean(safe(value)))
    suite.extend(cases)
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def clean(text: str) -> str:
    """Return text without what no XML can hold."""
    return NOT_XML.sub("", text)

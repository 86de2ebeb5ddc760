"""JUnit XML as CI systems read it: a case a check, failures and errors apart, well-formed whatever the names."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from verdicts import EVIL, QUERY, RUN, made_up, real

from electra_convert.errors import ChecksumError
from electra_convert.report.junit import junit_document, junit_error
from electra_convert.rungs import Check


def suite_of(document):
    root = ElementTree.fromstring(document)
    assert root.tag == "testsuites"
    (suite,) = root
    return suite


def cases_of(document):
    return suite_of(document).findall("testcase")


def test_a_proof_is_a_suite_with_a_case_for_every_check():
    suite = suite_of(junit_document(real(), RUN))
    cases = suite.findall("testcase")
    assert len(cases) == len({case.get("name") for case in cases}) == len(real().checks)
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time")}
    assert counts == {"tests": str(len(cases)), "failures": "0", "errors": "0", "skipped": "0", "time": "4.200"}
    assert suite.get("name") == "model.ckpt-40"
    assert suite.get("timestamp") == "2020-03-04T05:06:07+00:00"
    assert all(len(case) == 0 for case in cases)


def test_the_classname_is_the_folder():
    assert {case.get("classname") for case in cases_of(junit_document(made_up(halves=2), RUN))} == {
        "electra_convert.verify.out",
        "electra_convert.verify.out/generator",
    }


def test_a_failure_says_found_and_limit_in_a_line_and_the_facts_below():
    cases = cases_of(junit_document(real("turned"), RUN))
    failed = {case.get("name"): case.find("failure") for case in cases if case.find("failure") is not None}
    assert failed["bytes"].get("message") == "found 42 of 43, limit all"
    assert QUERY in failed["bytes"].text
    assert "without its operation" in failed["bytes"].text
    layer = failed["float64, against the original graph: layer 1"]
    assert layer.get("message").startswith("found ")
    assert "\nat single row, row 0, token " in layer.text
    assert len(failed) == len(real("turned").halves[0].failed)


def test_what_was_not_run_is_skipped():
    suite = suite_of(junit_document(real("dropped"), RUN))
    skipped = [case.get("name") for case in suite if case.find("skipped") is not None]
    assert skipped == ["float64", "float32"]
    assert suite.get("skipped") == "2"


def test_what_kept_the_verdict_from_being_found_is_an_error_and_no_failure():
    error = ChecksumError("a checksum differs", where="a.index", found="1", expected="2", hint="copy it again")
    suite = suite_of(junit_error(error, "ckpt/", "out", RUN))
    assert (suite.get("tests"), suite.get("errors"), suite.get("failures")) == ("1", "1", "0")
    told = suite.find("testcase/error")
    assert (told.get("message"), told.get("type")) == ("a checksum differs", "ChecksumError")
    assert told.text == str(error)


def test_what_no_xml_can_hold_is_dropped():
    parity = made_up()
    parity = replace(parity, checkpoint=replace(parity.checkpoint, name="a\ufffeb\uffffc"))
    assert suite_of(junit_document(parity, RUN)).get("name") == "abc"


def test_any_name_gives_well_formed_xml_that_shows_nothing_raw():
    check = Check("structure", EVIL, False, EVIL, EVIL, EVIL, where=EVIL, reason=EVIL)
    parity = made_up(checks=(check,), explanations=(EVIL,), folder=EVIL)
    parity = replace(parity, checkpoint=replace(parity.checkpoint, prefix=EVIL, name=EVIL))
    run = replace(RUN, command=EVIL)
    for document in (junit_document(parity, run), junit_error(ChecksumError(EVIL, where=EVIL), EVIL, EVIL, run)):
        root = ElementTree.fromstring(document)
        values = [value for element in root.iter() for value in (*element.attrib.values(), element.text or "")]
        assert all(line.isprintable() for value in values for line in value.splitlines())
        assert any("<script>" in value for value in values)
        assert b"<script>" not in document

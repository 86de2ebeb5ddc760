"""A batch as JUnit XML: a suite an item, a case a half; failures, errors and what was skipped are told apart."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from batches import DAMAGED, EVIL, RUN, failed, made_result, one_of_each

from electra_convert.errors import ChecksumError
from electra_convert.report.batch_junit import junit_document
from electra_convert.report.junit import XML_BEGINS


def suites_of(results):
    root = ElementTree.fromstring(junit_document(results, RUN))
    assert root.tag == "testsuites"
    return root, list(root)


def test_an_item_is_a_suite_and_a_half_is_a_case():
    _, suites = suites_of(one_of_each())
    assert [suite.get("name") for suite in suites] == [result.item.name for result in one_of_each()]
    cases = suites[0].findall("testcase")
    assert [case.get("name") for case in cases] == ["discriminator", "generator"]
    assert {case.get("classname") for case in cases} == {"electra_convert.batch.korean/small"}
    assert all(len(case) == 0 for case in cases)
    assert sum(float(case.get("time")) for case in cases) == pytest.approx(4.1)
    assert suites[0].get("timestamp") == "2020-03-04T05:06:07+00:00"


def test_counts_of_suites_add_up_to_those_of_the_whole():
    root, suites = suites_of(one_of_each())
    for count in ("tests", "failures", "errors", "skipped"):
        assert int(root.get(count)) == sum(int(suite.get(count)) for suite in suites)
    assert {count: root.get(count) for count in ("tests", "failures", "errors", "skipped")} == {
        "tests": "11",
        "failures": "1",
        "errors": "1",
        "skipped": "3",
    }


def test_a_no_is_a_failure_and_what_could_not_be_done_an_error_each_with_its_whole_message():
    _, suites = suites_of(one_of_each())
    failure, error = suites[3].find("testcase/failure"), suites[4].find("testcase/error")
    assert failure.get("type") == "ParityError"
    assert error.get("message") == "checksum of a variable differs"
    assert error.text == str(DAMAGED)


def test_up_to_date_dropped_and_refused_are_skipped_with_a_reason():
    _, suites = suites_of(one_of_each())
    reasons = [skipped.get("message") for suite in suites for skipped in suite.iter("skipped")]
    assert reasons == ["its embeddings are not there", "up to date", "dropped, since the run was stopped"]


@pytest.mark.parametrize(
    ("export", "cases"),
    [
        ("generator", ["generator"]),
        ("both", ["discriminator", "generator"]),
        ("available", ["convert"]),
        ("task", ["task"]),
    ],
)
def test_an_item_that_failed_early_has_the_cases_that_were_asked_for(export, cases):
    _, (suite,) = suites_of([failed("a", DAMAGED, settings={"export": export})])
    assert [case.get("name") for case in suite.findall("testcase")] == cases
    assert suite.get("errors") == str(len(cases))


def test_properties_say_where_from_and_with_which_options():
    _, suites = suites_of(one_of_each())
    properties = {each.get("name"): each.get("value") for each in suites[4].find("properties")}
    assert (properties["source"], properties["vocab"]) == ("zoo/base-v1", "zoo/vocab.txt")
    assert properties["command"] == RUN.command


def test_any_name_gives_well_formed_xml_that_shows_nothing_raw():
    evil = failed(EVIL, ChecksumError(EVIL, where=EVIL), setup=EVIL, settings={"vocab": EVIL})
    document = junit_document([evil, made_result(EVIL)], replace(RUN, command=EVIL))
    root = ElementTree.fromstring(document)
    values = [value for element in root.iter() for value in (*element.attrib.values(), element.text or "")]
    assert all(line.isprintable() for value in values for line in value.splitlines())
    assert b"<script>" not in document


def test_a_document_begins_as_one_that_may_be_replaced_does():
    assert junit_document([], RUN).startswith(XML_BEGINS)

"""Events are whole lines of JSON, there as soon as they happen, and what was there before stays."""

from __future__ import annotations

import json
import os

import pytest
from batches import EVIL, made_event, made_result

from electra_convert.errors import OutputError
from electra_convert.report.batch_events import EVENTS_BEGIN, SCHEMA, EventLog, event_line


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_event_is_on_the_disk_as_soon_as_it_is_written(tmp_path):
    log = EventLog(str(tmp_path / "events.jsonl"))
    log.write(made_event("planned", "", total=12))
    (event,) = lines_of(tmp_path / "events.jsonl")
    assert list(event) == ["schema", "kind", "item", "done", "total", "what", "result", "at"]
    assert (event["schema"], event["kind"], event["total"]) == (SCHEMA, "planned", 12)
    log.close()


def test_a_finished_item_has_its_whole_result(tmp_path):
    event = json.loads(event_line(made_event("finished", result=made_result())))
    assert event["result"] == json.loads(json.dumps(made_result().to_json()))


def test_progress_is_told_once_a_second_for_each_item_and_everything_else_always(tmp_path):
    log = EventLog(str(tmp_path / "events.jsonl"))
    for tenth in range(31):
        for item in ("a", "b"):
            log.write(made_event("progress", item, at=tenth / 10))
        log.write(made_event("note", at=tenth / 10))
    log.close()
    kinds = [(event["kind"], event["item"]) for event in lines_of(tmp_path / "events.jsonl")]
    assert (kinds.count(("progress", "a")), kinds.count(("progress", "b"))) == (4, 4)
    assert kinds.count(("note", "korean/small")) == 31


def test_an_older_log_stays_and_a_line_that_a_kill_cut_is_ended(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(event_line(made_event("started")) + b'{"schema": "elec')
    log = EventLog(str(path))
    log.write(made_event("started", "b"))
    log.close()
    first, cut, last = path.read_text().splitlines()
    assert json.loads(first)["item"] == "korean/small"
    assert cut == '{"schema": "elec'
    assert json.loads(last)["item"] == "b"


def test_a_line_is_ascii_and_one_line_whatever_the_name():
    line = event_line(made_event("started", EVIL))
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert line.startswith(EVENTS_BEGIN)
    assert json.loads(line)["item"] == EVIL


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path):
    with pytest.raises(OutputError) as caught:
        EventLog(str(tmp_path / "missing" / "events.jsonl"))
    assert "events.jsonl" in str(caught.value)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_disk_stops_the_log_and_not_the_batch():
    log = EventLog("/dev/full")
    log.write(made_event("started"))
    log.write(made_event("started"))
    log.close()
    assert "no space left" in str(log.failure)

"""Report files harm nothing: not the folder, not the checkpoint, not an older report when the disk is full."""

from __future__ import annotations

import os

import pytest

from electra_convert.errors import OutputError, UsageError
from electra_convert.report.files import check_reports, may_replace, write_report


@pytest.fixture
def places(tmp_path):
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "a.index").write_bytes(b"names")
    return tmp_path


def test_beside_the_folder_is_fine(places):
    check_reports([str(places / "a.xml"), str(places / "a.html")], str(places / "out"), [places / "a.index"])


@pytest.mark.parametrize("name", ["out/a.xml", "out/deep/a.xml", "link/a.xml", "out/../out/a.xml", "entry.xml"])
def test_inside_the_folder_is_wrong_usage_also_through_links(places, name):
    (places / "link").symlink_to(places / "out" / "deep")
    (places / "entry.xml").symlink_to(places / "out" / "config.json")
    with pytest.raises(UsageError, match="inside the folder"):
        check_reports([str(places / name)], str(places / "out"))


@pytest.mark.parametrize("name", ["a.index", "link.xml", "hard.xml", "out/../a.index"])
def test_over_a_file_of_the_checkpoint_is_wrong_usage_also_through_links(places, name):
    (places / "link.xml").symlink_to(places / "a.index")
    os.link(places / "a.index", places / "hard.xml")
    with pytest.raises(UsageError, match="file of the checkpoint"):
        check_reports([str(places / name)], str(places / "out"), [places / "a.index"])


def test_two_reports_in_one_file_are_wrong_usage(places):
    with pytest.raises(UsageError, match="one file"):
        check_reports([str(places / "a"), f"{places}/out/../a"], str(places / "out"))


@pytest.mark.parametrize("name", ["none/a.xml", "a.index/a.xml", "folder"])
def test_what_has_no_place_is_an_output_error(places, name):
    (places / "folder").mkdir()
    with pytest.raises(OutputError):
        check_reports([str(places / name)], str(places / "out"))


def test_a_report_replaces_an_older_one_and_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "a.xml").write_bytes(b"old")
    write_report(str(tmp_path / "a.xml"), b"new")
    assert (tmp_path / "a.xml").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.xml"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link.xml").symlink_to(tmp_path / "a.xml")
    write_report(str(tmp_path / "link.xml"), b"new")
    assert (tmp_path / "link.xml").is_symlink()
    assert (tmp_path / "a.xml").read_bytes() == b"new"


def test_an_older_report_stays_when_the_new_one_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "a.xml").write_bytes(b"old")
    monkeypatch.setattr("pathlib.Path.write_bytes", _full)
    with pytest.raises(OutputError) as caught:
        write_report(str(tmp_path / "a.xml"), b"new")
    assert caught.value.where == str(tmp_path / "a.xml")
    assert (tmp_path / "a.xml").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.xml"]


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="devices of POSIX")
def test_a_device_is_written_to_and_not_replaced():
    write_report("/dev/null", b"new")
    assert not os.path.isfile("/dev/null")


@pytest.mark.parametrize(
    ("content", "answer"), [(None, True), (b"", True), (b"<?xml old", True), (b"\0\0names", False)]
)
def test_only_nothing_or_an_older_report_may_be_replaced_unseen(tmp_path, content, answer):
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    assert may_replace(str(tmp_path / "a"), b"<?xml new") is answer


def _full(self, data):
    self.touch()
    raise OSError(28, "No space left on device")

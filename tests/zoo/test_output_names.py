"""Outputs have names that are one folder each, on every system."""

from __future__ import annotations

import ntpath
import os
import unicodedata
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_convert.zoo.output_names import (
    LONGEST_PART,
    find_collisions,
    fold,
    is_safe,
    safe_name,
    safe_part,
    tell_apart,
)
from electra_convert.zoo.source_names import source_parts

# From Python 3.13 on by the first, before it by the second.
is_reserved = getattr(ntpath, "isreserved", None) or (lambda part: PureWindowsPath(part).is_reserved())

# What names of real and of hostile trees are made of, often enough to meet.
NAMES = st.text(
    st.one_of(st.sampled_from('./\\:*"<>|? ~-_aAéÉ\u0301ßﬁ한\u1112\u1161\x00\x1b\u202e\udcff'), st.characters()),
    max_size=12,
)


@pytest.mark.parametrize(
    ("part", "safe"),
    [
        ("model.ckpt-40", "model.ckpt-40"),
        ("한국어", "한국어"),
        ("e\u0301tude", "\u00e9tude"),
        ("..", "__"),
        (".", "_"),
        ("", "_"),
        (".hidden", "_hidden"),
        ("name. ", "name._"),
        ("a/b\\c", "a_b_c"),
        ("C:", "C_"),
        ("nul", "_nul"),
        ("COM1.tar.gz", "_COM1.tar.gz"),
        ("console", "console"),
        ("\x1b[2J\n", "_[2J_"),
        ("undecodable\udcff", "undecodable_"),
        ("right\u202eleft", "right_left"),
    ],
)
def test_a_part_that_not_every_system_takes_is_changed(part: str, safe: str) -> None:
    assert safe_part(part) == safe


def test_a_part_is_cut_at_a_character_and_leaves_room_for_the_name_of_a_folder_being_written() -> None:
    assert safe_part("é" * 200) == "é" * (LONGEST_PART // 2)
    assert len(os.fsencode(safe_part("x" * 1000))) == LONGEST_PART


@given(NAMES)
def test_a_safe_part_is_one_plain_name_everywhere_and_stays_as_it_is(text: str) -> None:
    part = safe_part(text)
    assert safe_part(part) == part
    assert Path(part).parts == (part,) == PureWindowsPath(part).parts
    assert not is_reserved(part)
    assert not part.startswith(".")
    assert part[-1] not in ". "
    assert unicodedata.is_normalized("NFC", part)
    part.encode()


@given(NAMES)
def test_a_safe_name_stays_below_the_folder_that_it_is_joined_to(text: str) -> None:
    name = safe_name(text)
    assert is_safe(name)
    assert os.path.normpath(os.path.join("/out", name)) == f"/out/{name}"


@pytest.mark.parametrize("name", ["/abs", "a//b", "a/", "../a", "a/./b", "a/.b", "", "a\\b", "C:/a", "a/con"])
def test_a_name_that_is_absolute_climbs_hides_or_is_no_name_on_windows_is_not_safe(name: str) -> None:
    assert not is_safe(name)


def test_a_decomposed_name_is_as_safe_as_the_composed_one() -> None:
    assert is_safe("e\u0301tude/small")


def test_names_collide_by_case_composition_and_place() -> None:
    assert find_collisions(["a", "b/a", "b/c"]) == []
    assert find_collisions(["Small", "small"]) == [(0, 1, "same")]
    assert find_collisions(["\u00e9", "e\u0301"]) == [(0, 1, "same")]
    assert find_collisions(["zoo/x/y", "ZOO"]) == [(1, 0, "inside")]
    assert find_collisions(["a", "a.b", "ab"]) == []


@given(st.lists(st.lists(st.sampled_from(["a", "A", "b", "é", "e\u0301"]), min_size=1, max_size=3), max_size=5))
def test_collisions_are_exactly_the_names_that_are_the_beginning_of_another(every: list[list[str]]) -> None:
    folded = [fold(tuple(parts)) for parts in every]
    expected = {
        max(one, other) if folded[one] == folded[other] else other
        for one in range(len(folded))
        for other in range(len(folded))
        if one != other and folded[other][: len(folded[one])] == folded[one]
    }
    assert {other for _, other, _ in find_collisions(["/".join(parts) for parts in every])} == expected


def test_paths_are_told_apart_by_as_many_of_their_last_names_as_it_takes() -> None:
    assert tell_apart([("data", "small"), ("data", "large")]) == [("small",), ("large",)]
    assert tell_apart([("x", "a", "m"), ("y", "a", "m"), ("n",)]) == [("x", "a", "m"), ("y", "a", "m"), ("n",)]
    assert tell_apart([("a", "m"), ("b", "M")]) == [("a", "m"), ("b", "M")]
    assert tell_apart([("a", "m"), ("a", "m")]) == [("m",), ("m",)]
    assert tell_apart([]) == []


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("zoo/model.ckpt-40", "model.ckpt-40"),
        ("zoo/model.ckpt-40.index", "model.ckpt-40"),
        ("zoo/model.ckpt-40.data-00000-of-00001", "model.ckpt-40"),
        ("zoo/model.ckpt-40-00001-of-00003", "model.ckpt-40"),
        ("zoo/model.ckpt-40-?????-of-00003", "model.ckpt-40"),
        ("zoo/electra_small.tar.gz", "electra_small"),
        ("zoo/.zip", ".zip"),
        ("zoo/korean/checkpoint", "korean"),
        ("zoo/korean/../small/", "small"),
        ("gs://bucket/korean/small/", "small"),
        ("s3://bucket", "bucket"),
        ("https://host/electra_small.zip?signature=0a1b", "electra_small"),
    ],
)
def test_a_source_is_called_by_its_last_name_without_suffixes(source: str, name: str) -> None:
    assert source_parts(source)[-1] == name


def test_a_folder_keeps_a_name_that_looks_like_that_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "run.index").mkdir()
    assert source_parts(str(tmp_path / "run.index"))[-1] == "run.index"


def test_neither_a_user_nor_a_password_of_a_url_is_in_a_name() -> None:
    assert source_parts("https://me:secret@host/small.zip") == ("host", "small")
    assert source_parts("memory://zoo/small") == ("zoo", "small")


def test_the_root_has_no_name() -> None:
    assert source_parts(os.sep) == ()

"""File names of a folder, and the checkpoints that they make up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_convert.tf1.prefixes import (
    find_named,
    find_prefixes,
    is_unfinished,
    is_unfinished_folder,
    list_steps,
    split_shard,
    without_suffix,
)


def never(name: str) -> bool:
    raise AssertionError(f"{name} was opened")


def always(name: str) -> bool:
    return True


def test_an_index_makes_a_v2_checkpoint_and_nothing_is_opened_for_it() -> None:
    (found,) = find_prefixes(["a.index", "a.data-00000-of-00001", "a.meta", "checkpoint", "._a.index"], never)
    assert (found.name, found.full_name, found.format, found.files, found.step) == ("a", "a", "V2", ("a.index",), None)


def test_a_table_without_a_suffix_is_v1() -> None:
    found = find_prefixes(["model.ckpt-7", "model.ckpt-7.meta", "notes.txt"], lambda name: name == "model.ckpt-7")
    assert [(one.name, one.format, one.step) for one in found] == [("model.ckpt-7", "V1", 7)]


def test_shards_are_put_together_and_missing_ones_named() -> None:
    (found,) = find_prefixes(["a-9-00002-of-00003", "a-9-00000-of-00003"], always)
    assert found.full_name == "a-9-?????-of-00003"
    assert (found.name, found.step) == ("a-9", 9)
    assert found.files == ("a-9-00000-of-00003", "a-9-00001-of-00003", "a-9-00002-of-00003")
    assert found.missing == ("a-9-00001-of-00003",)


def test_v2_wins_over_v1_of_the_same_prefix() -> None:
    names = ["a", "a.index", "a-00000-of-00001"]
    assert [one.format for one in find_prefixes(names, always)] == ["V2"]
    assert [one.format for one in find_named("a", names, always)] == ["V2"]


def test_the_newest_comes_first_and_names_without_a_step_last() -> None:
    found = find_prefixes(["m-9.index", "m-10.index", "best.index", "m-10a.index"], never)
    assert [one.name for one in found] == ["m-10", "m-9", "best", "m-10a"]
    assert list_steps(found, most=3) == ["m-10  step 10", "m-9   step 9", "best", "and 1 more"]


@pytest.mark.parametrize("wanted", ["a", "a-?????-of-00002", "a-00001-of-00002"])
def test_shards_are_found_by_prefix_pattern_and_shard(wanted) -> None:
    (found,) = find_named(wanted, ["a-00000-of-00002", "a-00001-of-00002", "b-00000-of-00001", "ab"], always)
    assert found.full_name == "a-?????-of-00002"


def test_shards_of_two_totals_are_two_checkpoints() -> None:
    names = ["a-00000-of-00001", "a-00000-of-00002", "a-00001-of-00002"]
    assert len(find_named("a", names, always)) == 2
    assert len(find_named("a-?????-of-00001", names, always)) == 1


@pytest.mark.parametrize("wanted", ["*", "[a]", "?", "a*", "a-????0-of-00001", "a-*-of-00001"])
def test_other_characters_are_no_wildcards(wanted) -> None:
    assert find_named(wanted, ["a.index", "a", "a-00000-of-00001"], always) == []
    assert [one.name for one in find_named(wanted, [f"{wanted}.index"], never)] == [wanted]


def test_a_shard_number_past_the_total_is_an_ordinary_name() -> None:
    assert split_shard("a-00003-of-00003") is None
    assert split_shard("a-00000-of-00000") is None


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("a.b.index", "a.b"),
        ("a.meta", "a"),
        ("a.data-00007-of-00010", "a"),
        ("a.data-7-of-10", None),
        (".index", None),
        ("a", None),
    ],
)
def test_suffixes_of_a_checkpoint_are_known(name, prefix) -> None:
    assert without_suffix(name) == prefix


def test_what_a_broken_off_save_leaves_is_known() -> None:
    assert is_unfinished("model.ckpt-40.index.tempstate1583942400123")
    assert is_unfinished("model.ckpt-40.data-00000-of-00001.tempstate7")
    assert not is_unfinished("model.ckpt-40.index")
    assert is_unfinished_folder("model.ckpt-40_temp_0a1b2c")
    assert not is_unfinished_folder("model.ckpt-40")


def test_a_checkpoint_owns_its_files_and_no_other() -> None:
    (found,) = find_prefixes(["a.index"], never)
    assert all(map(found.owns, ["a.index", "a.data-00000-of-00002", "a.meta"]))
    assert not any(map(found.owns, ["a", "ab.index", "a.data-00000-of-00002.bak", "a-00000-of-00001", "vocab.txt"]))


@given(st.lists(st.text(max_size=12), unique=True), st.text(max_size=12))
def test_any_names_are_taken(names, wanted) -> None:
    for found in [*find_prefixes(names, always), *find_named(wanted, names, always)]:
        assert set(found.files) - set(found.missing) <= set(names)

"""The line of a value is where a person sees it."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_convert.zoo.value_lines import find_json_lines, find_toml_lines

read_toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads

TOML = '''
# [[checkpoint]] in a comment
title = "a # b"      # 3
[defaults]
"cased" = false      # 5
note = """
[[checkpoint]]
source = "in a text" \\""" still
"""                  # 9
odd = """"quoted""""" # 10
raw = \'\'\'
[x]
\'\'\'\'

[[checkpoint]]       # 15
source = 'a"b'
hparams = { model_size = "small", "debug" = true, inner = {x = [1,
  2]} }
ignore = [           # 19
  "a]",  # "b",
  "c",
]
[checkpoint.more]    # 23
deep.er = 1
  [[ checkpoint ]]   # 25
source="x"
when = 2020-01-01 12:00:00 # a blank within
[[checkpoint.part]]  # 28
a = 1
[[checkpoint.part]]
a.b = 2              # 31
'''


def test_lines_of_toml_are_found_through_texts_of_several_lines_comments_and_tables_in_tables() -> None:
    lines = find_toml_lines(TOML, read_toml)
    assert lines[("title",)] == 3
    assert lines[("defaults",)] == 4
    assert lines[("defaults", "cased")] == 5
    assert lines[("defaults", "note")] == 6
    assert lines[("defaults", "odd")] == 10
    assert lines[("defaults", "raw")] == 11
    assert lines[("checkpoint",)] == lines[("checkpoint", 0)] == 15
    assert lines[("checkpoint", 0, "source")] == 16
    assert lines[("checkpoint", 0, "hparams", "debug")] == 17
    assert lines[("checkpoint", 0, "hparams", "inner", "x", 1)] == 18
    assert lines[("checkpoint", 0, "ignore", 1)] == 21
    assert lines[("checkpoint", 0, "more", "deep", "er")] == 24
    assert lines[("checkpoint", 1)] == 25
    assert lines[("checkpoint", 1, "when")] == 27
    assert lines[("checkpoint", 1, "part", 0, "a")] == 29
    assert lines[("checkpoint", 1, "part", 1, "a", "b")] == 31


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return ({path} if path else set()).union(*(paths_of(one, (*path, key)) for key, one in inner))


def test_every_value_of_toml_has_a_line() -> None:
    assert set(find_toml_lines(TOML, read_toml)) == paths_of(read_toml(TOML))


KEYS = st.text("ab.é \"'#[]=\n\\", max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(allow_nan=False, allow_infinity=False) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.sampled_from([None, 0, 1, 2]), st.booleans())
def test_every_value_of_json_has_a_line_and_its_key_stands_there(
    document: dict[str, Any], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    lines, repeated = find_json_lines(text)
    assert repeated == []
    assert set(lines) == paths_of(document)
    for path, line in lines.items():
        if isinstance(path[-1], str):
            assert json.dumps(path[-1], ensure_ascii=ascii_only) in text.split("\n")[line - 1]


@given(st.dictionaries(KEYS, VALUES.filter(lambda value: value is not None), max_size=4), st.booleans())
def test_every_value_of_toml_has_a_line_and_its_key_stands_there(document: dict[str, Any], inline: bool) -> None:
    text = toml_text(document, inline)
    values = read_toml(text)
    lines = find_toml_lines(text, read_toml)
    assert set(lines) == paths_of(values)
    rows = text.split("\n")
    for path, line in lines.items():
        if isinstance(path[-1], str):
            assert json.dumps(path[-1]) in rows[line - 1]


def toml_text(document: dict[str, Any], inline: bool) -> str:
    """Return a document as TOML, tables as headers or inline; JSON's texts are texts of TOML."""
    pairs = [f"{json.dumps(key)} = {toml_value(value)} # [x]\n" for key, value in document.items() if value is not None]
    if inline:
        return "\n".join(pairs)
    return "".join(
        f"[[{json.dumps(key)}]]\n{json.dumps(key)} = '''\n[x]\n'''\n[[ {json.dumps(key)} ]]\n" for key in document
    )


def toml_value(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(key)} = {toml_value(one)}" for key, one in value.items() if one is not None)
        return f"{{{inner}}}"
    if isinstance(value, list):
        return "[\n" + ", # ]\n".join(toml_value(one) for one in value if one is not None) + "\n]"
    return json.dumps(value)


def test_a_key_that_json_has_twice_in_one_object_is_told() -> None:
    text = '{"a": 1,\n "b": {"a": 2},\n "a": 3}'
    assert find_json_lines(text) == ({("a",): 1, ("b",): 2, ("b", "a"): 2}, [(("a",), 3)])


@given(st.text("[]{}=,.\"'#\n\\ a1_-", max_size=40))
def test_whatever_toml_takes_is_scanned_to_its_end(text: str) -> None:
    try:
        values = read_toml(text)
    except ValueError:
        return
    assert set(find_toml_lines(text, read_toml)) == paths_of(values)


@pytest.mark.parametrize("text", ["[]", "3", '"a"', "null", " {} "])
def test_json_without_members_has_no_lines(text: str) -> None:
    assert find_json_lines(text) == ({}, [])

"""A manifest is checked as a whole: every fault at once, each with its line, before anything starts."""

from __future__ import annotations

import inspect as python_inspect
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from conftest import google
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from electra_convert import convert
from electra_convert.errors import EnvironmentFailure, ManifestError
from electra_convert.zoo.manifest import MOST_FAULTS, Entry, is_manifest, read_manifests
from electra_convert.zoo.manifest_keys import ENTRY, OPTIONS, keyword_of
from electra_convert.zoo.manifest_text import LARGEST, read_document


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two checkpoints, which is the working directory."""
    for name in ("small", "large"):
        (tmp_path / name).symlink_to(google("no_meta"))
    (tmp_path / "vocab.txt").write_bytes(b"[PAD]\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def entries(name: str, text: str | bytes, **given: Any) -> list[Entry]:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_manifests([name], given)


def faults(name: str, text: str | bytes, **given: Any) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        entries(name, text, **given)
    assert caught.value.exit_code == 3
    return list(caught.value.facts["faults"])


def refusal(name: str, text: str | bytes) -> str:
    with pytest.raises(ManifestError) as caught:
        entries(name, text)
    return str(caught.value)


TOML = """\
[defaults]
cased = false

[[checkpoint]]
source = "small"
name = "korean/small"
num-attention-heads = 4
ignore = ["extra/*"]
hparams = { model_size = "small", debug = false }

[[checkpoint]]
source = "large/electra_tiny"
uncased = false
no-verify = true
"""
JSON = """\
{"defaults": {"cased": false}, "checkpoint": [
  {"source": "small", "name": "korean/small", "num_attention_heads": 4, "ignore": ["extra/*"],
   "hparams": {"model_size": "small", "debug": false}},
  {"source": "large/electra_tiny", "cased": true, "verify": false}
]}
"""
CSV = """\
source,name,num-attention-heads,cased,ignore,hparams,no_verify
small,korean/small,4,no,extra/*,"{""model_size"": ""small""}",
large/electra_tiny,,,yes,,,true
"""


@pytest.mark.parametrize(("name", "text"), [("zoo.toml", TOML), ("zoo.json", JSON), ("zoo.csv", CSV)])
def test_the_three_forms_say_the_same(zoo: Path, name: str, text: str) -> None:
    first, second = entries(name, text)
    assert (first.source, first.name, second.source, second.name) == (
        *("small", "korean/small"),
        *(os.path.join("large", "electra_tiny"), "electra_tiny"),
    )
    hparams = '{"model_size": "small"}' if name == "zoo.csv" else {"model_size": "small", "debug": False}
    assert first.settings == {"cased": False, "num_attention_heads": 4, "ignore": ["extra/*"], "hparams": hparams}
    assert second.settings == {"cased": True, "verify": False}
    assert [entry.where for entry in (first, second)] == {
        "zoo.toml": ["zoo.toml, line 4", "zoo.toml, line 11"],
        "zoo.json": ["zoo.json, line 2", "zoo.json, line 4"],
        "zoo.csv": ["zoo.csv, line 2", "zoo.csv, line 3"],
    }[name]
    assert pickle.loads(pickle.dumps(first)) == first


def test_json_may_be_a_list_of_entries_alone(zoo: Path) -> None:
    (one,) = entries("zoo.json", '[\n {"source": "small"}]')
    assert (one.name, one.where) == ("small", "zoo.json, line 2")
    assert faults("zoo.json", '[\n {"source": 3}]') == ["zoo.json, line 2, `source`: found 3, expected a path"]


@pytest.mark.parametrize("text", [TOML, JSON, CSV])
def test_a_byte_order_mark_and_line_ends_of_windows_change_nothing(zoo: Path, text: str) -> None:
    name = {TOML: "a.toml", JSON: "a.json", CSV: "a.csv"}[text]
    plain = entries(name, text)
    assert entries(name, b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()) == plain


def test_every_keyword_of_convert_is_a_key_but_what_belongs_to_the_batch() -> None:
    keywords = set(python_inspect.signature(convert).parameters)
    assert set(OPTIONS) == keywords - {"checkpoint", "out", "overwrite", "dry_run", "progress"}


def test_the_keys_are_the_flags_of_tf1_too() -> None:
    import click

    from electra_convert.cli.tf1 import command

    flags = [
        name
        for option in command.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    ]
    not_in_a_manifest = {"json", "quiet", "verbose", "debug", "overwrite", "dry_run", "help"}
    for flag in flags:
        if flag.startswith("--") and flag[2:].replace("-", "_") not in not_in_a_manifest:
            assert keyword_of(flag[2:])[0] in OPTIONS, flag


def test_paths_start_at_the_folder_of_the_manifest(zoo: Path) -> None:
    (zoo / "lists").mkdir()
    text = (
        '[defaults]\nvocab = "../vocab.txt"\n[[checkpoint]]\nsource = "../small"\n'
        f"[[checkpoint]]\nsource = {json.dumps(str(zoo / 'large'))}\n"
        '[[checkpoint]]\nsource = "s3://bucket/run/x"\nvocab = "gs://bucket/vocab.txt"\n'
    )
    first, second, third = entries("lists/zoo.toml", text)
    assert first.source == os.path.join("lists", "../small")
    assert first.settings["vocab"] == os.path.join("lists", "../vocab.txt")
    assert second.source == str(zoo / "large")
    assert (third.source, third.name, third.settings["vocab"]) == ("s3://bucket/run/x", "x", "gs://bucket/vocab.txt")


def test_labels_and_hparams_may_be_a_file_a_text_or_a_value(zoo: Path) -> None:
    (zoo / "lists").mkdir()
    (zoo / "lists" / "labels.txt").write_text("no\nyes\n")
    (zoo / "lists" / "hparams.json").write_text("{}")
    text = """\
[defaults]
export = "task"
[[checkpoint]]
source = "../small"
labels = "labels.txt"
hparams = "hparams.json"
[[checkpoint]]
source = "../large"
labels = "no,yes"
hparams = "{}"
[[checkpoint]]
source = "../large/electra_tiny"
labels = ["no", "yes"]
hparams = {}
"""
    assert [(entry.settings["labels"], entry.settings["hparams"]) for entry in entries("lists/zoo.toml", text)] == [
        (os.path.join("lists", "labels.txt"), os.path.join("lists", "hparams.json")),
        ("no,yes", "{}"),
        (["no", "yes"], {}),
    ]


def test_settings_of_the_run_give_way_to_defaults_and_those_to_an_entry(zoo: Path) -> None:
    text = '[defaults]\ndtype = "float16"\n[[checkpoint]]\nsource = "small"\n[[checkpoint]]\nsource = "large"\n'
    one, other = entries("zoo.toml", text + 'dtype = "bfloat16"\n', dtype="float32", export="available")
    assert one.settings == {"dtype": "float16", "export": "available"}
    assert other.settings == {"dtype": "bfloat16", "export": "available"}


BROKEN = '''\
[defaults]
dtype = "float8"
name = "all"

[[checkpoint]]
source = "smal"
sorce = "x"
cased = "no"
hparams = """{"a": "
[[checkpoint]]
"}"""

[[checkpoint]]
source = "small"
num-attention-heads = 0
ignore = "abc"
max_length = true

[[checkpoint]]
source = "large"
tokenizer = false
cased = true
vocab = "v.txt"
name = "../x"

[[checkpoint]]
overwrite = true
hparams = { when = 2020-01-01 }
cased = true
uncased = true

[[checkpoint]]
source = "large"
name = "SMALL"
[[checkpoint]]
source = "large"
name = "small/inside"
'''


def test_every_fault_of_a_manifest_is_told_at_once_in_the_order_of_the_lines(zoo: Path) -> None:
    assert faults("zoo.toml", BROKEN) == [
        'zoo.toml, line 2, `dtype`: found "float8", expected float32, float16 or bfloat16',
        "zoo.toml, line 3, `name`: found here, expected it in an entry",
        "zoo.toml, line 5, --hparams is not JSON: found Invalid control character at: line 1 column 8 (char 7)",
        "zoo.toml, line 6, `source`: found nothing at smal, expected a checkpoint; there is small",
        "zoo.toml, line 7, `sorce`: found an unknown key, expected `source` perhaps",
        'zoo.toml, line 8, `cased`: found "no", expected true or false',
        "zoo.toml, line 15, `num-attention-heads`: found 0, expected a whole number above 0",
        'zoo.toml, line 16, `ignore`: found "abc", expected a list of patterns',
        "zoo.toml, line 17, `max_length`: found true, expected a whole number above 0",
        "zoo.toml, line 19, no tokenizer is to be written, but something is said about it",
        "zoo.toml, line 23, `vocab`: found nothing at v.txt, expected a file",
        'zoo.toml, line 24, `name`: found "../x", expected a path below OUT for every system, such as `__/x`',
        "zoo.toml, line 26, `source`: found nothing, expected the path of a checkpoint",
        "zoo.toml, line 27, `overwrite`: found here, expected it on the command line",
        "zoo.toml, line 28, `hparams`: found a table, expected a file, a JSON text or a table of plain values",
        "zoo.toml, line 30, `uncased`: found a second time, expected `cased` once",
        "zoo.toml, line 34, `name`: found `SMALL`, which line 13 has too, expected a place of its own",
        "zoo.toml, line 37, `name`: found `small/inside`, in `small` of line 13, expected a place of its own",
    ]


def test_faults_of_json_are_told_with_their_lines(zoo: Path) -> None:
    text = """\
{"defaults": [], "checkpoint": [
  {"source": "small", "config": "nope.json",
   "source": "large"},
  {"source": "small", "hparams":
     {"model_size": "tiny"}}, 3,
  {"source": "sm\\u0000all", "name": "\\ud800"}
 ], "checkpoints": []}
"""
    assert faults("zoo.json", text) == [
        "zoo.json, line 1, `defaults`: found a list, expected a table of keys",
        "zoo.json, line 2, `config`: found nothing at nope.json, expected a file",
        "zoo.json, line 3, `source`: found a second time",
        "zoo.json, line 4, an hparam has a value that Google's code does not take: where hparams, `model_size`; "
        "found 'tiny'; expected small, base or large",
        "zoo.json, line 5, `checkpoint`: found 3, expected a table of keys",
        r"""zoo.json, line 6, `source`: found "sm\u0000all", expected a path""",
        'zoo.json, line 6, `name`: found "\ud800", expected a text',
        "zoo.json, line 7, `checkpoints`: found an unknown key, expected `checkpoint` perhaps",
    ]


def test_faults_of_csv_are_told_with_their_lines_and_those_of_a_column_once(zoo: Path) -> None:
    text = (
        "source;name;cased;foo;max-length;cased\r\n"
        'small;a;yes;1;12\r\n"sm\r\nall";b;no;2;\r\n\r\nlarge;c;maybe;;1e3;;extra\r\n'
    )
    assert faults("zoo.csv", text) == [
        "zoo.csv, line 1, `cased`: found a second time",
        "zoo.csv, line 1, `foo`: found an unknown key, expected an option of `tf1`",
        "zoo.csv, line 3, `source`: found nothing at sm\r\nall, expected a checkpoint; there is small",
        "zoo.csv, line 6, found `extra`, expected nothing in a column without a key",
        'zoo.csv, line 6, `cased`: found "maybe", expected true or false',
        'zoo.csv, line 6, `max-length`: found "1e3", expected a whole number above 0',
    ]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("zoo.toml", "[[checkpoint]]\nsource = \n", "the manifest is no TOML\n  where  zoo.toml, line 2, column 10"),
        ("zoo.toml", "[[checkpoint]]\nsource = '''", "the manifest is no TOML\n  where  zoo.toml, line 2, column "),
        ("zoo.toml", "a = 1\na = 2\n", "zoo.toml, line 2, column 6"),
        ("zoo.toml", f"a = {'9' * 5000}", "the manifest is no TOML\n  where  zoo.toml\n"),
        ("zoo.toml", f"a = {'[' * 100_000}", "zoo.toml"),
        ("zoo.json", '{"checkpoint": [\n {"source" "x"}]}', "no JSON\n  where  zoo.json, line 2, column 12"),
        ("zoo.json", '{"a": NaN}', "NaN is no JSON number"),
        ("zoo.json", f'{{"a": {"[" * 100_000}', "nested too deeply"),
        ("zoo.json", "", "the manifest is no JSON\n  where  zoo.json, line 1, column 1"),
        ("zoo.csv", 'source\nsmall\n"large\n', "the manifest is no CSV\n  where  zoo.csv, line 3"),
        ("zoo.toml", b"# \xe9\n", "not UTF-8\n  where  zoo.toml, line 1\n  found  the byte 0xe9"),
        ("zoo.toml", b"\xef\xbb\xbf\n\n# \xff\n", "not UTF-8\n  where  zoo.toml, line 3\n  found  the byte 0xff"),
        ("zoo.csv", "source\nsmall\n".encode("utf-16"), "found  UTF-16"),
        (
            "zoo.toml",
            b"#" * (LARGEST + 1),
            f"the manifest is too large\n  where     zoo.toml\n  found     {LARGEST + 1:,}",
        ),
    ],
)
def test_what_is_no_manifest_at_all_is_refused_with_line_and_column(
    zoo: Path, name: str, text: str | bytes, told: str
) -> None:
    assert told in refusal(name, text)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("zoo.toml", "", "zoo.toml, line 1, found no entry, expected one `checkpoint` or more"),
        ("zoo.toml", "[defaults]\n", "zoo.toml, line 1, found no entry, expected one `checkpoint` or more"),
        ("zoo.toml", "checkpoint = 3", "zoo.toml, line 1, `checkpoint`: found 3, expected a list of entries"),
        ("zoo.toml", "\n[checkpoint]\n", "zoo.toml, line 2, `checkpoint`: found a table, expected a list of entries"),
        ("zoo.json", "[]", "zoo.json, line 1, found no entry, expected one `checkpoint` or more"),
        ("zoo.json", "3", "zoo.json, line 1, found 3, expected a table of `checkpoint` and `defaults`"),
        ("zoo.csv", "", "zoo.csv, line 1, found no entry, expected one `checkpoint` or more"),
        ("zoo.csv", "\n\nsource\n,,\n", "zoo.csv, line 3, found no entry, expected one `checkpoint` or more"),
        (
            "zoo.toml",
            "[[checkpoints]]\n",
            "zoo.toml, line 1, `checkpoints`: found an unknown key, expected `checkpoint` perhaps",
        ),
    ],
)
def test_a_manifest_without_entries_is_refused(zoo: Path, name: str, text: str, told: str) -> None:
    assert faults(name, text) == [told]


def test_a_manifest_that_is_missing_a_folder_or_of_another_kind_is_refused_by_name(zoo: Path) -> None:
    (zoo / "folder.toml").mkdir()
    for name, told in [
        ("nope.toml", "the manifest is not there"),
        ("folder.toml", "the manifest is no regular file"),
        ("zoo.yaml", "a manifest of a kind that is not read here"),
    ]:
        with pytest.raises(ManifestError, match=told):
            read_manifests([name], {})
    assert not is_manifest("folder.toml")
    assert is_manifest("nope.TOML")
    assert not is_manifest("s3://bucket/zoo.toml")


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may read everything")
def test_a_manifest_that_may_not_be_read_is_a_failure_of_the_environment(zoo: Path) -> None:
    (zoo / "zoo.toml").write_text("")
    (zoo / "zoo.toml").chmod(0)
    with pytest.raises(EnvironmentFailure):
        read_manifests(["zoo.toml"], {})


def test_faults_of_several_manifests_are_told_together(zoo: Path) -> None:
    (zoo / "a.toml").write_text("a = 1\n")
    (zoo / "b.json").write_text("{")
    with pytest.raises(ManifestError) as caught:
        read_manifests(["a.toml", "nope.toml", "b.json"], {})
    told = list(caught.value.facts["faults"])
    assert caught.value.message == "3 faults in the manifest"
    assert told[0].startswith("a.toml, line 1, `a`")
    assert told[1:] == [
        "the manifest is not there: where nope.toml",
        "the manifest is no JSON: where b.json, line 1, column 2; "
        "found Expecting property name enclosed in double quotes",
    ]


def test_defaults_that_contradict_each_other_are_told_once_not_for_every_entry(zoo: Path) -> None:
    text = '[defaults]\ntokenizer = false\ncased = true\n[[checkpoint]]\nsource = "small"\n'
    assert faults("zoo.toml", text) == [
        "zoo.toml, line 1, no tokenizer is to be written, but something is said about it"
    ]


def test_hparams_and_configs_that_do_not_read_are_faults_of_the_entry(zoo: Path) -> None:
    (zoo / "config.json").write_text('{"model_type": "bert"}')
    (zoo / "hparams.json").write_text("[]")
    text = (
        '[[checkpoint]]\nsource = "small"\nconfig = "config.json"\n'
        '[[checkpoint]]\nsource = "large"\nhparams = "hparams.json"\n'
    )
    first, second = faults("zoo.toml", text)
    assert first.startswith("zoo.toml, line 1, the configuration is of another model: where config.json; found")
    assert second.startswith("zoo.toml, line 4, the hparams holds no JSON object: where hparams.json")


def test_more_faults_than_anybody_reads_are_counted(zoo: Path) -> None:
    told = faults("zoo.csv", "source\n" + "nope\n" * (MOST_FAULTS + 5))
    assert len(told) == MOST_FAULTS + 1
    assert told[-1] == f"and {2 * (MOST_FAULTS + 5) - 1 - MOST_FAULTS} more"


def test_whatever_a_name_is_made_of_it_reaches_a_terminal_escaped(zoo: Path) -> None:
    assert "\x1b" not in refusal("zoo.json", '[{"source": "\\u001b[2J", "\\u001b]0;x": 1}]')


SCALARS = st.none() | st.booleans() | st.integers(-3, 99) | st.floats() | st.text(max_size=4)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner), max_leaves=4
)
KEY = st.sampled_from([*ENTRY, "no-tokenizer", "uncased", "out", "x"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.dictionaries(KEY, ANYTHING | st.just("small"), max_size=4), max_size=3), st.sampled_from([0, 1]))
def test_whatever_json_says_it_is_read_or_refused_with_a_line_in_the_file(
    zoo: Path, document: list[dict[str, Any]], indent: int
) -> None:
    text = json.dumps(document, indent=indent)
    Path("zoo.json").write_text(text)
    try:
        read = read_manifests(["zoo.json"], {})
    except ManifestError as error:
        for fault in error.facts.get("faults", ()):
            line = int(fault.removeprefix("zoo.json, line ").partition(",")[0])
            assert 1 <= line <= text.count("\n") + 1
    else:
        assert len(read) == len(document) > 0
        assert all(set(entry.settings) <= set(OPTIONS) for entry in read)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from([(".toml", TOML), (".json", JSON), (".csv", CSV)]), st.data())
def test_a_damaged_manifest_is_read_or_refused_and_nothing_else(
    zoo: Path, form: tuple[str, str], data: st.DataObject
) -> None:
    ending, text = form
    at = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(at, min(len(text), at + 9)))
    put = data.draw(st.text("[]{}=,;.\"'#\n\r\\ a1\0\x1b", max_size=3))
    Path(f"zoo{ending}").write_bytes((text[:at] + put + text[end:]).encode())
    try:
        document = read_document(f"zoo{ending}")
        read_manifests([f"zoo{ending}"], {})
    except ManifestError:
        return
    assert all(line >= 1 for line in document.lines.values())

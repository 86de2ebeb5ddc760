"""A zoo is planned from trees, archives, manifests and stores; what cannot go well as a whole is refused before."""

from __future__ import annotations

import inspect as python_inspect
import json
import os
import pickle
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED, all_of, google, other
from hypothesis import given
from hypothesis import strategies as st

from electra_convert.errors import (
    ElectraConvertError,
    EnvironmentFailure,
    InputError,
    ManifestError,
    NotACheckpoint,
    SettingError,
    UsageError,
)
from electra_convert.tf1.sources import find_source
from electra_convert.zoo import walking as walking
from electra_convert.zoo.finding import Item, Zoo, find_zoo, name_found
from electra_convert.zoo.output_names import find_collisions, fold
from electra_convert.zoo.walking import Found

STEPS = ("model.ckpt-30", "model.ckpt-40", "model.ckpt-50")


def plan(*sources: str | Path, out: str | Path = "out", **given: Any) -> Zoo:
    return find_zoo(list(sources), out, **given)


def names(*sources: str | Path, **given: Any) -> list[str]:
    return [item.name for item in plan(*sources, **given).items]


def refusal(*sources: str | Path, kind: type[ElectraConvertError] = UsageError, **given: Any) -> str:
    with pytest.raises(kind) as caught:
        plan(*sources, **given)
    return str(caught.value)


def put(folder: Path, *prefixes: str, newest: str = "") -> Path:
    """Make a folder with V2 checkpoints by name only, and a `checkpoint` file that names one."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix in prefixes:
        (folder / f"{prefix}.index").write_bytes(b"x")
        (folder / f"{prefix}.data-00000-of-00001").write_bytes(b"x")
    if newest:
        (folder / "checkpoint").write_text(f'model_checkpoint_path: "{newest}"\n')
    return folder


def codes(zoo: Zoo) -> list[str]:
    return [notice.code for notice in zoo.notices]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Real checkpoints


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared/ is not beside the checkout")
def test_the_shared_checkpoints_are_a_zoo_of_51_folders_and_two_archives() -> None:
    zoo = plan(SHARED)
    archives = {f"google/no_meta/published.{ending}" for ending in ("zip", "tar.gz")}
    folders = {f"google/{name}" for name in all_of("google")} | {f"others/{name}" for name in all_of("others")}
    assert {item.name for item in zoo.items} == (folders - {"google/no_meta"}) | {
        *archives,
        "google/no_meta/electra_tiny",
    }
    assert len(folders) == 51
    assert zoo.warnings == ()
    assert [item.name for item in zoo.items] == names(SHARED)


@pytest.mark.parametrize("name", all_of("google") + [f"others/{name}" for name in all_of("others")])
def test_a_real_folder_by_itself_is_taken_whole_and_named_after_itself(name: str, here: Path) -> None:
    folder = other(name.removeprefix("others/")) if name.startswith("others/") else google(name)
    copy = here / folder.name
    copy.mkdir()
    for file in folder.iterdir():
        if not file.name.startswith("published."):
            (copy / file.name).symlink_to(file)
    (item,) = plan(copy).items
    assert (item.name, item.source) == (copy.name, str(copy))


def test_of_several_steps_the_one_that_tf1_would_choose_is_taken_and_all_with_all_steps(here: Path) -> None:
    folder = put(here / "steps", *STEPS, newest=STEPS[1])
    zoo = plan(folder)
    (item,) = zoo.items
    with find_source(item.source) as found:
        assert found.source.name == STEPS[1]
    (notice,) = zoo.notices
    assert (notice.kind, notice.code) == ("note", "other-steps")
    assert dict(notice.facts) == {"where": str(folder), "taken": [STEPS[1]], "others": [STEPS[2], STEPS[0]]}
    every = plan(here, all_steps=True)
    assert [item.name for item in every.items] == [f"steps/{name}" for name in reversed(STEPS)]
    assert [item.source for item in every.items] == [str(folder / name) for name in reversed(STEPS)]
    assert every.notices == ()


@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
def test_a_published_archive_is_an_item_by_itself_and_in_a_tree(ending: str, here: Path) -> None:
    archive = google("no_meta") / f"published.{ending}"
    shutil.copy(archive, here)
    for source in (archive, here):
        (item,) = plan(source, out="result").items
        assert item.name == "published"
        with find_source(item.source) as found:
            assert found.source.name == "electra_tiny"


def test_v1_sharded_and_partitioned_checkpoints_are_found_below_a_folder(here: Path) -> None:
    for name in ("v1_format", "v1_sharded", "sharded"):
        (here / "zoo" / name).parent.mkdir(exist_ok=True)
        (here / "zoo" / name).symlink_to(google(name))
    assert names("zoo") == ["sharded", "v1_format", "v1_sharded"]
    assert names("zoo", all_steps=True) == [f"{name}/model.ckpt-40" for name in ("sharded", "v1_format", "v1_sharded")]
    for item in plan("zoo", all_steps=True).items:
        find_source(item.source).close()


# Trees


def test_without_a_checkpoint_file_the_newest_of_each_run_is_taken(here: Path) -> None:
    put(here / "zoo" / "one", *STEPS)
    put(here / "zoo" / "two", "a-9", "a-10", "b-3", "c")
    zoo = plan("zoo")
    assert [item.name for item in zoo.items] == ["one", "two/a-10", "two/b-3", "two/c"]
    assert zoo.items[0].source == os.path.join("zoo", "one", STEPS[-1])
    assert codes(zoo) == ["other-steps", "other-steps"]


def test_a_folder_with_checkpoints_below_it_gives_its_own_checkpoint_a_name_in_it(here: Path) -> None:
    put(here / "models" / "small", "model.ckpt-9")
    put(here / "models" / "small" / "finetuning_models" / "mrpc_1", "model.ckpt-3")
    assert names("models") == ["small/model.ckpt-9", "small/finetuning_models/mrpc_1"]


def test_an_archive_beside_the_folder_it_was_unpacked_to_keeps_its_suffix(here: Path) -> None:
    put(here / "zoo" / "small", "model.ckpt-9")
    (here / "zoo" / "small.tar.gz").write_bytes(b"\x1f\x8b")
    (here / "zoo" / "large.tgz").write_bytes(b"\x1f\x8b")
    assert names("zoo") == ["large", "small.tar.gz", "small"]


def test_archives_that_list_no_checkpoint_are_left_out_and_those_that_cannot_be_listed_are_not(here: Path) -> None:
    zoo = here / "zoo"
    zoo.mkdir()
    with zipfile.ZipFile(zoo / "data.zip", "w") as archive:
        archive.writestr("glue/train.tsv", "x")
    with tarfile.open(zoo / "data.tar", "w") as tar:
        tar.add(zoo / "data.zip", "inner.zip")
    with tarfile.open(zoo / "packed.tar.gz", "w:gz") as tar:
        tar.add(zoo / "data.zip", "inner.zip")
    (zoo / "broken.zip").write_bytes(b"PK\x03\x04")
    (zoo / "empty.zip").write_bytes(b"")
    (zoo / "._mac.zip").write_bytes(b"")
    found = plan("zoo")
    assert [item.name for item in found.items] == ["broken", "empty", "packed"]
    (notice,) = found.notices
    assert (notice.code, notice.kind) == ("archives-without", "note")
    assert dict(notice.facts)["where"] == [os.path.join("zoo", name) for name in ("data.tar", "data.zip")]


def test_what_convert_refuses_is_an_item_all_the_same(here: Path) -> None:
    put(here / "zoo" / "gone", newest="model.ckpt-1")
    put(here / "zoo" / "outside", "model.ckpt-1", newest="../model.ckpt-1")
    put(here / "zoo" / "damaged", "model.ckpt-1")
    (here / "zoo" / "damaged" / "checkpoint").write_bytes(b"\xff")
    put(here / "zoo" / "shards")
    shutil.copy(google("v1_sharded") / "model.ckpt-40-00001-of-00003", here / "zoo" / "shards")
    zoo = plan("zoo")
    assert [item.name for item in zoo.items] == ["damaged", "gone", "outside", "shards"]
    for item in zoo.items:
        with pytest.raises(InputError):
            find_source(item.source)


def test_folders_without_checkpoints_unfinished_saves_saved_models_and_our_outputs_are_walked_through(
    here: Path,
) -> None:
    zoo = put(here / "zoo", "model.ckpt-9")
    put(zoo / "model.ckpt-10_temp_0a1b", "part-00000-of-00001")
    (zoo / "export").mkdir()
    (zoo / "export" / "saved_model.pb").write_bytes(b"x")
    put(zoo / "export" / "variables", "variables")
    (zoo / "earlier").mkdir()
    for name in ("config.json", "conversion.json", "model.safetensors", "README.md"):
        (zoo / "earlier" / name).write_text("{}")
    (zoo / "model.ckpt-11.data-00000-of-00001.tempstate1583942400").write_bytes(b"x")
    found = plan("zoo", out="result")
    assert [item.name for item in found.items] == ["zoo"]
    (notice,) = found.notices
    assert notice.code == "other-folders"
    assert dict(notice.facts)["where"] == [
        os.path.join("zoo", "export", "variables"),
        os.path.join("zoo", "model.ckpt-10_temp_0a1b"),
    ]


def test_hidden_folders_are_left_out_and_a_hidden_source_is_not(here: Path) -> None:
    put(here / "zoo" / ".cache" / "small", "model.ckpt-9")
    put(here / "zoo" / "small", "model.ckpt-9")
    zoo = plan("zoo")
    assert ([item.name for item in zoo.items], codes(zoo)) == (["small"], ["hidden"])
    assert names(here / "zoo" / ".cache") == ["small"]


def test_links_are_followed_but_not_back(here: Path) -> None:
    real = put(here / "real", "model.ckpt-9")
    zoo = here / "zoo"
    zoo.mkdir()
    for number in range(3):
        (zoo / f"item{number}").symlink_to(real)
    (zoo / "deep").mkdir()
    (zoo / "deep" / "back").symlink_to(zoo)
    (zoo / "dead").symlink_to(zoo / "nothing")
    (zoo / "self").symlink_to(zoo / "self")
    (zoo / "file.index").symlink_to(zoo / "file.index")
    found = plan("zoo")
    assert [item.name for item in found.items] == ["item0", "item1", "item2"]
    (notice,) = found.notices
    assert (notice.code, dict(notice.facts)["where"]) == ("loop", [os.path.join("zoo", "deep", "back")])


def test_links_that_lead_back_and_forth_without_end_are_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [put(here / "zoo" / f"f{number}", "model.ckpt-1") for number in range(6)]
    for one in folders:
        for two in folders:
            (one / f"to_{two.name}").symlink_to(two)
    monkeypatch.setattr(walking, "MOST_FOLDERS", 500)
    assert "the tree has too many folders" in refusal("zoo")


def test_a_tree_deeper_than_any_recursion_is_walked(here: Path) -> None:
    depth = 200
    put(here.joinpath(*["d"] * depth, "m"), "model.ckpt-1")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(python_inspect.stack()) + depth // 2)
    try:
        (item,) = plan("d").items
    finally:
        sys.setrecursionlimit(limit)
    assert item.name == "d/" * (depth - 1) + "m"


def test_the_output_in_a_tree_is_left_out(here: Path) -> None:
    put(here / "zoo" / "small", "model.ckpt-9")
    put(here / "zoo" / "out" / "earlier", "model.ckpt-9")
    (here / "link").symlink_to(here / "zoo" / "out")
    for out in (here / "zoo" / "out", here / "link"):
        zoo = plan("zoo", out=out)
        assert ([item.name for item in zoo.items], codes(zoo)) == (["small"], ["out-skipped"])


def test_an_output_that_is_a_source_lies_in_a_checkpoint_or_around_one_is_refused(here: Path) -> None:
    put(here / "zoo" / "small", "model.ckpt-9")
    assert "the checkpoint lies inside it" in refusal("zoo", out="zoo")
    assert "the checkpoint lies inside it" in refusal("zoo/small/model.ckpt-9", out="zoo")
    assert "it lies inside the checkpoint" in refusal("zoo", out="zoo/small/out")
    assert "it is the checkpoint" in refusal("zoo/small", out="zoo/small")


def test_a_folder_that_cannot_be_listed_is_a_warning_below_a_source_and_refused_as_one(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(here / "zoo" / "closed", "model.ckpt-9")
    put(here / "zoo" / "small", "model.ckpt-9")
    listed = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    zoo = plan("zoo")
    assert [item.name for item in zoo.items] == ["small"]
    (warning,) = zoo.warnings
    assert (warning.code, dict(warning.facts)["where"]) == ("unreadable", [os.path.join("zoo", "closed")])
    with pytest.raises(EnvironmentFailure):
        plan("zoo/closed")


def test_a_file_that_cannot_be_read_does_not_stop_the_walk(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(here / "zoo" / "small", "model.ckpt-9")
    (here / "zoo" / "notes").write_bytes(b"x" * 100)
    opening = os.open

    def refuse(path: Any, *rest: Any, **more: Any) -> int:
        if Path(path).name == "notes":
            raise PermissionError(13, "Permission denied", str(path))
        return opening(path, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    zoo = plan("zoo")
    assert ([item.name for item in zoo.items], codes(zoo)) == (["small"], ["unreadable"])


def test_no_data_is_opened(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(here / "zoo" / "small", *STEPS, newest=STEPS[0])
    (here / "zoo" / "small" / "vocab.h5").write_bytes(b"x")
    opening, seen = os.open, []

    def see(path: Any, *rest: Any, **more: Any) -> int:
        seen.append(Path(path).name)
        return opening(path, *rest, **more)

    monkeypatch.setattr(os, "open", see)
    plan("zoo")
    assert set(seen) == {"checkpoint"}


def test_the_plan_does_not_depend_on_the_order_in_which_the_system_lists(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b", "a", "c/y", "c/x"):
        put(here / "zoo" / name, "model.ckpt-2", "other.ckpt-1")
    before = plan("zoo")
    listed = os.scandir

    class Reversed:
        def __init__(self, path: Any) -> None:
            with listed(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> Any:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    assert plan("zoo") == before


def test_a_thousand_links_to_one_checkpoint_are_a_thousand_items(here: Path) -> None:
    real = put(here / "real", "model.ckpt-9")
    (here / "zoo").mkdir()
    for number in range(1000):
        (here / "zoo" / f"{number:04d}").symlink_to(real)
    assert names("zoo") == [f"{number:04d}" for number in range(1000)]


# Sources


def test_several_sources_have_a_folder_each_told_apart_by_as_many_names_as_it_takes(here: Path) -> None:
    for language in ("korean", "german"):
        put(here / language / "small", "model.ckpt-9")
        put(here / language / "deep" / "small", "model.ckpt-9")
    assert names("korean", "german") == ["korean/deep/small", "korean/small", "german/deep/small", "german/small"]
    assert names("korean/small", "german/small") == ["korean/small", "german/small"]
    assert names("korean/small", "german/deep") == ["small", "deep/small"]
    sources = [f"{language}/small/model.ckpt-9.index" for language in ("korean", "german")]
    assert names(*sources) == ["korean/small/model.ckpt-9", "german/small/model.ckpt-9"]


def test_a_source_may_be_the_working_directory_a_prefix_or_any_file_of_a_checkpoint(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(here / "small", "model.ckpt-9", newest="model.ckpt-9")
    for end, name in [("", "small"), ("/checkpoint", "small"), ("/model.ckpt-9", "model.ckpt-9")]:
        assert names(f"small{end}") == [name]
    monkeypatch.chdir(here / "small")
    assert names(".", out="../out") == ["small"]
    assert [item.source for item in plan(f"file://{here}/small", out="../out").items] == [str(here / "small")]


def test_a_source_that_is_not_there_is_refused_with_what_is_like_it(here: Path) -> None:
    put(here / "small", "model.ckpt-9")
    assert "did you mean small?" in refusal("smal", kind=NotACheckpoint)
    assert "nothing" in refusal("small/model.ckpt-8", kind=NotACheckpoint)
    assert "nothing" in refusal("", kind=NotACheckpoint)


def test_sources_without_a_checkpoint_are_a_warning_unless_there_is_none_at_all(here: Path) -> None:
    put(here / "small", "model.ckpt-9")
    (here / "empty").mkdir()
    zoo = plan("small", "empty")
    assert [(notice.kind, notice.code) for notice in zoo.notices] == [("warning", "nothing-found")]
    assert "no checkpoint to convert" in refusal("empty", kind=NotACheckpoint)
    assert "no checkpoint to convert" in refusal(kind=NotACheckpoint)


def test_one_source_twice_is_refused_and_both_are_named(here: Path) -> None:
    put(here / "small", "model.ckpt-9")
    assert "small: small and small" in refusal("small", "small/")


# Names


@pytest.mark.parametrize(
    ("one", "other_one", "told"),
    [("Small", "small", "small"), ("e\u0301", "\u00e9", "\u00e9"), ("a:b", "a?b", "a_b"), ("x.", "x_", "x_")],
)
def test_names_that_are_one_on_some_system_are_refused_and_both_named(
    here: Path, one: str, other_one: str, told: str
) -> None:
    try:
        put(here / "zoo" / one, "model.ckpt-9")
        put(here / "zoo" / other_one, "model.ckpt-9")
    except OSError:
        pytest.skip("this system does not take such names")
    if len(os.listdir(here / "zoo")) < 2:
        pytest.skip("this system does not tell these names apart")
    text = refusal("zoo")
    assert "outputs would be written over each other" in text
    for name in (one, other_one):
        assert os.path.join("zoo", name) in text
    assert told in text


def test_names_that_are_not_taken_everywhere_are_changed_and_told(here: Path) -> None:
    if os.name == "nt":
        pytest.skip("this system does not take such names")
    put(here / "zoo" / "a\x1b[2J" / "nul", "model.ckpt-9")
    (here / "zoo" / os.fsdecode(b"\xff")).mkdir()
    put(here / "zoo" / os.fsdecode(b"\xff"), "model.ckpt-9")
    zoo = plan("zoo")
    assert [item.name for item in zoo.items] == ["a_[2J/_nul", "_"]
    assert codes(zoo) == ["renamed"]
    assert "\x1b" not in str(zoo.notices[0])
    json.dumps(zoo.to_json())


@given(st.lists(st.lists(st.sampled_from(["a", "A", "x.zip", "m-1"]), min_size=1, max_size=3), max_size=6), st.data())
def test_checkpoints_of_a_tree_without_names_that_differ_in_case_only_never_collide(
    paths: list[list[str]], data: st.DataObject
) -> None:
    """Folders, each with one checkpoint, several, or archives; a file system has no file where it has a folder."""
    folders = {tuple(path[:length]) for path in paths for length in range(len(path) + 1)}
    found = []
    for place in sorted(folders):
        inside = {path[-1] for path in folders if path and path[:-1] == place}
        own = data.draw(st.sets(st.sampled_from(["m-1", "m-2", "a"]), max_size=2))
        # That a checkpoint has the name of a folder beside it is refused: model.ckpt-9.index beside model.ckpt-9/.
        own -= {leaf for leaf in own if fold((leaf,)) in map(fold, ((name,) for name in inside))}
        found += [Found(place, leaf, "", is_alone=len(own) == 1) for leaf in sorted(own)]
        archives = data.draw(st.sets(st.sampled_from(["a.zip", "a.tar", "x.zip"]), max_size=2))
        found += [Found(place, leaf, "", is_archive=True) for leaf in sorted(archives - inside)]
    placed = name_found(found)
    assert all(place[: len(one.place)] == one.place for place, one in zip(placed, found, strict=True))
    if len({fold(folder) for folder in folders}) == len(folders):
        assert find_collisions(["/".join(("root", *place)) for place in placed]) == []


# Settings, manifests, the plan itself


def test_settings_are_plain_data_in_every_item_and_checked_before_anything_is_walked(here: Path) -> None:
    put(here / "small", "model.ckpt-9")
    (here / "v.txt").write_text("")
    settings = {"vocab": here / "v.txt", "ignore": ("a/*",), "hparams": {"model_size": "small"}, "cased": None}
    (item,) = plan("small", settings=settings).items
    assert item.settings == {
        "vocab": str(here / "v.txt"),
        "ignore": ["a/*"],
        "hparams": {"model_size": "small"},
        "cased": None,
    }
    assert pickle.loads(pickle.dumps(item)) == item
    assert "dtype has no such choice" in refusal("small", settings={"dtype": "int8"})
    assert "the hparams" in refusal("small", settings={"hparams": "nope.json"}, kind=SettingError)


def test_a_manifest_is_a_source_by_its_ending_or_given_by_name_and_joins_what_is_walked(here: Path) -> None:
    put(here / "small", "model.ckpt-9")
    put(here / "large", "model.ckpt-9")
    (here / "zoo.toml").write_text('[[checkpoint]]\nsource = "large"\ndtype = "float16"\nname = "big"\n')
    shutil.copy("zoo.toml", "list.txt")
    zoo = plan("small", "zoo.toml", settings={"export": "available"})
    assert zoo.items == (
        Item("big", "large", {"export": "available", "dtype": "float16"}, "zoo.toml, line 1"),
        Item("small", "small", {"export": "available"}),
    )
    assert plan("small", manifest="zoo.toml", settings={"export": "available"}) == zoo
    assert zoo.to_json() == {
        "items": [
            {
                "name": "big",
                "source": "large",
                "settings": {"export": "available", "dtype": "float16"},
                "where": "zoo.toml, line 1",
            },
            {"name": "small", "source": "small", "settings": {"export": "available"}, "where": ""},
        ],
        "notes": [],
    }
    assert "a manifest of a kind that is not read here" in refusal(manifest="list.txt", kind=ManifestError)


def test_an_entry_and_a_walked_checkpoint_in_one_place_are_refused_with_line_and_path(here: Path) -> None:
    put(here / "a" / "small", "model.ckpt-9")
    (here / "zoo.toml").write_text('[[checkpoint]]\nsource = "a/small"\nname = "Small/x"\n')
    assert "Small/x, which is in small: a/small and a/small (zoo.toml, line 1)" in refusal("a", "zoo.toml")


def test_the_steps_of_an_entry_are_taken_as_those_of_a_folder(here: Path) -> None:
    put(here / "steps", *STEPS)
    put(here / "named", *STEPS, newest=STEPS[0])
    put(here / "two", "a-1", "b-1")
    put(here / "gone", newest="model.ckpt-1")
    (here / "zoo.csv").write_text("source,name\nsteps,s\nnamed,n\ntwo,t\ngone,g\n")
    assert [(item.name, item.source) for item in plan("zoo.csv").items] == [
        ("s", os.path.join("steps", STEPS[-1])),
        ("n", "named"),
        ("t", "two"),
        ("g", "gone"),
    ]
    assert names("zoo.csv", all_steps=True) == [
        *(f"s/{step}" for step in reversed(STEPS)),
        *(f"n/{step}" for step in reversed(STEPS)),
        *("t/a-1", "t/b-1", "g"),
    ]


def test_an_item_can_be_a_key() -> None:
    assert len({Item("a", "b"), Item("a", "b"), Item("a", "c", {"x": 1})}) == 2


# Stores


@pytest.fixture
def store() -> Any:
    """fsspec's file system in memory."""
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield memory
    memory.store.clear()


def put_remote(memory: Any, *paths: str) -> None:
    for path in paths:
        memory.pipe_file(f"/{path}", b"x")


def test_a_store_is_walked_by_names_as_a_folder_is(store: Any) -> None:
    put_remote(
        store,
        *("zoo/small/model.ckpt-9.index", "zoo/small/model.ckpt-9.data-00000-of-00001", "zoo/small/vocab.txt"),
        *("zoo/steps/model.ckpt-9.index", "zoo/steps/model.ckpt-10.index"),
        *("zoo/told/model.ckpt-9.index", "zoo/told/model.ckpt-10.index", "zoo/told/checkpoint"),
        *("zoo/.cache/model.ckpt-9.index", "zoo/out/x/model.ckpt-9.index", "zoo/save_temp_0a/part-0.index"),
        *("zoo/packed/large.zip", "zoo/packed/notes.txt"),
    )
    zoo = plan("memory://zoo", out="memory://zoo/out")
    assert [(item.name, item.source) for item in zoo.items] == [
        ("packed/large", "memory://zoo/packed/large.zip"),
        ("small", "memory://zoo/small"),
        ("steps", "memory://zoo/steps/model.ckpt-10"),
        ("told", "memory://zoo/told"),
    ]
    assert sorted(codes(zoo)) == ["hidden", "other-steps", "out-skipped"]
    assert names("memory://zoo/told", all_steps=True) == ["model.ckpt-10", "model.ckpt-9"]


def test_a_url_may_be_a_prefix_a_file_or_an_archive_and_is_refused_if_nothing_is_there(store: Any) -> None:
    put_remote(store, "zoo/small/model.ckpt-9.index", "zoo/small/v1-00000-of-00001", "zoo/large.zip")
    for source, name in [
        ("memory://zoo/small/model.ckpt-9", "model.ckpt-9"),
        ("memory://zoo/small/model.ckpt-9.index", "model.ckpt-9"),
        ("memory://zoo/small/v1", "v1"),
        ("memory://zoo/large.zip", "large"),
        ("memory://zoo/small", "small"),
    ]:
        assert names(source, out="memory://out") == [name]
    with pytest.raises(InputError):
        plan("memory://zoo/smal")


def test_a_checkpoint_in_the_output_of_a_store_is_refused(store: Any) -> None:
    put_remote(store, "zoo/small/model.ckpt-9.index")
    assert "the checkpoint lies inside it" in refusal("memory://zoo/small", out="memory://zoo")
    assert names("memory://zoo/small", out="memory://zo") == ["small"]


def test_no_credentials_of_a_url_are_in_the_plan() -> None:
    zoo = plan("https://me:secret@host/large.zip?signature=0a1b", out="out")
    assert zoo.items[0].name == "large"
    assert "secret" not in json.dumps(zoo.to_json())
    assert "0a1b" not in json.dumps(zoo.to_json())

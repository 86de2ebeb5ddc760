"""Every way to name a checkpoint, and everything that is refused by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import all_of, google, other

from electra_convert.errors import CheckpointError, EnvironmentFailure, NotACheckpoint
from electra_convert.tf1.sources import Source, find_source

STEPS = ("model.ckpt-30", "model.ckpt-40", "model.ckpt-50")


def find(path: str | os.PathLike[str]) -> Source:
    with find_source(path) as found:
        return found.source


def refusal(path: str | os.PathLike[str], kind: type[CheckpointError] = CheckpointError) -> str:
    with pytest.raises(kind) as caught:
        find(path)
    assert caught.value.exit_code == 3
    return str(caught.value)


def codes(source: Source) -> list[str]:
    return [notice.code for notice in source.notices]


@pytest.fixture
def small(tmp_path) -> Path:
    """A copy of a V2 checkpoint, free to be spoilt."""
    folder = tmp_path / "ckpt"
    folder.mkdir()
    for file in google("no_meta").glob("electra_tiny.*"):
        shutil.copy(file, folder)
    return folder


@pytest.fixture
def steps(tmp_path) -> Path:
    """Three steps, by name only, without a `checkpoint` file."""
    folder = tmp_path / "steps"
    folder.mkdir()
    for name in STEPS:
        (folder / f"{name}.index").write_bytes(b"x")
        (folder / f"{name}.data-00000-of-00001").write_bytes(b"x")
    return folder


def write_state(folder: Path, path: str) -> None:
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{path}"\n', encoding="utf-8")


# Folders


@pytest.mark.parametrize("name", all_of("google"))
def test_a_folder_that_googles_code_left_gives_its_checkpoint(name) -> None:
    folder = google(name)
    source = find(folder)
    assert source.prefix.parent == source.folder == folder
    assert source.shown == str(source.prefix)
    assert all(file.is_file() for file in source.files)
    assert (source.meta is not None) == (folder / f"{source.name}.meta").is_file()
    assert source.format == ("V1" if name.startswith("v1_") else "V2")


@pytest.mark.parametrize("name", [name for name in all_of("google") if name != "foreign_checkpoint_path"])
def test_the_checkpoint_is_the_one_that_tensorflow_finds(name) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    folder = google(name)
    assert str(find(folder).prefix) == tensorflow.train.latest_checkpoint(str(folder))


def test_the_checkpoint_file_decides_between_steps() -> None:
    assert find(google("several_steps")).name == "model.ckpt-50"


def test_the_checkpoint_file_itself_means_its_folder() -> None:
    assert find(google("several_steps") / "checkpoint").name == "model.ckpt-50"


def test_the_only_checkpoint_of_a_folder_is_taken(small) -> None:
    assert find(small).name == "electra_tiny"
    assert find(f"{small}/").shown == str(small / "electra_tiny")


def test_several_checkpoints_are_refused_with_their_steps(steps) -> None:
    message = refusal(steps)
    for name, step in zip(STEPS, (30, 40, 50), strict=True):
        assert f"{name}  step {step}" in message
    assert f"hint: pass {steps / 'model.ckpt-50'}" in message


def test_a_prefix_chooses_a_step(steps) -> None:
    for name in STEPS:
        assert find(steps / name).name == name


def test_a_path_of_another_machine_is_looked_for_beside_the_file_with_a_warning() -> None:
    source = find(google("foreign_checkpoint_path"))
    assert source.name == "model.ckpt-20"
    assert codes(source) == ["checkpoint-path"]
    assert source.notices[0].kind == "warning"
    assert "gs://bucket/models/x/model.ckpt-20" in str(source.notices[0])


@pytest.mark.parametrize(
    "path", ["/cns/x/model.ckpt-40", "gs://b/model.ckpt-40", "C:\\\\runs\\\\model.ckpt-40", "s3://b/x/model.ckpt-40"]
)
def test_foreign_paths_of_every_kind_leave_the_base_name(steps, path) -> None:
    write_state(steps, path)
    assert find(steps).name == "model.ckpt-40"


def test_an_absolute_path_of_this_folder_is_no_foreign_one(steps) -> None:
    write_state(steps, str(steps / "model.ckpt-40"))
    assert (find(steps).name, find(steps).notices) == ("model.ckpt-40", ())


@pytest.mark.parametrize(
    "path", ["/cns/x/model.ckpt-60", "model.ckpt-60", "gs://b/*", "*", "model.ckpt-4?", "sub/m", "."]
)
def test_a_step_that_is_gone_is_never_replaced_by_another(steps, path) -> None:
    write_state(steps, path)
    message = refusal(steps)
    assert "that is not there" in message
    assert "checkpoint, line 1" in message
    assert "model.ckpt-30  step 30" in message


@pytest.mark.parametrize("path", ["../model.ckpt-40", "../../x", "a/../../model.ckpt-40", ".."])
def test_a_path_that_climbs_out_is_refused(steps, path) -> None:
    shutil.copy(steps / "model.ckpt-40.index", steps.parent)
    write_state(steps, path)
    assert "points outside the folder" in refusal(steps)


def test_an_absolute_path_that_exists_elsewhere_is_refused(steps) -> None:
    write_state(steps, "/etc/passwd" if os.path.exists("/etc/passwd") else sys.executable.replace("\\", "\\\\"))
    assert "points outside the folder" in refusal(steps)
    elsewhere = steps.parent / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(steps / "model.ckpt-40.index", elsewhere)
    write_state(steps, str(elsewhere / "model.ckpt-40").replace("\\", "\\\\"))
    message = refusal(steps)
    assert "points outside the folder" in message
    assert f"hint: pass {steps / 'model.ckpt-40'}" in message


def test_a_path_into_a_folder_below_is_followed(steps) -> None:
    write_state(steps.parent, "steps/model.ckpt-40")
    source = find(steps.parent)
    assert (source.name, source.folder) == ("model.ckpt-40", steps)


def test_a_path_through_a_link_that_leads_out_is_refused(steps) -> None:
    run = steps.parent / "run"
    run.mkdir()
    _link(run / "sub", steps)
    write_state(run, "sub/model.ckpt-40")
    assert "that is not there" in refusal(run)


def test_an_empty_path_falls_back_to_the_only_checkpoint(small, steps) -> None:
    for folder in (small, steps):
        write_state(folder, "")
    assert find(small).name == "electra_tiny"
    assert "several checkpoints" in refusal(steps)


def test_a_damaged_checkpoint_file_is_refused_with_line_and_column(steps) -> None:
    (steps / "checkpoint").write_text('model_checkpoint_path "a"')
    assert f"{steps / 'checkpoint'}, line 1, column 23" in refusal(steps)
    (steps / "checkpoint").write_bytes(b'model_checkpoint_path: "a"\n'.ljust((1 << 20) + 1))
    assert "too large" in refusal(steps)
    assert find(steps / "model.ckpt-40").name == "model.ckpt-40"  # the way round it that the hint names


# Prefixes and single files


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001", ".meta"])
def test_any_file_of_a_checkpoint_means_the_checkpoint(suffix) -> None:
    folder = google("default_small")
    source = find(folder / f"model.ckpt-40{suffix}")
    assert source.prefix == folder / "model.ckpt-40"
    assert codes(source) == ["suffix-removed"]
    assert source.notices[0].kind == "note"


def test_a_v1_file_is_its_own_prefix() -> None:
    source = find(google("v1_format") / "model.ckpt-40")
    assert (source.format, source.files, codes(source)) == ("V1", (source.prefix,), [])


@pytest.mark.parametrize("name", ["model.ckpt-40", "model.ckpt-40-?????-of-00003", "model.ckpt-40-00001-of-00003"])
def test_v1_shards_are_found_by_every_name(name) -> None:
    source = find(google("v1_sharded") / name)
    assert [file.name[-14:] for file in source.files] == ["00000-of-00003", "00001-of-00003", "00002-of-00003"]
    assert (source.name, source.prefix.name) == ("model.ckpt-40", "model.ckpt-40-?????-of-00003")


def test_missing_v1_shards_are_listed(tmp_path) -> None:
    folder = tmp_path / "v1"
    shutil.copytree(google("v1_sharded"), folder)
    (folder / "model.ckpt-40-00001-of-00003").unlink()
    for path in (folder, folder / "model.ckpt-40", folder / "model.ckpt-40-00000-of-00003"):
        assert "missing   model.ckpt-40-00001-of-00003" in refusal(path)


def test_the_graph_of_a_v1_checkpoint_is_found_through_its_shard() -> None:
    folder = other("serving_v1_half_plus_two")
    assert find(folder / "export-00000-of-00001").meta == folder / "export.meta"
    assert find(folder / "export.meta").name == "export"


@pytest.mark.parametrize("name", ["v1_char_rnn_2016", "v1_contrib_learn_shard", "v1_traffic_sign_2017"])
def test_v1_checkpoints_of_others_are_found(name) -> None:
    assert find(other(name)).format == "V1"


def test_v2_wins_over_a_v1_file_of_the_same_prefix(small) -> None:
    shutil.copy(google("v1_format") / "model.ckpt-40", small / "electra_tiny")
    assert find(small / "electra_tiny").format == "V2"
    assert find(small).format == "V2"


@pytest.mark.parametrize("name", ["*", "[a]", "model.ckpt-??"])
def test_characters_of_a_pattern_are_literal(steps, name) -> None:
    refusal(steps / name, NotACheckpoint)
    shutil.copy(steps / "model.ckpt-40.index", steps / f"{name}.index")
    assert find(steps / name).name == name


def test_an_index_alone_is_enough() -> None:
    assert find(other("electra_small_released")).name == "electra_small"


def test_a_link_to_a_checkpoint_is_followed(small) -> None:
    links = small.parent / "links"
    links.mkdir()
    for file in small.iterdir():
        _link(links / file.name, file)
    assert find(links).files == (links / "electra_tiny.index",)


# What is refused by name


def test_a_missing_path_is_refused_with_names_like_it(steps) -> None:
    message = refusal(steps / "model.ckpt-41", NotACheckpoint)
    assert "found     nothing" in message
    assert "hint: did you mean" in message
    assert "nearby" in refusal(steps.parent / "stepz" / "model.ckpt-40")
    assert "nothing" in refusal("")
    assert "NUL" in refusal("a\0b")


def test_a_folder_without_a_checkpoint_says_what_is_there_and_what_is_nearby(steps) -> None:
    run = steps.parent
    (run / "events.out.tfevents.1583942400").touch()
    (run / "notes.txt").touch()
    message = refusal(run, NotACheckpoint)
    assert f"no TensorFlow checkpoint in `{run}`" in message
    assert "2 files, among them `events.out.tfevents.1583942400`" in message
    assert f"hint: pass {steps / 'model.ckpt-50'}" in message


def test_an_empty_folder_is_refused(tmp_path) -> None:
    assert "an empty folder" in refusal(tmp_path, NotACheckpoint)


def test_an_unfinished_save_is_named(tmp_path) -> None:
    (tmp_path / "model.ckpt-40.index.tempstate1583942400").touch()
    for path in (tmp_path, tmp_path / "model.ckpt-40", tmp_path / "model.ckpt-40.index.tempstate1583942400"):
        assert "unfinished save" in refusal(path, NotACheckpoint)


def test_the_parts_of_an_unfinished_save_are_named(tmp_path) -> None:
    parts = tmp_path / "model.ckpt-40_temp_0a1b"
    parts.mkdir()
    (parts / "part-00000-of-00001.index").touch()
    for path in (tmp_path, parts, parts / "part-00000-of-00001.index", parts / "part-00000-of-00001"):
        assert "unfinished save" in refusal(path, NotACheckpoint)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("tf_model.h5", "Keras"),
        ("pytorch_model.bin", "PyTorch"),
        ("model.pt", "PyTorch"),
        ("model.safetensors", "safetensors"),
        ("events.out.tfevents.1", "events"),
        ("graph.pbtxt", "graph"),
        ("saved_model.pb", "SavedModel"),
    ],
)
def test_files_of_other_kinds_are_refused_by_name_without_being_read(tmp_path, name, what) -> None:
    (tmp_path / name).touch()
    assert what in refusal(tmp_path / name, NotACheckpoint)


def test_a_torch_zip_is_not_taken_for_an_archive(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "weights")
    assert "PyTorch" in refusal(tmp_path / "weights", NotACheckpoint)


def test_a_saved_model_is_refused_in_all_its_parts(tmp_path) -> None:
    variables = tmp_path / "variables"
    shutil.copytree(other("savedmodel_snappy_half_plus_two"), variables)
    assert find(variables).name == "variables"  # plain tables, as long as nothing says SavedModel
    (tmp_path / "saved_model.pb").touch()
    for path in (tmp_path, variables, variables / "variables.index", variables / "variables"):
        assert "SavedModel" in refusal(path, NotACheckpoint)


def test_a_hugging_face_folder_is_refused(tmp_path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    assert "from_pretrained" in refusal(tmp_path, NotACheckpoint)


def test_a_graph_without_weights_is_refused(tmp_path) -> None:
    (tmp_path / "model.ckpt-40.meta").touch()
    assert "graph without weights" in refusal(tmp_path / "model.ckpt-40.meta", NotACheckpoint)
    assert "model.ckpt-40.index" in refusal(tmp_path, NotACheckpoint)


def test_data_without_an_index_is_refused(small) -> None:
    (small / "electra_tiny.index").unlink()
    message = refusal(small / "electra_tiny", NotACheckpoint)
    assert "no index" in message
    assert "electra_tiny.data-00000-of-00001" in message


@pytest.mark.parametrize("name", ["electra.zip", "electra.tar.gz", "electra", "electra.tar"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html><title>404</title>".ljust(600), "web page"),
        (b"", "empty file"),
    ],
)
def test_a_broken_download_is_named_whatever_it_is_called(tmp_path, name, content, what) -> None:
    (tmp_path / name).write_bytes(content)
    assert what in refusal(tmp_path / name, NotACheckpoint)


def test_any_other_file_is_refused_with_its_first_bytes(small) -> None:
    (small / "vocab.txt").write_text("[PAD]\n")
    assert "5b 50 41 44 5d 0a" in refusal(small / "vocab.txt", NotACheckpoint)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_or_a_device_is_refused_and_never_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "model.ckpt-40")
    os.mkfifo(tmp_path / "a.index")
    _link(tmp_path / "b.index", Path("/dev/zero"))
    for name in ("model.ckpt-40", "a", "a.index", "b", "b.index"):
        refusal(tmp_path / name)
    os.mkfifo(tmp_path / "checkpoint")
    refusal(tmp_path / "checkpoint")
    refusal(tmp_path)


def test_a_link_that_leads_nowhere_is_refused(tmp_path) -> None:
    _link(tmp_path / "model.ckpt-40", tmp_path / "gone")
    refusal(tmp_path / "model.ckpt-40")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_the_environments_fault(tmp_path) -> None:
    tmp_path.chmod(0)
    try:
        with pytest.raises(EnvironmentFailure):
            find(tmp_path)
    finally:
        tmp_path.chmod(0o700)


# Archives


@pytest.mark.parametrize("name", ["published.zip", "published.tar.gz"])
def test_an_archive_as_models_are_published_gives_its_checkpoint(name, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = google("no_meta")
    with find_source(folder / name) as found:
        source = found.source
        assert source.shown == f"{folder / name}:electra_tiny/electra_tiny"
        assert (source.name, source.format, source.meta) == ("electra_tiny", "V2", None)
        assert sorted(file.name for file in source.folder.iterdir()) == [
            "checkpoint",
            "electra_tiny.data-00000-of-00001",
            "electra_tiny.index",
            "vocab.txt",
        ]
        for file in source.folder.iterdir():
            assert file.read_bytes() == (folder / file.name).read_bytes()
    assert list(tmp_path.iterdir()) == []
    found.close()


def test_nothing_here_imports_numpy() -> None:
    code = "import sys; import electra_convert.tf1.sources; sys.exit('numpy' in sys.modules or 'rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _link(link: Path, target: Path) -> None:
    try:
        link.symlink_to(target)
    except OSError:
        pytest.skip("links cannot be made here")

"""Files and folders of other kinds, written by the libraries that make them."""

from __future__ import annotations

import pytest

from electra_convert.tf1.strangers import know_content, know_folder, know_members, know_name


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("tf_model.h5", "Keras"),
        ("MODEL.KERAS", "Keras"),
        ("pytorch_model.bin", "PyTorch"),
        ("pytorch_model-00001-of-00002.bin", "PyTorch"),
        ("electra.pt", "PyTorch"),
        ("electra.pth", "PyTorch"),
        ("model.safetensors", "safetensors"),
        ("events.out.tfevents.1583942400.host", "events"),
        ("saved_model.pb", "SavedModel"),
        ("graph.pbtxt", "graph"),
        ("frozen.pb", "graph"),
        ("model.onnx", "ONNX"),
        ("electra.7z", "archive"),
    ],
)
def test_a_file_is_known_by_its_name(name, what) -> None:
    stranger = know_name(name)
    assert stranger is not None
    assert what in stranger.what
    assert stranger.hint


@pytest.mark.parametrize(
    "name", ["model.ckpt-40", "electra_small", "export", "checkpoint", "weights.bin", "a.pth.ckpt"]
)
def test_names_that_a_checkpoint_may_have_are_not_refused(name) -> None:
    assert know_name(name) is None


def test_files_are_known_by_what_their_libraries_write_first(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    tensors = {"weight": torch.zeros(3)}
    torch.save(tensors, tmp_path / "old", _use_new_zipfile_serialization=False)
    safetensors.save_file(tensors, tmp_path / "safe")
    assert "PyTorch" in know_content((tmp_path / "old").read_bytes()[:64]).what
    assert "safetensors" in know_content((tmp_path / "safe").read_bytes()[:64]).what


def test_hdf5_is_known(tmp_path) -> None:
    h5py = pytest.importorskip("h5py")
    h5py.File(tmp_path / "weights", "w").close()
    assert "Keras" in know_content((tmp_path / "weights").read_bytes()[:64]).what


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "LFS"),
        (b"\n  <!DOCTYPE html><html>", "web page"),
        (b"\xef\xbb\xbf<HTML>", "web page"),
        (b"7z\xbc\xaf\x27\x1c", "archive"),
    ],
)
def test_broken_downloads_are_known(head, what) -> None:
    assert what in know_content(head).what


def test_a_real_index_is_no_stranger() -> None:
    from conftest import all_of, google

    for name in all_of("google"):
        for file in google(name).glob("*.index"):
            assert know_content(file.read_bytes()[:64]) is None


def test_folders_are_known_by_their_files() -> None:
    assert "SavedModel" in know_folder({"saved_model.pb", "fingerprint.pb"}).what
    assert "Hugging Face" in know_folder({"config.json", "model.safetensors"}).what
    assert "Hugging Face" in know_folder({"config.json", "pytorch_model.bin", "vocab.txt"}).what
    assert know_folder({"config.json", "vocab.txt"}) is None


def test_zip_files_of_other_frameworks_are_known(tmp_path) -> None:
    assert "PyTorch" in know_members({"archive/data.pkl", "archive/data/0", "archive/version"}).what
    assert "Keras" in know_members({"metadata.json", "config.json", "model.weights.h5"}).what
    assert know_members({"electra_tiny/checkpoint"}) is None

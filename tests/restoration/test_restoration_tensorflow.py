"""TensorFlow reads what comes back, and Google's programs start from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import all_of, google
from restored import exported, same

from electra_convert import open_checkpoint, restore


@pytest.fixture(scope="module")
def v1() -> Any:
    tensorflow = pytest.importorskip("tensorflow")
    tensorflow.compat.v1.disable_eager_execution()
    yield tensorflow.compat.v1
    tensorflow.compat.v1.enable_eager_execution()


@pytest.mark.parametrize("name", all_of("google"))
def test_tensorflow_reads_what_comes_back(v1: Any, name: str, tmp_path: Path) -> None:
    restore(exported(name, tmp_path / "hf"), tmp_path / "ckpt")
    prefix = v1.train.latest_checkpoint(str(tmp_path / "ckpt"))
    assert list(v1.train.get_checkpoint_state(str(tmp_path / "ckpt")).all_model_checkpoint_paths) == [prefix]
    listed = dict(v1.train.list_variables(str(tmp_path / "ckpt")))
    reader = v1.train.NewCheckpointReader(prefix)
    with open_checkpoint(tmp_path / "ckpt") as ours:
        assert listed == {variable.name: list(variable.shape) for variable in ours.variables.values()}
        for variable in ours.variables:
            assert same(np.asarray(reader.get_tensor(variable)), ours.read(variable)), variable


def graph_of(v1: Any, checkpoint: Path, slots: bool = False) -> list[Any]:
    """Build the variables that a checkpoint names, other values in them; trainable but slots and step."""
    variables = []
    for name, shape in v1.train.list_variables(str(checkpoint)):
        if name == "global_step":
            continue
        slot = name.endswith(("/adam_m", "/adam_v"))
        if not slot or slots:
            initial = v1.constant_initializer(9.0)
            variables.append(v1.get_variable(name, shape, v1.float32, initializer=initial, trainable=not slot))
    return variables


def get_assignment_map_from_checkpoint(v1: Any, variables: list[Any], checkpoint: str) -> dict[str, str]:
    """What google-research/electra's `model/modeling.py` has under this name."""
    names = {variable.name.removesuffix(":0") for variable in variables}
    return {name: name for name, _ in v1.train.list_variables(checkpoint) if name in names}


@pytest.mark.parametrize("name", ["default_small", "base_like", "masked_lm", "finetuned_classification"])
def test_fine_tuning_starts_from_it(v1: Any, name: str, tmp_path: Path) -> None:
    """`run_finetuning.py`: init_from_checkpoint on the folder, for variables of `electra`; heads are new."""
    restore(exported(name, tmp_path / "hf"), tmp_path / "ckpt")
    checkpoint = str(tmp_path / "ckpt")
    with v1.Graph().as_default(), v1.Session() as session:
        graph_of(v1, tmp_path / "ckpt")
        v1.get_variable("task_specific/mrpc/dense/kernel", [4, 2])
        tower = [variable for variable in v1.trainable_variables() if variable.name.startswith(("electra/", "task"))]
        v1.train.init_from_checkpoint(checkpoint, get_assignment_map_from_checkpoint(v1, tower, checkpoint))
        session.run(v1.global_variables_initializer())
        with open_checkpoint(google(name)) as original:
            loaded = [variable for variable in tower if variable.name.startswith("electra/")]
            assert len(loaded) >= 37
            for variable in loaded:
                assert same(session.run(variable), original.read(variable.name.removesuffix(":0")))


@pytest.mark.parametrize("slots", [False, True])
def test_pretraining_goes_on_from_it_with_slots(v1: Any, slots: bool, tmp_path: Path) -> None:
    """`run_pretraining.py`: a Saver restores all variables of the graph, Adam slots and step among them."""
    restore(exported("default_small", tmp_path / "hf"), tmp_path / "ckpt", slots=slots)
    with v1.Graph().as_default(), v1.Session() as session:
        weights = graph_of(v1, tmp_path / "ckpt")
        for variable in weights:
            for ending in ("adam_m", "adam_v"):
                v1.get_variable(f"{variable.name.removesuffix(':0')}/{ending}", variable.shape, trainable=False)
        step = v1.train.get_or_create_global_step()
        saver = v1.train.Saver()
        prefix = v1.train.latest_checkpoint(str(tmp_path / "ckpt"))
        if not slots:
            with pytest.raises(Exception, match="adam_m not found in checkpoint"):
                saver.restore(session, prefix)
            return
        saver.restore(session, prefix)
        assert session.run(step) == 40
        with open_checkpoint(google("default_small")) as original:
            for variable in v1.global_variables():
                name = variable.name.removesuffix(":0")
                zeros = np.zeros(variable.shape.as_list(), np.float32)
                assert same(session.run(variable), zeros if "/adam_" in name else original.read(name))


def test_sixteen_bits_are_a_warning_because_tensorflow_refuses_them(v1: Any, tmp_path: Path) -> None:
    hf = exported("dtype_float16", tmp_path / "hf")
    restoration = restore(hf, tmp_path / "half")
    assert [notice.code for notice in restoration.warnings] == ["google-dtype"]
    assert restore(hf, tmp_path / "float", dtype="float32").warnings == ()
    for folder, works in (("half", False), ("float", True)):
        with v1.Graph().as_default(), v1.Session() as session:
            v1.get_variable("electra/embeddings/word_embeddings", [300, 16])
            v1.train.init_from_checkpoint(str(tmp_path / folder), {"electra/embeddings/": "electra/embeddings/"})
            if works:
                session.run(v1.global_variables_initializer())
            else:
                with pytest.raises(Exception, match="does not equal original dtype"):
                    session.run(v1.global_variables_initializer())

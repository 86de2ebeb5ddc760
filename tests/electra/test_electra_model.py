"""The included PyTorch model: equal to Google's outputs, to transformers and to the NumPy reference; strict loading."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import google_networks as sets
import ml_dtypes
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import safetensors.torch  # noqa: E402

from electra_convert.electra import model as included  # noqa: E402
from electra_convert.electra import reference  # noqa: E402
from electra_convert.electra.battery import build_battery  # noqa: E402
from electra_convert.electra.config import ElectraConfig  # noqa: E402
from electra_convert.electra.model import Discriminator, Encoder, Generator, from_folder, from_tensors, run  # noqa: E402
from electra_convert.errors import FolderError, MappingError, SettingError  # noqa: E402

# torch would warn, once, of an array that it must not write to.
pytestmark = pytest.mark.filterwarnings("error:The given NumPy array is not writ")

WITH_PROJECTION = ElectraConfig(
    vocab_size=60,
    embedding_size=12,
    hidden_size=24,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=40,
    max_position_embeddings=30,
    type_vocab_size=3,
)
WITHOUT_PROJECTION = replace(WITH_PROJECTION, embedding_size=24)
CLASSES = {
    Discriminator: "ElectraForPreTraining",
    Generator: "ElectraForMaskedLM",
    Encoder: "ElectraModel",
}


def differences(ours, theirs) -> list[float]:
    """Return the largest difference of each hidden state, and last of the logits."""
    pairs = list(zip(ours.hidden_states, theirs.hidden_states, strict=True))
    if theirs.logits is not None:
        pairs.append((ours.logits, theirs.logits))
    assert all(this.shape == that.shape for this, that in pairs)
    return [float(np.abs(this - that).max()) for this, that in pairs]


def random_tensors(kind, config=WITH_PROJECTION, seed=0) -> dict[str, torch.Tensor]:
    """Return weights that are all random, biases and LayerNorms too, so that no swap goes unseen."""
    torch.manual_seed(seed)
    return {name: torch.randn(value.shape) * 0.5 for name, value in kind(config).state_dict().items()}


def write_folder(path: Path, kind, tensors, config=WITH_PROJECTION, **values) -> Path:
    fields = {**asdict(config), "model_type": "electra", "architectures": [CLASSES[kind]], **values}
    fields = {key: value for key, value in fields.items() if value is not ...}
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(fields))
    safetensors.torch.save_file(tensors, path / "model.safetensors", {"format": "pt"})
    return path


def transformers_model(kind, config, tensors):
    transformers = pytest.importorskip("transformers")
    settings = transformers.ElectraConfig(**asdict(config), attn_implementation="eager")
    theirs = getattr(transformers, CLASSES[kind])(settings).double().eval()
    report = theirs.load_state_dict({name: value.double() for name, value in tensors.items()}, strict=False)
    assert report.unexpected_keys == []
    assert report.missing_keys in ([], ["generator_lm_head.weight"])
    theirs.tie_weights()
    return theirs


# --- what it computes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sets.SETS)
def test_it_computes_what_google_computed(name):
    """Every half that can be exported, in float32 and float64."""
    for half, config in sets.halves(name).items():
        if half == "generator" and config.hidden_act != "gelu":
            continue
        inputs, states, logits = sets.golden(name, half)
        for dtype in ("float32", "float64"):
            model = from_tensors(config, sets.hugging_face(name, half), dtype=dtype)
            (outputs,) = run(model, [inputs])
            found = differences(outputs, reference.Outputs(tuple(states), logits if half != "encoder" else None))
            assert max(found) < 1e-5, (half, dtype, found)


@pytest.mark.parametrize("name", sets.SETS)
def test_it_computes_what_the_reference_computes(name):
    """To 1e-12 of scale in float64, for every layer: the two share no code, and go by different names."""
    for half, config in sets.halves(name).items():
        if half == "generator" and config.hidden_act != "gelu":
            continue
        sizes = (config.vocab_size, config.max_position_embeddings, config.type_vocab_size)
        battery = build_battery(*sizes, seed=1)
        theirs = reference.run(sets.network(name, half), sets.variables(name).__getitem__, battery)
        ours = run(from_tensors(config, sets.hugging_face(name, half), dtype="float64"), battery)
        for this, that in zip(ours, theirs, strict=True):
            scale = max(1.0, *(float(np.abs(state).max()) for state in that.hidden_states))
            assert max(differences(this, that)) < 1e-12 * scale


@pytest.mark.parametrize("config", [WITH_PROJECTION, WITHOUT_PROJECTION], ids=["E<H", "E=H"])
@pytest.mark.parametrize("kind", CLASSES)
def test_names_and_shapes_are_those_of_transformers(kind, config):
    """All but the generator's tied output matrix, which model.safetensors does not hold."""
    transformers = pytest.importorskip("transformers")
    theirs = getattr(transformers, CLASSES[kind])(transformers.ElectraConfig(**asdict(config))).state_dict()
    theirs.pop("generator_lm_head.weight", None)
    ours = kind(config).state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "tanh", "linear"])
@pytest.mark.parametrize("config", [WITH_PROJECTION, WITHOUT_PROJECTION], ids=["E<H", "E=H"])
@pytest.mark.parametrize("kind", CLASSES)
def test_it_computes_what_transformers_computes(kind, config, activation):
    """To 1e-12 in float64 with eager attention; the generator's head is gelu in both, whatever hidden_act says."""
    config = replace(config, hidden_act=activation)
    tensors = random_tensors(kind, config)
    theirs = transformers_model(kind, config, tensors)
    ours = from_tensors(config, tensors, kind, torch.float64)
    for batch in build_battery(60, 30, 3, seed=2):
        inputs = [torch.from_numpy(array.copy()) for array in (batch.input_ids, batch.input_mask, batch.segment_ids)]
        with torch.inference_mode():
            output, expected = ours(*inputs), theirs(*inputs, output_hidden_states=True)
        states = zip(output.hidden_states, expected.hidden_states, strict=True)
        assert max(float((this - that).abs().max()) for this, that in states) < 1e-12
        if kind is not Encoder:
            assert float((output.logits - expected.logits).abs().max()) < 1e-12


def test_a_row_without_a_real_token_attends_evenly_as_in_transformers():
    tensors = random_tensors(Discriminator)
    theirs = transformers_model(Discriminator, WITH_PROJECTION, tensors)
    ours = from_tensors(WITH_PROJECTION, tensors, dtype=torch.float64)
    ids, mask = torch.arange(20).reshape(2, 10), torch.zeros(2, 10, dtype=torch.long)
    with torch.inference_mode():
        assert float((ours(ids, mask).logits - theirs(ids, mask).logits).abs().max()) < 1e-12


def test_mask_and_segments_default_to_all_real_and_segment_0():
    model = from_tensors(WITH_PROJECTION, random_tensors(Discriminator))
    ids = torch.arange(20).reshape(2, 10)
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, model(ids, torch.ones_like(ids), torch.zeros_like(ids)).logits)


def test_the_output_matrix_is_the_word_embeddings():
    """One parameter: training it, or writing to it, changes both ends."""
    model = from_tensors(WITH_PROJECTION, random_tensors(Generator))
    ids = torch.tensor([[5, 6]])
    with torch.inference_mode():
        before = model(ids).logits
        model.electra.embeddings.word_embeddings.weight[40] += 1  # not among the inputs
        after = model(ids).logits
    assert (before != after).any(dim=(0, 1)).nonzero().flatten().tolist() == [40]


def test_gradients_reach_every_parameter():
    """It is an ordinary module: nothing is cut off or held as a buffer."""
    model = from_tensors(WITH_PROJECTION, random_tensors(Generator), dtype=torch.float64)
    model(torch.arange(10)[None]).logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", [Discriminator, Generator])
def test_it_runs_in_16_bits(kind, dtype):
    """Finite also where the mask meets scores below zero, which in float16 leaves no room under the lowest value."""
    tensors = random_tensors(kind)
    exact = run(from_tensors(WITH_PROJECTION, tensors, dtype="float64"), build_battery(60, 30, 3))
    found = run(from_tensors(WITH_PROJECTION, tensors, dtype=dtype), build_battery(60, 30, 3))
    for this, that in zip(found, exact, strict=True):
        scale = max(float(np.abs(that.logits).max()), *(float(np.abs(state).max()) for state in that.hidden_states))
        assert max(differences(this, that)) < {"float16": 0.05, "bfloat16": 0.3}[dtype] * scale


@pytest.mark.parametrize(
    "lie",
    [{"num_attention_heads": 2}, {"num_attention_heads": 8}, {"layer_norm_eps": 1e-5}, {"hidden_act": "gelu_new"}],
    ids=str,
)
def test_a_wrong_setting_loads_and_shows(lie):
    """None of them changes a shape, so only the outputs tell."""
    tensors = random_tensors(Discriminator)
    battery = build_battery(60, 30, 3)
    right = run(from_tensors(WITH_PROJECTION, tensors, dtype="float64"), battery)
    wrong = run(from_tensors(replace(WITH_PROJECTION, **lie), tensors, dtype="float64"), battery)
    assert max(max(differences(this, that)) for this, that in zip(wrong, right, strict=True)) > 1e-6


@pytest.mark.parametrize("inputs", [torch.tensor([[60]]), torch.zeros(1, 31, dtype=torch.long)], ids=["id", "length"])
def test_an_id_or_a_length_beyond_its_table_is_an_index_error(inputs):
    with pytest.raises(IndexError):
        from_tensors(WITH_PROJECTION, random_tensors(Discriminator))(inputs)


def test_settings_that_make_no_network_are_refused():
    with pytest.raises(SettingError, match="divided"):
        Discriminator(replace(WITH_PROJECTION, num_attention_heads=5))
    with pytest.raises(SettingError, match="swish"):
        Discriminator(replace(WITH_PROJECTION, hidden_act="swish"))


# --- from_tensors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLASSES)
def test_the_class_follows_from_the_names(kind):
    tensors = random_tensors(kind)
    model = from_tensors(WITH_PROJECTION, tensors)
    assert type(model) is kind
    assert not model.training
    assert all(torch.equal(value, tensors[name]) for name, value in model.state_dict().items())


def test_numpy_arrays_are_taken_as_they_are():
    """Also read-only ones, and ml_dtypes' bfloat16: what the readers of this package give."""
    tensors = {name: value.bfloat16().float() for name, value in random_tensors(Discriminator).items()}
    arrays = {name: value.numpy().astype(ml_dtypes.bfloat16) for name, value in tensors.items()}
    for array in arrays.values():
        array.flags.writeable = False
    model = from_tensors(WITH_PROJECTION, arrays)
    assert all(torch.equal(value, tensors[name]) for name, value in model.state_dict().items())


def test_weights_are_copies():
    """What they came from, a mapped file say, may change or go away."""
    tensors = random_tensors(Discriminator)
    model = from_tensors(WITH_PROJECTION, tensors)
    expected = {name: value.clone() for name, value in tensors.items()}
    for value in tensors.values():
        value.zero_()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", CLASSES)
def test_every_tensor_is_needed(kind):
    """Nothing is made up: each one left out is named."""
    tensors = random_tensors(kind)
    for name in tensors:
        rest = {other: value for other, value in tensors.items() if other != name}
        with pytest.raises(MappingError) as caught:
            from_tensors(WITH_PROJECTION, rest, kind)
        assert caught.value.facts == {"missing": [name]}


def test_nothing_is_left_over():
    tensors = random_tensors(Discriminator)
    for name in ("generator_lm_head.bias", "electra.encoder.layer.3.output.dense.bias", "lm_head.weight"):
        with pytest.raises(MappingError) as caught:
            from_tensors(WITH_PROJECTION, {**tensors, name: torch.zeros(60)}, Discriminator)
        assert caught.value.facts == {"unexpected": [name]}


@pytest.mark.parametrize(
    ("value", "described"),
    [
        (torch.zeros(40, 24).T, "float32 [24, 40], expected [40, 24]"),
        (torch.zeros(40, 24, dtype=torch.int8), "int8 [40, 24], expected [40, 24]"),
        (torch.zeros(1, 40, 24), "float32 [1, 40, 24], expected [40, 24]"),
    ],
)
def test_every_tensor_has_the_shape_that_the_config_implies(value, described):
    name = "electra.encoder.layer.1.intermediate.dense.weight"
    with pytest.raises(MappingError) as caught:
        from_tensors(WITH_PROJECTION, {**random_tensors(Generator), name: value})
    assert caught.value.facts == {"differing": [f"{name}: {described}"]}


def test_a_projection_is_wanted_exactly_where_the_widths_differ():
    with pytest.raises(MappingError, match=r"missing .*embeddings_project"):
        from_tensors(replace(WITHOUT_PROJECTION, embedding_size=12), random_tensors(Generator, WITHOUT_PROJECTION))
    with pytest.raises(MappingError, match=r"unexpected .*embeddings_project"):
        from_tensors(WITHOUT_PROJECTION, random_tensors(Discriminator, WITH_PROJECTION))


def test_the_old_spelling_of_layer_norm_is_read():
    """transformers 5.0.0 writes it."""
    tensors = random_tensors(Discriminator)
    endings = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    old = dict(tensors)
    for name in tensors:
        for new, ending in endings.items():
            if name.endswith(new):
                old[name.removesuffix(new) + ending] = old.pop(name)
    model = from_tensors(WITH_PROJECTION, old)
    assert all(torch.equal(value, tensors[name]) for name, value in model.state_dict().items())
    both = {**tensors, "electra.embeddings.LayerNorm.gamma": tensors["electra.embeddings.LayerNorm.weight"]}
    with pytest.raises(MappingError, match="unexpected"):
        from_tensors(WITH_PROJECTION, both)


def test_a_stored_output_matrix_must_be_the_word_embeddings():
    """Bit for bit: transformers 5 would keep one that differs, and compute something else."""
    tensors = random_tensors(Generator)
    words = tensors["electra.embeddings.word_embeddings.weight"]
    from_tensors(WITH_PROJECTION, {**tensors, "generator_lm_head.weight": words.clone()})
    other = words.clone()
    other[59, 11] = torch.nextafter(other[59, 11], torch.tensor(torch.inf))
    for value in (other, words.double(), words[:-1], words.view(torch.int32)):
        with pytest.raises(MappingError, match=r"unexpected .*generator_lm_head.weight"):
            from_tensors(WITH_PROJECTION, {**tensors, "generator_lm_head.weight": value})


def test_stored_position_ids_must_count_from_0():
    """A buffer in files of old versions of transformers, Google's own uploads among them."""
    tensors, name = random_tensors(Discriminator), "electra.embeddings.position_ids"
    from_tensors(WITH_PROJECTION, {**tensors, name: torch.arange(30)[None]})
    with pytest.raises(MappingError, match=r"unexpected .*position_ids"):
        from_tensors(WITH_PROJECTION, {**tensors, name: torch.arange(1, 31)[None]})


def test_a_bare_encoder_may_have_the_prefix():
    tensors = random_tensors(Encoder)
    model = from_tensors(WITH_PROJECTION, {f"electra.{name}": value for name, value in tensors.items()}, Encoder)
    assert all(torch.equal(value, tensors[name]) for name, value in model.state_dict().items())


# --- from_folder --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("silent", [False, True], ids=["architectures", "names"])
@pytest.mark.parametrize("kind", CLASSES)
def test_a_folder_is_loaded_as_what_it_is(tmp_path, kind, silent):
    tensors = random_tensors(kind)
    folder = write_folder(tmp_path, kind, tensors, architectures=... if silent else [CLASSES[kind]])
    model = from_folder(folder)
    assert type(model) is kind
    assert all(torch.equal(value, tensors[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", CLASSES)
def test_a_folder_that_transformers_wrote_is_loaded(tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    theirs = getattr(transformers, CLASSES[kind])(transformers.ElectraConfig(**asdict(WITHOUT_PROJECTION)))
    theirs.save_pretrained(tmp_path)
    ours = from_folder(tmp_path, "float64").state_dict()
    assert all(torch.equal(value, theirs.state_dict()[name].double()) for name, value in ours.items())


def test_transformers_loads_what_the_model_holds(tmp_path):
    """`state_dict` is what model.safetensors holds: nothing missing, nothing unexpected."""
    transformers = pytest.importorskip("transformers")
    for kind in CLASSES:
        model = from_tensors(WITH_PROJECTION, random_tensors(kind))
        write_folder(tmp_path, kind, model.state_dict())
        _, info = getattr(transformers, CLASSES[kind]).from_pretrained(tmp_path, output_loading_info=True)
        assert not any(info.values()), info


def test_weights_may_be_a_pickle_of_tensors(tmp_path):
    tensors = random_tensors(Generator)
    tensors["generator_lm_head.weight"] = tensors["electra.embeddings.word_embeddings.weight"]
    write_folder(tmp_path, Generator, {"x": torch.zeros(1)})
    (tmp_path / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    model = from_folder(tmp_path)
    assert all(torch.equal(value, tensors[name]) for name, value in model.state_dict().items())


class Trap:
    """A pickle that would run code when it is loaded."""

    def __reduce__(self):
        return pytest.fail, ("code from a file was run",)


@pytest.mark.parametrize("content", [{"x": Trap()}, {"x": 1}, [torch.zeros(1)]], ids=["code", "number", "list"])
def test_a_pickle_of_anything_else_is_refused(tmp_path, content):
    write_folder(tmp_path, Generator, {"x": torch.zeros(1)})
    (tmp_path / "model.safetensors").unlink()
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(FolderError, match="not a file of tensors"):
        from_folder(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("size", [0, 1, 8, 100, -1])
def test_a_file_that_was_cut_is_refused(tmp_path, name, size):
    tensors = random_tensors(Discriminator)
    write_folder(tmp_path, Discriminator, tensors)
    if name == "pytorch_model.bin":
        (tmp_path / "model.safetensors").unlink()
        torch.save(tensors, tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:size])
    with pytest.raises(FolderError) as caught:
        from_folder(tmp_path)
    assert name in caught.value.where


def test_a_folder_without_weights_or_config_is_refused(tmp_path):
    with pytest.raises(FolderError, match=r"config\.json"):
        from_folder(tmp_path)
    write_folder(tmp_path, Discriminator, random_tensors(Discriminator))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FolderError, match="no weights"):
        from_folder(tmp_path)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"architectures": ["ElectraForMultipleChoice"]}, "ElectraForMultipleChoice"),
        ({"model_type": "bert"}, "model_type"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"is_decoder": True}, "is_decoder"),
        ({"num_attention_heads": ...}, "num_attention_heads"),
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"hidden_size": 24.0}, "hidden_size"),
        ({"vocab_size": True}, "vocab_size"),
        ({"layer_norm_eps": None}, "layer_norm_eps"),
        ({"layer_norm_eps": "1e-12"}, "layer_norm_eps"),
        ({"hidden_act": None}, "hidden_act"),
    ],
    ids=str,
)
def test_a_config_that_this_model_does_not_compute_is_refused(tmp_path, values, named):
    folder = write_folder(tmp_path, Discriminator, random_tensors(Discriminator), **values)
    with pytest.raises(FolderError, match=named):
        from_folder(folder)


@pytest.mark.parametrize("text", ["", "[]", "null", '"x"', '{"a": ', "[" * 100_000], ids=range(6))
def test_a_config_that_is_no_config_is_refused(tmp_path, text):
    (write_folder(tmp_path, Discriminator, random_tensors(Discriminator)) / "config.json").write_text(text)
    with pytest.raises(FolderError):
        from_folder(tmp_path)


def test_what_a_config_leaves_out_is_what_transformers_takes(tmp_path):
    """Only settings that have one sensible value: sizes and heads are refused above."""
    transformers = pytest.importorskip("transformers")
    left_out = ["hidden_act", "layer_norm_eps", "hidden_dropout_prob", "attention_probs_dropout_prob"]
    left_out.append("initializer_range")
    theirs = transformers.ElectraConfig()
    folder = write_folder(tmp_path, Discriminator, random_tensors(Discriminator), **dict.fromkeys(left_out, ...))
    config = included.read_folder(folder).config
    assert [getattr(config, name) for name in left_out] == [getattr(theirs, name) for name in left_out]


def test_an_untied_output_matrix_must_be_stored(tmp_path):
    """With tie_word_embeddings false and none stored, transformers makes one up at random."""
    tensors = random_tensors(Generator)
    with pytest.raises(FolderError, match="tie_word_embeddings"):
        from_folder(write_folder(tmp_path, Generator, tensors, tie_word_embeddings=False))
    tensors["generator_lm_head.weight"] = tensors["electra.embeddings.word_embeddings.weight"].clone()
    from_folder(write_folder(tmp_path, Generator, tensors, tie_word_embeddings=False))


def test_a_generators_folder_called_a_discriminator_is_refused(tmp_path):
    folder = write_folder(tmp_path, Discriminator, random_tensors(Generator))
    with pytest.raises(MappingError) as caught:
        from_folder(folder)
    assert set(caught.value.facts) == {"where", "missing", "unexpected"}

"""The verifier is lied to: every fault of `mutants.py` is caught, by the rung that must catch it, and is named.

Each fault is written to a folder and proven as any folder is. Only what stays the same for all of them is computed
once: the answers of reference.py.
"""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutants
import numpy as np
import pytest
from conftest import all_of, google
from head_mutants import head_mutants
from mutants import CONFIG, KEY_BIAS, NEVER_READ, NO_OUTPUT, ROUNDED_EXPORT, SAME_FUNCTION, WEIGHTS, Folder, Mutant

from electra_convert import convert, open_checkpoint, verify
from electra_convert.electra import heads, reference
from electra_convert.electra.battery import Batch, Outputs, build_battery
from electra_convert.electra.layout import SLOT_ENDINGS
from electra_convert.electra.mapping import HalfName
from electra_convert.errors import InputError
from electra_convert.examination import Examination, examine
from electra_convert.parity import HalfParity, prove
from electra_convert.proof import Proof
from electra_convert.recognition import find_halves, find_task
from electra_convert.tf1.checkpoint import Checkpoint

torch = pytest.importorskip("torch")

FAMILIES = (
    "flipped",
    "swapped",
    "layers_mixed",
    "nudged",
    "values_changed",
    "dropped",
    "misshapen",
    "rounded",
    "added",
    "same_functions",
    "from_elsewhere",
    "never_read",
    "config_mutants",
    "file_mutants",
)

# One head and six, projected and not, embeddings of the other tower and its own; the last without the original graph.
THOROUGH = (("default_small", "discriminator"), ("odd_heads", "discriminator"))
BRIEF = (
    ("untied_embeddings", "generator"),
    ("default_small", "generator"),
    ("base_like", "discriminator"),
    ("v1_format", "discriminator"),
)
# Every kind of task.
TASKS = ("finetuned_classification", "finetuned_regression", "finetuned_tagging", "finetuned_qa_independent")
HEAD_PARTS = {row.part for row in heads.ROWS}

IN_BRIEF = {
    "untied_embeddings": {"flipped", "layers_mixed", "added", "from_elsewhere", "nudged"},
    "default_small": {"flipped", "layers_mixed"},
    "base_like": {"flipped", "layers_mixed"},
    "v1_format": {"config_mutants"},
}


def cases() -> list[Any]:
    """Return every subject with every family; what takes long is left to the sweep."""
    listed: list[Any] = [(*subject, family) for subject in THOROUGH for family in FAMILIES]
    for subject in BRIEF:
        for family in FAMILIES:
            marks = [] if family in IN_BRIEF[subject[0]] else [pytest.mark.sweep]
            listed.append(pytest.param(*subject, family, marks=marks))
    return listed


@dataclass(frozen=True, slots=True)
class Subject:
    """A right conversion, and all the wrong ones made of it, by family."""

    half: HalfName
    source: Checkpoint
    examination: Examination
    folder: Folder
    families: dict[str, list[Mutant]]


@functools.cache
def subject(name: str, half: HalfName) -> Subject:
    from safetensors.numpy import load_file

    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "out"
        convert(google(name), out, export=half, verify=False)
        files = {path.name: path.read_bytes() for path in out.iterdir() if path.name not in {WEIGHTS, CONFIG}}
        folder = Folder(load_file(out / WEIGHTS), json.loads((out / CONFIG).read_text()), files)
    source = open_checkpoint(google(name))
    examination = examine(source)
    if half == "task":
        examination = examination.with_task(examination.task(None))
    own = examination.layout.half(half)
    # A head that is made of several variables has faults of its own.
    plain = tuple(move for move in own.moves if half != "task" or move.row.part not in HEAD_PARTS)
    families = {family: list(getattr(mutants, family)(plain)) for family in FAMILIES[:9]}
    if own.task:
        families["heads"] = list(head_mutants(own.task.kind, own.task.labels, folder.config))
    families |= {
        "same_functions": list(
            mutants.same_functions(own.moves, dict(own.letters), folder.config["num_attention_heads"])
        ),
        "from_elsewhere": list(mutants.from_elsewhere(own.moves, elsewhere(source, examination, half))),
        "never_read": list(mutants.never_read(own.moves, unread_words(own.letters) if half == "discriminator" else [])),
        "config_mutants": list(mutants.config_mutants(folder.config, half, examination.graph is not None)),
        "file_mutants": list(mutants.file_mutants()),
    }
    return Subject(half, source, examination, folder, families)


def elsewhere(source: Checkpoint, examination: Examination, half: HalfName) -> dict[str, dict[str, np.ndarray]]:
    """Return what could be taken for a tensor: the other half's variable, and the optimizer's slots of its own."""
    own = {move.variable for move in examination.layout.half(half).moves}
    found: dict[str, dict[str, np.ndarray]] = {}
    if half == "task":
        return found
    for move in [move for each in examination.layout.halves.values() for move in each.moves]:
        names = [move.variable + slot for slot in SLOT_ENDINGS] if move.variable in own else [move.variable]
        for name in names:
            if name in source.variables:
                found.setdefault(move.tensor, {})[name] = move.operation.apply(source.read(name))
    return found


def unread_words(letters: Any) -> list[int]:
    battery = build_battery(letters["V"], letters["P"], letters["T"])
    read = {int(number) for batch in battery for number in batch.input_ids.flat}
    return [word for word in range(letters["V"]) if word not in read][:1]


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Run reference.py once for each network and type of weights, and torch without threads: the nets are small."""
    answers: dict[Any, list[Outputs]] = {}
    run = reference.run

    def remembering(
        network: reference.Network, variable: Any, batches: Sequence[Batch], dtype: Any = np.float64
    ) -> list[Outputs]:
        stored = variable(f"{network.body}/encoder/layer_0/output/dense/bias")
        inputs = tuple(batch.input_ids.tobytes() + batch.input_mask.tobytes() for batch in batches)
        key = (network, stored.tobytes(), stored.dtype.name, inputs, np.dtype(dtype))
        if key not in answers:
            answers[key] = run(network, variable, batches, dtype)
        return answers[key]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "run", remembering)
        yield
    torch.set_num_threads(threads)


VERDICTS: dict[tuple[str, str, str], HalfParity | InputError] = {}


def verdict(name: str, half: HalfName, mutant: Mutant, folder: Path) -> HalfParity | InputError:
    """Return the verdict on a mutant, or its refusal."""
    key = (name, half, mutant.name)
    if key not in VERDICTS:
        mutant.of(subject(name, half).folder).write(folder)
        try:
            VERDICTS[key] = judge(subject(name, half), folder)
        except InputError as error:
            VERDICTS[key] = error
        shutil.rmtree(folder)
    return VERDICTS[key]


def judge(whose: Subject, folder: Path) -> HalfParity:
    ((half, path),) = find_halves(folder).items()
    examination = whose.examination
    if half == "task":
        examination = examination.with_task(find_task(examination, path))
    return prove(whose.source, examination, half, path, shown=folder.name)


def faults_of(result: HalfParity | InputError, mutant: Mutant) -> list[str]:
    """Return what is wrong with a verdict on a mutant; nothing where it was caught as it must be."""
    if isinstance(result, InputError):
        refused = mutant.rung == "refused" and result.exit_code == 3 and mutant.named in str(result)
        return [] if refused else [f"refused: {result}"]
    rungs = {rung_of(check) for check in result.failed}
    told = " ".join([*(f"{check.name}: {check.reason}" for check in result.failed), *result.explanations])
    faults = [] if not result.passed else ["passed"]
    faults += [] if mutant.rung in rungs else [f"caught by {rungs or 'no rung'}, not by {mutant.rung}"]
    faults += [f"not told: {text}" for text in (mutant.named,) if text not in told]
    faults += [f"not explained: {mutant.explained}"] if mutant.explained not in " ".join(result.explanations) else []
    if seen(result) == bool(mutant.unseen):
        faults.append(f"forward passes {'see' if seen(result) else 'do not see'} it")
    return faults


def rung_of(check: Any) -> str:
    return "files" if check.name == "files" else str(check.rung)


def seen(result: HalfParity) -> bool:
    """Return whether it shows without comparing bytes and without a record: in the structure or in a forward pass."""
    return any(rung_of(check) not in {"files", "bytes"} for check in result.failed)


@pytest.mark.parametrize(("name", "half", "family"), cases())
def test_every_fault_is_caught_and_named(name: str, half: HalfName, family: str, tmp_path: Path) -> None:
    """By the rung that must catch it, with the tensor, layer or field in the words of a check or an explanation."""
    wrong = {}
    for mutant in subject(name, half).families[family]:
        faults = faults_of(verdict(name, half, mutant, tmp_path / "mutant"), mutant)
        if faults:
            wrong[mutant.name] = faults
    assert wrong == {}


@pytest.mark.parametrize("name", TASKS)
def test_every_fault_of_a_head_is_caught_and_named(name: str, tmp_path: Path) -> None:
    """By the rung that must catch it, told as what it is: a sign, an order of labels, an end of an answer."""
    test_every_fault_is_caught_and_named(name, "task", "heads", tmp_path)
    assert len(subject(name, "task").families["heads"]) >= 17


@pytest.mark.parametrize("family", ["flipped", "swapped", "dropped", "config_mutants", "file_mutants"])
def test_every_fault_of_the_tower_below_a_task_is_caught_and_named(family: str, tmp_path: Path) -> None:
    test_every_fault_is_caught_and_named("finetuned_tagging", "task", family, tmp_path)


@pytest.mark.parametrize(("name", "half"), THOROUGH)
def test_there_are_hundreds_of_faults_and_each_has_a_name_of_its_own(name: str, half: HalfName) -> None:
    names = [mutant.name for family in subject(name, half).families.values() for mutant in family]
    assert len(set(names)) == len(names) >= 200


@pytest.mark.parametrize(("name", "half"), [*THOROUGH, *BRIEF, *((name, "task") for name in TASKS)])
def test_the_right_conversion_is_none_of_them(name: str, half: HalfName, tmp_path: Path) -> None:
    """What the mutants are made of passes, written as they are written."""
    result = verdict(name, half, Mutant("none", lambda folder: None, "", ""), tmp_path / "right")
    assert isinstance(result, HalfParity)
    # The files differ in nothing but the spaces of config.json and the order of the tensors.
    assert {rung_of(check) for check in result.failed} <= {"files"}


# What no forward pass sees of odd_heads, and why; everything else of its mutants is seen.
QUERY, KEY = "electra.encoder.layer.0.attention.self.query", "electra.encoder.layer.0.attention.self.key"
UNSEEN = {
    f"one unit in the last place of {KEY}.bias": KEY_BIAS,
    f"zeros for {KEY}.bias": KEY_BIAS,
    f"negated {KEY}.bias": KEY_BIAS,
    f"{KEY}.bias rounded to float16": KEY_BIAS,
    f"{KEY}.bias rounded to bfloat16": KEY_BIAS,
    "electra/encoder/layer_0/attention/self/key/bias/adam_m for " + KEY + ".bias": KEY_BIAS,
    "electra/encoder/layer_0/attention/self/key/bias/adam_v for " + KEY + ".bias": KEY_BIAS,
    "key bias changed": KEY_BIAS,
    "word 5 doubled": NEVER_READ,
    "neurons in another order": SAME_FUNCTION,
    "heads in another order": SAME_FUNCTION,
    "queries doubled, keys halved": SAME_FUNCTION,
    "all stored as float16": ROUNDED_EXPORT,
    "all stored as bfloat16": ROUNDED_EXPORT,
    "hidden_dropout_prob 0.37": NO_OUTPUT,
    "attention_probs_dropout_prob 0.37": NO_OUTPUT,
    "initializer_range 0.37": NO_OUTPUT,
    "pad_token_id 1": NO_OUTPUT,
    "vocab.txt changed": NO_OUTPUT,
    "vocab.txt left out": NO_OUTPUT,
    "tokenizer.json changed": NO_OUTPUT,
    "tokenizer.json left out": NO_OUTPUT,
    "tokenizer_config.json changed": NO_OUTPUT,
    "tokenizer_config.json left out": NO_OUTPUT,
    "special_tokens_map.json changed": NO_OUTPUT,
    "special_tokens_map.json left out": NO_OUTPUT,
}


def test_forward_passes_alone_miss_exactly_these(tmp_path: Path) -> None:
    """Without the bytes and the record the structure and the forward passes catch everything but what is listed."""
    missed = {}
    for family in subject("odd_heads", "discriminator").families.values():
        for mutant in family:
            result = verdict("odd_heads", "discriminator", mutant, tmp_path / "mutant")
            if isinstance(result, HalfParity) and not seen(result):
                missed[mutant.name] = mutant.unseen
    assert missed == UNSEEN


@pytest.mark.parametrize("family", ["same_functions", "layers_mixed", "nudged", "swapped"])
def test_the_forward_rungs_do_not_lean_on_the_bytes(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the second rung taken out, and no record in the folder, the others say what they said with it."""
    name, half = THOROUGH[1]
    whole = {
        mutant.name: verdict(name, half, mutant, tmp_path / "m") for mutant in subject(name, half).families[family]
    }
    monkeypatch.setattr(Proof, "_bytes", lambda proof: None)
    for mutant in subject(name, half).families[family]:
        changed = mutant.of(subject(name, half).folder)
        del changed.files["conversion.json"]
        changed.write(tmp_path / mutant.name.replace("/", "_"))
        alone = judge(subject(name, half), tmp_path / mutant.name.replace("/", "_"))
        assert {check.rung for check in alone.checks} == {"structure", "float64", "float32"}
        assert alone.passed == bool(mutant.unseen)
        before = whole[mutant.name]
        assert isinstance(before, HalfParity)
        assert list(alone.failed) == [c for c in before.failed if rung_of(c) not in {"files", "bytes"}]


# --- settings that no shape shows: the graph alone must see them ------------------------------------------------------


def with_graph() -> list[Any]:
    """Return every set that may have a graph, with each half; those outside of fixtures/ are skipped where absent."""
    here = {"default_small", "odd_heads"}
    sets = [name for name in all_of("google") if not name.startswith("finetuned_")]
    return [
        pytest.param(name, half, marks=[] if name in here else [pytest.mark.sweep])
        for name in sets
        for half in ("discriminator", "generator")
    ]


def wrong_settings(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    for other in (heads * 2, heads // 2, hidden):
        if other not in {0, heads} and hidden % other == 0:
            yield "num_attention_heads", other
    for activation in ("gelu", "relu", "tanh", "linear", "gelu_new"):
        if activation != config["hidden_act"]:
            yield "hidden_act", activation
    for epsilon in (1e-5, 1e-6, 1e-7):
        yield "layer_norm_eps", epsilon


SAID = {"num_attention_heads": "{} attention heads", "hidden_act": "activation {}", "layer_norm_eps": "epsilon {:g}"}


@pytest.mark.parametrize(("name", "half"), with_graph())
def test_the_graph_alone_sees_a_wrong_setting(name: str, half: HalfName, tmp_path: Path) -> None:
    """Where reference.py is told the same wrong value and agrees with the model, and no record is there to differ."""
    folder = google(name)
    if not list(folder.glob("*.meta")):
        pytest.skip(f"{name} has no graph here")
    out = tmp_path / "out"
    try:
        convert(folder, out, export=half, verify=False)
    except InputError as refusal:
        pytest.skip(refusal.message)
    (out / "conversion.json").unlink()
    right = json.loads((out / CONFIG).read_text())
    assert verify(folder, out).passed
    for key, value in wrong_settings(right):
        (out / CONFIG).write_text(json.dumps({**right, key: value}))
        parity = verify(folder, out)
        failed = {(check.rung, check.against) for check in parity.checks if not check.passed}
        assert ("float64", "graph") in failed
        assert ("bytes", "the checkpoint") not in failed
        known = value in reference.ACTIVATIONS or key != "hidden_act"
        told = SAID[key].format(right[key]) + (" would fit the graph" if known else "")
        assert any(told in text and f"config.json says {value}" in text for text in parity.halves[0].explanations)
        if known and not (half == "generator" and key == "hidden_act"):
            # The generator's head is always gelu in transformers, and in the model that stands for it.
            assert failed == {("float64", "graph")}
        (alone,) = verify(folder, out, reference="graph").halves
        assert {check.against for check in alone.failed if check.rung == "float64"} == {"graph"}


# --- a model that computes something else -----------------------------------------------------------------------------


def ignore_mask(patch: pytest.MonkeyPatch) -> None:
    from electra_convert.electra.tower import SelfAttention

    forward = SelfAttention.forward
    patch.setattr(SelfAttention, "forward", lambda self, x, padding: forward(self, x, torch.zeros_like(padding)))


def ignore_segments(patch: pytest.MonkeyPatch) -> None:
    from electra_convert.electra.tower import Embeddings

    forward = Embeddings.forward
    patch.setattr(Embeddings, "forward", lambda self, ids, types: forward(self, ids, torch.zeros_like(types)))


def forget_the_scale(patch: pytest.MonkeyPatch) -> None:
    from electra_convert.electra import tower

    patch.setattr(tower.math, "sqrt", lambda number: 1.0)


def drop_the_residual(patch: pytest.MonkeyPatch) -> None:
    from electra_convert.electra.tower import AddAndNormalize

    patch.setattr(AddAndNormalize, "forward", lambda self, x, residual: self.LayerNorm(self.dense(x)))


def approximate_gelu(patch: pytest.MonkeyPatch) -> None:
    from electra_convert.electra import tower

    patch.setitem(tower.ACTIVATIONS, "gelu", tower.ACTIVATIONS["gelu_new"])


def use_torch_epsilon(patch: pytest.MonkeyPatch) -> None:
    norm = torch.nn.LayerNorm
    patch.setattr(torch.nn, "LayerNorm", lambda width, eps: norm(width))


def zero_the_padding_word(patch: pytest.MonkeyPatch) -> None:
    from electra_convert.electra.tower import Embeddings

    forward = Embeddings.forward

    def padded(self: Any, ids: Any, types: Any) -> Any:
        with torch.no_grad():
            self.word_embeddings.weight[0] = 0
        return forward(self, ids, types)

    patch.setattr(Embeddings, "forward", padded)


def return_nan(patch: pytest.MonkeyPatch) -> None:
    from electra_convert.electra.model import DiscriminatorHead

    forward = DiscriminatorHead.forward
    patch.setattr(DiscriminatorHead, "forward", lambda self, x: forward(self, x) * torch.nan)


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (ignore_mask, "layer 0"),
        (ignore_segments, "embeddings"),
        (forget_the_scale, "layer 0"),
        (drop_the_residual, "layer 0"),
        (approximate_gelu, "layer 0"),
        (use_torch_epsilon, "embeddings"),
        (zero_the_padding_word, "embeddings"),
        (return_nan, "logits"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("name", ["default_small", "odd_heads"])
def test_a_model_that_computes_something_else_is_caught(
    name: str, fault: Any, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tensor is right then: the first state that differs is named, in the rungs that run the model."""
    whole = subject(name, "discriminator")
    whole.folder.write(tmp_path / "out")
    fault(monkeypatch)
    result = judge(whole, tmp_path / "out")
    forward = [check for check in result.failed if check.rung != "structure"]
    assert "bytes" not in {check.rung for check in forward}
    assert {"graph", "reference.py"} <= {check.against for check in forward}
    assert forward[0].name == state
    assert not any(check.name.startswith("reference.py") for check in forward)
    (told,) = result.explanations
    assert told.startswith(f"every tensor is right, but {state} already differs in float64")


def test_an_output_that_is_not_finite_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = subject("odd_heads", "discriminator")
    whole.folder.write(tmp_path / "out")
    return_nan(monkeypatch)
    failed = [check for check in judge(whole, tmp_path / "out").failed if check.rung != "structure"]
    assert {(check.name, check.found, check.reason) for check in failed} == {
        ("logits", "not finite", "an output is NaN or infinite")
    }

"""Results read as drawn: aligned by hand, never cut, whatever came from input escaped."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from electra_convert.conversion import Conversion
from electra_convert.electra.config import Origin
from electra_convert.electra.task_kinds import Task
from electra_convert.examination import CheckpointSummary
from electra_convert.inspection import HalfView, Inspection, VariableView, VocabularyView
from electra_convert.notices import note, warning
from electra_convert.planning import LeftOut
from electra_convert.report.text import conversion_lines, inspection_lines, size, source_lines, variable_lines
from electra_convert.tasks import TaskPlan
from electra_convert.verification import Verification
from electra_convert.writing import HalfExport

CHECKPOINT = CheckpointSummary(
    path="ckpt/",
    prefix="ckpt/model.ckpt-1000000",
    name="model.ckpt-1000000",
    format="V2",
    shards=1,
    step=1000000,
    step_source="global_step",
    nbytes=170_393_600,
    trained_length=128,
)
CONFIG = {
    "vocab_size": 30522,
    "embedding_size": 128,
    "hidden_size": 256,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "max_position_embeddings": 512,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}
SOURCES = {key: Origin("shape", "electra/embeddings/word_embeddings") for key in CONFIG} | {
    "num_attention_heads": Origin("graph", "electra/encoder/layer_0/attention/self/Reshape"),
    "hidden_act": Origin("flag", "--hidden-act"),
    "layer_norm_eps": Origin("rule", "the only epsilon in Google's code"),
}
SMALL = {**CONFIG, "hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1}


A_REFUSAL = "no generator can be exported: its activation is relu"
A_PROOF = Verification(
    "proven",
    "in a long paragraph",
    references=("the original graph", "reference.py"),
    figures={"float64": 1e-14, "float32": 1e-6},
    seed=0,
)


def a_half(half="discriminator", folder="out", state="proven", **changes):
    fields = {
        "half": half,
        "folder": folder,
        "tensors": 203,
        "parameters": 13_549_057,
        "dtype": "float32",
        "nbytes": 54_211_072,
        "files": (("config.json", 700), ("model.safetensors", 54_211_072), ("vocab.txt", 231_508)),
        "config": CONFIG,
        "sources": SOURCES,
        "checked": "203 of 203 tensors read back bit for bit",
        "verification": A_PROOF if state == "proven" else Verification(state, "in a long paragraph"),
    }
    return HalfExport(**{**fields, **changes})


def a_conversion(*halves, **changes):
    fields = {
        "checkpoint": CHECKPOINT,
        "setup": "separate generator, shared embeddings",
        "out": "out",
        "dry_run": False,
        "halves": halves or (a_half(),),
        "left_out": (
            LeftOut("generator", ("g",) * 199, "belongs to the generator, which was not exported"),
            LeftOut("optimizer slots", ("s",) * 804, "state of the optimizer"),
            LeftOut("global_step", ("global_step",), "the training step"),
        ),
        "refused": (),
        "notices": (warning("rule", "one"), warning("casing", "two"), note("step", "three")),
    }
    return Conversion(**{**fields, **changes})


def an_inspection(**changes):
    fields = {
        "checkpoint": CHECKPOINT,
        "setup": "separate generator, shared embeddings",
        "halves": (
            HalfView("discriminator", CONFIG, SOURCES, 13_549_057, 203, 54_196_228, True, ""),
            HalfView("generator", SMALL, SOURCES, 4_561_946, 204, 18_247_784, False, A_REFUSAL),
        ),
        "variables": (
            VariableView("electra/embeddings/LayerNorm/gamma", "float32", (128,), 512, 1, "shared"),
            VariableView("electra/embeddings/LayerNorm/gamma/adam_m", "float32", (128,), 512, 1, "optimizer"),
            VariableView("electra/embeddings/LayerNorm/gamma/adam_v", "float32", (128,), 512, 1, "optimizer"),
            VariableView("electra/embeddings_project/kernel", "float32", (128, 256), 131_072, 2, "discriminator"),
            VariableView("global_step", "int64", (), 8, 1, "known scalar"),
        ),
        "vocabulary": VocabularyView(30_522, "lower case, accents stripped"),
        "missing": (),
        "notices": (),
    }
    return Inspection(**{**fields, **changes})


def text_of(lines):
    return "".join(f"{line}\n" for line in lines)


SUMMARY = """\
Read        ckpt/model.ckpt-1000000  V2, step 1000000
            separate generator, shared embeddings
Converted   discriminator: 203 tensors, 13,549,057 parameters, float32
              flag     hidden_act gelu
              graph    num_attention_heads 4
              shape    vocab_size 30522, embedding_size 128, hidden_size 256,
                       num_hidden_layers 12, intermediate_size 1024,
                       max_position_embeddings 512
              rule     layer_norm_eps 1e-12
Left out    generator (199), optimizer slots (804), global_step
Checked     203 of 203 tensors read back bit for bit
Proven      equal to the original graph and reference.py within 1e-14 in
            float64, 1e-06 in float32 (of scale)
Wrote       out/
              config.json          0.7 KiB
              model.safetensors   51.7 MiB
              vocab.txt          226.1 KiB

2 warnings

Next        ElectraForPreTraining.from_pretrained('out')
"""

PICTURE = """\
ckpt/model.ckpt-1000000
  V2, 1 shard, 162.5 MiB, step 1000000
  separate generator, shared embeddings

  discriminator  12 layers  hidden 256  intermediate 1024  heads 4 (graph)  gelu (flag)
  generator      12 layers  hidden 64   intermediate 256   heads 1 (graph)  gelu (flag)
  embeddings     size 128, vocabulary 30522, positions 512

Contents
  variables      5 = 1 discriminator + 1 shared + 2 optimizer slots + 1 known scalar
  parameters     13,549,057 discriminator
                 4,561,946 generator
  optimizer      0.8% of the bytes
  trained on     128 tokens a sequence
  vocabulary     30,522 entries, lower case, accents stripped

Can export
  discriminator  203 tensors, 51.7 MiB

Cannot export
  generator      its activation is relu
"""


class TestConversion:
    def test_the_summary_reads_as_drawn(self):
        assert text_of(conversion_lines(a_conversion())) == SUMMARY

    def test_two_halves_are_told_apart(self):
        halves = (a_half(folder="out/discriminator"), a_half("generator", "out/generator", state="bytes"))
        lines = conversion_lines(a_conversion(*halves))
        assert "Proven      discriminator: equal to the original graph and reference.py within" in lines
        assert "Not proven  generator: no forward pass was run" in lines
        assert lines[-3:] == [
            "Next        electra-convert verify ckpt/ out",
            "            ElectraForPreTraining.from_pretrained('out/discriminator')",
            "            ElectraForMaskedLM.from_pretrained('out/generator')",
        ]

    def test_what_was_not_proven_is_never_called_proven(self):
        text = text_of(conversion_lines(a_conversion(a_half(state="bytes"))))
        assert "Not proven  no forward pass was run\n" in text
        assert "equal" not in text

    def test_what_a_proof_leaves_open_is_said_beside_it(self):
        open_question = replace(A_PROOF, references=("reference.py",), unproven=("heads are taken from config.json",))
        text = text_of(conversion_lines(a_conversion(a_half(verification=open_question))))
        assert "Proven      equal to reference.py within 1e-14 in float64, 1e-06 in float32" in text
        assert "\nNot proven  heads are taken from config.json\n" in text
        assert "electra-convert verify" not in text

    @pytest.mark.parametrize("name", ["with space", "it's", "$HOME", "-v"])
    def test_the_next_command_can_be_pasted_whatever_the_names(self, name):
        checkpoint = replace(CHECKPOINT, path=f"./{name}")
        lines = conversion_lines(a_conversion(a_half(state="bytes"), checkpoint=checkpoint, out=f"{name}/out"))
        command = next(line for line in lines if line.startswith("Next")).removeprefix("Next").strip()
        assert shlex.split(command) == ["electra-convert", "verify", f"./{name}", f"{name}/out"]

    def test_a_dry_run_claims_nothing(self):
        half = a_half(state="none", checked="", files=(("model.safetensors", 54_211_072),))
        text = text_of(conversion_lines(a_conversion(half, dry_run=True, notices=())))
        assert "Would write out/\n              model.safetensors  51.7 MiB\n" in text
        for word in ("Wrote", "Checked", "roven", "Next", "warning"):
            assert word not in text

    def test_a_half_that_could_not_be_had_is_named_with_its_reason(self):
        text = text_of(conversion_lines(a_conversion(refused=(("generator", A_REFUSAL),))))
        assert "Refused     generator: its activation is relu\n" in text

    def test_one_warning_is_one(self):
        assert "1 warning" in conversion_lines(a_conversion(notices=(warning("rule", "one"),)))


class TestInspection:
    def test_the_picture_reads_as_drawn(self):
        assert text_of(inspection_lines(an_inspection())) == PICTURE

    def test_embeddings_of_two_sizes_are_told_apart(self):
        first, second = an_inspection().halves
        second = HalfView("generator", {**SMALL, "embedding_size": 64}, SOURCES, 1, 204, 1, True, "")
        lines = inspection_lines(an_inspection(halves=(first, second)))
        assert "  embeddings     size 128, vocabulary 30522, positions 512, discriminator" in lines
        assert "                 size 64, vocabulary 30522, positions 512, generator" in lines

    def test_a_half_of_which_no_shape_tells_has_no_line_of_sizes(self):
        absent = HalfView("generator", {}, {}, 0, 0, 0, False, "there is none")
        text = text_of(inspection_lines(an_inspection(halves=(an_inspection().halves[0], absent))))
        assert text.count("generator  ") == 1
        assert "Cannot export\n  generator      there is none\n" in text

    def test_unknown_variables_and_missing_files_are_listed(self):
        strangers = tuple(VariableView(f"x/{n}", "float32", (), 4, 1, "unknown") for n in range(8))
        text = text_of(inspection_lines(an_inspection(variables=strangers, missing=("model.data: not there",))))
        assert "Unknown variables\n  x/0\n  x/1\n  x/2\n  x/3\n  x/4\n  and 3 more\n\nMissing\n  model.data" in text

    @pytest.mark.parametrize(
        ("vocabulary", "told"),
        [(None, "none found"), (VocabularyView(0, None, "it is empty"), "not usable: it is empty")],
    )
    def test_a_vocabulary_that_is_not_there_or_not_usable_is_said(self, vocabulary, told):
        assert f"  vocabulary     {told}" in inspection_lines(an_inspection(vocabulary=vocabulary))


class TestVariables:
    def test_a_pipe_gets_tabs(self):
        lines = variable_lines(an_inspection().variables, tabs=True)
        assert lines[3] == "electra/embeddings_project/kernel\tfloat32\t[128, 256]\t131072\tdiscriminator"
        assert lines[4] == "global_step\tint64\t[]\t8\tknown scalar"

    def test_a_screen_gets_columns(self):
        lines = variable_lines(an_inspection().variables, tabs=False)
        assert lines[3] == "electra/embeddings_project/kernel          float32  [128, 256]  131072  discriminator"
        assert lines[4] == "global_step                                int64    []               8  known scalar"

    def test_a_name_is_never_cut_and_cannot_forge_a_column_or_a_line(self):
        name = "\x1b[31m" + "n" * 1000 + "\tforged\n\u202e"
        (line,) = variable_lines([VariableView(name, "float32", (), 4, 1, "unknown")], tabs=True)
        assert line == r"\x1b[31m" + "n" * 1000 + "\\x09forged\\x0a\\u202e\tfloat32\t[]\t4\tunknown"


def test_every_value_of_a_config_stands_with_its_source():
    lines = source_lines(CONFIG, SOURCES, "Config of the discriminator")
    assert lines[0] == "Config of the discriminator"
    assert len(lines) == 1 + len(CONFIG)
    assert "  num_attention_heads      4      graph  electra/encoder/layer_0/attention/self/Reshape" in lines


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0.0 KiB"), (700, "0.7 KiB"), (231_508, "226.1 KiB"), (54_211_072, "51.7 MiB"), (3 << 30, "3.0 GiB")],
)
def test_sizes_have_one_decimal_and_a_binary_unit(nbytes, text):
    assert size(nbytes) == text


def test_nothing_from_input_reaches_a_terminal_raw():
    evil = "\x1b]0;owned\x07"
    checkpoint = CheckpointSummary(evil, evil, evil, "V2", 1, None, "", 0, None)
    half = HalfView("discriminator", CONFIG, SOURCES, 1, 1, 1, False, evil)
    lines = [
        *conversion_lines(a_conversion(a_half(folder=evil), checkpoint=checkpoint, refused=(("generator", evil),))),
        *inspection_lines(an_inspection(checkpoint=checkpoint, halves=(half,), missing=(evil,))),
        *source_lines({"hidden_act": evil}, {"hidden_act": Origin("config", evil)}, "Config"),
    ]
    assert all(line.isprintable() for line in lines)
    assert "step unknown" in text_of(lines)


def test_a_task_is_told_with_its_kind_its_source_and_its_labels():
    task = Task("mnli", "classification", Origin("graph", "electra/encoder/strided_slice_1"), 3)
    labels = ("contradiction", "entailment", "neutral")
    half = a_half("task", task=TaskPlan(task, labels, Origin("flag", "--labels")))
    lines = conversion_lines(a_conversion(half))
    assert "Converted   task mnli: 203 tensors, 13,549,057 parameters, float32" in lines
    assert "              graph    classification (electra/encoder/strided_slice_1)" in lines
    assert "              labels   contradiction, entailment, neutral" in lines
    assert lines[-1].endswith("ElectraForSequenceClassification.from_pretrained('out')")


def test_what_a_reader_of_a_regression_must_know_is_told():
    task = Task("sts", "regression", Origin("shape", "task_specific/sts/dense"), 1)
    task = TaskPlan(task, ("LABEL_0",), Origin("rule", ""))
    lines = conversion_lines(a_conversion(a_half("task", task=task)))
    assert any("score = 5 * output (0 to 5)" in line for line in lines)


def test_tasks_are_listed_with_what_can_be_exported():
    task = HalfView("task", CONFIG, SOURCES, 9, 43, 128_000, True, "", "mnli", "classification", "graph", 3)
    refused = HalfView("task", {}, {}, 0, 0, 0, False, "the task squad cannot be exported: no class", "squad")
    encoder = HalfView("encoder", CONFIG, SOURCES, 9, 39, 125_000, True, "")
    lines = inspection_lines(an_inspection(halves=(task, refused, encoder)))
    assert any(line.split() == ["encoder", "39", "tensors,", "122.1", "KiB"] for line in lines)
    assert any(line.endswith("classification (graph), 3 labels, 43 tensors, 125.0 KiB") for line in lines)
    assert any(line.split() == ["task", "squad", "no", "class"] for line in lines)
    assert sum("12 layers" in line for line in lines) == 1

"""The hparams that a training was started with, and what Google's code makes of them.

`run_pretraining.py --hparams X` takes a JSON object (or a file that ends in `.json`); nothing of it is stored in a
checkpoint. The arithmetic here is that of google-research/electra at 8a46635: `configure_pretraining.py`,
`util/training_utils.py` (`get_bert_config`), `run_pretraining.py` (`get_generator_config` and debug mode).

What X leaves out has Google's default, since X is all that the training was started with. Sizes are the exception:
shapes tell them, so only the sizes that X names are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from electra_convert.electra.config import heads_by_rule
from electra_convert.electra.mapping import HalfName
from electra_convert.electra.setups import SETUPS, Setup
from electra_convert.errors import SettingError

MODEL_SIZES = {
    "small": {"hidden_size": 256, "num_hidden_layers": 12},
    "base": {"hidden_size": 768, "num_hidden_layers": 12},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24},
}

DEBUG_MODEL = {"hidden_size": 144, "num_hidden_layers": 3, "intermediate_size": 576, "num_attention_heads": 4}

# modeling.BertConfig, its defaults for what no shape tells.
DEFAULTS: dict[str, Any] = {
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
}
SIZE_OVERRIDES = {
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
}
ACTIVATIONS = ("gelu", "relu", "tanh", "linear")

# Every other attribute of PretrainingConfig and FinetuningConfig: known, without meaning for the model.
WITHOUT_MEANING = frozenset(
    """
    answerable_classifier answerable_uses_start_logits answerable_weight beam_size data_dir disc_weight do_eval
    do_train doc_stride double_unordered eval_batch_size gcp_project gen_weight init_checkpoint
    iterations_per_loop joint_prediction keep_all_models keep_checkpoint_max layerwise_lr_decay learning_rate
    log_examples lr_decay_power max_answer_length max_predictions_per_seq max_query_length model_dir model_name
    n_best_size n_writes_test num_eval_steps num_tpu_cores num_train_epochs num_train_steps num_trials
    num_warmup_steps predict_batch_size preprocessed_data_dir pretrain_tfrecords qa_eval_file qa_na_file
    qa_na_threshold qa_preds_file qa_topdir raw_data_dir results_pkl results_txt save_checkpoints_steps task_names
    test_predictions tpu_job_name tpu_name tpu_zone train_batch_size use_tfrecords_if_existing use_tpu vocab_file
    warmup_proportion weight_decay_rate write_distill_outputs write_test_outputs
    """.split()
)
Kind = Literal["size", "number", "rate", "flag"]

EXPECTED: dict[Kind, str] = {
    "size": "a whole number, at least 1",
    "number": "a finite number, not negative",
    "rate": "a number from 0 to 1",
    "flag": "true or false",
}

# No size or fraction of a training comes near it; arithmetic with more could overflow.
LARGEST = 2**31

FOR_THE_RECORD = ("temperature", "mask_prob", "disallow_correct")
WITH_MEANING = frozenset(
    """model_size model_hparam_overrides embedding_size vocab_size do_lower_case debug max_seq_length generator_layers
    generator_hidden_size uniform_generator two_tower_generator untied_generator untied_generator_embeddings
    electra_objective electric_objective""".split()
) | frozenset(FOR_THE_RECORD)

_EVERY = frozenset(setup.name for setup in SETUPS)
_TWO_TOWERS = frozenset({"two towers", "two towers, untied embeddings"})
_NO_GENERATOR_TOWER = frozenset({"tied", "masked LM", "uniform"})

# Which set-ups a flag can have led to. `uniform_generator: false` fits a checkpoint whose generator was removed.
FITTING: dict[tuple[str, bool], frozenset[str]] = {
    ("uniform_generator", True): frozenset({"uniform"}),
    ("two_tower_generator", True): _TWO_TOWERS,
    ("two_tower_generator", False): _EVERY - _TWO_TOWERS,
    ("electric_objective", True): _TWO_TOWERS,
    ("electra_objective", True): _EVERY - {"masked LM"},
    ("electra_objective", False): frozenset({"masked LM"}),
    ("untied_generator", True): _EVERY - {"tied"},
    ("untied_generator", False): _NO_GENERATOR_TOWER,
    ("untied_generator_embeddings", True): _NO_GENERATOR_TOWER | {"untied embeddings", "two towers, untied embeddings"},
    ("untied_generator_embeddings", False): _EVERY - {"untied embeddings", "two towers, untied embeddings"},
}


class Hparams(NamedTuple):
    """What was passed as `--hparams`, checked for types."""

    document: Mapping[str, Any]
    where: str

    @property
    def overrides(self) -> Mapping[str, Any]:
        """The fields of BertConfig that were overridden."""
        overrides: Mapping[str, Any] = self.document.get("model_hparam_overrides", {})
        return overrides

    @property
    def unknown(self) -> list[str]:
        """Keys that Google's code does not know: it would refuse the first kind, forks have their own."""
        fields = SIZE_OVERRIDES | DEFAULTS.keys() | {"num_attention_heads"}
        inner = [f"model_hparam_overrides.{key}" for key in self.overrides if key not in fields]
        return sorted(set(self.document) - WITH_MEANING - WITHOUT_MEANING) + sorted(inner)

    @property
    def do_lower_case(self) -> bool | None:
        """Whether the input was lower-cased, where it is said."""
        return self.document.get("do_lower_case")

    @property
    def trained_length(self) -> int | None:
        """The sequence length of the training, where it is said."""
        return self.document.get("max_seq_length")

    @property
    def electric(self) -> bool | None:
        """Whether two towers were trained by Electric; None where it is not said."""
        if "electric_objective" in self.document:
            return bool(self.document["electric_objective"])
        return False if self.document.get("two_tower_generator") else None

    def for_the_record(self) -> dict[str, Any]:
        """Return what no converted model holds, but a reader of the record may want to know."""
        return {key: self.document[key] for key in FOR_THE_RECORD if key in self.document}

    def sizes(self, half: HalfName, body: str, setup: Setup, found: Mapping[str, int]) -> dict[str, tuple[int, str]]:
        """Return the sizes of a half that the hparams name, each with the key that names it.

        Args:
            half: which half.
            body: the scope of its encoder; only the tower `electra` takes the overrides as they are.
            setup: the set-up found by names.
            found: the discriminator's sizes as shapes have them (0 or absent: unknown), for the generator's fractions.
        """
        named = self._tower_sizes()
        if body == "electra":
            return named
        sizes: dict[str, tuple[int, str]] = {}
        for key in ("vocab_size", "max_position_embeddings", "type_vocab_size"):
            if key in named:
                sizes[key] = named[key]
        fractions = {"hidden_size": "generator_hidden_size", "num_hidden_layers": "generator_layers"}
        for field, key in fractions.items():
            if key in self.document and found.get(field):
                sizes[field] = (round(found[field] * self.document[key]), key)
        if setup.name != "untied embeddings" and "embedding_size" in named:
            sizes["embedding_size"] = named["embedding_size"]
        return sizes

    def _tower_sizes(self) -> dict[str, tuple[int, str]]:
        sizes: dict[str, tuple[int, str]] = {}
        if "model_size" in self.document:
            size = self.document["model_size"]
            sizes = {field: (value, f"model_size {size}") for field, value in MODEL_SIZES[size].items()}
        for key in ("vocab_size", "embedding_size"):
            if self.document.get(key) is not None:
                sizes[key] = (self.document[key], key)
        for key in SIZE_OVERRIDES & self.overrides.keys():
            sizes[key] = (self.overrides[key], f"model_hparam_overrides.{key}")
        if self.document.get("debug"):
            sizes |= {key: (value, "debug") for key, value in DEBUG_MODEL.items() if key != "num_attention_heads"}
        return sizes

    def settings(self, body: str, hidden_size: int) -> dict[str, tuple[Any, str]]:
        """Return what no shape tells of a tower: heads, activation, dropouts, initializer range, with their keys."""
        values = {
            key: (self.overrides[key], f"model_hparam_overrides.{key}")
            if key in self.overrides
            else (default, f"{key} left out: Google's default")
            for key, default in DEFAULTS.items()
        }
        heads = (heads_by_rule(hidden_size), "num_attention_heads left out: Google's rule, hidden size // 64")
        if body == "electra":
            if self.document.get("debug"):
                heads = (DEBUG_MODEL["num_attention_heads"], "debug")
            elif "num_attention_heads" in self.overrides:
                heads = (self.overrides["num_attention_heads"], "model_hparam_overrides.num_attention_heads")
        return {"num_attention_heads": heads, **values}

    def refuse_other_setup(self, setup: Setup) -> None:
        """Refuse hparams that cannot have led to the set-up found by names.

        Raises:
            SettingError: names the key, the set-up it leads to, and the one found.
        """
        given = {key: self.document[key] for key, _ in FITTING if key in self.document}
        if given.get("electric_objective"):
            given.pop("electra_objective", None)  # Google's code asks for "either", so Electric's alone decides
        for (key, value), names in FITTING.items():
            if given.get(key) is value and setup.name not in names:
                raise SettingError(
                    "the hparams do not belong to this checkpoint",
                    where=f"{self.where}, `{key}`",
                    found=f"{str(value).lower()}, but the variables are those of: {setup.told}",
                    expected=f"`{key}` as the checkpoint was trained",
                    hint="pass the hparams of this training, or none",
                )


def parse_hparams(document: Any, where: str) -> Hparams:
    """Return hparams from a parsed JSON document; `where` is what messages call it.

    Raises:
        SettingError: not an object, or a value of the wrong type or that Google's code would refuse.
    """
    if not isinstance(document, dict):
        raise SettingError("hparams are not a JSON object", where=where, found=type(document).__name__)
    overrides = document.get("model_hparam_overrides", {})
    if not isinstance(overrides, dict):
        raise _wrong(where, "model_hparam_overrides", overrides, "an object")
    cleaned = {**document}
    inner = {**overrides}
    if "hidden_act" in inner:
        inner["hidden_act"] = _activation(where, inner["hidden_act"])
    if "model_hparam_overrides" in document:
        cleaned["model_hparam_overrides"] = inner
    size = cleaned.get("model_size", "small")
    if not isinstance(size, str) or size not in MODEL_SIZES:
        raise _wrong(where, "model_size", size, "small, base or large")
    for name, value, kind in _typed(cleaned, inner):
        if not _fits(value, kind):
            raise _wrong(where, name, value, EXPECTED[kind])
    return Hparams(cleaned, where)


def _typed(document: Mapping[str, Any], inner: Mapping[str, Any]) -> list[tuple[str, Any, Kind]]:
    """Return (name, value, kind) of every value whose type matters here."""
    flags = {key for key, _ in FITTING} | {"do_lower_case", "debug", "disallow_correct"}
    kinds: dict[str, Kind] = {
        # Google's default of embedding_size is null.
        **{key: "size" for key in ("vocab_size", "embedding_size", "max_seq_length") if document.get(key) is not None},
        **dict.fromkeys(("generator_layers", "generator_hidden_size", "temperature"), "number"),
        "mask_prob": "rate",
        **dict.fromkeys(sorted(flags), "flag"),
    }
    inner_kinds: dict[str, Kind] = {
        **dict.fromkeys(sorted(SIZE_OVERRIDES | {"num_attention_heads"}), "size"),
        **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), "rate"),
        "initializer_range": "number",
    }
    checked = [(key, document[key], kind) for key, kind in kinds.items() if key in document]
    return checked + [
        (f"model_hparam_overrides.{key}", inner[key], kind) for key, kind in inner_kinds.items() if key in inner
    ]


def _fits(value: Any, kind: Kind) -> bool:
    if kind == "flag":
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int if kind == "size" else (int, float)):
        return False
    # NaN is on neither side of anything.
    return bool((1 if kind == "size" else 0) <= value <= (1 if kind == "rate" else LARGEST))


def _activation(where: str, value: Any) -> str:
    # modeling.get_activation: None, empty and "linear" all mean no activation; upper case is folded.
    name = "linear" if value is None or value == "" else str(value).lower()
    if name not in ACTIVATIONS:
        raise _wrong(where, "model_hparam_overrides.hidden_act", value, " or ".join(ACTIVATIONS))
    return name


def _wrong(where: str, key: str, value: Any, expected: str) -> SettingError:
    return SettingError("an hparam has a value that Google's code does not take", where=f"{where}, `{key}`",
                        found=repr(value), expected=expected)  # fmt: skip

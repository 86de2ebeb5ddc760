"""Names by which other models' checkpoints are told apart, and what to do with each.

Seen in public checkpoints; a model is named by the first row whose pattern some variable's name matches.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from electra_convert.errors import LayoutError
from electra_convert.wording import some


class Foreign(NamedTuple):
    """Another model: its name, a pattern that only its variables match, and the way out where there is one."""

    model: str
    pattern: str
    hint: str | None = None


_TRANSFORMERS_4 = "transformers 4 has a conversion script for this model"

# fmt: off
FOREIGN = (
    Foreign("NVIDIA's ELECTRA, a TensorFlow 2 object graph", r"model/(discriminator|generator)/.*\.ATTRIBUTES/VARIABLE_VALUE$",
            "NVIDIA's postprocess_pretrained_ckpt.py saves its halves as Hugging Face folders"),
    Foreign("a TensorFlow 2 object graph", r"(_CHECKPOINTABLE_OBJECT_GRAPH$|.*/\.ATTRIBUTES/VARIABLE_VALUE$)",
            "load it with the code that wrote it; only TensorFlow 1 checkpoints name their variables"),
    Foreign("ALBERT", r"bert/encoder/(embedding_hidden_mapping_in/|transformer/group_\d+/|layer_shared/)|bert/embeddings/word_embeddings_2$", _TRANSFORMERS_4),
    Foreign("BERT", r"bert/(embeddings|encoder|pooler)/|cls/(predictions|seq_relationship)/", _TRANSFORMERS_4),
    Foreign("XLNet", r"model/(transformer/|lm_loss/)", _TRANSFORMERS_4),
    Foreign("GPT-2", r"model/(h\d+/(attn|mlp|ln_\d)/|wte$|wpe$)", _TRANSFORMERS_4),
    Foreign("T5 (Mesh TensorFlow)", r"(encoder|decoder)/block_\d+/layer_\d+/", _TRANSFORMERS_4),
    Foreign("a Tensor2Tensor model", r"(training/)?(transformer|\w+)/(symbol_modality_|body/(encoder|decoder)/)"),
)
# fmt: on

# Scopes that hold ELECTRA's own variables beside an unknown one.
OURS = frozenset(
    """electra generator discriminator_predictions generator_predictions generator_ltr generator_rtl cloze_predictions
    task_specific""".split()
)

# TensorFlow 2 ends every key of an object graph with it, so `electra/` before it is no scope of TensorFlow 1.
_OBJECT_GRAPH_ENDING = "/.ATTRIBUTES/VARIABLE_VALUE"

# ConvBERT was written by code derived from ELECTRA's: the same scopes, with convolutions beside the attention.
CONVBERT = re.compile(r"electra/encoder/layer_\d+/attention/self/(?!(query|key|value)/(kernel|bias)$)")


def refuse_foreign(names: Collection[str]) -> None:
    """Refuse a checkpoint that holds another model, by that model's name.

    Raises:
        LayoutError: the model, some of its variables, and the way out where one is known.
    """
    if not names:
        raise LayoutError("the checkpoint holds no variables", expected="variables below the scope `electra`")
    ours = any(name.startswith("electra/") and not name.endswith(_OBJECT_GRAPH_ENDING) for name in names)
    strange = sorted(name for name in names if CONVBERT.match(name) and not name.endswith(("/adam_m", "/adam_v")))
    if ours and any("conv" in name for name in strange):
        raise LayoutError(
            "this is ConvBERT, not ELECTRA",
            found=some(strange),
            expected="query, key and value alone below `attention/self`",
            hint=_TRANSFORMERS_4,
        )
    for foreign in FOREIGN:
        pattern = re.compile(foreign.pattern)
        matching = sorted(name for name in names if pattern.match(name))
        if matching and not ours:
            raise LayoutError(
                f"this is {foreign.model}, not an ELECTRA of TensorFlow 1",
                found=some(matching),
                expected="variables below the scope `electra`",
                hint=foreign.hint,
            )
    if not ours:
        raise LayoutError(
            "the checkpoint holds no ELECTRA",
            found=[f"{len(names)} variables", *some(sorted(names))],
            expected="variables below the scope `electra`",
        )


def unknown_hint(unknown: Sequence[str]) -> str:
    """Return how to leave unknown variables out: by their scope where they share one that is all theirs."""
    patterns: dict[str, None] = {}
    for name in unknown:
        scope = name.split("/")[0]
        patterns[glob.escape(name) if scope in OURS or scope == name else f"{glob.escape(scope)}/*"] = None
    return "leave them out with " + " ".join(f"--ignore '{pattern}'" for pattern in list(patterns)[:5])

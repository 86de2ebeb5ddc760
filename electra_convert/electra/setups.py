"""The set-ups in which Google's code trains ELECTRA, and the names that tell them apart.

Every combination of options that google-research/electra's `run_pretraining.py` can build comes out as one of these:

    generator/encoder…                      separate    embeddings of `electra`, or its own (untied embeddings)
    generator_ltr/…, generator_rtl/…        two towers  trained by Electric, or by ELECTRA with two towers
    both heads, no generator tower          tied        one tower serves as both halves
    generator_predictions only              masked LM   the tower called `electra` *is* the generator
    discriminator_predictions only          uniform     replaced at random, or the generator was removed
    task_specific/…                         fine-tuned  the encoder with heads of tasks
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from electra_convert.electra.mapping import Scopes
from electra_convert.errors import LayoutError


class Setup(NamedTuple):
    """One way in which Google's code builds the two networks, and how its scopes give the halves.

    A half is either the scopes to take it from, or the reason why it cannot be had.
    """

    name: str
    told: str
    needs: frozenset[str]
    discriminator: Scopes | str
    generator: Scopes | str
    towers: tuple[Scopes, ...] = ()


def needs(*marks: str) -> frozenset[str]:
    """Return the scopes that must be there (`generator/embeddings`: with embeddings of its own)."""
    return frozenset(marks)


ELECTRA = Scopes("electra", "electra")
_TOWERS = "a generator of two towers (left to right, right to left): no Hugging Face ELECTRA class computes it"

# The first whose needs are met is the set-up: the order matters.
# fmt: off
SETUPS = (
    Setup("fine-tuned", "fine-tuned on a task", needs("electra", "task_specific"),
          "this is a fine-tuned checkpoint: run_finetuning.py keeps no discriminator head",
          "this is a fine-tuned checkpoint: run_finetuning.py keeps no generator"),
    Setup("two towers, untied embeddings", "two-tower generator with embeddings of its own", needs("electra", "generator_ltr", "generator_ltr/embeddings"),
          ELECTRA, _TOWERS,
          (Scopes("generator_ltr", "generator_ltr", "cloze_predictions"), Scopes("generator_rtl", "generator_rtl", "cloze_predictions"))),
    Setup("two towers", "two-tower generator, shared embeddings", needs("electra", "generator_ltr"),
          ELECTRA, _TOWERS,
          (Scopes("electra", "generator_ltr", "cloze_predictions"), Scopes("electra", "generator_rtl", "cloze_predictions"))),
    Setup("untied embeddings", "separate generator, embeddings of its own", needs("electra", "generator", "generator/embeddings"),
          ELECTRA, Scopes("generator", "generator")),
    Setup("separate", "separate generator, shared embeddings", needs("electra", "generator"),
          ELECTRA, Scopes("electra", "generator")),
    Setup("tied", "one tower for both halves", needs("electra", "discriminator_predictions", "generator_predictions"),
          ELECTRA, ELECTRA),
    Setup("masked LM", "plain masked language model", needs("electra", "generator_predictions"),
          "this was trained as a plain masked language model: its tower `electra` is the generator, and there is no discriminator",
          ELECTRA),
    Setup("uniform", "discriminator only", needs("electra"),
          ELECTRA, "this checkpoint has a discriminator only (uniform_generator, or the generator was removed)"),
)
# fmt: on


def setup_of(weights: Collection[str]) -> Setup:
    """Return the set-up of a checkpoint from the names of its variables, slots and scalars left out.

    Raises:
        LayoutError: nothing but bookkeeping is there.
    """
    marks = {"/".join(name.split("/")[:depth]) for name in weights for depth in (1, 2)}
    for setup in SETUPS:
        if setup.needs <= marks:
            return setup
    raise LayoutError(
        "the checkpoint holds no ELECTRA",
        found="no variables but bookkeeping",
        expected="variables below the scope `electra`",
    )

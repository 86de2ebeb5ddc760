"""The fill-mask pipeline on a generator: text in, words out, as Google's tokenization and `reference.py` have it."""

from __future__ import annotations

import masked_texts
import pytest
from asking import answer_of
from readers import TENSORFLOW, TORCH

pytestmark = pytest.mark.compat


@pytest.mark.parametrize("reader", [*TORCH, *TENSORFLOW])
def test_masks_are_filled_with_the_likeliest_tokens(reader: str) -> None:
    """The same tokens in the same order, with probabilities equal to 1e-5."""
    (filled,) = answer_of(reader)["fill_masks"]
    for given, expected in zip(filled, masked_texts.fill_masks(), strict=True):
        # One mask gives its tokens, several give a list of lists.
        masks = [given] if len(expected) == 1 else given
        for tokens, wanted in zip(masks, expected, strict=True):
            assert [(t["token"], t["token_str"]) for t in tokens] == [(w["token"], w["token_str"]) for w in wanted]
            assert [t["score"] for t in tokens] == pytest.approx([w["score"] for w in wanted], rel=1e-5)

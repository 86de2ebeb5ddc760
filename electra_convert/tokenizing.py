"""Which vocabulary and casing a conversion writes, checked against the embedding table and the graph."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from electra_convert.electra.config import ElectraConfig
from electra_convert.electra.hparams import Hparams
from electra_convert.errors import SettingError, VocabularyError
from electra_convert.examination import Examination, find_vocabulary
from electra_convert.hf.casing import Casing, find_casing
from electra_convert.hf.vocabulary import Vocabulary, check_rows, read_vocabulary
from electra_convert.notices import Notice
from electra_convert.options import Options

if TYPE_CHECKING:
    from electra_convert.tf1.checkpoint import Checkpoint


class Tokenizing(NamedTuple):
    """The vocabulary and casing to write, and the longest input the tokenizer lets pass."""

    vocabulary: Vocabulary
    casing: Casing
    max_length: int


def plan_tokenizer(
    checkpoint: Checkpoint,
    examination: Examination,
    options: Options,
    hparams: Hparams | None,
    config: ElectraConfig,
) -> tuple[Tokenizing | None, list[Notice]]:
    """Return the vocabulary and casing to write, None where no tokenizer is wanted, and what a person should know.

    Raises:
        VocabularyError: none is there, it is broken, or it is not this checkpoint's.
        SettingError: the longest input does not fit the position table.
    """
    if not options.tokenizer:
        return None, []
    path, notices = (options.vocab, []) if options.vocab is not None else find_vocabulary(checkpoint)
    if path is None:
        raise VocabularyError(
            "no vocabulary was found",
            where=os.fspath(checkpoint.shown),
            expected="vocab.txt beside the checkpoint",
            hint="pass --vocab FILE, or --no-tokenizer",
        )
    vocabulary = read_vocabulary(path)
    notices = [*notices, *vocabulary.notices, *check_rows(vocabulary, config.vocab_size)]
    _refuse_other_special_ids(examination, vocabulary)
    lower_case = None if options.cased is None else not options.cased
    casing = find_casing(
        vocabulary.tokens,
        lower_case_flag=lower_case,
        strip_accents_flag=options.strip_accents,
        lower_case_hparam=None if hparams is None else hparams.do_lower_case,
    )
    positions = config.max_position_embeddings
    if options.max_length is not None and not 1 <= options.max_length <= positions:
        raise SettingError(
            "the longest input does not fit the position table",
            found=f"--max-length {options.max_length}",
            expected=f"1 to {positions}, the rows of the position embeddings",
        )
    return Tokenizing(vocabulary, casing, options.max_length or positions), [*notices, *casing.notices]


def _refuse_other_special_ids(examination: Examination, vocabulary: Vocabulary) -> None:
    """Refuse a vocabulary whose [CLS], [SEP], [MASK] are not the ids the training graph was built with."""
    if examination.graph is None:
        return
    for token, fact in examination.graph.special_ids.items():
        if vocabulary.ids[token] != fact.value:
            raise VocabularyError(
                "the vocabulary is not the one of the training",
                where=vocabulary.name,
                found=f"{token} has id {vocabulary.ids[token]}",
                expected=f"{fact.value}, from the graph (node {fact.node})",
                hint="pass the vocabulary of the training with --vocab FILE",
            )

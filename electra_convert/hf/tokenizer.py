"""The four tokenizer files, in the forms on which transformers 4.46 to 5.23 agree.

    vocab.txt                 one stripped token a line
    tokenizer.json            the whole tokenizer, byte for byte as the `tokenizers` library writes it
    tokenizer_config.json     class and flags; without it transformers 5.0 does not lower-case
    special_tokens_map.json   the five special tokens

`tokenizer.json` takes precedence where it is read as it is; in transformers 5.23 the class rebuilds all but the
vocabulary from `tokenizer_config.json`, so a word of 101 to 200 characters is unknown there and split elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from electra_convert.hf.casing import Casing
from electra_convert.hf.files import json_text, write_file
from electra_convert.hf.folder import SPECIAL_TOKENS as SPECIAL_TOKENS_FILE
from electra_convert.hf.folder import TOKENIZER, TOKENIZER_CONFIG, VOCABULARY
from electra_convert.hf.vocabulary import Vocabulary

# google-research/electra `model/tokenization.py`, WordpieceTokenizer; the library's own default is 100.
LONGEST_WORD = 200

# Where the entries of the vocabulary belong in `tokenizer.json`, and how far they are indented.
NO_ENTRIES = "{}"
ENTRY_INDENT = " " * 6


def write_tokenizer(folder: Path, vocabulary: Vocabulary, casing: Casing, max_length: int) -> None:
    """Write the four files into `folder`; raise OutputError if one cannot be written."""
    write_file(folder / VOCABULARY, vocabulary.text().encode())
    write_file(folder / TOKENIZER, tokenizer_text(vocabulary, casing).encode())
    write_file(folder / TOKENIZER_CONFIG, json_text(tokenizer_config(casing, max_length)).encode())
    write_file(folder / SPECIAL_TOKENS_FILE, json_text(special_tokens_map()).encode())


def tokenizer_text(vocabulary: Vocabulary, casing: Casing) -> str:
    """Return `tokenizer.json` as text, without a newline at its end, as the library writes it.

    With indentation json takes 20 ms for 30,000 entries; quoting the tokens only, one a line, a fifth.
    """
    quoted = json.dumps([*vocabulary.ids], ensure_ascii=False, separators=("\n", ": "))[1:-1].split("\n")
    entries = [f"{token}: {number}" for token, number in zip(quoted, vocabulary.ids.values(), strict=True)]
    document = json_text(_document(vocabulary, casing, {}), sort_keys=False).removesuffix("\n")
    head, tail = document.rsplit(NO_ENTRIES, 1)
    separator = f",\n{ENTRY_INDENT}"
    return f"{head}{{\n{ENTRY_INDENT}{separator.join(entries)}\n{ENTRY_INDENT[2:]}}}{tail}"


def tokenizer_document(vocabulary: Vocabulary, casing: Casing) -> dict[str, object]:
    """Return `tokenizer.json`, its keys in the library's order."""
    return _document(vocabulary, casing, vocabulary.ids)


def _document(vocabulary: Vocabulary, casing: Casing, entries: Mapping[str, int]) -> dict[str, object]:
    by_id = sorted(vocabulary.special_ids.items(), key=lambda item: item[1])
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": number,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token, number in by_id
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": casing.strip_accents,
            "lowercase": casing.do_lower_case,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": _post_processor(vocabulary),
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": LONGEST_WORD,
            "vocab": entries,
        },
    }


def tokenizer_config(casing: Casing, max_length: int) -> dict[str, object]:
    """Return `tokenizer_config.json` for texts of at most `max_length` tokens."""
    return {
        **special_tokens_map(),
        # Decoding gives "it's" and not "it ' s" in every version.
        "clean_up_tokenization_spaces": True,
        "do_lower_case": casing.do_lower_case,
        # Without it some versions return no token_type_ids.
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "model_max_length": max_length,
        "strip_accents": casing.strip_accents,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "ElectraTokenizer",
    }


def special_tokens_map() -> dict[str, str]:
    """Return `special_tokens_map.json`."""
    return {
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "unk_token": "[UNK]",
    }


def _post_processor(vocabulary: Vocabulary) -> dict[str, object]:
    first = [_special("[CLS]", 0), _sequence("A", 0), _special("[SEP]", 0)]
    return {
        "type": "TemplateProcessing",
        "single": first,
        "pair": [*first, _sequence("B", 1), _special("[SEP]", 1)],
        "special_tokens": {
            token: {"id": token, "ids": [vocabulary.ids[token]], "tokens": [token]} for token in ("[CLS]", "[SEP]")
        },
    }


def _special(token: str, segment: int) -> dict[str, object]:
    return {"SpecialToken": {"id": token, "type_id": segment}}


def _sequence(name: str, segment: int) -> dict[str, object]:
    return {"Sequence": {"id": name, "type_id": segment}}

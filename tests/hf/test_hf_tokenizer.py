"""The tokenizer files are the library's own, and split text as Google's code does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import conftest
import pytest

from electra_convert.hf.casing import Casing, find_casing
from electra_convert.hf.tokenizer import write_tokenizer
from electra_convert.hf.vocabulary import Vocabulary, read_vocabulary

FIVE = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"

CASINGS = {
    "uncased": Casing(True, True, "flag", "flag", ""),
    "accents kept": Casing(True, False, "flag", "flag", ""),
    "cased": Casing(False, False, "flag", "rule", ""),
}


def vocabulary_of(tmp_path: Path, text: str) -> Vocabulary:
    (tmp_path / "source.txt").write_bytes(text.encode())
    return read_vocabulary(tmp_path / "source.txt")


def library_tokenizer(vocabulary: Vocabulary, casing: Casing) -> Any:
    """The same tokenizer, put together from the parts of the `tokenizers` library."""
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordPiece(dict(vocabulary.ids), unk_token="[UNK]", max_input_chars_per_word=200)
    built = tokenizers.Tokenizer(model)
    built.add_special_tokens(sorted(vocabulary.special_ids, key=vocabulary.ids.__getitem__))
    built.normalizer = tokenizers.normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=True,
        strip_accents=casing.strip_accents,
        lowercase=casing.do_lower_case,
    )
    built.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    built.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary.ids[token]) for token in ("[CLS]", "[SEP]")],
    )
    built.decoder = tokenizers.decoders.WordPiece()
    return built


VOCABULARIES = {
    "plain": FIVE + "the\n##ing\n",
    "special tokens elsewhere": "[MASK]\na\n[SEP]\n[CLS]\nb\n[UNK]\n[PAD]\n",
    "holes": FIVE + "a\nb\na\n\n\n[UNK]\n",
    "odd characters": FIVE + 'a"b\na\\b\nx\u2028y\n\x7f\nx\x01y\na\tb\n😀\né\n',
}


class TestFiles:
    @pytest.mark.parametrize("casing", CASINGS.values(), ids=CASINGS)
    @pytest.mark.parametrize("text", VOCABULARIES.values(), ids=VOCABULARIES)
    def test_tokenizer_json_is_the_librarys_byte_for_byte(self, tmp_path: Path, text: str, casing: Casing) -> None:
        vocabulary = vocabulary_of(tmp_path, text)
        write_tokenizer(tmp_path, vocabulary, casing, 512)
        library_tokenizer(vocabulary, casing).save(str(tmp_path / "library.json"))
        assert (tmp_path / "tokenizer.json").read_bytes() == (tmp_path / "library.json").read_bytes()

    @pytest.mark.parametrize("name", ["electra_small_released", "bert_base_chinese_index"])
    def test_for_real_vocabularies_too(self, tmp_path: Path, name: str) -> None:
        vocabulary = read_vocabulary(conftest.other(name) / "vocab.txt")
        casing = find_casing(vocabulary.tokens)
        write_tokenizer(tmp_path, vocabulary, casing, 512)
        library_tokenizer(vocabulary, casing).save(str(tmp_path / "library.json"))
        assert (tmp_path / "tokenizer.json").read_bytes() == (tmp_path / "library.json").read_bytes()

    def test_the_small_files_look_like_this(self, tmp_path: Path) -> None:
        write_tokenizer(tmp_path, vocabulary_of(tmp_path, FIVE), CASINGS["accents kept"], 128)
        assert (tmp_path / "tokenizer_config.json").read_text() == (
            "{\n"
            '  "clean_up_tokenization_spaces": true,\n'
            '  "cls_token": "[CLS]",\n'
            '  "do_lower_case": true,\n'
            '  "mask_token": "[MASK]",\n'
            '  "model_input_names": [\n    "input_ids",\n    "token_type_ids",\n    "attention_mask"\n  ],\n'
            '  "model_max_length": 128,\n'
            '  "pad_token": "[PAD]",\n'
            '  "sep_token": "[SEP]",\n'
            '  "strip_accents": false,\n'
            '  "tokenize_chinese_chars": true,\n'
            '  "tokenizer_class": "ElectraTokenizer",\n'
            '  "unk_token": "[UNK]"\n'
            "}\n"
        )
        assert json.loads((tmp_path / "special_tokens_map.json").read_text()) == {
            "cls_token": "[CLS]",
            "mask_token": "[MASK]",
            "pad_token": "[PAD]",
            "sep_token": "[SEP]",
            "unk_token": "[UNK]",
        }

    def test_the_vocabulary_is_written_normalised_with_its_ids(self, tmp_path: Path) -> None:
        vocabulary = vocabulary_of(tmp_path, FIVE.replace("\n", "\r\n") + " a\r\n\r\nb")
        write_tokenizer(tmp_path, vocabulary, CASINGS["uncased"], 512)
        assert (tmp_path / "vocab.txt").read_bytes() == (FIVE + "a\n\nb\n").encode()
        assert read_vocabulary(tmp_path / "vocab.txt").ids == vocabulary.ids


# What Google's own tokenizer makes of these is its rule, spelled out: the clean-up of text, Chinese characters and
# punctuation as words, the longest piece first, [UNK] for a word with a missing piece or over 200 characters.
SPELLED = FIVE + "un\n##want\n##ed\nwant\n,\nrunn\n##ing\n中\n文\n##a\na\n[\nmask\n]\nUN\né\n##é\ne\n##e\n"
TEXTS: dict[str, dict[str, str]] = {
    "uncased": {
        # google-research/bert, tokenization_test.py
        "UNwant\u00e9d,running": "un ##want ##ed , runn ##ing",
        "a中文a": "a 中 文 a",
        "a\u200b\u00ad\ufffd\0a": "a ##a",
        "a\u00a0a\u3000a\ta\r\na": "a a a a a",
        "É e\u0301": "e e",
        "a" * 100: "a" + " ##a" * 99,
        "a" * 101: "a" + " ##a" * 100,
        "a" * 200: "a" + " ##a" * 199,
        "a" * 201: "[UNK]",
        "wantz a": "[UNK] a",
        "": "",
        " \u2028\n": "",
    },
    "accents kept": {"É a": "é a", "aÉ": "a ##é"},
    "cased": {"É a": "[UNK] a", "é UN un": "é UN un", "UNwant": "UN ##want"},
}


@pytest.mark.parametrize("kind", TEXTS)
def test_text_is_split_as_googles_code_does(tmp_path: Path, kind: str) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    write_tokenizer(tmp_path, vocabulary_of(tmp_path, SPELLED), CASINGS[kind], 512)
    loaded = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text, expected in TEXTS[kind].items():
        assert loaded.encode(text).tokens == ["[CLS]", *expected.split(), "[SEP]"], text


@pytest.mark.parametrize("kind", TEXTS)
def test_transformers_splits_alike_but_for_words_over_a_hundred_characters(tmp_path: Path, kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    vocabulary = vocabulary_of(tmp_path, SPELLED)
    write_tokenizer(tmp_path, vocabulary, CASINGS[kind], 300)
    (tmp_path / "config.json").write_text('{"model_type": "electra"}')
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.model_max_length == 300
    for text, expected in TEXTS[kind].items():
        encoded = loaded(text)
        assert set(encoded) == {"input_ids", "token_type_ids", "attention_mask"}
        if len(text) <= 100:
            ids = [vocabulary.ids[token] for token in ["[CLS]", *expected.split(), "[SEP]"]]
            assert encoded["input_ids"] == ids, text
    pair = loaded("want", "a a")
    assert pair["token_type_ids"] == [0, 0, 0, 1, 1, 1]
    assert (loaded.pad_token_id, loaded.mask_token_id, loaded.unk_token_id) == (0, 4, 1)


def test_the_released_vocabulary_gives_known_ids(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    vocabulary = read_vocabulary(conftest.other("electra_small_released") / "vocab.txt")
    write_tokenizer(tmp_path, vocabulary, find_casing(vocabulary.tokens), 512)
    (tmp_path / "config.json").write_text('{"model_type": "electra"}')
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    # The ids of this sentence are all over the documentation of BERT, which has the same vocabulary.
    assert loaded("Hello, my dog is cute")["input_ids"] == [101, 7592, 1010, 2026, 3899, 2003, 10140, 102]
    assert loaded.decode(loaded("it's")["input_ids"], skip_special_tokens=True) == "it's"

"""Vocabularies and texts for tokenizers: those split as Google's code splits them, and those known to differ."""

from __future__ import annotations

from pathlib import Path

from conftest import other

from electra_convert.hf.casing import find_casing
from electra_convert.hf.tokenizer import write_tokenizer
from electra_convert.hf.vocabulary import read_vocabulary

# Vocabulary, and how its text was folded: lower_case, strip_accents.
VOCABULARIES = {
    "English, uncased": ("electra_small_released", True, True),
    "Chinese, uncased": ("bert_base_chinese_index", True, True),
    "English, accents kept": ("electra_small_released", True, False),
    "English, as if cased": ("electra_small_released", False, False),
}

# The slow tokenizer composes characters (NFC) where accents are kept, so decomposed text would differ; this has none.
SAME = [
    "The quick brown fox, it's jumping over 13 lazy dogs!",
    "Thou art a knave; O Romeo, wherefore art thou? $5.00 + 10%",
    "Ünïcödé çà éàü naïve Straße ẞ İı Việt Nam",
    "漢字とひらがな、中文字符。한국어 단어",
    "Русский текст, עברית العربية हिन्दी ไทย",
    "a" * 100 + " end",
    "tabs\tand\nnewlines\r\nand\u00a0spaces\u3000wide",
    "emoji 😀 and zero\u200bwidth\u200d joiners \ufeff",
    "",
    "   ",
    "[unused1] ##ing [mask] <s> ...",
    "x" * 201,
]

LONG_WORD = "supercalifragilistic" * 6
DIFFERENT = {
    LONG_WORD: "a word of 101 to 200 characters: Google splits it, some readers make it unknown",
    "a [MASK] token": "a special token written in the text: Google splits it into [, mask and ]",
    "ΟΔΟΣ": "Greek final sigma: Google lower-cases whole words, these letter by letter",
}


def write_tokenizers(home: Path) -> list[str]:
    """Write a folder for each vocabulary, with nothing but the tokenizer and what AutoTokenizer needs."""
    folders = []
    for number, (source, lower_case, strip_accents) in enumerate(VOCABULARIES.values()):
        folder = home / str(number)
        folder.mkdir(parents=True)
        vocabulary = read_vocabulary(other(source) / "vocab.txt")
        casing = find_casing(vocabulary.tokens, lower_case_flag=lower_case, strip_accents_flag=strip_accents)
        write_tokenizer(folder, vocabulary, casing, 512)
        (folder / "config.json").write_text('{"model_type": "electra"}')
        folders.append(str(folder))
    return folders

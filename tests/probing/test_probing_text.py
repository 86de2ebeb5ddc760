"""Text becomes windows without losing a word; where Google's evaluation is repeated, they are Google's windows."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probes import heldout, trained

from electra_convert.errors import InputError
from electra_convert.probing.text import LONGEST_LINE, Piece, pack, pack_as_google, read_lines, split_line, split_text
from electra_convert.probing.vocabulary import load_pieces


@pytest.fixture(scope="module")
def tokenizer():
    return load_pieces(trained() / "discriminator").tokenizer


def numbered(lengths: list[int]) -> list[list[Piece]]:
    """Return lines of these lengths, whose pieces are numbered through."""
    numbers = iter(range(sum(lengths)))
    return [[Piece(next(numbers), "", "", "") for _ in range(length)] for length in lengths]


class Chances:
    """Python's random numbers under the names that NumPy has for them."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self.random = self.source.random

    def integers(self, low: int, high: int) -> int:
        return self.source.randint(low, high - 1)


def googles_windows(lines: list[list[int]], length: int, chance: random.Random) -> list[tuple[list[int], list[int]]]:
    """Do what `ExampleBuilder` of google-research/electra's build_pretraining_dataset.py does, on ids."""
    made: list[tuple[list[int], list[int]]] = []
    sentences: list[list[int]] = []
    target = length

    def create() -> None:
        nonlocal sentences, target
        goal = 100000 if chance.random() < 0.1 else (target - 3) // 2
        one: list[int] = []
        two: list[int] = []
        for sentence in sentences:
            if (
                len(one) == 0
                or len(one) + len(sentence) < goal
                or (len(two) == 0 and len(one) < goal and chance.random() < 0.5)
            ):
                one += sentence
            else:
                two += sentence
        one = one[: length - 2]
        two = two[: max(0, length - len(one) - 3)]
        sentences = []
        target = chance.randint(5, length) if chance.random() < 0.05 else length
        made.append((one, two))

    for line in [*lines, []]:
        if not line and sentences:
            create()
            continue
        if line:
            sentences.append(line)
        if sum(map(len, sentences)) >= target:
            create()
    return made


class TestWindows:
    @given(st.lists(st.integers(0, 40), max_size=30), st.integers(8, 40))
    def test_every_piece_is_in_one_window_in_order_and_no_window_is_too_long(self, lengths, length):
        windows = list(pack(numbered(lengths), length))
        assert [piece.id for window in windows for piece in window.pieces] == list(range(sum(lengths)))
        for window in windows:
            assert len(window.pieces) + len(window.segments) + 1 <= length
            assert all(window.segments)
            assert len(window.segments) in {1, 2}

    def test_an_empty_line_ends_a_window(self):
        windows = list(pack(numbered([3, 2, 0, 0, 4]), 64))
        assert [len(window.pieces) for window in windows] == [5, 4]

    def test_lines_fill_the_first_segment_to_half_of_a_window(self):
        (window,) = pack(numbered([5, 5, 5, 5]), 43)
        assert [len(segment) for segment in window.segments] == [15, 5]

    def test_the_rest_of_a_long_line_begins_the_next_window(self):
        windows = list(pack(numbered([3, 9]), 13))
        assert [[len(segment) for segment in window.segments] for window in windows] == [[3, 7], [2]]

    @given(st.lists(st.integers(1, 40), min_size=1, max_size=10), st.integers(8, 40))
    def test_places_are_those_between_the_markers(self, lengths, length):
        for window in pack(numbered(lengths), length):
            row = ["[CLS]"]
            for segment in window.segments:
                row += [*segment, "[SEP]"]
            assert [row[place] for place in window.places] == list(window.pieces)


class TestGooglesWindows:
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("length", [16, 64, 128])
    def test_they_are_those_of_googles_code(self, tokenizer, seed, length):
        with open(heldout(), "rb") as stream:
            text = split_text(read_lines(stream, "heldout.txt"), tokenizer, 10**6)
        made = [
            tuple([piece.id for piece in segment] for segment in window.segments)
            for window in pack_as_google(text.lines, length, Chances(seed))
        ]
        ids = [[piece.id for piece in line] for line in text.lines]
        expected = googles_windows(ids, length, random.Random(seed))
        assert made == [(one, two) if two else (one,) for one, two in expected]

    @given(st.lists(st.integers(0, 90), max_size=20), st.integers(8, 40), st.integers(0, 9))
    def test_no_window_is_too_long(self, lengths, length, seed):
        for window in pack_as_google(numbered(lengths), length, np.random.default_rng(seed)):
            assert len(window.pieces) + len(window.segments) + 1 <= length


class TestPieces:
    def test_a_piece_knows_what_it_was_on_the_page(self, tokenizer):
        pieces = split_line("Sirrah  Biondello,\tgo", tokenizer)
        assert "".join(piece.gap + piece.written for piece in pieces) == "\nSirrah Biondello, go"
        assert all(piece.piece.removeprefix("##") == piece.written.lower() for piece in pieces)

    def test_special_tokens_in_a_text_are_words(self, tokenizer):
        """As in Google's tokenizer: nobody can put a [MASK] or a [SEP] into a window."""
        special = {tokenizer.token_to_id(token) for token in ("[MASK]", "[CLS]", "[SEP]", "[PAD]")}
        pieces = split_line("[CLS] go [MASK] [SEP] [PAD]", tokenizer)
        assert special.isdisjoint(piece.id for piece in pieces)
        assert "".join(piece.written for piece in pieces) == "[CLS]go[MASK][SEP][PAD]"

    def test_what_tokens_drop_between_words_is_no_gap(self, tokenizer):
        assert [piece.gap for piece in split_line("my\u202elord", tokenizer)][1:] == ["", "", ""]


class TestReading:
    def test_lines_end_at_line_feeds_only(self):
        lines = list(read_lines(io.BytesIO("a\u2028b\rc\nd".encode()), "text"))
        assert lines == ["a\u2028b\rc\n", "d"]

    def test_a_line_without_end_is_read_in_parts_between_characters(self):
        text = "é" * LONGEST_LINE
        parts = list(read_lines(io.BytesIO(f"x{text}".encode()), "text"))
        assert len(parts) == 3
        assert "".join(parts) == f"x{text}"

    @pytest.mark.parametrize(("data", "line"), [(b"\xff", 1), (b"a\nb\nc\xc3", 3), (b"a\n\xed\xa0\x80\n", 2)])
    def test_bytes_that_are_no_utf8_are_refused_with_their_line(self, data, line):
        with pytest.raises(InputError) as refusal:
            list(read_lines(io.BytesIO(data), "text"))
        assert refusal.value.where == f"text, line {line}"

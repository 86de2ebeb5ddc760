"""Text as the network reads it: lines to word pieces, each with what it was on the page, and pieces to windows.

    window   [CLS] the first lines [SEP] the lines after them [SEP]        segments 0 0 0 1 1

An empty line ends a window, as it separates documents for Google's `build_pretraining_dataset.py`; lines fill the first
segment to half of a window, then the second. Google's code does so with some chance in it, and drops what does not fit.
`pack` leaves nothing to chance and drops nothing: the rest of a line begins the next window.
"""

from __future__ import annotations

import codecs
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from electra_convert.errors import EnvironmentFailure, InputError

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

# A longer line is read in parts of this many bytes: what has no line breaks may not fill the memory.
LONGEST_LINE = 1 << 16

# [CLS] and the two [SEP].
MARKERS = 3

# Google's chances of a window with one segment, and of a next window that is to be shorter.
ONE_SEGMENT, SHORT_WINDOW = 0.1, 0.05


class ByteLines(Protocol):
    """What `open(path, "rb")` and `sys.stdin.buffer` are."""

    def readline(self, limit: int, /) -> bytes:
        """Return the next line, or `limit` bytes of it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A word piece of the text.

    `written` is the text it was made of, `gap` the white space before it: nothing, a space or a line break.
    """

    id: int
    piece: str
    written: str
    gap: str


@dataclass(frozen=True, slots=True)
class Window:
    """What the network reads at once: its one or two segments."""

    segments: tuple[tuple[Piece, ...], ...]

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The pieces of the text, without [CLS] and [SEP]."""
        return tuple(piece for segment in self.segments for piece in segment)

    @property
    def places(self) -> tuple[int, ...]:
        """Where the pieces stand among the window's tokens."""
        places: list[int] = []
        place = 0
        for segment in self.segments:
            places += range(place + 1, place + 1 + len(segment))  # after [CLS], or the [SEP] of the segment before
            place += len(segment) + 1
        return tuple(places)


@dataclass(frozen=True, slots=True)
class Text:
    """The pieces of each line, none of an empty one; `ended_at` is the line (from 1) where the bound was reached."""

    lines: tuple[tuple[Piece, ...], ...]
    ended_at: int | None

    @property
    def pieces(self) -> int:
        """How many pieces there are."""
        return sum(map(len, self.lines))


def split_text(lines: Iterable[str], tokenizer: Tokenizer, most: int) -> Text:
    """Return the pieces of lines, `most` of them; what follows is not read."""
    split: list[tuple[Piece, ...]] = []
    room = most
    for number, line in enumerate(lines, start=1):
        pieces = split_line(line, tokenizer)
        split.append(pieces[:room])
        if len(pieces) > room:
            return Text(tuple(split), number)
        room -= len(pieces)
    return Text(tuple(split), None)


def split_line(line: str, tokenizer: Tokenizer) -> tuple[Piece, ...]:
    """Return the pieces of one line."""
    encoding = tokenizer.encode(line, add_special_tokens=False)
    pieces: list[Piece] = []
    end = 0
    for number, name, (start, stop) in zip(encoding.ids, encoding.tokens, encoding.offsets, strict=True):
        spaced = any(character.isspace() for character in line[end:start])
        gap = "\n" if not pieces else " " if spaced else ""
        pieces.append(Piece(number, name, line[start:stop], gap))
        end = stop
    return tuple(pieces)


def pack(lines: Iterable[Sequence[Piece]], length: int) -> Iterator[Window]:
    """Yield windows of at most `length` tokens, [CLS] and [SEP] included."""
    room = length - MARKERS
    packed: list[Sequence[Piece]] = []
    for line in lines:
        rest = line
        while rest:
            taken = rest[: room - sum(map(len, packed))]
            packed.append(taken)
            rest = rest[len(taken) :]
            if sum(map(len, packed)) == room:
                yield _fill(packed, room)
                packed = []
        if not line and packed:
            yield _fill(packed, room)
            packed = []
    if packed:
        yield _fill(packed, room)


def pack_as_google(lines: Iterable[Sequence[Piece]], length: int, random: np.random.Generator) -> Iterator[Window]:
    """Yield windows as Google's `ExampleBuilder` makes them: with its chances, and without what does not fit."""
    packed: list[Sequence[Piece]] = []
    target = length
    for line in [*lines, ()]:
        if line:
            packed.append(line)
        if packed and (not line or sum(map(len, packed)) >= target):
            first_length = math.inf if random.random() < ONE_SEGMENT else (target - MARKERS) // 2
            yield _trim(packed, first_length, length, random)
            packed = []
            target = int(random.integers(5, length + 1)) if random.random() < SHORT_WINDOW else length


def _trim(lines: Sequence[Sequence[Piece]], first_length: float, length: int, random: np.random.Generator) -> Window:
    first: list[Piece] = []
    second: list[Piece] = []
    for line in lines:
        fits = not first or len(first) + len(line) < first_length
        if fits or (not second and len(first) < first_length and random.random() < 0.5):
            first += line
        else:
            second += line
    first = first[: length - MARKERS + 1]
    second = second[: max(0, length - len(first) - MARKERS)]
    return Window((tuple(first), tuple(second)) if second else (tuple(first),))


def _fill(lines: Sequence[Sequence[Piece]], room: int) -> Window:
    first = list(lines[0])
    number = 1
    while number < len(lines) and len(first) + len(lines[number]) < room // 2:
        first += lines[number]
        number += 1
    second = [piece for line in lines[number:] for piece in line]
    return Window((tuple(first), tuple(second)) if second else (tuple(first),))


def read_lines(stream: ByteLines, shown: str) -> Iterator[str]:
    r"""Yield the lines of UTF-8 text, which end at `\n` only; raise InputError where it is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    number = 1
    try:
        while data := stream.readline(LONGEST_LINE):
            yield decoder.decode(data)
            number += data.endswith(b"\n")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise InputError(
            "the text is not UTF-8",
            where=f"{shown}, line {number}",
            found=" ".join(f"0x{byte:02x}" for byte in error.object[error.start : error.end]),
            hint="save it as UTF-8",
        ) from error
    except OSError as error:
        raise EnvironmentFailure("the text cannot be read", where=shown, found=error.strerror or str(error)) from error


@contextmanager
def opened_text(path: str | os.PathLike[str]) -> Iterator[ByteLines]:
    """Open a file of text; a pipe will do. Raises InputError if it is not there or is a folder."""
    shown = os.fspath(path)
    try:
        stream = open(shown, "rb")  # noqa: SIM115
    except FileNotFoundError as error:
        raise InputError("the text is not there", where=shown) from error
    except IsADirectoryError as error:
        raise InputError("the text is no file", where=shown, found="a folder") from error
    except OSError as error:
        raise EnvironmentFailure("the text cannot be read", where=shown, found=error.strerror or str(error)) from error
    with stream:
        yield stream

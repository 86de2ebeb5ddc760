r"""Reads the `checkpoint` file: which of a folder's checkpoints is the newest.

It is a CheckpointState as protobuf text (tensorflow/python/training/checkpoint_state.proto):

    model_checkpoint_path: "model.ckpt-40"            the newest
    all_model_checkpoint_paths: "model.ckpt-0"        those kept; some may be gone
    all_model_checkpoint_paths: "model.ckpt-40"
    all_model_checkpoint_timestamps: 1583942400.5     of no use here
    last_preserved_timestamp: 1583942300.25           of no use here

    file     field*
    field    name ":" value ["," | ";"]
    value    string+ | number | "[" [string+ | number {"," string+ | number}] "]"    a list for repeated fields only
    string   "…" or '…' on one line, with the escapes \n \r \t \a \b \f \v \\ \' \" \101 \x41
    comment  # to the end of the line

TensorFlow takes no notice of a file that does not parse; here it is refused, with line and column.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from electra_convert.errors import CheckpointError

NAME = "checkpoint"
"""What TensorFlow calls the file."""

LARGEST = 1 << 20
"""Bytes. The file of a run that keeps a thousand checkpoints has about 100 KB."""

_STRINGS = {"model_checkpoint_path": False, "all_model_checkpoint_paths": True}
_NUMBERS = {"last_preserved_timestamp": False, "all_model_checkpoint_timestamps": True}
_REPEATED = {**_STRINGS, **_NUMBERS}

# The token rules of google/protobuf/text_format.py: a number swallows the letters that follow it.
_TOKEN = re.compile(
    r"""(?P<name>[A-Za-z_][0-9A-Za-z_+-]*)
      | (?P<number>(?:[0-9+-]|\.[0-9])[0-9A-Za-z_.+-]*)
      | (?P<string>"(?:[^"\n\\]|\\[^\n])*"|'(?:[^'\n\\]|\\[^\n])*')
      | (?P<mark>[:,;\[\]])""",
    re.VERBOSE,
)
_BLANK = re.compile(r"(?:\s|#[^\n]*)*")
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|(.))", re.DOTALL)
_LETTERS = {letter: byte.encode() for letter, byte in zip("nrtabfv\\'\"", "\n\r\t\a\b\f\v\\'\"", strict=True)}
_NOT_FINITE = re.compile("[+-]?(?:inf(?:inity)?|nan)f?", re.IGNORECASE)


class State(NamedTuple):
    """What a `checkpoint` file says: the newest path ("" if it says none) and the line it stands in, and all paths."""

    latest: str
    line: int
    every: tuple[str, ...]


def read_state(data: bytes, where: str) -> State:
    r"""Parse the bytes of a `checkpoint` file; messages call it `where`.

    Raises CheckpointError for what TensorFlow does not take, and for `\u` escapes, which old TensorFlow does not.

    >>> read_state(b'model_checkpoint_path: "model.ckpt-40"', "ckpt/checkpoint").latest
    'model.ckpt-40'
    """
    if len(data) > LARGEST:
        raise CheckpointError(
            "the checkpoint file is too large",
            where=where,
            found=f"more than {LARGEST:,} bytes",
            expected="a few lines of text",
            hint="pass the prefix of the checkpoint you mean instead of its folder",
        )
    return _Parser(_decode(data, where), where).parse()


def _decode(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(
            "the checkpoint file is not UTF-8",
            where=f"{where}, byte {error.start}",
            found=f"the byte 0x{data[error.start]:02x}",
            expected="text as TensorFlow writes it, in UTF-8",
            hint="save it as UTF-8, or pass the prefix of the checkpoint you mean",
        ) from error


class _Parser:
    """One pass over the text; `at` is the offset of the next token."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where = text, where
        self.at = 0
        self._skip_blank()

    def parse(self) -> State:
        values: dict[str, list[tuple[str, int]]] = {name: [] for name in _STRINGS}
        while self.at < len(self.text):
            start = self.at
            name = self._take("name")
            if name is None or name not in _REPEATED:
                raise self._error(start, "a field of CheckpointState, such as model_checkpoint_path")
            if self._peek() != ":":
                raise self._error(self.at, "a colon after the name")
            self._take("mark")
            value_at = self.at
            taken = self._values(name)
            if name in _STRINGS:
                values[name] += [(value, value_at) for value in taken]
            if self._peek() in {",", ";"}:
                self._take("mark")
        latest, at = values["model_checkpoint_path"][-1] if values["model_checkpoint_path"] else ("", 0)
        # Lines are counted for this value only: counting them for each field would take seconds in a hostile file.
        line = self._position(at)[0]
        return State(latest, line, tuple(value for value, _ in values["all_model_checkpoint_paths"]))

    def _values(self, name: str) -> list[str]:
        read = self._string if name in _STRINGS else self._number
        if not (_REPEATED[name] and self._peek() == "["):
            return [read()]
        self._take("mark")
        if self._peek() == "]":
            self._take("mark")
            return []
        values = [read()]
        while (mark := self._peek()) == ",":
            self._take("mark")
            values.append(read())
        if mark != "]":
            raise self._error(self.at, "a comma, or the end of the list")
        self._take("mark")
        return values

    def _string(self) -> str:
        start = self.at
        value = bytearray()
        while self._peek() in {'"', "'"}:
            literal_at = self.at
            literal = self._take("string")
            if literal is None:
                raise self._error(literal_at, "a closing quote in the same line")
            value += self._unescape(literal[1:-1], literal_at + 1)
        if self.at == start:
            raise self._error(start, "a string in quotes")
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._error(start, "escapes that make UTF-8") from error

    def _unescape(self, literal: str, start: int) -> bytes:
        """Return the bytes of a literal: escaped bytes and plain characters together must make UTF-8."""
        parts: list[bytes] = []
        end = 0
        for match in _ESCAPE.finditer(literal):
            parts += [literal[end : match.start()].encode("utf-8"), self._escaped(match, start + match.start())]
            end = match.end()
        return b"".join([*parts, literal[end:].encode("utf-8")])

    def _escaped(self, match: re.Match[str], at: int) -> bytes:
        octal, hexadecimal, letter = match.groups()
        if letter is None:
            code = int(octal, 8) if octal else int(hexadecimal, 16)
            if code > 0xFF:
                raise self._error(at, r"an octal escape of one byte, \000 to \377")
            return bytes([code])
        if letter == "x":
            raise self._error(at, r"one or two hexadecimal digits after \x")
        if letter in "uUN":
            raise self._error(at, r"a character as itself, or its UTF-8 bytes as octal escapes")
        # TensorFlow keeps the backslash of an escape that it does not know.
        return _LETTERS.get(letter, f"\\{letter}".encode())

    def _number(self) -> str:
        start = self.at
        number = self._take("number") or self._take("name") or ""
        if re.match("-?0[0-9]", number):
            raise self._error(start, "a number without leading zeros")
        if not _NOT_FINITE.fullmatch(number):
            try:
                float(number.rstrip("fF"))  # C's suffix is taken, as in 1.5f
            except ValueError as error:
                raise self._error(start, "a number") from error
        return number

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _take(self, kind: str) -> str | None:
        """Return the next token and step over it if it is of this kind."""
        match = _TOKEN.match(self.text, self.at)
        if match is None or match.lastgroup != kind:
            return None
        self.at = match.end()
        self._skip_blank()
        return match[0]

    def _skip_blank(self) -> None:
        blank = _BLANK.match(self.text, self.at)
        assert blank is not None  # the pattern matches nothing at all, too
        self.at = blank.end()

    def _position(self, at: int) -> tuple[int, int]:
        return self.text.count("\n", 0, at) + 1, at - self.text.rfind("\n", 0, at)

    def _error(self, at: int, expected: str) -> CheckpointError:
        line, column = self._position(at)
        rest = self.text[at : at + 40].split("\n", 1)[0]
        return CheckpointError(
            "the checkpoint file cannot be parsed",
            where=f"{self.where}, line {line}, column {column}",
            found=f"`{rest}`" if rest else "the end of the line" if at < len(self.text) else "the end of the file",
            expected=expected,
            hint="mend the line, or pass the prefix of the checkpoint you mean",
        )

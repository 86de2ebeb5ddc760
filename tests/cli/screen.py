"""A small terminal: what a person sees after a program wrote to one, of the few codes that are written here."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

from cli_runs import environment
from rich.cells import cell_len

CODE = re.compile(r"\x1b\[(\??[0-9;]*)([a-zA-Z])|([\r\n])|([^\x1b\r\n])")


class Screen:
    """Lines of text, the last `height` of which are seen; `frames` are what was seen before something was erased."""

    def __init__(self, width: int = 80, height: int = 24) -> None:
        self.width, self.height = width, height
        self.lines = [""]
        self.row = 0
        self.column = 0
        self.cursor = True
        self.drawn = False
        self.frames: list[list[str]] = []
        self.lost = 0

    def feed(self, text: str) -> Screen:
        """Do what the codes in a text say."""
        place = 0
        while place < len(text):
            match = CODE.match(text, place)
            assert match, f"unknown code {text[place : place + 12]!r}"
            self._do(match)
            place = match.end()
        return self

    @property
    def seen(self) -> list[str]:
        """All lines, those that scrolled away included, without the empty ones at the end."""
        lines = [line.rstrip() for line in self.lines]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def _do(self, match: re.Match[str]) -> None:
        number, letter, move, character = match.groups()
        if character:
            self._print(character)
        elif move == "\r":
            self.column = 0
        elif move == "\n":
            self._down()
        elif letter == "A":
            wanted = int(number or 1)
            top = max(0, len(self.lines) - self.height)
            self.lost += max(0, wanted - (self.row - top))  # it cannot go above the screen: lines would stay there
            self.row = max(top, self.row - wanted)
        elif letter == "K":
            assert number == "2"
            if self.drawn:
                self.frames.append(list(self.lines[-self.height :]))
            self.drawn = False
            self.lines[self.row] = ""
        elif letter in {"h", "l"}:
            assert number == "?25"
            self.cursor = letter == "h"
        else:
            assert letter == "m", letter

    def _print(self, character: str) -> None:
        self.drawn = True
        size = cell_len(character)
        if self.column + size > self.width:
            self._down()
            self.column = 0
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
        self.column += size

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")


def on_screen(words: list[str], width: int = 80, height: int = 24, **changes: str) -> tuple[Screen, str]:
    """Run a process on a pseudo terminal of a size; return what is seen, and what was written."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    with subprocess.Popen(words, env=environment(**changes), stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        written = b""
        while True:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # what Linux says when the last writer has gone
                break
            if not piece:
                break
            written += piece
    os.close(ours)
    text = written.decode()
    return Screen(width, height).feed(text), text

"""A real browser for pages: what it makes of them, and what it has to say; skipped where there is none."""

from __future__ import annotations

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VOID = {"meta", "link", "br", "input"}

# It is not to call home while it is tested.
QUIET = "--disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"

# Tells in the page itself what the browser loaded for it, and what went wrong in it.
WITNESS = """<script>
addEventListener("error", event => { document.body.dataset.error = event.message; });
addEventListener("load", () => {
document.body.dataset.loaded = performance.getEntriesByType("resource").map(entry => entry.name).join(" ");
%s
});</script></body>"""


def browse(document: bytes, folder: Path, fragment: str = "", script: str = "", *flags: str) -> tuple[str, str]:
    """Return the page as Chromium has it after `script` was run in it, and what it logged.

    Args:
        document: the page.
        folder: where the page and the browser's profile may lie.
        fragment: of the page's address.
        script: run when the page is loaded.
        flags: of the browser.
    """
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    file = folder / "page.html"
    file.write_bytes(document.replace(b"</body>", (WITNESS % script).encode()))
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", *QUIET.split(), "--enable-logging=stderr"]
    words += [f"--user-data-dir={folder / 'profile'}", "--dump-dom", *flags, file.as_uri() + fragment]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


class Page(HTMLParser):
    """Elements, their attributes, and text; fails on an element that is not closed."""

    def __init__(self, document: bytes) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(document.decode())
        self.close()
        assert self.opened == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.opened.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.opened.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.opened):
            self.text.append(data)

    @property
    def words(self) -> str:
        """All that is read, with single spaces."""
        return " ".join(" ".join(self.text).split())

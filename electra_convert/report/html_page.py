"""The shell of an HTML page: one file that loads nothing, and the only way for text to get into it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape as escape_markup

from electra_convert.report.lines import safe

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

PAGE_BEGINS = b"<!DOCTYPE html>\n"


def escape(text: str) -> str:
    """Return text from anywhere as it may stand in the page: no markup, and nothing that hides in a line."""
    return escape_markup(safe(text))


def page(title: str, body: Iterable[str], style: str, script: str) -> bytes:
    """Return a whole page; everything but `style` and `script`, which are ours, has been escaped."""
    document = (
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + f"\n</main>\n<script>{script}</script>\n</body>\n</html>\n"
    )
    return PAGE_BEGINS + document.encode()


def section(title: str, inside: str) -> str:
    """Return a part of the page under a heading."""
    return f"<section>\n<h2>{title[:1].upper()}{title[1:]}</h2>\n{inside}\n</section>"

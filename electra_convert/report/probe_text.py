"""A probe for people: the text as it was played, what the generator thought, the figures, and a verdict in words.

    Window 1 of 298, round 1
      HORTENSIO: Sirrah [Biondello→king]^64, go^31 and entreat my [wife]^12

      masked     put in  ^   generator guesses
      Biondello  king    64  , 9 %  the 4 %  lord 3 %

Replaced tokens stand in brackets with an arrow, the discriminator's percentage after a `^`: colour repeats it, and says
nothing that these do not.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from electra_convert.probing.result import ENOUGH_FOR_YES
from electra_convert.report.lines import count, safe, wrapped

if TYPE_CHECKING:
    from electra_convert.probing.figures import Share
    from electra_convert.probing.result import Finding, PlayedWindow, Probe, Setting, Token

Level = Literal["calm", "odd", "suspect"]
"""What colour repeats: a probability below the share of masked tokens, above it, or above one half."""

Paint = Callable[[str, Level], str]

# Narrower, nothing could be laid out; wider, lines are hard to read.
NARROWEST, WIDEST = 24, 100

ARROW, ASCII_ARROW = "→", "->"

# Width of the column of labels, and of the indentation of a window.
LABEL, INDENT = 15, 2

GUESSES = "generator guesses"

# Between columns.
GAP = 2

# Before a word piece that continues a word.
CONTINUED = "##"

VERDICTS: dict[Finding, str] = {
    "trained": "the discriminator tells replaced tokens from original ones; random weights do not",
    "like random weights": "the discriminator does not tell replaced tokens from original ones",
    "worse than random weights": "the discriminator takes original tokens for replaced ones: weights are out of place",
    "unclear": "this does not tell the discriminator from random weights (AUC 0.45 to 0.55); a longer text tells more",
}
ALONE = ", and so does the discriminator's folder alone, against random tokens"
GENERATOR_VERDICTS: dict[Finding, str] = {
    "trained": "the generator guesses masked tokens better than by always saying the commonest",
    "like random weights": "the generator guesses no better than by always saying the commonest",
    "unclear": "the generator may guess no better than by always saying the commonest; a longer text tells more",
}


def plain(text: str, level: Level) -> str:
    """Leave text as it is."""
    return text


def probe_lines(
    probe: Probe,
    *,
    show: int = 1,
    verbose: bool = False,
    width: int = 80,
    paint: Paint = plain,
    ascii_only: bool = False,
) -> list[str]:
    """Return a game in lines.

    Args:
        probe: the game.
        show: how many windows of the text to show.
        verbose: also a line for every token of these.
        width: of the terminal, in cells.
        paint: gives a piece of text the colour of its level.
        ascii_only: for a stream that takes no arrow.
    """
    width = max(NARROWEST, min(width, WIDEST))
    arrow = ASCII_ARROW if ascii_only else ARROW
    lines = _labelled(_facts(probe), width)
    for number, window in enumerate(probe.windows[:show]):
        lines += ["", f"Window {number % probe.text.windows + 1} of {probe.text.windows:,}, round {window.round + 1}"]
        lines += [
            f"{'':{INDENT}}{line}".rstrip() for line in _shown(window, probe, verbose, width - INDENT, paint, arrow)
        ]
    if show:
        lines += ["", *wrapped(_legend(probe, arrow), width)]
    lines += ["", *_labelled(_figures(probe), width)]
    if probe.google is not None:
        lines += ["", "As Google's evaluation names it"]
        lines += [f"  {name:<27}  {_number(value)}" for name, value in probe.google.items()]
    return [*lines, "", *_labelled(_verdicts(probe), width)]


def display_width(text: str) -> int:
    """Return how many cells of a terminal a text takes.

    >>> display_width("abc"), display_width("日本"), display_width("e\\u0301")
    (3, 4, 1)
    """
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _facts(probe: Probe) -> list[tuple[str, str]]:
    text = probe.text
    bound = f"at most {probe.settings['max_length'].value:g}"
    read = f"{safe(text.name)}: {count(text.tokens, 'token')} in {count(text.windows, 'window')} of {bound}"
    if text.ended_at is not None:
        read += f"; not read beyond line {text.ended_at:,} (--max-tokens)"
    game = [_setting("{:.0%} masked", probe.settings["mask"])]
    if "temperature" in probe.settings:
        game.append(_setting("temperature {:g}", probe.settings["temperature"]))
    rounds = probe.settings["rounds"]
    game += [_setting("{:g} rounds", rounds)] if rounds.value > 1 else []
    game.append(f"seed {probe.seed}")
    by = "none: random tokens of the vocabulary take the masked places"
    return [
        ("Discriminator", safe(probe.discriminator)),
        ("Generator", safe(probe.generator) if probe.generator else by),
        ("Text", read),
        ("Game", ", ".join(game)),
    ]


def _setting(form: str, setting: Setting) -> str:
    return f"{form.format(setting.value)} ({setting.source})"


def _shown(window: PlayedWindow, probe: Probe, verbose: bool, width: int, paint: Paint, arrow: str) -> Iterator[str]:
    yield from _text(window.tokens, probe, width, paint, arrow)
    masked = [token for token in window.tokens if token.masked]
    if probe.generator and masked:
        yield ""
        yield from _guesses(masked, width)
    if verbose:
        yield ""
        rows = [("token", "^", "")]
        for token in window.tokens:
            told = _masked(token, arrow) if token.masked else ""
            rows.append((_original(token), f"{100 * token.probability:.1f}", told))
        yield from _columns(rows)


def _text(tokens: Sequence[Token], probe: Probe, width: int, paint: Paint, arrow: str) -> Iterator[str]:
    """Yield the text in lines of at most `width` cells, broken at white space, else between tokens."""
    line, used = "", 0
    for run in _runs(tokens):
        marks = [(_mark(word, probe, arrow), _level(word, probe)) for word in _words(run)]
        needed = sum(display_width(mark) for mark, _ in marks)
        gap = " " if run[0].gap == " " and used else ""
        if used and (run[0].gap == "\n" or used + len(gap) + min(needed, width) > width):
            yield line
            line, used, gap = "", 0, ""
        line, used = line + gap, used + len(gap)
        for mark, level in marks:
            if used and used + display_width(mark) > width:
                yield line
                line, used = "", 0
            line += paint(mark, level)
            used += display_width(mark)
    if line:
        yield line


def _runs(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Yield the tokens between which there is no white space."""
    run: list[Token] = []
    for token in tokens:
        if token.gap and run:
            yield run
            run = []
        run.append(token)
    if run:
        yield run


def _words(run: Sequence[Token]) -> Iterator[list[Token]]:
    """Yield the pieces of each word together, but a word with a masked piece piece by piece."""
    word: list[Token] = []
    for token in [*run, None]:
        if word and (token is None or not token.piece.startswith(CONTINUED)):
            yield from [[piece] for piece in word] if any(piece.masked for piece in word) else [word]
            word = []
        if token is not None:
            word.append(token)


def _mark(word: Sequence[Token], probe: Probe, arrow: str) -> str:
    """Return a word, or a masked piece, with the highest percentage of its pieces where that is to be told."""
    masked = word[0].masked
    mark = _masked(word[0], arrow) if masked else safe("".join(piece.written for piece in word))
    return f"{mark}^{_percentage(word)}" if masked or _level(word, probe) != "calm" else mark


def _percentage(word: Sequence[Token]) -> str:
    return f"{100 * max(piece.probability for piece in word):.0f}"


def _masked(token: Token, arrow: str) -> str:
    inside = "" if token.replacement is None else f"{arrow}{safe(token.replacement)}"
    return f"[{_original(token)}{inside}]"


def _original(token: Token) -> str:
    """Return a token as it stands in the text; a piece that continues a word keeps its `##`."""
    return safe(token.piece if token.piece.startswith(CONTINUED) or not token.written else token.written)


def _level(word: Sequence[Token], probe: Probe) -> Level:
    probability = max(piece.probability for piece in word)
    if probability >= 0.5:
        return "suspect"
    return "odd" if probability >= probe.settings["mask"].value else "calm"


def _guesses(masked: Sequence[Token], width: int) -> list[str]:
    """Return a row a masked token, with as many of the guesses as there is room for, if any."""
    rows = [("masked", "put in", "^")]
    for token in masked:
        placed = token.piece if token.replacement is None else token.replacement
        rows.append((_original(token), safe(placed), _percentage([token])))
    start = max(map(display_width, _columns(rows)))
    room = width - start - GAP
    told = [GUESSES]
    for token in masked:
        line = ""
        for guess in token.guesses:
            more = f"{line}{'':{GAP if line else 0}}{safe(guess.piece)} {guess.probability:.0%}"
            if line and display_width(more) > room:
                break
            line = more
        told.append(line)
    if room < len(GUESSES):
        return _columns(rows)
    return _columns([(*row, guesses) for row, guesses in zip(rows, told, strict=True)])


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    padded = [
        [cell + " " * (width - display_width(cell)) for cell, width in zip(row, widths, strict=True)] for row in rows
    ]
    return [(" " * GAP).join(row).rstrip() for row in padded]


def _legend(probe: Probe, arrow: str) -> str:
    score = "the sigmoid of its logit, in percent" if probe.energy else "the discriminator's probability, in percent"
    return (
        f"[a{arrow}b] a was replaced by b; [a] a was masked, and came back; ^41 {score}, that this is a replacement; "
        f"below {probe.settings['mask'].value:.0%} it is told for masked tokens only"
    )


def _figures(probe: Probe) -> list[tuple[str, str]]:
    auc, kept = probe.detection, probe.kept
    rows = []
    if probe.guessing:
        guessing = probe.guessing
        rows.append(("Masked", f"{_share(guessing.right)} guessed right; always `{safe(guessing.commonest)}`: "
                     f"{guessing.commonest_share:.1%}"))  # fmt: skip
    rows.append(("Put in", f"{_share(kept)} the original itself"))
    if auc.value is None or auc.low is None or auc.high is None:
        detected = "none: there are not both replaced and original tokens"
    else:
        detected = f"{auc.value:.3f} (95%: {auc.low:.3f} to {auc.high:.3f}); random weights: 0.5"
    rows.append(("AUC", detected))
    rows.append(("", f"over {count(auc.replaced, 'replaced token')} and {auc.original:,} original ones"))
    return rows


def _share(share: Share) -> str:
    if share.value is None or share.low is None or share.high is None:
        return "none"
    return f"{share.value:.1%} (95%: {share.low:.1%} to {share.high:.1%}), {share.hits:,} of {share.total:,},"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _verdicts(probe: Probe) -> list[tuple[str, str]]:
    known = probe.text.tokens - probe.text.unknown
    if known < ENOUGH_FOR_YES:
        told = f"{count(known, 'known token')} of text prove nothing, whatever the figures"
        rows = [("Verdict", f"UNCLEAR: {told}; take {ENOUGH_FOR_YES} or more")]
    else:
        more = ALONE if probe.finding == "unclear" and probe.generator else ""
        rows = [("Verdict", f"{probe.finding.upper()}: {VERDICTS[probe.finding]}{more}")]
        if probe.generator_finding:
            rows.append(("", f"{probe.generator_finding.upper()}: {GENERATOR_VERDICTS[probe.generator_finding]}"))
    if probe.energy:
        rows.append(("", f"No probabilities: {safe(probe.energy)}"))
    return rows


def _labelled(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Return labels and texts, wrapped beside them, or below them where the terminal is narrow."""
    lines: list[str] = []
    for label, text in rows:
        if width >= 2 * NARROWEST:
            first, *rest = wrapped(text, width - LABEL)
            lines += [f"{label:<{LABEL}}{first}", *(f"{'':{LABEL}}{line}" for line in rest)]
        else:
            lines += [*([label] if label else []), *(f"{'':{INDENT}}{line}" for line in wrapped(text, width - INDENT))]
    return lines

"""Pictures of proofs as inline SVG: a half in two bars on a log scale, and a whole batch as counts by decade.

    1e-17        1e-10          1
    ▇▇▇▇         ┆░░░░░░░░░░░░░░░   float64: the bar ends at the largest difference, beyond the limit it is shaded
    ▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇┆░░░░░░░░░░░░   float32

Colours come from the page's style sheet; what the bars say is in words in each picture's title.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from electra_convert.report.batch_results import Figure, HalfFacts, tell_figure
from electra_convert.report.html_page import escape
from electra_convert.report.verdict import axis_position

# The axis of all pictures ends at 1, the scale itself.
START = 1e-17
LOWEST = round(math.log10(START))

# Decades from tick to tick; the last one is 1.
TICK = 3

# Pixels of a half's picture, and where its two bars are.
WIDTH, HEIGHT, BAR = 150, 20, 6
TOPS = {"float64": 2, "float32": 12}

# Pixels of a batch's picture that the browser scales to the width it has.
COLUMN, TALLEST, LABELS, AXIS, SIDE = 30, 84, 18, 22, 14


def plot_half(half: HalfFacts) -> str:
    """Return the picture of a half's proof; empty where no forward pass was compared."""
    if not half.figures:
        return ""
    # One path for what looks the same: a page has thousands of these pictures.
    limits = [(TOPS[rung], _x(figure.limit)) for rung, figure in half.figures.items() if figure.limit is not None]
    tracks = "".join(f"M0 {TOPS[rung]}h{WIDTH}v{BAR}h-{WIDTH}z" for rung in half.figures)
    beyond = "".join(f"M{x} {top}H{WIDTH}v{BAR}H{x}z" for top, x in limits)
    edges = "".join(f"M{x} {top - 2}v{BAR + 4}" for top, x in limits)
    bars = "".join(_bar(rung, figure) for rung, figure in half.figures.items())
    return (
        f'<svg class="proof" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">'
        f'<title>{escape(tell_proof(half))}</title><path class="track" d="{tracks}"/><path class="over" d="{beyond}"/>'
        f'{bars}<path class="limit" d="{edges}"/></svg>'
    )


def tell_proof(half: HalfFacts) -> str:
    """Return what a half's picture shows, in words."""
    told = [f"{half.half}: {', '.join(_told(rung, figure) for rung, figure in half.figures.items())}"]
    told += [f"rounding to {half.dtype} moved outputs by {half.rounding:.0e}"] if half.rounding else []
    return "; ".join(told)


def plot_decades(rung: str, halves: Iterable[HalfFacts]) -> str:
    """Return how many halves have their largest difference in which decade; empty if none has one."""
    figures = [half.figures[rung] for half in halves if rung in half.figures]
    if not figures:
        return ""
    counts = Counter(map(_decade, figures))
    farthest = max(figures, key=lambda figure: figure.share)
    limits = [figure.limit for figure in figures]
    limit = None if None in limits else min(filter(None, limits), default=None)
    what = "half" if len(figures) == 1 else "halves"
    caption = f"{rung}: {len(figures):,} {what}, the farthest {tell_figure(farthest)} of scale"
    width, height = COLUMN * -LOWEST, LABELS + TALLEST
    columns = "".join(_column(rung, decade, number, max(counts.values())) for decade, number in sorted(counts.items()))
    return (
        f'<figure><figcaption>{caption}</figcaption><svg viewBox="{-SIDE} 0 {width + 2 * SIDE} {height + AXIS}" '
        f'role="img"><title>{caption}</title>{_limit(limit, width, height)}{_axis(width, height)}{columns}'
        "</svg></figure>"
    )


def _told(rung: str, figure: Figure) -> str:
    found = f"{rung} {'' if figure.exact else 'at most '}{tell_figure(figure)} of scale"
    return found if figure.limit is None else f"{found} (limit {figure.limit:.1e})"


def _bar(rung: str, figure: Figure) -> str:
    broken = " failed" if figure.limit is not None and figure.share > figure.limit else ""
    return f'<path class="{rung}{broken}" d="M0 {TOPS[rung]}h{max(1.0, _x(figure.share))}v{BAR}H0z"/>'


def _x(share: float) -> float:
    return round(WIDTH * axis_position(share, START), 1)


def _decade(figure: Figure) -> int:
    """Return the exponent of the decade that a figure lies in; a bound is the upper end of its decade."""
    if figure.share <= START:
        return LOWEST
    exponent = math.floor(math.log10(figure.share)) if figure.exact else round(math.log10(figure.share)) - 1
    return min(-1, max(LOWEST, exponent))


def _column(rung: str, decade: int, number: int, most: int) -> str:
    height = max(2.0, round(TALLEST * number / most, 1))
    x, y = COLUMN * (decade - LOWEST), LABELS + TALLEST - height
    return (
        f'<rect class="{rung}" x="{x + 3}" y="{y}" width="{COLUMN - 6}" height="{height}" rx="2"/>'
        f'<text class="count" x="{x + COLUMN / 2}" y="{y - 5}" text-anchor="middle">{number:,}</text>'
    )


def _limit(limit: float | None, width: int, height: int) -> str:
    if limit is None:
        return ""
    x = round(width * axis_position(limit, START), 1)
    return (
        f'<rect class="over" x="{x}" y="{LABELS}" width="{round(width - x, 1)}" height="{TALLEST}"/>'
        f'<path class="limit" d="M{x} {LABELS}V{height}"/>'
        f'<text class="tick" x="{x + 7}" y="{LABELS + 16}">beyond the limit, {limit:.0e}</text>'
    )


def _axis(width: int, height: int) -> str:
    line = f'<path class="grid" d="M0 {height}H{width}"/>'
    return line + "".join(
        f'<text class="tick" x="{COLUMN * (exponent - LOWEST)}" y="{height + 16}" text-anchor="middle">'
        f"{'1' if exponent == 0 else f'1e{exponent}'}</text>"
        for exponent in range(LOWEST + 2, 1, TICK)
    )

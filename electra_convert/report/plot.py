"""A series of differences as inline SVG: a bar a state on a log scale, the limit as a stepped line.

    embeddings  ▇▇▇▇▇      ┆              4.0e-16
    layer 0     ▇▇▇▇▇▇     ┆              6.9e-16
                1e-16  …   1e-10   …   1

Colours come from the page's style sheet; what failed says so in words.
"""

from __future__ import annotations

import math
from html import escape

from electra_convert.report.verdict import Point, Series, axis_position, tell_number

# Pixels of a drawing that the browser scales to the width it has.
LABELS, PLOT, FIGURES = 92, 300, 132
ROW, BAR, AXIS = 20, 11, 24

# Ticks a decade apart would run into each other.
MOST_TICKS = 7


def plot_series(series: Series) -> str:
    """Return a figure with the bars of one series."""
    height = ROW * len(series.points)
    width = LABELS + PLOT + FIGURES
    failed = sum(not point.passed for point in series.points)
    verdict = f"{failed} beyond the limit" if failed else "all within the limit"
    marks = "".join(_tick(exponent, series.start, height) for exponent in _exponents(series.start))
    bars = "".join(_bar(number, point, series.start) for number, point in enumerate(series.points))
    return (
        f"<figure><figcaption>{escape(series.title)}: {verdict}</figcaption>"
        f'<svg viewBox="0 0 {width} {height + AXIS}" role="img" aria-label="{escape(series.title)}, {verdict}">'
        f"{marks}{bars}{_limit_line(series)}</svg></figure>"
    )


def _exponents(start: float) -> list[int]:
    lowest = round(math.log10(start))
    step = math.ceil(-lowest / MOST_TICKS)
    return list(range(0, lowest - 1, -step))


def _x(share: float, start: float) -> float:
    return round(LABELS + PLOT * axis_position(share, start), 1)


def _tick(exponent: int, start: float, height: int) -> str:
    x = _x(10.0**exponent, start)
    text = "1" if exponent == 0 else f"1e{exponent}"
    return (
        f'<line class="grid" x1="{x}" y1="0" x2="{x}" y2="{height}"/>'
        f'<text class="tick" x="{x}" y="{height + 16}" text-anchor="middle">{text}</text>'
    )


def _bar(number: int, point: Point, start: float) -> str:
    top, middle = number * ROW + (ROW - BAR) / 2, number * ROW + ROW / 2 + 4
    end = _x(point.share, start)
    figure = tell_number(point.share) if math.isfinite(point.share) else "not finite"
    kind, word = ("bar", "") if point.passed else ("bar failed", " FAILED")
    title = f"{point.state}: {figure}, limit {tell_number(point.limit)}{word}"
    return (
        f'<g><title>{escape(title)}</title><text class="state" x="{LABELS - 8}" y="{middle}" text-anchor="end">'
        f'{escape(point.state)}</text><rect class="{kind}" x="{LABELS}" y="{top}" rx="2" '
        f'width="{max(1.0, round(end - LABELS, 1))}" height="{BAR}"/>'
        f'<text class="figure" x="{LABELS + PLOT + 10}" y="{middle}">{figure}{word}</text></g>'
    )


def _limit_line(series: Series) -> str:
    """Return the limit as one line through all rows, with a step where it changes."""
    steps = []
    for number, point in enumerate(series.points):
        x = _x(point.limit, series.start)
        steps.append(f"{'M' if number == 0 else 'L'}{x} {number * ROW}V{(number + 1) * ROW}")
    return f'<path class="limit" d="{"".join(steps)}"/>'

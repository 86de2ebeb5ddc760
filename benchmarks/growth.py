"""Pictures of how time and memory grow, as SVG: panels side by side, each with lines over a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 640, 340, 60, 40, 60, 40
COLOURS = ("#2a6fdb", "#999999")


class Panel(NamedTuple):
    """A title, the places along the axis with what stands below each, and lines of one value for each place."""

    title: str
    places: Sequence[float]
    labels: Sequence[str]
    lines: Mapping[str, Sequence[float]]


def write_plot(path: Path, panels: Sequence[Panel]) -> None:
    """Write the panels side by side; every vertical axis begins at zero, so that what is flat looks flat."""
    drawn = "".join(_draw(panel, number * WIDTH) for number, panel in enumerate(panels))
    size = f"0 0 {len(panels) * WIDTH} {HEIGHT}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" font-family="sans-serif" font-size="14">'
    path.write_text(f'{head}<rect width="100%" height="100%" fill="white"/>{drawn}</svg>\n')


def _draw(panel: Panel, left: int) -> str:
    highest = 1.25 * max(value for values in panel.lines.values() for value in values)
    first, last = math.log(panel.places[0]), math.log(panel.places[-1])
    axis, begin, end = HEIGHT - BOTTOM, left + LEFT, left + WIDTH - RIGHT

    def across(place: float) -> float:
        return begin + 20 + (math.log(place) - first) / (last - first) * (end - begin - 40)

    def up(value: float) -> float:
        return axis - value / highest * (axis - TOP)

    parts = [
        f'<text x="{begin}" y="24" font-weight="bold">{panel.title}</text>',
        f'<path d="M{begin} {TOP}V{axis}H{end}" fill="none" stroke="#444"/>',
    ]
    for place, label in zip(panel.places, panel.labels, strict=True):
        parts.append(f'<text x="{across(place):.0f}" y="{axis + 20}" text-anchor="middle">{label}</text>')
    for number, (name, values) in enumerate(panel.lines.items()):
        colour = COLOURS[number]
        points = [(across(place), up(value)) for place, value in zip(panel.places, values, strict=True)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for (x, y), value in zip(points, values, strict=True):
            # The first line is told above its points, the second below if there is room above the axis.
            beside = y + 22 if number and y + 22 < axis else y - 8
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
            parts.append(f'<text x="{x:.0f}" y="{beside:.0f}" text-anchor="middle" fill="{colour}">{value:.3g}</text>')
        parts.append(f'<text x="{begin + 10 + 270 * number}" y="{axis + 46}" fill="{colour}">{name}</text>')
    return "".join(parts)

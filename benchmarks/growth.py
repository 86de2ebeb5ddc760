"""The picture of how time and memory grow with the model, as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 360, 70, 60, 40
COLOURS = ("#2a6fdb", "#999999", "#d1495b")


def write_plot(path: Path, results: Sequence[Mapping[str, Any]], ours: str, copy: str) -> None:
    """Write two panels over the bytes of the output: seconds (both axes logarithmic), and memory."""
    outputs = [result["output_bytes"] for result in results]
    series = {name: [result["contenders"][name]["seconds"] for result in results] for name in (ours, copy)}
    memory = [result["contenders"][ours]["memory_above_bare"] for result in results]
    panels = [
        _panel(0, "seconds, logarithmic", outputs, series, logarithmic=True),
        _panel(WIDTH, "memory above the bare interpreter, MB", outputs, {ours: memory}, logarithmic=False),
    ]
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="14"><rect width="100%" height="100%" fill="white"/>{"".join(panels)}</svg>\n'
    )


def _panel(
    left: int, title: str, outputs: Sequence[int], series: Mapping[str, Sequence[float]], *, logarithmic: bool
) -> str:
    everything = [value for values in series.values() for value in values]
    low = min(everything) / 2 if logarithmic else 0.0
    high = max(everything) * (2 if logarithmic else 1.2)
    x_low, x_high = math.log(min(outputs) / 2), math.log(max(outputs) * 2)

    def x(nbytes: float) -> float:
        return left + LEFT + (math.log(nbytes) - x_low) / (x_high - x_low) * (WIDTH - LEFT - 40)

    def y(value: float) -> float:
        share = math.log(value / low) / math.log(high / low) if logarithmic else (value - low) / (high - low)
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)

    parts = [f'<text x="{left + LEFT}" y="24" font-weight="bold">{title}</text>']
    axis = HEIGHT - BOTTOM
    parts.append(f'<path d="M{left + LEFT} {TOP}V{axis}H{left + WIDTH - 30}" fill="none" stroke="#444"/>')
    for nbytes in outputs:
        told = f"{nbytes / 1e9:.2g} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.0f} MB"
        parts.append(f'<text x="{x(nbytes):.0f}" y="{axis + 20}" text-anchor="middle">{told}</text>')
    for number, (name, values) in enumerate(series.items()):
        points = [(x(nbytes), y(value)) for nbytes, value in zip(outputs, values, strict=True)]
        line = " ".join(f"{across:.1f},{up:.1f}" for across, up in points)
        colour = COLOURS[number]
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for (across, up), value in zip(points, values, strict=True):
            parts.append(f'<circle cx="{across:.1f}" cy="{up:.1f}" r="4" fill="{colour}"/>')
            parts.append(
                f'<text x="{across:.0f}" y="{up - 8:.0f}" text-anchor="middle" fill="{colour}">{value:.3g}</text>'
            )
        parts.append(f'<text x="{left + LEFT + 12 + 330 * number}" y="{axis + 46}" fill="{colour}">{name}</text>')
    return "".join(parts)

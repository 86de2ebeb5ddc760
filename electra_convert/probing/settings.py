"""How a game is played: as it was asked for, else as the record says of the training, else by Google's defaults."""

from __future__ import annotations

import math
from collections.abc import Sequence

from electra_convert.errors import SettingError
from electra_convert.probing.game import count_draws
from electra_convert.probing.halves import Players
from electra_convert.probing.result import Setting
from electra_convert.probing.text import Window

# Google's defaults (`configure_pretraining.py`).
MASK, TEMPERATURE = 0.15, 1.0

# A short text is played again, with other places masked, until so many were; the masked places of one round say little.
ENOUGH_MASKED, MOST_ROUNDS = 100, 20

# [CLS], [SEP] and a few tokens.
SHORTEST_WINDOW = 8


def settle(
    players: Players, mask: float | None, temperature: float | None, max_length: int | None
) -> dict[str, Setting]:
    """Return how the game is played: as given, else as the record says of the training, else by Google's defaults."""
    training = players.training
    settings = {
        "max_length": _choose_length(max_length, players),
        "mask": _first(mask, training.mask, MASK),
    }
    if players.generator is not None:
        settings["temperature"] = _first(temperature, training.temperature, TEMPERATURE)
    return settings


def _first(given: float | None, recorded: float | None, default: float) -> Setting:
    if given is not None:
        return Setting(given, "given")
    return Setting(default, "Google's default") if recorded is None else Setting(recorded, "as in training")


def _choose_length(given: int | None, players: Players) -> Setting:
    positions = min(half.positions for half in players.halves)
    if given is not None:
        if not SHORTEST_WINDOW <= given <= positions:
            raise SettingError(
                "the longest window does not fit the position table",
                found=str(given),
                expected=f"{SHORTEST_WINDOW} to {positions}, the rows of the position embeddings",
            )
        return Setting(given, "given")
    trained = players.training.length
    # Positions beyond were never trained, and would look like wrong weights.
    if trained is not None and SHORTEST_WINDOW <= trained < positions:
        return Setting(trained, "as in training")
    return Setting(positions, "the position table")


def choose_rounds(given: int | None, windows: Sequence[Window], mask: float, length: int) -> Setting:
    """Return how often a text is played."""
    if given is not None:
        return Setting(given, "given")
    masked = sum(count_draws(len(window.pieces) + len(window.segments) + 1, mask, length) for window in windows)
    return Setting(min(MOST_ROUNDS, math.ceil(ENOUGH_MASKED / masked)), f"for {ENOUGH_MASKED} masked tokens")

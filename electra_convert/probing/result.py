"""What came of a probe: the text as it was played, the figures, and what they say in one word a half."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from electra_convert.notices import Notice, Noticed
from electra_convert.probing.figures import Auc, Share

# AUC of 16 networks with random weights, 13,600 tokens each: 0.47 to 0.52, which is further from 0.5 than chance alone,
# since a network may dislike a common token for no reason. What is called trained lies beyond, with its interval.
RANDOM_LOW, RANDOM_HIGH = 0.45, 0.55

# Known tokens of a text that can speak for a half, and against it: a few words may be odd ones.
ENOUGH_FOR_YES, ENOUGH_FOR_NO = 20, 100

Finding = Literal["trained", "like random weights", "worse than random weights", "unclear"]


@dataclass(frozen=True, slots=True)
class Guess:
    """A token that the generator thinks of, with its probability at temperature 1."""

    piece: str
    probability: float

    def to_json(self) -> dict[str, Any]:
        """Return the guess as plain data."""
        return {"piece": self.piece, "probability": self.probability}


@dataclass(frozen=True, slots=True)
class Token:
    """A word piece of the text after a round.

    `written` is what it was on the page and `gap` the white space before it. `hidden` tells that the generator saw
    [MASK]. `replacement` is None where the original stayed, be it that it was not masked or that the same came back.
    `probability` is the sigmoid of the discriminator's logit, that the token was replaced. `guesses`, and the
    generator's probability of the original, are there for masked tokens only, and with a generator.
    """

    piece: str
    written: str
    gap: str
    probability: float
    masked: bool = False
    hidden: bool = False
    replacement: str | None = None
    guesses: tuple[Guess, ...] = ()
    original_probability: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the token as plain data."""
        return {
            "piece": self.piece if self.replacement is None else self.replacement,
            "masked": self.masked,
            "hidden": self.hidden,
            "original": self.piece,
            "replacement": self.replacement,
            "probability": self.probability,
            "guesses": [guess.to_json() for guess in self.guesses],
            "original_probability": self.original_probability,
        }


@dataclass(frozen=True, slots=True)
class PlayedWindow:
    """A window of the text after a round (counted from 0)."""

    round: int
    tokens: tuple[Token, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the window as plain data."""
        return {"round": self.round, "tokens": [token.to_json() for token in self.tokens]}


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that the game was played with, and where it is from."""

    value: float
    source: str

    def to_json(self) -> dict[str, Any]:
        """Return the setting as plain data."""
        return {"value": self.value, "source": self.source}


@dataclass(frozen=True, slots=True)
class ProbedText:
    """What was read: `ended_at` is the line (from 1) at which reading stopped before the end of the text."""

    name: str
    tokens: int
    unknown: int
    windows: int
    ended_at: int | None

    def to_json(self) -> dict[str, Any]:
        """Return the facts as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Guessing:
    """How the generator did: its best guess right, against always guessing the commonest of the masked tokens.

    `loss` is the mean of -log of its probability of the original.
    """

    right: Share
    loss: float
    commonest: str
    commonest_share: float

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {
            "right": self.right.to_json(),
            "loss": self.loss,
            "commonest": self.commonest,
            "commonest_share": self.commonest_share,
        }


@dataclass(frozen=True, slots=True)
class Probe(Noticed):
    """A game that was played: who played, on what, every token, and the figures.

    `kept` counts the masked tokens for which the original itself was put in. `google` are the figures under Google's
    names, where its evaluation was to be repeated. `energy` says why probabilities may be none.
    """

    discriminator: str
    generator: str | None
    text: ProbedText
    settings: Mapping[str, Setting]
    seed: int
    windows: tuple[PlayedWindow, ...]
    detection: Auc
    kept: Share
    guessing: Guessing | None
    google: Mapping[str, float | None] | None
    energy: str | None
    notices: tuple[Notice, ...]

    @property
    def finding(self) -> Finding:
        """What the figures say of the discriminator."""
        return _judge(self.detection, RANDOM_LOW, RANDOM_HIGH, self.text)

    @property
    def generator_finding(self) -> Finding | None:
        """What they say of the generator; None without one. Random weights never guess right."""
        if self.guessing is None:
            return None
        return _judge(self.guessing.right, 0, self.guessing.commonest_share, self.text)

    def to_json(self) -> dict[str, Any]:
        """Return the whole game as plain data."""
        return {
            "discriminator": self.discriminator,
            "generator": self.generator,
            "replacements": "the generator" if self.generator else "random tokens of the vocabulary",
            "findings": {"discriminator": self.finding, "generator": self.generator_finding},
            "auc": self.detection.to_json(),
            "kept": self.kept.to_json(),
            "masked_accuracy": self.guessing and self.guessing.to_json(),
            "google": None if self.google is None else dict(self.google),
            "probability_is_energy": self.energy,
            "text": self.text.to_json(),
            "settings": {name: setting.to_json() for name, setting in self.settings.items()},
            "seed": self.seed,
            "windows": [window.to_json() for window in self.windows],
            "notes": [notice.to_json() for notice in self.notes],
        }


def _judge(figure: Auc | Share, below: float, above: float, text: ProbedText) -> Finding:
    """Compare the interval of a figure with the values from `below` to `above`, for which nothing need be learnt."""
    known = text.tokens - text.unknown
    if figure.low is None or figure.high is None or known < ENOUGH_FOR_YES:
        return "unclear"
    if figure.low > above:
        return "trained"
    if known < ENOUGH_FOR_NO:
        return "unclear"
    if figure.high < below:
        return "worse than random weights"
    return "like random weights" if below <= figure.low and figure.high <= above else "unclear"

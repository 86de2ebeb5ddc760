"""How far a conversion was proven, in the words and figures that go into its record and its card.

Figures are rounded up to a power of ten: their last digits depend on the BLAS, its threads and the processor, and the
same conversion is to give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from electra_convert.notices import Notice, warning

if TYPE_CHECKING:
    from electra_convert.parity import HalfParity

# rungs.py has the reasons; it is not imported for two numbers, since it brings NumPy along.
LIMITS = {"float64": "1e-10 of scale", "float32": "8 times float32's own noise in each state"}

BYTES = "Every tensor was read back from the file and equals, bit for bit, what its operation makes of the checkpoint."


@dataclass(frozen=True, slots=True)
class Verification:
    """How far a half was proven: `proven` by forward passes, `bytes` read back and compared, `none` (dry run).

    `figures` has the largest difference of each rung as a share of its tensor's scale, rounded up to a power of ten;
    `rounding` among them is how far a narrower export type moved the outputs.
    """

    state: Literal["proven", "bytes", "none"]
    text: str
    references: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    unproven: tuple[str, ...] = ()
    seed: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the verification as plain data."""
        return {
            "state": self.state,
            "text": self.text,
            "references": list(self.references),
            "figures": dict(self.figures),
            "limits": LIMITS if self.state == "proven" else {},
            "unproven": list(self.unproven),
            "seed": self.seed,
        }


def verification_of(parity: HalfParity | None, seed: int = 0) -> Verification:
    """Return what to write down of a proof that holds; None is a conversion whose bytes alone were compared."""
    if parity is None:
        return Verification("bytes", BYTES)
    shares = {rung: parity.worst_share(rung) for rung in ("float64", "float32")}
    figures = {rung: power_of_ten(share) for rung, share in shares.items() if share is not None}
    text = (
        f"{BYTES} In float64 every hidden state and the logits equal those of {' and of '.join(parity.references)} "
        f"within {figures['float64']:g} of their scale; in float32 within {figures['float32']:g}, which is float32's "
        "own noise."
    )
    if parity.rounding is not None:
        figures["rounding"] = power_of_ten(parity.rounding)
        text += f" Rounding the weights to {parity.dtype} moved them by up to {figures['rounding']:g} of their scale."
    unproven = "".join(f" Not proven: {gap}." for gap in parity.unproven)
    return Verification("proven", text + unproven, parity.references, figures, parity.unproven, seed)


def power_of_ten(value: float) -> float:
    """Return the smallest power of ten that is not below a value.

    >>> power_of_ten(3.2e-15)
    1e-14
    """
    return float(f"1e{math.ceil(math.log10(value))}") if value > 0 else 0.0


def not_proven_warning() -> Notice:
    """Return the warning for a conversion whose forward pass nothing was compared with."""
    return warning(
        "not-proven",
        "the bytes were compared, but no forward pass was",
        hint="pip install 'electra-convert[verify]', then electra-convert verify CKPT OUT; or say --no-verify",
        found="torch is not installed",
    )

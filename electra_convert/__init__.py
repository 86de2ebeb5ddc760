"""Convert ELECTRA's TensorFlow 1 checkpoints to Hugging Face folders, and prove the result.

    from electra_convert import open_checkpoint, inspect, convert, verify, state_dict

The public names are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# A literal, because importlib.metadata would cost as much time as the whole command line.
_HOME = {
    "Checkpoint": "tf1.checkpoint",
    "CheckpointError": "errors",
    "ChecksumError": "errors",
    "Conversion": "conversion",
    "ElectraConvertError": "errors",
    "InputError": "errors",
    "Inspection": "inspection",
    "Parity": "parity",
    "ParityError": "errors",
    "Variable": "tf1.checkpoint",
    "convert": "conversion",
    "inspect": "inspection",
    "open_checkpoint": "tf1.checkpoint",
    "state_dict": "conversion",
    "verify": "parity",
}

if TYPE_CHECKING:
    from electra_convert.conversion import Conversion, convert, state_dict
    from electra_convert.errors import (
        CheckpointError,
        ChecksumError,
        ElectraConvertError,
        InputError,
        ParityError,
    )
    from electra_convert.inspection import Inspection, inspect
    from electra_convert.parity import Parity, verify
    from electra_convert.tf1.checkpoint import Checkpoint, Variable, open_checkpoint

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "ChecksumError",
    "Conversion",
    "ElectraConvertError",
    "InputError",
    "Inspection",
    "Parity",
    "ParityError",
    "Variable",
    "__version__",
    "convert",
    "inspect",
    "open_checkpoint",
    "state_dict",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})

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
    "BatchEvent": "batching.running",
    "Checkpoint": "tf1.checkpoint",
    "CheckpointError": "errors",
    "ChecksumError": "errors",
    "Conversion": "conversion",
    "ElectraConvertError": "errors",
    "InputError": "errors",
    "Inspection": "inspection",
    "ItemResult": "batching.running",
    "Parity": "parity",
    "ParityError": "errors",
    "Probe": "probing.result",
    "Restoration": "restoration.restoring",
    "Variable": "tf1.checkpoint",
    "batch": "batching.running",
    "convert": "conversion",
    "inspect": "inspection",
    "open_checkpoint": "tf1.checkpoint",
    "probe": "probing.probing",
    "restore": "restoration.restoring",
    "state_dict": "conversion",
    "verify": "parity",
}

if TYPE_CHECKING:
    from electra_convert.batching.running import BatchEvent, ItemResult, batch
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
    from electra_convert.probing.probing import probe
    from electra_convert.probing.result import Probe
    from electra_convert.restoration.restoring import Restoration, restore
    from electra_convert.tf1.checkpoint import Checkpoint, Variable, open_checkpoint

__all__ = [
    "BatchEvent",
    "Checkpoint",
    "CheckpointError",
    "ChecksumError",
    "Conversion",
    "ElectraConvertError",
    "InputError",
    "Inspection",
    "ItemResult",
    "Parity",
    "ParityError",
    "Probe",
    "Restoration",
    "Variable",
    "__version__",
    "batch",
    "convert",
    "inspect",
    "open_checkpoint",
    "probe",
    "restore",
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

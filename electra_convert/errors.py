"""Every error this package raises on purpose; each knows its exit code and its facts.

    ElectraConvertError
    ├── UsageError               2   what was given contradicts itself
    ├── InputError               3   the input was refused
    │   ├── CheckpointError          a checkpoint's file is not what it must be
    │   │   ├── NotACheckpoint       nothing at this path is a TensorFlow 1 checkpoint
    │   │   ├── TruncatedFile        a file ends too early
    │   │   ├── ChecksumError        stored and computed CRC-32C differ
    │   │   ├── SliceError           slices of a variable overlap or leave a gap
    │   │   └── UnsupportedFeature   valid, but nothing here can read it
    │   ├── GraphError               a `.meta` cannot be used; callers go on without it, with a warning
    │   ├── LayoutError              the variables are not an ELECTRA we know, or the half is not there
    │   │   └── MappingError         variables missing, unexpected or of a wrong shape
    │   ├── SettingError             hparams, a config or a flag contradicts the checkpoint
    │   ├── VocabularyError          the vocabulary is missing, broken or does not belong
    │   ├── ValueRefused             a weight is not finite, or overflows the export's type
    │   ├── FolderError              not a Hugging Face ELECTRA folder
    │   └── ManifestError            a manifest of a batch has faults; all are listed
    ├── EnvironmentFailure       4   the target or the machine does not let us
    │   ├── OutputError              OUT exists, or cannot be written
    │   ├── AccessError              an object store does not let us in
    │   └── MissingExtra             an optional package is not installed
    ├── ParityError              1   the result does not compute what the checkpoint computes
    └── StrictError              1   there were warnings, and `--strict` was given

Exit codes: 0 done, 1 the answer is no, 2 usage, 3 input refused, 4 environment, 70 a bug of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from electra_convert.wording import Fact, describe, renamed

if TYPE_CHECKING:
    from electra_convert.notices import Notice


class ElectraConvertError(Exception):
    """What happened, where, what was found, what was expected, and one thing to do about it.

    Further facts go by keyword and are shown between `where` and `found`:
    `ChecksumError("checksum of a variable differs", where=file, variable=name, found=…, expected=…)`.
    """

    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        message: str,
        *,
        where: Fact | None = None,
        found: Fact | None = None,
        expected: Fact | None = None,
        hint: str | None = None,
        **facts: Fact | None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.found = found
        self.expected = expected
        self.hint = hint
        every = {"where": where, **facts, "found": found, "expected": expected}
        self.facts: dict[str, Fact] = {label: fact for label, fact in every.items() if fact is not None}

    def __str__(self) -> str:
        return describe(self.message, self.facts, self.hint)

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the class with `args` alone and lose the keywords (process pools pickle errors).
        return _rebuild, (type(self), self.message, dict(self.facts), self.hint)

    def rename(self, old: str, new: str) -> None:
        """Call a file by another name wherever the error speaks of it: what was fetched is known by its URL."""
        self.message = self.message.replace(old, new)
        self.args = (self.message,)
        self.hint = self.hint and self.hint.replace(old, new)
        self.facts = {label: renamed(fact, old, new) for label, fact in self.facts.items()}
        self.where, self.found, self.expected = map(self.facts.get, ("where", "found", "expected"))

    def to_json(self) -> dict[str, Any]:
        """Return the error as plain data, for `--json` and reports."""
        facts = {label: fact if isinstance(fact, str) else list(fact) for label, fact in self.facts.items()}
        return {"kind": type(self).__name__, "message": self.message, "facts": facts, "hint": self.hint}


def _rebuild(
    kind: type[ElectraConvertError], message: str, facts: dict[str, Fact], hint: str | None
) -> ElectraConvertError:
    return kind(message, hint=hint, **facts)


class UsageError(ElectraConvertError):
    """What was given contradicts itself."""

    exit_code = 2


class InputError(ElectraConvertError):
    """The input was refused."""

    exit_code = 3


class CheckpointError(InputError):
    """A checkpoint's file is not what it must be."""


class NotACheckpoint(CheckpointError):
    """Nothing at this path is a TensorFlow 1 checkpoint."""


class TruncatedFile(CheckpointError):
    """A file ends before what it must hold."""


class ChecksumError(CheckpointError):
    """A stored and a computed CRC-32C differ."""


class SliceError(CheckpointError):
    """The slices of a partitioned variable overlap or leave a gap."""


class UnsupportedFeature(CheckpointError):
    """The file is valid, but holds what nothing here can read."""


class GraphError(InputError):
    """A `.meta` file cannot be used; never the reason for a failed conversion by itself."""


class LayoutError(InputError):
    """The variables are not an ELECTRA we know, or the half that was asked for is not there."""


class MappingError(LayoutError):
    """Variables are missing, unexpected or of a wrong shape."""


class SettingError(InputError):
    """Hparams, a config or a flag cannot be read, or contradicts the checkpoint."""


class VocabularyError(InputError):
    """The vocabulary is missing, broken or does not belong to the checkpoint."""


class ValueRefused(InputError):
    """A weight is not finite, or becomes infinite in the type it is exported to."""


class FolderError(InputError):
    """The folder is not a Hugging Face ELECTRA folder."""


class ManifestError(InputError):
    """A manifest has faults: the fact `faults` lists every one, with its line."""


class EnvironmentFailure(ElectraConvertError):
    """The target, or the machine, does not let us go on."""

    exit_code = 4


class OutputError(EnvironmentFailure):
    """OUT exists already, or cannot be written."""


class AccessError(EnvironmentFailure):
    """An object store wants credentials, or other ones."""


class MissingExtra(EnvironmentFailure):
    """An optional package is needed for what was asked, and is not installed."""


class ParityError(ElectraConvertError):
    """The result does not compute what the checkpoint computes."""

    exit_code = 1


class StrictError(ElectraConvertError):
    """There were warnings, and warnings were to count as failure; `notices` has them."""

    exit_code = 1
    notices: tuple[Notice, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return *super().__reduce__(), {"notices": self.notices}

"""Damages checkpoints on purpose, byte by byte, and judges what the reader makes of it: detected, identical or wrong.

    Specimen     a checkpoint of which every byte and every value is known, from arrays that nobody has read back
    Mutation     what one of its files holds instead
    judge        opens the damaged copy, takes from it what a conversion takes, and compares that bit for bit

*Detected* is one of our own errors with exit code 3 or 4 that names the file, and the variable and its byte where one
is damaged; or, where the bytes cannot tell, the warning that the index calls itself big-endian. *Identical* is every
value as it was. Everything else, other values, another exception, more than five seconds, is a failure of the reader.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np
from builders import small_variables, write_v1, write_v1_shard, write_v2
from google_crc32c import value as crc32c
from made_up import write_made_up

from electra_convert import state_dict
from electra_convert.errors import ElectraConvertError
from electra_convert.tf1.checkpoint import open_checkpoint

# One bit each, and all of them.
MASKS = (*(1 << bit for bit in range(8)), 0xFF)
LONGEST_SECONDS = 5.0
MAGIC = bytes.fromhex("57fb808b247547db")

Values = dict[str, tuple[str, tuple[int, ...], bytes]]


@dataclass(frozen=True, slots=True)
class Specimen:
    """A checkpoint to damage: its files, what is opened, what must come out, and where its variables' bytes are.

    `take` reads what is to be compared. `places` has, for a data file, the bytes of each variable; `payloads` are the
    values that a V1 file holds, where a changed one with a right checksum is a value like any other.
    """

    name: str
    files: Mapping[str, bytes]
    prefix: str
    values: Values
    take: Callable[[Path], tuple[Values, set[str]]]
    places: Mapping[str, Mapping[str, range]] = field(default_factory=dict)
    payloads: tuple[bytes, ...] = ()

    def write(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One fault: `content` stands in `file` (None: it is gone); the error must name `variable`, if there is one."""

    label: str
    file: str
    content: bytes | None
    variable: str | None = None
    byte: int | None = None


@dataclass(slots=True)
class Tally:
    """What became of the cases of one fault; `failures` say which case and how."""

    cases: int = 0
    detected: int = 0
    identical: int = 0
    wrong: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)
    slowest: float = 0.0
    errors: list[tuple[str, ElectraConvertError]] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        return [*self.wrong, *self.crashed]


class Hang(BaseException):
    """The reader did not come to an end; no handler of the package may catch it."""


# --- taking values out ------------------------------------------------------------------------------------------------


def value_of(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    return array.dtype.name, array.shape, np.ascontiguousarray(array).tobytes()


def take_all(path: Path) -> tuple[Values, set[str]]:
    """Return every variable, and the codes of the warnings."""
    with open_checkpoint(path) as checkpoint:
        values = {name: value_of(checkpoint.read(name)) for name in checkpoint.variables}
        return values, {notice.code for notice in checkpoint.notices if notice.kind == "warning"}


def take_converted(path: Path) -> tuple[Values, set[str]]:
    """Return what a conversion would write of the discriminator, and the codes of the reader's warnings."""
    with open_checkpoint(path) as checkpoint:
        tensors = state_dict(checkpoint)
        codes = {notice.code for notice in checkpoint.notices if notice.kind == "warning"}
        return {name: value_of(array) for name, array in tensors.items()}, codes


# --- specimens --------------------------------------------------------------------------------------------------------


def _files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _places(
    names: Iterable[str], values: Mapping[str, np.ndarray], stem: str, shards: int
) -> dict[str, dict[str, range]]:
    """Say where the bytes of each variable stand: one after the other, as `write_v2` deals them out."""
    places: dict[str, dict[str, range]] = {f"{stem}.data-{shard:05d}-of-{shards:05d}": {} for shard in range(shards)}
    files = list(places)
    for number, name in enumerate(names):
        held = places[files[number % shards]]
        begin = max((span.stop for span in held.values()), default=0)
        held[name] = range(begin, begin + values[name].nbytes)
    return places


def small_v2(folder: Path, *, block_size: int = 1 << 18, shards: int = 1) -> Specimen:
    """Eleven variables of several types; the index has one block, or many."""
    variables = dict(sorted(small_variables().items()))
    folder.mkdir(parents=True)
    write_v2(folder / "model.ckpt-40", variables, block_size=block_size, shards=shards)
    return Specimen(
        f"V2, blocks of {block_size}" if block_size < 1 << 18 else "V2" + (f", {shards} shards" if shards > 1 else ""),
        _files_of(folder),
        "model.ckpt-40",
        {name: value_of(array) for name, array in variables.items()},
        take_all,
        _places(variables, variables, "model.ckpt-40", shards),
    )


def small_v1(folder: Path, block_size: int = 256) -> Specimen:
    """The same variables in a V1 file of many blocks."""
    variables = dict(sorted(small_variables().items()))
    folder.mkdir(parents=True)
    write_v1(folder / "model.ckpt-40", variables, block_size)
    values = {name: value_of(array) for name, array in variables.items()}
    return Specimen("V1", _files_of(folder), "model.ckpt-40", values, take_all, {}, _payloads(variables))


def sliced_v1(folder: Path) -> Specimen:
    """A V1 checkpoint of two files, with a variable whose slices are spread over both."""
    table = np.arange(40, dtype=np.float32).reshape(10, 4)
    shapes = {"emb": (10, 4), "x": (2,)}
    parts = [("emb", ((0, 3), (0, -1)), table[:3]), ("emb", ((3, 7), (0, 2)), table[3:, :2])]
    others = [("emb", ((3, 7), (2, 2)), table[3:, 2:]), ("x", ((0, -1),), np.ones(2, np.float32))]
    folder.mkdir(parents=True)
    write_v1_shard(folder / "model.ckpt-40-00000-of-00002", shapes, parts)
    write_v1_shard(folder / "model.ckpt-40-00001-of-00002", shapes, others)
    values = {"emb": value_of(table), "x": value_of(np.ones(2, np.float32))}
    held = tuple(array.tobytes() for _, _, array in (*parts, *others))
    return Specimen("V1, sliced", _files_of(folder), "model.ckpt-40", values, take_all, {}, held)


def archived(folder: Path, kind: str = "zip") -> Specimen:
    """The small V2 checkpoint in a zip or a tar.gz, as models are published."""
    inside = small_v2(folder / "inside")
    packed = folder / f"model.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in inside.files.items():
                archive.writestr(zipfile.ZipInfo(f"model/{name}"), content, zipfile.ZIP_DEFLATED)
    else:
        with tarfile.open(packed, f"w:{kind.removeprefix('tar.')}") as archive:
            for name in inside.files:
                archive.add(folder / "inside" / name, f"model/{name}")
    return Specimen(kind, {packed.name: packed.read_bytes()}, packed.name, inside.values, take_all)


def electra_v2(folder: Path, block_size: int = 1 << 18) -> Specimen:
    """An ELECTRA with both halves: names and shapes are under rule too, so a changed name is seen."""
    variables: dict[str, np.ndarray] = {}
    write_made_up(folder, "separate", lambda there: variables.update(there))
    if block_size < 1 << 18:
        for path in folder.glob("model.ckpt-7*"):
            path.unlink()
        write_v2(folder / "model.ckpt-7", dict(sorted(variables.items())), block_size=block_size)
    name = "ELECTRA, V2" + (f", blocks of {block_size}" if block_size < 1 << 18 else "")
    return _electra(folder, name, variables)


def electra_v1(folder: Path) -> Specimen:
    """The same in a V1 file, of blocks of 1 KiB."""
    variables: dict[str, np.ndarray] = {}
    write_made_up(folder, "separate", lambda there: variables.update(there))
    for path in folder.glob("model.ckpt-7*"):
        path.unlink()
    write_v1(folder / "model.ckpt-7", dict(sorted(variables.items())), 1024)
    return _electra(folder, "ELECTRA, V1", variables)


def _electra(folder: Path, name: str, variables: Mapping[str, np.ndarray]) -> Specimen:
    values, _ = take_converted(folder / "model.ckpt-7")
    payloads = _payloads(variables) if "V1" in name else ()
    return Specimen(name, _files_of(folder), "model.ckpt-7", values, take_converted, {}, payloads)


def _payloads(variables: Mapping[str, np.ndarray]) -> tuple[bytes, ...]:
    return tuple(array.tobytes() for array in variables.values() if array.nbytes)


# --- faults -----------------------------------------------------------------------------------------------------------


def flips(specimen: Specimen, file: str, masks: Iterable[int] = MASKS) -> Iterator[Mutation]:
    """Every byte with each mask; in a data file the variable is known that the byte belongs to."""
    content = bytearray(specimen.files[file])
    owners = {at: (name, span.start) for name, span in specimen.places.get(file, {}).items() for at in span}
    masks = tuple(masks)
    for at in range(len(content)):
        name, begin = owners.get(at, (None, None))
        for mask in masks:
            content[at] ^= mask
            yield Mutation(f"{file}, byte {at} xor {mask:02x}", file, bytes(content), name, begin)
            content[at] ^= mask


def cuts(specimen: Specimen, file: str) -> Iterator[Mutation]:
    """Every length shorter than the file's, none at all included."""
    content = specimen.files[file]
    for size in range(len(content)):
        yield Mutation(f"{file} cut at {size}", file, content[:size])


def losses(specimen: Specimen) -> Iterator[Mutation]:
    """Each file gone, a byte more behind it, and something else in its place."""
    others = {
        "gone": lambda content: None,
        "a byte more": lambda content: content + b"\0",
        "a byte before": lambda content: b"\0" + content,
        "empty": lambda content: b"",
        "a hole": lambda content: bytes(len(content)),
        "a web page": lambda content: b"<!DOCTYPE html><html>" + content,
        "a Git LFS pointer": lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n",
    }
    for file, content in specimen.files.items():
        if file != "vocab.txt":
            for what, change in others.items():
                yield Mutation(f"{file}: {what}", file, change(content))


def repaired(specimen: Specimen, file: str, count: int, seed: int) -> Iterator[Mutation]:
    """Random bytes within blocks whose checksums are made right again; the values of a V1 file are left alone."""
    content = specimen.files[file]
    blocks = list(find_blocks(content))
    kept = {
        at
        for value in specimen.payloads
        if (begin := content.find(value)) >= 0
        for at in range(begin, begin + len(value))
    }
    generator = random.Random(seed)
    for number in range(count):
        begin, size = generator.choice(blocks)
        # The type byte behind the contents is under the checksum too.
        free = [at for at in range(begin, begin + size + 1) if at not in kept]
        changed = bytearray(content)
        for at in generator.sample(free, min(len(free), generator.choice((1, 1, 1, 2, 4)))):
            changed[at] = generator.choice(
                (generator.randrange(256), changed[at] ^ 1 << generator.randrange(8), 0, 255)
            )
        repair(changed, begin, size)
        yield Mutation(f"{file}, repaired mutation {number} of seed {seed}", file, bytes(changed))


def repair(content: bytearray, begin: int, size: int) -> None:
    """Make the checksum of a block right."""
    end = begin + size + 1
    content[end : end + 4] = masked(crc32c(bytes(content[begin:end]))).to_bytes(4, "little")


def masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def find_blocks(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield (offset, size) of each block of a sound table, by walking from checksum to checksum."""
    begin, end = 0, len(content) - 48
    while begin < end:
        for size in range(8, end - begin - 4):
            behind = begin + size + 1
            if content[behind - 1] == 0 and content[behind : behind + 4] == masked(
                crc32c(content[begin:behind])
            ).to_bytes(4, "little"):
                yield begin, size
                begin = behind + 4
                break
        else:
            raise ValueError(f"no block at byte {begin}")


def sampled(mutations: Iterable[Mutation], seed: int, share: float) -> Iterator[Mutation]:
    """Take a share of the mutations, always the same for a seed."""
    generator = random.Random(seed)
    return (mutation for mutation in mutations if generator.random() < share)


# --- judging ----------------------------------------------------------------------------------------------------------


def judge_all(
    specimen: Specimen, mutations: Iterable[Mutation], folder: Path, tick: Callable[[int], object] = lambda count: None
) -> Tally:
    """Judge one mutation after the other in a copy of the specimen; `tick` hears of every case."""
    specimen.write(folder)
    tally = Tally()
    for mutation in mutations:
        path = folder / mutation.file
        if mutation.content is None:
            path.unlink()
        else:
            path.write_bytes(mutation.content)
        judge(specimen, mutation, folder, tally)
        path.write_bytes(specimen.files[mutation.file])
        tick(tally.cases)
    return tally


def judge(specimen: Specimen, mutation: Mutation, folder: Path, tally: Tally) -> None:
    """Read the damaged checkpoint and count what came of it."""
    tally.cases += 1
    started = time.perf_counter()
    try:
        with no_hang():
            values, warned = specimen.take(folder / specimen.prefix)
    except ElectraConvertError as error:
        fault = misses(error, mutation, specimen, folder)
        if fault is None:
            tally.detected += 1
            tally.errors.append((mutation.label, error))
        else:
            tally.wrong.append(f"{mutation.label}: {fault}: {error}")
    except (Exception, Hang) as error:
        tally.crashed.append(f"{mutation.label}: {type(error).__name__}: {error}")
    else:
        if "big-endian" in warned:
            tally.detected += 1
        elif values == specimen.values:
            tally.identical += 1
        else:
            names = [name for name in {*values, *specimen.values} if values.get(name) != specimen.values.get(name)]
            tally.wrong.append(f"{mutation.label}: other values of {sorted(names)[:3]}, and no word of it")
    tally.slowest = max(tally.slowest, time.perf_counter() - started)


def misses(error: ElectraConvertError, mutation: Mutation, specimen: Specimen, folder: Path) -> str | None:
    """Return what a refusal leaves out that it must say; None if it says all."""
    text = str(error)
    if error.exit_code not in (3, 4):
        return f"exit code {error.exit_code}"
    # Variables that are missing or unknown are a matter of the checkpoint, which a conversion names beforehand.
    if str(folder) not in text and not set(error.facts) & {"missing", "variable", "unexpected"} and not error.found:
        return "no file is named"
    if mutation.variable is not None:
        named = str(error.facts.get("variable", ""))
        if re.split(r"[ ,]", named)[0] != mutation.variable:
            return f"the damaged variable is {mutation.variable}, not named"
        if error.where != f"{folder / mutation.file}, byte {mutation.byte}":
            return f"the byte {mutation.byte} is not named"
    return None


@contextmanager
def no_hang(seconds: float = LONGEST_SECONDS) -> Iterator[None]:
    """Interrupt what takes longer, where the system has timers."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang(f"more than {seconds} s")

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

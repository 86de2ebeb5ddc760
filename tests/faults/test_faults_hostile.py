"""Hostile checkpoints with right checksums: each row of the list is refused or harmless, in 512 MiB and seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import write_v2
from hostile import LISTS, build, read_in_little_memory
from message_form import faults_of
from mutations import LONGEST_SECONDS, no_hang, small_v1

from electra_convert.errors import CheckpointError, ElectraConvertError, SliceError, VocabularyError
from electra_convert.hf.vocabulary import MOST_ENTRIES, read_vocabulary
from electra_convert.tf1 import values
from electra_convert.tf1.block import decode_block
from electra_convert.tf1.checkpoint import open_checkpoint
from electra_convert.tf1.dtypes import DTYPES
from electra_convert.tf1.slices import MOST_SLICES, check_tiling
from electra_convert.tf1.state import LARGEST, read_state
from electra_convert.tf1.wire import BYTES, MOST_FIELDS, NUMBERS, Field, Malformed, decode, write_bytes, write_varint

pytestmark = pytest.mark.skipif(not hasattr(__import__("os"), "mkfifo"), reason="needs FIFOs and limits of POSIX")

Outcomes = dict[str, tuple[str, dict[str, Any]]]


@pytest.fixture(scope="module", params=LISTS)
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    built = build(tmp_path_factory.mktemp("hostile"), request.param)
    found = read_in_little_memory([folder for _, folder in built.values()])
    assert len(found) == len(built) + 1, found[-1]
    return {name: (expected, row) for (name, (expected, _)), row in zip(built.items(), found, strict=False)}


def test_every_case_ends_as_it_must(outcomes: Outcomes) -> None:
    others = {name: row for name, (expected, row) in outcomes.items() if row["outcome"] != expected}
    assert others == {}


def test_no_case_takes_long(outcomes: Outcomes) -> None:
    """A bound on hangs, not a measurement."""
    assert max(row["seconds"] for _, row in outcomes.values()) < LONGEST_SECONDS


def test_every_refusal_names_the_file_or_the_variable(outcomes: Outcomes) -> None:
    for name, (expected, row) in outcomes.items():
        if expected == "refused":
            assert "model.ckpt-7" in row["text"] or set(row["error"]["facts"]) & {"missing", "variable", "found"}, name


def test_every_message_has_the_form(outcomes: Outcomes) -> None:
    errors = {name: row["error"] for name, (_, row) in outcomes.items() if "error" in row}
    made = {name: ElectraConvertError(e["message"], hint=e["hint"], **e["facts"]) for name, e in errors.items()}
    assert len(made) > 40
    assert {name: found for name, error in made.items() if (found := faults_of(error))} == {}


def test_a_refusal_of_the_kernels_entry_names_the_kernel(outcomes: Outcomes) -> None:
    kinds = ("dimension", "size", "offset", "shard", "type", "shape", "entry", "varint", "a slice", "slices", "too ")
    # An offset past the end cannot be told from a data file that was cut short, and that is what is said.
    others = ("nobody owns", "2^40", "offset 2^63")
    for name, (expected, row) in outcomes.items():
        if expected == "refused" and name.startswith(kinds) and not any(other in name for other in others):
            assert "kernel" in row["text"], (name, row["text"])


def test_a_false_byte_order_is_warned_of(tmp_path: Path) -> None:
    """The bytes cannot tell a false flag from a true one, so it is said aloud and `--strict` refuses it."""
    write_v2(tmp_path / "x", {"a": np.ones(3, np.float32)}, byteorder="big")
    with open_checkpoint(tmp_path / "x") as checkpoint:
        assert [notice.code for notice in checkpoint.notices if notice.kind == "warning"] == ["big-endian"]


# --- bounds, each for the input that broke it -------------------------------------------------------------------------


def test_a_block_does_not_unfold_into_gigabytes_of_keys() -> None:
    from hostile import long_keys

    with no_hang(), pytest.raises(Malformed, match="bytes of keys"):
        decode_block(long_keys())


def test_fields_without_number_are_not_collected() -> None:
    with no_hang(), pytest.raises(Malformed, match=f"more than {MOST_FIELDS}"):
        decode(write_bytes(1, b"") * (MOST_FIELDS + 1), {1: Field("x", BYTES, repeated=True)})
    with no_hang(), pytest.raises(Malformed, match="packs"):
        decode(write_bytes(1, b"\1" * (MOST_FIELDS + 1)), {1: Field("x", NUMBERS)})


def test_slices_that_all_lie_side_by_side_are_not_compared_one_by_one() -> None:
    stairs = [((number, MOST_SLICES), (number, number + 1)) for number in range(MOST_SLICES)]
    with no_hang(), pytest.raises(SliceError, match="no grid"):
        check_tiling(stairs, (MOST_SLICES, MOST_SLICES), "x", "file")


@pytest.mark.parametrize(
    "line", [b'model_checkpoint_path:"a"\n', b"last_preserved_timestamp:0\n", b'all_model_checkpoint_paths:""\n']
)
def test_a_checkpoint_file_of_a_megabyte_is_parsed_at_once(line: bytes) -> None:
    with no_hang():
        read_state(line * (LARGEST // len(line)), "checkpoint")


def test_a_string_in_a_hundred_thousand_pieces_is_joined_at_once() -> None:
    with no_hang():
        assert read_state(b"model_checkpoint_path:" + b'"a"' * 300_000, "checkpoint").latest == "a" * 300_000


def test_a_vocabulary_of_newlines_is_refused_before_it_is_split(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(b"\n" * (MOST_ENTRIES + 1))
    with no_hang(), pytest.raises(VocabularyError, match="too many lines"):
        read_vocabulary(tmp_path / "vocab.txt")


def test_a_zip_whose_listing_is_endless_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for number in range(2):
            info = zipfile.ZipInfo(f"{number}")
            info.comment = b"x" * 65_535
            archive.writestr(info, b"")
    content = (tmp_path / "x.zip").read_bytes()
    begin = content.index(b"PK\1\2")
    end = content.rindex(b"PK\5\6")
    listing = content[begin:end] * 70
    sizes = len(listing).to_bytes(4, "little") + begin.to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(content[:begin] + listing + content[end : end + 12] + sizes + b"\0\0")
    with no_hang(), pytest.raises(CheckpointError, match="a listing of"):
        open_checkpoint(tmp_path / "x.zip")


def test_the_footer_has_one_way_to_be_written(tmp_path: Path) -> None:
    """A sweep found it: bit 7 of a handle's last byte makes it go on into the padding, with the same number."""
    specimen = small_v1(tmp_path / "sound")
    path = tmp_path / "sound" / specimen.prefix
    content = bytearray(path.read_bytes())
    last = max(at for at in range(len(content) - 48, len(content) - 8) if content[at])
    content[last] |= 0x80
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="footer"):
        open_checkpoint(path)


@pytest.mark.parametrize("piece", [11, 20, 64])
def test_packed_numbers_are_decoded_in_pieces(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once they take forty times their place; a number may stand across the edge of two pieces."""
    monkeypatch.setattr(values, "VARINTS_AT_ONCE", piece)
    array = np.random.default_rng(0).integers(-(2**62), 2**62, 300) >> np.arange(300) % 63
    packed = b"".join(map(write_varint, array.tolist()))
    assert values.decode_values(write_bytes(10, packed), DTYPES[9], 300).tobytes() == array.tobytes()
    for broken in (b"\x80" * 100 + b"\1", b"\1\1" + b"\x80" * 10 + b"\1"):
        with pytest.raises(Malformed, match="longer than 10"):
            values.decode_values(write_bytes(10, broken), DTYPES[9], broken.count(1))


def test_half_a_number_where_none_must_be_is_refused() -> None:
    with pytest.raises(Malformed, match="holds 0 values"):
        values.decode_values(write_bytes(10, b"\x80"), DTYPES[9], 0)


# --- data of another checkpoint ---------------------------------------------------------------------------------------


def pair(tmp_path: Path, **shapes: tuple[int, ...]) -> tuple[Path, Path]:
    """Write two checkpoints of the same shapes, as two steps of a training leave them: the step's bias is alike."""
    for number, name in enumerate("xy"):
        arrays = {key: np.full(shape, number + 1, np.float32) for key, shape in shapes.items()}
        write_v2(tmp_path / name, {**arrays, "untrained": np.zeros(2, np.float32)})
    return tmp_path / "x", tmp_path / "y"


def swap_data(prefix: Path, other: Path) -> None:
    end = ".data-00000-of-00001"
    other.with_name(other.name + end).replace(prefix.with_name(prefix.name + end))


def test_the_data_of_another_checkpoint_is_told_from_damage(tmp_path: Path) -> None:
    prefix, other = pair(tmp_path, a=(8,), b=(4,), c=(16,), d=(2, 2))
    swap_data(prefix, other)
    with open_checkpoint(prefix) as checkpoint, pytest.raises(CheckpointError) as caught:
        checkpoint.read("a")
    assert "from different checkpoints" in str(caught.value.hint)


def test_a_single_damaged_variable_is_not_taken_for_another_checkpoint(tmp_path: Path) -> None:
    prefix, _ = pair(tmp_path, a=(8,), b=(4,), c=(16,), d=(2, 2))
    data = prefix.with_name("x.data-00000-of-00001")
    data.write_bytes(b"\xff" + data.read_bytes()[1:])
    with open_checkpoint(prefix) as checkpoint, pytest.raises(CheckpointError) as caught:
        checkpoint.read("a")
    assert "different checkpoints" not in str(caught.value.hint)


def test_the_only_variable_has_no_witness(tmp_path: Path) -> None:
    for name, number in (("x", 1), ("y", 2)):
        write_v2(tmp_path / name, {"a": np.full(3, number, np.float32)})
    swap_data(tmp_path / "x", tmp_path / "y")
    with open_checkpoint(tmp_path / "x") as checkpoint, pytest.raises(CheckpointError) as caught:
        checkpoint.read("a")
    assert "different checkpoints" not in str(caught.value.hint)

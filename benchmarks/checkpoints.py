"""Training checkpoints with the names and shapes that google-research/electra gives its models, and random values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from electra_convert.electra.config import ElectraConfig
from electra_convert.electra.mapping import Scopes, plan
from electra_convert.tf1.write import BundleWriter

VOCABULARY = 30522
PREFIX = "model.ckpt-1000"
SLOTS = ("adam_m", "adam_v")

# As Google's start weights have it. With much larger ones attention to padding is not nothing, and networks differ.
SPREAD = np.float32(0.02)

# Random values are drawn once and used again at other places: drawing them takes longer than writing them.
POOL = 1 << 24


class Size(NamedTuple):
    """Hidden size, embedding size and layers of the discriminator, and the generator's hidden size."""

    hidden: int
    embedding: int
    layers: int
    generator: int


# google-research/electra's README; the last is made up: ten times the layers of large.
SIZES = {
    "small": Size(256, 128, 12, 64),
    "base": Size(768, 768, 12, 256),
    "large": Size(1024, 1024, 24, 256),
    "10 x large": Size(1024, 1024, 264, 256),
}


def config_of(size: Size, hidden: int) -> ElectraConfig:
    """Return the config of a tower of this hidden size; heads and intermediate size by Google's rules."""
    return ElectraConfig(
        vocab_size=VOCABULARY,
        embedding_size=size.embedding,
        hidden_size=hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=max(1, hidden // 64),
        intermediate_size=4 * hidden,
        max_position_embeddings=512,
        type_vocab_size=2,
    )


def write_checkpoint(folder: Path, size: Size, *, slots: bool) -> int:
    """Write discriminator, generator and vocabulary into a new folder, with Adam's slots or without; return bytes."""
    folder.mkdir(parents=True)
    moves = [
        *plan("discriminator", Scopes("electra", "electra"), config_of(size, size.hidden)),
        *plan("generator", Scopes("electra", "generator"), config_of(size, size.generator)),
    ]
    shapes = {move.variable: move.variable_shape for move in moves}
    if slots:
        shapes |= {f"{name}/{slot}": shape for name, shape in shapes.items() for slot in SLOTS}
    values = _values()
    next(values)
    with BundleWriter(folder / PREFIX) as bundle:
        for name in sorted([*shapes, "global_step"]):
            bundle.add(name, values.send(shapes[name]) if name in shapes else np.array(1000, np.int64))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"piece{n}" for n in range(VOCABULARY - 5))]
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))
    return bytes_of(folder)


def bytes_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def _values() -> Iterator[np.ndarray]:
    """Give an array of each shape that is sent."""
    pool = SPREAD * np.random.default_rng(0).standard_normal(2 * POOL, np.float32)
    at, shape = 0, (0,)
    while True:
        count = int(np.prod(shape))
        at = (at + 1_000_003) % POOL
        shape = (
            yield np.resize(pool[at:], count).reshape(shape) if count > POOL else pool[at : at + count].reshape(shape)
        )

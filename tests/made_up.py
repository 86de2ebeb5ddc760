"""Makes ELECTRA checkpoints of any set-up and size, with the names and shapes that google-research/electra gives them.

The names are written down a second time here, from Google's modeling code and not from our table, so that the two
can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from builders import write_v2

Shapes = dict[str, tuple[int, ...]]

V, E, H, L, I, P, T = 20, 4, 8, 2, 32, 12, 2  # noqa: E741 - the letters of the mapping table
HG, IG = 6, 24

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmno"]


def dense(scope: str, inputs: int, outputs: int) -> Shapes:
    return {f"{scope}/kernel": (inputs, outputs), f"{scope}/bias": (outputs,)}


def norm(scope: str, size: int) -> Shapes:
    return {f"{scope}/beta": (size,), f"{scope}/gamma": (size,)}


def embeddings(scope: str, width: int = E) -> Shapes:
    tables = {"word": V, "position": P, "token_type": T}
    shapes: Shapes = {f"{scope}/embeddings/{name}_embeddings": (rows, width) for name, rows in tables.items()}
    return shapes | norm(f"{scope}/embeddings/LayerNorm", width)


def encoder(scope: str, hidden: int = H, inner: int = I, width: int = E, layers: int = L) -> Shapes:
    shapes: Shapes = {} if width == hidden else dense(f"{scope}/embeddings_project", width, hidden)
    for i in range(layers):
        layer = f"{scope}/encoder/layer_{i}"
        for name in ("query", "key", "value"):
            shapes |= dense(f"{layer}/attention/self/{name}", hidden, hidden)
        shapes |= dense(f"{layer}/attention/output/dense", hidden, hidden)
        shapes |= norm(f"{layer}/attention/output/LayerNorm", hidden)
        shapes |= dense(f"{layer}/intermediate/dense", hidden, inner)
        shapes |= dense(f"{layer}/output/dense", inner, hidden)
        shapes |= norm(f"{layer}/output/LayerNorm", hidden)
    return shapes


def discriminator_head(hidden: int = H) -> Shapes:
    return dense("discriminator_predictions/dense", hidden, hidden) | dense(
        "discriminator_predictions/dense_1", hidden, 1
    )


def generator_head(scope: str = "generator_predictions", hidden: int = HG, width: int = E) -> Shapes:
    return dense(f"{scope}/dense", hidden, width) | norm(f"{scope}/LayerNorm", width) | {f"{scope}/output_bias": (V,)}


def shapes_of(setup: str, width: int = E) -> Shapes:
    """Return the variables of a set-up, without optimizer; `width` is that of the embeddings of `electra`."""
    tower = embeddings("electra", width) | encoder("electra", width=width)
    full = tower | discriminator_head()
    if setup == "separate":
        return full | encoder("generator", HG, IG, width) | generator_head(width=width)
    if setup == "untied embeddings":
        own = embeddings("generator", HG) | encoder("generator", HG, IG, HG)
        return full | own | generator_head(width=HG)
    if setup == "tied":
        return full | generator_head(hidden=H, width=width)
    if setup == "masked LM":
        return tower | generator_head(hidden=H, width=width)
    if setup == "uniform":
        return full
    if setup == "two towers":
        towers = encoder("generator_ltr", HG, IG, width) | encoder("generator_rtl", HG, IG, width)
        return full | towers | generator_head("cloze_predictions", 2 * HG, width)
    if setup == "two towers, untied embeddings":
        towers = {}
        for scope in ("generator_ltr", "generator_rtl"):
            towers |= embeddings(scope, HG) | encoder(scope, HG, IG, HG)
        return full | towers | generator_head("cloze_predictions", 2 * HG, HG)
    if setup == "fine-tuned":
        return tower | dense("task_specific/mnli/dense", H, 3)
    raise ValueError(setup)


SETUP_NAMES = (
    "separate",
    "untied embeddings",
    "tied",
    "masked LM",
    "uniform",
    "two towers",
    "two towers, untied embeddings",
    "fine-tuned",
)


def with_slots(shapes: Mapping[str, tuple[int, ...]]) -> Shapes:
    """Add what the optimizer keeps, and the step."""
    slots = {f"{name}/{slot}": shape for name, shape in shapes.items() for slot in ("adam_m", "adam_v")}
    return {**shapes, **slots, "global_step": ()}


def values_of(shapes: Mapping[str, tuple[int, ...]], dtype: str = "float32") -> dict[str, np.ndarray]:
    """Return random values, of this type but for the step."""
    generator = np.random.default_rng(5)
    return {
        name: np.array(7, np.int64) if name == "global_step" else generator.standard_normal(shape).astype(dtype)
        for name, shape in shapes.items()
    }


def write_made_up(
    folder: Path,
    setup: str = "separate",
    change: Callable[[dict[str, np.ndarray]], None] = lambda variables: None,
    *,
    dtype: str = "float32",
    tokens: list[str] | None = None,
    width: int = E,
) -> Path:
    """Write a checkpoint of a set-up with its vocabulary, after `change` was at its variables; return its folder."""
    folder.mkdir(parents=True)
    variables = values_of({**shapes_of(setup, width), "global_step": ()}, dtype)
    change(variables)
    write_v2(folder / "model.ckpt-7", dict(sorted(variables.items())))
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in (TOKENS if tokens is None else tokens)))
    return folder

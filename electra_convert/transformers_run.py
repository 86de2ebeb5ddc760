"""The installed transformers as one more reader: what it reports while loading, and what it then computes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from electra_convert.electra.battery import Batch, Outputs
from electra_convert.electra.mapping import ARCHITECTURE, TIED, HalfName
from electra_convert.errors import MissingExtra


def load(folder: Path, half: HalfName) -> tuple[Any, dict[str, list[str]]]:
    """Return the model in float32, and what is not empty in its loading report.

    Raises:
        MissingExtra: transformers is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra(
            "transformers is not installed", hint="pip install transformers, or leave out --with-transformers"
        ) from error
    import torch

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    cls = getattr(transformers, ARCHITECTURE[half])
    # `dtype` is called torch_dtype before 4.56.
    model, info = cls.from_pretrained(folder, torch_dtype=torch.float32, output_loading_info=True)
    report = {what: sorted(str(name) for name in names if name not in TIED) for what, names in info.items()}
    return model.eval(), {what: names for what, names in report.items() if names}


def run(model: Any, batches: Sequence[Batch]) -> list[Outputs]:
    """Return what the model answers, in the form of `electra.model.run`."""
    import torch

    answers = []
    with torch.inference_mode():
        for batch in batches:
            output = model(
                input_ids=torch.from_numpy(batch.input_ids.copy()),
                attention_mask=torch.from_numpy(batch.input_mask.copy()),
                token_type_ids=torch.from_numpy(batch.segment_ids.copy()),
                output_hidden_states=True,
            )
            answers.append(Outputs(tuple(state.numpy() for state in output.hidden_states), output.logits.numpy()))
    return answers

"""The installed transformers as one more reader: what it reports while loading, and what it then computes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from electra_convert.electra.battery import Batch, Outputs
from electra_convert.electra.mapping import TIED
from electra_convert.errors import MissingExtra


def load(folder: Path, architecture: str) -> tuple[Any, dict[str, list[str]]]:
    """Return the model of a class in float32, and what is not empty in its loading report.

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
    cls = getattr(transformers, architecture)
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
            logits = _logits(output)
            states = tuple(state.numpy() for state in output.hidden_states)
            answers.append(Outputs(states, None if logits is None else logits.numpy()))
    return answers


def _logits(output: Any) -> Any:
    """Return the logits in the form that the included model gives them; None of a bare ElectraModel."""
    if "start_logits" in output:
        import torch

        return torch.stack((output.start_logits, output.end_logits), dim=-1)
    return output.get("logits")

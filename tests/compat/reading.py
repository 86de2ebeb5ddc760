"""What the scripts share that run inside the environments: their job, golden inputs and outputs, and their answer.

    python read_with_….py JOB.json ANSWER.json

`JOB["loads"]` names folders and classes; each is answered with what loading reported, how far the outputs are from the
golden ones (the largest difference as a share of the largest golden value), and the shapes of all outputs.
Scripts run with whatever the environment has, and import nothing of this project.
"""

import json
import sys

import numpy as np

NAMES = {"input_ids": "input_ids", "attention_mask": "input_mask", "token_type_ids": "segment_ids"}


def read_golden(load):
    """Return the golden arrays of a load, the last hidden state under its own name too."""
    with np.load(load["golden"]) as file:
        golden = dict(file)
    states = sum(key.startswith(load["hidden"] + "/hidden_") for key in golden)
    golden[load["hidden"] + "/last"] = golden[f"{load['hidden']}/hidden_{states - 1}"]
    return golden


def inputs_of(load, golden):
    """Return the golden inputs as the class wants them: for multiple choice, the rows are choices of one question."""
    choices = load["class_name"].endswith("ForMultipleChoice")
    arrays = {name: golden[key].astype(np.int64) for name, key in NAMES.items()}
    return {name: array[None] if choices else array for name, array in arrays.items()}


def compare(load, golden, hidden_states, outputs):
    """Return the differences to the golden arrays, and what the class gave."""
    wanted = {f"hidden_{number}": f"{load['hidden']}/hidden_{number}" for number in range(len(hidden_states))}
    given = {**{f"hidden_{number}": state for number, state in enumerate(hidden_states)}, **outputs}
    return {
        "states": [len(hidden_states), sum(key.startswith(load["hidden"] + "/hidden_") for key in golden)],
        "differences": {name: share(given[name], golden[key]) for name, key in {**wanted, **load["outputs"]}.items()},
        "shapes": {name: list(array.shape) for name, array in outputs.items()},
        "finite": all(bool(np.isfinite(array).all()) for array in outputs.values()),
    }


def share(ours, golden):
    """Return the largest difference as a share of the largest value; a golden [B] stands for [B, 1]."""
    ours = ours.reshape(golden.shape)
    return float(np.abs(ours - golden).max() / np.abs(golden).max())


def report_of(info):
    """Return the report of `output_loading_info` as plain data, without its empty parts."""
    return {what: sorted(map(str, names)) for what, names in info.items() if names}


def answer(read):
    """Give the job to `read`, and write what it returns."""
    _, job, target = sys.argv
    with open(job, encoding="utf-8") as file:
        found = read(json.load(file))
    with open(target, "w", encoding="utf-8") as file:
        json.dump(found, file)

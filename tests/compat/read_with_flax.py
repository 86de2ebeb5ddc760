"""Reads folders with the transformers and Flax of an environment; see `reading.py`.

Flax has no `output_loading_info`: what it found missing and unused stands only in its log.
"""

import ast
import logging
import re

import numpy as np
import transformers
from reading import answer, compare, inputs_of, read_golden, report_of

LOG = logging.getLogger("transformers")

# What Flax calls the weights of dense layers and LayerNorms.
WEIGHTS = {"kernel": "weight", "scale": "weight", "embedding": "weight"}
REPORTS = {"were not used when": "unexpected_keys", "are newly initialized:": "missing_keys"}


class Report(logging.Handler):
    """Collects what the log says of weights."""

    def __init__(self):
        super().__init__()
        self.info = {}

    def emit(self, record):
        message = record.getMessage()
        for words, what in REPORTS.items():
            if words in message:
                paths = ast.literal_eval(re.search(r"\{.*?\}", message).group())
                self.info[what] = {".".join([*path[:-1], WEIGHTS.get(path[-1], path[-1])]) for path in paths}


def read_model(load):
    cls = getattr(transformers, load["class_name"])
    report = Report()
    LOG.addHandler(report)
    model = cls.from_pretrained(load["folder"], **load["options"])
    LOG.removeHandler(report)
    if load["dtype"] == "float32":
        # Flax keeps the type that is stored, and has no way to be told another while it loads.
        model.params = model.to_fp32(model.params)
    golden = read_golden(load)
    # Without token_type_ids the Flax classes take all to be of type 1; these give them.
    given = model(**inputs_of(load, golden), output_hidden_states=True)
    outputs = {name: np.asarray(value) for name, value in given.items() if name != "hidden_states"}
    return {
        "report": report_of(report.info),
        **compare(load, golden, [np.asarray(state) for state in given.hidden_states], outputs),
    }


def read(job):
    return {"loads": {load["name"]: read_model(load) for load in job["loads"]}}


transformers.logging.set_verbosity_warning()
transformers.logging.disable_default_handler()
answer(read)

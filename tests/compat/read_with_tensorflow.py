"""Reads folders with the transformers and TensorFlow of an environment; see `reading.py`."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf
import transformers
from reading import answer, compare, inputs_of, read_golden, report_of


def read_model(load):
    cls = getattr(transformers, load["class_name"])
    model, info = cls.from_pretrained(load["folder"], output_loading_info=True, **load["options"])
    golden = read_golden(load)
    inputs = {name: tf.constant(array) for name, array in inputs_of(load, golden).items()}
    given = model(**inputs, output_hidden_states=True)
    outputs = {name: value.numpy() for name, value in given.items() if tf.is_tensor(value)}
    return {
        "report": report_of(info),
        "dtype": model.dtype.name if hasattr(model.dtype, "name") else str(model.dtype),
        **compare(load, golden, [state.numpy() for state in given.hidden_states], outputs),
    }


def fill_masks(folder, texts, options):
    model = transformers.TFElectraForMaskedLM.from_pretrained(folder, **options)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pipeline = transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer, framework="tf")
    return [pipeline(text) for text in texts]


def read(job):
    return {
        "loads": {load["name"]: read_model(load) for load in job["loads"]},
        "fill_masks": [fill_masks(**pipeline, options=job["options"]) for pipeline in job["fill_masks"]],
    }


transformers.logging.set_verbosity_error()
answer(read)

"""Reads folders with the transformers and PyTorch of an environment; see `reading.py`.

Besides loads: folders saved again, the fill-mask pipeline, and tokenizers.
"""

import warnings

import torch
import transformers
from reading import answer, compare, inputs_of, read_golden, report_of


def read_model(load):
    cls = getattr(transformers, load["class_name"])
    # `dtype` is called torch_dtype before transformers 4.56, and still understood by that name.
    dtype = {"torch_dtype": getattr(torch, load["dtype"])} if load["dtype"] else {}
    model, info = cls.from_pretrained(load["folder"], output_loading_info=True, **dtype, **load["options"])
    golden = read_golden(load)
    inputs = {name: torch.from_numpy(array) for name, array in inputs_of(load, golden).items()}
    with torch.no_grad():
        given = model.eval()(**inputs, output_hidden_states=True)
    outputs = {name: to_numpy(value) for name, value in given.items() if torch.is_tensor(value)}
    matrix = model.get_output_embeddings()
    return {
        "report": report_of(info),
        "dtype": str(model.dtype).removeprefix("torch."),
        "tied": matrix is not None and matrix.weight is model.get_input_embeddings().weight,
        **compare(load, golden, [to_numpy(state) for state in given.hidden_states], outputs),
    }


def to_numpy(tensor):
    """NumPy has no bfloat16."""
    return tensor.float().numpy()


def save_again(folder, class_name, target):
    getattr(transformers, class_name).from_pretrained(folder, torch_dtype=torch.float32).save_pretrained(target)
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(target)


def fill_masks(folder, texts):
    pipeline = transformers.pipeline("fill-mask", model=folder, torch_dtype=torch.float32)
    return [pipeline(text) for text in texts]


def read_tokenizers(folder, texts):
    automatic = transformers.AutoTokenizer.from_pretrained
    tokenizers = {"AutoTokenizer": automatic(folder)}
    if transformers.__version__.startswith("4."):
        tokenizers["AutoTokenizer, slow"] = automatic(folder, use_fast=False)
    for name in ("ElectraTokenizer", "ElectraTokenizerFast"):
        tokenizers[name] = getattr(transformers, name).from_pretrained(folder)
    return {
        name: {
            "ids": [tokenizer(text)["input_ids"] for text in texts],
            "keys": sorted(tokenizer("a b")),
            "model_max_length": tokenizer.model_max_length,
        }
        for name, tokenizer in tokenizers.items()
    }


def read(job):
    for again in job["saved_again"]:
        save_again(**again)
    return {
        "loads": {load["name"]: read_model(load) for load in job["loads"]},
        "fill_masks": [fill_masks(**pipeline) for pipeline in job["fill_masks"]],
        "tokenizers": [read_tokenizers(folder, job["texts"]) for folder in job["tokenizers"]],
    }


warnings.simplefilter("ignore")
transformers.logging.set_verbosity_error()
answer(read)

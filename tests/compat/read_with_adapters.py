"""Reads folders with the `adapters` of an environment, and adds adapters and heads; see `reading.py`."""

import warnings

import adapters
import torch
import transformers
from reading import answer, compare, inputs_of, read_golden, report_of


def read_model(load):
    model, info = load_model(load)
    return {"report": report_of(info), **run(model, load)}


def load_model(load):
    cls = getattr(adapters, load["class_name"])
    return cls.from_pretrained(load["folder"], output_loading_info=True, **load["options"])


def run(model, load):
    golden = read_golden(load)
    inputs = {name: torch.from_numpy(array) for name, array in inputs_of(load, golden).items()}
    with torch.no_grad():
        given = model.eval()(**inputs, output_hidden_states=True)
    outputs = {name: value.numpy() for name, value in given.items() if torch.is_tensor(value)}
    return compare(load, golden, [state.numpy() for state in given.hidden_states], outputs)


def adapt(load):
    """Add an adapter and a head with three labels; run with the adapter as made, then with one that adds nothing."""
    torch.manual_seed(0)
    model, _ = load_model(load)
    bare = {**load, "outputs": {}}
    model.add_adapter("task", config="seq_bn")
    model.add_classification_head("task", num_labels=3)
    model.set_active_adapters("task")
    adapted = run(model, bare)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".adapter_up." in name:
                parameter.zero_()
    silent = run(model, bare)
    return {"adapted": adapted, "silent": silent, "active_head": model.active_head}


def take_over(load):
    """Let `adapters` take over a class of transformers, and add an adapter to it."""
    torch.manual_seed(0)
    model = getattr(transformers, load["class_name"]).from_pretrained(load["folder"])
    adapters.init(model)
    untouched = run(model, load)
    model.add_adapter("task", config="seq_bn")
    model.set_active_adapters("task")
    return {"untouched": untouched, "adapted": run(model, load)}


def read(job):
    return {
        "loads": {load["name"]: read_model(load) for load in job["loads"]},
        "adapted": {load["name"]: adapt(load) for load in job["loads"]},
        "taken_over": {load["name"]: take_over(load) for load in job["taken_over"]},
    }


warnings.simplefilter("ignore")
transformers.logging.set_verbosity_error()
answer(read)

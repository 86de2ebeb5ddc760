"""Run inside an environment of the suite: reads folders with the transformers that is installed there.

    python read_folders.py JOB.json

The job names models (folder, class, golden outputs, half), tokenizer folders and texts; the answer, one JSON document
on the last line, has what loading reported, how far outputs are from the golden ones, and token ids.
"""

import json
import sys
import warnings

import numpy as np
import torch
import transformers


def read_model(folder, class_name, golden_file, half):
    cls = getattr(transformers, class_name)
    model, info = cls.from_pretrained(folder, output_loading_info=True, torch_dtype=torch.float32)
    golden = np.load(golden_file)
    names = {"input_ids": "input_ids", "attention_mask": "input_mask", "token_type_ids": "segment_ids"}
    inputs = {name: torch.tensor(golden[key]).long() for name, key in names.items()}
    with torch.no_grad():
        output = model.eval()(**inputs, output_hidden_states=True)
    wanted = [golden[f"{half}/hidden_{i}"] for i in range(len(output.hidden_states))] + [golden[f"{half}/logits"]]
    ours = [*output.hidden_states, output.logits]
    return {
        "loading": {what: sorted(str(name) for name in found) for what, found in info.items() if found},
        "shares": [float(np.abs(o.numpy() - w).max() / np.abs(w).max()) for o, w in zip(ours, wanted, strict=True)],
    }


def read_tokenizer(folder, texts):
    kinds = {"fast": {}}
    if transformers.__version__.startswith("4."):
        kinds["slow"] = {"use_fast": False}
    answer = {}
    for kind, options in kinds.items():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
        answer[kind] = {
            "ids": [tokenizer(text)["input_ids"] for text in texts],
            "keys": sorted(tokenizer("a b")),
            "model_max_length": tokenizer.model_max_length,
        }
    return answer


warnings.simplefilter("ignore")
transformers.logging.set_verbosity_error()
with open(sys.argv[1], encoding="utf-8") as file:
    job = json.load(file)
answer = {
    "models": [read_model(**model) for model in job["models"]],
    "tokenizers": [read_tokenizer(folder, job["texts"]) for folder in job["tokenizers"]],
}
print("\n" + json.dumps(answer))

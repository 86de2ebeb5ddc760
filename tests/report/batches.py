"""Results of a batch to report on: of round figures, of every kind, as many as a test wants."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from electra_convert.batching.outcomes import BatchEvent, ItemResult
from electra_convert.errors import ChecksumError, ElectraConvertError, ParityError
from electra_convert.notices import note, warning
from electra_convert.report.batch_results import BatchRun
from electra_convert.zoo.finding import Item

RUN = BatchRun(
    "electra-convert batch zoo out --jobs 2", 72.4, datetime(2020, 3, 4, 5, 6, 7, tzinfo=timezone.utc), "out"
)
EVIL = '\x1b[31m\u202e</script><script>alert("1")</script>&\n]]>\x00\udc80'

DAMAGED = ChecksumError(
    "checksum of a variable differs",
    where="zoo/base-v1/model.ckpt-300000.data-00000-of-00001, byte 41943040",
    variable="electra/encoder/layer_7/output/dense/kernel  float32 [1024, 256]",
    found="0x5d3c91aa",
    expected="0x8b02f6e1, from zoo/base-v1/model.ckpt-300000.index",
    hint="the file changed after it was written; copy it again",
)
UNEQUAL = ParityError(
    "the discriminator does not compute what the checkpoint computes",
    where="layer 3, mixed, row 3, token 17",
    found="5.1e-02 against the original graph",
    expected="at most 3.9e-10 (1e-10 of scale)",
    because=["electra.encoder.layer.3.attention.self.query.weight equals the variable without its operation"],
    failed="11 of 31 checks",
)
HEADS = warning(
    "rule",
    "number of attention heads is not stored in the variables",
    hint="pass --num-attention-heads N, or keep the .meta file beside the checkpoint",
    taken="4 (hidden size 256 / 64)",
)
SIZES = {
    "discriminator": (12, 256, 203, 13_549_057, 54_224_236),
    "generator": (12, 64, 204, 647_162, 2_617_888),
}


def made_half(half: str = "discriminator", times: int = 1, **changes: Any) -> dict[str, Any]:
    """Return the plain data of a half; `times` makes it wider, to have something to sort by."""
    layers, hidden, tensors, parameters, nbytes = SIZES[half]
    sources = {
        "vocab_size": (30522, "shape"),
        "embedding_size": (128, "shape"),
        "hidden_size": (hidden * times, "shape"),
    }
    sources |= {
        "num_hidden_layers": (layers, "shape"),
        "num_attention_heads": (4, "graph"),
        "hidden_act": ("gelu", "graph"),
    }
    return {
        "half": half,
        "folder": f"out/{half}",
        "architecture": "ElectraForPreTraining",
        "tensors": tensors,
        "parameters": parameters * times,
        "dtype": "float32",
        "bytes": nbytes * times,
        "files": [],
        "config": {key: {"value": value, "source": source, "detail": ""} for key, (value, source) in sources.items()},
        "checked": f"{tensors} of {tensors} tensors read back bit for bit",
        "verification": {
            "state": "proven",
            "text": "In float64 every hidden state and the logits equal those of the original graph within 1e-15.",
            "references": ["the original graph", "reference.py"],
            "figures": {"float64": 1e-15, "float32": 1e-06},
            "limits": {"float64": "1e-10 of scale", "float32": "8 times float32's own noise in each state"},
            "unproven": [],
            "seed": 0,
        },
        "parity": {"float64": 8.34e-16, "float64_limit": 1e-10, "float32": 4.2e-07, "float32_limit": 5.1e-06},
        **changes,
    }


def made_result(name: str = "korean/small", status: str = "converted", **changes: Any) -> ItemResult:
    """Return the result of an item, with two halves where it was converted."""
    done = status in {"converted", "up to date"}
    halves = (made_half(), made_half("generator")) if done else ()
    settings = {"export": "available", "dtype": None, "tokenizer": True, **changes.pop("settings", {})}
    fields: dict[str, Any] = {
        "status": status,
        "out": f"out/{name}",
        "halves": halves,
        "checkpoint": {
            "name": "model.ckpt-1000000",
            "format": "V2",
            "shards": 1,
            "step": 1_000_000,
            "nbytes": 170_393_600,
        }
        if done
        else None,
        "setup": "separate generator, shared embeddings" if done else "",
        "refused": (),
        "notices": (),
        "error": None,
        "message": "",
        "seconds": 4.1,
        "peak_memory": 412 << 20 if done else None,
        **changes,
    }
    fields.setdefault("nbytes", sum(half["bytes"] for half in fields["halves"]))
    return ItemResult(item=Item(name, f"zoo/{name}", settings, fields.pop("where", "")), **fields)


def failed(name: str, error: ElectraConvertError, **changes: Any) -> ItemResult:
    """Return the result of an item that failed."""
    told = {**error.to_json(), "exit_code": error.exit_code}
    return made_result(name, "failed", error=told, message=str(error), **changes)


def one_of_each() -> list[ItemResult]:
    """Return a batch in which everything happened, in the order of its zoo."""
    rounded = made_half(dtype="float16", parity=None)
    rounded["verification"] = {
        **rounded["verification"],
        "figures": {"float64": 1e-14, "float32": 1e-05, "rounding": 1e-3},
    }
    unproven = made_half("generator", parity=None)
    unproven["verification"] = {**unproven["verification"], "state": "bytes", "figures": {}}
    refused = ({"half": "generator", "reason": "its embeddings are not there"},)
    return [
        made_result("korean/small"),
        made_result(
            "korean/base", notices=(HEADS, note("casing", "the casing is what the vocabulary shows", taken="yes"))
        ),
        made_result(
            "large",
            halves=(made_half(times=24, parity={"float64": 2.5e-15, "float32": 3.1e-06, "float32_limit": 1.4e-05}),),
            refused=refused,
            seconds=83.0,
        ),
        failed("base-300k", UNEQUAL, seconds=9.3),
        failed("base-v1", DAMAGED, seconds=1.2, settings={"vocab": "zoo/vocab.txt"}, where="zoo.toml, line 12"),
        made_result(
            "half",
            "up to date",
            halves=(rounded,),
            seconds=0.1,
            settings={"export": "discriminator", "dtype": "float16"},
        ),
        made_result("masked", halves=(unproven,), notices=(HEADS,), setup="masked language model", seconds=2.2),
        made_result("tiny", "dropped", seconds=0.0),
    ]


def made_event(kind: str = "progress", item: str = "korean/small", at: float = 1.0, **changes: Any) -> BatchEvent:
    """Return an event."""
    fields = {"done": 1 << 20, "total": 4 << 20, "what": "writing", "result": None, **changes}
    return BatchEvent(kind=kind, item=item, at=at, **fields)  # type: ignore[arg-type]

"""How long `electra-convert verify` takes for a model of base size, and how much memory.

    python benchmarks/verify.py [--runs 5] [--length 128] [--dtype float32] [--no-graph]

Makes a checkpoint of ELECTRA-Base's discriminator (109 million random values, spread so that attention is not even) in
a temporary folder, with the graph that Google's code would write for it where TensorFlow is installed, converts it,
and runs the command as a whole process, several times. Then one run more through the library tells the stages apart.
Needs about 1.5 GB of disk.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from electra_convert.electra.config import ElectraConfig
from electra_convert.electra.mapping import Move, Scopes, plan

BASE = ElectraConfig(
    vocab_size=30522,
    embedding_size=768,
    hidden_size=768,
    num_hidden_layers=12,
    num_attention_heads=12,
    intermediate_size=3072,
    max_position_embeddings=512,
    type_vocab_size=2,
)
BATCH = 32

STAGES = """
import json, sys, time
start = time.perf_counter()
seen = []
from electra_convert.electra import model
seen.append(("import", time.perf_counter() - start))
from electra_convert import verify
last = ["open", time.perf_counter()]
def progress(done, total, what):
    seen.append((last[0], time.perf_counter() - last[1]))
    last[:] = what.split(": ")[-1], time.perf_counter()
parity = verify(sys.argv[1], sys.argv[2], progress=progress)
print(json.dumps({"stages": seen, "passed": parity.passed, "summary": parity.summary()}))
"""


def write_checkpoint(prefix: Path) -> None:
    """Write a checkpoint of the discriminator alone, as a run with `uniform_generator` leaves one."""
    from electra_convert.tf1.write import BundleWriter

    generator = np.random.default_rng(0)
    with BundleWriter(prefix) as bundle:
        for move in plan("discriminator", Scopes("electra", "electra"), BASE):
            bundle.add(move.variable, draw(move, generator))
        bundle.add("global_step", np.array(1, np.int64))


def draw(move: Move, generator: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return random values: with Google's own initial spread of 0.02 a wrong head count would hardly show."""
    values = generator.standard_normal(move.variable_shape, np.float32)
    kind = move.variable.rsplit("/", 1)[1]
    if kind == "gamma":
        return 1 + np.float32(0.15) * values
    spread = {"kernel": 1.2 / math.sqrt(move.variable_shape[0]), "bias": 0.1, "beta": 0.1}.get(kind, 0.2)
    return np.float32(spread) * values


def write_graph(path: Path, length: int) -> None:
    """Write the graph of Google's `modeling.py` with the discriminator's head, for inputs of [BATCH, length]."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow

    tf = tensorflow.compat.v1
    tf.logging.set_verbosity(tf.logging.ERROR)
    tf.disable_resource_variables()
    width, heads = BASE.hidden_size, BASE.num_attention_heads

    def dense(x: Any, units: int, scope: str, activation: Any = None) -> Any:
        with tf.variable_scope(scope):
            kernel, bias = tf.get_variable("kernel", [x.shape[-1], units]), tf.get_variable("bias", [units])
        flat = x if x.shape.ndims == 2 else tf.reshape(x, [-1, x.shape[-1]])
        product = tf.matmul(flat, kernel)
        if x.shape.ndims == 3:
            product = tf.reshape(product, [BATCH, length, units])
        sums = tf.nn.bias_add(product, bias)
        return activation(sums) if activation else sums

    def gelu(x: Any) -> Any:
        return x * (0.5 * (1.0 + tf.erf(x / tf.sqrt(2.0))))

    def normalize(x: Any) -> Any:
        with tf.variable_scope("LayerNorm"):
            beta, gamma = tf.get_variable("beta", [x.shape[-1]]), tf.get_variable("gamma", [x.shape[-1]])
        mean, variance = tf.nn.moments(x, [-1], keep_dims=True)
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, BASE.layer_norm_eps)

    def split(x: Any) -> Any:
        return tf.transpose(tf.reshape(x, [BATCH, length, heads, width // heads]), [0, 2, 1, 3])

    with tensorflow.Graph().as_default() as graph:
        ids, mask, segments = (
            tf.placeholder(tf.int32, [BATCH, length], name) for name in ("input_ids", "input_mask", "segment_ids")
        )
        with tf.variable_scope("electra"):
            with tf.variable_scope("embeddings"):
                words = tf.get_variable("word_embeddings", [BASE.vocab_size, width])
                types = tf.get_variable("token_type_embeddings", [BASE.type_vocab_size, width])
                positions = tf.get_variable("position_embeddings", [BASE.max_position_embeddings, width])
                typed = tf.matmul(tf.one_hot(tf.reshape(segments, [-1]), BASE.type_vocab_size), types)
                x = tf.gather(words, ids) + tf.reshape(typed, [BATCH, length, width])
                x = normalize(x + tf.reshape(tf.slice(positions, [0, 0], [length, -1]), [1, length, width]))
            x = tf.reshape(x, [-1, width])
            reach = tf.ones([BATCH, length, 1]) * tf.cast(tf.reshape(mask, [BATCH, 1, length]), tf.float32)
            shift = (1.0 - tf.expand_dims(reach, 1)) * -10000.0
            for i in range(BASE.num_hidden_layers):
                with tf.variable_scope(f"encoder/layer_{i}"):
                    with tf.variable_scope("attention"):
                        with tf.variable_scope("self"):
                            query, key, value = (split(dense(x, width, name)) for name in ("query", "key", "value"))
                            scores = tf.matmul(query, key, transpose_b=True)
                            weights = tf.nn.softmax(tf.multiply(scores, 1 / math.sqrt(width // heads)) + shift)
                            context = tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3])
                        with tf.variable_scope("output"):
                            x = normalize(dense(tf.reshape(context, [BATCH * length, width]), width, "dense") + x)
                    with tf.variable_scope("intermediate"):
                        inner = dense(x, BASE.intermediate_size, "dense", gelu)
                    with tf.variable_scope("output"):
                        x = normalize(dense(inner, width, "dense") + x)
        sequence = tf.reshape(x, [BATCH, length, width])
        with tf.variable_scope("discriminator_predictions"):
            tf.squeeze(dense(dense(sequence, width, "dense", gelu), 1, "dense_1"), -1)
        tf.train.export_meta_graph(str(path), graph=graph)


def run_once(command: list[str]) -> tuple[float, float, float]:
    """Return the seconds on the clock, the seconds of CPU and the peak memory in MB of a process that must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    # Linux counts in KiB, macOS in bytes.
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--length", type=int, default=128, help="of the graph; Google's default is 128")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    parser.add_argument("--no-graph", action="store_true", help="compare with reference.py alone")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="electra-verify-") as temporary:
        folder, out = Path(temporary) / "checkpoint", Path(temporary) / "out"
        folder.mkdir()
        write_checkpoint(folder / "model.ckpt-1")
        with_graph = not arguments.no_graph and importlib.util.find_spec("tensorflow") is not None
        if with_graph:
            write_graph(folder / "model.ckpt-1.meta", arguments.length)
        from electra_convert import convert

        convert(folder, out, tokenizer=False, verify=False, dtype=arguments.dtype)

        command = [sys.executable, "-m", "electra_convert", "verify", str(folder), str(out)]
        runs = [run_once(command) for _ in range(arguments.runs)]
        staged = subprocess.run(
            [sys.executable, "-c", STAGES, str(folder), str(out)], check=True, capture_output=True, text=True
        )
    report = json.loads(staged.stdout)
    wall, cpu, peak = (statistics.median(column) for column in zip(*runs, strict=True))
    compared = f"the original graph [{arguments.length} tokens] and reference.py" if with_graph else "reference.py"
    print(f"base discriminator in {arguments.dtype} against {compared}: {report['summary']}")
    print(f"{wall:.2f} s, {cpu:.2f} s of CPU, {peak:.0f} MB at most: the median of {arguments.runs} processes")
    total = sum(seconds for _, seconds in report["stages"])
    for stage, seconds in report["stages"]:
        print(f"{stage:>12} {seconds:6.2f} s {seconds / total:5.0%}")


if __name__ == "__main__":
    main()

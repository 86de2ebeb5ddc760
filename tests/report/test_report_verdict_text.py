"""A verdict on a terminal reads as drawn: folded, without colour, nothing raw from input."""

from __future__ import annotations

from dataclasses import replace

import pytest
from verdicts import EVIL, QUERY, RUN, made_up, real

from electra_convert.report.verdict_text import verdict_lines
from electra_convert.rungs import Check

FAILING = """\
Checkpoint  ckpt/model.ckpt-1000000  V2, step 1000000
Folder      out/  discriminator, float32
References  the original graph, reference.py
Inputs      padding, masks with holes, every position, all segment types, ids of
            the whole vocabulary; seed 0

  check                  found               limit
  structure
    tensors         203 of 203  all, and no others  ok
  bytes
    bytes           202 of 203                 all  FAILED
  float64, against the original graph
    embeddings         4.0e-13             4.0e-10  ok
    layers 0 to 9      4.0e-13             4.0e-10  ok
    layer 10           5.0e-01             4.0e-10  FAILED
    layer 11           4.0e-13             4.0e-10  ok
    logits             5.0e-01             4.0e-10  FAILED
  reference.py in float64, against the original graph
    embeddings         4.0e-13             4.0e-10  ok
    layers 0 to 11     4.0e-13             4.0e-10  ok
    logits             4.0e-13             4.0e-10  ok
  float32, against reference.py
    embeddings         4.0e-08             4.0e-05  ok
    layers 0 to 9      4.0e-08             4.0e-05  ok
    layer 10           5.0e-01             4.0e-05  FAILED
    layer 11           4.0e-08             4.0e-05  ok
    logits             5.0e-01             4.0e-05  FAILED

  largest difference as a share of scale, on a log scale; │ limit, ! beyond it
              float64                          float32
              1e-17              1             1e-09              1
  embeddings  ▇▇▇▇▇   │             1.0e-13    ▇▇       │            1.0e-08
"""

ENDING = """\
  Not equal, worst first
    bytes
      found 202 of 203, limit all
      electra.encoder.layer.10.output.dense.weight
    float64, against the original graph: layer 10
      found 5.0e-01, limit 4.0e-10 (1e-10 of scale)
      at mixed, row 3, token 17
    float64, against the original graph: logits
      found 5.0e-01, limit 4.0e-10 (1e-10 of scale)
      at mixed, row 3, token 17
    float32, against reference.py: layer 10
      found 5.0e-01, limit 4.0e-05 (8 × float32's own noise)
      at mixed, row 3, token 17
    float32, against reference.py: logits
      found 5.0e-01, limit 4.0e-05 (8 × float32's own noise)
      at mixed, row 3, token 17

  Why
    tensor 10 equals the variable without its operation

FAILED  5 of 44 checks in 4 s; first: bytes
"""


def text_of(parity, **settings):
    return "".join(f"{line}\n" for line in verdict_lines(parity, RUN, **settings))


def test_a_failure_reads_as_drawn():
    text = text_of(made_up(range(10, 11)))
    assert text.startswith(FAILING)
    assert text.endswith(ENDING)
    assert "  layer 10    ▇▇▇▇▇▇▇▇│▇▇▇▇▇▇▇▇▇▇   1.2e-01 !  ▇▇▇▇▇▇▇▇▇│▇▇▇▇▇▇▇▇    1.2e-01 !\n" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_real_proof_ends_with_the_number_of_checks():
    lines = verdict_lines(real(), RUN)
    assert lines[-1] == f"PASSED  {len(real().checks)} checks in 4 s"
    assert not any("FAILED" in line or "Not equal" in line for line in lines)


def test_a_short_run_tells_no_time():
    assert verdict_lines(made_up(), replace(RUN, seconds=0.4))[-1] == "PASSED  44 checks"


def test_a_tensor_that_was_not_turned_is_named_with_its_reason():
    text = text_of(real("turned"))
    assert f"  Not equal, worst first\n    bytes\n      found 42 of 43, limit all\n      {QUERY}\n" in text
    assert "without its operation" in " ".join(text.split())
    assert text.splitlines()[-1].endswith("; first: bytes")


def test_a_wrong_head_count_is_explained():
    assert "1 attention heads would fit the graph" in text_of(real("heads"))


def test_rungs_that_were_not_climbed_are_not_passed_over():
    text = text_of(real("dropped"))
    assert "  float64\n    not run, since a rung below does not hold\n" in text
    assert "largest difference" not in text


def test_what_is_not_finite_is_said():
    text = text_of(real("infinite"))
    assert "not finite !" in text
    assert "inf " not in text.replace("infinite", "")


def test_verbose_lists_every_layer_and_every_failure_with_its_place():
    text = text_of(made_up(range(2, 12)), verbose=True)
    for number in range(12):
        assert f"    layer {number} " in text
    assert "layers " not in text
    assert "(-v lists all)" not in text
    assert "rms" in text
    assert "and 18 more (-v lists all)" in text_of(made_up(range(2, 12)))


def test_what_was_not_proven_is_said_and_counted():
    text = text_of(made_up(unproven=("no original graph says that there are 4 heads",)))
    assert "  Not proven\n    no original graph says that there are 4 heads\n" in text
    assert text.endswith("PASSED  44 checks in 4 s; 1 thing not proven\n")


def test_two_halves_are_told_apart():
    lines = verdict_lines(made_up(range(3, 4), halves=2), RUN)
    assert lines[1:3] == ["Folders     out/  discriminator, float32", "            out/generator/  generator, float32"]
    assert "Discriminator" in lines
    assert "Generator" in lines
    assert lines[-1] == "FAILED  10 of 88 checks in 4 s; first: discriminator, bytes"


def test_a_stream_of_ascii_gets_the_whole_picture():
    text = text_of(made_up(range(3, 4)), ascii_only=True)
    assert text.isascii()
    assert "  embeddings  =====   |             1.0e-13" in text


@pytest.mark.parametrize("verbose", [False, True])
def test_nothing_from_input_reaches_a_terminal_raw(verbose):
    check = Check("structure", EVIL, False, EVIL, EVIL, EVIL, where=EVIL, reason=EVIL)
    parity = made_up(checks=(check,), unproven=(EVIL,), explanations=(EVIL,), references=(EVIL,), dtype=EVIL)
    parity = replace(parity, checkpoint=replace(parity.checkpoint, prefix=EVIL))
    assert all(line.isprintable() for line in verdict_lines(parity, RUN, verbose=verbose))

"""A batch as text: a numbered line an item, a table, and the failures last and whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from batches import DAMAGED, EVIL, RUN, UNEQUAL, failed, made_event, made_half, made_result, one_of_each

from electra_convert.errors import ChecksumError
from electra_convert.report.batch_text import batch_lines, detail_lines, item_line, name_width, note_line

LINES = """\
  1/8  ok       korean/small  discriminator, generator  203 + 204 tensors        4.1 s
  2/8  ok       korean/base   discriminator, generator  203 + 204 tensors        4.1 s
  3/8  ok       large         discriminator             203 tensors         1 min 23 s
  4/8  FAILED   base-300k                               layer 3                  9.3 s
  5/8  error    base-v1                                 checksum                 1.2 s
  6/8  skipped  half          discriminator             up to date               0.1 s
  7/8  ok       masked        generator                 204 tensors              2.2 s
  8/8  dropped  tiny                                    not done                 0.0 s
"""

SUMMARY = """\
  item          halves          parameters   weights  float64  float32        time
  korean/small  both            14,196,219  54.2 MiB  8.3e-16  4.2e-07       4.1 s  ok
  korean/base   both            14,196,219  54.2 MiB  8.3e-16  4.2e-07       4.1 s  ok
  large         discriminator  325,177,368   1.2 GiB  2.5e-15  3.1e-06  1 min 23 s  ok
  base-300k                                                                  9.3 s  FAILED
  base-v1                                                                    1.2 s  error
  half          discriminator   13,549,057  51.7 MiB    1e-14    1e-05       0.1 s  skipped
  masked        generator          647,162   2.5 MiB                         2.2 s  ok

8 items: 4 ok, 1 skipped, 1 dropped, 1 FAILED, 1 error in 1 min 12 s
7 folders, 6 proven, 1.4 GiB of weights
2 warnings

FAILED  base-300k: the discriminator does not compute what the checkpoint computes
          where     layer 3, mixed, row 3, token 17
          because   electra.encoder.layer.3.attention.self.query.weight equals the variable without its operation
          failed    11 of 31 checks
          found     5.1e-02 against the original graph
          expected  at most 3.9e-10 (1e-10 of scale)

error   base-v1: checksum of a variable differs
          where     zoo/base-v1/model.ckpt-300000.data-00000-of-00001, byte 41943040
          variable  electra/encoder/layer_7/output/dense/kernel  float32 [1024, 256]
          found     0x5d3c91aa
          expected  0x8b02f6e1, from zoo/base-v1/model.ckpt-300000.index

        hint: the file changed after it was written; copy it again
"""


def test_every_item_has_a_numbered_line():
    results = one_of_each()
    width = name_width(result.item.name for result in results)
    lines = [item_line(number, 8, result, width) for number, result in enumerate(results, start=1)]
    assert "".join(f"{line}\n" for line in lines) == LINES


def test_the_summary_is_a_table_a_tally_and_the_failures_whole():
    assert "".join(f"{line}\n" for line in batch_lines(one_of_each(), RUN)) == SUMMARY


PLAN = """\
  item   halves         parameters   weights           source
  small  both           14,196,219  54.2 MiB  planned  zoo/small
  large  discriminator  13,549,057  51.7 MiB  skipped  zoo/large

2 items: 1 skipped, 1 planned in 1 min 12 s
3 folders to write, 105.9 MiB of weights
"""


def test_a_plan_has_sources_and_no_figures():
    both = made_result("small").halves
    results = [made_result("small", "planned", halves=both), made_result("large", "up to date", halves=(made_half(),))]
    assert "".join(f"{line}\n" for line in batch_lines(results, RUN)) == PLAN
    assert "203 + 204 tensors" in item_line(1, 2, results[0], 5)


def test_numbers_of_a_large_zoo_stay_in_their_column():
    first, last = (item_line(number, 1000, made_result(), 12) for number in (1, 1000))
    assert (first[:12], last[:12]) == ("     1/1000 ", "  1000/1000 ")
    assert len(first) == len(last)


def test_a_long_name_pushes_its_own_line_only():
    names = ["short", "x" * 10_000]
    assert name_width(names) == 40
    results = [made_result(name) for name in names]
    table = batch_lines(results, RUN)[:3]
    assert len(table[1]) < 200
    assert "x" * 10_000 in table[2]
    assert table[0].index("halves") == table[1].index("both")


def test_what_was_stopped_says_by_what():
    lines = "\n".join(batch_lines(one_of_each(), replace(RUN, stopped="SIGINT")))
    assert "in 1 min 12 s, stopped by SIGINT" in lines
    assert "The same command again goes on" in lines


@pytest.mark.parametrize("export", ["discriminator", "generator", "task"])
def test_a_failure_names_the_half_that_was_asked_for(export):
    line = item_line(1, 1, failed("a", DAMAGED, settings={"export": export}), 1)
    assert f"error    a  {export} " in line


def test_the_last_line_names_the_reports():
    assert batch_lines(one_of_each(), replace(RUN, reports=("a.html", "b.xml")))[-2:] == ["", "Wrote a.html, b.xml"]


def test_nothing_to_do_is_said():
    assert batch_lines([], RUN) == ["0 items: nothing to do in 1 min 12 s"]


def test_details_have_the_source_the_options_and_the_proof():
    lines = "\n".join(detail_lines(failed("a", DAMAGED, settings={"vocab": "v.txt"}, where="zoo.toml, line 12")))
    for part in ("source  ", "zoo/a", "zoo.toml, line 12", "vocab", "v.txt", "export"):
        assert part in lines
    assert "equal those of the original graph" in "\n".join(detail_lines(made_result()))
    refused = ({"half": "generator", "reason": "it is not there"},)
    assert "refused: it is not there" in "\n".join(detail_lines(made_result(refused=refused)))


def test_no_text_from_input_reaches_the_screen_raw():
    evil = failed(EVIL, ChecksumError(EVIL, where=EVIL, found=EVIL, hint=EVIL), setup=EVIL, settings={"vocab": EVIL})
    good = made_result(EVIL, setup=EVIL, refused=({"half": EVIL, "reason": EVIL},), halves=(made_half(),))
    lines = [*batch_lines([evil, good], RUN), *detail_lines(evil), *detail_lines(good)]
    lines += [item_line(1, 2, evil, 10), item_line(2, 2, good, 10), note_line(made_event("note", EVIL, what=EVIL))]
    assert all(line.isprintable() for line in lines)
    assert any("\\x1b[31m" in line for line in lines)


def test_the_reason_of_a_failure_is_the_first_state_that_differs_or_the_kind():
    line = item_line(1, 1, failed("a", UNEQUAL), 1)
    assert "  layer 3  " in line
    assert "  checksum  " in item_line(1, 1, failed("a", DAMAGED), 1)
    assert item_line(1, 1, replace(failed("a", DAMAGED), error={"kind": "", "message": ""}), 1)

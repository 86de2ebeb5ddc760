"""The networks get what the game says: the text with markers and segments, masked or replaced, as if unpadded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from probes import heldout, trained

from electra_convert.electra.model import from_folder
from electra_convert.probing.halves import load_players
from electra_convert.probing.rounds import BATCH_TOKENS, Rules, play
from electra_convert.probing.text import pack, read_lines, split_text
from electra_convert.progress import no_progress

RULES = Rules(mask=0.25, temperature=1.5, length=64, top=3, seed=0, rounds=2, as_google=False)


@pytest.fixture(scope="module")
def players():
    return load_players(trained(), None)


@pytest.fixture(scope="module")
def windows(players):
    with open(heldout(), "rb") as stream:
        text = split_text(read_lines(stream, "heldout.txt"), players.pieces.tokenizer, 3000)
    return list(pack(text.lines, RULES.length))


@pytest.fixture(scope="module")
def played(players, windows):
    return list(play(windows, players, RULES, no_progress))


def row_of(window, special):
    """Return ids and segments, written down once more."""
    ids, segments = [special["[CLS]"]], [0]
    for number, pieces in enumerate(window.segments):
        for piece in pieces:
            ids.append(piece.id)
            segments.append(number)
        ids.append(special["[SEP]"])
        segments.append(number)
    return ids, segments


def answer(model, ids, segments):
    with torch.inference_mode():
        return model(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long), torch.tensor([segments])).logits[0]


def test_every_window_is_played_in_every_round_in_order(windows, played):
    assert [(window.round, window.window) for window in played] == [
        (number, window) for number in range(2) for window in range(len(windows))
    ]


def test_the_windows_are_more_than_one_batch_and_some_have_two_segments(windows):
    assert sum(len(window.pieces) for window in windows) > 2 * BATCH_TOKENS
    assert 0 < sum(len(window.segments) == 2 for window in windows) < len(windows)


def test_the_discriminator_judges_the_text_with_what_was_put_in(players, windows, played):
    """One window at a time, without padding, gives the same logits."""
    model = from_folder(trained() / "discriminator")
    for done in played[::7]:
        ids, segments = row_of(windows[done.window], players.pieces.special)
        assert done.ids.tolist() == ids
        for move in done.moves:
            ids[move.drawn.place] = move.put_in
        np.testing.assert_allclose(done.logits, answer(model, ids, segments).numpy(), atol=1e-5)


def test_the_generator_guesses_from_the_masked_text(players, windows, played):
    model = from_folder(trained() / "generator")
    for done in played[::7]:
        ids, segments = row_of(windows[done.window], players.pieces.special)
        masked = list(ids)
        for move in done.moves:
            if move.drawn.hidden:
                masked[move.drawn.place] = players.pieces.special["[MASK]"]
        logarithms = answer(model, masked, segments).double().log_softmax(-1)
        for move in done.moves:
            at = logarithms[move.drawn.place]
            assert move.loss == pytest.approx(-float(at[ids[move.drawn.place]]), abs=1e-4)
            best = at.topk(3)
            assert [chance for _, chance in move.guesses] == pytest.approx(best.values.exp().tolist(), abs=1e-5)


def test_markers_are_never_masked(players, played):
    markers = {players.pieces.special[name] for name in ("[CLS]", "[SEP]", "[MASK]")}
    assert all(int(done.ids[move.drawn.place]) not in markers for done in played for move in done.moves)


def test_rounds_differ(played):
    half = len(played) // 2
    assert [done.moves for done in played[:half]] != [done.moves for done in played[half:]]

"""A probe on a terminal reads as drawn: marks without colour, nothing raw from input, within the width."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_convert.probing.figures import Auc, Share
from electra_convert.probing.result import Guess, Guessing, PlayedWindow, Probe, ProbedText, Setting, Token
from electra_convert.report.probe_text import display_width, probe_lines

EVIL = "\x1b[31m\u202e\x00\n"

DRAWN = """\
Discriminator  out/discriminator
Generator      out/generator
Text           news.txt: 1,200 tokens in 30 windows of at most 128; not read
               beyond line 77 (--max-tokens)
Game           15% masked (Google's default), temperature 1 (given), 2 rounds
               (given), seed 7

Window 1 of 30, round 1
  The [chef→cook]^64 wanted the [pasta]^3, un[##believ→##think]^88able
  forthwith^31.

  masked    put in   ^   generator guesses
  chef      cook     64  man 12%  chef 9%
  pasta     pasta    3   pasta 80%
  ##believ  ##think  88  , 5%

[a→b] a was replaced by b; [a] a was masked, and came back; ^41 the
discriminator's probability, in percent, that this is a replacement; below 15%
it is told for masked tokens only

Masked         40.0% (95%: 35.2% to 45.1%), 144 of 360, guessed right; always
               `,`: 5.0%
Put in         20.0% (95%: 16.2% to 24.4%), 72 of 360, the original itself
AUC            0.931 (95%: 0.912 to 0.946); random weights: 0.5
               over 288 replaced tokens and 2,112 original ones

Verdict        TRAINED: the discriminator tells replaced tokens from original
               ones; random weights do not
               TRAINED: the generator guesses masked tokens better than by
               always saying the commonest
"""


def token(written: str, gap: str = " ", probability: float = 0.01, **more) -> Token:
    return Token(more.pop("piece", written.lower()), written, gap, probability, **more)


def masked(written: str, replacement: str | None, probability: float, *guesses: Guess, gap: str = " ", **more) -> Token:
    return token(written, gap, probability, masked=True, replacement=replacement, guesses=guesses, **more)


TOKENS = (
    token("The", "\n"),
    masked("chef", "cook", 0.64, Guess("man", 0.12), Guess("chef", 0.09)),
    token("wanted"),
    token("the"),
    masked("pasta", None, 0.03, Guess("pasta", 0.8)),
    token(",", ""),
    token("un"),
    masked("believ", "##think", 0.88, Guess(",", 0.05), gap="", piece="##believ"),
    token("able", "", 0.117, piece="##able"),
    token("forth", " ", 0.31),
    token("with", "", 0.2, piece="##with"),
    token(".", ""),
)


def made_up(tokens=TOKENS, **changes) -> Probe:
    """Return a probe of round figures."""
    probe = Probe(
        discriminator="out/discriminator",
        generator="out/generator",
        text=ProbedText("news.txt", 1200, 3, 30, 77),
        settings={
            "max_length": Setting(128, "as in training"),
            "mask": Setting(0.15, "Google's default"),
            "temperature": Setting(1.0, "given"),
            "rounds": Setting(2, "given"),
        },
        seed=7,
        windows=(PlayedWindow(0, tuple(tokens)),) * 60,
        detection=Auc(0.931, 0.912, 0.946, 288, 2112, 30),
        kept=Share(0.2, 0.162, 0.244, 72, 360),
        guessing=Guessing(Share(0.4, 0.352, 0.451, 144, 360), 3.1, ",", 0.05),
        google=None,
        energy=None,
        notices=(),
    )
    return replace(probe, **changes)


def text_of(probe: Probe, **settings) -> str:
    return "".join(f"{line}\n" for line in probe_lines(probe, **settings))


def shown(tokens, **settings) -> str:
    """Return the text of a window of these tokens, as it is shown."""
    probe = made_up([replace(tokens[0], gap="\n"), *tokens[1:]], generator=None, guessing=None)
    return text_of(probe, **settings).partition("round 1\n")[2].partition("\n\n")[0]


def test_it_reads_as_drawn():
    assert text_of(made_up()) == DRAWN


def test_without_windows_the_figures_stand_alone():
    text = text_of(made_up(), show=0)
    assert "Window" not in text
    assert "^" not in text
    assert text.endswith(DRAWN[DRAWN.index("\nMasked  ") :])


def test_every_window_is_shown_with_its_round():
    lines = text_of(made_up(windows=(PlayedWindow(0, TOKENS[:1]), PlayedWindow(1, TOKENS[:1])),
                            text=ProbedText("TEXT", 1, 0, 1, None)), show=9).splitlines()  # fmt: skip
    assert [line for line in lines if line.startswith("Window")] == ["Window 1 of 1, round 1", "Window 1 of 1, round 2"]


def test_verbose_has_a_line_for_every_token():
    text = text_of(made_up(), verbose=True)
    assert "\n  token     ^\n  The       1.0\n  chef      64.0  [chef→cook]\n" in text
    assert "\n  ##able    11.7\n" in text


def test_without_a_generator_that_is_said():
    text = text_of(made_up(generator=None, guessing=None))
    assert "Generator      none: random tokens of the vocabulary take the masked places\n" in text
    assert "guesses" not in text
    assert text.count("TRAINED") == 1


@pytest.mark.parametrize(
    ("bounds", "word"),
    [
        ((0.40, 0.44), "WORSE THAN RANDOM WEIGHTS: "),
        ((0.48, 0.53), "LIKE RANDOM WEIGHTS: "),
        ((0.54, 0.60), "UNCLEAR: "),
        ((0.40, 0.60), "UNCLEAR: "),
        ((0.56, 0.60), "TRAINED: "),
    ],
)
def test_the_verdict_is_a_word_and_a_sentence(bounds, word):
    probe = made_up(detection=Auc(sum(bounds) / 2, *bounds, 288, 2112, 30))
    assert f"\nVerdict        {word}" in text_of(probe)


def test_a_few_words_prove_nothing_and_that_is_the_verdict():
    text = text_of(made_up(text=ProbedText("TEXT", 21, 2, 1, None)))
    assert text.endswith(
        "\nVerdict        UNCLEAR: 19 known tokens of text prove nothing, whatever the\n"
        "               figures; take 20 or more\n"
    )


def test_against_random_tokens_no_other_probe_is_advised():
    unclear = made_up(detection=Auc(0.5, 0.4, 0.6, 288, 2112, 30))
    assert "folder alone" in " ".join(text_of(unclear).split())
    assert "folder alone" not in text_of(replace(unclear, generator=None, guessing=None))


def test_an_auc_that_is_none_is_said_in_words():
    text = text_of(made_up(detection=Auc(None, None, None, 0, 12, 1)))
    assert "AUC            none: there are not both replaced and original tokens\n" in text
    assert "Verdict        UNCLEAR: " in text


def test_an_energy_is_called_no_probability():
    text = " ".join(text_of(made_up(energy="its logit is an energy")).split())
    assert "sigmoid of its logit" in text
    assert "discriminator's probability" not in text
    assert text.endswith("No probabilities: its logit is an energy")


def test_googles_figures_stand_under_googles_names():
    text = text_of(made_up(google={"disc_auc": 0.87219, "masked_lm_loss": None}))
    assert "\n  disc_auc                     0.8722\n  masked_lm_loss               none\n" in text


def test_colour_repeats_what_marks_say():
    levels = {}

    def paint(text, level):
        levels[text] = level
        return f"<{level}>{text}</>"

    painted = text_of(made_up(), paint=paint)
    assert re.sub("<[a-z]+>|</>", "", painted) == DRAWN
    assert levels["[chef→cook]^64"] == "suspect"
    assert levels["forthwith^31"] == "odd"
    assert levels["wanted"] == "calm"


def test_ascii_only_has_no_arrow():
    text = text_of(made_up(), ascii_only=True)
    assert "[chef->cook]^64" in text
    assert text.isascii()


class TestHostileText:
    def test_nothing_raw_from_input(self):
        evil = masked(EVIL, EVIL, 0.9, Guess(EVIL, 0.5), piece=EVIL)
        probe = made_up(
            [token(EVIL), evil],
            discriminator=EVIL,
            generator=EVIL,
            text=ProbedText(EVIL, 1200, 0, 30, None),
            guessing=Guessing(Share(0.4, 0.3, 0.5, 4, 10), 1.0, EVIL, 0.05),
            energy=EVIL,
        )
        for line in probe_lines(probe, verbose=True):
            assert not set(line) & {"\x1b", "\u202e", "\x00", "\n"}

    def test_right_to_left_text_stays_in_order_of_writing(self):
        assert shown([token("שלום"), masked("עולם", "מלך", 0.5)]) == "  שלום [עולם→מלך]^50"

    def test_wide_characters_take_two_cells_and_break_anywhere(self):
        text = shown([token(character, "") for character in "明日は雨が降るでしょう" * 5], width=40)
        assert "".join(text.split()) == "明日は雨が降るでしょう" * 5
        assert [display_width(line) for line in text.splitlines()] == [40, 40, 36]


class TestWidth:
    TOKEN = st.builds(
        token,
        st.text(st.sampled_from("ab日é\u0301"), min_size=1, max_size=9),
        st.sampled_from(["", " ", "\n"]),
        st.sampled_from([0.0, 0.2, 0.7]),
        masked=st.booleans(),
        replacement=st.sampled_from([None, "king", "##s"]),
    )

    @given(st.lists(TOKEN, min_size=1, max_size=40), st.integers(36, 110))
    def test_lines_fit_and_nothing_is_lost(self, tokens, width):
        tokens = [token if token.masked else replace(token, replacement=None) for token in tokens]
        text = shown(tokens, width=width)
        assert all(display_width(line) <= width for line in text.splitlines())
        words = re.sub(r"\^\d+|→king|→##s|[\[\]\s]", "", text)
        assert words == "".join(token.written for token in tokens)

    @pytest.mark.parametrize("width", [1, 24, 30, 47, 48, 80, 300])
    def test_a_narrow_terminal_wraps(self, width):
        for line in probe_lines(made_up(), width=width):
            assert display_width(line) <= max(24, min(width, 100)) or " " not in line.strip()

    def test_guesses_that_find_no_room_are_left_out_whole(self):
        guesses = (Guess("man", 0.12), Guess("housekeeper", 0.09))
        probe = made_up([masked("chef", "cook", 0.64, *guesses, gap="\n")])
        assert "\n  chef    cook    64  man 12%  housekeeper 9%\n" in text_of(probe, width=46)
        assert "\n  chef    cook    64  man 12%\n" in text_of(probe, width=44)
        assert "\n  chef    cook    64\n" in text_of(probe, width=34)

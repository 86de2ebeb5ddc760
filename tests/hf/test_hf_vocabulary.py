"""`vocab.txt` is read as Google's code reads it; what readers would number differently is refused."""

from __future__ import annotations

import os
from pathlib import Path

import conftest
import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_convert.errors import UsageError, VocabularyError
from electra_convert.hf.casing import Casing, find_casing
from electra_convert.hf.vocabulary import SPECIAL_TOKENS, Vocabulary, check_rows, read_vocabulary

FIVE = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vocab.txt"


def read(path: Path, data: str | bytes) -> Vocabulary:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_vocabulary(path)


def refusal(path: Path, data: str | bytes) -> VocabularyError:
    with pytest.raises(VocabularyError) as caught:
        read(path, data)
    assert caught.value.exit_code == 3
    return caught.value


def google_ids(data: bytes) -> dict[str, int]:
    """Google's `load_vocab`, from the description of it: readline, strip, the last id wins."""
    ids = {}
    for number, line in enumerate(data.split(b"\n")):
        if line or number < data.count(b"\n"):
            ids[line.decode().strip()] = number
    return ids


class TestRealVocabularies:
    def test_the_released_english_one_is_plain(self) -> None:
        found = read_vocabulary(conftest.other("electra_small_released") / "vocab.txt")
        assert len(found.tokens) == len(found.ids) == 30522
        assert found.special_ids == {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
        assert found.notices == ()
        assert (found.name, found.nbytes) == ("vocab.txt", 231508)
        assert check_rows(found, 30522) == ()
        casing = find_casing(found.tokens)
        assert (casing.do_lower_case, casing.strip_accents) == (True, True)
        assert [notice.kind for notice in casing.notices] == ["note"]

    def test_the_chinese_one_has_two_entries_of_white_space(self) -> None:
        found = read_vocabulary(conftest.other("bert_base_chinese_index") / "vocab.txt")
        assert len(found.tokens) == len(found.ids) == 21128
        assert (found.tokens[343], found.tokens[13502]) == ("", "##")
        assert {notice.code: dict(notice.facts)["found"] for notice in found.notices} == {
            "vocab-blank": "line 344",
            "vocab-stripped": "line 13503",
        }
        assert all(notice.kind == "note" for notice in found.notices)
        casing = find_casing(found.tokens)
        assert (casing.do_lower_case, casing.strip_accents) == (True, True)

    @pytest.mark.parametrize("name", conftest.all_of("google"))
    def test_every_vocabulary_of_googles_code_is_plain(self, name: str) -> None:
        path = conftest.google(name) / "vocab.txt"
        found = read_vocabulary(path)
        assert dict(found.ids) == google_ids(path.read_bytes())
        assert found.text().encode() == path.read_bytes()
        assert found.notices == ()
        casing = find_casing(found.tokens)
        cased = name == "cased_temperature"
        assert (casing.do_lower_case, casing.strip_accents) == (not cased, not cased)
        assert [notice.kind for notice in casing.notices] == ["note"]
        if cased:
            assert casing.evidence.startswith("of 275 ordinary tokens, lower-casing would change 66 (")

    def test_a_git_lfs_pointer_is_named(self) -> None:
        path = conftest.other("bert_covbert_snappy_index") / "vocab.txt"
        with pytest.raises(VocabularyError) as caught:
            read_vocabulary(path)
        assert "Git LFS" in str(caught.value.found)
        assert "git lfs pull" in str(caught.value.hint)


class TestReading:
    def test_ids_are_line_numbers_from_zero(self, path: Path) -> None:
        found = read(path, FIVE + "the\n##ing\n")
        assert found.tokens == (*SPECIAL_TOKENS, "the", "##ing")
        assert found.ids["##ing"] == 6
        assert (found.nbytes, found.crc32c) == (len(FIVE) + 10, google_crc32c.value(path.read_bytes()))

    def test_the_last_newline_may_be_missing(self, path: Path) -> None:
        assert read(path, FIVE + "the").ids["the"] == 5

    def test_a_blank_last_line_is_an_entry(self, path: Path) -> None:
        found = read(path, FIVE + "\n")
        assert found.tokens[5:] == ("",)
        assert found.text() == FIVE + "\n"
        assert [(notice.kind, notice.code) for notice in found.notices] == [("note", "vocab-blank")]

    @pytest.mark.parametrize("separator", ["\u2028", "\x0b", "\x0c", "\x1c", "\x85", "\u2029"])
    def test_lines_end_at_newline_only(self, path: Path, separator: str) -> None:
        assert read(path, f"{FIVE}a{separator}b\nc\n").tokens[5:] == (f"a{separator}b", "c")

    def test_blank_lines_keep_their_ids_and_are_no_duplicates(self, path: Path) -> None:
        found = read(path, FIVE + "\na\n\u3000\nb\n")
        assert found.ids["b"] == 8
        assert [(notice.code, dict(notice.facts)["found"]) for notice in found.notices] == [
            ("vocab-blank", "lines 6, 8")
        ]

    def test_white_space_is_stripped_with_a_note(self, path: Path) -> None:
        found = read(path, FIVE + " a\nb\t\nc\u00a0\nd\n")
        assert found.tokens[5:] == ("a", "b", "c", "d")
        assert [(notice.code, dict(notice.facts)["found"]) for notice in found.notices] == [
            ("vocab-stripped", "lines 6, 7, 8")
        ]

    def test_crlf_is_read_with_a_note_and_written_with_lf(self, path: Path) -> None:
        found = read(path, (FIVE + "a\n").replace("\n", "\r\n"))
        assert found.text() == FIVE + "a\n"
        assert [(notice.kind, notice.code) for notice in found.notices] == [("note", "vocab-crlf")]

    def test_of_duplicates_the_last_line_wins_with_a_warning_that_names_both(self, path: Path) -> None:
        found = read(path, FIVE + "a\nb\na\n[UNK]\n")
        assert found.tokens == (*SPECIAL_TOKENS, "a", "b", "a", "[UNK]")
        assert (found.ids["a"], found.ids["[UNK]"]) == (7, 8)
        (notice,) = found.notices
        assert (notice.kind, notice.code) == ("warning", "vocab-duplicate")
        assert dict(notice.facts)["found"] == ["[UNK]: lines 2, 9", "a: lines 6, 8"]

    def test_notices_name_the_file_without_its_folder(self, path: Path) -> None:
        found = read(path, (FIVE + " a\na\n\n").replace("\n", "\r\n"))
        assert len(found.notices) == 4
        for notice in (*found.notices, *check_rows(found, 100)):
            assert dict(notice.facts)["where"] == "vocab.txt"

    @given(st.lists(st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=4)))
    def test_any_lines_get_googles_ids_and_read_the_same_when_written(
        self, tmp_path_factory: pytest.TempPathFactory, lines: list[str]
    ) -> None:
        path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
        data = (FIVE + "\n".join(lines)).encode()
        found = read(path, data)
        assert dict(found.ids) == google_ids(data)
        again = read(path, found.text())
        assert (again.tokens, again.ids) == (found.tokens, found.ids)


class TestRefusals:
    @pytest.mark.parametrize("missing", SPECIAL_TOKENS)
    def test_each_special_token_is_needed(self, path: Path, missing: str) -> None:
        error = refusal(path, FIVE.replace(missing + "\n", "") + "the\n")
        assert error.facts["missing"] == missing
        assert "--vocab" in str(error.hint)
        assert "--no-tokenizer" in str(error.hint)

    def test_tokens_with_counts_are_refused(self, path: Path) -> None:
        assert refusal(path, "[PAD]\t0\n[UNK]\t1\n").facts["missing"] == ", ".join(SPECIAL_TOKENS)

    def test_lower_case_special_tokens_are_refused(self, path: Path) -> None:
        refusal(path, FIVE.lower())

    @pytest.mark.parametrize(
        ("data", "found"),
        [
            (b"\xef\xbb\xbf" + FIVE.encode(), "byte order mark"),
            (FIVE.encode("utf-16"), "UTF-16"),
            (FIVE.encode("utf-16-be"), None),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
            (b"\n<!DOCTYPE html>\n", "a web page"),
            (b"<HTML>", "a web page"),
        ],
    )
    def test_what_is_no_list_of_tokens_is_named(self, path: Path, data: bytes, found: str | None) -> None:
        error = refusal(path, data)
        assert found is None or found in str(error.found)

    def test_an_empty_file_is_refused(self, path: Path) -> None:
        assert "empty" in refusal(path, b"").message

    def test_a_carriage_return_inside_a_line_is_refused_with_the_line(self, path: Path) -> None:
        assert refusal(path, FIVE + "a\rb\n").where == f"{path}, line 6"
        assert refusal(path, FIVE.replace("\n", "\r")).where == f"{path}, line 1"

    def test_invalid_utf_8_is_refused_with_line_and_byte(self, path: Path) -> None:
        error = refusal(path, FIVE.encode() + b"a\xff\n")
        assert error.where == f"{path}, line 6, byte {len(FIVE) + 1}"
        assert error.found == "0xff"

    def test_a_missing_file_and_a_folder_are_refused(self, path: Path) -> None:
        for target, message in ((path, "not there"), (path.parent, "no regular file")):
            with pytest.raises(VocabularyError, match=message):
                read_vocabulary(target)

    @pytest.mark.skipif(os.name != "posix", reason="POSIX only")
    def test_a_fifo_does_not_block(self, path: Path) -> None:
        os.mkfifo(path)
        with pytest.raises(VocabularyError, match="no regular file"):
            read_vocabulary(path)


class TestRows:
    def test_more_entries_than_rows_are_refused_with_both_numbers(self, path: Path) -> None:
        with pytest.raises(VocabularyError) as caught:
            check_rows(read(path, FIVE), 4)
        assert caught.value.found == "5 entries"
        assert str(caught.value.expected).startswith("at most 4 entries")

    def test_fewer_entries_are_a_warning(self, path: Path) -> None:
        (notice,) = check_rows(read(path, FIVE), 6)
        assert (notice.kind, notice.code) == ("warning", "vocab-short")

    def test_as_many_are_fine(self, path: Path) -> None:
        assert check_rows(read(path, FIVE), 5) == ()


def flags(casing: Casing) -> tuple[bool, bool]:
    return casing.do_lower_case, casing.strip_accents


PLAIN = ["[UNK]", "<S>", "ℝ", "the", "##ing"]
ACCENTED = [*PLAIN, "für"]
CASED = [*PLAIN, "The"]


class TestCasing:
    @pytest.mark.parametrize(
        ("tokens", "expected"),
        [
            (PLAIN, (True, True)),
            (ACCENTED, (True, False)),
            ([*PLAIN, "각"], (True, False)),
            (CASED, (False, False)),
            ([*CASED, "für"], (False, False)),
            (["[Abc]", "<Abc>", "a"], (True, True)),
            (["[", "]", "<", ">"], (True, True)),
            ([], (True, True)),
        ],
    )
    def test_the_vocabulary_tells(self, tokens: list[str], expected: tuple[bool, bool]) -> None:
        casing = find_casing(tokens)
        assert flags(casing) == expected
        assert casing.source == "vocabulary"
        assert [(notice.kind, notice.code) for notice in casing.notices] == [("note", "casing")]

    @pytest.mark.parametrize("sign", ["The", "für"])
    def test_few_signs_are_taken_with_a_warning(self, sign: str) -> None:
        clear, few = ["a"] * 99 + [sign], ["a"] * 100 + [sign]
        assert flags(find_casing(few)) == flags(find_casing(clear)) != (True, True)
        assert [notice.kind for notice in find_casing(clear).notices] == ["note"]
        assert [notice.kind for notice in find_casing(few).notices] == ["warning"]

    @pytest.mark.parametrize(
        ("tokens", "given_values", "expected", "warned"),
        [
            (PLAIN, {"lower_case_flag": True}, (True, True), False),
            (PLAIN, {"lower_case_flag": False}, (False, False), True),
            (CASED, {"lower_case_flag": False}, (False, False), False),
            (CASED, {"lower_case_flag": True}, (True, True), True),
            (CASED, {"lower_case_hparam": False}, (False, False), False),
            (CASED, {"lower_case_hparam": True}, (True, True), True),
            (PLAIN, {"strip_accents_flag": True}, (True, True), False),
            (PLAIN, {"strip_accents_flag": False}, (True, False), True),
            (ACCENTED, {"strip_accents_flag": False}, (True, False), False),
            (ACCENTED, {"strip_accents_flag": True}, (True, True), True),
            (CASED, {"strip_accents_flag": False}, (False, False), False),
            (CASED, {"lower_case_flag": False, "lower_case_hparam": False}, (False, False), False),
        ],
    )
    def test_what_is_given_is_taken_and_warned_of_where_the_vocabulary_shows_another(
        self, tokens: list[str], given_values: dict[str, bool], expected: tuple[bool, bool], warned: bool
    ) -> None:
        casing = find_casing(tokens, **given_values)
        assert flags(casing) == expected
        assert any(notice.kind == "warning" and notice.code == "casing" for notice in casing.notices) == warned

    def test_sources_are_told(self) -> None:
        casing = find_casing(PLAIN, lower_case_hparam=True)
        assert (casing.source, casing.strip_accents_source) == ("hparams", "vocabulary")
        casing = find_casing(CASED, lower_case_flag=False)
        assert (casing.source, casing.strip_accents_source) == ("flag", "rule")

    def test_flag_and_hparams_may_not_contradict_each_other(self) -> None:
        with pytest.raises(UsageError):
            find_casing(PLAIN, lower_case_flag=True, lower_case_hparam=False)

    @pytest.mark.parametrize("given_values", [{}, {"lower_case_flag": False}, {"lower_case_hparam": False}])
    def test_accents_of_cased_text_are_never_stripped(self, given_values: dict[str, bool]) -> None:
        with pytest.raises(UsageError):
            find_casing(CASED, strip_accents_flag=True, **given_values)

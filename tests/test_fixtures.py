"""The fixtures are the files that `fixtures/README.md` says they are, and stay small."""

from __future__ import annotations

import hashlib

from conftest import FIXTURES


def test_every_fixture_has_its_recorded_checksum() -> None:
    lines = (FIXTURES / "SHA256SUMS").read_text().splitlines()
    recorded = {name: checksum for checksum, name in (line.split("  ", 1) for line in lines)}
    files = {path.relative_to(FIXTURES).as_posix(): path for path in FIXTURES.rglob("*") if path.is_file()}
    assert set(files) - {"README.md", "SHA256SUMS"} == set(recorded)
    wrong = [name for name, sha in recorded.items() if hashlib.sha256(files[name].read_bytes()).hexdigest() != sha]
    assert wrong == []


def test_every_folder_is_described() -> None:
    text = (FIXTURES / "README.md").read_text()
    folders = [path.name for kind in ("google", "others") for path in (FIXTURES / kind).iterdir() if path.is_dir()]
    assert [name for name in folders if f"`{name}`" not in text] == []


def test_the_fixtures_stay_below_8_megabytes() -> None:
    assert sum(path.stat().st_size for path in FIXTURES.rglob("*") if path.is_file()) < 8_000_000

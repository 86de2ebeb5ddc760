"""What `from electra_convert import …` gives."""

from __future__ import annotations

import doctest
import importlib
import inspect as python_inspect
import pkgutil
from pathlib import Path

import pytest
from conftest import ROOT

import electra_convert


def test_all_is_sorted_and_every_name_can_be_imported() -> None:
    assert electra_convert.__all__ == sorted(electra_convert.__all__)
    for name in electra_convert.__all__:
        assert getattr(electra_convert, name) is not None
    assert set(electra_convert.__all__) <= set(dir(electra_convert))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'convart'"):
        electra_convert.convart  # noqa: B018


def test_the_verbs_are_functions_not_modules() -> None:
    assert python_inspect.isfunction(electra_convert.convert)
    assert python_inspect.isfunction(electra_convert.inspect)


def modules() -> list[str]:
    found = pkgutil.walk_packages(electra_convert.__path__, "electra_convert.")
    return sorted(module.name for module in found if not module.name.endswith("__main__"))


@pytest.mark.parametrize("name", ["electra_convert", *modules()])
def test_examples_in_docstrings_are_true(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", ["electra_convert", *modules()])
def test_every_module_says_in_one_line_what_it_is(name: str) -> None:
    first = (importlib.import_module(name).__doc__ or "").strip().splitlines()[0]
    assert first.endswith((".", ":", "?"))
    assert len(first) <= 120

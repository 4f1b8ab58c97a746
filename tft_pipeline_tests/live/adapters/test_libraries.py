import builtins
import sys

import pytest

from tft_pipeline.live.adapters.libraries import EXTRA, MissingLibraryError, library


@pytest.mark.parametrize("name", sorted(EXTRA))
def test_a_missing_library_is_named_with_the_extra_that_brings_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__
    for loaded in [one for one in sys.modules if one.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(sys, "meta_path", [_Absent(name), *sys.meta_path])
    with pytest.raises(MissingLibraryError, match=rf"{name} is not installed.*tft-pipeline\[{EXTRA[name]}\]"):
        library(name)
    assert builtins.__import__ is real


def test_what_a_library_itself_lacks_is_not_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "backtesting.py").write_text("import a_module_that_is_nowhere\n")
    for loaded in [one for one in sys.modules if one.split(".")[0] == "backtesting"]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_nowhere") as caught:
        library("backtesting")
    assert not isinstance(caught.value, MissingLibraryError)


class _Absent:
    """An importer to which one library does not exist."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname.split(".")[0] == self.name:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)

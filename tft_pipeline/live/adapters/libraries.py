"""The libraries that adapters are for; each is optional. Not here: what is done with them."""

import importlib
from types import ModuleType

EXTRA = {"vectorbt": "adapters", "backtesting": "adapters", "freqtrade": "freqtrade"}
"""Extra of this package that brings a library."""


class MissingLibraryError(ImportError):
    """A library of an adapter that is not installed."""


def library(name: str) -> ModuleType:
    """The imported library, or module of one.

    Raises:
        MissingLibraryError: it is not installed; names the extra that brings it.
    """
    root = name.split(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != root:
            raise  # it is there, and something that it needs is not
        raise MissingLibraryError(
            f"{root} is not installed, and this adapter runs on it: pip install 'tft-pipeline[{EXTRA[root]}]'"
        ) from None

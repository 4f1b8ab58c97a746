"""The house rules that a parser can see: who imports whom, what stays lazy, what domain never does, names, signatures."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "tft_pipeline"
LAYERS = {
    "domain": 0, "model": 1, "storage": 2, "live": 3, "library": 4, "pipeline": 5, "definitions": 6, "cli": 6, "__main__": 7,
}  # fmt: skip
ENTRIES = {"library", "definitions", "cli", "__main__"}
"""Nothing imports them, but __main__ its commands, and the package itself the library."""
NAMED_BY_THE_PACKAGE = {"domain", "storage", "live", "library"}
"""Layers whose names `from tft_pipeline import ...` gives."""
DAGSTER = ("pipeline", "definitions")
HEAVY = {
    "torch", "lightning", "pytorch_lightning", "pytorch_forecasting", "mlflow", "optuna", "matplotlib", "lightgbm", "sklearn",
    "arch", "plotly", "ccxt", "vectorbt", "backtesting", "freqtrade", "pandas", "jsonschema",
}  # fmt: skip
DOMAIN_LIBRARIES = {"numpy", "polars", "scipy", "pydantic", "arch"}
OUTSIDE_WORLD = {
    "asyncio", "builtins", "concurrent", "configparser", "csv", "ctypes", "fcntl", "ftplib", "glob", "gzip", "http",
    "importlib", "io", "logging", "mmap", "multiprocessing", "os", "pathlib", "pickle", "shelve", "shutil", "signal",
    "smtplib", "socket", "sqlite3", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "zipfile",
}  # fmt: skip
IO_CALLS = {"open", "print", "input", "exec", "eval", "__import__"}
IO_PREFIXES = ("read_", "scan_", "sink_", "write_")
IO_METHODS = {"load", "loadtxt", "save", "savez", "savetxt", "tofile", "fromfile", "genfromtxt", "memmap"}
GRAB_BAGS = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers", "base", "core"}

Rule = Callable[[str, ast.Module], list[str]]


def modules() -> dict[str, Path]:
    """Every module of the package by dotted name."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def layer_of(module: str) -> str | None:
    """Layer of a module of the package; None for the package itself and for strangers."""
    parts = module.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 else None


def imports(tree: ast.Module, *, run_at_import: bool = False) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import; `from a import b` gives `a.b`, for b may be a module.

    Args:
        run_at_import: only those that run when the module is imported: not in functions, not for type checkers.
    """
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        if run_at_import and typing_only:
            assert isinstance(node, ast.If)
            waiting += node.orelse
        elif not (run_at_import and lazy):
            waiting += ast.iter_child_nodes(node)


def top(name: str) -> str:
    """First part of a dotted name."""
    return name.split(".")[0]


def imports_point_left(module: str, tree: ast.Module) -> list[str]:
    """domain <- model <- storage <- live <- library, pipeline <- definitions, cli <- __main__; only __main__ imports cli.

    Nothing of pipeline is in the library, so that it runs without Dagster.
    """
    own = layer_of(module)
    if own is None:
        names = [
            f"line {n} imports {name}: for type checkers the package names what the library gives, nothing else"
            for n, name in imports(tree)
            if top(name) == PACKAGE and layer_of(name) not in NAMED_BY_THE_PACKAGE
        ]
        return names + [
            f"line {n} imports {name}: the package itself imports nothing"
            for n, name in imports(tree, run_at_import=True)
            if top(name) != "typing"
        ]
    if own not in LAYERS:
        return [f"{own} is not a layer: place the module in one of {sorted(LAYERS)}, or add a layer with its rank"]
    found = []
    for line, name in imports(tree):
        other = layer_of(name)
        if name.startswith("."):
            found.append(f"line {line}: relative import {name}; write the whole name, so that its layer is seen")
        elif other is not None and (
            LAYERS.get(other, 99) > LAYERS[own]
            or (other != own and other in ENTRIES and (own, other) != ("__main__", "cli"))
        ):
            found.append(f"line {line}: {own} imports {name}, which lies to its right")
    return found


def dagster_stays_in_pipeline(module: str, tree: ast.Module) -> list[str]:
    """No layer but pipeline and definitions knows the orchestrator."""
    if layer_of(module) in DAGSTER:
        return []
    return [f"line {n} imports {name}" for n, name in imports(tree) if top(name).split("_")[0] == "dagster"]


def heavy_imports_are_lazy(module: str, tree: ast.Module) -> list[str]:
    """Outside model, libraries that take seconds to import are imported by the function that needs them."""
    if layer_of(module) == "model":
        return []
    return [f"line {n} imports {name}" for n, name in imports(tree, run_at_import=True) if top(name) in HEAVY]


def domain_is_pure(module: str, tree: ast.Module) -> list[str]:
    """domain computes: no files, no processes, no clock, no other library than numpy, polars, scipy, pydantic and arch."""
    if layer_of(module) != "domain":
        return []
    found = []
    for line, name in imports(tree):
        first = top(name)
        known = first == PACKAGE or first in DOMAIN_LIBRARIES or first in sys.stdlib_module_names
        if first in OUTSIDE_WORLD or not known:
            found.append(f"line {line} imports {name}")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in IO_CALLS:
            found.append(f"line {node.lineno} calls {called.id}")
        if isinstance(called, ast.Attribute) and (called.attr.startswith(IO_PREFIXES) or called.attr in IO_METHODS):
            found.append(f"line {node.lineno} calls {called.attr}")
    return found


def names_say_what_is_inside(module: str, tree: ast.Module) -> list[str]:
    """No grab bags: a module or folder is named after its one concept."""
    return [f"{part} names no concept" for part in module.split(".") if part in GRAB_BAGS]


def signatures_are_spelt_out(module: str, tree: ast.Module) -> list[str]:
    """No **kwargs in a signature: a misspelt argument must fail where it is written.

    A decorator's wrapper passes on what it wraps: it may take the `P.kwargs` of a ParamSpec, which is that signature.
    """
    functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    return [
        f"line {node.lineno} takes **{node.args.kwarg.arg}"
        for node in ast.walk(tree)
        if isinstance(node, functions)
        and node.args.kwarg is not None
        and ast.unparse(node.args.kwarg.annotation or ast.Constant(None)) != "P.kwargs"
    ]


RULES: tuple[Rule, ...] = (
    imports_point_left,
    dagster_stays_in_pipeline,
    heavy_imports_are_lazy,
    domain_is_pure,
    names_say_what_is_inside,
    signatures_are_spelt_out,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule: Rule) -> None:
    found = {
        module: problems
        for module, path in modules().items()
        if (problems := rule(module, ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert not found, "\n".join(f"{module}: {problem}" for module, rows in found.items() for problem in rows)


def test_the_rules_look_at_every_layer() -> None:
    assert {layer_of(module) for module in modules()} >= set(LAYERS)


@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (imports_point_left, "domain.folds", "from tft_pipeline.model.fit import fit_fold"),
        (imports_point_left, "domain.folds", "def f():\n    import tft_pipeline.storage.layout"),
        (imports_point_left, "model.fit", "from tft_pipeline.storage import layout"),
        (imports_point_left, "model.fit", "from tft_pipeline import storage"),
        (imports_point_left, "storage.layout", "from tft_pipeline.pipeline.runs import materialise"),
        (imports_point_left, "pipeline.runs", "from tft_pipeline.definitions import defs"),
        (imports_point_left, "definitions", "import tft_pipeline.__main__"),
        (imports_point_left, "definitions", "from tft_pipeline.cli import graph"),
        (imports_point_left, "cli.graph", "from tft_pipeline.definitions import defs"),
        (imports_point_left, "pipeline.runs", "from tft_pipeline.cli.answers import finish"),
        (imports_point_left, "domain.folds", "from .panel import Panel"),
        (imports_point_left, "domain.folds", "import tft_pipeline.elsewhere.thing"),
        (imports_point_left, "elsewhere.thing", ""),
        (imports_point_left, "library.walking", "from tft_pipeline.pipeline.runs import materialise"),
        (imports_point_left, "live.loop", "def f():\n    from tft_pipeline.library.walking import walk_forward"),
        (imports_point_left, "pipeline.runs", "from tft_pipeline.library.honest import honest_sharpe"),
        (dagster_stays_in_pipeline, "storage.layout", "import dagster as dg"),
        (dagster_stays_in_pipeline, "domain.folds", "def f():\n    from dagster_shared.record import record"),
        (dagster_stays_in_pipeline, "__main__", "import dagster_graphql"),
        (heavy_imports_are_lazy, "storage.layout", "from torch import Tensor"),
        (heavy_imports_are_lazy, "pipeline.plots", "import matplotlib.pyplot as plt"),
        (heavy_imports_are_lazy, "pipeline.plots", "try:\n    import mlflow\nexcept ImportError:\n    raise"),
        (heavy_imports_are_lazy, "pipeline.plots", "class A:\n    import optuna"),
        (domain_is_pure, "domain.folds", "from pathlib import Path"),
        (domain_is_pure, "domain.features.raw", "def f():\n    import sqlite3"),
        (domain_is_pure, "domain.folds", "import pandas"),
        (domain_is_pure, "domain.folds", "x = open('bars.csv')"),
        (domain_is_pure, "domain.folds", "import polars as pl\nx = pl.read_csv('bars.csv')"),
        (domain_is_pure, "domain.folds", "import numpy as np\nnp.save('x', 1)"),
        (names_say_what_is_inside, "domain.utils", ""),
        (names_say_what_is_inside, "pipeline.core.runs", ""),
        (signatures_are_spelt_out, "domain.folds", "def f(a, **kwargs): ..."),
        (signatures_are_spelt_out, "domain.folds", "class A:\n    async def f(self, **options): ..."),
        (signatures_are_spelt_out, "domain.folds", "f = lambda **k: k"),
        (signatures_are_spelt_out, "domain.folds", "def f(**kwargs: int): ..."),
    ],
)
def test_a_broken_rule_is_found(rule: Rule, module: str, source: str) -> None:
    assert len(rule(f"{PACKAGE}.{module}", ast.parse(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import tft_pipeline.domain.bars",
        "if not TYPE_CHECKING:\n    import polars",
        "from importlib.metadata import version",
        "if TYPE_CHECKING:\n    from tft_pipeline.pipeline.commands import run_experiment",
    ],
)
def test_a_package_that_costs_something_to_import_is_found(source: str) -> None:
    assert len(imports_point_left(PACKAGE, ast.parse(source))) == 1
    allowed = "if TYPE_CHECKING:\n    from tft_pipeline.domain.bars import BarsError\ndef f():\n    import importlib"
    assert imports_point_left(PACKAGE, ast.parse(allowed)) == []


@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (
            imports_point_left,
            "pipeline.runs",
            "from tft_pipeline.domain.folds import Fold\nimport tft_pipeline.storage.layout",
        ),
        (imports_point_left, "definitions", "from tft_pipeline.pipeline.factory import build_definitions"),
        (dagster_stays_in_pipeline, "pipeline.runs", "import dagster as dg"),
        (heavy_imports_are_lazy, "model.fit", "import torch"),
        (heavy_imports_are_lazy, "pipeline.plots", "def f():\n    import torch"),
        (
            heavy_imports_are_lazy,
            "storage.layout",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch",
        ),
        (domain_is_pure, "storage.layout", "from pathlib import Path\nopen('x')"),
        (domain_is_pure, "domain.folds", "import math\nfrom scipy.stats import norm\nimport numpy as np\nnp.sort([1])"),
        (signatures_are_spelt_out, "domain.folds", "def f(*rows, flag=True):\n    return dict(**rows[0])"),
    ],
)
def test_what_is_allowed_is_not_reported(rule: Rule, module: str, source: str) -> None:
    assert rule(f"{PACKAGE}.{module}", ast.parse(source)) == []


def test_loading_the_code_location_imports_no_heavy_library() -> None:
    watched = sorted(HEAVY)
    code = (
        "import json, sys, tft_pipeline.definitions\n"
        f"print(json.dumps([name for name in {watched} if name in sys.modules] + [tft_pipeline.__path__[0]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *loaded, folder = json.loads(done.stdout.splitlines()[-1])
    assert Path(folder).resolve() == ROOT / PACKAGE
    assert loaded == []

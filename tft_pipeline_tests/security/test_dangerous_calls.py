"""No code of ours turns bytes from disk into running code: the tree is parsed, every exception is declared with its reason."""

import ast
from collections.abc import Iterator

import pytest

from tft_pipeline.storage.layout import PROJECT_ROOT

pytestmark = pytest.mark.fault("hostile_files")
MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "jsonpickle",
    "pandas.io.pickle",
}
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput",
    "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all", "torch.jit.load", "torch.export.load",
    "ssl._create_unverified_context", "tempfile.mktemp",
}  # fmt: skip
METHODS = {"read_pickle", "load_from_checkpoint", "extractall", "unpack_archive"}
COMMANDS = {f"subprocess.{name}" for name in ("run", "Popen", "call", "check_output", "check_call")}
DECLARED = {
    "tft_pipeline/model/processes.py: import pickle": "arguments from a parent to the children it spawns; never a file",
    "tft_pipeline/model/processes.py: pickle.dumps": "the same",
    "tft_pipeline/model/processes.py: pickle.loads": "the same",
    "tft_pipeline/storage/experiment_yaml.py: yaml.load": "with a subclass of the safe loader",
    "tft_pipeline/storage/postgres_locks.py: statement": "constant text of ours, put together; keys are bound parameters",
    "tft_pipeline/pipeline/registry.py: statement": "an experiment's name: letters, digits and underscores by its schema",
}


def name_of(node: ast.expr) -> str:
    """Dotted name of what is called."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "()"


def matches(name: str) -> bool:
    """Whether a call is one of those: by its whole name, or a method by its last part."""
    return name in CALLS or name.rpartition(".")[2] in METHODS


def formatted(node: ast.expr) -> bool:
    """Whether text is put together from parts."""
    is_format = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format"
    return isinstance(node, ast.JoinedStr | ast.BinOp) or is_format


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """Value of a named argument."""
    return next((one.value for one in call.keywords if one.arg == name), None)


def is_true(node: ast.expr | None) -> bool:
    """Whether an argument is there and not the constant False."""
    return node is not None and not (isinstance(node, ast.Constant) and node.value in (False, None))


def dangers(source: str) -> Iterator[tuple[int, str]]:
    """Line and kind of everything in a module that this test asks about."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, f"import {one.name}") for one in node.names if one.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in MODULES:
            yield node.lineno, f"import {node.module}"
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        last = name.rpartition(".")[2]
        if name.split(".")[0] in MODULES or matches(name):
            yield node.lineno, name
        if name == "yaml.load":
            yield node.lineno, name
        if name == "torch.load" and not is_true(keyword(node, "weights_only")):
            yield node.lineno, "torch.load without weights_only"
        if is_true(keyword(node, "allow_pickle")):
            yield node.lineno, "allow_pickle"
        if is_true(keyword(node, "shell")):
            yield node.lineno, "shell"
        verify = keyword(node, "verify")
        if isinstance(verify, ast.Constant) and verify.value is False:
            yield node.lineno, "verify=False"
        first = node.args[0] if node.args else None
        is_text = first is None or isinstance(first, ast.Constant) or formatted(first)
        if name in COMMANDS and is_text and not isinstance(first, ast.List):
            yield node.lineno, "a command as one text"
        statement = last in (
            "execute",
            "executemany",
            "executescript",
            "search_model_versions",
            "search_runs",
            "search_experiments",
        )
        if statement and any(formatted(one) for one in (*node.args, *(k.value for k in node.keywords))):
            yield node.lineno, "statement"


def test_nothing_on_disk_is_unpickled_evaluated_or_run_and_every_exception_is_declared() -> None:
    found = {
        f"{path.relative_to(PROJECT_ROOT)}: {kind}": line
        for path in sorted((PROJECT_ROOT / "tft_pipeline").rglob("*.py"))
        for line, kind in dangers(path.read_text())
    }
    undeclared = {place: line for place, line in found.items() if place not in DECLARED}
    assert not undeclared, f"declare each with its reason, or do without: {undeclared}"
    assert set(DECLARED) <= set(found), "an exception that nobody needs any more"


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "pickle.load(open('x', 'rb'))",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "eval(text)",
        "exec(text)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "subprocess.run(f'ls {name}')",
        "connection.execute(f'select {name}')",
        "connection.execute('select ' + name)",
        "Network.load_from_checkpoint(path)",
        "pd.read_pickle(path)",
        "requests.get(url, verify=False)",
        "archive.extractall(folder)",
    ],
)
def test_the_search_finds_what_it_looks_for(line: str) -> None:
    assert list(dangers(line))


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "yaml.safe_load(text)",
        "network.eval()",
        "re.compile(text)",
        "subprocess.run([program, name])",
        "connection.execute(select(table))",
        "ast.literal_eval(text)",
    ],
)
def test_the_search_leaves_harmless_calls_alone(line: str) -> None:
    assert not list(dangers(line))


def test_the_loader_of_experiments_is_a_safe_one() -> None:
    import yaml

    from tft_pipeline.storage.experiment_yaml import _Bounded

    assert issubclass(_Bounded, yaml.SafeLoader)
    assert set(_Bounded.yaml_constructors) == set(yaml.SafeLoader.yaml_constructors)
    assert set(_Bounded.yaml_multi_constructors) == set(yaml.SafeLoader.yaml_multi_constructors)

"""What `from tft_pipeline import ...` gives, in words: the list that docs/library.md holds. Not here: tests."""

import ast
import dataclasses
import inspect
import textwrap
from types import FunctionType

import tft_pipeline


def public_signatures() -> list[str]:
    """A line a public name: functions with their arguments, classes with fields and own methods, errors with what they are."""
    return [line for name in tft_pipeline.__all__ for line in _lines(name, getattr(tft_pipeline, name))]


def _lines(name: str, value: object) -> list[str]:
    if isinstance(value, str):
        return [f"{name}: str"]
    if isinstance(value, FunctionType):
        return [f"{name}{signature(value)}"]
    assert inspect.isclass(value)
    if issubclass(value, Exception):
        return [f"{name}({value.__mro__[1].__name__})"]
    fields = [one.name for one in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else value.model_fields
    own = [(key, item) for key, item in vars(value).items() if not key.startswith("_")]
    own = own if value.__module__.startswith("tft_pipeline.library") else []
    properties = [key for key, item in own if isinstance(item, property)]
    methods = [f"{name}.{key}{signature(item)}" for key, item in own if isinstance(item, FunctionType)]
    return [f"{name}: {', '.join([*fields, *properties])}", *methods]


def signature(function: FunctionType) -> str:
    """As the source has it: `inspect.signature` prints annotations otherwise in every version of Python."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(node, ast.FunctionDef)
    for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
        one.annotation = _unquoted(one.annotation)
    returns = _unquoted(node.returns)
    assert returns is not None
    return f"({ast.unparse(node.args)}) -> {ast.unparse(returns)}"


def _unquoted(annotation: ast.expr | None) -> ast.expr | None:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return ast.parse(annotation.value, mode="eval").body
    return annotation

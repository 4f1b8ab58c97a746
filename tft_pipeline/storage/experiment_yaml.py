"""YAML of an experiment file as plain values: safe tags only, each key once, bounded in size, depth and expansion.

Anchors make text of a few lines stand for gigabytes, and a message that shows such a value would write them out; so what a node
stands for is counted while the file is read, before anything is built from it. Not here: what the values mean.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.visible_text import shown, unseen

LARGEST_BYTES = 256 * 1024
"""Of a file. The longest one, with every feature named, needs a tenth of it."""
DEEPEST = 32
"""Collections within each other; a valid file has 6."""
LARGEST_EXPANDED = 1024 * 1024
"""Characters and nodes with every anchor written out."""
LONGEST_NUMBER = 100
"""Characters of a number; one of a hundred thousand digits takes long to read and cannot be shown."""
NOT_A_VALUE = (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError)
"""What PyYAML raises for text that is no YAML, and for tagged or dated values that cannot be, such as 2021-13-45."""


def decoded(path: Path) -> object:
    """The values of a YAML file.

    Raises:
        ConfigurationError: it cannot be read, is too large, too deep or stands for too much, refers to itself, states a key
            twice, has a tag that would run code, or a character that cannot be seen.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}; give us a file we may read") from error
    if len(content) > LARGEST_BYTES:
        raise ConfigurationError(
            f"{path}: longer than {LARGEST_BYTES} bytes, which no experiment is; is it another file? Name bars in data.source"
        )
    try:
        return yaml.load(content.decode(), Loader=_Bounded)
    except NOT_A_VALUE as error:
        said = shown(str(error)) or type(error).__name__
        raise ConfigurationError(f"{path}: not readable as YAML: {said}") from error


_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class _Bounded(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """The safe loader, which otherwise keeps the last of two equal keys, and follows anchors without a word."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._sizes:
                raise _refusal("a value that refers to itself has no end; write it out", mark)
            return node
        self._depth += 1
        if self._depth > DEEPEST:
            raise _refusal(f"nested more than {DEEPEST} deep, which no experiment is", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        size = 1 + self._content(node, mark)
        if size > LARGEST_EXPANDED:
            raise _refusal(f"with its anchors written out it is larger than {LARGEST_EXPANDED}; write out fewer", mark)
        self._sizes[id(node)] = size
        return node

    def _content(self, node: yaml.Node | None, mark: yaml.Mark) -> int:
        """What a node stands for: characters of its text, or all that its children stand for."""
        if isinstance(node, yaml.MappingNode):
            return sum(self._sizes[id(key)] + self._sizes[id(value)] for key, value in node.value)
        if isinstance(node, yaml.SequenceNode):
            return sum(self._sizes[id(child)] for child in node.value)
        assert isinstance(node, yaml.ScalarNode)
        if (hidden := unseen(node.value, allowed="\n\t")) is not None:
            raise _refusal(f"text with {hidden}, which cannot be seen and would hide or break a line; remove it", mark)
        if node.tag in _NUMBERS and len(node.value) > LONGEST_NUMBER:
            raise _refusal(f"a number of {len(node.value)} characters; write a shorter one", mark)
        return len(node.value)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        stated = Counter(key.value for key, _ in node.value if isinstance(key.value, str))
        twice = sorted(name for name, n in stated.items() if n > 1)
        if twice:
            raise _refusal(
                f"{', '.join(twice)} stated twice, of which only one would count; remove one", node.start_mark
            )
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def _refusal(problem: str, mark: yaml.Mark) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(problem=problem, problem_mark=mark)

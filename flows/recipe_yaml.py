"""The text of a recipe: read from its YAML file, with the mistakes of YAML and of types in words for whoever wrote it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

KINDS = {  # what pydantic calls a mistake → what the field needs
    "int_parsing": "needs a whole number, such as 100000, 100k or 2M",
    "int_type": "needs a whole number, such as 100000, 100k or 2M",
    "int_from_float": "needs a whole number, such as 100000, 100k or 2M",
    "float_parsing": "needs a number, such as 0.5 or 3e-4",
    "float_type": "needs a number, such as 0.5 or 3e-4",
    "bool_parsing": "needs true or false",
    "bool_type": "needs true or false",
    "string_type": "needs a text; where it looks like a number or a date, put it between quotes",
    "list_type": "needs a list, such as [one] or [one, two]",
    "dict_type": "needs fields of its own, as `field: value`",
    "model_type": "needs fields of its own, as `field: value`; leave it out for what stands by default",
    "missing": "required, but not there",
}


INT, FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
NUMBERS = {  # in base ten alone: YAML 1.1 takes 010 for 8, 1:30 for 90 and 0x10 for 16, which as text a whole number reads or refuses
    INT: r"[-+]?(?:0|[1-9][0-9_]*)$",
    FLOAT: r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$",
}


class FieldTwiceError(ValueError):
    """A field that a mapping has twice, of which the first would be lost without a word."""


class _Loader(yaml.SafeLoader):
    """YAML in which no field of a mapping is there twice, numbers are decimal, and what only looks like a value, such as the date 2018-11-31, is
    a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in found if tag not in NUMBERS]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in lines:
                    raise FieldTwiceError(
                        f", line {line}: {key.value} is there already, in line {lines[key.value]}; keep one of them, or rename it"
                    )
                lines[key.value] = line
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError):
            if not isinstance(node, yaml.ScalarNode):
                raise
            self.recursive_objects.pop(node, None)
            return node.value


for _tag, _pattern in NUMBERS.items():
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list("-+0123456789."))


def field_value(text: str) -> Any:
    """The value of a field that stands by itself; a text where it is no YAML. Raises `FieldTwiceError`."""
    try:
        return yaml.load(text, _Loader) if text else ""
    except (yaml.YAMLError, RecursionError):
        return text


def parsed(path: Path) -> dict[str, Any]:
    """The fields of a recipe's file. Raises `ValueError`, whose text goes on after the file's name."""
    try:
        data = yaml.load(path.read_text("utf-8"), _Loader)
    except UnicodeDecodeError as failure:
        raise ValueError(f" is not UTF-8, from its byte {failure.start + 1} on; save it as UTF-8") from None
    except yaml.MarkedYAMLError as failure:
        line = f", line {failure.problem_mark.line + 1}," if failure.problem_mark else ""
        tab = "; indent with spaces, not with tabs" if "'\\t'" in str(failure.problem) else ""
        context = f" ({failure.context})" if failure.context else ""
        raise ValueError(f"{line} is not YAML: {failure.problem}{context}{tab}") from None
    except yaml.YAMLError as failure:
        raise ValueError(f" is not YAML: {' '.join(str(failure).split())}") from None
    except RecursionError:
        raise ValueError(" is not YAML that can be read: its brackets are nested too deeply") from None
    if not isinstance(data, dict):
        holds = "is empty" if data is None else "holds a list" if isinstance(data, list) else f"holds only {str(data)[:40]!r}"
        raise ValueError(f" {holds}, and no field such as `name: mine`; `hanlin recipes --show tiny` prints a whole recipe")
    return data


def in_words(error: Any) -> str:
    """An error of pydantic for people."""
    if error["type"] in KINDS:
        return KINDS[error["type"]]
    message = error["msg"].removeprefix("Value error, ")
    return f"{message[0].lower()}{message[1:]}"

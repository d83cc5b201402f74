"""Configurations as text: YAML 1.2 files and `key=value` arguments, read by the type of each key.

For keys that take a name, a path or a text the value is the text as it is written; numbers are decimal.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from tutelage.errors import ConfigError, shown
from tutelage.utils.key_types import EntryTypes

Kinds = Mapping[str, Any]
"""The type of each key: its annotation."""

LARGEST, MOST, DEEPEST = 1_000_000, 100_000, 50
"""The largest size of a configuration in bytes, number of values with its aliases expanded, and depth of brackets."""

TAG = "tag:yaml.org,2002:"
NULL, BOOL, INT, FLOAT, TEXT = (f"{TAG}{name}" for name in ("null", "bool", "int", "float", "str"))
PATTERNS = {
    NULL: r"~|null|Null|NULL|",
    BOOL: r"true|True|TRUE|false|False|FALSE",
    INT: r"[-+]?(0|[1-9][0-9]*)",
    FLOAT: r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
"""The patterns of YAML 1.2's core schema; numbers of other bases or with leading zeros are text."""


def _number(text: str) -> float:
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


MAKE: dict[str, Callable[[str], Any]] = {
    NULL: lambda text: None,
    BOOL: lambda text: text.lower() == "true",
    INT: int,
    FLOAT: lambda text: _number(text.lower()),
    TEXT: str,
}


class Loader(yaml.SafeLoader):
    """PyYAML's loader, with the types of YAML 1.2."""


class Dumper(yaml.SafeDumper):
    """PyYAML's dumper, which also quotes text that YAML 1.2 would read as another type."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    """Represent text; characters that YAML would fold into spaces are escaped."""
    return dumper.represent_scalar(TEXT, text, style=None if text.isprintable() else '"')


Loader.yaml_implicit_resolvers = {None: [(tag, re.compile(rf"(?:{text})\Z")) for tag, text in PATTERNS.items()]}
Dumper.yaml_implicit_resolvers = yaml.SafeDumper.yaml_implicit_resolvers | Loader.yaml_implicit_resolvers
Dumper.add_representer(str, _text_node)


def dump(values: Mapping[str, Any]) -> str:
    """Return keys and values as the text of a file that reads back unchanged."""
    return yaml.dump(dict(values), Dumper=Dumper, sort_keys=False, allow_unicode=True)


def read_file(path: Path, kinds: Kinds) -> dict[str, Any]:
    """Return the keys and values of a YAML file.

    Raises: ConfigError if it can't be read, or isn't YAML of keys and values, each key once.
    """
    try:
        node = _node(_text(path))
        if not isinstance(node, yaml.MappingNode):
            content = "nothing" if node is None else "list" if isinstance(node, yaml.SequenceNode) else "a single value"
            raise ConfigError(f"holds {content}, expected keys and values.")
        return _mapping(node, EntryTypes(keys=True), kinds)
    except ConfigError as error:
        raise ConfigError("\n".join(f"the configuration {path} {line}" for line in str(error).splitlines())) from error


def _text(path: Path) -> str:
    """Return the text of a file; refuse a folder, a device, and a file of more than `LARGEST` bytes."""
    try:
        if path.exists() and not path.is_file():
            raise ConfigError("is no file: give the path of a YAML file.")
        if path.stat().st_size > LARGEST:
            raise ConfigError(f"is larger than {LARGEST:,} bytes: that can't be a configuration.")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"isn't valid YAML: {error}.") from error


def parse_pairs(arguments: Sequence[str], kinds: Kinds) -> dict[str, Any]:
    """Return `key=value` arguments as keys and values; of two with one key the later wins.

    Raises: ConfigError that lists the arguments that aren't such pairs.
    """
    result: dict[str, Any] = {}
    faults: list[str] = []
    for argument in arguments:
        key, equals, text = argument.partition("=")
        key = key.strip()
        if not equals or not key:
            faults.append(f"{shown(repr(argument))}: expected key=value, such as epochs=30.")
            continue
        if not text.strip():
            faults.append(f"{argument!r}: expected a value after =, such as {key}=null for none.")
            continue
        try:
            result[key] = _parse_value(text, kinds.get(key, str), kinds)
        except ConfigError as error:
            faults.append(f"{shown(repr(argument))}: the value {error}")
    if faults:
        raise ConfigError("\n".join(faults))
    return result


def _parse_value(text: str, kind: Any, kinds: Kinds) -> Any:
    """Parse a value: YAML between brackets or quotes, if the key takes a list or a mapping; else as it is written."""
    options = _options(kind)
    may_open = {"[": any(get_origin(k) is list for k in options), "{": any(_is_mapping(k) for k in options)}
    begins = text.lstrip()[0]
    quoted = re.fullmatch(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')\s*""", text)
    if quoted or (begins in may_open and (may_open[begins] or not _takes_text(options))):
        node = _node(text)
        assert node is not None
        return _value(node, kind, kinds)
    takes_text = _takes_text(options)
    written = text if takes_text else text.strip()
    tag = next((tag for tag, pattern in PATTERNS.items() if re.fullmatch(pattern, written)), TEXT)
    return _scalar(yaml.ScalarNode(tag, written), options)


def _node(text: str) -> yaml.Node | None:
    """Return the text as a tree.

    Raises: ConfigError if it isn't YAML, or has too many values or too deep brackets.
    """
    try:
        node: yaml.Node | None = yaml.compose(text, Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"isn't valid YAML: {' '.join(str(error).split())}.") from error
    except RecursionError as error:
        raise ConfigError(f"has brackets more than {DEEPEST} deep.") from error
    pending, count = [(node, 0)] if node is not None else [], 0
    while pending:
        outer, depth = pending.pop()
        count += 1
        if count > MOST or depth > DEEPEST:
            raise ConfigError(f"has more than {MOST:,} values, brackets {DEEPEST} deep, or an alias within itself.")
        pending += [(inner, depth + 1) for inner in _inner(outer)]
    return node


def _inner(node: yaml.Node) -> list[yaml.Node]:
    """Return the nodes in a node."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _value(node: yaml.Node, kind: Any, kinds: Kinds) -> Any:
    """Return a node's value where the type `kind` is expected; kinds: the types of all keys of the configuration."""
    if node.tag not in (*MAKE, f"{TAG}seq", f"{TAG}map"):
        raise ConfigError(f"in {_line(node)}: the tag {node.tag} has no meaning here, leave it out.")
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, _options(kind))
    if isinstance(node, yaml.SequenceNode):
        item = next((get_args(k)[0] for k in _options(kind) if get_origin(k) is list), Any)
        return [_value(part, item, kinds) for part in node.value]
    return _mapping(node, _hints(kind), kinds)


def _mapping(node: yaml.Node, hints: EntryTypes, kinds: Kinds) -> dict[str, Any]:
    entry_kinds = {**kinds, **hints.words} if hints.keys else hints.words
    result: dict[str, Any] = {}
    lines: dict[str, str] = {}
    faults = []
    for key, item in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"in {_line(key)}: a key is text, not a list or a mapping.")
        name = str(key.value)
        if name in result:
            faults.append(f"in {_line(key)}: {name} is set again, after {lines[name]}; remove one of them.")
        lines.setdefault(name, _line(key))
        result[name] = _value(item, entry_kinds.get(name, Any), kinds)
    if faults:
        raise ConfigError("\n".join(faults))
    return result


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1 if node.start_mark else 1}"


def _scalar(node: yaml.ScalarNode, options: Sequence[Any]) -> Any:
    """Return the text as it is written if the key takes text; else its value in YAML 1.2."""
    quoted = node.style is not None and node.tag == TEXT
    if quoted or node.tag == TEXT or (_takes_text(options) and not _is_none_or_flag(node, options)):
        text = str(node.value)
        spelled_out = text == "none" and not quoted and types.NoneType in options and not _takes_text(options)
        return None if spelled_out else text
    try:
        return MAKE[node.tag](node.value)
    except ValueError as error:
        kind = node.tag.removeprefix(TAG)
        raise ConfigError(f"in {_line(node)}: {shown(node.value)} can't be read as {kind}.") from error


def _is_none_or_flag(node: yaml.ScalarNode, options: Sequence[Any]) -> bool:
    return (node.tag == NULL and types.NoneType in options) or (node.tag == BOOL and bool in options)


def _options(kind: Any) -> list[Any]:
    """Return the alternatives of an annotation, without metadata other than a mapping's hints."""
    return list(_alternatives(kind))


def _alternatives(kind: Any) -> Iterator[Any]:
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *notes = get_args(kind)
        yield from (note for note in notes if isinstance(note, EntryTypes))
        yield from _alternatives(inner)
    elif origin in (Union, types.UnionType):
        for part in get_args(kind):
            yield from _alternatives(part)
    else:
        yield kind


def _takes_text(options: Sequence[Any]) -> bool:
    return any(k is str or (get_origin(k) is Literal and isinstance(get_args(k)[0], str)) for k in options)


def _is_mapping(kind: Any) -> bool:
    return isinstance(kind, EntryTypes) or kind is dict or get_origin(kind) is dict


def _hints(kind: Any) -> EntryTypes:
    return next((k for k in _options(kind) if isinstance(k, EntryTypes)), EntryTypes({}))

"""Configs of recipes: dataclasses read from YAML, with overrides of any field from the command line."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import yaml

from ..errors import InputError, reason_of

Fields = TypeVar("Fields")
NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


@dataclasses.dataclass(frozen=True)
class Range:
    """Range of a field's numbers.

    Attributes:
        low: Least value.
        high: Largest value.
        is_open: Whether `low` itself is out of range.
    """

    low: float = -math.inf
    high: float = math.inf
    is_open: bool = False

    def __contains__(self, value: float) -> bool:
        return (self.low < value if self.is_open else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        least = f"{'above' if self.is_open else 'at least'} {self.low:g}"
        return least if math.isinf(self.high) else f"{least} and at most {self.high:g}"


AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE = Range(1), Range(0), Range(0, is_open=True)
FRACTION, DROPOUT = Range(0, 1), Range(0, 0.999)
SEED = Range(0, 2**31 - 1)
MIXED_PRECISION = ("auto", "bf16", "no")


class Config:
    """Base class of a recipe's config, which is a dataclass.

    Attributes:
        renamed: Fields of the top level by the names that older files have for them; these are read too.
        ranges: Range of each field with a number, and choices of each field with a word from a list.
    """

    renamed: ClassVar[dict[str, str]] = {}
    ranges: ClassVar[Mapping[str, Range | tuple[str, ...]]] = {}

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read and check a config.

        Args:
            path: YAML file.
            overrides: `key=value` with a YAML value; nested fields with dots, such as `stages.0.n_steps=5`.

        Raises:
            InputError: The file cannot be read, lacks a field, has an unknown field, or a value is out of range.
        """
        values = {cls.renamed.get(name, name): value for name, value in read_yaml(path).items()}
        for override in overrides:
            _override(values, cls, override)
        config = build_config(cls, values, str(path))
        config.check_ranges(str(path))
        config.check(str(path))
        return config

    def check_ranges(self, where: str) -> None:
        """Raise `InputError` if a field is outside of its range in `ranges`; None is within every range.

        Configs within this one, alone or in lists, are checked by their own ranges.
        """
        for name, allowed in self.ranges.items():
            value = getattr(self, name)
            for part in value if isinstance(value, list | tuple) else [value]:
                if part is None or part in allowed:
                    continue
                if isinstance(allowed, Range):
                    raise InputError(f"{where}: {name} is {part}; it must be {allowed}.")
                raise InputError(f"{where}: {name} is {part!r}; give {', '.join(allowed)}.")
        for name, value in vars(self).items():
            several = isinstance(value, list)
            for i, one in enumerate(value if several else [value], 1):
                if isinstance(one, Config):
                    one.check_ranges(f"{where}, {name.removesuffix('s')} {i}" if several else f"{where}, {name}")

    def check(self, where: str) -> None:
        """Raise `InputError` if a value is out of range; the message begins with `where`."""

    def require_at_least_one(self, where: str, *names: str) -> None:
        """Raise `InputError` if one of these fields is below 1."""
        for name in names:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{where}: {name} is {value}; it must be at least 1.")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        InputError: The file cannot be read, or does not hold a mapping.
    """
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), UniqueKeyLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        # ValueError: text that is not UTF-8, or a number of more digits than Python converts.
        reason = reason_of(error, None)
        raise InputError(f"{path} cannot be read ({reason}); give one of recipes/configs.") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no fields; give one of recipes/configs.")
    return values


class UniqueKeyLoader(yaml.SafeLoader):
    """Loader of YAML that refuses a key that stands twice, of which PyYAML would take the last value in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping.

        Raises:
            ConstructorError: A key stands twice.
        """
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    def construct_finite(self, node: yaml.ScalarNode) -> float:
        """Construct a number.

        Raises:
            ConstructorError: It is too large for a float, which would make it infinite.
        """
        value: float = self.construct_yaml_float(node)
        if math.isinf(value) and "inf" not in node.value.lower():
            raise yaml.constructor.ConstructorError(
                None, None, f"the number {node.value} is too large", node.start_mark
            )
        return value


UniqueKeyLoader.add_constructor("tag:yaml.org,2002:float", UniqueKeyLoader.construct_finite)
# YAML 1.2 has it so; PyYAML, of YAML 1.1, takes a number with an exponent and no point for text.
UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _override(values: dict[str, Any], cls: type, override: str) -> None:
    """Apply one `key=value` to the mapping of a config.

    Raises:
        InputError: The override has no `=`, its value is not YAML, or the key is unknown.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"{override!r} is no override; give key=value.")
    try:
        value = yaml.load(text, UniqueKeyLoader)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{override!r}: {' '.join(str(error).split())}; give a value in YAML.") from error
    holder: Any = values
    kind: Any = cls
    where, parts = repr(override), key.split(".")
    for depth, part in enumerate(parts):
        path = ".".join(parts[:depth])
        kind = _dataclass_in(kind)
        index: Any = part
        if isinstance(holder, list):
            if not part.isdigit() or int(part) >= len(holder):
                raise InputError(f"{where}: {path} has no {part}; give 0 to {len(holder) - 1}.")
            index = int(part)
        elif not isinstance(holder, dict):
            raise InputError(f"{where}: {path} has no fields.")
        elif kind is not None:
            _require_known(part, [field.name for field in dataclasses.fields(kind)], where)
            kind = typing.get_type_hints(kind)[part]
        if depth == len(parts) - 1:
            holder[index] = value
        elif isinstance(holder, dict) and holder.get(index) is None:
            # A section that is absent by default, such as `centroids`.
            holder[index] = {}
        holder = holder[index]


def _require_known(name: str, known: Sequence[str], where: str) -> None:
    if name not in known:
        nearest = difflib.get_close_matches(name, known, 1, 0.6)
        hint = f"; did you mean {nearest[0]}?" if nearest else "."
        raise InputError(f"{where}: unknown field {name}; known are {', '.join(known)}{hint}")


def _dataclass_in(kind: Any) -> type | None:
    """Return the dataclass within a field's type, such as `Stage` in `list[Stage]` or `Stage | None`, or None."""
    if dataclasses.is_dataclass(kind):
        return typing.cast(type, kind)
    return next((inner for part in typing.get_args(kind) if (inner := _dataclass_in(part)) is not None), None)


def build_config(cls: type[Fields], values: dict[str, Any], where: str) -> Fields:
    """Build a dataclass from a mapping of its fields.

    Raises:
        InputError: A field is unknown or missing, or a value has the wrong type.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in sorted(map(str, values)):
        _require_known(name, list(fields), where)
    required = [name for name, field in fields.items() if field.default is field.default_factory is dataclasses.MISSING]
    missing = [name for name in required if name not in values]
    if missing:
        raise InputError(f"{where}: {missing[0]} is missing.")
    kinds = typing.get_type_hints(cls)
    return cls(**{name: _value(value, kinds[name], where, name) for name, value in values.items()})


def _value(value: Any, kind: Any, where: str, name: str) -> Any:
    """Convert a value to its field's type."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in inner:
            return None
        kinds = [part for part in inner if part is not type(None)]
        # Of several types, such as a name or a mapping, take the one that the value has.
        kind = next((part for part in kinds if isinstance(value, typing.get_origin(part) or part)), kinds[0])
        return _value(value, kind, where, name)
    label = f"{where}: {name}"
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise InputError(f"{label} is {value!r}; give its fields.")
        return build_config(typing.cast(type, kind), value, f"{where}, {name}")
    if origin is list:
        if not isinstance(value, list):
            raise InputError(f"{label} is {value!r}; give a list.")
        if dataclasses.is_dataclass(inner[0]):
            # `stages` are counted from 1, as in a run's messages.
            single = name.removesuffix("s")
            return [_value(each, inner[0], where, f"{single} {i}") for i, each in enumerate(value, 1)]
        return [_value(each, inner[0], where, name) for each in value]
    if origin is tuple:
        if not isinstance(value, list | tuple) or len(value) != len(inner):
            raise InputError(f"{label} is {value!r}; give a list of {len(inner)}.")
        return tuple(_value(each, part, where, name) for each, part in zip(value, inner, strict=True))
    if origin is dict and not isinstance(value, dict):
        raise InputError(f"{label} is {value!r}; give its fields.")
    if kind is float and isinstance(value, str | int) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    if kind in NAMES and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
        raise InputError(f"{label} is {value!r}; give {NAMES[kind]}.")
    return value


__all__ = [
    "AT_LEAST_ONE",
    "DROPOUT",
    "FRACTION",
    "MIXED_PRECISION",
    "NOT_NEGATIVE",
    "POSITIVE",
    "SEED",
    "Config",
    "Range",
    "build_config",
    "read_yaml",
]

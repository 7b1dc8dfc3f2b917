"""Configs of recipes: dataclasses read from YAML."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

import yaml

from .errors import InputError

Config = TypeVar("Config")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping a YAML file holds.

    Raises:
        InputError: It cannot be read, or holds something else.
    """
    try:
        values = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read ({reason}); give one of recipes/configs.") from error
    if not isinstance(values or {}, dict):
        raise InputError(f"{path} holds no fields; give one of recipes/configs.")
    return values or {}


def build_config(cls: type[Config], values: dict[str, Any], where: str) -> Config:
    """A dataclass from a mapping of its fields.

    Raises:
        InputError: A field is unknown or missing, or is no number where one is needed.
    """
    fields: dict[str, Any] = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(map(str, values)) - set(fields))
    if unknown:
        raise InputError(f"{where}: unknown field {unknown[0]}; known are {', '.join(fields)}.")
    required = [name for name, field in fields.items() if field.default is field.default_factory is dataclasses.MISSING]
    missing = [name for name in required if name not in values]
    if missing:
        raise InputError(f"{where}: {missing[0]} is missing.")
    return cls(**{name: _value(value, str(fields[name].type), f"{where}: {name}") for name, value in values.items()})


def _value(value: Any, kind: str, what: str) -> Any:
    """A value as its field's type, where that is a simple one; `1e-3` is text to YAML."""
    optional = kind.endswith(" | None")
    if optional and value is None:
        return None
    kind = kind.removesuffix(" | None")
    if kind == "float" and isinstance(value, (str, int)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    expected = {"int": int, "float": float, "str": str, "bool": bool}.get(kind)
    if expected is not None and (not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool)):
        names = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false"}
        raise InputError(f"{what} is {value!r}; give {names[kind]}.")
    return value


__all__ = ["build_config", "read_yaml"]

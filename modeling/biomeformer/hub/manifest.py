"""Entries of cards: what only people know of a model or dataset, in TOML.

`models.toml` holds one entry a shipped checkpoint; the folder of any other model or dataset holds one in `card.toml`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError

MANIFEST, ENTRY = "models.toml", "card.toml"
TO_DO = "TODO"
TABLE_CLASS = "AbundanceTable"
MODEL_TEXTS = ("title", "summary", "intended_use", "limits", "training_data", "how")
TABLE_TEXTS = ("title", "summary", "intended_use", "limits", "source", "privacy")
NEEDED = ("id", "class", "license", "tags")
OPTIONAL = (
    "base_model",
    "datasets",
    "metrics",
    "evaluation",
    "files",
    "citation",
    "carbon",
    "remote_code",
    "personal_columns",
)
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class BaseModel:
    """What a model was made from.

    Attributes:
        id: On the Hub.
        revision: Commit of 40 hexadecimal digits; None of a model that never had one.
        relation: `finetune`, `adapter`, `quantized` or `merge`.
    """

    id: str
    revision: str | None = None
    relation: str = "finetune"


@dataclass(frozen=True)
class Metric:
    """A figure of a run.

    Attributes:
        type: The metric's identifier, such as `roc_auc`.
        name: In words.
        task: What is predicted.
        dataset: What it was measured on, in words.
        value: The figure, read from the run's file.
        interval: 95 % interval, where the run has one.
        run: File that holds it, as the entry names it.
        dataset_id: Of the dataset on the Hub.
        dataset_revision: Its commit.
        task_id: Task within that dataset.
    """

    type: str
    name: str
    task: str
    dataset: str
    value: float
    run: str
    interval: tuple[float, float] | None = None
    dataset_id: str | None = None
    dataset_revision: str | None = None
    task_id: str = "default"


@dataclass(frozen=True)
class CardEntry:
    """One model or dataset.

    Attributes:
        name: Of the checkpoint's folder.
        where: The file the entry is in.
        id: On the Hub.
        kind: Class of the checkpoint, or `AbundanceTable`.
        license: Identifier the Hub knows.
        tags: For the Hub's search.
        texts: Title, summary and sections.
        base_models: What it was made from.
        datasets: On the Hub, that it was trained on.
        metrics: Figures with their runs.
        evaluation: JSON of the benchmark of its kind, where it was run.
        files: That go to the Hub beside those of its kind.
        citation: BibTeX of who made it.
        carbon: `emissions` in grams of CO2 equivalent and `source`, where it was measured.
        remote_code: Whether the folder carries its model's code.
        personal_columns: Of a table, that are about single persons and are published on purpose.
    """

    name: str
    where: Path
    id: str
    kind: str
    license: str
    tags: tuple[str, ...]
    texts: Mapping[str, str]
    base_models: tuple[BaseModel, ...] = ()
    datasets: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    evaluation: Path | None = None
    files: tuple[str, ...] = ()
    citation: str = ""
    carbon: Mapping[str, Any] | None = None
    remote_code: bool = False
    personal_columns: tuple[str, ...] = ()


def load_manifest(folder: str | Path) -> dict[str, CardEntry]:
    """Entries of `models.toml` by checkpoint name.

    Raises:
        InputError: It is missing or malformed, or an entry lacks a field.
    """
    path = Path(folder) / MANIFEST
    return {name: parse_entry(name, fields, path) for name, fields in read_toml(path).items()}


def load_entry(folder: str | Path) -> CardEntry:
    """The entry of a model or dataset in its own folder.

    Raises:
        InputError: `card.toml` is missing or malformed, or lacks a field.
    """
    path = Path(folder) / ENTRY
    if not path.is_file():
        raise InputError(
            f"{folder} has no {ENTRY}, which says what only you know of it; write one with: "
            f"biomeformer publish card {folder} --id NAMESPACE/NAME"
        )
    return parse_entry(Path(folder).absolute().name, read_toml(path), path)


def set_remote_code(path: Path) -> None:
    """Say in a `card.toml` that the folder carries its model's code.

    Raises:
        InputError: It cannot be read.
    """
    if not read_toml(path).get("remote_code"):
        # In front of all tables, where it is a field of the entry.
        path.write_text("remote_code = true\n" + path.read_text(encoding="utf-8"), encoding="utf-8")


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as TOML ({error}); mend it.") from error


def parse_entry(name: str, fields: Mapping[str, Any], path: Path) -> CardEntry:
    """An entry from its fields, complete and with its figures read from their runs.

    Args:
        name: Of the checkpoint.
        fields: As in TOML.
        path: File they are in; paths among them are relative to its folder.

    Raises:
        InputError: A field is missing, left open, unknown or malformed.
    """
    where = f"{path}: {name}"
    texts = TABLE_TEXTS if fields.get("class") == TABLE_CLASS else MODEL_TEXTS
    for field in (*NEEDED, *texts):
        value = fields.get(field)
        if not value:
            raise InputError(f"{where} has no {field}; every card needs {', '.join((*NEEDED, *texts))}.")
        if TO_DO in str(value):
            raise InputError(f"{where}: {field} is still to do; say it in your own words in {path}.")
        if not isinstance(value, list if field == "tags" else str):
            raise InputError(f"{where}: {field} is {value!r}; it must be {'a list' if field == 'tags' else 'text'}.")
    unknown = sorted(set(fields) - {*NEEDED, *texts, *OPTIONAL})
    if unknown:
        raise InputError(f"{where}: {unknown[0]} is no field of a card; there are {', '.join(OPTIONAL)} beside texts.")
    if not REPO_ID.fullmatch(fields["id"]):
        raise InputError(f"{where}: id {fields['id']!r} is no NAMESPACE/NAME of the Hub.")
    evaluation = fields.get("evaluation")
    return CardEntry(
        name=name,
        where=path,
        id=fields["id"],
        kind=fields["class"],
        license=fields["license"],
        tags=tuple(map(str, fields["tags"])),
        texts={field: fields[field].strip() for field in texts},
        base_models=tuple(_base_model(found, where) for found in fields.get("base_model", [])),
        datasets=tuple(fields.get("datasets", [])),
        metrics=tuple(_metric(found, path, where) for found in fields.get("metrics", [])),
        evaluation=None if evaluation is None else path.parent / evaluation,
        files=tuple(fields.get("files", [])),
        citation=str(fields.get("citation", "")).strip(),
        carbon=fields.get("carbon"),
        remote_code=bool(fields.get("remote_code", False)),
        personal_columns=tuple(fields.get("personal_columns", [])),
    )


def _base_model(fields: Mapping[str, Any], where: str) -> BaseModel:
    try:
        base = BaseModel(**fields)
    except TypeError as error:
        raise InputError(f"{where}: base_model is {dict(fields)!r}; give id, revision and relation.") from error
    if TO_DO in str(fields) or not REPO_ID.fullmatch(base.id):
        raise InputError(
            f"{where}: base_model id {base.id!r} is no NAMESPACE/NAME of the Hub; publish the base model first, or "
            "leave base_model out."
        )
    if base.revision is not None and not COMMIT.fullmatch(base.revision):
        raise InputError(f"{where}: base_model revision {base.revision!r} is no commit of 40 hexadecimal digits.")
    return base


def _metric(fields: Mapping[str, Any], path: Path, where: str) -> Metric:
    needed = ("type", "name", "task", "dataset", "run", "key")
    known = (*needed, "low", "high", "dataset_id", "dataset_revision", "task_id")
    wrong = [key for key in needed if not fields.get(key)] + sorted(set(fields) - set(known))
    if wrong:
        raise InputError(f"{where}: a metric's {wrong[0]} is missing or unknown; it has {', '.join(known)}.")
    file = path.parent / fields["run"]
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: {file} cannot be read ({error}), and a metric is taken from it.") from error
    value = _look_up(run, fields["key"], f"{where}: {file}")
    interval = None
    if "low" in fields:
        interval = tuple(_look_up(run, str(fields.get(end)), f"{where}: {file}") for end in ("low", "high"))
    return Metric(
        value=value,
        interval=interval,  # type: ignore[arg-type]
        **{key: fields[key] for key in known if key in fields and key not in ("key", "low", "high")},
    )


def _look_up(run: Any, key: str, where: str) -> float:
    found = run
    for part in key.split("/"):
        try:
            found = found[int(part)] if isinstance(found, list) else found[part]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(f"{where} has no {key}, which a metric is taken from.") from error
    if not isinstance(found, (int, float)) or isinstance(found, bool):
        raise InputError(f"{where}: {key} is {found!r} and no number, and a metric is taken from it.")
    return float(found)


__all__ = [
    "ENTRY",
    "MANIFEST",
    "MODEL_TEXTS",
    "REPO_ID",
    "TABLE_CLASS",
    "TABLE_TEXTS",
    "TO_DO",
    "BaseModel",
    "CardEntry",
    "Metric",
    "load_entry",
    "load_manifest",
    "parse_entry",
    "read_toml",
    "set_remote_code",
]

"""Card entries: what the files of a model or dataset do not say, in TOML.

`models.toml` holds one entry per shipped checkpoint; any other model or dataset has a `card.toml` in its folder.
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
TABLE_CLASS, SEQUENCES_CLASS, GENOMES_CLASS = "AbundanceTable", "LabelledSequences", "EmbeddedGenomes"
DATASET_CLASSES = (TABLE_CLASS, SEQUENCES_CLASS, GENOMES_CLASS)
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
    "allowed",
)
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class BaseModel:
    """A model that another one was made from.

    Attributes:
        id: Id on the Hub.
        revision: Commit, 40 hexadecimal digits; None if it is not known.
        relation: `finetune`, `adapter`, `quantized` or `merge`.
    """

    id: str
    revision: str | None = None
    relation: str = "finetune"


@dataclass(frozen=True)
class Metric:
    """A metric of a run.

    Attributes:
        type: Identifier of the metric, such as `roc_auc`.
        name: Name to show.
        task: What is predicted.
        dataset: Description of the data it was measured on.
        value: Value, read from the run's file.
        interval: 95 % interval, if the run has one.
        run: File that holds the value, as the entry names it.
        dataset_id: Id of the dataset on the Hub.
        dataset_revision: Commit of that dataset.
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
    """Card entry of a model or dataset.

    Attributes:
        name: Name of the folder.
        path: File that the entry was read from.
        id: Id on the Hub.
        class_name: Class of the checkpoint, or of a dataset, one of `DATASET_CLASSES`.
        license: Licence identifier of the Hub.
        tags: Tags on the Hub.
        texts: Title, summary and sections by name.
        base_models: Models it was made from.
        datasets: Ids of Hub datasets it was trained on.
        metrics: Metrics and the runs they come from.
        evaluation: JSON of the benchmark of its card type, if it was run.
        files: Files to publish besides those of its card type.
        citation: BibTeX entry of the model or dataset.
        carbon: `emissions` in grams of CO2 equivalent and `source`, if they were measured.
        remote_code: Whether the folder holds the model's code.
        personal_columns: Columns of a table with personal data that are published on purpose.
        allowed: E-mail addresses, paths and names that are published on purpose.
    """

    name: str
    path: Path
    id: str
    class_name: str
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
    allowed: tuple[str, ...] = ()


def load_manifest(folder: str | Path) -> dict[str, CardEntry]:
    """Read the entries of `models.toml`, by checkpoint name.

    Raises:
        InputError: The file is missing or malformed, or an entry lacks a field.
    """
    path = Path(folder) / MANIFEST
    return {name: parse_entry(name, fields, path) for name, fields in read_toml(path).items()}


def load_entry(folder: str | Path) -> CardEntry:
    """Read the entry of a model or dataset from its own folder.

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
    """Set `remote_code` in a `card.toml`: the folder holds the model's code.

    Raises:
        InputError: The file cannot be read.
    """
    if not read_toml(path).get("remote_code"):
        # A key after the first table header would belong to that table.
        path.write_text("remote_code = true\n" + path.read_text(encoding="utf-8"), encoding="utf-8")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as TOML ({error}); correct it.") from error


def parse_entry(name: str, fields: Mapping[str, Any], path: Path) -> CardEntry:
    """Return an entry, with its metrics read from their runs.

    Args:
        name: Name of the checkpoint or dataset.
        fields: Fields of the TOML table.
        path: TOML file; paths among the fields are relative to its folder.

    Raises:
        InputError: A field is missing, still a TODO, unknown or malformed.
    """
    where = f"{path}: {name}"
    texts = TABLE_TEXTS if fields.get("class") in DATASET_CLASSES else MODEL_TEXTS
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
        raise InputError(f"{where}: {unknown[0]} is not a field of a card; optional fields are {', '.join(OPTIONAL)}.")
    if not REPO_ID.fullmatch(fields["id"]):
        raise InputError(f"{where}: id {fields['id']!r} is not a NAMESPACE/NAME of the Hub.")
    for file in fields.get("files", []):
        if any(sign in file for sign in "*?["):
            raise InputError(f"{where}: files has {file!r}; name each file, without wildcards.")
    evaluation = fields.get("evaluation")
    return CardEntry(
        name=name,
        path=path,
        id=fields["id"],
        class_name=fields["class"],
        license=fields["license"],
        tags=tuple(map(str, fields["tags"])),
        texts={field: fields[field].strip() for field in texts},
        base_models=tuple(_base_model(base, where) for base in fields.get("base_model", [])),
        datasets=tuple(fields.get("datasets", [])),
        metrics=tuple(_metric(metric, path, where) for metric in fields.get("metrics", [])),
        evaluation=None if evaluation is None else path.parent / evaluation,
        files=tuple(fields.get("files", [])),
        citation=str(fields.get("citation", "")).strip(),
        carbon=fields.get("carbon"),
        remote_code=bool(fields.get("remote_code", False)),
        personal_columns=tuple(fields.get("personal_columns", [])),
        allowed=tuple(map(str, fields.get("allowed", []))),
    )


def _base_model(fields: Mapping[str, Any], where: str) -> BaseModel:
    try:
        base = BaseModel(**fields)
    except TypeError as error:
        raise InputError(f"{where}: base_model is {dict(fields)!r}; give id, revision and relation.") from error
    if TO_DO in str(fields) or not REPO_ID.fullmatch(base.id):
        raise InputError(
            f"{where}: base_model id {base.id!r} is not a NAMESPACE/NAME of the Hub; publish the base model first, or "
            "leave base_model out."
        )
    if base.revision is not None and not COMMIT.fullmatch(base.revision):
        raise InputError(f"{where}: base_model revision {base.revision!r} is not a commit of 40 hexadecimal digits.")
    return base


def _metric(fields: Mapping[str, Any], path: Path, where: str) -> Metric:
    needed = ("type", "name", "task", "dataset", "run", "key")
    known = (*needed, "low", "high", "dataset_id", "dataset_revision", "task_id")
    invalid = [key for key in needed if not fields.get(key)] + sorted(set(fields) - set(known))
    if invalid:
        raise InputError(f"{where}: a metric's {invalid[0]} is missing or unknown; it has {', '.join(known)}.")
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
    value = run
    for part in key.split("/"):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(f"{where} has no {key}, which a metric is taken from.") from error
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise InputError(f"{where}: {key} is {value!r}, not a number, and a metric is taken from it.")
    return float(value)


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

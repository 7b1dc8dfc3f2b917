"""What of a folder goes to the Hub, and what must not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from ..checkpoints.integrity import CHECKSUMS, PICKLES
from ..checkpoints.source import refuse_unsafe_config
from ..errors import CheckpointError, InputError
from ..metagenomes import AbundanceTable
from ..metagenomes.abundance_table import DATASET_FILE
from .cards import EVAL_RESULTS, model_texts
from .entry import is_table
from .folder import CARD, CONFIG, CONTRACT, RECORD, CheckpointFolder
from .kinds import kind_of
from .manifest import ENTRY, TABLE_CLASS, CardEntry, load_entry, load_manifest
from .privacy import holds_sequences, personal_columns
from .remote_code import exported_files
from .table_card import table_card

MODEL_FILES = (
    CONFIG,
    CONTRACT,
    RECORD,
    CARD,
    CHECKSUMS,
    EVAL_RESULTS,
    "model*.safetensors",
    "model.safetensors.index.json",
)
TABLE_FILES = (DATASET_FILE, CARD, "provenance.json")
TABLES = (".csv", ".tsv", ".parquet", ".xlsx", ".xls", ".biom", ".h5ad", ".arrow", ".feather", ".db", ".sqlite")


@dataclass(frozen=True)
class Contents:
    """A folder that may be published.

    Attributes:
        folder: The folder.
        entry: Of its card.
        repo_type: `model` or `dataset`.
        files: Those that go, by their paths in the repository.
        remarks: What whoever publishes should know.
    """

    folder: Path
    entry: CardEntry
    repo_type: str
    files: dict[str, Path]
    remarks: tuple[str, ...] = ()


def entry_of(folder: Path, manifest: str | Path | None = None) -> CardEntry:
    """The entry of a folder: its own `card.toml`, or that of its name in a manifest.

    Raises:
        InputError: There is none, or it is incomplete.
    """
    if manifest is None:
        return load_entry(folder)
    entries = load_manifest(manifest)
    name = folder.absolute().name
    if name not in entries:
        raise InputError(f"{manifest} has no entry {name!r}; it has {', '.join(entries)}.")
    return entries[name]


def generated(folder: Path, entry: CardEntry) -> dict[str, str]:
    """Files that are made from the entry and the folder: card, figures, checksums."""
    if entry.kind == TABLE_CLASS:
        return {CARD: table_card(entry, folder)}
    return model_texts(entry, CheckpointFolder(folder))


def write_generated(folder: Path, entry: CardEntry) -> list[Path]:
    """Write card, figures and checksums into a folder; gives their paths."""
    paths = []
    for name, text in generated(folder, entry).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def model_contents(folder: Path, manifest: str | Path | None = None) -> Contents:
    """See that a checkpoint may be published.

    Args:
        folder: The checkpoint.
        manifest: Folder of a `models.toml` that holds its entry; by default its own `card.toml` does.

    Raises:
        InputError: Its card is missing, incomplete or stale, or a file must not go.
        CheckpointError: It does not load in a fresh process, holds a pickle, or its config asks for foreign code.
    """
    if is_table(folder):
        raise InputError(f"{folder} holds an abundance table; publish it with: biomeformer publish dataset {folder}")
    for path in _files(folder):
        if any(fnmatch(path.name, pattern) for pattern in PICKLES):
            raise CheckpointError(
                f"{path} is a pickle, which can run code on whoever loads it; save the model with save_pretrained, "
                "which writes safetensors, and remove that file."
            )
    checkpoint = CheckpointFolder(folder)
    kind = kind_of(checkpoint.class_name, str(folder))
    entry = entry_of(folder, manifest)
    for name in (CONFIG, CONTRACT, "tokenizer_config.json"):
        values = checkpoint.json(name)
        refuse_unsafe_config(values, f"{folder / name}")
        if name == CONFIG and "auto_map" in values and not entry.remote_code:
            raise CheckpointError(
                f"{folder / name} has an auto_map, so it would run code that comes with it, and its card does not say "
                "so; remove it, or write the code with: biomeformer publish card --with-code"
            )
    code = exported_files(folder) if entry.remote_code else {}
    for name, text in code.items():
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text:
            raise CheckpointError(
                f"{folder / name} is not the code of this version; write it again with: biomeformer publish card "
                f"{folder} --with-code"
            )
    files = _named_files(folder, (*MODEL_FILES, *kind.files, *code, *entry.files), entry)
    for name, path in files.items():
        if path.suffix.lower() in TABLES:
            raise InputError(f"{path} is a table, and {name} would go with the model; publish tables as datasets.")
    _check_generated(folder, entry)
    check_loads(folder)
    return Contents(folder, entry, "model", files, tuple(_paths_in(files)))


def dataset_contents(folder: Path) -> Contents:
    """See that an abundance table may be published as a dataset.

    Args:
        folder: Written by `biomeformer export --format datasets`.

    Raises:
        InputError: Its card is missing, incomplete or stale, a file must not go, or a column is about single persons.
        TableError: It holds no abundance table.
    """
    if not is_table(folder):
        raise InputError(
            f"{folder} has no {DATASET_FILE}; make a dataset of a run with: biomeformer export RUN --format datasets "
            f"--output {folder}"
        )
    entry = load_entry(folder)
    table = AbundanceTable.read(folder)
    personal = personal_columns(table.metadata)
    open_columns = [name for name in personal if name not in entry.personal_columns]
    if open_columns:
        reasons = "; ".join(f"{name}: {personal[name]}" for name in open_columns)
        typed = ", ".join(f'"{name}"' for name in personal)
        raise InputError(
            f"{folder} has columns that seem to be about single persons ({reasons}); leave them out with "
            f"`biomeformer export --drop {','.join(open_columns)}`, or, if everyone agreed to that, type "
            f"personal_columns = [{typed}] into {folder / ENTRY}."
        )
    files = _named_files(folder, TABLE_FILES, entry)
    _check_generated(folder, entry)
    return Contents(folder, entry, "dataset", files, tuple(_paths_in(files)))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink())


def _named_files(folder: Path, patterns: Iterable[str], entry: CardEntry) -> dict[str, Path]:
    """All files of a folder by their relative paths, each of which a pattern names."""
    found = {}
    patterns = tuple(patterns)
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if name == ENTRY:
            continue
        reason = None if name.endswith(".safetensors") else holds_sequences(path)
        if reason is not None:
            raise InputError(f"{path} seems to hold reads or sequences ({reason}), which are never published; move it.")
        if not any(fnmatch(name, pattern) and name.count("/") == pattern.count("/") for pattern in patterns):
            raise InputError(
                f"{path} is not named by the manifest, so it does not go to the Hub; move it elsewhere, or add "
                f"{name!r} to files in {entry.where}."
            )
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path} is a link to {path.resolve()}, outside of what is published; put the file there.")
        found[name] = path
    return found


def _check_generated(folder: Path, entry: CardEntry) -> None:
    for name, text in generated(folder, entry).items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            what = "missing" if not path.is_file() else "not what its files and its entry say now"
            raise InputError(
                f"{path} is {what}; see that weights, records and {entry.where.name} are as they should be, then write "
                f"it again with: biomeformer publish card {folder}"
            )


def check_loads(folder: Path) -> None:
    """See that a checkpoint loads in a fresh process, without the network.

    Raises:
        CheckpointError: It does not.
    """
    process = subprocess.run(
        [sys.executable, "-m", "biomeformer.hub.load_check", str(folder)],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        lines = process.stderr.strip().splitlines()
        raise CheckpointError(f"{folder} does not load in a fresh process: {lines[-1] if lines else 'it was killed.'}")


def _paths_in(files: dict[str, Path]) -> list[str]:
    """Remarks on absolute paths in records, which tell of the machine they were written on."""
    remarks = []
    for name, path in files.items():
        if path.suffix == ".json" and name != "tokenizer.json":
            found = sorted(_absolute_paths(json.loads(path.read_text(encoding="utf-8"))))
            if found:
                remarks.append(f"{name} names paths of this machine, such as {found[0]}")
    return remarks


def _absolute_paths(value: object) -> set[str]:
    if isinstance(value, dict):
        return set().union(*map(_absolute_paths, value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*map(_absolute_paths, value)) if value else set()
    return {value} if isinstance(value, str) and value.startswith(("/", "~/", "C:\\")) and len(value) > 2 else set()


__all__ = ["Contents", "check_loads", "dataset_contents", "entry_of", "generated", "model_contents", "write_generated"]

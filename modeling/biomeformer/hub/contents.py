"""Decide which files of a folder are published, and refuse those that must not be."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from ..checkpoints.integrity import CHECKSUMS, ESTIMATOR, PICKLES, weight_files
from ..checkpoints.source import open_checkpoint, refuse_unsafe_config
from ..errors import CheckpointError, InputError
from ..metagenomes import AbundanceTable
from ..metagenomes.abundance_table import DATASET_FILE, dataset_file
from ..metagenomes.cluster_descriptions import NAME as DESCRIPTIONS
from ..metagenomes.cluster_descriptions import ClusterDescriptions
from ..models.shared.sentence_vectors import SENTENCE_TRANSFORMERS_FILES
from ..phenotypes.predictor import MODEL_TYPE as PREDICTOR
from ..runs.output_folder import RECORD as OWNERSHIP_RECORD
from .card_types import card_type_of
from .cards import EVAL_RESULTS
from .disclosure import EMAIL, PATH, TOKEN, USER, disclosures
from .entry import is_table
from .folder import CARD, CONFIG, PREPROCESSING, RECORD, CheckpointFolder
from .generated import generated
from .manifest import ENTRY, CardEntry, load_entry, load_manifest
from .privacy import holds_sequences, personal_columns
from .remote_code import exported_files
from .training_datasets import training_dataset

MODEL_FILES = (CONFIG, PREPROCESSING, RECORD, CARD, CHECKSUMS, EVAL_RESULTS, *SENTENCE_TRANSFORMERS_FILES)
ON_PURPOSE = "or, if it is to be public, add it to allowed in {entry}"
WAYS_OUT = {
    TOKEN: "remove it, and revoke it where it was issued if anyone may have read it",
    EMAIL: f"remove it, {ON_PURPOSE}",
    PATH: "write a name or a Hub id in its place, and the card again with `biomeformer publish card {folder}`, "
    + ON_PURPOSE,
    USER: f"remove it, {ON_PURPOSE}",
}
TABLE_FILES = (CARD, "provenance.json", DESCRIPTIONS)
TABLES = (".csv", ".tsv", ".parquet", ".xlsx", ".xls", ".biom", ".h5ad", ".arrow", ".feather", ".db", ".sqlite")


@dataclass(frozen=True)
class Contents:
    """A folder that may be published.

    Attributes:
        folder: The folder.
        entry: Its card entry.
        repo_type: `model`, `dataset` or `space`.
        files: Files to publish, by their paths in the repository.
    """

    folder: Path
    entry: CardEntry
    repo_type: str
    files: dict[str, Path]


def entry_of(folder: Path, manifest: str | Path | None = None) -> CardEntry:
    """Return the card entry of a folder: its own `card.toml`, or the entry of its name in a manifest.

    Raises:
        InputError: The entry is missing or incomplete.
    """
    if manifest is None:
        return load_entry(folder)
    entries = load_manifest(manifest)
    name = folder.absolute().name
    if name not in entries:
        raise InputError(f"{manifest} has no entry {name!r}; it has {', '.join(entries)}.")
    return entries[name]


def model_contents(folder: Path, manifest: str | Path | None = None) -> Contents:
    """Check that a checkpoint may be published, and return what to publish.

    Args:
        folder: The checkpoint.
        manifest: Folder of a `models.toml` that holds its entry; by default the checkpoint's own `card.toml`.

    Raises:
        InputError: The card is missing, incomplete or out of date, or a file must not be published.
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
    card_type = card_type_of(checkpoint.class_name, str(folder))
    entry = entry_of(folder, manifest)
    for name in (CONFIG, PREPROCESSING, "tokenizer_config.json"):
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
    weights = [name for part in ("", *card_type.parts) for name in _weights(folder, part)]
    files = _named_files(folder, (*MODEL_FILES, *weights, *card_type.files, *code, *entry.files), entry)
    for name, path in files.items():
        # Of reference genomes, not of samples; that it describes these weights is checked when they are loaded.
        if name == DESCRIPTIONS and name in card_type.files:
            ClusterDescriptions.read(path)
        elif path.suffix.lower() in TABLES:
            raise InputError(f"{path} is a table, and {name} would go with the model; publish tables as datasets.")
    check_disclosures({name: path for name, path in files.items() if name not in code}, entry)
    _check_generated(folder, entry)
    check_loads(folder)
    return Contents(folder, entry, "model", files)


def dataset_contents(folder: Path) -> Contents:
    """Check that a dataset may be published, and return what to publish.

    Args:
        folder: Written by `biomeformer export --format datasets`, `biomeformer sequences prepare`, or, as its
            `dataset`, by `biomeformer genome embed --format datasets`.

    Raises:
        InputError: The card is missing, incomplete or out of date, a file must not be published, or a column holds
            personal data.
        TableError: The folder holds no abundance table.
        DamagedFileError: A file of prepared sequences is damaged.
    """
    kind = training_dataset(folder)
    if kind is not None:
        entry = load_entry(folder)
        kind.check(folder, entry)
        files = _named_files(folder, kind.files(folder), entry)
        check_disclosures(files, entry)
        _check_generated(folder, entry)
        return Contents(folder, entry, "dataset", files)
    data = dataset_file(folder, str(folder))
    if data is None or not is_table(folder):
        raise InputError(
            f"{folder} has no {DATASET_FILE}; make a dataset of a run with: biomeformer export RUN --format datasets "
            f"--output {folder} (of sequences with `biomeformer sequences prepare`, of genomes with `biomeformer "
            "genome embed --format datasets`, whose folder `dataset` is one)"
        )
    entry = load_entry(folder)
    table = AbundanceTable.read(folder)
    personal = personal_columns(table.metadata)
    undeclared = [name for name in personal if name not in entry.personal_columns]
    if undeclared:
        reasons = "; ".join(f"{name}: {personal[name]}" for name in undeclared)
        declared = ", ".join(f'"{name}"' for name in personal)
        raise InputError(
            f"{folder} has columns that seem to be about single persons ({reasons}); leave them out with "
            f"`biomeformer export --drop {','.join(undeclared)}`, or, if everyone agreed to that, type "
            f"personal_columns = [{declared}] into {folder / ENTRY}."
        )
    files = _named_files(folder, (data.relative_to(folder).as_posix(), *TABLE_FILES), entry)
    if DESCRIPTIONS in files and not ClusterDescriptions.read(files[DESCRIPTIONS]).agrees_with(table.provenance):
        raise InputError(
            f"{files[DESCRIPTIONS]} describes the clusters of other weights than the table's; remove it, or export the "
            "table again."
        )
    check_disclosures(files, entry)
    _check_generated(folder, entry)
    return Contents(folder, entry, "dataset", files)


def _files(folder: Path) -> list[Path]:
    paths = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    # What the folder's own commands may delete there is of no interest elsewhere.
    return sorted(path for path in paths if path.name != OWNERSHIP_RECORD)


def _weights(folder: Path, part: str) -> list[str]:
    """Return the names of the weight files that are loaded from a checkpoint, or from a part of it if it has that part.

    Raises:
        CheckpointError: It has none, or an index names a file that is not in the folder.
    """
    if not (folder / part / CONFIG).is_file():
        return []
    source = open_checkpoint(folder / part)
    if source.model_type == PREDICTOR:
        return [ESTIMATOR]
    names = weight_files(source)
    if (folder / part / SAFE_WEIGHTS_INDEX_NAME).is_file() and names != [SAFE_WEIGHTS_NAME]:
        names.append(SAFE_WEIGHTS_INDEX_NAME)
    return [(PurePosixPath(part) / name).as_posix() for name in names]


def _named_files(folder: Path, names: Iterable[str], entry: CardEntry) -> dict[str, Path]:
    """Return all files of a folder by relative path; raise InputError if one must not be published."""
    files = {}
    named = frozenset(names)
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if name == ENTRY:
            continue
        reason = None if name.endswith(".safetensors") else holds_sequences(path)
        if reason is not None:
            raise InputError(f"{path} seems to hold reads or sequences ({reason}), which are never published; move it.")
        if name not in named:
            raise InputError(
                f"{path} is not named by the manifest, so it does not go to the Hub; move it elsewhere, or add "
                f"{name!r} to files in {entry.path}."
            )
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path} is a link to {path.resolve()}, outside of what is published; put the file there.")
        files[name] = path
    for name in entry.files:
        if name not in files:
            raise InputError(f"{entry.path}: files names {name!r}, and {folder} has no such file; correct the name.")
    return files


def check_disclosures(files: Mapping[str, Path], entry: CardEntry) -> None:
    """Refuse files that disclose a token, an e-mail address, or a path or user name of this machine.

    Raises:
        InputError: One does; file and field are named.
    """
    # The account that publishes is public anyway.
    allowed = {*entry.allowed, entry.id, entry.id.split("/")[0]}
    for path in files.values():
        for disclosure in disclosures(path, allowed):
            raise InputError(
                f"{path}, {disclosure.field}: it holds {disclosure.kind} ({disclosure.value}), which would become "
                f"public; {WAYS_OUT[disclosure.kind].format(folder=entry.path.parent, entry=entry.path.name)}."
            )


def _check_generated(folder: Path, entry: CardEntry) -> None:
    for name, text in generated(folder, entry).items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            problem = "missing" if not path.is_file() else "not what its files and its entry say now"
            raise InputError(
                f"{path} is {problem}; check weights, records and {entry.path.name}, then write it again "
                f"with: biomeformer publish card {folder}"
            )


def check_loads(folder: Path) -> None:
    """Check that a checkpoint loads in a fresh process without the network.

    Raises:
        CheckpointError: The checkpoint does not load.
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


__all__ = ["Contents", "check_disclosures", "check_loads", "dataset_contents", "entry_of", "model_contents"]

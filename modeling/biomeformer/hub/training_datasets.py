"""Datasets that models are trained on: prepared sequences and embedded genomes, their cards and what they may hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from ..errors import InputError
from ..genomes.catalog import GENOME_ID
from ..genomes.dataset import REQUIRED_COLUMNS
from ..genomes.embedding import CHECKSUMS
from ..io.digests import check_files
from ..io.markdown import grid, pairs
from ..io.parquet import DAMAGE
from ..sequences.dataset_card import feature_list, label_column, split_table
from ..sequences.folder import ADVICE, CONFLICTS, DATA, PREPARE_RECORD
from ..sequences.folder import RECORD as PREPARED
from ..sinks import markdown, markdown_code
from .cards import citation, front_matter, template
from .manifest import GENOMES_CLASS, SEQUENCES_CLASS, CardEntry
from .privacy import personal_columns

NO_PERSONS = {"Columns about single persons": "none detected"}
TRAIN_ON_SEQUENCES = """\
from biomeformer.sequences.training_data import read_training_data

data = read_training_data("{id}")"""
TRAIN_ON_GENOMES = """\
from biomeformer.genomes.dataset import open_genomes

genomes = open_genomes("{id}", streaming=True)"""


@dataclass(frozen=True)
class DatasetKind:
    """A kind of dataset.

    Attributes:
        class_name: Class in `card.toml`.
        tags: Tags of a new card.
        is_in: Whether a folder holds such a dataset.
        files: Names of the files that are published.
        check: Raises `InputError` if the content may not be published.
        card: Returns the card.
    """

    class_name: str
    tags: tuple[str, ...]
    is_in: Callable[[Path], bool]
    files: Callable[[Path], tuple[str, ...]]
    check: Callable[[Path, CardEntry], None]
    card: Callable[[CardEntry, Path], str]


def parquet_files(folder: Path) -> list[Path]:
    """Return the Parquet files of a dataset's folder, in order."""
    return sorted((folder / DATA).glob("*.parquet"))


def is_prepared(folder: Path) -> bool:
    """Return whether `biomeformer sequences prepare` wrote a folder."""
    return (folder / PREPARED).is_file()


def is_genomes(folder: Path) -> bool:
    """Return whether a folder holds the dataset of embedded genomes that `genome embed --format datasets` writes."""
    files = parquet_files(folder)
    if not files or is_prepared(folder):
        return False
    try:
        return set(REQUIRED_COLUMNS) <= set(pq.read_schema(files[0]).names)
    except DAMAGE:
        return False


def _names(folder: Path, *others: str) -> tuple[str, ...]:
    return (*(path.relative_to(folder).as_posix() for path in parquet_files(folder)), "README.md", *others)


def _check_sequences(folder: Path, entry: CardEntry) -> None:
    """Check that the files are those that were prepared; the card says whose sequences they are."""
    check_files(folder, PREPARE_RECORD.read(folder / PREPARED).get("files", {}), ADVICE)


def _sequences_card(entry: CardEntry, folder: Path) -> str:
    record = PREPARE_RECORD.read(folder / PREPARED)
    names, splits, settings = record["label_names"], record["splits"], record["settings"]
    n_sequences = {name: split["n_sequences"] for name, split in splits.items()}
    metadata = {
        "license": entry.license,
        "tags": list(entry.tags),
        "task_categories": ["text-classification"],
        "size_categories": [size_category(sum(n_sequences.values()))],
        "dataset_info": {"features": feature_list(record["task"], names)},
    }
    header, *rows = split_table(names, n_sequences, {name: split["class_counts"] for name, split in splits.items()})
    label = label_column(record["task"])
    columns = [
        ["`id`", "name of the sequence"],
        ["`sequence`", "bases, in upper case"],
        [markdown_code(label), f"{record['task']}: {', '.join(map(markdown, names))}"],
        ["`source`", "its origin: file and record, or contig, start, end and strand"],
    ]
    made = {name: value for name, value in settings.items() if value not in (None, [], False)}
    return template("dataset_card.md").substitute(
        front_matter=front_matter(metadata),
        usage=TRAIN_ON_SEQUENCES.format(id=entry.id),
        usage_note=f"`biomeformer recipes run finetune_sequence_classifier --data {entry.id}` trains on it; "
        f'`datasets.load_dataset("{entry.id}")` gives the same rows.',
        facts=grid([*map(markdown, header)], rows),
        columns=grid(["column", "meaning"], columns),
        provenance=pairs({name: markdown(_shown(value)) for name, value in made.items()}),
        privacy_facts=pairs({"Sequences": "in the column `sequence`", **NO_PERSONS}),
        citation=citation((), entry.citation),
        **entry.texts,
    )


def _genome_metadata(folder: Path) -> tuple[pd.DataFrame, dict[str, Any], int]:
    """Return the catalog's columns, the protein encoder's preprocessing config and the number of genes."""
    # Without the vectors, which are nearly all of the bytes.
    wanted = [name for name in pq.read_schema(parquet_files(folder)[0]).names if name not in ("vectors", "contig_ids")]
    frame = pd.concat([pq.read_table(path, columns=wanted).to_pandas() for path in parquet_files(folder)])
    encoder = dict(json.loads(frame["protein_encoder"].iloc[0]))
    own = ("n_genes", "protein_encoder", CHECKSUMS)
    return frame.set_index(GENOME_ID).drop(columns=list(own), errors="ignore"), encoder, int(frame["n_genes"].sum())


def _check_genomes(folder: Path, entry: CardEntry) -> None:
    """Refuse columns with personal data that the card does not name."""
    columns, _, _ = _genome_metadata(folder)
    personal = {name: why for name, why in personal_columns(columns).items() if name not in entry.personal_columns}
    if personal:
        reasons = "; ".join(f"{name}: {why}" for name, why in personal.items())
        raise InputError(
            f"{folder} has columns that seem to be about single persons ({reasons}); leave them out of the catalog and "
            f"embed again, or, if they are to be public, name them in personal_columns in {entry.path}."
        )


def _genomes_card(entry: CardEntry, folder: Path) -> str:
    columns, encoder, n_genes = _genome_metadata(folder)
    metadata = {
        "license": entry.license,
        "tags": list(entry.tags),
        "task_categories": ["other"],
        "size_categories": [size_category(len(columns))],
    }
    rows = [["`genome_id`", "name of the genome"]]
    for name in map(str, columns.columns):
        values = sorted(set(columns[name].astype(str)))
        shown = ", ".join(map(markdown, values)) if len(values) <= 8 else f"{len(values):,} values"
        rows.append([markdown_code(name), f"of the catalog: {shown}"])
    rows += [
        ["`n_genes`", "number of genes"],
        ["`protein_encoder`", "name and preprocessing config of the protein encoder, as JSON"],
        ["`contig_ids`", "number of each gene's contig, `(n_genes,)`"],
        ["`vectors`", f"float16 `(n_genes, {encoder['hidden_size']})`, the genes in order"],
        [f"`{CHECKSUMS}`", "checksums of the row's values, as JSON"],
    ]
    return template("dataset_card.md").substitute(
        front_matter=front_matter(metadata),
        usage=TRAIN_ON_GENOMES.format(id=entry.id),
        usage_note=f"`biomeformer recipes run train_genome_transformer --genomes {entry.id} --streaming` trains on it, "
        "and fetches a genome's vectors when they are needed.",
        facts=pairs({"Genomes": f"{len(columns):,}", "Genes": f"{n_genes:,}"}),
        columns=grid(["column", "meaning"], rows),
        provenance=pairs({name: markdown(_shown(value)) for name, value in encoder.items()}),
        privacy_facts=pairs({"Sequences": "none; vectors of proteins", **NO_PERSONS}),
        citation=citation(("2405.05998",), entry.citation),
        **entry.texts,
    )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def size_category(n: int) -> str:
    """Return the Hub's size category of a number of rows."""
    for limit, name in ((1000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")):
        if n < limit:
            return name
    return "1M<n<10M" if n < 10_000_000 else "n>10M"


KINDS = {
    SEQUENCES_CLASS: DatasetKind(
        SEQUENCES_CLASS,
        ("biology", "dna", "genomics", "biomeformer"),
        is_prepared,
        lambda folder: _names(folder, PREPARED, CONFLICTS),
        _check_sequences,
        _sequences_card,
    ),
    GENOMES_CLASS: DatasetKind(
        GENOMES_CLASS,
        ("biology", "genomics", "microbiome", "biomeformer"),
        is_genomes,
        _names,
        _check_genomes,
        _genomes_card,
    ),
}


def training_dataset(folder: Path) -> DatasetKind | None:
    """Return the kind of training dataset that a folder holds, or None."""
    return next((kind for kind in KINDS.values() if kind.is_in(folder)), None)


__all__ = ["KINDS", "DatasetKind", "parquet_files", "size_category", "training_dataset"]

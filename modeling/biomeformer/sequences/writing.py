"""Write the splits of a selection and the list of conflicting sequences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ..io.spreadsheets import write_spreadsheet
from .dataset_card import label_column
from .labels import Labels
from .selection import Progress, Selection
from .split_files import SplitFiles
from .splitting import SPLITS, draw_keys
from .store import SequenceStore
from .token_lengths import N_SAMPLED, TokenCounter

WRITING = "writing"
CONFLICT_COLUMNS = ("group", "id", "label", "source", "sequence")


@dataclass(frozen=True)
class Written:
    """Sizes of the splits written.

    Attributes:
        n_sequences: Number of sequences, by split; empty splits are left out.
        n_bytes: Bytes in memory, by split.
    """

    n_sequences: dict[str, int]
    n_bytes: dict[str, int]


def dataset_schema(labels: Labels) -> pa.Schema:
    """Return the schema of the dataset, with the metadata from which `datasets` reads the classes."""
    from datasets import ClassLabel, Features, List, Value

    kinds = {
        "classification": lambda: ClassLabel(names=list(labels.names)),
        "multi_label": lambda: List(Value("float32")),
        "regression": lambda: Value("float64"),
    }
    text = Value("string")
    label = {label_column(labels.task): kinds[labels.task]()}
    return Features({"id": text, "sequence": text, **label, "source": text}).arrow_schema


def write_splits(
    store: SequenceStore,
    labels: Labels,
    selection: Selection,
    folder: Path,
    conflicts: Path,
    counter: TokenCounter | None,
    seed: int,
    report: Progress,
) -> Written:
    """Write the Parquet files of each split and the list of conflicts, and count the tokens of a sample.

    Args:
        store: The sequences.
        labels: Their labels.
        selection: The split of each sequence.
        folder: Folder of the Parquet files.
        conflicts: TSV file to write the conflicts to.
        counter: Token counter for a sample drawn by digest and seed, or None.
        seed: Seed of the sample.
        report: Called with the stage, the number done and the total.
    """
    schema = dataset_schema(labels)
    sizes = np.bincount(selection.split[selection.order], minlength=len(SPLITS))
    files = {i: SplitFiles(folder, SPLITS[i], int(n), schema) for i, n in enumerate(sizes) if n}
    is_sampled = _sample(store, selection, seed)
    listed = {int(row): i for i, row in enumerate(selection.duplicates.listed)}
    conflict_rows: dict[int, tuple[Any, ...]] = {}
    n_done = 0
    for rows, batch in store.batches():
        split = selection.split[rows]
        for i, file in files.items():
            kept = np.flatnonzero(split == i)
            if len(kept):
                file.add(_with_labels(batch.take(pa.array(kept)), labels, labels.values[rows][kept], schema))
                n_done += len(kept)
        if counter is not None:
            sampled = batch["sequence"].take(pa.array(np.flatnonzero(is_sampled[rows])))
            if len(sampled):
                counter.add([value.as_buffer().to_pybytes() for value in sampled])
        for row in listed.keys() & set(range(rows.start, rows.stop)):
            values = {name: batch[name][row - rows.start].as_py() for name in batch.schema.names}
            group = int(selection.duplicates.listed_group[listed[row]]) + 1
            label = labels.text(labels.values[row])
            conflict_rows[listed[row]] = (group, values["id"], label, values["source"], values["sequence"])
        report(WRITING, n_done, len(selection.order))
    for file in files.values():
        file.close()
    rows_in_order = [conflict_rows[i] for i in sorted(conflict_rows)]
    write_spreadsheet(pd.DataFrame(rows_in_order, columns=list(CONFLICT_COLUMNS)), conflicts, sep="\t", index=False)
    return Written({SPLITS[i]: int(sizes[i]) for i in files}, {SPLITS[i]: file.n_bytes for i, file in files.items()})


def _sample(store: SequenceStore, selection: Selection, seed: int) -> np.ndarray:
    order = selection.order
    if len(order) > N_SAMPLED:
        order = order[np.argpartition(draw_keys(store.digests[order, 1], seed), N_SAMPLED)[:N_SAMPLED]]
    is_sampled = np.zeros(len(store), bool)
    is_sampled[order] = True
    return is_sampled


def _with_labels(batch: pa.RecordBatch, labels: Labels, values: np.ndarray, schema: pa.Schema) -> pa.RecordBatch:
    kind = schema.field(label_column(labels.task)).type
    if labels.sets is None:
        column = pa.array(values).cast(kind)
    else:
        n_classes = len(labels.names)
        offsets = pa.array(np.arange(len(values) + 1, dtype=np.int32) * n_classes)
        column = pa.ListArray.from_arrays(offsets, pa.array(labels.sets[values].ravel()), type=kind)
    return pa.record_batch([batch["id"], batch["sequence"], column, batch["source"]], schema=schema)


__all__ = ["Written", "dataset_schema", "write_splits"]

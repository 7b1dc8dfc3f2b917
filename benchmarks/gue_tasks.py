"""The tasks of GUE that `gue.py` measures, the published scores, and their data as datasets of the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from biomeformer import prepare_sequences
from biomeformer.io.nucleotides import reverse_complement
from biomeformer.io.records import RecordType
from biomeformer.io.tables import read_table
from biomeformer.sequences import PreparationSettings

PUBLISHED_MODELS = ("DNABERT-2", "NT-v2", "HyenaDNA", "Caduceus-Ph", "GROVER")
PUBLISHED_SOURCE = (
    "Benchmarking DNA foundation models for genomic and genetic tasks, Nature Communications 2025, "
    "s41467-025-65823-8, Tables 1 and 2: ROC-AUC of classifiers on frozen mean-pooled embeddings"
)
DATA_SOURCE = (
    "GUE benchmark of DNABERT-2 (arXiv 2306.15006), CSV files of https://github.com/wds-seu/DeepGene, Apache-2.0"
)
TALLY = RecordType(dict[str, dict[str, int]], "delete the folder of work and run the benchmark again")
# Files of a task, by split; in this order, so that test stays whole where splits share sequences.
FILES = {"test": "test", "validation": "dev", "train": "train"}


@dataclass(frozen=True)
class GueTask:
    """One task.

    Attributes:
        folder: Folder with `train`, `dev` and `test` files.
        title: Name in tables.
        published: ROC-AUC of `PUBLISHED_MODELS`.
    """

    folder: str
    title: str
    published: tuple[float, float, float, float, float]


TASKS = (
    GueTask("prom_core_all", "promoter, all, 70 bp", (0.8311, 0.8527, 0.8320, 0.8748, 0.8506)),
    GueTask("prom_core_notata", "promoter, no TATA box, 70 bp", (0.8531, 0.8729, 0.8516, 0.8961, 0.8704)),
    GueTask("prom_core_tata", "promoter, TATA box, 70 bp", (0.7781, 0.7947, 0.7827, 0.8103, 0.7960)),
    GueTask("prom_300_tata", "promoter, TATA box, 300 bp", (0.7646, 0.7791, 0.8077, 0.7600, 0.7800)),
    GueTask("tf_0", "human TF 0", (0.8382, 0.8315, 0.8301, 0.8796, 0.8618)),
    GueTask("tf_1", "human TF 1", (0.8210, 0.8090, 0.8205, 0.8687, 0.8495)),
    GueTask("tf_2", "human TF 2", (0.7896, 0.7974, 0.7875, 0.8249, 0.8158)),
    GueTask("tf_3", "human TF 3", (0.7260, 0.7103, 0.7149, 0.7725, 0.7630)),
    GueTask("tf_4", "human TF 4", (0.9204, 0.9149, 0.9159, 0.9294, 0.9310)),
    GueTask("mouse_0", "mouse TF 0", (0.7110, 0.7040, 0.5899, 0.6841, 0.6947)),
    GueTask("mouse_2", "mouse TF 2", (0.9308, 0.9269, 0.8944, 0.9351, 0.9327)),
    GueTask("mouse_3", "mouse TF 3", (0.7622, 0.6942, 0.5880, 0.7047, 0.6815)),
    GueTask("mouse_4", "mouse TF 4", (0.6783, 0.7077, 0.6270, 0.7150, 0.6822)),
)


def prepare(folder: Path, output: Path, max_train: int | None, max_validation: int | None) -> dict[str, Any]:
    """Make a dataset of a task's files, unless it is there, and return its numbers of sequences.

    The published splits stay as they are, but for sequences (or their reverse complements) that several splits share:
    these stay in test, or else in validation, so that nothing is trained on what is tested.

    Args:
        folder: Folder of the task with `train`, `dev` and `test`, each `.csv` or `.csv.gz`.
        output: Folder of the dataset.
        max_train: Maximum number of training sequences, drawn without replacement; None takes all.
        max_validation: The same for validation. Test is never subsampled.

    Returns:
        By split `published`, `shared` (left out since an earlier split has them), `not_drawn`, `dropped` (duplicates
        within the split and conflicting labels) and `used`.

    Raises:
        FileNotFoundError: A file is missing.
    """
    record, tally = output / "prepare.json", output.with_suffix(".tally.json")
    if record.is_file() and tally.is_file():
        return dict(TALLY.read(tally))
    seen: set[str] = set()
    parts, counts = [], {}
    for split, file in FILES.items():
        path = next((path for suffix in (".csv.gz", ".csv") if (path := folder / f"{file}{suffix}").is_file()), None)
        if path is None:
            raise FileNotFoundError(f"{folder / file}.csv: no such file, nor one with .gz; fetch the data of GUE.")
        table = read_table(path)
        table.require(("sequence", "label"))
        frame = pd.DataFrame({name: table.column(name) for name in ("sequence", "label")}).assign(contig=split)
        keys = [min(bases, reverse_complement(bases)) for bases in frame["sequence"]]
        is_new = np.array([key not in seen for key in keys])
        seen.update(keys)
        limit = {"train": max_train, "validation": max_validation}.get(split)
        rows = np.flatnonzero(is_new)
        if limit is not None and len(rows) > limit:
            rows = np.sort(np.random.default_rng(0).choice(rows, limit, replace=False))
        counts[split] = {
            "published": len(frame),
            "shared": int((~is_new).sum()),
            "not_drawn": int(is_new.sum()) - len(rows),
            "drawn": len(rows),
        }
        parts.append(frame.iloc[rows])
    output.parent.mkdir(parents=True, exist_ok=True)
    rows_of_all = output.with_suffix(".csv")
    pd.concat(parts).to_csv(rows_of_all, index=False)
    settings = PreparationSettings(
        split="chromosome", positive="1", validation_contigs=("validation",), test_contigs=("test",)
    )
    prepared = prepare_sequences([rows_of_all], output, settings, read_encoder=None, overwrite=True)
    for split, n in counts.items():
        n["used"] = prepared.n_sequences[split]
        n["dropped"] = n.pop("drawn") - n["used"]
    TALLY.write(tally, counts)
    return counts

"""`biomeformer phenotype predict`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ...errors import InputError, SamplesFailedError
from ...io.atomic import atomic_write
from ...io.compression import remove_compression_suffix
from ...io.spreadsheets import write_spreadsheet
from ...runs.progress import Progress
from ..console import doing, out_lines, report_files
from ..options import DEFAULT_DEVICE, Device, Revision, Threads
from ..runs import list_failures

SHEET_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")


def predict(
    model: Annotated[
        str,
        typer.Argument(metavar="CHECKPOINT", help="Checkpoint from `biomeformer phenotype train`.", show_default=False),
    ],
    reads: Annotated[
        list[Path],
        typer.Argument(
            metavar="READS|COHORT.csv|TABLE",
            help="One sample's file, or its two mates; a cohort's sheet; or a table of `biomeformer embed`.",
            show_default=False,
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="CSV to write.", show_default="stdout")] = None,
    device: Device = DEFAULT_DEVICE,
    threads: Threads = None,
    revision: Revision = None,
) -> None:
    """Predict a phenotype, with its probabilities, from reads, a cohort's sheet, or an abundance table.

    A sample of a sheet that cannot be used is named, and the others are predicted.
    """
    if len(reads) > 2:
        raise InputError(f"{len(reads)} files were given; give one file of reads, two of mates, a sheet, or a table.")
    from ..runtime import note_device, start

    with doing(f"loading {model}"):
        start(threads)
        import pandas as pd

        from ...checkpoints.loading import load_phenotype_model
        from ...metagenomes import AbundanceTable
        from ...metagenomes.abundance_table import is_abundance_source
        from ...phenotypes import predict_table

        loaded = load_phenotype_model(model, revision=revision, device=device)
    note_device(loaded.device)
    failed: dict[str, str] = {}
    labels = [loaded.config.id2label[i] for i in range(loaded.config.num_labels)]
    if len(reads) == 1 and is_abundance_source(reads[0]):
        predictions = predict_table(loaded, AbundanceTable.read(reads[0]))
    elif len(reads) == 1 and is_sheet(reads[0]):
        from ...phenotypes.prediction import predict_cohort
        from ...reads import read_cohort

        # Nothing is divided into folds here, so that samples may share files.
        cohort = read_cohort(reads[0], allow_shared_files=True)
        with Progress() as progress:
            predictions, failed = predict_cohort(loaded, cohort, partial(progress.update, "predicting"))
        list_failures(failed, Path())
        if predictions.empty:
            raise SamplesFailedError(f"none of the {len(failed)} samples of {reads[0]} could be used.", failed)
    else:
        with doing(f"reading {reads[0]}"):
            probabilities = list(loaded.predict(*reads).values())
        predictions = pd.DataFrame([probabilities], index=[reads[0].name], columns=labels)
    content = write_spreadsheet(predictions, index_label="sample_id", float_format="%.6g", lineterminator="\n")
    if output is None:
        out_lines(content.rstrip("\n"))
    else:
        with atomic_write(output) as file:
            file.write_text(content, encoding="utf-8")
        report_files({"predictions": output})
    if failed:
        raise SamplesFailedError(
            f"{len(failed)} of {len(failed) + len(predictions)} samples could not be used, and have no prediction "
            f"({', '.join(list(failed)[:3])}{', …' if len(failed) > 3 else ''}); correct their files.",
            failed,
        )


def is_sheet(path: Path) -> bool:
    """Tell whether a file is a table of samples rather than reads, by its name."""
    return Path(remove_compression_suffix(path.name)).suffix.lower() in SHEET_SUFFIXES

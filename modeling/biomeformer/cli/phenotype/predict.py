"""`biomeformer phenotype predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...errors import InputError
from ...io.atomic import atomic_write
from ...io.spreadsheets import write_spreadsheet
from ..console import doing, out_lines, report_files
from ..options import DEFAULT_DEVICE, Device, Revision, Threads


def predict(
    model: Annotated[
        str,
        typer.Argument(metavar="CHECKPOINT", help="Checkpoint from `biomeformer phenotype train`.", show_default=False),
    ],
    reads: Annotated[
        list[Path],
        typer.Argument(
            metavar="READS|TABLE", help="One sample's file, or its two mates; or a table.", show_default=False
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="CSV to write.", show_default="stdout")] = None,
    device: Device = DEFAULT_DEVICE,
    threads: Threads = None,
    revision: Revision = None,
) -> None:
    """Predict a phenotype, with its probabilities, from reads or from an abundance table."""
    if len(reads) > 2:
        raise InputError(f"{len(reads)} files were given; give one file of reads, two of mates, or a table.")
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
    labels = [loaded.config.id2label[i] for i in range(loaded.config.num_labels)]
    if len(reads) == 1 and is_abundance_source(reads[0]):
        predictions = predict_table(loaded, AbundanceTable.read(reads[0]))
    else:
        with doing(f"reading {reads[0]}"):
            probabilities = list(loaded.predict(*reads).values())
        predictions = pd.DataFrame([probabilities], index=[reads[0].name], columns=labels)
    content = write_spreadsheet(predictions, index_label="sample_id", float_format="%.6g", lineterminator="\n")
    if output is None:
        out_lines(content.rstrip("\n"))
    else:
        with atomic_write(output) as partial:
            partial.write_text(content, encoding="utf-8")
        report_files({"predictions": output})

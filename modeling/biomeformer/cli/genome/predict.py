"""`biomeformer genome predict`."""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ...errors import InputError, SamplesFailedError
from ...io.atomic import atomic_write
from ...io.spreadsheets import write_spreadsheet
from ..console import doing, extend, next_command, note, one_line, out_lines, record, report_files
from ..options import DEFAULT_DEVICE, Device, Revision, Threads
from ..output import check_output_file
from ..runs import list_failures

DEFAULT_MODEL = "genome-transformer-mini"
USUAL_TRANSLATION_TABLE = 11


def predict(
    genomes: Annotated[
        list[Path],
        typer.Argument(metavar="GENOME...", help="FASTA, GenBank, GFF3, or proteins (.faa).", show_default=False),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A shipped checkpoint, a folder, or a Hub id.")
    ] = DEFAULT_MODEL,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="TSV to write.", show_default="stdout")] = None,
    fasta: Annotated[
        Path | None,
        typer.Option(
            help="Contigs of a GFF3 file that does not hold them; of one genome.",
            show_default="FILE.fna beside FILE.gff",
        ),
    ] = None,
    translation_table: Annotated[
        int | None, typer.Option(help="NCBI's number, of genes that do not say.", show_default="model's")
    ] = None,
    device: Device = DEFAULT_DEVICE,
    threads: Threads = None,
    revision: Revision = None,
) -> None:
    """Predict the label of genomes, such as their habitat, with its probabilities: one row per genome.

    Genes are called where a file has none. A genome that fails does not stop the others.
    """
    check_output_file(output)
    if fasta is not None and len(genomes) > 1:
        raise InputError(
            f"--fasta names the contigs of one GFF3 file, and there are {len(genomes)} genomes; predict one at a time, "
            "or put each FASTA beside its GFF3 file under the same name (x.fna beside x.gff)."
        )
    from ...genomes.ahead import GenomesAhead
    from ...genomes.catalog import GenomeCatalog
    from ..runtime import note_device, start

    n_threads = threads or os.cpu_count() or 1
    entries = list(GenomeCatalog.from_files(genomes))
    if fasta is not None:
        entries = [replace(entry, kind="gff", fasta=fasta) for entry in entries]
    # In threads, for which `start` comes too late.
    warnings.filterwarnings("ignore")
    with ExitStack() as stack:
        # Genes are called while torch is imported and the model loaded, with the table that most models use.
        table = USUAL_TRANSLATION_TABLE if translation_table is None else translation_table
        ahead = stack.enter_context(GenomesAhead(entries, translation_table=table, threads=n_threads))
        with doing(f"loading {model}"):
            start(threads)

            from ...checkpoints.loading import load_genome_model
            from ...genomes.prediction import classify_genome, protein_encoder_of
            from ...runs.failures import all_failed_alike, failure_reason

            loaded = load_genome_model(model, revision=revision, device=device)
            protein_encoder_of(loaded)
        assert loaded.processor is not None
        if translation_table is None and loaded.processor.translation_table != table:
            table = loaded.processor.translation_table
            ahead = stack.enter_context(GenomesAhead(entries, translation_table=table, threads=n_threads))
        note_device(loaded.device)
        labels = [loaded.config.id2label[i] for i in range(loaded.config.num_labels)]
        lines = [_line(["genome_id", loaded.config.label_name, *labels, "n_genes"])]
        if output is None:
            out_lines(lines[0])
        failed: dict[str, str] = {}
        for entry, reading in ahead:
            try:
                with doing(f"reading {entry.path}"):
                    prediction = classify_genome(loaded, reading.result())
            except Exception as error:
                if len(entries) == 1:
                    raise
                failed[entry.genome_id] = failure_reason(error, f"genome {entry.genome_id}")
                continue
            if prediction.n_dropped_genes:
                n_genes = f"{prediction.n_dropped_genes:,} genes"
                note(f"{one_line(entry.genome_id)}: {n_genes} beyond the model's limit were not seen")
            for remark in prediction.genome.notes:
                note(f"{one_line(entry.genome_id)}: {one_line(remark)}")
            if prediction.differences:
                what = "; ".join(prediction.differences)
                note(f"{one_line(entry.genome_id)}: unlike the genomes the model was trained on, so be careful: {what}")
            values = [f"{prediction.probabilities[label]:.6g}" for label in labels]
            lines.append(_line([entry.genome_id, prediction.label, *values, str(len(prediction.genome))]))
            if output is None:
                out_lines(lines[-1])
            row: dict[str, Any] = {"genome_id": entry.genome_id, loaded.config.label_name: prediction.label}
            row |= {"probabilities": prediction.probabilities, "n_genes": len(prediction.genome)}
            extend(predictions=[row | {"differences": prediction.differences}])
    if output is not None and len(lines) > 1:
        with atomic_write(output) as partial:
            partial.write_text("\n".join(lines) + "\n")
        report_files({"predictions": output})
    record(failed=failed)
    next_command("inspect", model)
    if failed:
        list_failures(failed, None)
        common = all_failed_alike(failed, len(entries))
        if common is not None:
            raise SamplesFailedError(
                f"all {len(entries)} genomes failed for one reason that is not about their files: {common}.", failed
            )
        raise SamplesFailedError(f"{len(failed)} of {len(entries)} genomes failed; mend or leave them out.", failed)


def _line(cells: list[str]) -> str:
    """Return a line of the TSV."""
    import pandas as pd

    options: dict[str, Any] = {"sep": "\t", "header": False, "index": False, "lineterminator": "\n"}
    return write_spreadsheet(pd.DataFrame([cells]), **options).removesuffix("\n")

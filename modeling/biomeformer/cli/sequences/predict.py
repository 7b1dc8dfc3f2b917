"""`biomeformer sequences predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ...errors import InputError
from ..console import doing, note, report_files
from ..options import Device, Revision, Threads


def predict(
    sequences: Annotated[
        Path, typer.Argument(metavar="FASTA", help="FASTA or FASTQ, plain or compressed.", show_default=False)
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A fine-tuned checkpoint: a folder or a Hub id.", show_default=False)
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="TSV to write.", show_default="stdout")] = None,
    device: Device = "cpu",
    threads: Threads = None,
    revision: Revision = None,
) -> None:
    """Predict labels of sequences with their probabilities: one row a sequence.

    The checkpoint holds what decides: names of the labels, tokens of a sequence, and the thresholds that were chosen on
    its validation sequences.
    """
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise InputError(f"--output {output} cannot be written; give the name of a file in a folder that exists.")
    from ..runtime import start

    with doing(f"loading {model}"):
        start(threads)
        from ...files import written_whole
        from ...sequences.classifier import SequenceClassifier
        from ...sequences.prediction import predict_sequences

        classifier = SequenceClassifier.load(model, revision=revision, device=device)
    n_cut = n_done = 0
    tables = predict_sequences(classifier, sequences)
    if output is None:
        for table in tables:
            table.to_csv(sys.stdout, sep="\t", index=False, header=not n_done, float_format="%.6g")
            n_done, n_cut = n_done + len(table), n_cut + int(table["is_cut"].sum())
    else:
        with doing(f"reading {sequences}"), written_whole(output) as partial, partial.open("w") as file:
            for table in tables:
                table.to_csv(file, sep="\t", index=False, header=not n_done, float_format="%.6g")
                n_done, n_cut = n_done + len(table), n_cut + int(table["is_cut"].sum())
        report_files({"predictions": output})
    if n_cut:
        limit = classifier.contract.max_tokens
        note(f"{n_cut:,} of {n_done:,} sequences have more than {limit:,} tokens; their ends were not seen")


__all__ = ["predict"]

"""`biomeformer sequences predict`."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, TextIO

import typer

from ...io.spreadsheets import write_spreadsheet
from ...runs.results import plain
from ..console import doing, extend, next_command, note, out_lines, record, report_files
from ..options import DEFAULT_DEVICE, Device, Revision, Threads
from ..output import check_output_file


def predict(
    sequences: Annotated[
        Path, typer.Argument(metavar="FASTA", help="FASTA or FASTQ, plain or compressed.", show_default=False)
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A fine-tuned checkpoint: a folder or a Hub id.", show_default=False)
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="TSV to write.", show_default="stdout")] = None,
    device: Device = DEFAULT_DEVICE,
    threads: Threads = None,
    revision: Revision = None,
) -> None:
    """Predict labels of sequences with their probabilities: one row per sequence.

    The checkpoint holds the names of the labels, the maximum number of tokens, and the thresholds chosen on its
    validation sequences.
    """
    check_output_file(output)
    from ..runtime import note_device, start

    with doing(f"loading {model}"):
        start(threads)
        from ...io.atomic import atomic_write
        from ...sequences.classifier import SequenceClassifier
        from ...sequences.prediction import predict_sequences

        classifier = SequenceClassifier.load(model, revision=revision, device=device)
    note_device(classifier.model.device)
    n_truncated = n_done = 0
    stats: Counter[str] = Counter()
    with ExitStack() as stack:
        file: TextIO | None = None
        if output is not None:
            stack.enter_context(doing(f"reading {sequences}"))
            file = stack.enter_context(stack.enter_context(atomic_write(output)).open("w"))
        for table in predict_sequences(classifier, sequences, stats):
            text = write_spreadsheet(
                table, file, sep="\t", index=False, header=not n_done, float_format="%.6g", lineterminator="\n"
            )
            if file is None:
                out_lines(text.removesuffix("\n"))
                extend(predictions=plain(table))
            n_done, n_truncated = n_done + len(table), n_truncated + int(table["is_cut"].sum())
    if output is not None:
        report_files({"predictions": output})
    if n_truncated:
        limit = classifier.preprocessing.max_tokens
        note(f"{n_truncated:,} of {n_done:,} sequences have more than {limit:,} tokens and were truncated")
    if n_empty := stats["n_without_bases"]:
        note(
            f"{n_empty:,} of {n_done:,} sequences ({n_empty / n_done:.1%}) have only ambiguous bases such as N, so "
            "their predictions say nothing of them"
        )
    record(n_sequences=n_done, n_truncated=n_truncated, n_without_bases=n_empty)
    next_command("inspect", model)


__all__ = ["predict"]

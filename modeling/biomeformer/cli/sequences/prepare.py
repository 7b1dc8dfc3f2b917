"""`biomeformer sequences prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...errors import InputError, RunInterrupted
from ...runs.progress import Progress
from ..console import doing, next_command, note, one_line, out, record, report_files
from ..options import Revision
from ..output import check_overwritable
from ..presets import Preset

if TYPE_CHECKING:
    from ...sequences import PreparedSequences, TokenLengths

Task = Literal["classification", "multi_label", "regression"]
Edges = Literal["drop", "shift", "clip", "pad"]
Split = Literal["random", "chromosome", "cluster", "group"]


def prepare(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="PATH or LABEL=PATH: FASTA, CSV, TSV, Parquet, BED or narrowPeak, plain or compressed.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", show_default=False)],
    preset: Preset = None,
    task: Annotated[Task, typer.Option(help="Kind of labels; several labels of multi_label are separated by ';'.")] = (
        "classification"
    ),
    positive: Annotated[
        str | None,
        typer.Option(help="The positive label of two.", show_default="last in alphabetical order"),
    ] = None,
    genome: Annotated[
        Path | None,
        typer.Option("--genome", "-g", help="FASTA of the reference genome of intervals.", show_default=False),
    ] = None,
    length: Annotated[int, typer.Option(min=1, help="Bases of a window around a summit.")] = 1000,
    edges: Annotated[
        Edges, typer.Option(help="Windows that cross a contig's end: drop, shift inside, clip, or pad with N.")
    ] = "drop",
    canonical_contigs: Annotated[
        bool,
        typer.Option("--canonical-contigs", help="Drop intervals on contigs other than 1, 2, ..., X, Y, Z, W, M."),
    ] = False,
    max_n: Annotated[
        float, typer.Option(min=0, max=1, help="Largest fraction of N; sequences above it are dropped.")
    ] = 0.1,
    min_length: Annotated[int, typer.Option(min=1, help="Minimum length in bases; shorter sequences are dropped.")] = 1,
    sequence_column: Annotated[str, typer.Option(help="Table column with sequences.")] = "sequence",
    label_column: Annotated[str, typer.Option(help="Table column with labels.")] = "label",
    id_column: Annotated[str | None, typer.Option(help="Table column with ids.", show_default="FILE:LINE")] = None,
    group_column: Annotated[
        str | None, typer.Option(help="Table column with groups, for --split group.", show_default=False)
    ] = None,
    reverse_complement: Annotated[
        bool, typer.Option(help="A sequence and its reverse complement count as identical.")
    ] = True,
    balance: Annotated[
        bool, typer.Option("--balance", help="Sample as many of each class as the smallest has.")
    ] = False,
    split: Annotated[
        Split, typer.Option(help="Sequences to keep in one split: none, a contig's, near-duplicates, or a group's.")
    ] = "random",
    shares: Annotated[str, typer.Option(help="Fractions of train, validation and test.")] = "0.8,0.1,0.1",
    validation_contigs: Annotated[
        str, typer.Option(metavar="NAME,...", help="For --split chromosome.", show_default="to reach the shares")
    ] = "",
    test_contigs: Annotated[
        str, typer.Option(metavar="NAME,...", help="For --split chromosome.", show_default="to reach the shares")
    ] = "",
    similarity: Annotated[
        float, typer.Option(help="For --split cluster: Jaccard index of 12-mers from which two are near-duplicates.")
    ] = 0.3,
    read_encoder: Annotated[
        str, typer.Option("--read-encoder", help="Tokenizer for counting tokens: shipped checkpoint, folder or Hub id.")
    ] = "metagenbert-mini",
    revision: Revision = None,
    missing: Annotated[
        list[str] | None,
        typer.Option("--missing", help="Further word for a missing label, such as None; may be repeated."),
    ] = None,
    not_missing: Annotated[
        list[str] | None,
        typer.Option(
            "--not-missing",
            help="Word that is a label here though it commonly means missing, such as NA; may be repeated.",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Also report how many sequences this context truncates.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random choices.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a dataset in the folder.")] = False,
) -> None:
    """Make a dataset with splits from labelled sequences, or from intervals of a reference genome.

    Intervals become windows around their summit: column 10 of narrowPeak, else the midpoint. Of identical sequences one
    is kept, or none if their labels differ; conflicts.tsv lists those. `datasets.load_dataset` loads the folder;
    prepare.json holds all settings and counts.
    """
    check_overwritable(output, "sequences prepare", overwrite=overwrite)
    from ..runtime import start

    with doing("starting"):
        start(models=False)
        from ...runs.interruption import Interruption
        from ...sequences import PreparationSettings, prepare_sequences

    settings = PreparationSettings(
        task=task,
        positive=positive,
        length=length,
        edges=edges,
        canonical_contigs=canonical_contigs,
        max_n=max_n,
        min_length=min_length,
        sequence_column=sequence_column,
        label_column=label_column,
        id_column=id_column,
        group_column=group_column,
        reverse_complement=reverse_complement,
        balance=balance,
        split=split,
        shares=_shares(shares),
        validation_contigs=_names(validation_contigs),
        test_contigs=_names(test_contigs),
        similarity=similarity,
        missing=tuple(missing or ()),
        not_missing=tuple(not_missing or ()),
        max_tokens=max_tokens,
        seed=seed,
    )
    with Interruption() as interruption, Progress() as progress:
        try:
            prepared = prepare_sequences(
                inputs,
                output,
                settings,
                genome=genome,
                read_encoder=read_encoder,
                revision=revision,
                overwrite=overwrite,
                on_progress=progress.update,
                check=interruption.check,
            )
        except RunInterrupted as error:
            raise RunInterrupted(f"{error}; nothing was written.", error.signal_number) from error
    _summary(prepared)
    for name, share in zip(("validation", "test"), settings.shares[1:], strict=True):
        if name not in prepared.n_sequences and share and not settings.validation_contigs + settings.test_contigs:
            note(f"{name} is empty: there are too few sequences or groups for its share of {share:g}")
    report_files(prepared.files)
    record(n_read=prepared.n_read, n_kept=prepared.n_kept, dropped=prepared.dropped, n_sequences=prepared.n_sequences)
    record(label_names=prepared.label_names, class_counts=prepared.class_counts, token_lengths=prepared.token_lengths)
    record(n_clusters=prepared.n_clusters, missing_words=prepared.missing_words)
    run = ["recipes", "run", "finetune_sequence_classifier", "--config", "smoke"]
    next_command(*run, "--data", output, "--output", "run")


def _shares(text: str) -> tuple[float, float, float]:
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--shares is {text!r}, which is not three numbers; give them like 0.8,0.1,0.1.") from None
    return train, validation, test


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _summary(prepared: PreparedSequences) -> None:
    from ...sequences.dataset_card import N_SHOWN, REASONS, split_table

    out(f"{prepared.n_read:,} records read, {prepared.n_kept:,} kept")
    for reason, n in prepared.dropped.items():
        out(f"  dropped {n:>13,}  {reason}: {REASONS[reason].replace('`', '')}")
    if prepared.missing_words:
        words = ", ".join(f"{one_line(word)!r} {n:,}" for word, n in prepared.missing_words.items())
        out(f"labels taken as missing (see --not-missing): {words}")
    for name in prepared.label_names:
        if name.lower() == "none":
            note(f"{one_line(name)!r} is taken as a label; if it marks a missing one, give --missing {one_line(name)}")
    if prepared.n_clusters is not None:
        out(f"{prepared.n_clusters:,} clusters of near-duplicates")
    names = prepared.label_names
    rows = split_table(names, prepared.n_sequences, prepared.class_counts)
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *cells in rows:
        padded = [f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)]
        out("  ".join([f"{first:<{widths[0]}}", *padded]))
    if len(names) > N_SHOWN:
        out(f"{len(names):,} classes; their counts are in prepare.json")
    if prepared.token_lengths is not None:
        _token_summary(prepared.token_lengths)


def _token_summary(lengths: TokenLengths) -> None:
    q = lengths.quantiles
    out(
        f"tokens with {lengths.read_encoder}, of {lengths.n_sampled:,} sequences: median {q['0.5']:,}, 99 % up to "
        f"{q['0.99']:,}, longest {q['1']:,}"
    )
    out(f"a context of {lengths.proposed_context:,} tokens truncates {lengths.cut_at_proposed:.1%} of them")
    if lengths.cut_at_max_tokens is not None:
        out(f"a context of {lengths.max_tokens:,} tokens truncates {lengths.cut_at_max_tokens:.1%} of them")


__all__ = ["prepare"]

"""Prepare a dataset with splits from files of labelled sequences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError, RunError
from ..io.digests import digest_files
from ..io.short_repr import short_repr
from .batch import Batch
from .dataset_card import REASONS, dataset_card
from .folder import CARD, CONFLICTS, DATA, PREPARE_RECORD, RECORD, check_folder, dataset_folder
from .intervals import read_intervals
from .labelled import LabelledFile, open_input, read_labelled
from .selection import Progress, select
from .settings import PreparationSettings
from .splitting import SPLITS
from .store import SequenceStore
from .token_lengths import TokenCounter, TokenLengths
from .windows import read_windows
from .writing import write_splits

READING = "reading"


@dataclass(frozen=True)
class PreparedSequences:
    """A prepared dataset on disk.

    Attributes:
        folder: The folder, which `datasets.load_dataset(str(folder))` reads.
        files: Paths of the `data` folder, `card`, `record` and list of `conflicts`.
        label_names: Classes, sorted; empty for regression.
        n_read: Records read.
        n_kept: Sequences in the dataset.
        dropped: Number of records dropped, by reason; together with `n_kept` they add up to `n_read`.
        n_conflicts: Number of distinct sequences with conflicting labels.
        n_clusters: Clusters of near-duplicates, singletons included; None unless the split is by cluster.
        n_sequences: Number of sequences, by split; empty splits are left out.
        class_counts: Number of sequences, by split and class.
        token_lengths: Token lengths of a sample of sequences, or None if no read encoder was given.
        missing_words: Number of records dropped for a label that marks a missing value, by the word.
    """

    folder: Path
    files: dict[str, Path]
    label_names: tuple[str, ...]
    n_read: int
    n_kept: int
    dropped: dict[str, int]
    n_conflicts: int
    n_clusters: int | None
    n_sequences: dict[str, int]
    class_counts: dict[str, dict[str, int]]
    token_lengths: TokenLengths | None
    missing_words: dict[str, int] = field(default_factory=dict)

    __repr__ = short_repr


def prepare_sequences(
    inputs: Sequence[str | Path],
    output: str | Path,
    settings: PreparationSettings | None = None,
    *,
    genome: str | Path | None = None,
    read_encoder: str | None = "metagenbert-mini",
    revision: str | None = None,
    overwrite: bool = False,
    on_progress: Progress | None = None,
    check: Callable[[], None] | None = None,
) -> PreparedSequences:
    r"""Make a dataset for fine-tuning from labelled sequences, or from intervals of a reference.

    Sequences are converted to upper case, with U as T. Of identical sequences (reverse complements included, unless the
    settings say otherwise) the first is kept; if their labels differ, none is kept. The split of a sequence depends on
    its bases and the seed, not on the order of the inputs. Memory use is 100 to 150 bytes per sequence; the sequences
    themselves are in a temporary file beside the output.

    Args:
        inputs: Files, each a path or LABEL=PATH. FASTA and intervals (BED, narrowPeak) need a label; a table (CSV, TSV,
            Parquet) may hold it in a column.
        output: Folder to write, atomically.
        settings: Settings of the preparation; defaults if None.
        genome: FASTA of the reference genome of intervals.
        read_encoder: Checkpoint whose tokenizer counts tokens: a shipped name, a folder or a Hub id; None skips it.
        revision: Branch, tag or commit of a Hub id.
        overwrite: Whether a dataset in the folder may be replaced.
        on_progress: Called with the stage (`reading`, `comparing`, `joining` or `writing`), the number of sequences
            (bands of signatures when joining) done, and their total number, or None if unknown.
        check: Called between batches; an exception it raises aborts the preparation and leaves nothing behind.

    Raises:
        InputError: A file or setting cannot be used; the message names file, line or record, and reason.
        CheckpointError: The read encoder has no tokenizer.
        RunError: The output cannot be written.

    Examples:
        >>> rows = ["sequence,label", "ACGTACGTAAAC,enhancer", "GTTTACGTACGT,enhancer", "GGGTTTTACCCA,other"]
        >>> _ = Path("labels.csv").write_text("\n".join(rows))
        >>> prepared = prepare_sequences(["labels.csv"], "prepared", read_encoder=None)
        >>> prepared.n_read, prepared.n_kept, prepared.label_names
        (3, 2, ('enhancer', 'other'))
    """
    settings = settings or PreparationSettings()
    folder = Path(output)
    check_folder(folder, overwrite=overwrite)
    files = _open_inputs(inputs, genome, settings)
    counter = None if read_encoder is None else TokenCounter(read_encoder, revision)

    def report(stage: str, n_done: int, n_in_all: int | None) -> None:
        if on_progress is not None:
            on_progress(stage, n_done, n_in_all)
        if check is not None:
            check()

    try:
        with dataset_folder(folder, overwrite=overwrite) as (result, work):
            store = SequenceStore(work / "sequences.arrow", settings)
            try:
                for batch in _read(files, genome, settings):
                    store.add(batch)
                    report(READING, store.n_read, None)
            finally:
                store.close()
            return _finish(store, files, genome, settings, folder, result, work, counter, report)
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or " ".join(str(error).split())
        raise RunError(f"{folder} cannot be written: {reason}; put it right and start again.") from error


def _open_inputs(
    inputs: Sequence[str | Path], genome: str | Path | None, settings: PreparationSettings
) -> list[LabelledFile]:
    if not inputs:
        raise InputError("there are no inputs; give files of labelled sequences.")
    files = [open_input(text) for text in inputs]
    of_intervals = [file.path for file in files if file.kind == "intervals"]
    if of_intervals and genome is None:
        raise InputError(f"{of_intervals[0]} holds intervals, and no genome was given; give the reference's FASTA.")
    if of_intervals and settings.split == "group":
        raise InputError(
            f"{of_intervals[0]} holds intervals, which name no groups; give split 'chromosome' or another."
        )
    if genome is not None:
        if not of_intervals:
            raise InputError(f"genome {genome} is given, and no input holds intervals; leave it out.")
        if not Path(genome).is_file():
            raise InputError(f"genome {genome}: there is no such file; check the path.")
    return files


def _read(files: list[LabelledFile], genome: str | Path | None, settings: PreparationSettings) -> Iterator[Batch]:
    intervals = [read_intervals(file) for file in files if file.kind == "intervals"]
    for file in files:
        if file.kind != "intervals":
            yield from read_labelled(file, settings)
    if genome is not None:
        yield from read_windows(intervals, Path(genome), settings)


def _finish(
    store: SequenceStore,
    files: list[LabelledFile],
    genome: str | Path | None,
    settings: PreparationSettings,
    folder: Path,
    result: Path,
    work: Path,
    counter: TokenCounter | None,
    report: Progress,
) -> PreparedSequences:
    """Select, split and write the sequences that were read."""
    if not len(store):
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in _ordered(store.dropped).items())
        raise InputError(f"of {store.n_read:,} records none can be used ({reasons}); check the files and the settings.")
    labels = store.labels()
    selection = select(store, labels, settings, work, report)
    written = write_splits(store, labels, selection, result / DATA, result / CONFLICTS, counter, settings.seed, report)
    counts = {name: labels.counts(selection.split == SPLITS.index(name)) for name in written.n_sequences}
    prepared = PreparedSequences(
        folder,
        {"data": folder / DATA, "card": folder / CARD, "record": folder / RECORD, "conflicts": folder / CONFLICTS},
        labels.names,
        store.n_read,
        len(selection.order),
        _ordered(store.dropped + selection.dropped),
        selection.duplicates.n_conflicts,
        selection.n_clusters,
        written.n_sequences,
        counts,
        None if counter is None else counter.finish(settings.max_tokens),
        dict(store.missing_words),
    )
    record = _record(prepared, files, genome, settings)
    names = sorted(f"{DATA}/{path.name}" for path in (result / DATA).iterdir())
    PREPARE_RECORD.write(result / RECORD, record | {"files": digest_files(result, names)})
    (result / CARD).write_text(dataset_card(record, written.n_bytes), encoding="utf-8")
    return prepared


def _ordered(dropped: Counter[str]) -> dict[str, int]:
    return {reason: dropped[reason] for reason in REASONS if dropped[reason]}


def _record(
    prepared: PreparedSequences, files: list[LabelledFile], genome: str | Path | None, settings: PreparationSettings
) -> dict[str, Any]:
    """Return the content of `prepare.json`: names of the input files without their folders."""
    from ..version import __version__

    lengths = prepared.token_lengths
    return {
        "biomeformer": __version__,
        "task": settings.task,
        "label_names": list(prepared.label_names),
        "inputs": [{"file": file.path.name, "kind": file.kind, "label": file.label} for file in files],
        "genome": None if genome is None else Path(genome).name,
        "settings": settings.record,
        "tallies": {
            "n_read": prepared.n_read,
            "n_kept": prepared.n_kept,
            "dropped": prepared.dropped,
            "missing_words": prepared.missing_words,
            "n_conflicts": prepared.n_conflicts,
            "n_clusters": prepared.n_clusters,
        },
        "splits": {
            name: {"n_sequences": n, "class_counts": prepared.class_counts[name]}
            for name, n in prepared.n_sequences.items()
        },
        "token_lengths": None if lengths is None else lengths.record,
    }


__all__ = ["PreparedSequences", "prepare_sequences"]

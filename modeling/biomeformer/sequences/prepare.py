"""From files of labelled sequences to a dataset with its splits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, RunError
from .batch import Batch
from .dataset_card import REASONS, dataset_card
from .folder import CARD, CONFLICTS, DATA, RECORD, check_folder, dataset_folder
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
    """A dataset that was written.

    Attributes:
        folder: Where; `datasets.load_dataset(str(folder))` reads it.
        files: Its `data` folder, `card`, `record` and list of `conflicts`.
        label_names: Classes, sorted; empty for regression.
        n_read: Records read.
        n_kept: Sequences in the dataset.
        dropped: Records that are not in it, by reason; with `n_kept` they add up to `n_read`.
        n_conflicts: Distinct sequences that had different labels.
        n_clusters: Clusters of near-duplicates, single sequences included; None but for a cluster split.
        n_sequences: Sequences of each split that has any.
        class_counts: Sequences of each class, by split.
        token_lengths: Of a sample, or None where no read encoder was given.
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
    """Make a dataset for fine-tuning from labelled sequences, or from intervals of a reference.

    Sequences are put in capital letters, U as T. Equal ones (a reverse complement is equal, unless the settings say
    otherwise) are kept once, the first; where their labels differ, none is kept. Which split one belongs to depends on
    its bases and the seed, not on the order of the inputs. In memory are 100 to 150 bytes a sequence; the sequences
    lie beside the output while work goes on.

    Args:
        inputs: Files: a path, or LABEL=PATH. FASTA and intervals (BED, narrowPeak) need a label; of a table (CSV, TSV,
            Parquet) a column may hold it.
        output: Folder to write, whole or not at all.
        settings: What decides which sequences are in which split; the defaults where None.
        genome: FASTA of the reference of intervals.
        read_encoder: Whose tokens are counted: a shipped checkpoint, a folder or a Hub id; None counts none.
        revision: Branch, tag or commit of a Hub id.
        overwrite: Whether a dataset in the folder may be replaced.
        on_progress: Called with what is done (`reading`, `comparing`, `joining` or `writing`), how many, and of how
            many or None.
        check: Called between batches; what it raises ends the work and leaves nothing behind.

    Raises:
        InputError: A file or setting cannot be used; file, line or record, and reason are named.
        CheckpointError: The read encoder has no tokenizer.
        RunError: The output cannot be written.
    """
    settings = settings or PreparationSettings()
    folder = Path(output)
    check_folder(folder, overwrite=overwrite)
    files = _open_inputs(inputs, genome, settings)
    counter = None if read_encoder is None else TokenCounter(read_encoder, revision)

    def tell(stage: str, n_done: int, n_in_all: int | None) -> None:
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
                    tell(READING, store.n_read, None)
            finally:
                store.close()
            return _finish(store, files, genome, settings, folder, result, work, counter, tell)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
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
    tell: Progress,
) -> PreparedSequences:
    """All that comes after reading."""
    if not len(store):
        why = ", ".join(f"{n:,} {reason}" for reason, n in _ordered(store.dropped).items())
        raise InputError(f"of {store.n_read:,} records none can be used ({why}); check the files and the settings.")
    labels = store.labels()
    selection = select(store, labels, settings, work, tell)
    written = write_splits(store, labels, selection, result / DATA, result / CONFLICTS, counter, settings.seed, tell)
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
    )
    record = _record(prepared, files, genome, settings)
    (result / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (result / CARD).write_text(dataset_card(record, written.n_bytes), encoding="utf-8")
    return prepared


def _ordered(dropped: Counter[str]) -> dict[str, int]:
    return {reason: dropped[reason] for reason in REASONS if dropped[reason]}


def _record(
    prepared: PreparedSequences, files: list[LabelledFile], genome: str | Path | None, settings: PreparationSettings
) -> dict[str, Any]:
    """What `prepare.json` holds: names of files, never where they lie."""
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

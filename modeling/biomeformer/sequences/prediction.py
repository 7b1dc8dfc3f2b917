"""Predict labels and probabilities of the sequences in a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ..errors import InputError
from ..reads.records import NUCLEOTIDE_LETTERS, RecordFile, bad_letter_reason, record_error, usual_letters
from .classifier import CHUNK, SequenceClassifier

LETTERS = NUCLEOTIDE_LETTERS.decode()
AMBIGUOUS = "".join(letter for letter in LETTERS if letter not in "ACGTUacgtu")


def predict_sequences(
    classifier: SequenceClassifier, path: str | Path, stats: Counter[str] | None = None
) -> Iterator[pd.DataFrame]:
    """Predict the sequences of a FASTA or FASTQ file, plain or compressed, a few thousand at a time.

    Args:
        classifier: A fine-tuned classifier.
        path: The file.
        stats: Counts sequences, to which are added: `n_without_bases`, those of ambiguous bases only, of which a
            prediction says nothing.

    Yields:
        One row per sequence: `id`, `length` in bases, `is_cut` if its end is beyond the model's context, `label`
        (several separated by `;`) and `probability NAME` of each label; for a regression `value`.

    Raises:
        ReadFileError: The file cannot be read, or breaks at a record.
        InputError: A sequence is empty.
    """
    path = Path(path)
    names: list[str] = []
    sequences: list[str] = []
    with RecordFile(path) as records:
        for number, record in enumerate(records, 1):
            sequence = record.sequence
            if sequence.strip(LETTERS):
                sequence = usual_letters(sequence)
            if not sequence:
                raise InputError(f"{path}, record {number}: the sequence is empty; leave it out.")
            if sequence.strip(LETTERS):
                letter = next(letter for letter in sequence if letter not in LETTERS)
                raise record_error(path, number, bad_letter_reason(letter))
            if stats is not None and not sequence.strip(AMBIGUOUS):
                stats["n_without_bases"] += 1
            names.append(record.name.split(maxsplit=1)[0] if record.name.strip() else str(number))
            sequences.append(sequence)
            if len(names) == CHUNK:
                yield _predicted(classifier, names, sequences)
                names, sequences = [], []
    if names:
        yield _predicted(classifier, names, sequences)


def _predicted(classifier: SequenceClassifier, names: list[str], sequences: list[str]) -> pd.DataFrame:
    predictions = classifier.predict(sequences)
    # Without a limit nothing is truncated, so the sequences need not be tokenized again.
    is_truncated = False if classifier.preprocessing.max_tokens is None else classifier.tokens(sequences)[2]
    table = pd.DataFrame({"id": names, "length": list(map(len, sequences)), "is_cut": is_truncated})
    if classifier.preprocessing.task == "regression":
        return table.assign(value=predictions[:, 0])
    labels = classifier.label_names
    table["label"] = classifier.preprocessing.labels(predictions, labels)
    for i, name in enumerate(labels):
        table[f"probability {name}"] = predictions[:, i]
    return table


__all__ = ["predict_sequences"]

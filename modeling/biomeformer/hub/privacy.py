"""Detect what must not be published by accident: reads, and columns with personal data."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from ..errors import InputError
from ..io.compression import StreamError, open_bytes, remove_compression_suffix

# Words in a column's name that suggest personal data, alone or among others, as in `subject_id`.
PERSONAL_WORDS = frozenset(
    "subject subjects patient patients participant participants individual person donor family twin "
    "name surname forename firstname lastname initials email mail phone telephone address street zip zipcode postcode "
    "postal city town birth birthday birthdate dob date day death age sex gender race ethnicity ancestry nationality "
    "religion occupation education income marital bmi weight height medication medications drug drugs "
    "hospital clinic physician insurance ssn mrn passport ip latitude longitude coordinates".split()
)
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}")
DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}.*|\d{1,2}[./]\d{1,2}[./]\d{2,4}")
SEQUENCE_SUFFIXES = (".fastq", ".fq", ".fasta", ".fa", ".fna", ".ffn", ".faa", ".sam", ".bam", ".cram", ".sra")
# A text column with at most this many values does not count as identifiers, even if they are all distinct.
N_CLASSES = 12


def personal_columns(columns: pd.DataFrame) -> dict[str, str]:
    """Return the columns that seem to hold personal data, judged by name and values.

    Args:
        columns: Cohort columns, one row per sample.

    Returns:
        Reason by column name.
    """
    reasons = {}
    for name in columns.columns:
        reason = _by_name(str(name)) or _by_values(columns[name])
        if reason is not None:
            reasons[str(name)] = reason
    return reasons


def _by_name(name: str) -> str | None:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    words = [word for word in re.split(r"[^a-z0-9]+", spaced.lower()) if word]
    for word in words:
        if word in PERSONAL_WORDS or word.rstrip("s") in PERSONAL_WORDS:
            return f"its name says {word!r}"
    return None


def _by_values(values: pd.Series) -> str | None:
    text = [str(value).strip() for value in values.dropna() if str(value).strip()]
    if not text:
        return None
    if any(EMAIL.fullmatch(value) for value in text):
        return "it holds e-mail addresses"
    if sum(bool(DATE.fullmatch(value)) for value in text) * 2 > len(text):
        return "it holds dates"
    numeric = pd.to_numeric(pd.Series(text), errors="coerce").notna().all()
    if not numeric and len(set(text)) == len(text) > N_CLASSES:
        return "each sample has a value of its own, as an identifier would"
    return None


def holds_sequences(path: Path) -> str | None:
    """Return why a file seems to hold reads or other sequences, judged by name and first bytes; None if it does not."""
    name = remove_compression_suffix(path.name).lower()
    if name.endswith(SEQUENCE_SUFFIXES):
        return f"its name ends in {Path(name).suffix}"
    try:
        with open_bytes(path) as file:
            start = file.read(4096)
    except (InputError, StreamError):
        return None
    if start.startswith((b"BAM\x01", b"CRAM")):
        return "it begins as BAM or CRAM does"
    lines = start.split(b"\n")
    letters = re.compile(rb"[ACGTUNacgtun]{20,}\r?|[ACDEFGHIKLMNPQRSTVWYX*]{20,}\r?")
    if len(lines) > 1 and lines[0][:1] in (b"@", b">") and letters.fullmatch(lines[1]):
        return "it begins as FASTQ or FASTA does"
    return None


__all__ = ["PERSONAL_WORDS", "holds_sequences", "personal_columns"]

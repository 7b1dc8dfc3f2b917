"""Folders with one profile per sample: reports of Kraken, outputs of Bracken, profiles of MetaPhlAn."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

import pandas as pd

from ...errors import InputError, TableError
from ...io.compression import StreamError, open_bytes, open_text, remove_compression_suffix
from ...io.tables import read_table, why_no_number
from .dialects import FORMAT, Profile, is_kraken_report

# Endings of files that name the kind of file rather than the sample.
_ENDINGS = re.compile(
    r"(?:[._-](?:k?report|kraken2?|bracken|breport|metaphlan[234]?|mpa|profile|profiled_metagenome|abundances?|species|S|"
    r"txt|tsv|tab|out|output))+$",
    re.IGNORECASE,
)
# Ranks of Kraken's reports that lineages name; others, such as G1 and S2, belong to the one above.
_RANKS = {"D": "d__", "K": "k__", "P": "p__", "C": "c__", "O": "o__", "F": "f__", "G": "g__", "S": "s__"}
# Bytes by which a file's tool is recognised: more than the comments above its header.
_HEAD_BYTES = 1 << 16
_ROOT = "r__root_unclassified"
_ADVICE = (
    "give a folder of `biomeformer embed`, or one with a report of Kraken, an output of Bracken or a profile of "
    "MetaPhlAn per sample"
)


def holds_profiles(folder: Path) -> bool:
    """Return whether a folder holds profiles of known tools."""
    return any(_kind(path) for path in _files(folder))


def read_folder(folder: Path, expected: Collection[str]) -> Profile:
    """Read one profile per sample from a folder; the samples are named after the files.

    Args:
        folder: The folder.
        expected: Samples of the metadata, by which the end of a sample's name within a file's name is found.

    Raises:
        TableError: The folder holds profiles of several tools, two of one sample, or none.
    """
    kinds = {path: kind for path in _files(folder) if (kind := _kind(path))}
    if not kinds:
        raise TableError(f"{folder} holds no profiles; {_ADVICE}.")
    tools = sorted(set(kinds.values()))
    if len(tools) > 1:
        raise TableError(f"{folder} holds files of {' and '.join(tools)}; give a folder with those of one tool.")
    profiles: dict[str, dict[str, float]] = {}
    path_of: dict[str, Path] = {}
    for path in kinds:
        sample = _sample_name(path, expected)
        if sample in path_of:
            raise TableError(f"{path} and {path_of[sample]} are both of sample {sample!r}; keep one of them.")
        path_of[sample] = path
        profiles[sample] = _READERS[tools[0]](path)
    names = list(dict.fromkeys(name for values in profiles.values() for name in values))
    rows = [[values.get(name, 0.0) for name in names] for values in profiles.values()]
    notes = [f"{len(profiles)} files of {tools[0]} were read, one per sample"]
    others = len(_files(folder)) - len(kinds)
    if others:
        notes.append(f"{others} other files in the folder were left out")
    return Profile(pd.DataFrame(rows, index=list(profiles), columns=names), False, notes=tuple(notes))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _kind(path: Path) -> str:
    """Return the tool that wrote a file, judged by its first lines; empty if it is none of the known ones."""
    try:
        with open_bytes(path) as file:
            head = file.read(_HEAD_BYTES)
    except (InputError, StreamError):
        return ""
    if b"\0" in head:
        return ""
    for line in head.decode("utf-8-sig", "replace").splitlines():
        fields = line.split("\t")
        if is_kraken_report(fields):
            return "Kraken"
        if {"name", "taxonomy_lvl", "new_est_reads"} <= set(fields):
            return "Bracken"
        if fields[0].lstrip("#") == "clade_name" and "relative_abundance" in fields:
            return "MetaPhlAn"
        if not line.startswith("#"):
            return ""
    return ""


def _lines(path: Path) -> Iterator[str]:
    with open_text(path) as file:
        yield from file


def _sample_name(path: Path, expected: Collection[str]) -> str:
    """Return the longest expected name that the file's name begins with, or the file's name without known endings."""
    name = remove_compression_suffix(path.name)
    candidates = [sample for sample in expected if name == sample or re.match(rf"{re.escape(sample)}[._-]", name)]
    if candidates:
        return max(candidates, key=len)
    return _ENDINGS.sub("", name) or name


def _kraken(path: Path) -> dict[str, float]:
    """Return the reads of each clade, by the lineage of its main ranks, and those of no taxon."""
    reads: dict[str, float] = {}
    # Indentation and lineage of the taxa above the current one.
    above: list[tuple[int, tuple[str, ...]]] = []
    try:
        for number, line in enumerate(_lines(path), 1):
            if not line.strip():
                continue
            fields = line.rstrip("\r\n").split("\t")
            if not is_kraken_report(fields):
                raise TableError(f"{path}, line {number}: not a line of a Kraken report; make the report again.")
            rank, name = fields[-3].strip(), fields[-1]
            clade = float(fields[1])
            if rank == "U":
                reads["unclassified"] = reads.get("unclassified", 0.0) + clade
                continue
            depth = len(name) - len(name.lstrip(" "))
            while above and above[-1][0] >= depth:
                above.pop()
            lineage = above[-1][1] if above else ()
            if not lineage and rank not in _RANKS:
                # Reads assigned to the root and to ranks between it and the domains.
                if float(fields[2]):
                    reads[_ROOT] = reads.get(_ROOT, 0.0) + float(fields[2])
            elif rank in _RANKS:
                lineage = (*lineage, _RANKS[rank] + re.sub(r"[|;]", "_", name.strip()).replace(" ", "_"))
                key = "|".join(lineage)
                reads[key] = reads.get(key, 0.0) + clade
            above.append((depth, lineage))
    except (StreamError, UnicodeDecodeError) as error:
        raise TableError(f"{path} cannot be read: {error}.") from error
    return reads


def _bracken(path: Path) -> dict[str, float]:
    table = read_table(path, FORMAT)
    values: dict[str, float] = {}
    for line, row in table.records():
        key = row["name"] if row["name"] not in values else f"{row['name']} ({row['taxonomy_id']})"
        values[key] = _number(row["new_est_reads"], path, line)
    return values


def _metaphlan(path: Path) -> dict[str, float]:
    table = read_table(path, FORMAT)
    return {row["clade_name"]: _number(row["relative_abundance"], path, line) for line, row in table.records()}


def _number(text: str, path: Path, line: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise TableError(f"{path}, line {line}: the abundance is {why_no_number(text)}; fix the file.") from None


_READERS = {"Kraken": _kraken, "Bracken": _bracken, "MetaPhlAn": _metaphlan}

__all__ = ["holds_profiles", "read_folder"]

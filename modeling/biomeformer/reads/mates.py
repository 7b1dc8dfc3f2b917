"""Names of the two mates of a read pair."""

from __future__ import annotations

import re

from dnaio import SequenceRecord

_MATE_NUMBER = re.compile(
    r"""
      (?<=/)[12](?![0-9A-Za-z])                        # read/1, read#0/1, and read/1 with its comment joined to it
    | (?<=[ \t._:\#/-])[12](?=[:._][YN][:._]\d)        # Casava's 1:N:0:ACGT, joined to the name by any separator
    | (?<=[._:/-])R?[12]$                              # read.1, read_1, read:1, read_R1
    | (?<=[._:/-])[FRfr]$                              # read.f and read.r
    """,
    re.VERBOSE,
)
# `fastq-dump --split-files -I` writes SRR1.5.1 for mate 1 of spot 5; its comment may be joined to it.
_SRA_MATE_NUMBER = re.compile(r"^([SED]RR\d+\.\d+)\.[12](?![0-9A-Za-z.])")


def are_mates(first: SequenceRecord, second: SequenceRecord) -> bool:
    """Return whether two reads are mates by their names.

    Names are compared up to the first blank. They must be equal, or differ in the mate number alone: in the last
    character, or where Illumina's and NCBI's tools put it and other tools add to the name.
    """
    return first.is_mate(second) or _without_mate_number(first.id) == _without_mate_number(second.id)


def _without_mate_number(name: str) -> str:
    name = name.strip()
    return _SRA_MATE_NUMBER.sub(r"\1", _MATE_NUMBER.sub("", name))


__all__ = ["are_mates"]

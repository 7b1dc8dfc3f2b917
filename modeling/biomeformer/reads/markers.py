"""Clade marker genes of many species as further genomes to draw reads from."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Set
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..io.compression import open_bytes
from ..io.fasta import FastaError, iter_fasta
from ..io.tables import TableFormat, read_table
from .genomes import GenomeSet

FORMAT = TableFormat("table of marker groups", "it must list group and organism", InputError)
# A contig of a shotgun project, whose first six characters name the project.
_CONTIG_OF_PROJECT = re.compile(r"(?:NZ_)?([A-Z]{4}[0-9]{2})[0-9]{6}")
# Words after a genus that name no species.
_NO_SPECIES = ("sp.", "cf.", "aff.", "bacterium", "genomosp.")


def load_markers(
    fasta: Path, groups: Path, held_out: Set[str] = frozenset(), *, excluded: Collection[str] = (), min_bases: int = 0
) -> GenomeSet:
    """Load the marker genes of each named species that is not of a held-out genus.

    The genes are those of MetaPhlAn2 (Truong et al. 2015, doi:10.1038/nmeth.3589), as in Debian's `metaphlan2-data`.
    Genes of genomes without a known organism are left out, since they may be of a held-out genus.

    Args:
        fasta: FASTA file of genes named as `gi|GI|ref|ACCESSION|:LOCATION`, plain or compressed.
        groups: Table with columns `group` (accession, or shotgun project such as ATVS01) and `organism`.
        held_out: Genera.
        excluded: Species that are left out too, such as those of held-out genera under their former names.
        min_bases: Species with fewer bases are left out.

    Returns:
        One entry per species, its genes joined by N, in the order of the species' names.

    Raises:
        InputError: A file is malformed, no species is left, or an excluded species is not in the table.
    """
    content = read_table(groups, FORMAT)
    content.require(("group", "organism"))
    species_of = {}
    for _, row in content.records():
        if row["organism"]:
            species_of[row["group"]] = species_name(row["organism"])
    unknown = set(excluded) - set(species_of.values())
    if unknown:
        raise InputError(f"{groups} has no species {sorted(unknown)[0]}, which is to be excluded; correct the list.")
    genes: dict[str, list[bytes]] = defaultdict(list)
    try:
        with open_bytes(fasta) as handle:
            for _, header, sequence in iter_fasta(handle):
                species = species_of.get(group_of(header.decode("ascii", "replace")))
                if species is not None and genus_of(species) not in held_out and species not in excluded:
                    genes[species].append(sequence.upper())
    except FastaError as error:
        raise InputError(f"{fasta}, {error}.") from error
    markers = GenomeSet([], [], [], [], [], joins=[])
    assert markers.joins is not None
    for species in sorted(genes):
        if sum(map(len, genes[species])) < max(min_bases, 1):
            continue
        raw = b"N".join(genes[species]) + b"N"
        markers.ids.append(f"markers of {species}")
        markers.species.append(species)
        markers.genera.append(genus_of(species))
        markers.sequences.append(np.frombuffer(raw, np.uint8))
        markers.joins.append(np.cumsum([len(gene) + 1 for gene in genes[species]]) - 1)
        markers.sha256.append(hashlib.sha256(raw).hexdigest())
    if not markers.ids:
        raise InputError(f"{fasta} has no marker genes of a species to use; check that {groups} belongs to it.")
    return markers


def species_name(organism: str) -> str:
    """Return the species of an organism's name: genus and epithet, or the whole name where it has no epithet."""
    words = organism.replace("[", "").replace("]", "").removeprefix("Candidatus ").split()
    if len(words) < 3 or words[1] in _NO_SPECIES:
        return " ".join(words)
    return " ".join(words[:2])


def genus_of(species: str) -> str:
    """Return the genus of a species' name."""
    return species.partition(" ")[0]


def group_of(name: str) -> str:
    """Return the accession or the shotgun project of a marker gene's name; the name itself if it has neither."""
    parts = name.split("|")
    accession = parts[3] if len(parts) > 3 else parts[0]
    project = _CONTIG_OF_PROJECT.match(accession)
    return project[1] if project else accession


__all__ = ["group_of", "load_markers", "species_name"]

"""Catalogs of genomes: their ids, the paths of their files, and their metadata."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ..errors import CohortError, GenomeError, InputError
from ..io.item_ids import check_not_empty, check_table_id
from ..io.tables import TableFormat, read_table
from ..reads.cohort import check_own_files
from .genome import Genome
from .reading import KINDS, fasta_beside, genome_name, has_gff_name, needed_fasta, read_genome

GENOME_ID = "genome_id"
FILE_COLUMNS = (*KINDS, "file", "annotations")
ADVICE = "give a CSV or TSV with the columns genome_id and fasta (or genbank, gff, proteins)"
FORMAT = TableFormat("table of genomes", ADVICE, CohortError)


@dataclass(frozen=True)
class CatalogedGenome:
    """One row of a catalog.

    Attributes:
        genome_id: Unique within the catalog and usable as a file name.
        path: FASTA, GenBank, GFF3, or FASTA of proteins.
        kind: One of `KINDS`, or None to detect it from the file.
        fasta: FASTA with the contigs of a GFF3 file that does not hold them.
        annotations: Table of annotations by gene.
        metadata: Values of the other columns, as text.
        beside: FASTA beside a GFF3 file that does not hold its contigs, which `read` finds if `fasta` is None.
    """

    genome_id: str
    path: Path
    kind: str | None = None
    fasta: Path | None = None
    annotations: Path | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    beside: Path | None = None

    @property
    def item_id(self) -> str:
        """The genome's id, as an item of a run."""
        return self.genome_id

    def files(self) -> tuple[Path, ...]:
        """Return the paths of all files of the genome."""
        return tuple(path for path in (self.path, self.fasta, self.beside, self.annotations) if path is not None)

    def own_files(self) -> tuple[Path, ...]:
        """Return the paths of the files that hold the genome alone: all but the annotations."""
        return tuple(path for path in (self.path, self.fasta, self.beside) if path is not None)

    def read(self, *, translation_table: int = 11, threads: int = 1) -> Genome:
        """Read the genome; see `read_genome` for the options and errors."""
        return read_genome(
            self.path,
            genome_id=self.genome_id,
            kind=self.kind,
            fasta=self.fasta,
            annotations=self.annotations,
            translation_table=translation_table,
            threads=threads,
        )


@dataclass(frozen=True)
class GenomeCatalog:
    """Genomes in the order of the table.

    Attributes:
        samples: The genomes.
        columns: Names of the metadata columns.
        path: The table's path, or None if there is no table.
        allow_shared_files: Whether genomes may have a file in common, or files that are equal, beside annotations.
    """

    samples: tuple[CatalogedGenome, ...]
    columns: tuple[str, ...] = ()
    path: Path | None = None
    allow_shared_files: bool = False

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[CatalogedGenome]:
        return iter(self.samples)

    @property
    def root(self) -> Path | None:
        """The folder that paths in the table are relative to."""
        return None if self.path is None else self.path.parent

    def metadata(self) -> pd.DataFrame:
        """Return the metadata columns as text, one row per genome, indexed by `genome_id`."""
        index = pd.Index([genome.genome_id for genome in self.samples], name=GENOME_ID, dtype=object)
        rows = [[genome.metadata[column] for column in self.columns] for genome in self.samples]
        return pd.DataFrame(rows, index=index, columns=list(self.columns), dtype=object)

    @classmethod
    def from_files(cls, paths: Sequence[str | Path]) -> GenomeCatalog:
        """Build a catalog of files, whose names become the genomes' ids (see `genome_name`).

        Args:
            paths: One file per genome.

        Raises:
            InputError: Two genomes have the same id, or a file does not exist.
        """
        path_of: dict[str, Path] = {}
        for path in map(Path, paths):
            name = genome_name(path)
            if name in path_of:
                pair = (path, path_of[name])
                is_sequence = any(one in fasta_beside(other) for one, other in (pair, pair[::-1]))
                advice = " If one is the sequence of the other, give the GFF3 file alone." if is_sequence else ""
                raise InputError(f"{path} and {path_of[name]} are both called {name!r}; rename one.{advice}")
            if not path.is_file():
                raise InputError(f"{path}: there is no such file; check the path.")
            path_of[name] = path
        return cls(tuple(CatalogedGenome(name, path, beside=_beside(path)) for name, path in path_of.items()))

    @classmethod
    def of_files(cls, paths: Sequence[str | Path]) -> GenomeCatalog:
        """Build a catalog of files. Deprecated: the old name of `from_files`."""
        warnings.warn(
            "GenomeCatalog.of_files is now called from_files. The old name goes with the next version.",
            DeprecationWarning,
            stacklevel=2,
        )
        return cls.from_files(paths)


def read_catalog(path: str | Path, *, allow_shared_files: bool = False) -> GenomeCatalog:
    """Read a catalog of genomes from a table, and check that every file it names exists.

    The table is a CSV or TSV, as `biomeformer.io.tables` reads them, with the column `genome_id` and one or more of
    `fasta`, `genbank`, `gff` (together with `fasta` if the GFF3 file does not hold the sequence and no FASTA of its
    name is beside it), `proteins`, or `file` (any of these kinds); each row has a value in one of them. `annotations`
    may name a table of annotations by gene.
    Paths are relative to the table's folder. Other columns, such as the habitat, are kept as text.

    Args:
        path: Path of the table.
        allow_shared_files: Whether genomes may have a file in common, or files that are equal, beside annotations. In
            genomes that are divided into folds, one would leak into the other.

    Raises:
        CohortError: The table is malformed or names a file that does not exist; line and column are named.
    """
    content = read_table(path, FORMAT)
    table, names = content.path, content.columns
    if GENOME_ID not in names or not any(name in names for name in (*KINDS, "file")):
        raise CohortError(f"{table}, header: {', '.join(names)} lack genome_id or where the genomes lie; {ADVICE}")
    columns = tuple(name for name in names if name not in (GENOME_ID, *FILE_COLUMNS))
    for line, row in content.records():
        check_table_id(f"{table}, line {line}", row[GENOME_ID], GENOME_ID)
    content.require_unique(GENOME_ID, "give each genome one row")
    check_not_empty(content, GENOME_ID, "genomes")
    genomes = [_genome(table, f"{table}, line {line}", row, columns) for line, row in content.records()]
    if not allow_shared_files:
        check_own_files(content, [(genome.genome_id, genome.own_files()) for genome in genomes], "genomes")
    return GenomeCatalog(tuple(genomes), columns, table, allow_shared_files)


def _genome(table: Path, where: str, row: dict[str, str], columns: Sequence[str]) -> CatalogedGenome:
    """Return the genome of a row; `where` names the row in errors."""
    given = {name: table.parent / row[name] for name in FILE_COLUMNS if row.get(name)}
    for name, path in given.items():
        # `Path.is_file` raises an error for a path that is too long.
        if not os.path.isfile(path):
            raise CohortError(
                f"{where}, column {name}: there is no file {path}; correct the path, which is relative to the table's "
                "folder"
            )
    kinds = [name for name in (*KINDS, "file") if name in given]
    if kinds == ["fasta", "file"] and has_gff_name(given["file"]):
        given["gff"] = given.pop("file")
        kinds = ["fasta", "gff"]
    if "gff" in kinds and "fasta" in kinds:
        # The FASTA is the sequence of the GFF3 file, not a genome of its own.
        kinds.remove("fasta")
    if len(kinds) != 1:
        filled = " and ".join(kinds) or "none"
        raise CohortError(f"{where}: of {', '.join((*KINDS, 'file'))} {filled} are filled; name one file per genome")
    kind = kinds[0]
    fasta = given.get("fasta") if kind == "gff" else None
    return CatalogedGenome(
        row[GENOME_ID],
        given[kind],
        None if kind == "file" else kind,
        fasta,
        given.get("annotations"),
        {column: row[column] for column in columns},
        _beside(given[kind]) if fasta is None else None,
    )


def _beside(path: Path) -> Path | None:
    """Return the FASTA beside a file, if it is a GFF3 file that needs one; None if it cannot be read."""
    try:
        return needed_fasta(path)
    except GenomeError:
        # Reported as the failure of this genome, when it is read.
        return None


__all__ = ["CatalogedGenome", "GenomeCatalog", "read_catalog"]

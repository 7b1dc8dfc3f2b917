"""Simulated reads of real species tables, for the benchmarks."""

from __future__ import annotations

import csv
import gzip
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from biomeformer.io.atomic import atomic_directory

COLUMNS = ("genome_id", "species", "genus", "file")
TO_N = bytes(code if not 65 <= code <= 90 or chr(code) in "ACGT" else ord("N") for code in range(256))


def simulated_cohort(
    folder: Path,
    *,
    simulator: Path,
    cohorts: Path,
    name: str,
    genomes: Path | Sequence[Path],
    genome_ids: Sequence[str] | None = None,
    n_reads: int,
    seed: int,
    read_length: int = 150,
) -> Path:
    """A folder with `cohort.csv`, reads and `truth.tsv.gz` of a real species table, made unless it is there.

    Args:
        folder: Where it is kept.
        simulator: A script that draws reads of genomes by a species table.
        cohorts: Folder of the tables and labels.
        name: Of the cohort.
        genomes: Folder of the genomes, with `genomes.tsv`, or several.
        genome_ids: Those to draw from; all by default.
        n_reads: Reads a sample.
        seed: Of the simulation.
        read_length: Bases of a read.
    """
    if not folder.is_dir():
        with atomic_directory(folder) as partial:
            (partial / "genomes").mkdir()
            folders = [genomes] if isinstance(genomes, Path) else genomes
            n_genomes = _link_genomes(folders, partial / "genomes", genome_ids)
            table, labels = (cohorts / f"{name}.{suffix}" for suffix in ("species_abundance.tsv.gz", "samples.tsv"))
            numbers = ["--reads", str(n_reads), "--species", str(min(100, n_genomes)), "--seed", str(seed)]
            numbers += ["--length", str(read_length)]
            paths = ["--table", table, "--labels", labels, "--genomes", partial / "genomes", "--out", partial / "reads"]
            subprocess.run([sys.executable, simulator, *map(str, paths), *numbers], check=True)
            shutil.rmtree(partial / "genomes")
    return folder / "reads"


def _link_genomes(folders: Sequence[Path], folder: Path, genome_ids: Sequence[str] | None) -> int:
    """The genomes wanted, with letters the simulator knows; gives how many."""
    rows: list[tuple[Path, dict[str, str]]] = []
    for genomes in folders:
        with (genomes / "genomes.tsv").open(newline="") as handle:
            listed = csv.DictReader(handle, delimiter="\t")
            rows += [(genomes, {name: row[name] for name in COLUMNS}) for row in listed]
    rows = [row for row in rows if genome_ids is None or row[1]["genome_id"] in set(genome_ids)]
    with (folder / "genomes.tsv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, delimiter="\t")
        writer.writeheader()
        writer.writerows(row for _, row in rows)
    for genomes, row in rows:
        source = (genomes / row["file"]).resolve()
        lines = gzip.decompress(source.read_bytes()).split(b"\n")
        # The simulator complements A, C, G, T and N alone, so other IUPAC codes must not reach it.
        if any(line.translate(None, b"ACGTNacgtn\r") for line in lines if not line.startswith(b">")):
            clean = [line if line.startswith(b">") else line.upper().translate(TO_N) for line in lines]
            (folder / row["file"]).write_bytes(gzip.compress(b"\n".join(clean), 1))
        else:
            (folder / row["file"]).symlink_to(source)
    return len(rows)

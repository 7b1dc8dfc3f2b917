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

TO_N = bytes(code if not 65 <= code <= 90 or chr(code) in "ACGT" else ord("N") for code in range(256))


def simulated_cohort(
    folder: Path,
    *,
    simulator: Path,
    cohorts: Path,
    name: str,
    genomes: Path,
    genome_ids: Sequence[str] | None = None,
    n_reads: int,
    seed: int,
) -> Path:
    """A folder with `cohort.csv`, reads and `truth.tsv.gz` of a real species table, made unless it is there.

    Args:
        folder: Where it is kept.
        simulator: A script that draws reads of genomes by a species table.
        cohorts: Folder of the tables and labels.
        name: Of the cohort.
        genomes: Folder of the genomes, with `genomes.tsv`.
        genome_ids: Those to draw from; all by default.
        n_reads: Reads a sample.
        seed: Of the simulation.
    """
    if not folder.is_dir():
        with atomic_directory(folder) as partial:
            (partial / "genomes").mkdir()
            n_genomes = _link_genomes(genomes, partial / "genomes", genome_ids)
            table, labels = (cohorts / f"{name}.{suffix}" for suffix in ("species_abundance.tsv.gz", "samples.tsv"))
            numbers = ["--reads", str(n_reads), "--species", str(min(100, n_genomes)), "--seed", str(seed)]
            paths = ["--table", table, "--labels", labels, "--genomes", partial / "genomes", "--out", partial / "reads"]
            subprocess.run([sys.executable, simulator, *map(str, paths), *numbers], check=True)
            shutil.rmtree(partial / "genomes")
    return folder / "reads"


def _link_genomes(genomes: Path, folder: Path, genome_ids: Sequence[str] | None) -> int:
    """The genomes wanted, with letters the simulator knows; gives how many."""
    with (genomes / "genomes.tsv").open(newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    rows = [row for row in rows if genome_ids is None or row["genome_id"] in set(genome_ids)]
    with (folder / "genomes.tsv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        source = (genomes / row["file"]).resolve()
        lines = gzip.decompress(source.read_bytes()).split(b"\n")
        # The simulator complements A, C, G, T and N alone, so other IUPAC codes must not reach it.
        if any(line.translate(None, b"ACGTNacgtn\r") for line in lines if not line.startswith(b">")):
            clean = [line if line.startswith(b">") else line.upper().translate(TO_N) for line in lines]
            (folder / row["file"]).write_bytes(gzip.compress(b"\n".join(clean), 1))
        else:
            (folder / row["file"]).symlink_to(source)
    return len(rows)

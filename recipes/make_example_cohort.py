"""Simulate the example cohort that ships in the package.

Twelve paired samples in two groups are simulated from genomes of host-associated species: a group's mean community, a
Dirichlet draw around it for each sample, a multinomial draw of read pairs, and short reads with substitution errors
from both ends of fragments of either strand. The same arguments give the same bytes.

    python recipes/make_example_cohort.py --genomes GENOMES --output modeling/biomeformer/example_cohort

GENOMES holds one FASTA per genome and `genomes.tsv` with the columns genome_id, species and file, and must include all
species below.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biomeformer.io.compression import open_bytes
from biomeformer.io.fasta import iter_fasta
from biomeformer.io.tables import read_table
from biomeformer.runs.process_group import ProcessGroup
from biomeformer.training.command import run_main

# Relative weights in the control community, and their ratios in the case community to these.
COMMUNITY: dict[str, tuple[float, float]] = {
    "Bacteroides fragilis": (12, 0.4),
    "Segatella copri": (10, 0.3),
    "Parabacteroides distasonis": (7, 0.5),
    "Parabacteroides merdae": (6, 0.5),
    "Akkermansia muciniphila": (6, 0.3),
    "Bifidobacterium longum": (8, 0.4),
    "[Eubacterium] siraeum": (7, 0.4),
    "Clostridium sp. SY8519": (5, 1),
    "Dialister sp.": (3, 1),
    "Escherichia coli": (4, 3),
    "Klebsiella pneumoniae": (1, 8),
    "Salmonella enterica": (0.2, 1),
    "Enterococcus faecalis": (1, 6),
    "Enterococcus faecium": (0.5, 6),
    "Clostridioides difficile": (0.3, 4),
    "Streptococcus salivarius": (2, 4),
    "Streptococcus mitis": (0.5, 3),
    "Streptococcus oralis": (0.5, 3),
    "Haemophilus parainfluenzae": (1, 3),
    "Lactobacillus gasseri": (0.7, 2),
    "Lactobacillus johnsonii": (0.5, 1),
    "Limosilactobacillus reuteri": (0.5, 1),
    "Limosilactobacillus fermentum": (0.5, 2),
    "Lacticaseibacillus rhamnosus": (0.5, 1),
    "Olsenella uli": (0.5, 1),
    "Rothia mucilaginosa": (0.3, 2),
    "Methanobrevibacter ruminantium": (1, 1),
    "Methanomassiliicoccus sp.": (0.3, 1),
    "Helicobacter pylori": (0.2, 1),
    "Staphylococcus epidermidis": (0.2, 1),
}
GROUPS = ("control", "case")
COMPLEMENT = np.arange(256, dtype=np.uint8)
COMPLEMENT[list(b"ACGT")] = list(b"TGCA")
BASES = np.frombuffer(b"ACGT", np.uint8)


@dataclass(frozen=True)
class Simulation:
    """Parameters of the simulation.

    Attributes:
        n_samples: Samples per group.
        n_pairs: Read pairs per sample.
        read_length: Shortest and longest read, in bases.
        fragment_length: Mean and standard deviation, in bases.
        error_rate: Fraction of bases substituted.
        concentration: Concentration of the Dirichlet draw; the higher, the more similar the samples of a group.
        seed: Seed of all random choices.
    """

    n_samples: int = 6
    n_pairs: int = 2_500
    read_length: tuple[int, int] = (100, 150)
    fragment_length: tuple[float, float] = (320.0, 40.0)
    error_rate: float = 0.005
    concentration: float = 120.0
    seed: int = 2026


def read_genome(path: Path) -> list[np.ndarray]:
    """Read the contigs of a genome as upper-case ASCII, uint8."""
    with open_bytes(path) as handle:
        return [np.frombuffer(sequence.upper(), np.uint8) for _, _, sequence in iter_fasta(handle)]


def draw_pair(contigs: list[np.ndarray], simulation: Simulation, rng: np.random.Generator) -> tuple[bytes, bytes]:
    """Draw mates from the two ends of a fragment without ambiguous bases, on a random strand."""
    low, high = simulation.read_length
    sizes = np.array([len(contig) for contig in contigs], float)
    while True:
        length = max(int(rng.normal(*simulation.fragment_length)), high)
        contig = contigs[rng.choice(len(contigs), p=sizes / sizes.sum())]
        if len(contig) < length:
            continue
        start = rng.integers(0, len(contig) - length + 1)
        fragment = contig[start : start + length].copy()
        if not np.isin(fragment, BASES).all():
            continue
        wrong = rng.random(length) < simulation.error_rate
        fragment[wrong] = rng.choice(BASES, int(wrong.sum()))
        reverse = COMPLEMENT[fragment][::-1]
        mates = (fragment, reverse) if rng.random() < 0.5 else (reverse, fragment)
        first, second = (mate[: rng.integers(low, high + 1)].tobytes() for mate in mates)
        return first, second


def group_means() -> dict[str, np.ndarray]:
    """Return the mean community of each group: shares in the order of `COMMUNITY`."""
    weights, ratios = np.array(list(COMMUNITY.values())).T
    means = {"control": weights, "case": weights * ratios}
    return {group: mean / mean.sum() for group, mean in means.items()}


def write_fastq(path: Path, sample_id: str, mate: int, reads: list[bytes]) -> None:
    """Write gzipped FASTQ with constant quality and no time stamp."""
    records = (b"@%s.%d/%d\n%s\n+\n%s\n" % (sample_id.encode(), i, mate, r, b"I" * len(r)) for i, r in enumerate(reads))
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as handle:
        handle.write(b"".join(records))


def make_cohort(genomes: Path, output: Path, simulation: Simulation) -> None:
    """Write `cohort.csv`, the reads and `true_abundance.csv` to a folder."""
    rows = {row["species"]: row for _, row in read_table(genomes / "genomes.tsv").records()}
    missing = sorted(set(COMMUNITY) - set(rows))
    if missing:
        raise SystemExit(f"{genomes / 'genomes.tsv'} lacks {', '.join(missing)}; give genomes of these species.")
    contigs = {name: read_genome(genomes / rows[name]["file"]) for name in COMMUNITY}
    genome_bases = np.array([sum(map(len, contigs[name])) for name in COMMUNITY])
    (output / "reads").mkdir(parents=True, exist_ok=True)
    cohort, truth = [], []
    for group in GROUPS:
        for number in range(1, simulation.n_samples + 1):
            sample_id = f"{group}_{number:02d}"
            rng = np.random.default_rng([simulation.seed, zlib.crc32(sample_id.encode())])
            abundance = rng.dirichlet(group_means()[group] * simulation.concentration)
            age = int(rng.integers(25, 75))
            # Abundance is in cells, so reads are also proportional to genome length.
            counts = rng.multinomial(simulation.n_pairs, abundance * genome_bases / (abundance * genome_bases).sum())
            names = rng.permutation(np.repeat(list(COMMUNITY), counts))
            pairs = [draw_pair(contigs[name], simulation, rng) for name in names]
            files = []
            for mate in (1, 2):
                files.append(f"reads/{sample_id}_R{mate}.fastq.gz")
                write_fastq(output / files[-1], sample_id, mate, [pair[mate - 1] for pair in pairs])
            cohort.append([sample_id, *files, group, age])
            truth.append([sample_id, *(f"{share:.5f}" for share in abundance)])
    tables = (
        ("cohort.csv", ["sample_id", "fastq_1", "fastq_2", "group", "age"], cohort),
        ("true_abundance.csv", ["sample_id", *COMMUNITY], truth),
    )
    for name, header, lines in tables:
        with (output / name).open("w", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(lines)
    (output / "README.md").write_text(readme(simulation, {name: rows[name]["genome_id"] for name in COMMUNITY}))


def readme(simulation: Simulation, genome_ids: dict[str, str]) -> str:
    """Return the cohort's description, from the parameters of the simulation."""
    means = group_means()
    table = "\n".join(
        f"| {name} | {genome_ids[name]} | {100 * control:.1f} | {100 * case:.1f} |"
        for name, control, case in zip(COMMUNITY, means["control"], means["case"], strict=True)
    )
    shortest, longest = simulation.read_length
    fragment, deviation = simulation.fragment_length
    return f"""# Example cohort (simulated)

**No sample here comes from a person.** {2 * simulation.n_samples} paired samples, {simulation.n_samples} a group, were
simulated by `recipes/make_example_cohort.py` with seed {simulation.seed}: {simulation.n_pairs:,} pairs each, reads of
{shortest} to {longest} bases from fragments of {fragment:.0f} (sd {deviation:.0f}), {simulation.error_rate:.1%}
substitutions, constant quality. The groups were made to differ, so that there is something to see; what they show
says nothing of any disease, and is no test of a model: genomes of these species may well be among those it learnt from.

- `cohort.csv`: sample_id, fastq_1, fastq_2, `group` (control or case), `age` (simulated: even from 25 to 74, without
  effect).
- `true_abundance.csv`: each sample's community, shares of cells: a Dirichlet draw around its group's mean
  (concentration {simulation.concentration:g}). A genome gives reads in proportion to its share and its length.

Mean communities, in percent of cells:

| species | genome | control | case |
|---|---|---|---|
{table}

The genomes are public RefSeq/GenBank records. The simulated reads and tables are the project's own, under Apache-2.0.
"""


def main(arguments: list[str] | None = None) -> int:
    """Parse arguments and write the cohort; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genomes", type=Path, required=True, help="folder with genomes.tsv")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--n-pairs", type=int, default=Simulation.n_pairs, help="read pairs of a sample")
    parser.add_argument("--seed", type=int, default=Simulation.seed)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(arguments)

    def work(args: argparse.Namespace, processes: ProcessGroup) -> None:
        make_cohort(args.genomes, args.output, Simulation(n_pairs=args.n_pairs, seed=args.seed))

    return run_main(work, args, "give the same command again")


if __name__ == "__main__":
    sys.exit(main())

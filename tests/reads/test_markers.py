"""Marker genes as further species: what is left out, and that reads lie within genes."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from biomeformer.errors import InputError
from biomeformer.reads import GenomeSet
from biomeformer.reads.markers import group_of, load_markers, species_name

ROOT = Path(__file__).resolve().parents[2]
ORGANISMS = {
    "NC_000001.1": "Alpha prima str. 1",
    "ABCD01": "Alpha prima 98/2",
    "NC_000002.1": "[Beta] secunda ATCC 7",
    "NC_000003.1": "Gamma tertia",
    "NC_000004.1": "Gamma sp. B9",
    "NC_000005.1": "",
}


def gene(seed, length):
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), length))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """FASTA, table, and the genes by accession."""
    folder = tmp_path_factory.mktemp("markers")
    names = {
        "gi|1|ref|NC_000001.1|:c900-1": gene(0, 400),
        "gi|2|ref|NZ_ABCD01000007.1|:1-500": gene(1, 500),
        "gi|3|ref|NC_000002.1|:5-404": gene(2, 400).lower(),
        "gi|4|ref|NC_000003.1|:5-404": gene(3, 600),
        "gi|5|ref|NC_000004.1|:5-404": gene(4, 90),
        "gi|6|ref|NC_000005.1|:5-404": gene(5, 400),
        "GeneID:912116": gene(6, 400),
    }
    with gzip.open(folder / "markers.fasta.gz", "wt") as handle:
        for name, sequence in names.items():
            lines = [sequence[i : i + 60] for i in range(0, len(sequence), 60)]
            handle.write(f">{name}\n" + "\n".join(lines) + "\n")
    rows = "".join(f"{group}\t{organism}\n" for group, organism in ORGANISMS.items())
    (folder / "groups.tsv").write_text(f"group\torganism\n{rows}")
    return folder / "markers.fasta.gz", folder / "groups.tsv", names


def test_one_entry_per_named_species_with_its_genes(files):
    fasta, table, names = files
    markers = load_markers(fasta, table)
    assert markers.species == ["Alpha prima", "Beta secunda", "Gamma sp. B9", "Gamma tertia"]
    assert markers.genera == ["Alpha", "Beta", "Gamma", "Gamma"]
    genes = list(names.values())
    assert markers.sequences[0].tobytes().decode() == f"{genes[0]}N{genes[1]}N"
    assert markers.sequences[1].tobytes().decode() == f"{genes[2].upper()}N"
    assert markers.joins[0].tolist() == [400, 901]
    assert load_markers(fasta, table, {"Gamma"}).genera == ["Alpha", "Beta"]
    assert load_markers(fasta, table, excluded=["Beta secunda"], min_bases=100).species == [
        "Alpha prima",
        "Gamma tertia",
    ]
    with pytest.raises(InputError, match="no species Delta quarta"):
        load_markers(fasta, table, excluded=["Delta quarta"])
    with pytest.raises(InputError, match="no marker genes"):
        load_markers(fasta, table, {"Alpha", "Beta", "Gamma"})


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("gi|345004010|ref|NC_015954.1|:c1336247-1335993", "NC_015954.1"),
        ("gi|551035712|ref|NZ_ATVS01000036.1|:5729-6526", "ATVS01"),
        ("gi|425454496|ref|NZ_HE973335.1|:c8212-7826", "NZ_HE973335.1"),
        ("GeneID:2877191", "GeneID:2877191"),
    ],
)
def test_groups_of_published_names(name, group):
    assert group_of(name) == group


@pytest.mark.parametrize(
    ("organism", "species"),
    [
        ("Saccharolobus solfataricus 98/2", "Saccharolobus solfataricus"),
        ("[Clostridium] sticklandii DSM 519", "Clostridium sticklandii"),
        ("Prevotella sp. MSX73", "Prevotella sp. MSX73"),
        ("Candidatus Liberibacter asiaticus str. psy62", "Liberibacter asiaticus"),
    ],
)
def test_species_of_published_organisms(organism, species):
    assert species_name(organism) == species


def test_reads_lie_within_genes(files):
    fasta, table, _ = files
    markers = load_markers(fasta, table, excluded=["Gamma sp. B9"])
    flat, offsets = markers.draw(np.zeros(500, int), (150, 150), 0.0, np.random.default_rng(0))
    assert not (flat == ord("N")).any() and len(offsets) == 501
    genomes = GenomeSet(["g"], ["G g"], ["G"], [np.frombuffer(gene(9, 3000).encode(), np.uint8)], ["0"])
    both = genomes + markers
    assert both.species == ["G g", *markers.species] and both.joins is not None and len(both.joins[0]) == 0
    flat, _ = both.draw(np.array([0, 1, 2, 3] * 50), (150, 150), 0.0, np.random.default_rng(0))
    assert not (flat == ord("N")).any()


def test_the_real_markers_leave_out_held_out_genera(shared_data):
    """Every group of the published table that names a held-out genus is left out by name."""
    held_out = set((ROOT / "recipes" / "configs" / "held_out_genera.txt").read_text().split())
    with gzip.open(shared_data / "marker_groups.tsv.gz", "rt", newline="") as handle:
        organisms = [row["organism"] for row in csv.DictReader(handle, delimiter="\t") if row["organism"]]
    names = {species_name(organism) for organism in organisms}
    assert len(names) > 2_000
    kept = {name for name in names if name.partition(" ")[0] not in held_out}
    assert not any(genus in name.split() for name in kept for genus in held_out)

"""Read GenBank flat files."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from ..errors import GenomeError
from ..io.nucleotides import translate
from .genome import Gene

ANNOTATIONS = ("gene", "product", "protein_id", "EC_number", "db_xref", "note")


def read_genbank(path: Path, text: str) -> tuple[dict[str, str], list[Gene], int]:
    """Read the contigs and the protein-coding genes.

    Proteins are taken from the file (`/translation`); where it has none, they are translated with the gene's own table.

    Args:
        path: The file, for messages.
        text: Its content.

    Returns:
        Contigs by name, in upper case, U as T; genes; and the number of pseudogenes, which are not among the genes.

    Raises:
        GenomeError: The text is not a GenBank file, a record has no sequence, or two have the same name.
    """
    from Bio import BiopythonWarning, SeqIO
    from Bio.Seq import UndefinedSequenceError

    contigs: dict[str, str] = {}
    genes: list[Gene] = []
    n_pseudo = 0
    try:
        with warnings.catch_warnings():
            # Biopython warns of details of the layout that do not matter here.
            warnings.simplefilter("ignore", BiopythonWarning)
            records = list(SeqIO.parse(io.StringIO(text), "genbank"))
    except (ValueError, AssertionError, KeyError, IndexError) as error:
        raise GenomeError(f"{path} is no GenBank file that can be read ({' '.join(str(error).split())}).") from error
    if not records:
        raise GenomeError(f"{path} has no GenBank record; one begins with LOCUS.")
    for record in records:
        name = record.id if record.id not in ("", "<unknown id>", ".") else record.name
        if name in contigs:
            raise GenomeError(f"{path}: the record {name!r} stands there twice; give each a name of its own.")
        try:
            contigs[name] = str(record.seq).upper().replace("U", "T")
        except UndefinedSequenceError:
            raise GenomeError(
                f"{path}, record {name!r}: it has no sequence (a CONTIG line alone?); fetch the full record."
            ) from None
        coding = []
        for feature in record.features:
            if feature.type != "CDS":
                continue
            qualifiers = feature.qualifiers
            if "pseudo" in qualifiers or "pseudogene" in qualifiers:
                n_pseudo += 1
                continue
            coding.append(feature)
        for number, feature in enumerate(sorted(coding, key=lambda feature: int(feature.location.start)), 1):
            qualifiers, location = feature.qualifiers, feature.location
            # A location such as <1..200: the gene goes on beyond the contig.
            partial = "<" in str(location) or ">" in str(location)
            if "translation" in qualifiers:
                protein = "".join(qualifiers["translation"][0].split())
            else:
                offset = int(qualifiers.get("codon_start", ["1"])[0]) - 1
                bases = str(feature.extract(record.seq)).upper()[offset:]
                protein = translate(
                    bases, int(qualifiers.get("transl_table", ["11"])[0]), has_start=not offset and not partial
                )
            names = [qualifiers[key][0] for key in ("locus_tag", "protein_id") if key in qualifiers]
            genes.append(
                Gene(
                    gene_id=names[0] if names else f"{name}_{number}",
                    contig=name,
                    start=int(location.start) + 1,
                    end=int(location.end),
                    strand=int(location.strand or 0),
                    protein=protein,
                    source="annotated",
                    partial=partial,
                    annotations={key: "; ".join(qualifiers[key]) for key in ANNOTATIONS if key in qualifiers},
                )
            )
    return contigs, genes, n_pseudo


__all__ = ["read_genbank"]

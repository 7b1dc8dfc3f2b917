"""Read GenBank flat files.

Biopython reads much that is damaged with a warning, or with none, and what is lost are genes. So the layout is checked
beside it: a file that was cut, and a coding sequence that cannot be located or translated, is an error.
"""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import GenomeError, InputError, reason_of
from ..io.nucleotides import codon_table, translate
from .fasta import NOT_NUCLEOTIDE, NOT_RESIDUE
from .genome import Gene

ANNOTATIONS = ("gene", "product", "protein_id", "EC_number", "db_xref", "note")
GAP = re.compile(r"[-.]")
LOCUS_LINE = re.compile(r"^LOCUS\b.*", re.M)
# Its date on a line of its own, as of Prokka where the name is long.
BROKEN_LOCUS = re.compile(r"^(LOCUS\b.*)\n[ \t]*(\d\d-[A-Z]{3}-\d{4})[ \t]*$", re.M | re.I)
SEQUENCE_PART = re.compile(r"^ORIGIN\b.*\n", re.M)
END_LINE = re.compile(r"^//[ \t\r]*$", re.M)
CODING_LINE = re.compile(r"^ {1,20}CDS\s+\S", re.M)
# What a record has and the head of a release of the database has not.
RECORD_PART = re.compile(r"^(FEATURES|ORIGIN|DEFINITION|ACCESSION)\b", re.M)
# The head of the feature table, and of what may follow it.
FEATURES_LINE = re.compile(r"^FEATURES\b.*\n?", re.M)
NEXT_PART = re.compile(r"^(ORIGIN|CONTIG|WGS|TSA|TLS|BASE COUNT|PRIMARY|COMMENT)", re.M)
# A feature's key, or a line of its qualifiers, which stand from column 22.
FEATURE_LINE = re.compile(r"\s*$| {1,20}[\w'*.+-]+\s+[^/\s]| {21,}(?!/\w*\s+/\w+=)\S")
ORIGIN_LINE = re.compile(r"^ORIGIN\b.*\n?", re.M)
SEQUENCE_LINE = re.compile(r"\s*(\d+)\s+([A-Za-z*.\-\s]*)")
CODING_QUALIFIERS = ("codon_start", "transl_table")
LOCUS_ADVICE = "rename the contigs to 16 letters or fewer and annotate them again, or give the .gff of the annotation"
SINGLE_QUALIFIERS = ("locus_tag", "protein_id", "translation", *CODING_QUALIFIERS)
# Warnings of Biopython's that say that part of a record was not read. Those of locations come with features of any
# kind; coding sequences are checked one by one.
LOSS = re.compile(r"too short to contain a feature|premature end|over indented", re.I)


def read_genbank(
    path: Path, text: str, translation_table: int = 11
) -> tuple[dict[str, str], list[Gene], int, tuple[str, ...]]:
    """Read the contigs and the protein-coding genes.

    Proteins are taken from the file (`/translation`); where it has none, they are translated with the gene's own table.

    Args:
        path: The file, for messages.
        text: Its content.
        translation_table: Number of NCBI's translation table, of genes without `transl_table`.

    Returns:
        Contigs by name, in upper case, U as T; genes; the number of pseudogenes, which are not among the genes; and
        remarks on details of the layout, with their counts.

    Raises:
        GenomeError: The text is not a GenBank file; a record is cut, has no sequence, or has another's name; or a
            coding sequence cannot be located or translated.
    """
    chunks = _split_records(path, text)
    messages: Counter[str] = Counter()
    contigs: dict[str, str] = {}
    genes: list[Gene] = []
    n_pseudo = 0
    for chunk in chunks:
        chunk = _separate_locus(path, chunk)
        record = _parse(path, chunk, messages)
        name = record.id if record.id not in ("", "<unknown id>", ".") else record.name
        where = f"{path}, record {name!r}"
        if name in contigs:
            raise GenomeError(f"{path}: the record {name!r} stands there twice; give each a name of its own.")
        contigs[name] = _sequence(where, record)
        if not _has_stated_length(where, chunk, len(contigs[name])):
            messages["LOCUS line without a length, so that it is unknown whether the sequence is complete"] += 1
        _check_features(where, chunk)
        _check_origin(where, chunk)
        coding = [feature for feature in record.features if feature.type == "CDS"]
        n_lines = len(CODING_LINE.findall(chunk))
        if len(coding) != n_lines:
            raise GenomeError(
                f"{where}: {len(coding)} of {n_lines} coding sequences (CDS) can be read; copy the file again."
            )
        _check_qualifiers(where, record.features, messages)
        kept = [feature for feature in coding if not {"pseudo", "pseudogene"} & feature.qualifiers.keys()]
        n_pseudo += len(coding) - len(kept)
        for number, feature in enumerate(kept, 1):
            _check_location(f"{where}, {_feature_name(feature, number)}", feature.location, len(contigs[name]))
        for number, feature in enumerate(sorted(kept, key=lambda feature: int(feature.location.start)), 1):
            genes.append(
                _gene(f"{where}, {_feature_name(feature, number)}", name, number, feature, record, translation_table)
            )
    notes = tuple(f"{message} ({count} times)" if count > 1 else message for message, count in messages.items())
    return contigs, genes, n_pseudo, notes


def _split_records(path: Path, text: str) -> list[str]:
    """Return the text of each record.

    Raises:
        GenomeError: A record has no beginning or no end.
    """
    *chunks, rest = END_LINE.split(text)
    if rest.strip():
        locus = LOCUS_LINE.search(rest)
        what = f"record {_locus_name(locus.group())!r}" if locus else "the text after the last record"
        raise GenomeError(f"{path}, {what}: no // ends it, so the GenBank file is cut; copy it again from its source.")
    for number, chunk in enumerate(chunks):
        lines = list(LOCUS_LINE.finditer(chunk))
        before = chunk[: lines[0].start()] if lines else chunk
        if not lines or (before.strip() and (number or RECORD_PART.search(before))):
            raise GenomeError(
                f"{path}: record {number + 1} does not begin with LOCUS, so the GenBank file is damaged; copy it again "
                "from its source."
            )
        if len(lines) > 1:
            raise GenomeError(
                f"{path}, record {_locus_name(lines[0].group())!r}: no // ends it before the next LOCUS, so the "
                "GenBank file is damaged; copy it again from its source."
            )
    if not chunks:
        raise GenomeError(f"{path} has no GenBank record; one begins with LOCUS.")
    return chunks


def _separate_locus(path: Path, chunk: str) -> str:
    """Return a record with a LOCUS line in which name and length are two words, and the date is not a line of its own.

    Prokka writes the two together where a name is long, such as SPAdes' (`NODE_1_length_500_cov_1.25 500 bp`). The
    length is known from the sequence, with which the word must end.

    Raises:
        GenomeError: The word does not end with the length of the sequence.
    """
    chunk = BROKEN_LOCUS.sub(r"\1 \2", chunk, count=1)
    line = LOCUS_LINE.search(chunk)
    words = line.group().split() if line else []
    if line is None or len(words) < 3 or words[2] != "bp" or words[1].isdecimal():
        return chunk
    origin = SEQUENCE_PART.search(chunk)
    n_bases = sum(map(str.isalpha, chunk[origin.end() :])) if origin else 0
    name = words[1].removesuffix(str(n_bases))
    if not name or name == words[1]:
        raise GenomeError(
            f"{path}, record {words[1]!r}: its LOCUS line has name and length in one word, which does not end with the "
            f"{n_bases:,} bases of its sequence, so the file is cut or damaged; copy it again, or {LOCUS_ADVICE}."
        )
    topology = "circular" if "circular" in words[3:] else "linear"
    date = words[-1] if re.fullmatch(r"\d\d-[A-Z]{3}-\d{4}", words[-1], re.I) else "01-JAN-1980"
    new = f"LOCUS       {name} {n_bases} bp    DNA     {topology}   UNK {date.upper()}"
    return f"{chunk[: line.start()]}{new}{chunk[line.end() :]}"


def _parse(path: Path, chunk: str, messages: Counter[str]) -> Any:
    """Return Biopython's record of a chunk of text, and add its warnings to the messages.

    Raises:
        GenomeError: It cannot read the text, or warns that it left out a part.
    """
    from Bio import BiopythonWarning, SeqIO

    line = LOCUS_LINE.search(chunk)
    where = f"{path}, record {_locus_name(line.group() if line else '')!r}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            record = SeqIO.read(io.StringIO(f"{chunk}//\n"), "genbank")
        except MemoryError:
            raise
        except Exception as error:
            reason = reason_of(error, None).rstrip(".")
            advice = f"; {LOCUS_ADVICE}" if "LOCUS line" in reason else ""
            raise GenomeError(f"{where}: it is no GenBank record that can be read ({reason}){advice}.") from error
    for warning in caught:
        if not issubclass(warning.category, BiopythonWarning):
            continue
        message = " ".join(str(warning.message).split())
        if LOSS.search(message):
            raise GenomeError(f"{where}: a part of it cannot be read ({message.rstrip('.')}); copy the file again.")
        # The length is checked against LOCUS below. Without what is particular to one line, alike ones are counted.
        if not message.startswith("Expected sequence length"):
            messages[f"Biopython: {message.partition(':')[0].rstrip('.')}"] += 1
    return record


def _check_features(where: str, chunk: str) -> None:
    """Check that each line of the feature table is a feature or belongs to one; Biopython passes over others.

    Raises:
        GenomeError: A line is neither.
    """
    head = FEATURES_LINE.search(chunk)
    if head is None:
        return
    end = NEXT_PART.search(chunk, head.end())
    for line in chunk[head.end() : end.start() if end else len(chunk)].split("\n"):
        if FEATURE_LINE.match(line.expandtabs()) is None:
            raise GenomeError(
                f"{where}: {line[:40]!r} in its feature table is neither a feature nor a qualifier of one; copy "
                "the file again from its source."
            )


def _check_origin(where: str, chunk: str) -> None:
    """Check that each line of the sequence begins with the number of its first base, which Biopython does not read.

    Raises:
        GenomeError: A line has no number or another, so a line is missing, repeated or elsewhere.
    """
    head = ORIGIN_LINE.search(chunk)
    n_bases = 0
    for line in chunk[head.end() :].split("\n") if head else ():
        if not line.strip():
            continue
        match = SEQUENCE_LINE.fullmatch(line)
        if match is None or int(match[1]) != n_bases + 1:
            raise GenomeError(
                f"{where}: its sequence has {line[:40]!r} where the line of base {n_bases + 1} belongs; copy the "
                "file again from its source."
            )
        n_bases += len("".join(match[2].split()))


def _sequence(where: str, record: Any) -> str:
    """Return the bases of a record, in upper case, U as T."""
    from Bio.Seq import UndefinedSequenceError

    try:
        sequence = str(record.seq)
    except UndefinedSequenceError:
        raise GenomeError(f"{where}: it has no sequence (a CONTIG line alone?); fetch the full record.") from None
    # Gap characters, which FASTA may have, would shift the locations.
    invalid = NOT_NUCLEOTIDE.search(sequence) or GAP.search(sequence)
    if invalid is not None:
        raise GenomeError(f"{where}: {invalid.group()!r} is no nucleotide; copy the file again from its source.")
    return sequence.upper().replace("U", "T")


def _has_stated_length(where: str, chunk: str, n_bases: int) -> bool:
    """Return whether a record's LOCUS line states a length.

    Raises:
        GenomeError: It is not that of the sequence.
    """
    line = LOCUS_LINE.search(chunk)
    words = line.group().split() if line else []
    stated = words[words.index("bp") - 1] if "bp" in words else ""
    if not stated.isdecimal():
        return False
    if int(stated) != n_bases:
        raise GenomeError(
            f"{where}: it has {n_bases:,} bases and its LOCUS line states {int(stated):,}, so the GenBank "
            "file is cut or damaged; copy it again from its source."
        )
    return True


def _locus_name(line: str) -> str:
    words = line.split()
    return words[1] if len(words) > 1 else ""


def _feature_name(feature: Any, number: int) -> str:
    for key in ("locus_tag", "protein_id", "gene"):
        if feature.qualifiers.get(key):
            return f"coding sequence {feature.qualifiers[key][0]!r}"
    return f"coding sequence {number}"


def _check_qualifiers(where: str, features: list[Any], messages: Counter[str]) -> None:
    """Check that no line is missing with which a coding sequence begins, so that its qualifiers are another's.

    Raises:
        GenomeError: A feature of another type has qualifiers of a coding sequence alone, one has two of a kind, or a
            value holds a quote, so that two lines are one.
    """
    for number, feature in enumerate(features, 1):
        qualifiers = feature.qualifiers
        if feature.type == "CDS":
            twice = next((name for name in SINGLE_QUALIFIERS if len(qualifiers.get(name, [])) > 1), None)
            if twice is not None:
                raise GenomeError(
                    f"{where}, {_feature_name(feature, number)}: it has two values of {twice}, so a line is missing or "
                    "repeated; copy the file again."
                )
            quoted = next((name for name in SINGLE_QUALIFIERS if '"' in "".join(qualifiers.get(name, []))), None)
            if quoted is not None:
                raise GenomeError(
                    f"{where}, feature {number}: its {quoted} holds a quote, so lines were joined or a quote is "
                    "missing; copy the file again."
                )
            continue
        alien = next((name for name in CODING_QUALIFIERS if name in qualifiers), None)
        if alien is not None:
            raise GenomeError(
                f"{where}, feature {number}: its type is {feature.type!r}, and only a coding sequence (CDS) has "
                f"{alien}; correct the type, or copy the file again."
            )
        if "translation" in qualifiers:
            # Tools that annotate domains give them translations.
            messages[f"features of the type {feature.type!r} with a translation, which are not read as genes"] += 1


def _check_location(where: str, location: Any, n_bases: int) -> None:
    """Check that a coding sequence lies within its record, but for parts in other records.

    Raises:
        GenomeError: It does not, or its location cannot be read.
    """
    if location is None:
        raise GenomeError(f"{where}: its location cannot be read; correct it, or copy the file again.")
    for part in location.parts:
        if part.ref is not None:
            continue
        try:
            start, end = int(part.start), int(part.end)
        except (TypeError, ValueError):
            raise GenomeError(f"{where}: its location {part} is not known; correct it, or leave it out.") from None
        if not 0 <= start <= end <= n_bases:
            raise GenomeError(
                f"{where}: {start + 1} to {end} lies beyond the record's {n_bases:,} bases, so the file is cut or "
                "damaged; copy it again from its source."
            )


def _gene(where: str, contig: str, number: int, feature: Any, record: Any, translation_table: int) -> Gene:
    """Return a gene; `where` names its coding sequence in errors."""
    qualifiers, location = feature.qualifiers, feature.location
    offset = _whole_number(where, qualifiers, "codon_start", "1") - 1
    if offset not in (0, 1, 2):
        raise GenomeError(f"{where}: codon_start is {offset + 1}; it must be 1, 2 or 3.")
    table = _whole_number(where, qualifiers, "transl_table", str(translation_table))
    try:
        codon_table(table)
    except InputError as error:
        raise GenomeError(f"{where}: {error}") from None
    # A location such as <1..200: the gene goes on beyond the contig.
    partial = "<" in str(location) or ">" in str(location)
    first = location.parts[0]
    starts_open = any(mark in str(first.end if first.strand == -1 else first.start) for mark in "<>")
    if "translation" in qualifiers:
        protein = "".join(qualifiers["translation"][0].split())
        if not protein:
            raise GenomeError(f"{where}: its translation is empty; copy the file again.")
        invalid = NOT_RESIDUE.search(protein)
        if invalid is not None:
            raise GenomeError(f"{where}: {invalid.group()!r} in its translation is no residue; copy the file again.")
    elif any(part.ref is not None for part in location.parts):
        raise GenomeError(f"{where}: a part of it lies in another record, and it has no translation; leave it out.")
    else:
        bases = str(feature.extract(record.seq)).upper()[offset:]
        protein = translate(bases.replace("U", "T"), table, has_start=not offset and not starts_open)
    names = [qualifiers[key][0] for key in ("locus_tag", "protein_id") if key in qualifiers]
    start, end = _span(location, len(record.seq))
    return Gene(
        gene_id=names[0] if names else f"{contig}_{number}",
        contig=contig,
        start=start,
        end=end,
        strand=int(location.strand or 0),
        protein=protein,
        source="annotated",
        partial=partial,
        annotations={key: "; ".join(qualifiers[key]) for key in ANNOTATIONS if key in qualifiers},
        aliases=tuple(names[1:]),
    )


def _span(location: Any, n_bases: int) -> tuple[int, int]:
    """Return first and last base, from 1; the last is beyond the contig's length across a circular contig's origin."""
    parts = [part for part in location.parts if part.ref is None]
    forward = parts[::-1] if location.strand == -1 else parts
    for i, (part, after) in enumerate(pairwise(forward), 1):
        if int(part.end) == n_bases and int(after.start) == 0:
            return int(forward[0].start) + 1, max(int(part.end) for part in forward[i:]) + n_bases
    return int(location.start) + 1, int(location.end)


def _whole_number(where: str, qualifiers: dict[str, list[str]], name: str, default: str) -> int:
    text = qualifiers.get(name, [default])[0]
    try:
        return int(text)
    except ValueError:
        raise GenomeError(f"{where}: {name} is {text!r}, which is no whole number.") from None


__all__ = ["read_genbank"]

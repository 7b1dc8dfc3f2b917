"""Strict readers of the input formats, written for the trials and independent of the package's own."""

from __future__ import annotations

import ast
import bz2
import csv
import gzip
import io
import json
import lzma
import re
import struct
import zipfile
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from Bio.Seq import Seq
from Bio.SeqIO.QualityIO import FastqGeneralIterator

from .formats import Said, Unreadable, equal
from .mutations import COMPRESSORS

IUPAC = set("ACGTUNRYSWKMBDHVacgtunryswkmbdhv")
TAXON = re.compile(r"(?:^|[|;]\s*)[kdpcofgst]__")


def decompressed(path: Path) -> bytes:
    """Return a file's content, decompressed once."""
    content = path.read_bytes()
    try:
        if content.startswith(b"\x1f\x8b"):
            return gzip.decompress(content)
        if content.startswith(b"BZh"):
            return bz2.decompress(content)
        if content.startswith(b"\xfd7zXZ\0"):
            return _decompressed_xz(content)
        if content.startswith(b"\x28\xb5\x2f\xfd"):
            return COMPRESSORS["zst"][1](content)
    except Exception as error:
        raise Unreadable from error
    return content


def _decompressed_xz(content: bytes) -> bytes:
    """Return the content of all streams; `lzma.decompress` stops at padding between them."""
    text = b""
    while content:
        stream = lzma.LZMADecompressor(lzma.FORMAT_XZ)
        text += stream.decompress(content)
        if not stream.eof:
            raise Unreadable
        content = stream.unused_data.lstrip(b"\0")
    return text


def text_of(path: Path, encoding: str = "utf-8-sig", errors: str = "strict") -> str:
    """Return a file's text."""
    try:
        text = decompressed(path).decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise Unreadable from error
    if "\0" in text:
        raise Unreadable
    return text


def table(
    path: Path,
    *,
    semicolons: bool = True,
    comments: bool = False,
    row_names: bool = False,
    quotes_with_tabs: bool = True,
) -> tuple[list[str], list[list[str]]]:
    """Return the columns and the rows of a CSV or TSV, by the rules that the documentation gives."""
    lines = list(io.StringIO(text_of(path), newline=""))
    start = next(
        (i for i, line in enumerate(lines) if line.strip() and not (comments and line.startswith("#"))), len(lines)
    )
    hashes = [i for i in range(start) if lines[i].startswith("#") and not lines[i].startswith(("##", "#q2:"))]
    if hashes:
        # The last comment is the header if it is laid out as the row below it.
        last = lines[hashes[-1]]
        separator = "\t" if "\t" in last else ","
        if start == len(lines) or last.count(separator) == lines[start].count(separator) > 0:
            start = hashes[-1]
    if start == len(lines):
        raise Unreadable
    header = re.sub(r'"[^"]*"', "", lines[start]) if "\t" not in lines[start] or quotes_with_tabs else lines[start]
    separator = "\t" if "\t" in header else "," if "," in header else ""
    if not separator and ";" in header and semicolons:
        counts = {len(row) for row in csv.reader(lines[start:], delimiter=";") if any(row)}
        separator = ";" if len(counts) == 1 else ""
    separator = separator or ("\t" if path.suffix in (".tsv", ".tab", ".txt") else ",")
    quoting: Any = csv.QUOTE_MINIMAL if separator != "\t" or quotes_with_tabs else csv.QUOTE_NONE
    csv.field_size_limit(2**31 - 1)
    try:
        rows = [
            [v.strip() for v in r] for r in csv.reader(lines[start:], delimiter=separator, quoting=quoting, strict=True)
        ]
    except csv.Error as error:
        raise Unreadable from error
    columns, rows = rows[0], [row for row in rows[1:] if any(row)]
    if comments:
        columns[0] = columns[0].lstrip("#").strip()
        rows = [
            row
            for row in rows
            if not row[0].startswith(("##", "#q2:")) and not (row[0].startswith("#") and len(row) < len(columns))
        ]
    if rows and all(len(row) == len(columns) + 1 for row in rows):
        if not any(row[-1] for row in rows):
            columns = [*columns, ""]
        elif row_names:
            columns = ["", *columns]
    if any(len(row) != len(columns) for row in rows):
        raise Unreadable
    named = [i for i, name in enumerate(columns) if name or (i == 0 and row_names and any(row[0] for row in rows))]
    if any(row[i] for row in rows for i in range(len(columns)) if i not in named):
        raise Unreadable
    return [columns[i] for i in named], [[row[i] for i in named] for row in rows]


def unique(names: list[str]) -> None:
    """Refuse names that repeat."""
    if len(set(names)) < len(names):
        raise Unreadable


def fastq(path: Path) -> list[tuple[str, str]]:
    """Return names and sequences of a FASTQ, of which sequences may have several lines."""
    text = text_of(path, "ascii").replace("\r\n", "\n").lstrip("\n")
    # Biopython takes no blanks for qualities, and what stands there is of no meaning here.
    lines = text.split("\n")
    lines[3::4] = [re.sub(r"[ \t]", "!", line.strip(" \t")) for line in lines[3::4]]
    text = "\n".join(lines)
    try:
        records = [(name, bases(sequence)) for name, sequence, _ in FastqGeneralIterator(io.StringIO(text))]
    except ValueError as error:
        raise Unreadable from error
    if not records:
        raise Unreadable
    return records


def bases(sequence: str) -> str:
    """Return a read's sequence, in which a dot is N."""
    sequence = sequence.strip().replace(".", "N")
    if set(sequence) - IUPAC:
        raise Unreadable
    return sequence


def fasta(path: Path, errors: str = "strict") -> list[tuple[str, str]]:
    """Return the headers and sequences of a FASTA file."""
    records: list[tuple[str, list[str]]] = []
    text = text_of(path, "ascii", errors).lstrip()
    for line in text.split("\n"):
        line = line.rstrip("\r")
        if "\r" in line:
            raise Unreadable
        if re.search(r"^>.*[\x01-\x08\x0e-\x1f\x7f]", line):
            raise Unreadable
        if line.startswith(">"):
            records.append((line[1:].strip(), []))
        elif line.strip():
            if not records:
                raise Unreadable
            records[-1][1].append(line.strip())
    if not records:
        raise Unreadable
    return [(header, "".join(parts)) for header, parts in records]


def genome_fasta(path: Path) -> list[tuple[str, str]]:
    """Return the headers and sequences of a FASTA of a genome: UTF-8, with any line ends."""
    try:
        text = decompressed(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        # Of a header, only the name counts.
        content = re.sub(
            rb"(?m)^(>[ \t]*[^\s>]\S*[ \t]+)([^\r\n]*)",
            lambda m: m[1] + re.sub(rb"[^\0-\x7f]", b"?", m[2]),
            decompressed(path),
        )
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Unreadable from error
    records: list[tuple[str, str]] = []
    for line in re.split("\r\n|\r|\n", text):
        if "\0" in line or re.search(r"^>.*[\x01-\x08\x0e-\x1f\x7f]", line):
            raise Unreadable
        if line.startswith(">"):
            records.append((line[1:].strip(), ""))
        elif line.strip():
            if not records:
                raise Unreadable
            records[-1] = (records[-1][0], records[-1][1] + line.strip())
    if not records:
        raise Unreadable
    return records


def contigs(path: Path) -> dict[str, str]:
    """Return contigs by name: upper case, U as T, without gaps."""
    return _contigs(genome_fasta(path))


def _contigs(records: list[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for header, sequence in records:
        name = header.split()[0] if header else ""
        if not name or name in found or set(sequence) - IUPAC - set("-."):
            raise Unreadable
        found[name] = sequence.upper().replace("U", "T").replace("-", "").replace(".", "")
    return found


Gene = tuple[str, str, int, int, int, str]


def usable(genes: list[Gene]) -> list[Gene]:
    """Return the genes with a protein, cleaned as the documentation says, in the order of contigs and starts."""
    kept = []
    for gene_id, contig, start, end, strand, protein in genes:
        protein = protein.upper().replace("-", "").replace(".", "").removesuffix("*")
        if protein.strip("X") and "*" not in protein:
            protein = re.sub("[^ACDEFGHIKLMNPQRSTVWYXBUZO]", "X", protein)
            kept.append((gene_id, contig, start, end, strand, protein))
    return _renamed(kept)


def _renamed(genes: list[Gene]) -> list[Gene]:
    """Return genes with suffixes such as -2 at names that repeat."""
    counts: Counter[str] = Counter()
    renamed = []
    for gene in genes:
        counts[gene[0]] += 1
        renamed.append((f"{gene[0]}-{counts[gene[0]]}" if counts[gene[0]] > 1 else gene[0], *gene[1:]))
    unique([gene[0] for gene in renamed])
    return renamed


def translated(bases: str, table_number: int, has_start: bool) -> str:
    """Return the protein of a coding sequence, by Biopython."""
    from Bio.Data import CodonTable, IUPACData

    if table_number not in CodonTable.unambiguous_dna_by_id:
        raise Unreadable
    bases = bases[: len(bases) // 3 * 3]
    codons = CodonTable.unambiguous_dna_by_id[table_number]

    def residue(codon: str) -> str:
        meant = ["".join(letters) for letters in product(*(IUPACData.ambiguous_dna_values[base] for base in codon))]
        residues = {"*" if each in codons.stop_codons else codons.forward_table[each] for each in meant}
        return residues.pop() if len(residues) == 1 else "X"

    protein = "".join(residue(bases[i : i + 3]) for i in range(0, len(bases), 3))
    return "M" + protein[1:] if has_start and bases[:3] in codons.start_codons else protein


def genbank(path: Path) -> tuple[dict[str, int], list[Gene]]:
    """Return the lengths of contigs and the genes of a flat file in the layout that NCBI writes, and no other."""
    text = text_of(path).strip().replace("\r\n", "\n").replace("\r", "\n")
    if not text.endswith("//"):
        raise Unreadable
    lengths: dict[str, int] = {}
    genes: list[Gene] = []
    for entry in text.removesuffix("//").split("\n//\n"):
        match = re.fullmatch(
            r"LOCUS +(\S+) +(\d+) bp [^\n]*\n(.*?)FEATURES[^\n]*\n(.*?)ORIGIN *\n(.*)", entry.strip() + "\n", re.S
        )
        if match is None:
            raise Unreadable
        name, size, head, features, origin = match.groups()
        rows = [line.split() for line in origin.splitlines() if line.strip()]
        bases, at = "", 1
        for number, *blocks in rows:
            if number != str(at) or len(blocks) > 6 or any(len(block) > 10 for block in blocks):
                raise Unreadable
            bases += "".join(blocks)
            at = len(bases) + 1
        bases = bases.upper().replace("U", "T")
        version = re.search(r"^ *VERSION +(\S+)\s*$", head, re.M)
        accession = re.search(r"^ACCESSION +(\S+)", head, re.M)
        if accession is None:
            raise Unreadable
        is_versioned = version is not None and version.group(1).partition(".")[0] == accession.group(1)
        name = version.group(1) if version is not None and is_versioned else accession.group(1)
        if len(bases) != int(size) or set(bases) - IUPAC or name in lengths:
            raise Unreadable
        lengths[name] = len(bases)
        genes += _genbank_genes(name, bases, features)
    return lengths, genes


def _genbank_genes(contig: str, bases: str, features: str) -> list[Gene]:
    genes: list[tuple[int, Gene]] = []
    if any(not re.match(r" {5}\S+ +\S+$| {21,}\S", line) for line in features.splitlines()):
        raise Unreadable
    for kind, location, body in re.findall(r"^ {5}(\S+) +(\S+)\n((?: {21}[^\n]*\n)*)", features, re.M):
        if kind != "CDS":
            continue
        match = re.fullmatch(r"(complement\()?<?(\d+)\.\.>?(\d+)\)?", location)
        if match is None or (match.group(1) is None) == location.endswith(")"):
            raise Unreadable
        start, end, strand = int(match.group(2)), int(match.group(3)), -1 if match.group(1) else 1
        if not 1 <= start <= end <= len(bases):
            raise Unreadable
        lines: list[str] = []
        for line in body.splitlines():
            if line.strip().startswith("/"):
                lines.append(line.strip())
            elif lines:
                lines[-1] += f"\n{line.strip()}"
        qualifiers = [re.fullmatch(r'/([^=\s]+)(?:=("[^"]*"|[^"\s]+))?', line) for line in lines]
        if not all(qualifiers):
            raise Unreadable
        pairs = [(match[1], match[2] or "") for match in qualifiers if match]
        unique([key for key, _ in pairs])
        values = dict(pairs)
        if "pseudo" in values or "pseudogene" in values:
            continue
        quoted = {key: value.strip('"') for key, value in values.items()}
        if "translation" in quoted:
            protein = "".join(quoted["translation"].split())
        else:
            offset = int(quoted.get("codon_start", "1")) - 1
            if offset not in (0, 1, 2):
                raise Unreadable
            part = Seq(bases[start - 1 : end])
            coding = str(part.reverse_complement() if strand < 0 else part)[offset:]
            whole = not offset and "<" not in location and ">" not in location
            protein = translated(coding, int(quoted.get("transl_table", "11")), whole)
        gene_id = quoted.get("locus_tag") or quoted.get("protein_id") or ""
        genes.append((start, (" ".join(gene_id.split("\n")), contig, start, end, strand, protein)))
    ordered = [gene for _, gene in sorted(genes, key=lambda pair: pair[0])]
    return [(gene[0] or f"{contig}_{number}", *gene[1:]) for number, gene in enumerate(ordered, 1)]


def gff(path: Path) -> tuple[dict[str, int], list[Gene]]:
    """Return the lengths of contigs and the genes of a GFF3 with its sequence."""
    from urllib.parse import unquote

    features, mark, sequence = text_of(path).replace("\r\n", "\n").partition("\n##FASTA\n")
    if not mark or "\r" in features + sequence:
        raise Unreadable
    records: list[tuple[str, str]] = []
    for line in sequence.strip().split("\n"):
        if line.startswith(">"):
            records.append((line[1:].strip(), ""))
        elif line.strip():
            if not records:
                raise Unreadable
            records[-1] = (records[-1][0], records[-1][1] + line.strip())
    named = _contigs(records)
    genes: list[Gene] = []
    seen: dict[str, list[tuple[str, int, int]]] = {}
    for number, line in enumerate(features.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 9 or fields[6] not in "+-." or fields[7] not in "012.":
            raise Unreadable
        if fields[2] != "CDS":
            continue
        attributes = {
            k.strip(): unquote(v.strip()) for k, _, v in (p.partition("=") for p in fields[8].split(";")) if k.strip()
        }
        if attributes.get("pseudo", "").lower() == "true" or "pseudogene" in attributes:
            continue
        contig, start, end = unquote(fields[0]), int(fields[3]), int(fields[4])
        if contig not in named or not 1 <= start <= end <= len(named[contig]):
            raise Unreadable
        part = Seq(named[contig][start - 1 : end])
        strand = {"+": 1, "-": -1}.get(fields[6], 0)
        phase = int(fields[7].replace(".", "0"))
        partial = any(key in attributes for key in ("partial", "start_range", "end_range"))
        coding = str(part.reverse_complement() if strand < 0 else part)[phase:]
        protein = translated(coding, int(attributes.get("transl_table", 11)), not phase and not partial)
        key = attributes.get("ID") or attributes.get("locus_tag") or f"{contig}_{number}"
        # Lines with one ID are parts of one gene, which the example has not, or lie upon each other as other products.
        for before, begin, stop in seen.setdefault(key, []):
            if stop < start or end < begin or (before == fields[8] and (begin, stop) == (start, end)):
                raise Unreadable
        seen[key].append((fields[8], start, end))
        genes.append((attributes.get("locus_tag", key), contig, start, end, strand, protein))
    order = {name: i for i, name in enumerate(named)}
    return {name: len(bases) for name, bases in named.items()}, sorted(genes, key=lambda g: (order[g[1]], g[2], g[3]))


def species(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Return the names of rows and columns, and the numbers, of a table with names in its first column."""
    columns, rows = table(path, comments=True, row_names=True)
    key = columns.index("sample_id") if columns.count("sample_id") == 1 else 0
    if not rows or len(columns) < 2 or columns.count(columns[key]) > 1:
        raise Unreadable
    left_out = {"ncbi_tax_id", "clade_taxid", "taxonomy", "tax_id", "additional_species"}
    # What a profiler assigned to no taxon is left out, and the package says so.
    left_out |= {"unclassified", "unknown", "unassigned", "unmapped", "unintegrated", "ungrouped", "no hit", "-1"}
    kept = [i for i, name in enumerate(columns) if i != key and name.lower() not in left_out]

    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return float("nan")

    values = np.array([[number(row[i]) for i in kept] for row in rows])
    return [row[key] for row in rows], [columns[i] for i in kept], values.reshape(len(rows), len(kept))


def conserves_taxa(path: Path, outcome: tuple[list[str], list[str], np.ndarray, Said]) -> bool:
    """Tell whether features are taxa of a table, or remainders of them, and nothing of a sample is lost or doubled.

    Args:
        path: The table.
        outcome: Samples, features, values, and what the package says that it left out.
    """
    taxa, samples, values = species(path)
    ids, names, features, said = *outcome[:3], outcome[3].text
    n_taxa = [sum(bool(TAXON.search(name)) for name in axis) for axis in (taxa, samples)]
    if not any(n_taxa):
        return equal((ids, names, features), (taxa, samples, values))
    if n_taxa[0] <= n_taxa[1]:
        taxa, samples, values = samples, taxa, values.T
    rows = dict(zip(taxa, values, strict=True))
    if ids != samples or len(rows) < len(taxa):
        return False
    for name, column in zip(names, features.T, strict=True):
        row = rows.get(name)
        if row is not None and not np.allclose(column, row):
            return False
        if row is None and not (column <= rows.get(name.removesuffix("_unclassified"), column - 1) + 1e-9).all():
            return False
    parts = [n for n in taxa if TAXON.search(n) and (n in names or repr(n) not in said)]
    above = {n: max((o for o in parts if n != o and n.startswith(f"{o}|")), key=len, default=None) for n in parts}
    below = {n: sum((rows[o] for o in parts if above[o] == n), np.zeros(len(ids))) for n in parts}
    # Rows hold what is below them, or their own abundance.
    remainders = sum(np.maximum(rows[n] - below[n], 0) if below[n].any() else rows[n] for n in parts)
    totals = [sum(rows[n] for n in parts if above[n] is None), sum(rows[n] for n in parts), remainders]
    return any(np.allclose(features.sum(1), total, rtol=1e-4) for total in totals)


def checked_species(ids: list[str], names: list[str], values: np.ndarray) -> tuple[list[str], list[str], np.ndarray]:
    """Refuse what is no composition."""
    unique(ids)
    unique(names)
    if not np.isfinite(values).all() or (values < 0).any() or not values.size or (values.sum(1) == 0).any():
        raise Unreadable
    return ids, names, np.ascontiguousarray(values, np.float64)


def json_of(path: Path, *, unique_keys: bool = True) -> Any:
    """Return the value of a JSON file in which every number is finite, and no key repeats unless it may."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if unique_keys:
            unique([key for key, _ in items])
        return dict(items)

    def refuse(name: str) -> Any:
        raise Unreadable(name)

    try:
        return json.loads(path.read_bytes().decode("utf-8"), object_pairs_hook=pairs, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise Unreadable from error


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        unique([repr(key) for key in keys])
        return super().construct_mapping(node, deep)


def yaml_of(path: Path) -> Any:
    """Return the value of a YAML file in which no key repeats."""
    try:
        return yaml.load(path.read_bytes().decode("utf-8"), _UniqueKeys)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unreadable from error


def biom_json(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Return samples, features and values of a BIOM 1 table."""
    record = json_of(path, unique_keys=False)
    try:
        rows, columns = [row["id"] for row in record["rows"]], [column["id"] for column in record["columns"]]
        values = np.zeros((len(rows), len(columns)))
        if record["matrix_type"] == "dense":
            values[:] = record["data"]
        else:
            for row, column, value in record["data"]:
                if min(row, column) < 0:
                    raise Unreadable
                values[row, column] = value
            if len({(row, column) for row, column, _ in record["data"]}) < len(record["data"]):
                raise Unreadable
        if record["shape"] != [len(rows), len(columns)]:
            raise Unreadable
        return checked_species([str(name) for name in columns], [str(name) for name in rows], values.T)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise Unreadable from error


def biom_hdf5(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Return samples, features and values of a BIOM 2 table."""
    import h5py

    try:
        with h5py.File(path) as file:
            ids = [value.decode() for value in file["sample/ids"][:]]
            names = [value.decode() for value in file["observation/ids"][:]]
            values = np.zeros((len(ids), len(names)))
            data, indices, ends = (file[f"sample/matrix/{key}"][:] for key in ("data", "indices", "indptr"))
            if len(ends) != len(ids) + 1 or ends[0] != 0 or ends[-1] != len(data):
                raise Unreadable
            for i in range(len(ids)):
                for j in range(ends[i], ends[i + 1]):
                    values[i, indices[j]] += data[j]
        return checked_species(ids, names, values)
    except (OSError, KeyError, ValueError, IndexError, TypeError, RuntimeError, AttributeError) as error:
        raise Unreadable from error


def intervals(path: Path) -> list[tuple[str, int, int, int, str]]:
    """Return contig, summit, strand, line and name of each line of a BED or narrowPeak file."""
    found = []
    lines = [line.strip() for line in io.StringIO(text_of(path), newline="")]
    rows = [_interval_fields(line) for line in lines if line and not _is_bed_comment(line)]
    narrow = all(map(_is_narrow_peak, rows))
    for number, line in enumerate(io.StringIO(text_of(path), newline=""), 1):
        line = line.strip()
        if not line or _is_bed_comment(line):
            continue
        fields = _interval_fields(line)
        if len(fields) < 3 or not all(re.fullmatch("[0-9]+", f) for f in fields[1:3]):
            raise Unreadable
        start, end = int(fields[1]), int(fields[2])
        strand = {"+": 1, "-": -1, ".": 1}[fields[5] if len(fields) > 5 else "."]
        offset = int(fields[9]) if narrow else -1
        if end < start or not -1 <= offset < max(end - start, 1):
            raise Unreadable
        summit = (start + end) // 2 if not narrow else start + ((end - start) // 2 if offset == -1 else offset)
        name = fields[3] if len(fields) > 3 and fields[3] != "." else ""
        found.append((fields[0], summit, strand, number, name))
    return found


def _interval_fields(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else line.split()


def _is_bed_comment(line: str) -> bool:
    return line.startswith("#") or line.split()[0] in ("track", "browser")


def _is_narrow_peak(fields: list[str]) -> bool:
    try:
        [float(fields[i]) for i in (4, 6, 7, 8)]
        return fields[5] in ("+", "-", ".") and int(fields[9]) >= -1
    except (ValueError, IndexError):
        return False


def safetensors(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Return type, shape and bytes of each tensor."""
    content = path.read_bytes()
    try:
        (size,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + size].decode())
        header.pop("__metadata__", None)
        body = content[8 + size :]
        return {
            name: (entry["dtype"], entry["shape"], body[slice(*entry["data_offsets"])])
            for name, entry in header.items()
        }
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, MemoryError) as error:
        raise Unreadable from error


def sums(path: Path) -> dict[str, str]:
    """Return the digests of a `SHA256SUMS` by name."""
    found: dict[str, str] = {}
    for line in text_of(path, "utf-8").splitlines():
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.+)", line)
        if line.strip() and match is None:
            raise Unreadable
        if match:
            found[match[2]] = match[1].lower()
    return found


def npy(content: bytes) -> np.ndarray:
    """Return the array of a .npy file: its header is a dictionary, behind which the numbers lie."""
    try:
        if content[:6] != b"\x93NUMPY" or content[6] not in (1, 2, 3):
            raise Unreadable
        size = 2 if content[6] == 1 else 4
        start = 8 + size + int.from_bytes(content[8 : 8 + size], "little")
        header = ast.literal_eval(content[8 + size : start].decode("latin1"))
        kind = np.dtype(header["descr"])
        shape = tuple(header["shape"])
        if set(header) != {"descr", "fortran_order", "shape"} or kind.hasobject or min(shape, default=0) < 0:
            raise Unreadable
        n = int(np.prod(shape, dtype=object))
        values = np.frombuffer(content, kind, n, start)
        return values.reshape(shape, order="F" if header["fortran_order"] else "C")
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable from error


def centroids(values: np.ndarray) -> np.ndarray:
    """Return centroids as float32, if they are some."""
    if values.ndim != 2 or not values.size or values.dtype.kind != "f":
        raise Unreadable
    with np.errstate(over="ignore"):
        found = np.array(values, np.float32, order="C")
    if not np.isfinite(found).all():
        raise Unreadable
    return found


def flat_index(content: bytes) -> np.ndarray:
    """Return the vectors of FAISS's IndexFlatL2: dimensions and vectors in the header, then the numbers."""
    if content[:4] != b"IxF2" or len(content) < 45:
        raise Unreadable
    size, n = int.from_bytes(content[4:8], "little", signed=True), int.from_bytes(content[8:16], "little", signed=True)
    if size < 1 or n < 1 or len(content) != 45 + 4 * size * n or content[33:37] != b"\1\0\0\0":
        raise Unreadable
    return np.frombuffer(content, "<f4", size * n, 45).reshape(n, size)


def npz(path: Path, name: str) -> np.ndarray:
    """Return an array of an .npz archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            if [each for each in archive.namelist() if each.endswith(".npy")] != [f"{name}.npy"]:
                raise Unreadable
            return npy(archive.read(f"{name}.npy"))
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable from error

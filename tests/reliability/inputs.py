"""Every format that the package reads from others, with an example, the package's reader and a reference reader."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from factories import random_gene, random_sequences, reverse_complement, tiny_metagenbert, write_fastq

from . import references
from .formats import Accepts, Format, Said, Unreadable
from .mutations import (
    BINARY,
    BYTES,
    COMPRESSORS,
    TENSORS,
    TEXT,
    TEXT_JSON,
    TEXT_TABLE,
    TEXT_YAML,
    compressed_as,
)

SEQUENCES = random_sequences(12, 40, 60, seed=5)
FASTQ = "".join(f"@r{i} lane\n{s}\n+\n{'I' * len(s)}\n" for i, s in enumerate(SEQUENCES))
FASTA = "".join(f">r{i} x\n{s[:30]}\n{s[30:]}\n" for i, s in enumerate(SEQUENCES))


def _write(name: str, content: str | bytes) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)

    return make


def _reads(name: str) -> Callable[[Path], Any]:
    def outcome(folder: Path) -> list[str]:
        from biomeformer.reads import SampleReader, SampleReads

        return [read for batch in SampleReader(SampleReads.single(folder / name)) for read in batch.strings()]

    return outcome


def _reference_reads(name: str) -> Callable[[Path], Any]:
    def reference(folder: Path) -> list[str]:
        content = references.decompressed(folder / name)
        if content.startswith(b">"):
            return [references.bases(sequence) for _, sequence in references.fasta(folder / name, "backslashreplace")]
        return [sequence for _, sequence in references.fastq(folder / name)]

    return reference


def _read_format(name: str, file: str, text: str, mutations: list) -> Format:
    suffix = file.rpartition(".")[2]
    content = COMPRESSORS[suffix][0](text.encode()) if suffix in COMPRESSORS else text.encode()
    return Format(name, file, mutations, _write(file, content), _reads(file), _reference_reads(file))


def _pairs_outcome(folder: Path) -> list[str]:
    from biomeformer.reads import SampleReader, SampleReads

    reads = SampleReads.paired(folder / "r1.fastq", folder / "r2.fastq")
    return [read for batch in SampleReader(reads) for read in batch.strings()]


def _mate_name(header: str) -> str:
    name = (header.split(" ")[0] if header else "").split("\t")[0]
    return name[:-1] if name[-1:] in ("1", "2", "3") else name


def _pairs_reference(folder: Path) -> list[str]:
    first, second = (references.fastq(folder / f"r{i}.fastq") for i in (1, 2))
    if [_mate_name(name) for name, _ in first] != [_mate_name(name) for name, _ in second]:
        raise Unreadable
    return [read for pair in zip(first, second, strict=True) for _, read in pair]


def _make_pairs(folder: Path) -> None:
    for mate in (1, 2):
        write_fastq(folder / f"r{mate}.fastq", random_sequences(8, 40, 60, seed=mate), mate=mate)


COHORT = "sample_id,fastq,group,age\ns0,a.fastq,x,12\ns1,b.fastq,y,7.5\ns2,c.fastq;d.fastq,x,\n"
CATALOG = "genome_id\tfasta\tproteins\thabitat\ng0\ta.fastq\t\tsoil\ng1\t\tb.fastq\thost\ng2\tc.fastq\t\tsoil\n"


def _make_cohort(folder: Path) -> None:
    (folder / "cohort.csv").write_text(COHORT)
    (folder / "genomes.tsv").write_text(CATALOG)
    for i, name in enumerate("abcd"):
        write_fastq(folder / f"{name}.fastq", random_sequences(3, seed=i))


def _cohort_outcome(folder: Path) -> Any:
    from biomeformer.reads import read_cohort

    cohort = read_cohort(folder / "cohort.csv")
    return [
        (sample.sample_id, [[str(path) for path in mates] for mates in sample.reads.files], sample.metadata)
        for sample in cohort
    ]


def _good_id(name: str) -> bool:
    return bool(name) and name[0] != "." and not set(name) & set("/\\") and name.isprintable() and len(name) <= 200


def _cohort_reference(folder: Path) -> Any:
    columns, rows = references.table(folder / "cohort.csv", semicolons=False, comments=True)
    references.unique(columns)
    if "sample_id" not in columns or "fastq" not in columns or not rows:
        raise Unreadable
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    references.unique([record["sample_id"] for record in records])
    found = []
    for record in records:
        files = [[str(folder / part.strip())] for part in record["fastq"].split(";")]
        if not _good_id(record["sample_id"]) or not all(Path(file).is_file() for (file,) in files):
            raise Unreadable
        metadata = {name: value for name, value in record.items() if name not in ("sample_id", "fastq")}
        found.append((record["sample_id"], files, metadata))
    return found


def _catalog_outcome(folder: Path) -> Any:
    from biomeformer.genomes.catalog import read_catalog

    return [
        (genome.genome_id, str(genome.path), genome.kind, genome.metadata)
        for genome in read_catalog(folder / "genomes.tsv")
    ]


def _catalog_reference(folder: Path) -> Any:
    columns, rows = references.table(folder / "genomes.tsv")
    references.unique(columns)
    kinds = ("fasta", "genbank", "gff", "proteins", "file")
    if "genome_id" not in columns or not set(columns) & set(kinds) or not rows:
        raise Unreadable
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    references.unique([record["genome_id"] for record in records])
    found = []
    for record in records:
        filled = [kind for kind in kinds if record.get(kind)]
        if len(filled) != 1 or not _good_id(record["genome_id"]) or not (folder / record[filled[0]]).is_file():
            raise Unreadable
        metadata = {k: v for k, v in record.items() if k not in ("genome_id", "annotations", *kinds)}
        found.append(
            (record["genome_id"], str(folder / record[filled[0]]), filled[0] if filled[0] != "file" else None, metadata)
        )
    return found


CENTROIDS = np.random.default_rng(7).normal(size=(6, 5))


def _make_npy(folder: Path) -> None:
    np.save(folder / "centroids.npy", np.asfortranarray(CENTROIDS))


def _make_npz(folder: Path) -> None:
    np.savez_compressed(folder / "centroids.npz", centroids=CENTROIDS.astype(np.float32))


def _make_index(folder: Path) -> None:
    import faiss

    index = faiss.IndexFlatL2(CENTROIDS.shape[1])
    index.add(CENTROIDS.astype(np.float32))
    faiss.write_index(index, str(folder / "centroids.faiss"))


def _centroids(name: str) -> Callable[[Path], Any]:
    def outcome(folder: Path) -> np.ndarray:
        from biomeformer.metagenomes.centroid_files import read_centroids

        return read_centroids(folder / name)

    return outcome


@cache
def _genes() -> tuple[str, list[tuple[int, int, int, str]]]:
    """Return a contig and its genes: start from 0, end, strand and coding sequence."""
    rng = np.random.default_rng(3)
    bases, genes = "", []
    for strand in (1, -1, 1, -1):
        bases += "".join(rng.choice(list("ACGT"), 30))
        gene = random_gene(rng, 25)
        genes.append((len(bases), len(bases) + len(gene), strand, gene))
        bases += gene if strand > 0 else reverse_complement(gene)
    return bases, genes


def _genbank_text() -> str:
    bases, genes = _genes()
    lines = []
    for contig in ("c1", "c2"):
        lines += [
            f"LOCUS       {contig:<16} {len(bases):>11} bp    DNA     linear   BCT 01-JAN-2020",
            "DEFINITION  .",
            f"ACCESSION   {contig}",
            f"VERSION     {contig}.1",
            "FEATURES             Location/Qualifiers",
            f"     source          1..{len(bases)}",
            '                     /mol_type="genomic DNA"',
        ]
        for number, (start, end, strand, gene) in enumerate(genes):
            location = f"{start + 1}..{end}"
            lines.append(f"     CDS             {location if strand > 0 else f'complement({location})'}")
            lines.append(f'                     /locus_tag="{contig}_{number}"')
            lines.append(f'                     /product="enzyme {number}"')
            if number % 2:
                protein = references.translated(gene, 11, True).removesuffix("*")
                lines.append(f'                     /translation="{protein}"')
            else:
                lines += ["                     /codon_start=1", "                     /transl_table=11"]
        lines.append("ORIGIN")
        for at in range(0, len(bases), 60):
            blocks = " ".join(bases[at : at + 60][i : i + 10].lower() for i in range(0, len(bases[at : at + 60]), 10))
            lines.append(f"{at + 1:>9} {blocks}")
        lines.append("//")
    return "\n".join(lines) + "\n"


def _gff_text() -> str:
    bases, genes = _genes()
    lines = ["##gff-version 3", f"##sequence-region c1 1 {len(bases)}"]
    for number, (start, end, strand, _) in enumerate(genes):
        attributes = f"ID=cds{number};locus_tag=L{number};product=enzyme%2C {number};transl_table=11"
        row = ["c1", "prodigal", "CDS", str(start + 1), str(end), ".", "+" if strand > 0 else "-", "0", attributes]
        lines.append("\t".join(row))
    lines += ["##FASTA", ">c1 whole"] + [bases[at : at + 60] for at in range(0, len(bases), 60)]
    return "\n".join(lines) + "\n"


def _genome(name: str) -> Callable[[Path], Any]:
    def outcome(folder: Path) -> Any:
        from biomeformer.genomes import read_genome

        genome = read_genome(folder / name)
        genes = [(g.gene_id, g.contig, g.start, g.end, g.strand, g.protein) for g in genome.genes]
        return dict(genome.contigs), genes

    return outcome


def _genbank_reference(folder: Path) -> Any:
    lengths, genes = references.genbank(folder / "genome.gbk")
    order = {name: i for i, name in enumerate(lengths)}
    kept = references.usable(sorted(genes, key=lambda g: (order[g[1]], g[2], g[3])))
    if not genes or not kept:
        raise Unreadable
    return lengths, kept


def _gff_reference(folder: Path) -> Any:
    lengths, genes = references.gff(folder / "genome.gff")
    kept = references.usable(genes)
    if not genes or not kept:
        raise Unreadable
    return lengths, kept


def _contigs_outcome(folder: Path) -> Any:
    from biomeformer.genomes.fasta import read_contigs
    from biomeformer.genomes.text import read_text

    path = folder / "genome.fna"
    return read_contigs(path, read_text(path))


def _contigs_reference(folder: Path) -> Any:
    found = references.contigs(folder / "genome.fna")
    if not any(found.values()):
        raise Unreadable
    return found


PROTEINS = "".join(
    f">c1_{i} # {90 * i + 1} # {90 * i + 60} # 1 # ID=1_{i};partial=00\nMEFKLPQR{'AVILK' * i}*\n" for i in range(1, 6)
)


def _proteins_reference(folder: Path) -> Any:
    genes: list[references.Gene] = []
    for header, sequence in references.genome_fasta(folder / "genome.faa"):
        name = header.split()[0] if header else ""
        if not name or re.search(r"[^A-Za-z*\-.]", sequence):
            raise Unreadable
        match = re.match(r"(\S+)_\d+ # (\d+) # (\d+) # (-?1) # ", header)
        location = (match[1], int(match[2]), int(match[3]), int(match[4])) if match else ("", 0, 0, 0)
        genes.append((name, *location, sequence))
    if not re.search("[^ACGTNacgtn]", "".join(gene[-1] for gene in genes)):
        raise Unreadable
    kept = references.usable(genes)
    if not kept:
        raise Unreadable
    return dict.fromkeys((gene[1] for gene in genes), 0), kept


ANNOTATIONS = (
    "## emapper-2.1.12\n#query\tseed_ortholog\tevalue\tPreferred_name\tDescription\n"
    'L0\t562.a\t1e-30\tdnaA\treplication\nL1\t562.b\t2e-3\t-\tunknown\nL2\t562.c\t1e-9\trecA\tit\'s "quoted"\n'
    "## 3 queries scanned\n"
)


def _annotations_outcome(folder: Path) -> Any:
    from biomeformer.genomes.annotation_tables import read_annotations

    return read_annotations(folder / "annotations.tsv")


def _annotations_reference(folder: Path) -> Any:
    columns, rows = references.table(folder / "annotations.tsv", comments=True, row_names=True, quotes_with_tabs=False)
    if len(columns) < 2:
        raise Unreadable
    references.unique(columns)
    found: dict[str, dict[str, list[str]]] = {}
    for gene, *values in rows:
        own = found.setdefault(gene, {})
        for name, value in zip(columns[1:], values, strict=True):
            if value not in ("", "-") and value not in own.setdefault(name, []):
                own[name].append(value)
    return {gene: {name: "; ".join(v) for name, v in own.items() if v} for gene, own in found.items()}


SPECIES = "sample_id,f1,f2,f3\n" + "".join(f"s{i},{i},{2 * i + 1},{7 - i}\n" for i in range(5))
METAPHLAN = (
    "#mpa_v31\nclade_name\tNCBI_tax_id\ts0\ts1\ts2\n"
    "k__Bacteria\t2\t100\t100\t100\nk__Bacteria|g__A\t3\t60\t30\t50\nk__Bacteria|g__A|s__a1\t4\t40\t10\t25\n"
    "k__Bacteria|g__A|s__a2\t5\t20\t20\t25\nk__Bacteria|g__B\t6\t40\t70\t50\nk__Bacteria|g__B|s__b1\t7\t40\t70\t50\n"
)


def _species(name: str) -> Callable[[Path], Any]:
    def outcome(folder: Path) -> Any:
        from biomeformer.phenotypes import read_feature_table

        table = read_feature_table(folder / name)
        return list(table.sample_ids), list(table.names), np.ascontiguousarray(table.values)

    return outcome


def _species_reference(name: str) -> Callable[[Path], Any]:
    def reference(folder: Path) -> Any:
        if references.decompressed(folder / name).lstrip().startswith(b"{"):
            return references.biom_json(folder / name)
        ids, names, values = references.checked_species(*references.species(folder / name))
        if not (values == np.round(values)).all():
            sums = values.sum(1)
            if (sums > (100 if np.median(sums) > 2 else 1) * 1.02).any():
                raise Unreadable
        return ids, names, values

    return reference


def _taxa_outcome(folder: Path) -> Any:
    from biomeformer.phenotypes import read_feature_table

    table = read_feature_table(folder / "table.tsv")
    said = " ".join([*table.notes, *table.warnings])
    return list(table.sample_ids), list(table.names), np.ascontiguousarray(table.values), Said(said)


def _taxa_reference(folder: Path) -> Any:
    references.species(folder / "table.tsv")
    return Accepts(lambda outcome: references.conserves_taxa(folder / "table.tsv", outcome))


def _biom_text() -> str:
    values = [[0, 0, 5], [0, 1, 2], [1, 1, 9], [2, 0, 1], [2, 2, 4]]
    record = {
        "id": "t",
        "format": "Biological Observation Matrix 1.0.0",
        "format_url": "http://biom-format.org",
        "type": "OTU table",
        "generated_by": "test",
        "date": "2020-01-01T00:00:00",
        "rows": [{"id": f"f{i}", "metadata": None} for i in range(3)],
        "columns": [{"id": f"s{i}", "metadata": None} for i in range(3)],
        "matrix_type": "sparse",
        "matrix_element_type": "int",
        "shape": [3, 3],
        "data": values,
    }
    return json.dumps(record, indent=1)


def _make_biom(folder: Path) -> None:
    import h5py
    from biom import Table

    values = np.array([[5, 2, 0], [0, 9, 1], [1, 0, 4]], float)
    table = Table(values, ["f0", "f1", "f2"], ["s0", "s1", "s2"])
    with h5py.File(folder / "table.biom", "w") as file:
        table.to_hdf5(file, "test")


METADATA = "sample_id\tstate\tage\n" + "".join(f"s{i}\t{'case' if i % 2 else 'control'}\t{20 + i}\n" for i in range(8))


def _metadata_outcome(folder: Path) -> Any:
    from biomeformer.phenotypes import read_metadata

    frame = read_metadata(folder / "metadata.tsv")
    return list(frame.index), list(frame.columns), frame.to_numpy().tolist()


def _metadata_reference(folder: Path) -> Any:
    columns, rows = references.table(folder / "metadata.tsv", comments=True, row_names=True)
    references.unique(columns)
    key = columns.index("sample_id") if "sample_id" in columns else 0
    ids = [row[key] for row in rows]
    references.unique(ids)
    others = [i for i in range(len(columns)) if i != key]
    return ids, [columns[i] for i in others], [[row[i] for i in others] for row in rows]


LABELLED = "name,sequence,label\n" + "".join(f"q{i},{s},{'ab'[i % 2]}\n" for i, s in enumerate(SEQUENCES))


def _labelled(argument: str, id_column: str | None = None) -> Callable[[Path], Any]:
    def outcome(folder: Path) -> Any:
        from biomeformer.io.tables import is_missing
        from biomeformer.sequences.labelled import open_input, read_labelled
        from biomeformer.sequences.settings import PreparationSettings

        label, equals, name = argument.rpartition("=")
        file = open_input(f"{label}{equals}{folder / name}")
        if file.kind == "intervals":
            raise ValueError("a table was taken for intervals")
        batches = list(read_labelled(file, PreparationSettings(id_column=id_column)))
        return [
            # A sequence without a name is called by its file and line.
            ("" if re.fullmatch(r"labelled\.\w+:\d+", name) else name, sequence.decode(), label)
            for batch in batches
            for name, sequence, label in zip(batch.ids, batch.sequences, batch.labels, strict=True)
            # Left out, and counted, by what follows.
            if not is_missing(label)
        ]

    return outcome


def _labelled_reference(name: str) -> Callable[[Path], Any]:
    def reference(folder: Path) -> Any:
        columns, rows = references.table(folder / name)
        if any(columns.count(wanted) != 1 for wanted in ("name", "sequence", "label")) or not rows:
            raise Unreadable
        at = [columns.index(wanted) for wanted in ("name", "sequence", "label")]
        missing = {"", "na", "n/a", "#n/a", "<na>", "nan", "null", "unknown", "missing"}
        return [tuple(row[i] for i in at) for row in rows if row[at[2]].lower() not in missing]

    return reference


def _labelled_fasta_reference(folder: Path) -> Any:
    records = references.fasta(folder / "a.fa", "backslashreplace")
    return [
        (header.split()[0] if header else f"a.fa:{number}", sequence.replace(".", "N"), "a")
        for number, (header, sequence) in enumerate(records, 1)
    ]


BED = "track name=x\n" + "".join(
    f"chr{1 + i % 2}\t{100 * i}\t{100 * i + 51}\tp{i}\t0\t{'+-.'[i % 3]}\n" for i in range(8)
)
NARROW_PEAK = "".join(
    f"chr1\t{100 * i}\t{100 * i + 80}\tp{i}\t{10 * i}\t.\t5.5\t3.2\t2.1\t{7 * i - 1}\n" for i in range(8)
)


def _intervals(name: str) -> Callable[[Path], Any]:
    def outcome(folder: Path) -> Any:
        from biomeformer.errors import InputError
        from biomeformer.sequences.intervals import read_intervals
        from biomeformer.sequences.labelled import open_input

        file = open_input(f"a={folder / name}")
        if file.kind != "intervals":
            raise InputError(f"{file.path} is read as a {file.kind}.")
        found = read_intervals(file)
        return [
            (
                found.contigs[found.contig[i]],
                int(found.summit[i]),
                int(found.strand[i]),
                int(found.line[i]),
                found.name(i),
            )
            for i in range(len(found))
        ]

    return outcome


def _intervals_reference(name: str) -> Callable[[Path], Any]:
    def reference(folder: Path) -> Any:
        return references.intervals(folder / name)

    return reference


CONFIGS = {
    "pretrain_read_encoder": "mini",
    "train_genome_transformer": "smoke",
    "finetune_sequence_classifier": "smoke",
    "finetune_phenotype": "local",
}


@cache
def _recipe(name: str) -> Any:
    import importlib

    return importlib.import_module(f"biomeformer.recipes.{name}").RecipeConfig


def _config_text(name: str) -> str:
    import yaml

    from processes import ROOT

    # Without comments, so that more of the text matters.
    text = (ROOT / "recipes" / "configs" / name / f"{CONFIGS[name]}.yaml").read_text()
    return yaml.safe_dump(yaml.safe_load(text), sort_keys=False)


def _plain(value: Any, like: Any) -> Any:
    """Return a config's value in the form that YAML gives for it, with only the fields that are given."""
    import dataclasses

    if dataclasses.is_dataclass(value) and isinstance(like, dict):
        return {key: _plain(getattr(value, key), like[key]) for key in like}
    if isinstance(value, list | tuple) and isinstance(like, list) and len(value) == len(like):
        return [_plain(one, other) for one, other in zip(value, like, strict=True)]
    if isinstance(value, float) and isinstance(like, str):
        # YAML reads 1e-3 as text.
        return like if float(like) == value or value != value else value
    return value


def _config_outcome(name: str) -> Callable[[Path], Any]:
    def outcome(folder: Path) -> Any:
        import yaml

        config = _recipe(name).from_yaml(folder / "config.yaml")
        given = yaml.safe_load((folder / "config.yaml").read_bytes().decode("utf-8", "replace")) or {}
        given = {_recipe(name).renamed.get(key, key): value for key, value in given.items()}
        return _plain(config, given)

    return outcome


def _config_reference(name: str) -> Callable[[Path], Any]:
    def reference(folder: Path) -> Any:
        value = references.yaml_of(folder / "config.yaml")
        if not isinstance(value, dict):
            raise Unreadable
        return {_recipe(name).renamed.get(key, key): each for key, each in value.items()}

    return reference


def _config_format(name: str) -> Format:
    def make(folder: Path) -> None:
        (folder / "config.yaml").write_text(_config_text(name))

    return Format(f"config of {name}", "config.yaml", TEXT_YAML, make, _config_outcome(name), _config_reference(name))


READS = random_sequences(10, seed=8)


def _make_checkpoint(folder: Path) -> None:
    tiny_metagenbert(min_read_length=20).save_pretrained(folder / "model")


def _make_checkpoint_with_sums(folder: Path) -> None:
    from biomeformer.checkpoints.integrity import checksums, weight_hashes

    _make_checkpoint(folder)
    (folder / "model" / "SHA256SUMS").write_text(checksums(weight_hashes(folder / "model")))


def _make_sharded(folder: Path) -> None:
    tiny_metagenbert(min_read_length=20).save_pretrained(folder / "model", max_shard_size="20KB")


def _load(folder: Path) -> Any:
    import biomeformer

    return biomeformer.load(folder / "model")


def _weights_outcome(folder: Path) -> Any:
    state = _load(folder).state_dict()
    return {name: (list(tensor.shape), tensor.numpy().tobytes()) for name, tensor in state.items()}


def _weights_reference(folder: Path) -> Any:
    found = references.safetensors(folder / "model" / "model.safetensors")
    if any(kind != "F32" or np.isnan(np.frombuffer(data, np.float32)).any() for kind, _, data in found.values()):
        raise Unreadable
    return {name: (list(shape), data) for name, (_, shape, data) in found.items()}


def _with_text_keys(value: Any) -> Any:
    return json.loads(json.dumps(value))


NOT_KEPT = ("transformers_version", "architectures", "auto_map", "dtype", "torch_dtype")


def _json_config_outcome(folder: Path) -> Any:
    config = _with_text_keys(_load(folder).config.to_dict())
    given = json.loads((folder / "model" / "config.json").read_bytes())
    return _kept(config, given)


def _kept(config: Any, given: Any) -> Any:
    return {
        key: _kept(config.get(key), value)
        if isinstance(value, dict) and isinstance(config.get(key), dict)
        else config.get(key)
        for key, value in given.items()
        if key not in NOT_KEPT
    }


def _json_config_reference(folder: Path) -> Any:
    given = references.json_of(folder / "model" / "config.json")
    if not isinstance(given, dict):
        raise Unreadable
    return _kept(given, given)


def _processor_outcome(folder: Path) -> Any:
    preprocessing = _with_text_keys(_load(folder).processor.preprocessing)
    given = json.loads((folder / "model" / "processor_config.json").read_bytes())
    return {key: preprocessing[key] for key in given if key in preprocessing}


def _processor_reference(folder: Path) -> Any:
    given = references.json_of(folder / "model" / "processor_config.json")
    known = json.loads(json.dumps(tiny_metagenbert(min_read_length=20).processor.preprocessing))
    if not isinstance(given, dict):
        raise Unreadable
    return {key: value for key, value in given.items() if key in known}


def _tokenizer_outcome(folder: Path) -> Any:
    return [_load(folder).processor.tokenizer(read)["input_ids"] for read in READS[:1]]


def _tokenizer_reference(folder: Path) -> Any:
    from tokenizers import Tokenizer

    references.json_of(folder / "model" / "tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(str(folder / "model" / "tokenizer.json"))
        return [tokenizer.encode(read).ids for read in READS[:1]]
    except Exception as error:
        raise Unreadable from error


def inputs() -> list[Format]:
    """Return the formats."""
    compressed = {suffix: BYTES + compressed_as(suffix, TEXT) for suffix in COMPRESSORS}
    return [
        _read_format("FASTQ", "reads.fastq", FASTQ, TEXT),
        *(
            _read_format(f"FASTQ, {name}", f"reads.fastq.{suffix}", FASTQ, compressed[suffix])
            for name, suffix in (("gzip", "gz"), ("zstd", "zst"), ("bzip2", "bz2"), ("xz", "xz"))
        ),
        Format("FASTQ, pairs", "r2.fastq", TEXT, _make_pairs, _pairs_outcome, _pairs_reference),
        _read_format("FASTA, reads", "reads.fasta", FASTA, TEXT),
        Format("cohort sheet", "cohort.csv", TEXT_TABLE, _make_cohort, _cohort_outcome, _cohort_reference),
        Format("genome catalog", "genomes.tsv", TEXT_TABLE, _make_cohort, _catalog_outcome, _catalog_reference),
        Format(
            "GenBank",
            "genome.gbk",
            TEXT,
            _write("genome.gbk", _genbank_text()),
            _genome("genome.gbk"),
            _genbank_reference,
        ),
        Format(
            "GFF3", "genome.gff", TEXT_TABLE, _write("genome.gff", _gff_text()), _genome("genome.gff"), _gff_reference
        ),
        Format("FASTA, contigs", "genome.fna", TEXT, _write("genome.fna", FASTA), _contigs_outcome, _contigs_reference),
        Format(
            "FASTA, proteins",
            "genome.faa",
            TEXT,
            _write("genome.faa", PROTEINS),
            _genome("genome.faa"),
            _proteins_reference,
        ),
        Format(
            "annotation table",
            "annotations.tsv",
            TEXT_TABLE,
            _write("annotations.tsv", ANNOTATIONS),
            _annotations_outcome,
            _annotations_reference,
        ),
        Format(
            "feature table, CSV",
            "table.csv",
            TEXT_TABLE,
            _write("table.csv", SPECIES),
            _species("table.csv"),
            _species_reference("table.csv"),
        ),
        Format(
            "species table, MetaPhlAn",
            "table.tsv",
            TEXT_TABLE,
            _write("table.tsv", METAPHLAN),
            _taxa_outcome,
            _taxa_reference,
        ),
        Format(
            "species table, BIOM 1",
            "table.biom",
            TEXT_JSON,
            _write("table.biom", _biom_text()),
            _species("table.biom"),
            lambda folder: references.biom_json(folder / "table.biom"),
        ),
        Format(
            "species table, BIOM 2",
            "table.biom",
            BINARY,
            _make_biom,
            _species("table.biom"),
            lambda folder: references.biom_hdf5(folder / "table.biom"),
        ),
        Format(
            "metadata",
            "metadata.tsv",
            TEXT_TABLE,
            _write("metadata.tsv", METADATA),
            _metadata_outcome,
            _metadata_reference,
        ),
        Format(
            "labelled CSV",
            "labelled.csv",
            TEXT_TABLE,
            _write("labelled.csv", LABELLED),
            _labelled("labelled.csv", "name"),
            _labelled_reference("labelled.csv"),
        ),
        Format(
            "labelled TSV",
            "labelled.tsv",
            TEXT_TABLE,
            _write("labelled.tsv", LABELLED.replace(",", "\t")),
            _labelled("labelled.tsv", "name"),
            _labelled_reference("labelled.tsv"),
        ),
        Format("labelled FASTA", "a.fa", TEXT, _write("a.fa", FASTA), _labelled("a=a.fa"), _labelled_fasta_reference),
        Format("BED", "a.bed", TEXT_TABLE, _write("a.bed", BED), _intervals("a.bed"), _intervals_reference("a.bed")),
        Format(
            "narrowPeak",
            "a.narrowPeak",
            TEXT_TABLE,
            _write("a.narrowPeak", NARROW_PEAK),
            _intervals("a.narrowPeak"),
            _intervals_reference("a.narrowPeak"),
        ),
        *map(_config_format, CONFIGS),
        Format(
            "checkpoint, config",
            "model/config.json",
            TEXT_JSON,
            _make_checkpoint,
            _json_config_outcome,
            _json_config_reference,
        ),
        Format(
            "checkpoint, processor config",
            "model/processor_config.json",
            TEXT_JSON,
            _make_checkpoint,
            _processor_outcome,
            _processor_reference,
        ),
        Format(
            "checkpoint, tokenizer",
            "model/tokenizer.json",
            TEXT_JSON,
            _make_checkpoint,
            _tokenizer_outcome,
            _tokenizer_reference,
        ),
        Format(
            "checkpoint, weights",
            "model/model.safetensors",
            TENSORS,
            _make_checkpoint,
            _weights_outcome,
            _weights_reference,
        ),
        Format("checkpoint, index", "model/model.safetensors.index.json", TEXT_JSON, _make_sharded, _weights_outcome),
        Format(
            "checkpoint, weights with SHA256SUMS",
            "model/model.safetensors",
            TENSORS,
            _make_checkpoint_with_sums,
            _weights_outcome,
        ),
        Format("checkpoint, SHA256SUMS", "model/SHA256SUMS", TEXT_TABLE, _make_checkpoint_with_sums, _weights_outcome),
        Format(
            "centroids, npy",
            "centroids.npy",
            BYTES,
            _make_npy,
            _centroids("centroids.npy"),
            lambda folder: references.centroids(references.npy((folder / "centroids.npy").read_bytes())),
        ),
        Format(
            "centroids, npz",
            "centroids.npz",
            BYTES,
            _make_npz,
            _centroids("centroids.npz"),
            lambda folder: references.centroids(references.npz(folder / "centroids.npz", "centroids")),
        ),
        Format(
            "centroids, faiss",
            "centroids.faiss",
            BYTES,
            _make_index,
            _centroids("centroids.faiss"),
            lambda folder: references.centroids(references.flat_index((folder / "centroids.faiss").read_bytes())),
        ),
    ]

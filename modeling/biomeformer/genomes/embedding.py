"""Embedding of genomes as the vectors of their proteins: a resumable run over a catalog, on one process or many."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NotRequired, TypedDict, Unpack

import numpy as np
import pandas as pd
import pyarrow as pa
import xxhash

from ..checkpoints import public_name
from ..errors import InputError, TableError
from ..io.atomic import wrap_write_errors
from ..io.html_repr import count, html_table
from ..io.parquet import CheckedParquet, CheckedParquetWriter, write_parquet
from ..io.records import DamagedFileError, RecordType
from ..io.short_repr import short_repr
from ..runs.control import RunControl, RunOptions, resolve_control
from ..runs.run_folder import Part, RunFolder
from ..runs.scheduler import ItemResult, RunOutcome, run_items
from .ahead import GenomesAhead
from .catalog import GENOME_ID, CatalogedGenome, GenomeCatalog
from .genome import Genome
from .proteins import ProteinEncoder
from .store import KEY, ProteinStore, protein_keys

RESULTS = {"genomes": "genomes.parquet", "genes": "genes.parquet", "record": "genomes.json"}
GENE_COLUMNS = ("genome_id", "gene_id", "contig", "start", "end", "strand", "partial", "annotations", "key")
# Column of a dataset with the checksums of each row's values.
CHECKSUMS = "checksums"
ADVICE = "run `biomeformer genome embed` again, which makes the tables from the genomes it has embedded"


class GenomesRecord(TypedDict):
    """Content of `genomes.json`.

    Attributes:
        protein_encoder: Name and preprocessing config.
        store: Folder of the vectors, relative to that of the record; absolute in version 0.1.
        encoder_folder: Folder of a protein encoder on this machine, relative to that of the record.
        n_genomes: Number of genomes.
        n_genes: Number of their genes.
        n_distinct_proteins: Number of distinct proteins.
        tables: Checksums of the tables beside it, by the key of `RESULTS`; absent in folders of version 0.1.
    """

    protein_encoder: dict[str, Any]
    store: str
    encoder_folder: NotRequired[str]
    n_genomes: int
    n_genes: int
    n_distinct_proteins: int
    tables: NotRequired[dict[str, str]]


RECORD = RecordType(
    GenomesRecord, ADVICE, [{"protein_encoder", "store", "n_genomes", "n_genes", "n_distinct_proteins"}]
)


def embed_genomes(
    encoder: ProteinEncoder,
    catalog: GenomeCatalog,
    folder: str | Path,
    *,
    store: str | Path | None = None,
    translation_table: int = 11,
    batch_tokens: int | None = None,
    threads: int = 1,
    control: RunControl | None = None,
    **options: Unpack[RunOptions],
) -> RunOutcome[EmbeddedGenomes | None]:
    """Read genomes, call genes where there are none, and embed each distinct protein once.

    Each finished genome is a part of its own in the folder, and its new proteins a segment of the store: a run that was
    interrupted or killed resumes with the genomes that are left, and its results do not depend on that.

    Args:
        encoder: ESM-2, on the device to use.
        catalog: The genomes.
        folder: Where parts, record and tables go; on several machines a folder they share.
        store: Folder of the proteins' vectors, which other runs may share; `folder/store` by default.
        translation_table: NCBI's number, of genes that do not say.
        batch_tokens: Token budget of one pass through the encoder.
        threads: Genomes, or contigs, in which genes are called at a time, while others are embedded.
        control: How the run proceeds; `overwrite` keeps the store. Its observer's `advance` gets a genome's residues
            done, twice, and in all.
        **options: Fields of `RunControl` by keyword: `resume`, `overwrite`, `fail_fast`, `processes`, `observer`,
            `check`; in place of a control, or to change one.

    Returns:
        The genomes, on the main process, and which failed.

    Raises:
        InputError: The folder or the store holds something else, or a run is under way there.
        RunError: The folder cannot be written to.
        RunInterrupted: A signal came, as `check` noticed.
        RankError: Another process failed.
    """
    control = resolve_control(control, _with_units(options))
    folder = Path(folder)
    store_folder = Path(store) if store is not None else folder / "store"
    fingerprint = {"protein_encoder": encoder.preprocessing, "translation_table": translation_table}
    run = RunFolder(
        folder,
        fingerprint,
        catalog,
        "genomes",
        results=tuple(RESULTS.values()),
        root=catalog.root,
        own_files=None if catalog.allow_shared_files else CatalogedGenome.own_files,
        validate=_inconsistency,
    )

    @cache
    def open_store() -> ProteinStore:
        # Within the run, which checks the folder first.
        return ProteinStore(store_folder, encoder.preprocessing)

    reading = ExitStack()
    ahead: Iterator[tuple[CatalogedGenome, Future[Genome]]] = iter(())

    def begin(entries: Sequence[CatalogedGenome]) -> None:
        nonlocal ahead
        genomes = GenomesAhead(entries, translation_table=translation_table, threads=threads)
        ahead = iter(reading.enter_context(genomes))

    def embed(entry: CatalogedGenome, among: Sequence[int]) -> ItemResult:
        expected, read = next(ahead)
        assert expected == entry
        genome = read.result()
        control.processes.check()
        proteins = [gene.protein for gene in genome.genes]
        keys = protein_keys(proteins)
        distinct, first = np.unique(keys, return_index=True)
        vectors = open_store()
        vectors.refresh()
        new = np.sort(first[~vectors.find_intact(distinct)])
        embedded = encoder.embed(
            [proteins[i] for i in new],
            batch_tokens=batch_tokens,
            progress=lambda n_done, n_total: control.observer.advance(entry.genome_id, n_done, n_done, n_total),
            check=control.processes.check,
        )
        vectors.add(keys[new], embedded.vectors)
        gene_stats = {
            **genome.gene_stats,
            "n_distinct_proteins": len(distinct),
            "n_truncated": encoder.n_truncated(proteins),
        }
        return _arrays(genome, keys), gene_stats

    def gather(parts: dict[str, Part], failed: dict[str, str]) -> EmbeddedGenomes | None:
        if not parts:
            return None
        with wrap_write_errors(folder):
            _write_tables(folder, parts, catalog, encoder, store_folder)
        return EmbeddedGenomes.read(folder)

    with reading:
        return run_items(run, embed, gather, control=control, share_batches=False, begin=begin)


def _inconsistency(arrays: dict[str, np.ndarray], gene_stats: dict[str, int]) -> str | None:
    """Return why a genome's genes and statistics do not fit, or None."""
    numbers = {name: len(arrays[name]) for name in ("keys", "contig_ids", "places") if name in arrays}
    if set(numbers.values()) != {gene_stats.get("n_genes")} or len(numbers) < 3 or "text" not in arrays:
        return f"it has not keys, contigs and places of each of {gene_stats.get('n_genes')} genes"
    return None


def _with_units(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return options with the deprecated `progress`, which gets no units, as other runs call it."""
    progress = options.get("progress")
    if progress is None:
        return options
    return {**options, "progress": lambda name, n_units, n_done, n_total: progress(name, n_done, n_total)}


def _arrays(genome: Genome, keys: np.ndarray) -> dict[str, np.ndarray]:
    """Return a genome as arrays, text among them as bytes of JSON."""
    genes = genome.genes
    text = {
        "gene_ids": [gene.gene_id for gene in genes],
        "annotations": [dict(gene.annotations) for gene in genes],
        "contigs": list(genome.contigs),
        "method": genome.method,
        "gc": None if np.isnan(genome.gc) else genome.gc,
        "notes": list(genome.notes),
    }
    return {
        "keys": keys.view(np.uint8).reshape(-1, KEY.itemsize),
        "contig_ids": genome.contig_ids,
        "places": np.array([[gene.start, gene.end, gene.strand, gene.partial] for gene in genes], np.int64),
        "text": np.frombuffer(json.dumps(text).encode(), np.uint8),
    }


def _write_tables(
    folder: Path, parts: dict[str, Part], catalog: GenomeCatalog, encoder: ProteinEncoder, store: Path
) -> None:
    """Write genomes and genes as Parquet, one row group per genome, and the record."""
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("genome_id", "gene_id", "contig")),
            *((name, pa.int64()) for name in ("start", "end", "strand")),
            ("partial", pa.bool_()),
            ("annotations", pa.string()),
            ("key", pa.binary(KEY.itemsize)),
        ]
    )
    rows, distinct = [], set[bytes]()
    with CheckedParquetWriter(folder / RESULTS["genes"], schema) as writer:
        for genome_id, part in parts.items():
            arrays = part.arrays()
            text = json.loads(arrays["text"].tobytes())
            n = len(arrays["keys"])
            columns = [
                pa.array([genome_id] * n),
                pa.array(text["gene_ids"], pa.string()),
                pa.array([text["contigs"][i] for i in arrays["contig_ids"]], pa.string()),
                *(pa.array(arrays["places"][:, i]) for i in range(3)),
                pa.array(arrays["places"][:, 3].astype(bool)),
                pa.array([json.dumps(values) if values else "" for values in text["annotations"]]),
                pa.array([key.tobytes() for key in arrays["keys"]], pa.binary(KEY.itemsize)),
            ]
            writer.write(pa.table(columns, schema=schema))
            distinct.update(key.tobytes() for key in arrays["keys"])
            notes = "; ".join(text.get("notes", []))
            rows.append(
                {GENOME_ID: genome_id, "method": text["method"], "gc": text["gc"], "notes": notes, **part.stats}
            )
    frame = pd.DataFrame(rows).set_index(GENOME_ID)
    metadata = catalog.metadata().loc[frame.index]
    metadata.columns = [f"metadata.{name}" for name in metadata.columns]
    write_parquet(folder / RESULTS["genomes"], pa.Table.from_pandas(pd.concat([frame, metadata], axis=1)))
    record = {
        "protein_encoder": {"name": public_name(encoder.name), **encoder.preprocessing},
        # Relative to this folder, so that the record holds no path of the machine.
        "store": _relative(store, folder),
        **({"encoder_folder": _relative(encoder.name, folder)} if Path(encoder.name).is_dir() else {}),
        "n_genomes": len(frame),
        "n_genes": int(frame["n_genes"].sum()),
        "n_distinct_proteins": len(distinct),
        "tables": {name: CheckedParquet(folder / RESULTS[name], ADVICE).checksum for name in ("genomes", "genes")},
    }
    RECORD.write(folder / RESULTS["record"], record)


def _relative(path: str | Path, folder: Path) -> str:
    return os.path.relpath(Path(path).resolve(), folder.resolve())


@dataclass(frozen=True)
class EmbeddedGenomes:
    """Genomes of a finished run: genes in order, vectors from the store.

    Attributes:
        genomes: Metadata, gene statistics and method, one row per genome.
        record: The encoder's preprocessing config, the folder of the store, and totals.
        folder: Folder of the run.
    """

    genomes: pd.DataFrame
    record: GenomesRecord
    folder: Path

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        return html_table(self, f"{count(len(self), 'genome')} of {self.folder.name}", self.genomes)

    @classmethod
    def read(cls, folder: str | Path) -> EmbeddedGenomes:
        """Read what `embed_genomes` wrote. Genes and vectors are read, and verified, when they are asked for.

        Raises:
            TableError: The folder holds no embedded genomes.
            DamagedFileError: The record or the table of genomes is damaged.
        """
        folder = Path(folder)
        try:
            record = RECORD.read(folder / RESULTS["record"])
            table = CheckedParquet(folder / RESULTS["genomes"], ADVICE, ("n_genes", "method"))
        except FileNotFoundError as error:
            raise TableError(
                f"{folder} holds no embedded genomes ({Path(error.filename).name} is missing); give the folder that "
                "`biomeformer genome embed` wrote."
            ) from error
        genomes = table.read_frame()
        if genomes.index.name != GENOME_ID or len(genomes) != record["n_genomes"] or not _is_of(record, table):
            raise DamagedFileError(f"{table.path} is not the table that {RESULTS['record']} names; {ADVICE}.")
        return cls(genomes, record, folder)

    def __len__(self) -> int:
        return len(self.genomes)

    @property
    def metadata(self) -> pd.DataFrame:
        """The catalog's columns, as text, one row per genome."""
        columns = self.genomes.filter(like="metadata.")
        return columns.rename(columns=lambda name: name.removeprefix("metadata."))

    @cached_property
    def genes(self) -> pd.DataFrame:
        """Position, annotations and key of each gene, in the order of genomes."""
        return self._groups.read_frame()

    @cached_property
    def store(self) -> ProteinStore:
        """The proteins' vectors."""
        preprocessing = {key: value for key, value in self.record["protein_encoder"].items() if key != "name"}
        folder = self.folder / self.record["store"]
        if not (folder / "store.json").is_file():
            folder = self.folder / "store"
        return ProteinStore(folder, preprocessing)

    @cached_property
    def _groups(self) -> CheckedParquet:
        # One row group per genome: of a large collection no more is read than is asked for.
        try:
            table = CheckedParquet(self.folder / RESULTS["genes"], ADVICE, GENE_COLUMNS)
        except FileNotFoundError as error:
            raise DamagedFileError(f"{error.filename} is missing; {ADVICE}.") from error
        is_key = table.schema.field("key").type == pa.binary(KEY.itemsize)
        sizes = (table.n_groups, table.n_rows)
        if sizes != (len(self), self.record["n_genes"]) or not is_key or not _is_of(self.record, table):
            raise DamagedFileError(f"{table.path} is not the table that {RESULTS['record']} names; {ADVICE}.")
        return table

    def _genes_of(self, genome_id: str, columns: Sequence[str] | None = None) -> pa.Table:
        if genome_id not in self.genomes.index:
            raise InputError(f"{self.folder} has no genome {genome_id!r}; give one of its {len(self)}.")
        return self._groups.read_group(int(self.genomes.index.get_loc(genome_id)), columns)

    def _column(self, genome_id: str, name: str) -> pa.ChunkedArray:
        return self._genes_of(genome_id, [name])[name]

    def vectors(self, genome_id: str, rows: np.ndarray | None = None) -> np.ndarray:
        """Return vectors of a genome's proteins, float16 `(n_genes, hidden_size)`; only those of `rows` if given."""
        column = self._column(genome_id, "key").combine_chunks()
        keys = np.frombuffer(column.buffers()[1], KEY)[column.offset : column.offset + len(column)]
        return self.store.get(keys if rows is None else keys[rows])

    def contig_ids(self, genome_id: str) -> np.ndarray:
        """Return the number of each gene's contig, int64 `(n_genes,)`, in order of appearance."""
        codes, _ = pd.factorize(self._column(genome_id, "contig").to_numpy())
        return np.asarray(codes, np.int64)

    def gene_table(self, genome_id: str) -> pd.DataFrame:
        """Return position, annotations and key of a genome's genes, one row per gene, in order."""
        return self._genes_of(genome_id).to_pandas()

    def __iter__(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for name in self.genomes.index:
            yield str(name), self.vectors(str(name)), self.contig_ids(str(name))

    @property
    def hit_rate(self) -> float:
        """Share of genes whose protein was not embedded, because an earlier gene has the same one."""
        return 1 - int(self.record["n_distinct_proteins"]) / int(self.record["n_genes"])

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Name and preprocessing config of the protein encoder."""
        return dict(self.record["protein_encoder"])

    @property
    def encoder_location(self) -> str:
        """Folder or Hub id of the protein encoder, by which it can be loaded again."""
        folder = self.record.get("encoder_folder")
        return str(self.record["protein_encoder"]["name"] if folder is None else (self.folder / folder).resolve())

    @property
    def n_genes(self) -> pd.Series:
        """Genes of each genome."""
        return self.genomes["n_genes"]

    def to_dataset(self) -> Any:
        """Return a `datasets` dataset, one row per genome, which `DatasetGenomes` reads and the Hub accepts.

        Columns: `genome_id`, the catalog's own, `n_genes`, `protein_encoder` (its name and preprocessing as JSON, the
        same in every row), `contig_ids`, `vectors (n_genes, hidden_size)`, float16, and `checksums` (of the row's other
        columns, as JSON).
        """
        import datasets

        size, preprocessing = self.store.hidden_size, json.dumps(self.preprocessing, sort_keys=True)
        features = datasets.Features(
            {
                GENOME_ID: datasets.Value("string"),
                **{str(name): datasets.Value("string") for name in self.metadata.columns},
                "n_genes": datasets.Value("int32"),
                "protein_encoder": datasets.Value("string"),
                "contig_ids": datasets.List(datasets.Value("int32")),
                "vectors": datasets.Array2D((None, size), "float16"),
                CHECKSUMS: datasets.Value("string"),
            }
        )

        # `datasets` pickles the generator to name its cache, and readers that this object has opened cannot be.
        source = replace(self)

        def rows() -> Iterator[dict[str, Any]]:
            metadata = source.metadata
            for name, vectors, contigs in source:
                row = {
                    GENOME_ID: name,
                    **metadata.loc[name].to_dict(),
                    "n_genes": len(vectors),
                    "protein_encoder": preprocessing,
                    "contig_ids": contigs,
                    "vectors": vectors,
                }
                yield row | {CHECKSUMS: json.dumps({column: value_checksum(value) for column, value in row.items()})}

        return datasets.Dataset.from_generator(rows, features=features)


def value_checksum(value: Any) -> str:
    """Return the XXH3 checksum of a value of a dataset's row: text, a number, contig numbers or vectors."""
    if isinstance(value, np.ndarray):
        kind = np.float16 if value.dtype.kind == "f" else np.int64
        return str(xxhash.xxh3_64_hexdigest(np.ascontiguousarray(value, kind).reshape(-1).view(np.uint8).data))
    return str(xxhash.xxh3_64_hexdigest(str(value).encode()))


def _is_of(record: GenomesRecord, table: CheckedParquet) -> bool:
    """Return whether a table is the one that the record was written with."""
    tables = record.get("tables")
    name = next(name for name, file in RESULTS.items() if file == table.path.name)
    return tables is None or tables.get(name) == table.checksum


__all__ = ["CHECKSUMS", "RESULTS", "CatalogedGenome", "EmbeddedGenomes", "embed_genomes", "value_checksum"]

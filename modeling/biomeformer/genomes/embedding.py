"""Genomes to vectors of their proteins: a run over a catalog that survives interruption, on one process or many."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import TableError
from ..io.atomic import atomic_write, wrap_write_errors
from ..runs.process_group import ProcessGroup
from ..runs.run_folder import Part, RunFolder
from ..runs.scheduler import RunOutcome, SampleResult, run_samples
from .catalog import GENOME_ID, CatalogedGenome, GenomeCatalog
from .genome import Genome
from .proteins import ProteinEncoder
from .store import KEY, ProteinStore, protein_keys

RESULTS = {"genomes": "genomes.parquet", "genes": "genes.parquet", "record": "genomes.json"}
GENE_COLUMNS = ("genome_id", "gene_id", "contig", "start", "end", "strand", "partial", "annotations", "key")


def embed_genomes(
    encoder: ProteinEncoder,
    catalog: GenomeCatalog,
    folder: str | Path,
    *,
    store: str | Path | None = None,
    translation_table: int = 11,
    batch_tokens: int | None = None,
    threads: int = 1,
    processes: ProcessGroup | None = None,
    resume: bool = True,
    overwrite: bool = False,
    fail_fast: bool = False,
    on_plan: Callable[[int, int], None] | None = None,
    on_genome: Callable[[str, str | None], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    check: Callable[[], None] | None = None,
) -> RunOutcome[EmbeddedGenomes | None]:
    """Read genomes, call genes where there are none, and embed each distinct protein once.

    Each finished genome is a part of its own in the folder, and its new proteins a segment of the store: a run that was
    stopped, however rudely, goes on with the genomes that are left, and ends with what it would have ended with.

    Args:
        encoder: ESM-2, on the device to use.
        catalog: The genomes.
        folder: Where parts, record and tables go; on several machines a folder they share.
        store: Folder of the proteins' vectors, which other runs may share; `folder/store` by default.
        translation_table: NCBI's number, of genes that do not say.
        batch_tokens: Token budget of one pass through the encoder.
        threads: For calling genes.
        processes: The processes of the job; this one alone by default.
        resume: Whether to go on with a run found in the folder; otherwise it is refused.
        overwrite: Delete a run found in the folder; the store stays.
        fail_fast: Stop at the first genome that fails, instead of going on with the others.
        on_plan: Called once with how many genomes an earlier attempt finished, and how many this process will do.
        on_genome: Called for each genome that this process finishes, with its id and, if it failed, the reason.
        progress: Called after each batch with the genome's id, residues done and in all.
        check: Called after each batch and while waiting; what it raises ends the run.

    Returns:
        The genomes, on the main process, and which failed.

    Raises:
        InputError: The folder or the store holds something else, or a run is under way there.
        RunError: The folder cannot be written to.
        RunInterrupted: `check` said so.
        RankError: Another process failed.
    """
    folder, processes = Path(folder), processes or ProcessGroup()
    if check is not None:
        processes.check = check
    place = Path(store) if store is not None else folder / "store"
    fingerprint = {"protein_encoder": encoder.preprocessing, "translation_table": translation_table}
    run = RunFolder(folder, fingerprint, catalog, results=tuple(RESULTS.values()))
    vectors: list[ProteinStore] = []

    def opened() -> ProteinStore:
        # Within the run, which looks at the folder first.
        if not vectors:
            vectors.append(ProteinStore(place, encoder.preprocessing))
        return vectors[0]

    def embed(entry: Any, among: Sequence[int]) -> SampleResult:
        genome: Genome = entry.read(translation_table=translation_table, threads=threads)
        processes.check()
        proteins = [gene.protein for gene in genome.genes]
        keys = protein_keys(proteins)
        distinct, first = np.unique(keys, return_index=True)
        found = opened()
        found.refresh()
        new = np.sort(first[~found.find(distinct)])
        embedded = encoder.embed(
            [proteins[i] for i in new],
            batch_tokens=batch_tokens,
            progress=None if progress is None else lambda done, total: progress(entry.genome_id, done, total),
            check=processes.check,
        )
        found.add(keys[new], embedded.vectors)
        gene_stats = {
            **genome.gene_stats,
            "n_distinct_proteins": len(distinct),
            "n_truncated": sum(len(protein) > encoder.max_residues for protein in proteins),
        }
        return _arrays(genome, keys), gene_stats

    def gather(parts: dict[str, Part], failed: dict[str, str]) -> EmbeddedGenomes | None:
        if not parts:
            return None
        with wrap_write_errors(folder):
            _write_tables(folder, parts, catalog, encoder, place)
        return EmbeddedGenomes.read(folder)

    return run_samples(
        run,
        embed,
        gather,
        processes=processes,
        share_batches=False,
        resume=resume,
        overwrite=overwrite,
        fail_fast=fail_fast,
        on_plan=on_plan,
        on_sample=on_genome,
    )


def _arrays(genome: Genome, keys: np.ndarray) -> dict[str, np.ndarray]:
    """A genome as arrays; what is text goes as bytes."""
    genes = genome.genes
    text = {
        "gene_ids": [gene.gene_id for gene in genes],
        "annotations": [dict(gene.annotations) for gene in genes],
        "contigs": list(genome.contigs),
        "method": genome.method,
        "gc": None if np.isnan(genome.gc) else genome.gc,
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
    """Genomes and genes as Parquet, genome after genome."""
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
    with atomic_write(folder / RESULTS["genes"]) as partial, pq.ParquetWriter(partial, schema) as writer:
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
                pa.array([json.dumps(found) if found else "" for found in text["annotations"]]),
                pa.array([key.tobytes() for key in arrays["keys"]], pa.binary(KEY.itemsize)),
            ]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=n)
            distinct.update(key.tobytes() for key in arrays["keys"])
            rows.append({GENOME_ID: genome_id, "method": text["method"], "gc": text["gc"], **part.stats})
    frame = pd.DataFrame(rows).set_index(GENOME_ID)
    metadata = catalog.metadata().loc[frame.index]
    metadata.columns = [f"metadata.{name}" for name in metadata.columns]
    with atomic_write(folder / RESULTS["genomes"]) as partial:
        pd.concat([frame, metadata], axis=1).to_parquet(partial)
    record = {
        "protein_encoder": {"name": encoder.name, **encoder.preprocessing},
        "store": str(store.resolve()),
        "n_genomes": len(frame),
        "n_genes": int(frame["n_genes"].sum()),
        "n_distinct_proteins": len(distinct),
    }
    with atomic_write(folder / RESULTS["record"]) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")


@dataclass(frozen=True)
class EmbeddedGenomes:
    """Genomes of a finished run: genes in order, vectors from the store.

    Attributes:
        genomes: Metadata, tallies and method, one row a genome.
        record: The encoder's preprocessing config and where the store lies.
        folder: The run's.
    """

    genomes: pd.DataFrame
    record: dict[str, Any]
    folder: Path

    @classmethod
    def read(cls, folder: str | Path) -> EmbeddedGenomes:
        """Read what `embed_genomes` wrote.

        Raises:
            TableError: The folder holds no such thing.
        """
        folder = Path(folder)
        try:
            record = json.loads((folder / RESULTS["record"]).read_text())
            return cls(pd.read_parquet(folder / RESULTS["genomes"]), record, folder)
        except (OSError, ValueError) as error:
            raise TableError(
                f"{folder} holds no embedded genomes ({type(error).__name__}); give the folder that "
                "`biomeformer genome embed` wrote."
            ) from error

    def __len__(self) -> int:
        return len(self.genomes)

    @property
    def metadata(self) -> pd.DataFrame:
        """The catalog's columns, as text, one row a genome."""
        found = self.genomes.filter(like="metadata.")
        return found.rename(columns=lambda name: name.removeprefix("metadata."))

    @cached_property
    def genes(self) -> pd.DataFrame:
        """Place, annotations and key of each gene, in the order of genomes."""
        return pd.read_parquet(self.folder / RESULTS["genes"])

    @cached_property
    def store(self) -> ProteinStore:
        """The proteins' vectors."""
        preprocessing = {key: value for key, value in self.record["protein_encoder"].items() if key != "name"}
        place = Path(self.record["store"])
        if not (place / "store.json").is_file():
            place = self.folder / "store"
        return ProteinStore(place, preprocessing)

    @cached_property
    def _groups(self) -> pq.ParquetFile:
        # A row group a genome: of a large collection no more is read than is asked for.
        return pq.ParquetFile(self.folder / RESULTS["genes"])

    def _column(self, genome_id: str, name: str) -> pa.ChunkedArray:
        return self._groups.read_row_group(self.genomes.index.get_loc(genome_id), columns=[name])[name]

    def vectors(self, genome_id: str, rows: np.ndarray | None = None) -> np.ndarray:
        """Vectors of a genome's proteins, float16 `(n_genes, hidden_size)`; of some genes where rows are given."""
        found = self._column(genome_id, "key").combine_chunks()
        keys = np.frombuffer(found.buffers()[1], KEY)[found.offset : found.offset + len(found)]
        return self.store.get(keys if rows is None else keys[rows])

    def contig_ids(self, genome_id: str) -> np.ndarray:
        """Number of each gene's contig, int64 `(n_genes,)`, in order of appearance."""
        codes, _ = pd.factorize(self._column(genome_id, "contig").to_numpy())
        return np.asarray(codes, np.int64)

    def gene_table(self, genome_id: str) -> pd.DataFrame:
        """Place, annotations and key of a genome's genes, one row a gene, in order."""
        return self._groups.read_row_group(self.genomes.index.get_loc(genome_id)).to_pandas()

    def __iter__(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for name in self.genomes.index:
            yield str(name), self.vectors(str(name)), self.contig_ids(str(name))

    @property
    def hit_rate(self) -> float:
        """Share of genes whose protein did not have to be embedded, because an earlier gene has the same."""
        return 1 - int(self.record["n_distinct_proteins"]) / int(self.record["n_genes"])

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Name and preprocessing config of the protein encoder."""
        return dict(self.record["protein_encoder"])

    @property
    def n_genes(self) -> pd.Series:
        """Genes of each genome."""
        return self.genomes["n_genes"]

    def to_dataset(self) -> Any:
        """A `datasets` dataset, one row a genome, which `DatasetGenomes` reads and the Hub takes.

        Columns: `genome_id`, the catalog's own, `n_genes`, `protein_encoder` (its name and preprocessing as JSON, the
        same in every row), `contig_ids` and `vectors (n_genes, hidden_size)`, float16.
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
            }
        )

        def rows() -> Iterator[dict[str, Any]]:
            metadata = self.metadata
            for name, vectors, contigs in self:
                yield {
                    GENOME_ID: name,
                    **metadata.loc[name].to_dict(),
                    "n_genes": len(vectors),
                    "protein_encoder": preprocessing,
                    "contig_ids": contigs,
                    "vectors": vectors,
                }

        return datasets.Dataset.from_generator(rows, features=features)


__all__ = ["RESULTS", "CatalogedGenome", "EmbeddedGenomes", "embed_genomes"]

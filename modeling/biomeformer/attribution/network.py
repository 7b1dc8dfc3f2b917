"""The result of attribution over many genomes: gene pairs, their clusters and families, and the network they form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import networkx as nx
import numpy as np
import pandas as pd
import pyarrow as pa

from ..errors import InputError, TableError
from ..io.atomic import atomic_write
from ..io.digests import FileDigest, check_files, digest_files
from ..io.html_repr import count, html_table
from ..io.parquet import CheckedParquet, write_parquet
from ..io.records import DamagedFileError, RecordType
from ..io.short_repr import short_repr
from ..io.spreadsheets import undo_spreadsheet, write_spreadsheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILES = {
    "pairs": "pairs.parquet",
    "clusters": "clusters.tsv",
    "families": "families.tsv",
    "genomes": "genomes.tsv",
    "enrichment": "enrichment.tsv",
}
RECORD, GRAPHML = "network.json", "network.graphml"
LEVELS = ("family", "gene")
# Pairs listed per edge, so that labels of edges stay readable.
MAX_PROVENANCE = 20
# Nodes from which betweenness is estimated: exactly, it takes time proportional to nodes times edges.
MAX_PIVOTS = 200
# Columns that are text even if every value looks like a number.
TEXT: Mapping[str, type] = dict.fromkeys(
    (
        "genome_id", "class", "true_class", "pseudo_class", "family", "annotation", "annotations", "term", "kind",
        "classes", "taxa", "common_annotations",
    ),
    str,
)  # fmt: skip

# Columns without which a table is none of a network; a network may have no cluster, and then no column of one.
REQUIRED_COLUMNS = {
    "pairs": ("genome_id", "class", "true_class", "gene_1", "gene_2", "family_1", "family_2", "cluster"),
    "genomes": ("genome_id", "class", "true_class"),
}
ADVICE = "run `biomeformer genome attribute` again, which makes the files from the genomes it has attributed"


class _NetworkRecord(TypedDict):
    """Content of `network.json`; `files` are the tables beside it, absent in networks of version 0.1."""

    model: dict[str, Any]
    genomes: dict[str, Any]
    settings: dict[str, Any]
    clustering: dict[str, Any]
    figures: dict[str, Any]
    pseudo_examples: list[dict[str, Any]]
    files: NotRequired[dict[str, FileDigest]]


_RECORD = RecordType(_NetworkRecord, ADVICE, [set(_NetworkRecord.__annotations__) - {"files"}])


@dataclass(frozen=True)
class GeneInteractionNetwork:
    """Pairs of genes that mattered for a model's predictions, over many genomes.

    Attributes:
        pairs: One row per genome and pair: `genome_id`, `class` (predicted), `true_class` (empty if unknown),
            `gene_1`, `gene_2`, their `contig_`, `start_`, `annotation_` and `family_`, one column of scores per method,
            `ablation`, `cluster` (-1 for noise, and for all pairs of misclassified genomes), and the coordinates `x`,
            `y` of a map of pairs.
        clusters: One row per cluster of pairs: sizes, classes, coherence, most frequent annotations.
        families: One row per family of similar genes.
        genomes: One row per genome: classes, probabilities, and the predictions of its pseudo-examples.
        enrichment: One row per cluster and annotation or class, with a test of its enrichment.
        record: Settings, summary figures and provenance, as values that JSON can hold.
    """

    pairs: pd.DataFrame
    clusters: pd.DataFrame
    families: pd.DataFrame
    genomes: pd.DataFrame
    enrichment: pd.DataFrame
    record: dict[str, Any]

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        n_clusters = count(len(self.clusters), "cluster")
        title = f"{count(len(self), 'pair')} of genes by {self.method}, {n_clusters}; plot() draws them"
        columns = ["genome_id", "class", "gene_1", "gene_2", self.method, "cluster"]
        return html_table(self, title, self.pairs[columns])

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def method(self) -> str:
        """Name of the method that selected the pairs."""
        return str(self.record["settings"]["method"])

    def select(
        self, *, cluster: int | None = None, genome: str | None = None, label: str | None = None
    ) -> pd.DataFrame:
        """Return the pairs that match all given conditions.

        Args:
            cluster: Number of a cluster.
            genome: Id of a genome.
            label: Name of a predicted class.

        Raises:
            InputError: No pair matches.
        """
        selected = self.pairs
        for column, value in (("cluster", cluster), ("genome_id", genome), ("class", label)):
            if value is not None:
                selected = selected[selected[column] == value]
                if not len(selected):
                    raise InputError(f"no pair has the {column} {value!r}.")
        return selected

    def to_networkx(
        self,
        *,
        level: str = "family",
        cluster: int | None = None,
        genome: str | None = None,
        label: str | None = None,
        min_genomes: int = 1,
    ) -> nx.Graph:
        """Build the network of a cluster, genome or class, or of all pairs.

        Args:
            level: What a node is: a `family` of similar genes of several genomes, or a `gene` of one genome.
            cluster: Number of a cluster of pairs.
            genome: Id of a genome.
            label: Name of a predicted class.
            min_genomes: Smallest number of genomes of an edge; others are left out.

        Returns:
            Nodes with `annotation`, `n_genes`, `n_genomes`, `community` and `degree`; edges with `n_genomes`,
            `n_pairs`, `score` (mean), `cluster` (the most frequent), the number of genomes per class (`class NAME`),
            and `provenance` (`genome: gene - gene`, the strongest first, at most 20). Isolated nodes are left out.

        Raises:
            InputError: No pair is left, or the level is unknown.
        """
        if level not in LEVELS:
            raise InputError(f"level is {level!r}; give {' or '.join(LEVELS)}.")
        # Strongest pairs first, so that the provenance of each edge is in that order.
        pairs = self.select(cluster=cluster, genome=genome, label=label)
        pairs = pairs.sort_values(self.method, ascending=False, kind="stable")
        columns = [pairs[name] for name in ("genome_id", "class", "cluster", "gene_1", "gene_2", self.method)]
        edges: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
        for first, second, *row in zip(_nodes(pairs, level, 1), _nodes(pairs, level, 2), *columns, strict=True):
            # A pair within one family would be a loop.
            if first != second:
                edges.setdefault((min(first, second), max(first, second)), []).append(tuple(row))
        graph = nx.Graph(method=self.method, level=level)
        for (first, second), rows in edges.items():
            class_of = {genome_id: predicted for genome_id, predicted, *_ in rows}
            if len(class_of) < min_genomes:
                continue
            clusters = Counter(int(number) for _, _, number, *_ in rows if number >= 0)
            graph.add_edge(
                first,
                second,
                n_genomes=len(class_of),
                n_pairs=len(rows),
                score=float(np.mean([score for *_, score in rows])),
                cluster=min(clusters, key=lambda number: (-clusters[number], number)) if clusters else -1,
                provenance="; ".join(
                    f"{genome_id}: {gene_1} - {gene_2}" for genome_id, _, _, gene_1, gene_2, _ in rows[:MAX_PROVENANCE]
                ),
                **{f"class {name}": n for name, n in Counter(class_of.values()).items()},
            )
        if not graph:
            raise InputError(f"no pair is in {min_genomes} genomes or more; give a lower min_genomes.")
        self._describe(graph, pairs, level)
        return graph

    def _describe(self, graph: nx.Graph, pairs: pd.DataFrame, level: str) -> None:
        """Add the attributes of nodes, in place."""
        genes: dict[str, set[tuple[str, str]]] = {node: set() for node in graph}
        annotations: dict[str, Counter[str]] = {node: Counter() for node in graph}
        for side in (1, 2):
            columns = [pairs[name] for name in ("genome_id", f"gene_{side}", f"annotation_{side}")]
            for node, genome, gene, annotation in zip(_nodes(pairs, level, side), *columns, strict=True):
                # A gene of several pairs counts once.
                if node in genes and (genome, gene) not in genes[node]:
                    genes[node].add((genome, gene))
                    annotations[node][annotation] += 1
        communities = nx.community.louvain_communities(graph, weight="n_genomes", seed=0)
        # Numbered from the largest, so that numbers do not depend on the order of nodes.
        ordered = sorted(communities, key=lambda nodes: (-len(nodes), min(nodes)))
        community_of = {node: i for i, nodes in enumerate(ordered) for node in nodes}
        for node, data in graph.nodes(data=True):
            data["annotation"] = next((name for name, _ in annotations[node].most_common() if name), "")
            data["n_genes"] = len(genes[node])
            data["n_genomes"] = len({genome for genome, _ in genes[node]})
            data["community"] = community_of[node]
            data["degree"] = int(graph.degree(node))

    def hubs(self, n: int = 10, **options: Any) -> pd.DataFrame:
        """Return the nodes with the most neighbours.

        Args:
            n: Number of nodes.
            **options: Options of `to_networkx`.

        Returns:
            At most `n` rows of `node`, `degree`, `n_genomes`, `annotation` and `betweenness`, which is estimated from
            200 nodes where there are more; the highest degree first.

        Raises:
            InputError: No pair is left.
        """
        graph = self.to_networkx(**options)
        betweenness = nx.betweenness_centrality(graph, k=min(len(graph), MAX_PIVOTS), seed=0)
        rows = [
            {
                "node": node,
                "degree": data["degree"],
                "n_genomes": data["n_genomes"],
                "annotation": data["annotation"],
                "betweenness": betweenness[node],
            }
            for node, data in graph.nodes(data=True)
        ]
        frame = pd.DataFrame(rows).sort_values(["degree", "n_genomes", "node"], ascending=[False, False, True])
        return frame.head(n).reset_index(drop=True)

    def plot(self, path: str | Path | None = None, **options: Any) -> Figure:
        """Draw the network.

        Args:
            path: File to write too; its extension selects the format: .png, .pdf or .svg.
            **options: Options of `to_networkx`.

        Returns:
            The figure.

        Raises:
            InputError: No pair is left.
        """
        from ..reports.network_figures import network_figure

        figure = network_figure(self.to_networkx(**options))
        if path is not None:
            figure.savefig(path, dpi=160)
        return figure

    def save(self, folder: str | Path) -> dict[str, Path]:
        """Write the tables, the network of families as GraphML, and the record.

        Each file is written atomically; the folder is created if need be.

        Args:
            folder: Folder to write to.

        Returns:
            Path of each file: `network`, `record`, and the tables by the name of their attribute.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        written = {}
        for name, file in FILES.items():
            frame: pd.DataFrame = getattr(self, name)
            if file.endswith(".parquet"):
                write_parquet(folder / file, pa.Table.from_pandas(frame, preserve_index=False))
            else:
                with atomic_write(folder / file) as partial:
                    write_spreadsheet(frame, partial, sep="\t", index=False)
            written[name] = folder / file
        with atomic_write(folder / GRAPHML) as partial:
            nx.write_graphml(self.to_networkx() if len(self) else nx.Graph(), partial)
        _RECORD.write(folder / RECORD, self.record | {"files": digest_files(folder, FILES.values())})
        return written | {"network": folder / GRAPHML, "record": folder / RECORD}

    @classmethod
    def load(cls, folder: str | Path) -> GeneInteractionNetwork:
        """Read a network that `save` wrote, and verify it: a table that was edited since is refused.

        Args:
            folder: Folder with the files.

        Raises:
            TableError: The folder holds no network, or a table of another form.
            DamagedFileError: A file is damaged.
        """
        folder = Path(folder)
        try:
            record: dict[str, Any] = dict(_RECORD.read(folder / RECORD))
            check_files(folder, record.pop("files", {}), ADVICE)
            frames = {name: _read_table(folder / file) for name, file in FILES.items()}
        except DamagedFileError:
            raise
        except (OSError, ValueError) as error:
            raise TableError(
                f"{folder} holds no network of gene pairs ({' '.join(str(error).split())[:150]}); give the folder that "
                "`biomeformer genome attribute` wrote."
            ) from error
        for name, columns in REQUIRED_COLUMNS.items():
            missing = [column for column in columns if column not in frames[name].columns]
            if missing:
                raise DamagedFileError(f"{folder / FILES[name]} has no column {missing[0]!r}; {ADVICE}.")
        if str(record["settings"].get("method")) not in frames["pairs"].columns:
            raise DamagedFileError(f"{folder / FILES['pairs']} has no scores of the method that selected it; {ADVICE}.")
        return cls(record=record, **frames)


def _read_table(file: Path) -> pd.DataFrame:
    if file.suffix == ".parquet":
        frame = CheckedParquet(file, ADVICE).read_frame()
    else:
        frame = undo_spreadsheet(pd.read_csv(file, sep="\t", keep_default_na=False, na_values=[""], dtype=TEXT))
    # Empty text was read as a missing value.
    for column in frame.columns.intersection(list(TEXT)):
        frame[column] = frame[column].fillna("").astype(str)
    return frame


def _nodes(pairs: pd.DataFrame, level: str, side: int) -> list[str]:
    """Return the node of each pair's first (`side` 1) or second (`side` 2) gene: its family, or `genome|gene`."""
    if level == "family":
        return [str(family) for family in pairs[f"family_{side}"]]
    return [f"{genome}|{gene}" for genome, gene in zip(pairs["genome_id"], pairs[f"gene_{side}"], strict=True)]


__all__ = ["FILES", "GRAPHML", "LEVELS", "RECORD", "GeneInteractionNetwork"]

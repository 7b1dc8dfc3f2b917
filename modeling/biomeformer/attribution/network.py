"""What a model's pairs of genes come to over many genomes: clusters, families, and the network they make."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import pandas as pd

from ..errors import InputError, TableError
from ..io.atomic import atomic_write

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
MAX_PROVENANCE = 20


@dataclass(frozen=True)
class GeneInteractionNetwork:
    """Pairs of genes that counted for a model, over many genomes.

    Attributes:
        pairs: One row a pair of a genome: `genome_id`, `class` (predicted), `true_class` (empty where unknown),
            `gene_1`, `gene_2`, their `contig_`, `start_`, `annotation_` and `family_`, a column of scores a method,
            `ablation`, `cluster` (-1 for none; of correctly classified genomes alone), and `x`, `y` on a map of pairs.
        clusters: One row a cluster of pairs: sizes, classes, coherence, most frequent annotations.
        families: One row a family of genes that are alike.
        genomes: One row a genome: classes, probabilities, and what pseudo-examples were taken for.
        enrichment: Annotations and classes that a cluster has more of than the background.
        record: Settings, figures and provenance, in values JSON can hold.
    """

    pairs: pd.DataFrame
    clusters: pd.DataFrame
    families: pd.DataFrame
    genomes: pd.DataFrame
    enrichment: pd.DataFrame
    record: dict[str, Any]

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def method(self) -> str:
        """Whose strongest pairs these are."""
        return str(self.record["settings"]["method"])

    def select(
        self, *, cluster: int | None = None, genome: str | None = None, label: str | None = None
    ) -> pd.DataFrame:
        """Pairs of one cluster, genome or class, or of all that they have in common.

        Raises:
            InputError: There is none.
        """
        found = self.pairs
        for column, value in (("cluster", cluster), ("genome_id", genome), ("class", label)):
            if value is not None:
                found = found[found[column] == value]
                if not len(found):
                    raise InputError(f"no pair has the {column} {value!r}.")
        return found

    def to_networkx(
        self,
        *,
        level: str = "family",
        cluster: int | None = None,
        genome: str | None = None,
        label: str | None = None,
        min_genomes: int = 1,
    ) -> nx.Graph:
        """The network of a cluster, genome or class, or of everything.

        Args:
            level: Nodes are `family`, genes of several genomes that are alike, or `gene`, each gene of each genome.
            cluster: Number of a cluster of pairs.
            genome: Id of a genome.
            label: Name of a predicted class.
            min_genomes: Leave out edges that fewer genomes have.

        Returns:
            Nodes with `annotation`, `n_genes`, `n_genomes`, `community` and `degree`; edges with `n_genomes`,
            `n_pairs`, `score` (mean), `cluster` (the most frequent), a count of genomes a class (`class NAME`), and
            `provenance` (`genome: gene - gene`, the strongest first, at most 20). Isolated nodes are left out.

        Raises:
            InputError: No pair is left, or the level is unknown.
        """
        if level not in LEVELS:
            raise InputError(f"level is {level!r}; give {' or '.join(LEVELS)}.")
        # The strongest pairs go first, so that each edge's provenance does.
        pairs = self.select(cluster=cluster, genome=genome, label=label)
        pairs = pairs.sort_values(self.method, ascending=False, kind="stable")
        columns = ("genome_id", "class", "cluster", "gene_1", "gene_2", self.method, *_ends(pairs, level))
        edges: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
        for row in zip(*(pairs[name] if isinstance(name, str) else name for name in columns), strict=True):
            first, second = row[-2:]
            # A pair within one family is a loop, and left out.
            if first != second:
                edges.setdefault((min(first, second), max(first, second)), []).append(row)
        graph = nx.Graph(method=self.method, level=level)
        for (first, second), rows in edges.items():
            classes = dict(row[:2] for row in rows)
            if len(classes) < min_genomes:
                continue
            clusters = Counter(int(row[2]) for row in rows if row[2] >= 0)
            graph.add_edge(
                first,
                second,
                n_genomes=len(classes),
                n_pairs=len(rows),
                score=float(np.mean([row[5] for row in rows])),
                cluster=min(clusters, key=lambda number: (-clusters[number], number)) if clusters else -1,
                provenance="; ".join(f"{row[0]}: {row[3]} - {row[4]}" for row in rows[:MAX_PROVENANCE]),
                **{f"class {name}": n for name, n in Counter(classes.values()).items()},
            )
        if not graph:
            raise InputError(f"no pair is in {min_genomes} genomes or more; give a lower min_genomes.")
        self._describe(graph, pairs, level)
        return graph

    def _describe(self, graph: nx.Graph, pairs: pd.DataFrame, level: str) -> None:
        genes: dict[str, set[tuple[str, str]]] = {node: set() for node in graph}
        annotations: dict[str, Counter[str]] = {node: Counter() for node in graph}
        for side in (1, 2):
            columns = [pairs[name] for name in ("genome_id", f"gene_{side}", f"family_{side}", f"annotation_{side}")]
            for genome, gene, family, annotation in zip(*columns, strict=True):
                node = str(family) if level == "family" else f"{genome}|{gene}"
                if node in genes and (genome, gene) not in genes[node]:
                    genes[node].add((genome, gene))
                    annotations[node][annotation] += 1
        communities = nx.community.louvain_communities(graph, weight="n_genomes", seed=0)
        ordered = sorted(communities, key=lambda nodes: (-len(nodes), min(nodes)))
        number = {node: i for i, nodes in enumerate(ordered) for node in nodes}
        for node, data in graph.nodes(data=True):
            named = [(name, n) for name, n in annotations[node].most_common() if name]
            data["annotation"] = named[0][0] if named else ""
            data["n_genes"] = len(genes[node])
            data["n_genomes"] = len({genome for genome, _ in genes[node]})
            data["community"] = number[node]
            data["degree"] = int(graph.degree(node))

    def hubs(self, n: int = 10, **options: Any) -> pd.DataFrame:
        """Nodes with the most neighbours: `node`, `degree`, `n_genomes`, `annotation`, `betweenness`.

        Args:
            n: How many.
            **options: Of `to_networkx`.
        """
        graph = self.to_networkx(**options)
        between = nx.betweenness_centrality(graph, k=min(len(graph), 200), seed=0)
        rows = [
            {
                "node": node,
                "degree": data["degree"],
                "n_genomes": data["n_genomes"],
                "annotation": data["annotation"],
                "betweenness": between[node],
            }
            for node, data in graph.nodes(data=True)
        ]
        found = pd.DataFrame(rows).sort_values(["degree", "n_genomes", "node"], ascending=[False, False, True])
        return found.head(n).reset_index(drop=True)

    def plot(self, path: str | Path | None = None, **options: Any) -> Figure:
        """Draw the network; to a file too, whose ending decides the format.

        Args:
            path: File to write, in .png, .pdf or .svg.
            **options: Of `to_networkx`.
        """
        from ..reports.network_figures import network_figure

        drawn = network_figure(self.to_networkx(**options))
        if path is not None:
            drawn.savefig(path, dpi=160)
        return drawn

    def save(self, folder: str | Path) -> dict[str, Path]:
        """Write tables, the network of families as GraphML, and the record; gives their paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        written = {}
        for name, file in FILES.items():
            frame: pd.DataFrame = getattr(self, name)
            with atomic_write(folder / file) as partial:
                if file.endswith(".parquet"):
                    frame.to_parquet(partial, index=False)
                else:
                    frame.to_csv(partial, sep="\t", index=False)
            written[name] = folder / file
        with atomic_write(folder / GRAPHML) as partial:
            nx.write_graphml(self.to_networkx() if len(self) else nx.Graph(), partial)
        with atomic_write(folder / RECORD) as partial:
            partial.write_text(json.dumps(self.record, indent=1) + "\n")
        return written | {"network": folder / GRAPHML, "record": folder / RECORD}

    @classmethod
    def load(cls, folder: str | Path) -> GeneInteractionNetwork:
        """Read what `save` wrote.

        Raises:
            TableError: The folder holds no such thing.
        """
        folder = Path(folder)
        try:
            frames: dict[str, Any] = {
                name: pd.read_parquet(folder / file)
                if file.endswith(".parquet")
                else pd.read_csv(folder / file, sep="\t", keep_default_na=False, na_values=[""], dtype=TEXT)
                for name, file in FILES.items()
            }
            for frame in frames.values():
                for column in frame.columns.intersection(list(TEXT)):
                    frame[column] = frame[column].fillna("").astype(str)
            return cls(record=json.loads((folder / RECORD).read_text()), **frames)
        except (OSError, ValueError) as error:
            raise TableError(
                f"{folder} holds no network of gene pairs ({' '.join(str(error).split())[:150]}); give the folder that "
                "`biomeformer genome attribute` wrote."
            ) from error


# Columns that are text, whatever they look like.
TEXT: Mapping[str, type] = dict.fromkeys(
    (
        "genome_id", "class", "true_class", "pseudo_class", "family", "annotation", "annotations", "term", "kind",
        "classes", "taxa", "common_annotations",
    ),
    str,
)  # fmt: skip


def _ends(pairs: pd.DataFrame, level: str) -> tuple[list[str], list[str]]:
    """Names of the nodes that each pair joins."""
    found = []
    for side in (1, 2):
        if level == "family":
            found.append(pairs[f"family_{side}"].astype(str).tolist())
        else:
            found.append([f"{a}|{b}" for a, b in zip(pairs["genome_id"], pairs[f"gene_{side}"], strict=True)])
    return found[0], found[1]


__all__ = ["FILES", "GRAPHML", "LEVELS", "RECORD", "GeneInteractionNetwork"]

"""Interactive HTML report of a gene interaction network: search, filter, drag, export."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import networkx as nx
import numpy as np
import pandas as pd

from ..attribution.explanation import ABLATION
from ..attribution.network import GeneInteractionNetwork
from ..errors import InputError
from ..metrics.p_values import format_p
from ..sinks import script_json, terminal
from ..version import __version__
from .blocks import Block, Cards, DataTable, Figures, Note, Paragraph, Section
from .network_figures import pair_map
from .network_layout import network_layout
from .page import write_page
from .run_details import command_text
from .style import COLOURS, REST_COLOUR, figure_style

MAX_NODES = 2000
MAX_PROVENANCE = 240
N_HUBS = 12
N_LISTED = 25
N_GENOMES_LISTED = 50
METHOD_NAMES = {
    "attention": "attention of the last layer",
    "attention_gradient": "attention x gradient",
    "rollout": "attention rollout",
    ABLATION: "pairwise ablation",
}
# Source: benchmarks/results/planted_pairs.json.
TRUST = (
    "Attention shows where a model looks, not how it uses what it sees: a third gene may attend to both genes of a "
    "pair. In genomes with a planted pair, 13 models that had learnt it ranked it first in 98 % of genomes by "
    "ablation, 58 % by rollout, 23 % by attention and 14 % by attention x gradient (means; docs/attribution.md). If "
    "methods disagree, trust ablation, which measures the model's response directly."
)


@dataclass(frozen=True)
class NetworkView(Block):
    """An interactive network.

    Attributes:
        data: Nodes, edges and colours for `templates/network.js`.
        classes: Classes to filter by.
        max_genomes: Largest number of genomes of an edge.
    """

    template: ClassVar[str] = "network.html.j2"
    data: dict[str, Any]
    classes: list[str]
    max_genomes: int

    def json(self) -> str:
        """Return the data as JSON that cannot end the element it is in."""
        return script_json(json.dumps(_printable(self.data), separators=(",", ":")))


def network_report(network: GeneInteractionNetwork, path: str | Path, *, title: str | None = None) -> Path:
    """Write a self-contained, interactive HTML report.

    Args:
        network: Network that `attribute` returned.
        path: HTML file to write.
        title: Heading.

    Returns:
        The path written.
    """
    label = network.record["model"]["label"]
    with figure_style():
        sections = [
            Section("Network", _interactive(network)),
            Section("Clusters of pairs", [*_map(network), *_clusters(network)]),
            Section("Enrichment", _enrichment(network)),
            Section("Pseudo-examples", _pseudo(network)),
            Section("Comparison of attribution methods", _methods_compared(network)),
            Section("Genomes", _genomes(network)),
            Section("Methods", [Paragraph(methods_text(network))]),
        ]
        return write_page(
            path,
            title or f"Gene pairs important for {label}",
            [_caution(network), _summary(network)],
            sections,
            parameters=_parameters(network),
            next_command=_next_command(network, Path(path).parent),
        )


def _parameters(network: GeneInteractionNetwork) -> dict[str, Any]:
    model, settings = network.record["model"], network.record["settings"]
    start = {"model": model["name"], "weights_sha256": model["weights_sha256"]}
    return start | settings | {"clustering": network.record["clustering"]}


def _next_command(network: GeneInteractionNetwork, folder: Path) -> str:
    """Return the command that scores the pairs by the most reliable method, or else one that predicts new genomes."""
    model = network.record["model"]["name"]
    if network.method == ABLATION:
        return command_text("genome", "predict", "new.fna.gz", "--model", model)
    output = folder.with_name(f"{folder.name}-ablation") if folder.name else Path("ablation")
    embedded = network.record.get("genomes", {}).get("folder") or "EMBEDDED"
    options = ("--model", model, "--method", ABLATION, "--output", output)
    return command_text("genome", "attribute", embedded, *options)


def _caution(network: GeneInteractionNetwork) -> Note:
    notes = []
    if not network.record["figures"]["labels_known"]:
        notes.append("True classes were not given, so every genome counts as correctly classified.")
    for row in network.record["pseudo_examples"]:
        if row["from"] == "as many random genes" and row["pseudo_examples_minus_this"][2] < 0:
            notes.append(
                f"The genes of these pairs predict the class worse than as many random genes "
                f"({_span(row['pseudo_examples_minus_this'])}): {METHOD_NAMES[network.method]} is strongest there, but "
                "the model does not base its decision on them."
            )
    notes.append(
        "Importance for a model is not evidence of a biological interaction: these pairs are hypotheses to test."
    )
    return Note(" ".join(notes))


def _summary(network: GeneInteractionNetwork) -> Cards:
    figures = network.record["figures"]
    return Cards(
        {
            "genomes": f"{figures['n_genomes']:,}",
            "correctly classified": f"{figures['n_correct']:,}" if figures["labels_known"] else "unknown",
            "pairs of genes": f"{figures['n_pairs']:,}",
            "clusters of pairs": f"{figures['n_clusters']:,}",
            "pairs in clusters": f"{figures['n_pairs_in_clusters'] / max(figures['n_pairs_of_correct'], 1):.0%}",
            "families of genes": f"{figures['n_families']:,}",
        }
    )


def shown_graph(network: GeneInteractionNetwork, max_nodes: int = MAX_NODES) -> nx.Graph | None:
    """Return the network of families with at most `max_nodes` nodes, keeping the edges of the most genomes.

    Returns:
        None if the network has no edge.
    """
    try:
        graph = network.to_networkx()
    except InputError:
        return None
    if len(graph) <= max_nodes:
        return graph
    ranked = sorted(graph.edges(data=True), key=lambda e: (-e[2]["n_genomes"], -e[2]["score"], e[0], e[1]))
    kept: set[str] = set()
    edges = []
    for first, second, _ in ranked:
        if len(kept | {first, second}) <= max_nodes:
            kept |= {first, second}
            edges.append((first, second))
    return graph.edge_subgraph(edges).copy()


def _interactive(network: GeneInteractionNetwork) -> list[Block]:
    graph = shown_graph(network)
    if graph is None:
        return [Paragraph("No two gene families form a pair.")]
    classes, n_families = network.record["model"]["classes"], network.record["figures"]["n_families"]
    shown = f"{len(graph):,} of {n_families:,} families are shown. " if len(graph) < n_families else ""
    text = (
        "A node is a family of similar genes; an edge is a pair of families that was important in at least one genome. "
        f"{shown}Drag a node or the background, scroll to zoom, click a node for its genes; the arrow keys, + and - "
        "work too."
    )
    max_genomes = max(edge["n_genomes"] for _, _, edge in graph.edges(data=True))
    return [Paragraph(text), NetworkView(_data(graph, classes), classes, max_genomes)]


def _data(graph: nx.Graph, classes: list[str]) -> dict[str, Any]:
    positions = network_layout(graph)
    nodes = list(graph)
    index = {node: i for i, node in enumerate(nodes)}
    node_records = []
    for node in nodes:
        data = graph.nodes[node]
        counts: dict[str, int] = {}
        for _, _, edge in graph.edges(node, data=True):
            for name in classes:
                counts[name] = max(counts.get(name, 0), edge.get(f"class {name}", 0))
        x, y = positions[node]
        fields = ("annotation", "n_genes", "n_genomes", "community")
        node_records.append(
            {"id": node, "x": round(x, 1), "y": round(y, 1), "degree": int(graph.degree(node))}
            | {name: data[name] for name in fields}
            | {"classes": {name: n for name, n in counts.items() if n}}
        )
    edges = [
        {
            "s": index[first],
            "t": index[second],
            "n_genomes": edge["n_genomes"],
            "score": float(f"{edge['score']:.4g}"),
            "cluster": edge["cluster"],
            "classes": {name: edge[f"class {name}"] for name in classes if edge.get(f"class {name}")},
            "provenance": _shorten_provenance(edge["provenance"]),
        }
        for first, second, edge in graph.edges(data=True)
    ]
    hubs = sorted(range(len(nodes)), key=lambda i: (-graph.degree(nodes[i]), nodes[i]))[:N_HUBS]
    return {
        "nodes": node_records,
        "edges": edges,
        "hubs": hubs,
        "colours": list(COLOURS[:6]),
        "class_colours": dict(zip(classes, COLOURS, strict=False)),
        "rest_colour": REST_COLOUR,
    }


def _printable(value: Any) -> Any:
    """Return JSON values with every text in them, and every key, as a terminal would show it."""
    if isinstance(value, dict):
        return {terminal(str(key)): _printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return terminal(value) if isinstance(value, str) else value


def _shorten_provenance(text: str) -> str:
    return text if len(text) <= MAX_PROVENANCE else f"{text[:MAX_PROVENANCE].rsplit('; ', 1)[0]}; …"


def _map(network: GeneInteractionNetwork) -> list[Block]:
    if not np.isfinite(network.pairs["x"]).any():
        return []
    figures = [
        pair_map(
            network.pairs,
            column,
            f"Pairs by {column}",
            f"UMAP of the pairs of correctly classified genomes, by the vectors of their two genes. {colours}",
        )
        for column, colours in (
            ("cluster", "Colours: the largest clusters of DBSCAN."),
            ("class", "Colours: predicted class of the genome."),
        )
    ]
    return [Figures(figures)]


def _clusters(network: GeneInteractionNetwork) -> list[Block]:
    if not len(network.clusters):
        return [Paragraph("No pairs are close enough to form a cluster.")]
    frame = network.clusters.head(N_LISTED)
    shown = pd.DataFrame(
        {
            "cluster": frame["cluster"],
            "pairs": frame["n_pairs"],
            "genomes": frame["n_genomes"],
            "taxa": frame["n_taxa"],
            "classes": frame["classes"],
            "mean distance": frame["mean_distance"].map("{:.3f}".format),
            "mean distance, shuffled": frame["mean_distance_shuffled"].map("{:.3f}".format),
            "p": [format_p(p, network.record["clustering"]["n_shuffles"]) for p in frame["p_coherence"]],
            "annotations": frame["common_annotations"],
        }
    )
    if network.record["figures"]["taxon"] is None:
        shown = shown.drop(columns="taxa")
    more = [Paragraph(f"The {N_LISTED} largest of {len(network.clusters):,}; all are in clusters.tsv.")]
    return [*(more if len(network.clusters) > N_LISTED else []), DataTable(shown, "clusters")]


def _enrichment(network: GeneInteractionNetwork) -> list[Block]:
    frame = network.enrichment[network.enrichment["q"] < 0.05].head(N_LISTED)
    tests = f"{len(network.enrichment):,} tests, Fisher's exact, one-sided; q by Benjamini and Hochberg."
    if not len(frame):
        text = (
            f"No annotation or class is enriched in a cluster (q < 0.05; {tests}) Genes called from FASTA have no "
            "annotations: add a table of eggNOG-mapper, or start from GenBank or GFF3."
        )
        return [Paragraph(text)]
    shown = pd.DataFrame(
        {
            "cluster": frame["cluster"],
            "type": frame["kind"],
            "term": frame["term"],
            "in cluster": [f"{a:,} of {b:,}" for a, b in zip(frame["n_in_cluster"], frame["n_cluster"], strict=True)],
            "in background": [f"{a:,} of {b:,}" for a, b in zip(frame["n_background"], frame["n_all"], strict=True)],
            "odds ratio": frame["odds_ratio"].map("{:.3g}".format),
            "p": frame["p"].map(format_p),
            "q": frame["q"].map(format_p),
        }
    )
    n = int((network.enrichment["q"] < 0.05).sum())
    passing = f"{n:,} of {len(network.enrichment):,} terms are enriched in a cluster (q < 0.05)."
    return [Paragraph(f"{passing} {tests}"), DataTable(shown, "terms")]


def _pseudo(network: GeneInteractionNetwork) -> list[Block]:
    rows = network.record["pseudo_examples"]
    shown = pd.DataFrame(
        [
            {
                "from": row["from"],
                "genes (mean)": f"{row['genes']:,.1f}",
                "accuracy": _span(row["accuracy"]),
                "balanced accuracy": _span(row["balanced_accuracy"]),
                "difference of strongest pairs": _span(row["pseudo_examples_minus_this"]),
            }
            for row in rows
        ]
    )
    known = network.record["figures"]["labels_known"]
    truth = "the true class" if known else "the class predicted from the whole genome"
    text = (
        "Genomes reduced to the genes of their strongest pairs, in random order: how often the model still predicts "
        f"{truth}, compared with random genes. 95 % bootstrap intervals over genomes. On genomes the model was trained "
        "on, these figures describe the model, not its performance on new genomes."
    )
    return [Paragraph(text), DataTable(shown, "rows")]


def _span(values: list[float]) -> str:
    return f"{values[0]:.3f} ({values[1]:.3f} to {values[2]:.3f})"


def _methods_compared(network: GeneInteractionNetwork) -> list[Block]:
    first = network.method
    rows = []
    for method in [name for name in METHOD_NAMES if name in network.pairs.columns and name != first]:
        groups = network.pairs[["genome_id", first, method]].dropna().groupby("genome_id")
        ranks = [group[first].corr(group[method], method="spearman") for _, group in groups if len(group) > 2]
        values = np.array([value for value in ranks if np.isfinite(value)])
        if len(values):
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
            rows.append(
                {"method": METHOD_NAMES[method], "agreement (Spearman)": f"{middle:.2f} ({low:.2f} to {high:.2f})"}
            )
    if not rows:
        return []
    text = (
        f"How well other methods agree with the ranking by {METHOD_NAMES[first]}: median over genomes, with "
        f"quartiles. {TRUST}"
    )
    ablations = network.genomes[["ablation", "random_ablation"]].dropna()
    if len(ablations) and first != ABLATION:
        strongest, random = ablations["ablation"].mean(), ablations["random_ablation"].mean()
        larger = float((ablations["ablation"].abs() > ablations["random_ablation"].abs()).mean())
        text += (
            f" Here, masking both genes of a strong pair changes the logit by {strongest:+.3g} beyond the sum of their "
            f"single effects, of a random pair by {random:+.3g}; the effect of strong pairs is larger in {larger:.0%} "
            "of genomes."
        )
    return [Paragraph(text), DataTable(pd.DataFrame(rows), "methods")]


def _genomes(network: GeneInteractionNetwork) -> list[Block]:
    frame = network.genomes
    known = network.record["figures"]["labels_known"]
    shown = pd.DataFrame({"genome": frame["genome_id"]})
    if known:
        shown["class"] = frame["true_class"]
    shown["predicted"] = frame["class"]
    shown["from strongest pairs"] = frame["pseudo_class"]
    shown["genes"] = frame["n_genes"].map("{:,}".format)
    shown["genes in pairs"] = frame["n_pseudo_genes"]
    more = [Paragraph(f"The first {N_GENOMES_LISTED} of {len(frame):,}; all are in genomes.tsv.")]
    return [*(more if len(frame) > N_GENOMES_LISTED else []), DataTable(shown.head(N_GENOMES_LISTED), "genomes")]


def methods_text(network: GeneInteractionNetwork) -> str:
    """Return a paragraph for a methods section, with every setting."""
    record = network.record
    settings, clustering, figures = record["settings"], record["clustering"], record["figures"]
    top = settings["top"]
    selection = f"{top:,} strongest pairs" if top >= 1 else f"strongest {top:.2%} of pairs"
    genomes = (
        f"{figures['n_correct']} of {figures['n_genomes']} genomes, those correctly classified,"
        if figures["labels_known"]
        else f"{figures['n_genomes']} genomes (true classes were not given)"
    )
    names = [METHOD_NAMES[name] for name in settings["beside"] if name != settings["method"]]
    comparison = f" The same pairs were scored by {' and '.join(names)}." if names else ""
    procedure = (
        f"mean over heads, the two directions of a pair combined by their {settings['symmetry']}, without special "
        "positions and self-pairs"
    )
    if settings["method"] == ABLATION:
        procedure = (
            f"of the {settings['n_screened']} genes with the largest integrated gradients (arXiv 1703.01365, from the "
            f"genome's mean vector) each was masked alone, and every pair of the {settings['n_candidates']} that "
            "changed the logit most was masked together; the score of a pair is the drop of the logit beyond the sum "
            "of both single drops"
        )
    ablated = (
        f" For the {settings['n_ablated']} strongest pairs of each genome, and as many random ones, both genes were "
        "masked together and alone (pairwise ablation)."
        if settings["n_ablated"] and settings["method"] != ABLATION
        else ""
    )
    name = record["model"]["name"]
    name = Path(name).name if Path(name).is_absolute() else name
    eps = (
        "the knee of the neighbour distances, reduced in steps of 10 % until no cluster held more than half of the "
        "pairs"
        if clustering["eps"] is None
        else "given"
    )
    return (
        f"The {record['model']['label']} of genomes was predicted by the genome transformer {name} "
        f"(weights {record['model']['weights_sha256'][:12]}), and pairs of genes were attributed after arXiv "
        f"2405.05998: in each genome the {selection} by {METHOD_NAMES[settings['method']]} ({procedure})."
        f"{comparison}{ablated} Pairs of {genomes} were clustered with DBSCAN (eps {figures['eps']:.3g}, {eps}; "
        f"min_samples {clustering['min_samples']}) by the centred protein vectors of their two genes, scaled to unit "
        f"length, in {clustering['n_directions']} principal directions ({figures['variance_kept']:.0%} of the "
        f"variance), ignoring the order within a pair. A cluster's coherence was compared with "
        f"{clustering['n_shuffles']} draws of shuffled pairs. Genes within {figures['family_distance']:.3g} of a "
        f"representative form a family; communities of families were found by the Louvain method. Pseudo-examples hold "
        f"the genes of the strongest pairs in random order; controls were drawn {settings['n_controls']} times (seed "
        f"{settings['seed']}). biomeformer {__version__}."
    )


__all__ = ["MAX_NODES", "methods_text", "network_report", "shown_graph"]

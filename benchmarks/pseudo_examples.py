"""Test whether the genes of the strongest pairs predict a genome's class, by method, against the same controls.

Takes outputs of `biomeformer genome attribute`, one per method, of one model on the same genomes.

    biomeformer genome attribute EMBEDDED --output attention
    biomeformer genome attribute EMBEDDED --method rollout --ablate 0 --output rollout
    python benchmarks/pseudo_examples.py attention rollout
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

import biomeformer
from biomeformer.attribution import GeneInteractionNetwork


def hub_share(pairs: pd.DataFrame) -> float:
    """Share of a genome's pairs that its most frequent gene is in, the median of genomes."""
    shares = [
        pd.concat([rows["gene_1"], rows["gene_2"]]).value_counts().iloc[0] / len(rows)
        for _, rows in pairs.groupby("genome_id")
    ]
    return round(float(pd.Series(shares).median()), 3)


def main() -> None:
    """Collect, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "pseudo_examples.json")
    args = parser.parse_args()
    networks = {network.method: network for network in map(GeneInteractionNetwork.load, args.network)}
    first = next(iter(networks.values()))
    for method, network in networks.items():
        if network.record["model"]["weights_sha256"] != first.record["model"]["weights_sha256"]:
            raise SystemExit(f"{method}: another model than {first.method}'s; give runs of one model.")
        if list(network.genomes["genome_id"]) != list(first.genomes["genome_id"]):
            raise SystemExit(f"{method}: other genomes than {first.method}'s; give runs on the same genomes.")
    table = Table("from", "genes", "accuracy", "pairs with the commonest gene", title="pseudo-examples")
    results = {}
    for method, network in networks.items():
        results[method] = {
            "pseudo_examples": network.record["pseudo_examples"],
            "hub_share": hub_share(network.pairs),
            "settings": network.record["settings"],
        }
        for row in network.record["pseudo_examples"]:
            value, low, high = row["accuracy"]
            hub = f"{results[method]['hub_share']:.2f}" if "strongest" in row["from"] else ""
            name = row["from"] if "strongest" not in row["from"] else f"{row['from']}: {method}"
            table.add_row(name, f"{row['genes']:,.0f}", f"{value:.3f} ({low:.3f}-{high:.3f})", hub)
    Console().print(table)
    content = {
        "n_genomes": len(first.genomes),
        "model": {key: value for key, value in first.record["model"].items() if key != "name"},
        "methods": results,
        "device": f"cpu, {os.cpu_count()} cores",
        "versions": {
            "biomeformer": biomeformer.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(content, indent=1) + "\n")
    print(f"Written to {args.output}")


if __name__ == "__main__":
    main()

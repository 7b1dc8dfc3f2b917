"""Model cards: the manifest's words and the checkpoint's own figures, never edited by hand.

python -m biomeformer.hub.cards model_cards            # write the card of every shipped checkpoint
python -m biomeformer.hub.cards model_cards --check    # fail if one is stale
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tomllib
from pathlib import Path
from string import Template
from typing import Any

import yaml

from ..checkpoints import resolve_checkpoint
from ..errors import CheckpointError, InputError

MANIFEST, TEMPLATE, CARD = "models.toml", "model_card.md", "README.md"
# Of `evaluation` in an entry: the JSON that benchmarks/read_encoder_quality.py wrote, relative to the manifest.
FIELDS = (
    "title",
    "class",
    "license",
    "tags",
    "summary",
    "intended_use",
    "limits",
    "training_data",
    "how",
    "evaluation",
)


def load_manifest(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Entries of `models.toml` by checkpoint name.

    Raises:
        InputError: It is missing or malformed, or an entry lacks a field.
    """
    path = Path(folder) / MANIFEST
    try:
        manifest = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); it must be the manifest of models.") from error
    for name, entry in manifest.items():
        missing = [field for field in FIELDS if field not in entry]
        if missing:
            raise InputError(f"{path}: {name} has no {missing[0]}; every model needs {', '.join(FIELDS)}.")
    return manifest


def render_card(name: str, entry: dict[str, Any], checkpoint: Path, template: str, evaluation: dict[str, Any]) -> str:
    """The card of one checkpoint.

    Args:
        name: Its name.
        entry: Its entry in the manifest.
        checkpoint: Folder with `config.json`, `model.safetensors`, `processor_config.json`, `training_record.json`.
        template: Text with `$fields`.
        evaluation: What `benchmarks/read_encoder_quality.py` wrote.

    Returns:
        Markdown with the Hub's metadata on top.

    Raises:
        CheckpointError: A file is missing, or the evaluation is of other weights.
    """
    try:
        config = json.loads((checkpoint / "config.json").read_text())
        contract = json.loads((checkpoint / "processor_config.json").read_text())
        record = json.loads((checkpoint / "training_record.json").read_text())
        weights = (checkpoint / "model.safetensors").read_bytes()
    except OSError as error:
        raise CheckpointError(f"{checkpoint}: {error.filename} is missing, and the card is made from it.") from error
    digest = hashlib.sha256(weights).hexdigest()
    if evaluation["model_sha256"].get(name) != digest:
        raise CheckpointError(
            f"{checkpoint}: its evaluation is of other weights; run benchmarks/read_encoder_quality.py --models {name}."
        )
    encoder = config["encoder_config"]
    space = "unit" if config["normalize_embeddings"] else "raw"
    facts = {
        "Read encoder": f"{encoder['model_type']}, hidden size {encoder['hidden_size']}"
        + (f", {_tokens(encoder)}" if "k" in encoder else ""),
        "Centroids": f"{config['n_clusters']} (k-means, {space} vectors)",
        "Pooling": config["pooling"],
        "Shortest read": f"{contract['min_read_length']} bases",
        "Longest read": "no limit" if config["max_length"] is None else f"{config['max_length']} tokens",
        "`model.safetensors`": f"{len(weights) / 1e6:.1f} MB, SHA-256 `{digest}`",
    }
    training = {
        "Genomes": f"{len(record['genomes'])} (identifiers and SHA-256 in `training_record.json`)",
        "Genera held out": ", ".join(record["held_out_genera"]) or "none",
        "Reads drawn": f"{record['n_reads']:,}",
        "Seed": record["seed"],
        "Wall time": f"{record['wall_time_s'] / 60:.1f} min",
        "Device": record["device"],
        "Versions": ", ".join(f"{package} {version}" for package, version in record["versions"].items()),
    }
    front = {
        "library_name": "biomeformer",
        "license": entry["license"],
        "pipeline_tag": "feature-extraction",
        "tags": entry["tags"],
    }
    return Template(template).substitute(
        front_matter=yaml.safe_dump(front, sort_keys=False).strip(),
        name=name,
        facts=_table(facts),
        training=_table(training),
        metrics=_table(
            {f"{stage}: {k}": v for stage, figures in record["metrics"].items() for k, v in figures.items()}
        ),
        reads=_reads_table(evaluation, name),
        cohorts=_cohorts_table(evaluation, name),
        protocol=_protocol(evaluation),
        **{field: str(entry[field]).strip() for field in FIELDS if field not in NOT_TEXT},
    )


NOT_TEXT = ("license", "tags", "class", "evaluation")
READ_FIGURES = {
    "nmi": "NMI",
    "ari": "ARI",
    "probe_1": "probe, 1 read",
    "probe_5": "5 reads",
    "probe_20": "20 reads",
    "nearest_mean": "nearest species",
}


def _tokens(encoder: dict[str, Any]) -> str:
    if encoder.get("num_gate_heads"):
        return f"{encoder['k']}-mers of six reading frames, weighed by {encoder['num_gate_heads']} heads"
    return f"canonical {encoder['k']}-mers"


def _grid(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _reads_table(evaluation: dict[str, Any], name: str) -> str:
    rows = []
    for genera, results in evaluation["reads"].items():
        for encoder in (name, "4-mers", "untrained"):
            values = [f"{results[encoder][key]:.3f}" for key in READ_FIGURES]
            rows.append([f"{genera} ({results['n_species']} species)", encoder, *values])
    return _grid(["genera", "encoder", *READ_FIGURES.values()], rows)


def _cohorts_table(evaluation: dict[str, Any], name: str) -> str:
    rows = []
    for cohort, results in evaluation["cohorts"].items():
        labels = {
            name: f"{name}, centroids of the cohort",
            "shipped centroids": f"{name}, its own centroids",
            "4-mers": "4-mers",
            "untrained": "untrained",
            "truth": "true species abundances",
        }
        for encoder, label in labels.items():
            scores = results["mean"][encoder]
            rows.append([cohort, label, *(f"{scores[key]:.3f}" for key in ("forest", "l1", "gap_closed"))])
    return _grid(["cohort, genera", "features", "random forest", "L1 logistic", "gap closed"], rows)


def _protocol(evaluation: dict[str, Any]) -> str:
    settings = evaluation["settings"]
    return (
        f"{settings['reads_per_sample']:,} reads a sample, {settings['n_clusters']} clusters, "
        f"seeds {', '.join(map(str, settings['seeds']))}"
    )


def _table(values: dict[str, Any]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {_plain(value)} |" for name, value in values.items())])


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _cards(folder: str | Path) -> dict[Path, str]:
    template = (Path(folder) / TEMPLATE).read_text(encoding="utf-8")
    cards = {}
    for name, entry in load_manifest(folder).items():
        checkpoint = Path(resolve_checkpoint(name))
        evaluation = json.loads((Path(folder) / entry["evaluation"]).read_text(encoding="utf-8"))
        cards[checkpoint / CARD] = render_card(name, entry, checkpoint, template, evaluation)
    return cards


def stale_cards(folder: str | Path) -> list[Path]:
    """Cards of shipped checkpoints that are missing or differ from what would be generated now."""
    return [
        path for path, text in _cards(folder).items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def write_cards(folder: str | Path) -> list[Path]:
    """Write the card of every shipped checkpoint; gives their paths."""
    cards = _cards(folder)
    for path, text in cards.items():
        path.write_text(text, encoding="utf-8")
    return list(cards)


def main() -> None:
    """Write or check the cards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with models.toml and the template")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a card is stale")
    args = parser.parse_args()
    if args.check:
        stale = stale_cards(args.folder)
        if stale:
            sys.exit(f"Stale: {', '.join(map(str, stale))}; run python -m biomeformer.hub.cards {args.folder}")
        return
    for path in write_cards(args.folder):
        print(path)


if __name__ == "__main__":
    main()

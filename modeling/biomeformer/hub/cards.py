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
from . import genome_card, read_card

MANIFEST, CARD = "models.toml", "README.md"
# Of `evaluation` in an entry: the JSON that its benchmark wrote, relative to the manifest.
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
NOT_TEXT = ("license", "tags", "class", "evaluation")
# What a card says of a checkpoint, beside the manifest's words, by the checkpoint's class.
KINDS = {"MetagenBertModel": read_card, "GenomeTransformerForSequenceClassification": genome_card}


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
        if entry["class"] not in KINDS:
            raise InputError(f"{path}: {name} is of class {entry['class']!r}; there are cards of {', '.join(KINDS)}.")
    return manifest


def render_card(name: str, entry: dict[str, Any], checkpoint: Path, template: str, evaluation: dict[str, Any]) -> str:
    """The card of one checkpoint.

    Args:
        name: Its name.
        entry: Its entry in the manifest.
        checkpoint: Folder with `config.json`, `model.safetensors`, `processor_config.json`, `training_record.json`.
        template: Text with `$fields`.
        evaluation: What the benchmark of its kind wrote.

    Returns:
        Markdown with the Hub's metadata on top.

    Raises:
        CheckpointError: A file is missing, or the evaluation is of other weights.
    """
    kind = KINDS[entry["class"]]
    try:
        parts = {
            name: json.loads((checkpoint / f"{name}.json").read_text())
            for name in ("config", "processor_config", "training_record")
        }
        digest = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
        facts = kind.facts(name, checkpoint, *parts.values(), evaluation)
    except OSError as error:
        raise CheckpointError(f"{checkpoint}: {error.filename} is missing, and the card is made from it.") from error
    if kind.evaluated_sha256(evaluation, name) != digest:
        raise CheckpointError(f"{checkpoint}: its evaluation is of other weights; run {kind.BENCHMARK} again.")
    front = {
        "library_name": "biomeformer",
        "license": entry["license"],
        "pipeline_tag": kind.PIPELINE_TAG,
        "tags": entry["tags"],
    }
    return Template(template).substitute(
        front_matter=yaml.safe_dump(front, sort_keys=False).strip(),
        name=name,
        **facts,
        **{field: str(entry[field]).strip() for field in FIELDS if field not in NOT_TEXT},
    )


def _cards(folder: str | Path) -> dict[Path, str]:
    cards = {}
    for name, entry in load_manifest(folder).items():
        checkpoint = Path(resolve_checkpoint(name))
        template = (Path(folder) / KINDS[entry["class"]].TEMPLATE).read_text(encoding="utf-8")
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

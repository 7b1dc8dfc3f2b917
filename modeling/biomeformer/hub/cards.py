"""Generate model cards from an entry's texts and the checkpoint's own files; cards are never edited by hand.

python -m biomeformer.hub.cards model_cards            # write the card of every shipped checkpoint
python -m biomeformer.hub.cards model_cards --check    # fail if one is stale
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml
from huggingface_hub.repocard_data import eval_results_to_model_index

from ..checkpoints import FOLDER, resolve_checkpoint
from ..checkpoints.integrity import CHECKSUMS, checksums
from ..errors import CheckpointError, InputError
from ..io.markdown import grid, pairs
from ..sinks import markdown, markdown_code
from .card_types import CardType, card_type_of
from .folder import CARD, CheckpointFolder
from .manifest import BaseModel, CardEntry, Metric, load_manifest

EVAL_RESULTS = ".eval_results/biomeformer.yaml"
NOT_EVALUATED = "Not evaluated on any task yet; evaluate it on your own data first."
REMOTE_CODE = """\
Without the package, `AutoModel.from_pretrained("{id}", trust_remote_code=True)` loads the model with the code in this
repository; reading files and embedding cohorts need `pip install biomeformer`."""


def template(name: str) -> Template:
    """Return a card template of the package."""
    return Template(resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8"))


def model_card(entry: CardEntry, folder: CheckpointFolder) -> str:
    """Return the card of a checkpoint.

    Args:
        entry: What the checkpoint's files do not say.
        folder: The checkpoint, which everything else is read from.

    Returns:
        Markdown with the Hub's metadata as front matter.

    Raises:
        InputError: The entry names another class, or no card type covers the class.
        CheckpointError: A file is missing, or the evaluation was run on other weights.
    """
    card_type = card_type_of(folder.class_name, str(folder.path))
    if entry.class_name != folder.class_name:
        raise InputError(
            f"{entry.path}: the class of {entry.name} is {entry.class_name}, but {folder.path} holds a "
            f"{folder.class_name}; correct the class."
        )
    try:
        facts, training = card_type.facts(folder), card_type.training(folder)
        evaluation = _evaluation(entry, folder, card_type)
    except KeyError as error:
        raise CheckpointError(
            f"{folder.path}: {error} is missing from its config, preprocessing config or record, and the card is made "
            "from it; save the model again."
        ) from error
    usage_id = entry.name if folder.path.parent.resolve() == FOLDER.resolve() else entry.id
    notes = [card_type.usage_note, *([REMOTE_CODE.format(id=entry.id)] if entry.remote_code else [])]
    base = {"Base model": ", ".join(map(_base_model_link, entry.base_models))} if entry.base_models else {}
    return template("model_card.md").substitute(
        front_matter=front_matter(model_metadata(entry, card_type)),
        usage=card_type.usage(usage_id),
        usage_note="\n\n".join(notes),
        facts=pairs(base | facts),
        training=pairs(training) or "The training was not recorded.",
        evaluation=evaluation,
        hardware=_hardware(entry, folder.record),
        citation=citation(card_type.papers, entry.citation),
        **entry.texts,
    )


def model_metadata(entry: CardEntry, card_type: CardType) -> dict[str, Any]:
    """Return a card's metadata in the Hub's format."""
    metadata: dict[str, Any] = {
        "library_name": "biomeformer",
        "license": entry.license,
        "pipeline_tag": card_type.pipeline_tag,
        "tags": list(entry.tags),
    }
    if entry.base_models:
        metadata["base_model"] = [base.id for base in entry.base_models]
        metadata["base_model_relation"] = entry.base_models[0].relation
    if entry.datasets:
        metadata["datasets"] = list(entry.datasets)
    if entry.metrics:
        metadata["metrics"] = sorted({metric.type for metric in entry.metrics})
        name = entry.id.split("/")[1]
        results = [_eval_result(metric, card_type) for metric in entry.metrics]
        metadata["model-index"] = eval_results_to_model_index(name, results)
    if entry.carbon:
        metadata["co2_eq_emissions"] = dict(entry.carbon)
    return metadata


def model_texts(entry: CardEntry, folder: CheckpointFolder) -> dict[str, str]:
    """Return the generated files of a checkpoint by name: card, checksums and any evaluation results."""
    texts = {CARD: model_card(entry, folder), CHECKSUMS: checksums(folder.sha256)}
    results = eval_results(entry)
    return texts if results is None else texts | {EVAL_RESULTS: results}


def front_matter(metadata: Mapping[str, Any]) -> str:
    """Return metadata as YAML."""
    return yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True, width=120).strip()


def eval_results(entry: CardEntry) -> str | None:
    """Return the metrics on Hub datasets in the format of `.eval_results/*.yaml`; None if there are none."""
    entries = [
        EvalResultEntry(
            dataset_id=metric.dataset_id,
            task_id=metric.task_id,
            value=round(metric.value, 6),
            dataset_revision=metric.dataset_revision,
            notes=f"{metric.name}; {metric.task}" + _interval(metric, ", 95 % interval {:.3f}-{:.3f}"),
        )
        for metric in entry.metrics
        if metric.dataset_id is not None
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False) if entries else None


def _eval_result(metric: Metric, card_type: CardType) -> EvalResult:
    slug = "-".join("".join(letter if letter.isalnum() else " " for letter in metric.dataset.lower()).split())
    return EvalResult(
        task_type=card_type.pipeline_tag,
        task_name=metric.task,
        dataset_type=metric.dataset_id or slug,
        dataset_name=metric.dataset,
        dataset_revision=metric.dataset_revision,
        metric_type=metric.type,
        metric_name=metric.name,
        metric_value=round(metric.value, 6),
    )


def _base_model_link(base: BaseModel) -> str:
    commit = f" at `{base.revision}`" if base.revision else ""
    return f"[{base.id}](https://huggingface.co/{base.id}){commit}"


def _evaluation(entry: CardEntry, folder: CheckpointFolder, card_type: CardType) -> str:
    parts = []
    if entry.metrics:
        rows = [
            [
                markdown(metric.name),
                f"{metric.value:.3f}" + _interval(metric, " ({:.3f}-{:.3f})"),
                markdown(metric.task),
                markdown(metric.dataset),
                markdown_code(metric.run.removeprefix("../")),
            ]
            for metric in entry.metrics
        ]
        parts.append(grid(["metric", "value (95 % interval)", "task", "dataset", "run"], rows))
    if entry.evaluation is not None:
        if card_type.evaluation is None:
            raise InputError(f"{entry.path}: no benchmark evaluates a {entry.class_name}; leave evaluation out.")
        try:
            results = json.loads(entry.evaluation.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{entry.path}: {entry.evaluation} cannot be read ({error}).") from error
        if card_type.evaluated_sha256(results, entry.name) not in folder.sha256.values():
            raise CheckpointError(
                f"{folder.path}: its evaluation was run on other weights; run {card_type.benchmark} again."
            )
        parts.append(card_type.evaluation(results, entry.name, folder))
    return "\n\n".join(parts) or NOT_EVALUATED


def _interval(metric: Metric, form: str) -> str:
    return "" if metric.interval is None else form.format(*metric.interval)


def _hardware(entry: CardEntry, record: Mapping[str, Any]) -> str:
    device = (
        f"Trained on: {markdown(record['device'])}."
        if record.get("device")
        else "The training hardware was not recorded."
    )
    if entry.carbon:
        source = f" ({entry.carbon['source']})" if entry.carbon.get("source") else ""
        return f"{device} Emissions: {entry.carbon['emissions']} g of CO2 equivalent{source}."
    return f"{device} Emissions were not measured."


def citation(papers: tuple[str, ...], own: str = "") -> str:
    """Return BibTeX entries of the model, of papers given by their arXiv numbers, and of the package."""
    paper_entries = [
        f"@misc{{arxiv_{number.replace('.', '_')},\n  eprint = {{{number}}},\n  archivePrefix = {{arXiv}},\n"
        f"  url = {{https://arxiv.org/abs/{number}}}\n}}"
        for number in papers
    ]
    package = (
        "@software{biomeformer,\n  title = {biomeformer: foundation models for metagenomes and microbial genomes},\n"
        "  author = {{The biomeformer developers}}\n}"
    )
    entries = "\n\n".join([*([own] if own else []), *paper_entries, package])
    return f"```bibtex\n{entries}\n```"


def _shipped(folder: str | Path) -> dict[Path, str]:
    texts: dict[Path, str] = {}
    for name, entry in load_manifest(folder).items():
        checkpoint = CheckpointFolder(resolve_checkpoint(name))
        texts |= {checkpoint.path / file: text for file, text in model_texts(entry, checkpoint).items()}
    return texts


def stale_cards(folder: str | Path) -> list[Path]:
    """Return the paths of cards and checksums of shipped checkpoints that are missing or out of date."""
    return [
        path
        for path, text in _shipped(folder).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def write_cards(folder: str | Path) -> list[Path]:
    """Write cards and checksums of every shipped checkpoint, and return their paths."""
    texts = _shipped(folder)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


def main() -> None:
    """Write or check the cards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with models.toml")
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

"""`biomeformer inspect`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .console import cell, doing, out_lines
from .options import Revision

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ..checkpoints.source import CheckpointSource


def inspect(
    model: Annotated[
        str | None, typer.Argument(metavar="M", help="A shipped checkpoint, a folder, or a Hub id.", show_default=False)
    ] = None,
    revision: Revision = None,
    environment: Annotated[
        bool, typer.Option("--environment", help="Describe this installation instead: versions, GPUs, FAISS, threads.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Describe a checkpoint (model, preprocessing config, provenance) or, with --environment, this installation.

    The checkpoint is loaded, so a damaged one is reported as an error.
    """
    if (model is None) != environment:
        raise InputError("give either a checkpoint or --environment.")
    if environment and revision is not None:
        raise InputError("--revision applies to a checkpoint; leave it out with --environment.")
    from .runtime import start

    with doing("looking at the environment" if model is None else f"loading {model}"):
        start()
        if model is None:
            from ..inference.environment import describe_environment

            record = describe_environment()
        else:
            record = describe(model, revision)
    if as_json:
        out_lines(json.dumps(record, indent=2, sort_keys=True))
    else:
        _print_tables(record, model or "environment")


def describe(name: str, revision: str | None = None) -> dict[str, Any]:
    """Load a checkpoint and describe it.

    Args:
        name: A shipped checkpoint, a folder, or a Hub id.
        revision: Branch, tag or commit of a Hub id.

    Returns:
        Sections `model`, `preprocessing` (not for a plain encoder) and `provenance`, of values that JSON can hold.

    Raises:
        CheckpointError: The checkpoint cannot be loaded.
    """
    from ..checkpoints.integrity import checksum_file
    from ..checkpoints.loading import load, load_genome_model, load_phenotype_model, load_read_encoder
    from ..checkpoints.source import open_checkpoint
    from ..phenotypes.predictor import MODEL_TYPE as PREDICTOR
    from ..sequences.classifier import SequenceClassifier

    source = open_checkpoint(name, revision=revision)
    config = source.config
    record: dict[str, Any] = {"checkpoint": name}
    if source.model_type == PREDICTOR:
        return record | _predictor(source)
    loaded_model: PreTrainedModel
    if source.model_type == "metagenbert":
        if "MetagenBertForPhenotypeClassification" in (config.get("architectures") or ()):
            model = load_phenotype_model(name, revision=revision).metagenbert
        else:
            model = load(name, revision=revision)
        assert model.processor is not None
        record["model"] = {
            "model_type": "metagenbert",
            "n_clusters": model.config.n_clusters,
            "centroids_dtype": str(model.centroids.dtype).removeprefix("torch."),
            "normalize_embeddings": model.config.normalize_embeddings,
        } | _encoder(model.encoder, model.processor.tokenizer, "read_encoder")
        record["preprocessing"] = model.processor.preprocessing
        loaded_model = model
        weights = {"weights_sha256": model.weights_sha256}
    elif source.model_type == "genome_transformer":
        loaded_model = load_genome_model(name, revision=revision)
        record["model"] = _genome_transformer(loaded_model)
        record["preprocessing"] = {} if loaded_model.processor is None else loaded_model.processor.preprocessing
        weights = {}
    elif "sequence_classification" in config:
        classifier = SequenceClassifier.load(name, revision=revision)
        loaded_model = classifier.model
        record["model"] = _encoder(loaded_model, classifier.tokenizer, "model_type") | {
            "classes": classifier.label_names
        }
        weights = {}
    else:
        loaded_model, tokenizer = load_read_encoder(name, revision=revision)
        record["model"] = _encoder(loaded_model, tokenizer, "model_type")
        weights = {}
    record["provenance"] = {
        "revision": getattr(loaded_model.config, "_commit_hash", None),
        **weights,
        "weights_verified": checksum_file(source)[0] is not None,
        "saved_with_transformers": config.get("transformers_version"),
        **_training_record(source),
    }
    return record


def _predictor(source: CheckpointSource) -> dict[str, Any]:
    """Return the sections of a predictor of phenotypes, which is loaded."""
    from ..checkpoints.integrity import checksum_file
    from ..phenotypes import PhenotypePredictor

    predictor = PhenotypePredictor.from_source(source)
    blocks = {
        block.name: {"kind": block.kind, "n_columns": block.n_columns, "transform": block.transform or None}
        for block in predictor.blocks
    }
    return {
        "model": {
            "model_type": source.model_type,
            "target": predictor.target,
            "kind": predictor.kind,
            "classes": list(predictor.classes),
            "estimator": predictor.estimator_name,
            "needs": predictor.needs,
            "blocks": blocks,
        },
        "provenance": {
            "revision": predictor.revision,
            "base_model": predictor.base_model or None,
            "weights_verified": checksum_file(source)[0] is not None,
            "versions": source.config.get("versions"),
            **_training_record(source),
        },
    }


def _genome_transformer(model: PreTrainedModel) -> dict[str, Any]:
    config = model.config
    fields = ("hidden_size", "num_hidden_layers", "num_attention_heads", "positions", "pooling", "max_genes")
    return {
        "model_type": config.model_type,
        "label": config.label_name,
        "classes": list(config.id2label.values()),
        **{name: getattr(config, name) for name in fields},
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def _encoder(encoder: PreTrainedModel, tokenizer: Any, type_key: str) -> dict[str, Any]:
    return {
        type_key: encoder.config.model_type,
        "hidden_size": int(encoder.config.hidden_size),
        "n_layers": getattr(encoder.config, "num_hidden_layers", None),
        "n_parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "stored_dtype": str(encoder.config.dtype).removeprefix("torch.") if encoder.config.dtype else None,
        "tokenizer": type(tokenizer).__name__,
        "vocab_size": len(tokenizer),
    }


def _training_record(source: CheckpointSource) -> dict[str, Any]:
    """Return the training record of a checkpoint; empty if it has none."""
    from ..checkpoints.source import read_json

    file = source.file("training_record.json")
    return {} if file is None else {"training": read_json(file)}


def _print_tables(record: dict[str, Any], title: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True)
    console.print(cell(title), style="bold")
    for section, values in record.items():
        if not isinstance(values, dict):
            continue
        table = Table(title=cell(section), title_justify="left", box=box.SIMPLE_HEAD, show_header=False)
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(overflow="fold")
        for key, value in _flat(values):
            table.add_row(cell(key), cell(_shown(value)))
        console.print(table)


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        elif key == "cuda":
            for device in value:
                rows += _flat({device["device"]: {name: device[name] for name in device if name != "device"}}, prefix)
        else:
            rows.append((f"{prefix}{key}", value))
    return rows


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"{len(value):,} entries, shown by --json"
    if isinstance(value, list) and len(value) > 8:
        return f"{value[0]} … {value[-1]} ({len(value)} values)"
    return str(value)

"""`biomeformer inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .console import cell, doing, is_recording, next_command, record
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
        start(models=False)
        if model is None:
            from ..inference.environment import describe_environment

            found = describe_environment()
        else:
            found = describe(model, revision)
    record(**found)
    if not is_recording():
        _print_tables(found, model or "environment")
    next_command(*(["doctor"] if model is None else _use_of(model, found["model"])))


def _use_of(name: str, model: dict[str, Any]) -> list[str]:
    """Return the words of a command that uses a checkpoint."""
    if "estimator" in model or model.get("has_head"):
        return ["phenotype", "predict", name, "results"]
    if model["model_type"] == "metagenbert":
        return ["embed", "cohort.csv", "--model", name, "--output", "results"]
    if model["model_type"] == "genome_transformer":
        return ["genome", "predict", "genome.fna", "--model", name]
    if "classes" in model:
        return ["sequences", "predict", "sequences.fa", "--model", name]
    return ["fit-centroids", "cohort.csv", "--read-encoder", name, "--n-clusters", "256", "--output", "my-model"]


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
    described: dict[str, Any] = {"checkpoint": name}
    if source.model_type == PREDICTOR:
        return described | _predictor(source)
    loaded_model: PreTrainedModel
    if source.model_type == "metagenbert":
        if "MetagenBertForPhenotypeClassification" in (config.get("architectures") or ()):
            model, has_head = load_phenotype_model(name, revision=revision).metagenbert, True
        else:
            model, has_head = load(name, revision=revision), False
        assert model.processor is not None
        described["model"] = {
            "model_type": "metagenbert",
            "n_clusters": model.config.n_clusters,
            "centroids_dtype": str(model.centroids.dtype).removeprefix("torch."),
            "normalize_embeddings": model.config.normalize_embeddings,
            "has_head": has_head,
        } | _encoder(model.encoder, model.processor.tokenizer, "read_encoder")
        described["preprocessing"] = model.processor.preprocessing
        loaded_model = model
        weights = {"weights_sha256": model.weights_sha256}
    elif source.model_type == "genome_transformer":
        loaded_model = load_genome_model(name, revision=revision)
        described["model"] = _genome_transformer(loaded_model)
        described["preprocessing"] = {} if loaded_model.processor is None else loaded_model.processor.preprocessing
        weights = {}
    elif "sequence_classification" in config:
        classifier = SequenceClassifier.load(name, revision=revision)
        loaded_model = classifier.model
        described["model"] = _encoder(loaded_model, classifier.tokenizer, "model_type") | {
            "classes": classifier.label_names
        }
        weights = {}
    else:
        loaded_model, tokenizer = load_read_encoder(name, revision=revision)
        described["model"] = _encoder(loaded_model, tokenizer, "model_type")
        weights = {}
    described["provenance"] = {
        "revision": getattr(loaded_model.config, "_commit_hash", None),
        **weights,
        "weights_verified": checksum_file(source)[0] is not None,
        "saved_with_transformers": config.get("transformers_version"),
        **_training_record(source),
    }
    return described


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


def _print_tables(values_by_section: dict[str, Any], title: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True)
    console.print(cell(title), style="bold")
    for section, values in values_by_section.items():
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

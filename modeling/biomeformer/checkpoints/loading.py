"""Models by name, folder or Hub id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import MODEL_MAPPING, PreTrainedModel

from ..errors import CheckpointError, InputError
from ..models.dnabert2 import DnaBert2Model
from ..models.genome_transformer import GenomeTransformerForSequenceClassification
from ..models.metagenbert import MetagenBertForPhenotypeClassification, MetagenBertModel
from ..runs.devices import resolve_device
from . import checkpoint_name
from .loader import load_from, load_tokenizer, mapped_class
from .source import open_checkpoint

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Of a read encoder only, and not of its weights as a whole.
FLOAT8 = "float8"


def resolve_dtype(dtype: str) -> torch.dtype:
    """The type asked for.

    Raises:
        InputError: It is unknown.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is unknown; give {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def load(
    name: str | Path, *, revision: str | None = None, device: str = "cpu", dtype: str = "float32"
) -> MetagenBertModel:
    """Load a MetagenBERT checkpoint with its processor.

    Args:
        name: A shipped checkpoint (`metagenbert-mini`), a folder, or a Hub id.
        revision: Branch, tag or commit of a Hub id.
        device: `cpu`, `cuda`, `cuda:N`, `mps`, or `auto`: a CUDA device if there is one, else the CPU.
        dtype: `float32`, `bfloat16` or `float16`, of the read encoder; centroids and distances stay float32. Or
            `float8`: `bfloat16` with products in float8, on GPUs that have it.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: It cannot be found, or is damaged or inconsistent.
        InputError: Device or dtype is unknown or absent.
    """
    target, torch_dtype = resolve_device(device), resolve_dtype("bfloat16" if dtype == FLOAT8 else dtype)
    model: MetagenBertModel = load_from(open_checkpoint(name, revision=revision), MetagenBertModel, dtype=torch_dtype)
    # Where the encoder came from, for the record of what is made with it.
    model.encoder.name_or_path = checkpoint_name(model.name_or_path)
    model.encoder.config._commit_hash = getattr(model.config, "_commit_hash", None)
    model.to(target).eval()
    if dtype == FLOAT8:
        # Not above: it brings pandas, which loading has no other use for.
        from ..inference.float8 import use_float8

        use_float8(model)
    return model


def load_phenotype_model(
    name: str | Path, *, revision: str | None = None, device: str = "cpu", dtype: str = "float32"
) -> MetagenBertForPhenotypeClassification:
    """Load a MetagenBERT checkpoint with a phenotype's head.

    Args:
        name: A folder or a Hub id.
        revision: Branch, tag or commit of a Hub id.
        device: As for `load`.
        dtype: As for `load`.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: It cannot be found, is damaged, or has no such head.
        InputError: Device or dtype is unknown or absent.
    """
    target, torch_dtype = resolve_device(device), resolve_dtype(dtype)
    model: MetagenBertForPhenotypeClassification = load_from(
        open_checkpoint(name, revision=revision), MetagenBertForPhenotypeClassification, dtype=torch_dtype
    )
    return model.to(target).eval()


def load_genome_model(
    name: str | Path, *, revision: str | None = None, device: str = "cpu", dtype: str = "float32"
) -> GenomeTransformerForSequenceClassification:
    """Load a genome transformer with its classifier and processor.

    Args:
        name: A shipped checkpoint, a folder, or a Hub id.
        revision: Branch, tag or commit of a Hub id.
        device: As for `load`.
        dtype: As for `load`.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: It cannot be found, is damaged, or is no such model.
        InputError: Device or dtype is unknown or absent.
    """
    target, torch_dtype = resolve_device(device), resolve_dtype(dtype)
    model: GenomeTransformerForSequenceClassification = load_from(
        open_checkpoint(name, revision=revision), GenomeTransformerForSequenceClassification, dtype=torch_dtype
    )
    return model.to(target).eval()


def load_read_encoder(
    name: str | Path, *, revision: str | None = None, device: str = "cpu", dtype: str = "float32"
) -> tuple[PreTrainedModel, Any]:
    """Load a read encoder and its tokenizer: ours, a published DNABERT-2, or any transformers encoder.

    Args:
        name: A folder or a Hub id; of a MetagenBERT checkpoint, shipped ones too, its encoder is taken.
        revision: Branch, tag or commit of a Hub id.
        device: As for `load`.
        dtype: As for `load`.

    Returns:
        Encoder in evaluation mode, and tokenizer.

    Raises:
        CheckpointError: It cannot be found, or is damaged or inconsistent.
        InputError: Device or dtype is unknown or absent.
    """
    target, torch_dtype = resolve_device(device), resolve_dtype(dtype)
    source = open_checkpoint(name, revision=revision)
    if source.model_type == "metagenbert":
        model = load(name, revision=revision, device=device, dtype=dtype)
        assert model.processor is not None
        return model.encoder, model.processor.tokenizer
    # A published DNABERT-2 says that it is a BERT.
    cls = DnaBert2Model if DnaBert2Model.reads_config(dict(source.config)) else mapped_class(source, MODEL_MAPPING)
    encoder = load_from(source, cls, dtype=torch_dtype)
    tokenizer = load_tokenizer(source)
    if not hasattr(encoder.config, "hidden_size"):
        raise CheckpointError(f"{name}: a {source.model_type} model has no hidden_size; give an encoder.")
    return encoder.to(target).eval(), tokenizer


__all__ = [
    "load",
    "load_genome_model",
    "load_phenotype_model",
    "load_read_encoder",
    "resolve_device",
    "resolve_dtype",
]

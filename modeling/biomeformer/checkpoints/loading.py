"""Load the package's models by name, folder or Hub id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import MODEL_MAPPING, PreTrainedModel

from ..errors import InputError
from ..models.dnabert2 import DnaBert2Model
from ..models.genome_transformer import GenomeTransformerForSequenceClassification
from ..models.metagenbert import MetagenBertForPhenotypeClassification, MetagenBertModel, MetagenBertProcessor
from ..models.metagenbert.modeling_metagenbert import as_read_encoder
from ..runs.devices import resolve_device
from . import checkpoint_name
from .admission import is_protein_tokenizer, make_processor
from .loader import load_from, load_tokenizer, mapped_class
from .source import open_checkpoint

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Of read encoders only: their weights are bfloat16, and matrix products are computed in float8.
FLOAT8 = "float8"


def resolve_dtype(dtype: str) -> torch.dtype:
    """Return the torch dtype of a name.

    Raises:
        InputError: The name is unknown.
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
            `float8`: `bfloat16` with matrix products in float8, on GPUs that support it.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: The checkpoint cannot be found, is damaged, or is inconsistent.
        InputError: The device or the dtype is unknown or not available.

    Examples:
        >>> model = load("metagenbert-mini")
        >>> model.config.n_clusters
        512
        >>> load("metagenbert-mimi")
        Traceback (most recent call last):
        ...
        biomeformer.errors.CheckpointNotFoundError: No checkpoint 'metagenbert-mimi': ...
    """
    target, torch_dtype = resolve_device(device), resolve_dtype("bfloat16" if dtype == FLOAT8 else dtype)
    model: MetagenBertModel = load_from(open_checkpoint(name, revision=revision), MetagenBertModel, dtype=torch_dtype)
    # The encoder's origin, for the records of what is computed with it.
    model.encoder.name_or_path = checkpoint_name(model.name_or_path)
    model.encoder.config._commit_hash = getattr(model.config, "_commit_hash", None)
    model.to(target).eval()
    if dtype == FLOAT8:
        # Imported late: it imports pandas, which loading does not need otherwise.
        from ..inference.float8 import use_float8

        use_float8(model)
    return model


def load_phenotype_model(
    name: str | Path, *, revision: str | None = None, device: str = "cpu", dtype: str = "float32"
) -> MetagenBertForPhenotypeClassification:
    """Load a MetagenBERT checkpoint with a phenotype head.

    Args:
        name: A folder or a Hub id.
        revision: Branch, tag or commit of a Hub id.
        device: As for `load`.
        dtype: As for `load`.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: The checkpoint cannot be found, is damaged, or has no such head.
        InputError: The device or the dtype is unknown or not available.
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
        CheckpointError: The checkpoint cannot be found, is damaged, or is of another model type.
        InputError: The device or the dtype is unknown or not available.
    """
    target, torch_dtype = resolve_device(device), resolve_dtype(dtype)
    model: GenomeTransformerForSequenceClassification = load_from(
        open_checkpoint(name, revision=revision), GenomeTransformerForSequenceClassification, dtype=torch_dtype
    )
    return model.to(target).eval()


def load_read_encoder(
    name: str | Path, *, revision: str | None = None, device: str = "cpu", dtype: str = "float32"
) -> tuple[PreTrainedModel, Any]:
    """Load a read encoder and its tokenizer: one of this package, a published DNABERT-2, or any transformers encoder.

    `load_encoder_with_processor` also returns the preprocessing config that an encoder of transformers needs.

    Args:
        name: A folder or a Hub id. If it is a MetagenBERT checkpoint, also a shipped one, its encoder is loaded; of an
            encoder-decoder, the encoder.
        revision: Branch, tag or commit of a Hub id.
        device: As for `load`.
        dtype: As for `load`.

    Returns:
        The encoder in evaluation mode, and its tokenizer.

    Raises:
        CheckpointError: The checkpoint cannot be found, is damaged, is inconsistent, or cannot embed DNA (for encoders
            of proteins: translated DNA) with its tokenizer.
        InputError: The device or the dtype is unknown or not available.
    """
    encoder, tokenizer, _ = _load_read_encoder(name, revision, device, dtype)
    if not hasattr(encoder, "embed_packed"):
        make_processor(
            str(name), encoder, tokenizer, **{"translation": "longest_frame"} if is_protein_tokenizer(tokenizer) else {}
        )
    return encoder.to(resolve_device(device)), tokenizer


def load_encoder_with_processor(
    name: str | Path, *, revision: str | None = None, device: str = "cpu", dtype: str = "float32", **preprocessing: Any
) -> tuple[PreTrainedModel, MetagenBertProcessor]:
    """Load a read encoder with the processor under which it embeds reads.

    Args:
        name: As for `load_read_encoder`.
        revision: Branch, tag or commit of a Hub id.
        device: As for `load`.
        dtype: As for `load`.
        **preprocessing: Fields of `MetagenBertProcessor`. The others are those of a MetagenBERT checkpoint; of other
            encoders, `max_length` is the number of tokens that the encoder takes, and `kmer_size` that of its
            vocabulary, if its tokenizer splits at blanks.

    Returns:
        The encoder in evaluation mode, and the processor.

    Raises:
        CheckpointError: As for `load_read_encoder`; or the encoder is one of proteins and no translation is asked for.
        InputError: The preprocessing config is inconsistent, or asks for more tokens than the encoder takes.

    Examples:
        >>> encoder, processor = load_encoder_with_processor("metagenbert-mini")
        >>> processor.pooling, encoder.config.hidden_size
        ('mean', 128)
    """
    encoder, tokenizer, own = _load_read_encoder(name, revision, device, dtype)
    fields = own | preprocessing
    if fields.get("pooling") == "mean_over_max_length" and not fields.get("max_length"):
        raise InputError("pooling mean_over_max_length (--pooling) divides by max_length; give it (--max-length).")
    processor = make_processor(str(name), encoder, tokenizer, **fields)
    return encoder.to(resolve_device(device)), processor


def _load_read_encoder(
    name: str | Path, revision: str | None, device: str, dtype: str
) -> tuple[PreTrainedModel, Any, dict[str, Any]]:
    """Return a read encoder on the CPU, its tokenizer, and the preprocessing config of a MetagenBERT checkpoint."""
    resolve_device(device)
    torch_dtype = resolve_dtype(dtype)
    source = open_checkpoint(name, revision=revision)
    if source.model_type == "metagenbert":
        model = load(name, revision=revision, dtype=dtype)
        assert model.processor is not None
        return model.encoder, model.processor.tokenizer, model.processor.preprocessing
    # Published DNABERT-2 checkpoints have BERT's model type.
    cls = DnaBert2Model if DnaBert2Model.reads_config(dict(source.config)) else mapped_class(source, MODEL_MAPPING)
    model = load_from(source, cls, dtype=torch_dtype)
    commit = getattr(model.config, "_commit_hash", None)
    encoder = as_read_encoder(model)
    encoder.config._commit_hash = commit
    return encoder.eval(), load_tokenizer(source), {}


__all__ = [
    "load",
    "load_encoder_with_processor",
    "load_genome_model",
    "load_phenotype_model",
    "load_read_encoder",
    "resolve_device",
    "resolve_dtype",
]

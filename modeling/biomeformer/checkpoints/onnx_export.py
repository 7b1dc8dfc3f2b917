"""Export a model to an ONNX file, and compare what onnxruntime computes from it with the model itself."""

from __future__ import annotations

import io
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    PreTrainedModel,
)

from ..errors import CheckpointError, InputError, MissingDependencyError
from ..io.atomic import atomic_write, wrap_write_errors
from ..models.dnabert2 import DnaBert2Model
from ..models.genome_transformer.modeling_genome_transformer import GenomeTransformerPreTrainedModel
from ..models.metagenbert import MetagenBertForPhenotypeClassification
from ..models.sequence_cnn import SequenceCnnForSequenceClassification
from .loader import load_from, mapped_class
from .source import open_checkpoint

# Largest difference from the model's own outputs, relative to the largest number of each.
TOLERANCE = 1e-5
# Sequences and tokens of the batch from which the graph is recorded, and of that with which it is compared.
RECORDED, COMPARED = (4, 11), (3, 24)


def export_onnx(model: PreTrainedModel, path: str | Path) -> Path:
    """Export a model to one ONNX file, for any number of sequences of any length, and check it with onnxruntime.

    Inputs are `input_ids` and `attention_mask`, int64 `(batch, length)`, or for genome transformers `proteins`, float32
    `(batch, n_genes, protein_size)`, with `attention_mask` and `contig_ids`; outputs have the names and shapes of those
    of the model's `forward`. Reads must be tokenised as by the model's processor; the file has no preprocessing.

    Args:
        model: A read encoder, with a head or centroids or without, or a genome transformer. It is exported as it is, in
            evaluation mode.
        path: The file to write.

    Returns:
        `path`.

    Raises:
        InputError: The model cannot be exported: it has a head on abundance vectors, convolutions, or operations that
            ONNX lacks; or its outputs from ONNX differ.
        MissingDependencyError: `onnx`, `onnxscript` or `onnxruntime` is not installed.
        WriteError: The file cannot be written.
    """
    name = type(model).__name__
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"ONNX needs onnx, onnxscript and onnxruntime ({error}); install them: pip install 'biomeformer[export]'."
        ) from error
    if isinstance(model, MetagenBertForPhenotypeClassification | SequenceCnnForSequenceClassification):
        raise InputError(
            f"a {name} cannot be exported to ONNX, which is for read encoders and genome transformers; export its read "
            "encoder, or use the model with torch."
        )
    if model.dtype != torch.float32:
        raise InputError(f"the model is in {str(model.dtype).removeprefix('torch.')}; load it in float32 to export it.")
    was_training = model.training
    model.eval()
    batch, other = (_inputs(model, *shape) for shape in (RECORDED, COMPARED))
    try:
        with torch.no_grad():
            expected = {key: value.cpu().numpy() for key, value in model(**other).items() if torch.is_tensor(value)}
            program = _record(model, batch, list(expected))
    finally:
        model.train(was_training)
    path = Path(path)
    with wrap_write_errors(path.parent), atomic_write(path) as partial:
        program.save(partial, external_data=False)
        session = onnxruntime.InferenceSession(str(partial), providers=["CPUExecutionProvider"])
        outputs = session.run(list(expected), {key: value.cpu().numpy() for key, value in other.items()})
        for (key, wanted), output in zip(expected.items(), outputs, strict=True):
            error_size = float(np.abs(output - wanted).max() / max(np.abs(wanted).max(), 1.0))
            if not error_size <= TOLERANCE:
                raise InputError(f"{name}: {key} from ONNX differs by {error_size:.1e}; the file was not written.")
    return path


def load_with_head(name: str | Path, *, revision: str | None = None) -> PreTrainedModel:
    """Load a checkpoint as the class that its config names: with its head or centroids, if it has any.

    Args:
        name: A shipped checkpoint, a folder, or a Hub id.
        revision: Branch, tag or commit of a Hub id.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: The checkpoint cannot be found, is damaged, or is inconsistent.
    """
    source = open_checkpoint(name, revision=revision)
    if DnaBert2Model.reads_config(dict(source.config)) and source.model_type != "dnabert2":
        # As published: BERT's model type, and code instead of an architecture.
        return load_from(source, DnaBert2Model).eval()
    architectures = source.config.get("architectures") or ()
    for mapping in (MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, MODEL_FOR_MASKED_LM_MAPPING):
        cls = None
        with suppress(CheckpointError):
            cls = mapped_class(source, mapping)
        if cls is not None and cls.__name__ in architectures:
            return load_from(source, cls).eval()
    return load_from(source, mapped_class(source, MODEL_MAPPING)).eval()


def _record(model: PreTrainedModel, batch: dict[str, torch.Tensor], outputs: list[str]) -> Any:
    """Record the graph of a model.

    Raises:
        InputError: An operation cannot be recorded, or ONNX lacks it.
    """
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", min=3)}
    if isinstance(model, GenomeTransformerPreTrainedModel):
        sizes[1] = torch.export.Dim("length", min=3, max=int(model.config.max_genes))
    try:
        # It prints its progress, whatever `verbose` says.
        with redirect_stdout(io.StringIO()):
            return torch.onnx.export(
                model,
                (),
                kwargs=batch,
                dynamic_shapes=dict.fromkeys(batch, sizes),
                output_names=outputs,
                dynamo=True,
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            f"a {type(model).__name__} cannot be exported to ONNX ({reason}); use it with torch."
        ) from error


def _inputs(model: PreTrainedModel, n_sequences: int, length: int) -> dict[str, torch.Tensor]:
    """Return random inputs, padded on the right to several lengths."""
    generator = torch.Generator().manual_seed(length)
    mask = (torch.arange(length) < length - torch.arange(n_sequences)[:, None]).long()
    inputs: dict[str, torch.Tensor] = {"attention_mask": mask}
    if isinstance(model, GenomeTransformerPreTrainedModel):
        shape = (n_sequences, length, model.config.protein_size)
        inputs = {"proteins": torch.randn(shape, generator=generator), **inputs}
        inputs["contig_ids"] = (torch.arange(length) // 4).repeat(n_sequences, 1)
    else:
        n_tokens = model.config.get_text_config().vocab_size
        ids = torch.randint(1, n_tokens, (n_sequences, length), generator=generator)
        inputs = {"input_ids": ids * mask, **inputs}
    return {key: value.to(model.device) for key, value in inputs.items()}


__all__ = ["export_onnx", "load_with_head"]

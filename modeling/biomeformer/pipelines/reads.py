"""`pipeline("read-embedding")`: vectors of reads; and `pipeline("feature-extraction")` of a MetagenBERT."""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import FeatureExtractionPipeline, PreTrainedModel

from ..checkpoints.admission import require_admitted
from ..checkpoints.loading import load_encoder_with_processor
from ..checkpoints.source import open_checkpoint
from ..errors import InputError
from ..models.metagenbert import MetagenBertModel, MetagenBertProcessor
from ..models.metagenbert.modeling_metagenbert import MetagenBertPreTrainedModel
from .base import CheckpointPipeline, CheckpointReference, refuse_unknown

# Options of a checkpoint that every read encoder is loaded with; others belong to models of the package.
ENCODER_OPTIONS = ("revision", "dtype")


class ReadEmbeddingPipeline(CheckpointPipeline):
    """Compute vectors of reads, as the read encoder has them by itself.

    `pipeline("read-embedding")("ACGT...")`, which loads `metagenbert-mini` if no model is given, returns the read's
    vector, float32 `(hidden_size,)`; for a list of reads, a list of vectors. Tokens, pooling and scale are those of the
    preprocessing config and of the model's config, as in `embed_sample`. A read that gives no token is an error, and so
    is a preprocessing config that cuts reads into windows.

    Args:
        model: A `MetagenBertModel` with its processor; or a `CheckpointReference` of one or of any read encoder, whose
            tokens are then averaged, as by `fit-centroids`.
        processor: Processor of a read encoder that is given as a model.
        *args: Positional arguments of `transformers.Pipeline`.
        **kwargs: Options of `transformers.Pipeline`, such as `batch_size`.

    Raises:
        CheckpointError: The checkpoint cannot be found or is damaged, or its encoder cannot embed DNA.
        InputError: The device is not available, an option is unknown, or an encoder was given without a processor.
    """

    model_class = PreTrainedModel

    def __init__(
        self,
        model: PreTrainedModel | CheckpointReference,
        *args: Any,
        processor: MetagenBertProcessor | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(model, PreTrainedModel):
            own = model.processor if isinstance(model, MetagenBertPreTrainedModel) else None
            known = processor or own
            if known is None:
                raise InputError(
                    f"the {type(model).__name__} has no processor, which says how reads become tokens; give it with "
                    "processor=MetagenBertProcessor(tokenizer), or the name of a checkpoint as the model."
                )
            self._processor: MetagenBertProcessor = known
            if isinstance(model, MetagenBertPreTrainedModel):
                self._processor.check_agrees(model.config)
            else:
                require_admitted(model, self._processor)
        super().__init__(model, *args, **kwargs)
        # Batches are padded with it.
        self.tokenizer = self._processor.tokenizer
        self._reads = self._reads_model()

    def load(self, reference: CheckpointReference) -> PreTrainedModel:
        """Load a MetagenBERT, or a read encoder with the processor under which it embeds reads."""
        hub = {key: reference.options.get(key) for key in ("revision", "cache_dir", "local_files_only", "token")}
        source = open_checkpoint(reference.name, **{key: value for key, value in hub.items() if value})
        if source.model_type == MetagenBertModel.config_class.model_type:
            self.model_class = MetagenBertModel
            model = super().load(reference)
            self._processor = model.processor
            return model
        # `transformers.pipeline` adds the config and its own name.
        given = {
            key: value
            for key, value in reference.options.items()
            if value is not None and value is not False and key not in ("config", "_from_pipeline")
        }
        refuse_unknown(given, ENCODER_OPTIONS, "options of a read encoder without centroids")
        dtype = given.get("dtype", "auto")
        model, self._processor = load_encoder_with_processor(
            reference.name,
            revision=given.get("revision"),
            dtype="float32" if dtype == "auto" else str(dtype).removeprefix("torch."),
        )
        return model

    def _reads_model(self) -> MetagenBertModel:
        """Return the model that pools tokens: the model itself, or one around the encoder, without centroids to use."""
        if isinstance(self.model, MetagenBertPreTrainedModel):
            reads_model: MetagenBertModel = self.model.base_model
            return reads_model
        return MetagenBertModel.from_encoder_and_centroids(
            self.model, np.zeros((1, int(self.model.config.hidden_size)), np.float32), processor=self._processor
        )

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if kwargs:
            raise InputError(f"{', '.join(kwargs)}: no options of this pipeline; the preprocessing config decides.")
        return {}, {}, {}

    def preprocess(self, input_: str, **kwargs: Any) -> dict[str, Any]:
        """Tokenise a read under the preprocessing config.

        Raises:
            InputError: The input is not a read, or gives no token.
        """
        return tokenise(self._processor, input_)

    def _forward(self, input_tensors: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        mask = input_tensors["attention_mask"].bool()
        return {"vectors": self._reads.embed_packed(input_tensors["input_ids"][mask], mask.sum(1).cpu())}

    def postprocess(self, model_outputs: dict[str, Any], **kwargs: Any) -> np.ndarray:
        """Return the vector."""
        vector: np.ndarray = model_outputs["vectors"][0].numpy()
        return vector

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Save the model with its processor, or the encoder with its tokenizer."""
        super().save_pretrained(save_directory, **kwargs)
        if self._reads is not self.model.base_model:
            self._processor.tokenizer.save_pretrained(save_directory)


class ReadFeatureExtractionPipeline(FeatureExtractionPipeline):
    """The `feature-extraction` of transformers, with reads for a MetagenBERT tokenised under its preprocessing config.

    The first output of `MetagenBertModel.forward` is the read's vector, `(1, hidden_size)`; of an encoder alone, as of
    every model of transformers, it is the last hidden state, `(1, length, hidden_size)`.
    """

    def preprocess(self, inputs: Any, **tokenize_kwargs: Any) -> Any:
        """Tokenise a text; for a MetagenBERT, a read."""
        processor = getattr(self.model, "processor", None)
        if not isinstance(self.model, MetagenBertModel) or processor is None:
            return super().preprocess(inputs, **tokenize_kwargs)
        if tokenize_kwargs:
            raise InputError(f"{', '.join(tokenize_kwargs)}: not an option here; the preprocessing config decides.")
        return tokenise(processor, inputs)


def tokenise(processor: MetagenBertProcessor, read: Any) -> Any:
    """Tokenise one read into one row.

    Raises:
        InputError: It is not a read, gives no token, or would be cut into windows.
    """
    if not isinstance(read, str):
        raise InputError(f"{read!r} is no read; give its bases as a text, and files to metagenome-embedding.")
    try:
        return processor(text=read)
    except ValueError as error:
        raise InputError(f"{read[:60]!r}: {error}") from error


__all__ = ["ReadEmbeddingPipeline", "ReadFeatureExtractionPipeline"]

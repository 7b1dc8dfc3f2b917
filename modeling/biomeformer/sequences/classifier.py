"""Fine-tuned sequence classifiers: load a checkpoint by name and predict probabilities and labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedModel

from ..checkpoints.admission import position_limit
from ..checkpoints.loader import load_from, load_tokenizer, mapped_class
from ..checkpoints.loading import resolve_device, resolve_dtype
from ..checkpoints.source import open_checkpoint
from ..errors import CheckpointError
from ..io.nucleotides import reverse_complement
from ..models.metagenbert.packed_tokenizer import PackedTokenizer
from ..models.shared.strict_loading import open_weights
from .preprocessing import SequencePreprocessing

BATCH_TOKENS = 16_384
CHUNK = 4096


@dataclass(frozen=True)
class SequenceClassifier:
    """A model with its tokenizer and preprocessing config.

    Attributes:
        model: A transformers model for sequence classification.
        tokenizer: Tokenizer of the model.
        preprocessing: How sequences are encoded and how logits become predictions.
    """

    model: PreTrainedModel
    tokenizer: Any
    preprocessing: SequencePreprocessing

    @classmethod
    def load(
        cls, name: str | Path, *, revision: str | None = None, device: str = "cpu", dtype: str = "float32"
    ) -> SequenceClassifier:
        """Load a fine-tuned checkpoint from a folder or the Hub.

        Args:
            name: A folder or a Hub id.
            revision: Branch, tag or commit of a Hub id.
            device: `cpu`, `cuda`, `cuda:N`, `mps`, or `auto`: a CUDA device if there is one, else the CPU.
            dtype: `float32`, `bfloat16` or `float16`.

        Raises:
            CheckpointError: The checkpoint cannot be found, is damaged, or was not fine-tuned on labelled sequences.
            InputError: The device or dtype is unknown or not available.
        """
        target, torch_dtype = resolve_device(device), resolve_dtype(dtype)
        source = open_checkpoint(name, revision=revision)
        if "sequence_classification" not in source.config:
            raise CheckpointError(
                f"{name} is a checkpoint of model_type {source.model_type!r} that was not fine-tuned on labelled "
                "sequences; fine-tune it with recipes/finetune_sequence_classifier.py."
            )
        model_class = mapped_class(source, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING)
        model = load_from(source, model_class, dtype=torch_dtype)
        preprocessing = SequencePreprocessing.read_from(model.config, source.name)
        limit = position_limit(model.base_model)
        if preprocessing.max_tokens is None and limit.is_hard:
            # Longer sequences were an error, so no prediction differs.
            preprocessing = replace(preprocessing, max_tokens=limit.n_tokens)
        return cls(model.to(target).eval(), load_tokenizer(source), preprocessing)

    @property
    def label_names(self) -> list[str]:
        """Names of the labels, in the order of the logits."""
        id2label = self.model.config.id2label
        return [str(id2label[i]) for i in range(self.model.config.num_labels)]

    @cached_property
    def _encoder(self) -> PackedTokenizer:
        return PackedTokenizer(self.tokenizer, True, self.preprocessing.max_tokens)

    def batch(self, sequences: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return the model's inputs for sequences, on its device: `input_ids` and `attention_mask` `(n, n_tokens)`."""
        ids, lengths, _ = self.tokens(sequences)
        return self._padded(ids, lengths, np.arange(len(lengths)))

    def tokens(self, sequences: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokenize sequences.

        Args:
            sequences: Bases; lower case counts as upper case and U as T.

        Returns:
            Token ids of all sequences concatenated `(n_tokens,)`, the number of tokens of each sequence `(n,)`, and
            whether each was truncated, bool `(n,)`.
        """
        raw = np.frombuffer("".join(sequences).upper().replace("U", "T").encode("ascii"), np.uint8)
        offsets = np.concatenate([[0], np.cumsum([len(sequence) for sequence in sequences], dtype=np.int64)])
        return self._encoder.encode(raw, offsets)

    def _padded(self, ids: np.ndarray, lengths: np.ndarray, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """Pad the given rows of concatenated token ids to a rectangle."""
        starts, width = np.cumsum(lengths) - lengths, max(int(lengths[rows].max(initial=0)), 1)
        positions = np.arange(width)
        mask = positions < lengths[rows][:, None]
        padded = np.full(mask.shape, self.tokenizer.pad_token_id or 0, np.int64)
        padded[mask] = ids[(starts[rows][:, None] + positions)[mask]]
        device = self.model.device
        return {
            "input_ids": torch.from_numpy(padded).to(device),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)).to(device),
        }

    @torch.inference_mode()
    def logits(self, sequences: Sequence[str], batch_tokens: int = BATCH_TOKENS) -> torch.Tensor:
        """Return logits, float32 `(n_sequences, n_labels)`, averaged over both strands if the preprocessing says so.

        Sequences of similar length are batched together. The model must be in evaluation mode.
        """
        logits = self._logits(sequences, batch_tokens)
        # A k-mer encoder sums over both strands itself, so its logits are the same on either.
        if self.preprocessing.average_strands and self.model.config.model_type != "kmer_encoder":
            reverse = [reverse_complement(sequence) for sequence in sequences]
            logits = (logits + self._logits(reverse, batch_tokens)) / 2
        return logits

    def _logits(self, sequences: Sequence[str], batch_tokens: int) -> torch.Tensor:
        ids, lengths, _ = self.tokens(sequences)
        order = np.argsort(lengths, kind="stable")
        logits = torch.empty(len(order), self.model.config.num_labels)
        begin = 0
        while begin < len(order):
            # Rows are sorted by length, so the last row of a batch determines its padded width.
            sizes = np.arange(1, len(order) - begin + 1) * lengths[order[begin:]]
            n = max(int(np.searchsorted(sizes, batch_tokens, side="right")), 1)
            rows = order[begin : begin + n]
            logits[torch.from_numpy(rows)] = self.model(**self._padded(ids, lengths, rows)).logits.float().cpu()
            begin += n
        return logits

    def predict(
        self,
        sequences: Sequence[str],
        batch_tokens: int = BATCH_TOKENS,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Predict probabilities of the labels, or values of a regression.

        Args:
            sequences: Bases; lower case counts as upper case and U as T.
            batch_tokens: Tokens per batch, padding included.
            progress: Called with the number of sequences done.

        Returns:
            float64 `(n_sequences, n_labels)`: probabilities, which sum to one per sequence except in a multi-label
            task, or the values of a regression.
        """
        predictions = [np.empty((0, self.model.config.num_labels))]
        for begin in range(0, len(sequences), CHUNK):
            logits = self.logits(sequences[begin : begin + CHUNK], batch_tokens)
            predictions.append(self.preprocessing.predictions(logits))
            if progress is not None:
                progress(sum(map(len, predictions)))
        return np.concatenate(predictions)

    def save(self, folder: str | Path) -> None:
        """Write a checkpoint that `load` and `AutoModelForSequenceClassification` can read."""
        self.preprocessing.write_to(self.model.config)
        self.model.save_pretrained(folder)
        open_weights(folder)
        self.tokenizer.save_pretrained(folder)


__all__ = ["SequenceClassifier"]

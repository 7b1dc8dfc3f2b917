"""Run the published scripts and modelling code from a checkout for comparison; none of their code is included here."""

from __future__ import annotations

import importlib
import importlib.util
import statistics
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hardware import seconds
from speed_shapes import fastq, gzip_member, random_reads
from torch.utils.data import DataLoader, SequentialSampler
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerFast

from biomeformer.inference.batching import embed_vectors
from biomeformer.metagenomes.sample import embed_sample
from biomeformer.models.metagenbert import MetagenBertModel
from biomeformer.reads import ReadBatch, SampleReads

CLOSE = 1e-5


def import_scripts(folder: Path) -> Any:
    """The module `embed_assign.py` of a checkout of the published scripts, of which `SentenceDataset` is used."""
    file = folder / "embed_assign.py"
    spec = importlib.util.spec_from_file_location("reference_embed_assign", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise SystemExit(f"{file} is not there; give the folder of the published scripts to --reference.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shim_for_published_model(package: str, folder: Path) -> None:
    """Make the published modelling code importable here, as a package although it has no `__init__.py`.

    Its Triton kernel computes in float16 whatever the model's type and was written for a Triton of 2022, so it is
    hidden; the code then takes its own path through torch, in the model's type. Nothing else of it is changed.
    """
    module = types.ModuleType(package)
    module.__path__ = [str(folder)]
    sys.modules[package] = module
    sys.modules[f"{package}.flash_attn_triton"] = None  # type: ignore[assignment]


def published_model(folder: Path, encoder: PreTrainedModel) -> torch.nn.Module:
    """The published `BertModel` with the weights of our encoder.

    It is built from its config and filled by `load_state_dict`: its own `from_pretrained` fails on transformers 5,
    whose loading builds models on the meta device, where this one's `__init__` computes with tensors.

    Args:
        folder: Holds `bert_layers.py`, `bert_padding.py` and `configuration_bert.py`.
        encoder: Our `DnaBert2Model`, in float32.

    Returns:
        The model in evaluation mode, on the encoder's device.
    """
    if not (folder / "bert_layers.py").is_file():
        raise SystemExit(f"{folder} has no bert_layers.py; give the published modelling code to --reference-model.")
    shim_for_published_model("reference_model", folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layers = importlib.import_module("reference_model.bert_layers")
        config = importlib.import_module("reference_model.configuration_bert").BertConfig
        ours = encoder.config
        sizes = {
            name: getattr(ours, name)
            for name in (
                "vocab_size",
                "hidden_size",
                "num_hidden_layers",
                "num_attention_heads",
                "intermediate_size",
                "layer_norm_eps",
                "max_position_embeddings",
                "type_vocab_size",
                "alibi_starting_size",
            )
        }
        model = layers.BertModel(config(**sizes), add_pooling_layer=False)
    model.load_state_dict(encoder.state_dict(), strict=True)
    return model.to(encoder.device).eval()


class Reference:
    """The published path from a text file, one read a line, to read vectors: dataset, collator, loader, model, mean.

    Args:
        scripts: Folder of `embed_assign.py`.
        model: Folder of the modelling code.
        encoder: Our encoder, whose weights are used.
        tokenizer: The tokenizer of both.
        max_length: Tokens that every read is padded to.
        batch_size: Reads a batch.
    """

    def __init__(
        self,
        scripts: Path,
        model: Path,
        encoder: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        max_length: int,
        batch_size: int,
    ) -> None:
        self._dataset = import_scripts(scripts).SentenceDataset
        self._model = published_model(model, encoder)
        self._device = encoder.device
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._batch_size = batch_size

    @torch.no_grad()
    def vectors(self, lines: Path) -> np.ndarray:
        """Float32 `(n_reads, hidden_size)`: sums over the tokens, divided by `max_length`."""
        dataset = self._dataset(str(lines), self._tokenizer, self._max_length)
        collator = DataCollatorWithPadding(tokenizer=self._tokenizer, padding="max_length", max_length=self._max_length)
        loader = DataLoader(
            dataset,
            batch_size=self._batch_size,
            num_workers=0,
            pin_memory=self._device.type == "cuda",
            sampler=SequentialSampler(dataset),
            collate_fn=collator,
        )
        means = []
        for batch in loader:
            hidden = self._model(**{name: value.to(self._device) for name, value in batch.items()})[0]
            means.append(torch.mean(hidden, dim=1).cpu().numpy().astype("float32"))
        return np.concatenate(means)


def compare(
    reference: Reference,
    models: dict[str, MetagenBertModel],
    *,
    n_reads: int,
    lengths: list[int],
    rounds: int,
    folder: Path,
) -> dict[str, Any]:
    """Reads a second of the published path and of ours, in turn and in one run, and how far the vectors are apart.

    Theirs goes from plain lines to vectors; ours from FASTQ.gz to counts of nearest centroids, so decompression,
    parsing, checking and assignment are in our time and not in theirs.

    Args:
        reference: The published path.
        models: Ours, by precision, over the same weights.
        n_reads: Reads a round, new ones each time.
        lengths: Their lengths in bases.
        rounds: How often; which one is first changes each time.
        folder: Where to write reads.

    Returns:
        Rates, the median and range of the ratios over the rounds, and the vectors' differences.
    """
    device = next(iter(models.values())).device
    apart = {}
    reads = random_reads(min(n_reads, 512), lengths, seed=4000)
    lines = _write_lines(folder / "compared.txt", reads)
    theirs = reference.vectors(lines)
    for name, model in models.items():
        assert model.processor is not None
        batch = ReadBatch.from_strings([read.decode() for read in reads])
        apart[name] = differences(embed_vectors(model, model.processor, batch)[0], theirs)
    took: dict[str, list[float]] = {name: [] for name in ("reference", *models)}
    for number in range(rounds):
        reads = random_reads(n_reads, lengths, seed=5000 + number)
        lines = _write_lines(folder / "round.txt", reads)
        path = folder / "round.fastq.gz"
        path.write_bytes(gzip_member(fastq(reads)))
        sample = SampleReads.single(path)
        works: list[tuple[str, Callable[[], Any]]] = [("reference", lambda lines=lines: reference.vectors(lines))]
        works += [(name, lambda m=model, s=sample: embed_sample(m, s)) for name, model in models.items()]
        for name, work in works if number % 2 == 0 else works[::-1]:
            took[name].append(seconds(work, device))
    ratios = {name: [a / b for a, b in zip(took["reference"], took[name], strict=True)] for name in models}
    return {
        "n_reads": n_reads,
        "rounds": rounds,
        "max_length": reference._max_length,
        "batch_size": reference._batch_size,
        "reads_per_second": round(n_reads / statistics.median(took["reference"]), 2),
        "ours": {
            name: {
                "reads_per_second": round(n_reads / statistics.median(took[name]), 2),
                "ratio": round(statistics.median(values), 2),
                "ratio_range": [round(min(values), 2), round(max(values), 2)],
                **apart[name],
            }
            for name, values in ratios.items()
        },
    }


def differences(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """How far two sets of vectors `(n_reads, hidden_size)` are apart: a number's most, and a vector's most by norm."""
    gap = ours.astype(np.float64) - theirs
    absolute = float(np.abs(gap).max())
    relative = float((np.linalg.norm(gap, axis=1) / np.linalg.norm(theirs.astype(np.float64), axis=1)).max())
    return {
        "max_absolute_error": float(f"{absolute:.3g}"),
        "max_relative_error": float(f"{relative:.3g}"),
        "within_1e-5": absolute <= CLOSE and relative <= CLOSE,
    }


def _write_lines(path: Path, reads: list[bytes]) -> Path:
    path.write_bytes(b"\n".join(reads) + b"\n")
    return path

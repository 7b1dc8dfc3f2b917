"""Load small models with quantised weights, and print how far their outputs are from those of full precision, as JSON.

A program of its own: with torchao on the path, transformers imports it for all models of the process.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import BitsAndBytesConfig, QuantoConfig, TorchAoConfig

from biomeformer.models.dnabert2 import DnaBert2ForSequenceClassification
from biomeformer.models.kmer_encoder import KmerEncoderConfig, KmerEncoderForSequenceClassification
from factories import random_genome_transformer, random_sequences, tiny_dnabert2, tiny_metagenbert, write_fastq


def torchao() -> Any:
    from torchao.quantization import Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


METHODS = {
    "torchao": torchao,
    "quanto": lambda: QuantoConfig(weights="int8"),
    "bitsandbytes": lambda: BitsAndBytesConfig(load_in_8bit=True),
}


def kmers(**options: Any) -> Any:
    torch.manual_seed(0)
    config = KmerEncoderConfig(k=3, hidden_size=32, initializer_range=0.5, **options)
    return KmerEncoderForSequenceClassification(config).eval()


def genome() -> Any:
    return random_genome_transformer(hidden_size=32, intermediate_size=64, protein_size=32)


MODELS = {
    "dnabert2": lambda: DnaBert2ForSequenceClassification(tiny_dnabert2().config).eval(),
    "k-mers": kmers,
    "gated k-mers": lambda: kmers(num_gate_heads=2),
    "genome transformer": genome,
    "metagenbert": tiny_metagenbert,
}


def inputs(name: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    if name == "genome transformer":
        return {"proteins": torch.randn(2, 5, 32, generator=generator)}
    mask = (torch.arange(20) < torch.tensor([20, 12, 17])[:, None]).long()
    return {"input_ids": torch.randint(1, 33, mask.shape, generator=generator) * mask, "attention_mask": mask}


@torch.no_grad()
def trial(name: str, model: Any, method: str, folder: Path) -> dict[str, Any]:
    """Return the number of quantised weights, and the largest difference relative to the largest output."""
    try:
        loaded = type(model).from_pretrained(folder / "model", quantization_config=METHODS[method]())
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    expected, output = (one(**inputs(name))[0] for one in (model, loaded))
    result = {
        "n_quantised": sum(is_quantised(value) for value in [*loaded.parameters(), *loaded.buffers()]),
        "difference": float((output - expected).abs().max() / expected.abs().max()),
    }
    if name == "metagenbert":
        reads = write_fastq(folder / "reads.fastq", random_sequences(60))
        counts, own = (one.embed_sample(reads).counts for one in (loaded, model))
        result |= {"n_reads": int(counts.sum()), "n_moved": int(abs(counts - own).sum()) // 2}
    return result


def is_quantised(value: torch.Tensor) -> bool:
    """Whether a weight is of 8 bits, or of a class that holds such."""
    return value.dtype == torch.int8 or type(value.data) is not torch.Tensor


def main() -> None:
    results: dict[str, dict[str, Any]] = {}
    for name, make in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            model = make()
            model.save_pretrained(Path(folder, "model"))
            results[name] = {method: trial(name, model, method, Path(folder)) for method in METHODS}
    print(json.dumps(results))


if __name__ == "__main__":
    main()

"""Settings of a measurement."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# Reads (or proteins) of a round that take some seconds, on a CPU and on a GPU.
DEFAULT_READS = {
    "metagenbert-mini": (200_000, 1_000_000),
    "dnabert2": (256, 100_000),
    "tiny": (64, 64),
    "esm2-3b": (4, 2_000),
    "esm2-650m": (16, 4_000),
    "esm2-8m": (256, 8_000),
    "esm2-tiny": (4, 4),
}
HOST_READS = 50_000


@dataclass(frozen=True)
class Settings:
    """What is measured, and how.

    Attributes:
        shape: One of `SHAPES`, or a checkpoint's name or folder.
        device: `cpu` or `cuda`.
        dtypes: Precisions of the encoder.
        threads: Of torch, on the CPU.
        reads: Reads (or proteins) of a round; the default of the shape where 0.
        host_reads: Reads that are parsed and tokenised where `reads` are fewer.
        lengths: Read lengths in bases, as many reads of each.
        clusters: Centroids, each the vector of a random read.
        rounds: Times that everything is done.
        batch_tokens: Token budget of a batch; the engine's own where None.
        max_length: With it, the preprocessing of the published scripts.
        tokenizer: A `tokenizer.json`; one is learnt on random DNA where None.
        compile: Whether read encoders are compiled.
    """

    shape: str
    device: str = "cpu"
    dtypes: list[str] = field(default_factory=lambda: ["float32", "bfloat16"])
    threads: int = 1
    reads: int = 0
    host_reads: int = HOST_READS
    lengths: list[int] = field(default_factory=lambda: [150])
    clusters: int = 1024
    rounds: int = 3
    batch_tokens: int | None = None
    max_length: int | None = None
    tokenizer: Path | None = None
    compile: bool = False

    def as_json(self) -> dict[str, Any]:
        """For a results file: of the tokenizer the name alone."""
        return {**asdict(self), "tokenizer": self.tokenizer.name if self.tokenizer else None}

    @property
    def n_reads(self) -> int:
        """Reads or proteins of a round."""
        default = DEFAULT_READS.get(self.shape, DEFAULT_READS["dnabert2"])
        return self.reads or default[self.device != "cpu"]

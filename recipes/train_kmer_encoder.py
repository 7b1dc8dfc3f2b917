"""Train a k-mer read encoder on genomes, then centroids under it: how `metagenbert-mini` was made.

Reads are drawn on the fly, evenly by genome, from both strands and with substitution errors. The encoder learns to tell
species apart: cross-entropy between a read's normalised vector and one learnt vector a species. Then reads of the same
genomes are embedded and clustered with FAISS k-means, and encoder, centroids and preprocessing contract are written as
one MetagenBERT checkpoint with a `training_record.json`.

Genera in `held_out_genera` are kept out of everything, so that the checkpoint can be judged on them.

    accelerate launch recipes/train_kmer_encoder.py --config recipes/configs/train_kmer_encoder/mini.yaml \
        --genomes GENOMES --output CHECKPOINT

GENOMES holds one gzipped or plain FASTA a genome and `genomes.tsv` with the columns genome_id, species, genus, file.
It raises `InputError` when that table is malformed, a file is missing, or the output exists.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import set_seed
from rich.progress import Progress, TextColumn
from torch import nn

import biomeformer
from biomeformer.clustering import run_kmeans
from biomeformer.errors import InputError
from biomeformer.kmer_encoder import KmerEncoderConfig, KmerEncoderModel, KmerTokenizer
from biomeformer.metagenbert import MetagenBertModel, MetagenBertProcessor
from biomeformer.reads import GenomeSet


@dataclass
class RecipeConfig:
    """Fields of the YAML file.

    Attributes:
        k: Bases of a k-mer.
        hidden_size: Width of the vectors.
        n_steps: Optimiser steps.
        batch_reads: Reads a step, over all devices.
        learning_rate: Peak, reached after a twentieth of the steps; cosine decay to zero.
        scale: Factor of the cosine similarities in the loss.
        read_length: Shortest and longest read drawn, in bases.
        error_rate: Substitutions a base.
        n_clusters: Centroids.
        reads_per_genome: Reads of each genome that k-means sees.
        n_iterations: Of k-means.
        min_read_length: The contract's shortest read, in bases.
        seed: Of everything.
        held_out_genera: File with one genus a line, relative to the YAML file; null holds out none.
    """

    k: int = 8
    hidden_size: int = 64
    n_steps: int = 2000
    batch_reads: int = 4096
    learning_rate: float = 0.003
    scale: float = 20.0
    read_length: tuple[int, int] = (100, 150)
    error_rate: float = 0.005
    n_clusters: int = 512
    reads_per_genome: int = 2000
    n_iterations: int = 25
    min_read_length: int = 32
    seed: int = 0
    held_out_genera: str | None = None

    @classmethod
    def from_yaml(cls, path: Path) -> RecipeConfig:
        """Read a config.

        Raises:
            InputError: It has fields that are not known.
        """
        values = yaml.safe_load(path.read_text()) or {}
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise InputError(
                f"{path}: unknown field {sorted(unknown)[0]}; known are {', '.join(cls.__dataclass_fields__)}."
            )
        config = cls(**values)
        config.read_length = (int(config.read_length[0]), int(config.read_length[1]))
        return config


class SpeciesLoss(nn.Module):
    """Cross-entropy of a read's normalised vector against one learnt, normalised vector a species."""

    def __init__(self, n_species: int, hidden_size: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_species, hidden_size))
        self.scale = scale

    def logits(self, vectors: torch.Tensor) -> torch.Tensor:
        """Scaled cosine similarities `(n_reads, n_species)`."""
        return self.scale * nn.functional.normalize(vectors, dim=-1) @ nn.functional.normalize(self.weight, dim=-1).T

    def forward(self, vectors: torch.Tensor, species: torch.Tensor) -> torch.Tensor:
        """Mean loss."""
        return nn.functional.cross_entropy(self.logits(vectors), species)


class EncoderWithLoss(nn.Module):
    """One module for Accelerate to distribute."""

    def __init__(self, encoder: KmerEncoderModel, loss: SpeciesLoss) -> None:
        super().__init__()
        self.encoder, self.loss = encoder, loss

    def forward(self, input_ids: torch.Tensor, lengths: torch.Tensor, species: torch.Tensor) -> torch.Tensor:
        """Loss of a batch of packed reads."""
        return self.loss(self.encoder.embed_packed(input_ids, lengths), species)


def learning_rate_factor(step: int, n_steps: int) -> float:
    """Linear warm-up over a twentieth of the steps, then cosine decay."""
    warm_up = max(n_steps // 20, 1)
    return (
        (step + 1) / warm_up
        if step < warm_up
        else 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (n_steps - warm_up)))
    )


def train(
    config: RecipeConfig, genomes: GenomeSet, accelerator: Accelerator
) -> tuple[KmerEncoderModel, KmerTokenizer, dict[str, float]]:
    """Train the encoder; also gives the loss of the last tenth of the steps and the accuracy on fresh reads."""
    names = sorted(set(genomes.species))
    species_of = np.array([names.index(name) for name in genomes.species])
    tokenizer = KmerTokenizer(k=config.k)
    encoder = KmerEncoderModel(KmerEncoderConfig(k=config.k, hidden_size=config.hidden_size))
    bundle = EncoderWithLoss(encoder, SpeciesLoss(len(names), config.hidden_size, config.scale))
    optimizer = torch.optim.Adam(bundle.parameters(), lr=config.learning_rate)
    bundle, optimizer = accelerator.prepare(bundle, optimizer)
    rng = np.random.default_rng([config.seed, 1, accelerator.process_index])
    n_reads = config.batch_reads // accelerator.num_processes

    def batch(n: int, generator: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        which = generator.integers(0, len(genomes.ids), n)
        ids, lengths = tokenizer.encode_packed(*genomes.draw(which, config.read_length, config.error_rate, generator))
        used = lengths > 0
        species = torch.from_numpy(species_of[which[used]])
        return (
            torch.from_numpy(ids).to(accelerator.device),
            torch.from_numpy(lengths[used]),
            species.to(accelerator.device),
        )

    losses: list[float] = []
    columns = (*Progress.get_default_columns(), TextColumn("loss {task.fields[loss]:.3f}"))
    with Progress(*columns, disable=not accelerator.is_main_process) as progress:
        task = progress.add_task("training the encoder", total=config.n_steps, loss=float("nan"))
        for step in range(config.n_steps):
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * learning_rate_factor(step, config.n_steps)
            loss = bundle(*batch(n_reads, rng))
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            losses.append(float(accelerator.reduce(loss.detach(), "mean")))
            progress.update(task, advance=1, loss=losses[-1])
    bundle = accelerator.unwrap_model(bundle).cpu().eval()
    with torch.inference_mode():
        fresh = [tensor.cpu() for tensor in batch(20_000, np.random.default_rng([config.seed, 2]))]
        guesses = bundle.loss.logits(bundle.encoder.embed_packed(fresh[0], fresh[1])).argmax(1)
    tail = losses[-max(config.n_steps // 10, 1) :]
    metrics = {
        "first_loss": losses[0],
        "final_loss": sum(tail) / len(tail),
        "species_accuracy": float((guesses == fresh[2]).float().mean()),
        "n_species": len(names),
    }
    return bundle.encoder, tokenizer, metrics


def fit(
    config: RecipeConfig, genomes: GenomeSet, encoder: KmerEncoderModel, tokenizer: KmerTokenizer
) -> MetagenBertModel:
    """Spherical k-means over reads of every genome."""
    rng = np.random.default_rng([config.seed, 3])
    vectors = []
    for genome in range(len(genomes.ids)):
        which = np.full(config.reads_per_genome, genome)
        ids, lengths = tokenizer.encode_packed(*genomes.draw(which, config.read_length, config.error_rate, rng))
        with torch.inference_mode():
            new = encoder.embed_packed(torch.from_numpy(ids), torch.from_numpy(lengths[lengths > 0]))
        vectors.append(nn.functional.normalize(new, dim=-1).numpy())
    kmeans = run_kmeans(
        np.concatenate(vectors), config.n_clusters, n_iterations=config.n_iterations, seed=config.seed, spherical=True
    )
    processor = MetagenBertProcessor(tokenizer, min_read_length=config.min_read_length)
    return MetagenBertModel.from_encoder_and_centroids(
        encoder, kmeans.centroids, processor=processor, normalize_embeddings=True
    )


def main() -> None:
    """Train, cluster, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--genomes", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--n-steps", type=int, help="overrides the config's")
    args = parser.parse_args()

    config = RecipeConfig.from_yaml(args.config)
    if args.n_steps is not None:
        config.n_steps = args.n_steps
    if args.output.exists() and any(args.output.iterdir()):
        raise InputError(f"{args.output} exists and is not empty; give a new folder.")
    held_out: set[str] = set()
    if config.held_out_genera:
        held_out = set((args.config.parent / config.held_out_genera).read_text().split())
    accelerator = Accelerator()
    set_seed(config.seed)
    start = time.monotonic()
    genomes = GenomeSet.load(args.genomes, held_out)
    encoder, tokenizer, metrics = train(config, genomes, accelerator)
    if not accelerator.is_main_process:
        return
    model = fit(config, genomes, encoder, tokenizer)
    model.save_pretrained(args.output)
    record = {
        "recipe": "recipes/train_kmer_encoder.py",
        "config": asdict(config),
        "genomes": [{"genome_id": g, "sha256": h} for g, h in zip(genomes.ids, genomes.sha256, strict=True)],
        "held_out_genera": sorted(held_out),
        "n_reads": config.n_steps * config.batch_reads,
        "seed": config.seed,
        "wall_time_s": round(time.monotonic() - start, 1),
        "device": f"{accelerator.device.type}, {accelerator.num_processes} process, {os.cpu_count()} cores",
        "versions": {
            "biomeformer": biomeformer.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "metrics": {name: round(float(value), 4) for name, value in metrics.items()},
    }
    (args.output / "training_record.json").write_text(json.dumps(record, indent=1) + "\n")
    accelerator.print(f"Wrote {args.output}: species accuracy {metrics['species_accuracy']:.3f} on fresh reads.")


if __name__ == "__main__":
    main()

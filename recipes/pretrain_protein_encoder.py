"""Pretrain a small protein encoder of ESM-2's architecture on the proteins of genomes.

Masked language modelling as ESM-2's (doi:10.1126/science.ade2574): 15 % of the residues are hidden, and the loss is the
cross-entropy of what they were. Proteins of similar length make a batch; longer ones than `max_residues` are cut to a
window drawn anew each time. What a step draws depends on the seed, the step and the micro-batch alone: a run that was
interrupted goes on as if it had not been, and any number of processes among which the micro-batches can be shared
evenly gives the same losses.

    accelerate launch recipes/pretrain_protein_encoder.py --config recipes/configs/pretrain_protein_encoder/mini.yaml \
        --genomes GENOMES --output RUN

GENOMES holds one FASTA a genome, plain or compressed, and `genomes.tsv` with the columns genome_id and file; genes are
called once and kept in `RUN/proteins.npz`. RUN gets `model/`, which `biomeformer genome embed --protein-encoder` and
transformers' `EsmModel` load, with `history.csv`, `evaluation.csv` (on proteins that were held out by a hash of their
sequence, beside the loss of residue frequencies alone) and `training_record.json`.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import math
import os
import shutil
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from rich.progress import Progress, TextColumn
from transformers import EsmForMaskedLM

from biomeformer.errors import BiomeformerError, InputError
from biomeformer.files import written_whole
from biomeformer.genomes import read_genome
from biomeformer.genomes.proteins import (
    ALPHABET,
    CLS,
    EOS,
    FIRST,
    MASK,
    PAD,
    UNK,
    VOCAB_SIZE,
    esm_config,
    esm_tokenizer,
    pack_proteins,
    pad_proteins,
)
from biomeformer.pretraining.masking import IGNORED, mask_tokens
from biomeformer.recipe_config import build_config, read_yaml
from biomeformer.runs.interruption import Interruption
from biomeformer.training.accelerator import describe_device, make_accelerator
from biomeformer.training_run import TrainingRun, exit_code_of

transformers.utils.logging.disable_progress_bar()
# Letters that stand for no residue are never hidden, nor put in.
SPECIALS = [
    CLS,
    PAD,
    EOS,
    UNK,
    *range(FIRST + len(ALPHABET), VOCAB_SIZE),
    *(FIRST + ALPHABET.index(a) for a in "XBZUO"),
]


@dataclass
class RecipeConfig:
    """Fields of the YAML file.

    Attributes:
        hidden_size: Width.
        num_hidden_layers: Layers.
        num_attention_heads: Heads.
        intermediate_size: Width of the feed-forward networks.
        n_steps: Optimiser steps.
        micro_batches: A step's micro-batches, shared out among processes; a multiple of their number.
        micro_batch_tokens: Tokens a micro-batch, padding counted.
        max_residues: Longer proteins are cut to a window of this length; the encoder will embed no more of a protein.
        learning_rate: Peak; cosine decay to zero after the warm-up.
        warmup: Share of the steps with a linearly rising learning rate.
        weight_decay: Of AdamW.
        max_grad_norm: Gradients are clipped to this norm.
        mask_fraction: Of residues hidden.
        held_out: Share of the distinct proteins kept out of training, by a hash of their sequence.
        evaluate_every: Steps between evaluations.
        save_every: Steps between saved states.
        mixed_precision: `auto` (bf16 on a GPU that has it), `bf16` or `no`.
        seed: Of everything.
    """

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    n_steps: int
    micro_batches: int = 1
    micro_batch_tokens: int = 8192
    max_residues: int = 512
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    mask_fraction: float = 0.15
    held_out: float = 0.02
    evaluate_every: int = 500
    save_every: int = 500
    mixed_precision: str = "auto"
    seed: int = 0


class Proteins:
    """Distinct proteins end to end, in order of their length."""

    def __init__(self, letters: np.ndarray, offsets: np.ndarray) -> None:
        self.letters, self.offsets = letters, offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def window(self, i: int, longest: int, rng: np.random.Generator) -> str:
        """A protein, or a window of it."""
        begin, end = int(self.offsets[i]), int(self.offsets[i + 1])
        if end - begin > longest:
            begin += int(rng.integers(end - begin - longest + 1))
            end = begin + longest
        return self.letters[begin:end].tobytes().decode("ascii")

    def batch(self, config: RecipeConfig, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Neighbours in length, with residues hidden."""
        anchor = int(rng.integers(len(self)))
        length = min(int(self.offsets[anchor + 1] - self.offsets[anchor]), config.max_residues) + 2
        n = max(config.micro_batch_tokens // length, 1)
        first = max(min(anchor - n // 2, len(self) - n), 0)
        rows = range(first, min(first + n, len(self)))
        ids = pad_proteins(pack_proteins([self.window(row, config.max_residues, rng) for row in rows]))
        hidden, labels = mask_tokens(ids, SPECIALS, MASK, VOCAB_SIZE, rng, config.mask_fraction)
        return {
            "input_ids": torch.from_numpy(hidden),
            "attention_mask": torch.from_numpy((ids != PAD).astype(np.int64)),
            "labels": torch.from_numpy(labels),
        }

    def parted(self, held_out: float) -> tuple[Proteins, Proteins]:
        """Proteins to train on, and those held out."""
        limit = int(held_out * 2**32)
        bounds = list(zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True))
        hashes = [hashlib.sha256(self.letters[a:b].tobytes()).digest()[:4] for a, b in bounds]
        is_out = np.array([int.from_bytes(digest, "little") < limit for digest in hashes])
        return self._select(~is_out), self._select(is_out)

    def _select(self, keep: np.ndarray) -> Proteins:
        lengths = np.diff(self.offsets)
        letters = self.letters[np.repeat(keep, lengths)]
        return Proteins(letters, np.concatenate([[0], np.cumsum(lengths[keep])]))

    @classmethod
    def of_genomes(cls, folder: Path, run: TrainingRun) -> Proteins:
        """Proteins of all genomes, called once and kept with the run."""
        file = run.path / "proteins.npz"
        if run.accelerator.is_main_process and not file.is_file():
            distinct: set[str] = set()
            with Progress() as progress:
                for _, path in progress.track(genome_files(folder), description="calling genes"):
                    distinct |= {gene.protein for gene in read_genome(path, threads=os.cpu_count() or 1).genes}
            ordered = sorted(distinct, key=lambda protein: (len(protein), protein))
            letters = np.frombuffer("".join(ordered).encode(), np.uint8)
            offsets = np.concatenate([[0], np.cumsum([len(protein) for protein in ordered])])
            with written_whole(file) as partial, partial.open("wb") as handle:
                np.savez(handle, letters=letters, offsets=offsets)
        run.accelerator.wait_for_everyone()
        with np.load(file) as arrays:
            return cls(arrays["letters"], arrays["offsets"])


def genome_files(folder: Path) -> list[tuple[str, Path]]:
    """Genome ids and files of a folder's `genomes.tsv`.

    Raises:
        InputError: It is not there, or lacks a column.
    """
    table = folder / "genomes.tsv"
    try:
        with table.open(newline="") as handle:
            return [(row["genome_id"], folder / row["file"]) for row in csv.DictReader(handle, delimiter="\t")]
    except OSError as error:
        raise InputError(f"{table} cannot be read ({error.strerror}); it lists the genomes.") from error
    except KeyError as error:
        raise InputError(f"{table} has no column {error}; it needs genome_id and file.") from error


def learning_rate(step: int, config: RecipeConfig) -> float:
    """Linear warm-up, then cosine decay."""
    warm_up = max(round(config.n_steps * config.warmup), 1)
    if step < warm_up:
        return config.learning_rate * (step + 1) / warm_up
    share = (step - warm_up) / max(config.n_steps - warm_up, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def rng_of(config: RecipeConfig, *key: int) -> np.random.Generator:
    """The random numbers of one draw."""
    return np.random.default_rng([config.seed, *key])


@torch.no_grad()
def evaluate(model: Any, held_out: Proteins, config: RecipeConfig, device: torch.device) -> tuple[float, float]:
    """Loss on residues of held-out proteins, and that of their frequencies alone, in nats."""
    model.eval()
    total, n, counts = 0.0, 0, np.zeros(VOCAB_SIZE)
    for i in range(20):
        batch = held_out.batch(config, rng_of(config, 2, i))
        chosen = batch["labels"] != IGNORED
        logits = model(
            input_ids=batch["input_ids"].to(device), attention_mask=batch["attention_mask"].to(device)
        ).logits
        truth = batch["labels"][chosen]
        total += float(torch.nn.functional.cross_entropy(logits.cpu()[chosen].float(), truth, reduction="sum"))
        n += len(truth)
        counts += np.bincount(truth.numpy(), minlength=VOCAB_SIZE)
    model.train()
    shares = counts[counts > 0] / counts.sum()
    return total / n, float(-(shares * np.log(shares)).sum())


def train(config: RecipeConfig, run: TrainingRun, proteins: Proteins, check: Any) -> tuple[Any, dict[str, Any]]:
    """Train, or go on; gives the model and what it is judged by."""
    accelerator = run.accelerator
    n_ranks, rank = accelerator.num_processes, accelerator.process_index
    if config.micro_batches % n_ranks:
        raise InputError(f"{config.micro_batches} micro_batches cannot be shared among {n_ranks} processes.")
    inside, outside = proteins.parted(config.held_out)
    if not len(inside) or not len(outside):
        raise InputError(f"{len(proteins)} proteins are too few to hold {config.held_out} of them out.")
    torch.manual_seed(config.seed)
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_residues")
    model: Any = EsmForMaskedLM(esm_config(**{name: getattr(config, name) for name in sizes}))
    # The contact head is no part of this objective.
    model.esm.contact_head.requires_grad_(False)
    trained = [value for value in model.parameters() if value.requires_grad]
    options = {"lr": config.learning_rate, "betas": (0.9, 0.98), "weight_decay": config.weight_decay}
    optimizer: Any = torch.optim.AdamW(trained, **options)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    wrapped.train()
    position = run.load_state(0) or {"step": 0, "seconds": 0.0}
    if position["step"] == 0:
        run.forget(0)
    begun = time.monotonic() - position["seconds"]
    own = config.micro_batches // n_ranks
    columns = (*Progress.get_default_columns(), TextColumn("loss {task.fields[loss]:.4f}"))
    with Progress(*columns, disable=not accelerator.is_main_process) as progress:
        bar = progress.add_task("masked residues", total=config.n_steps, completed=position["step"], loss=float("nan"))
        for step in range(position["step"], config.n_steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config)
            total = torch.zeros((), device=accelerator.device)
            for i in range(own):
                batch = inside.batch(config, rng_of(config, 1, step, rank + i * n_ranks))
                batch = {name: value.to(accelerator.device) for name, value in batch.items()}
                with nullcontext() if i == own - 1 else accelerator.no_sync(wrapped):
                    with accelerator.autocast():
                        loss = wrapped(**batch).loss / own
                    accelerator.backward(loss)
                total += loss.detach()
            accelerator.clip_grad_norm_(wrapped.parameters(), config.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            value = float(accelerator.reduce(total, "mean"))
            if not math.isfinite(value):
                raise BiomeformerError(f"the loss is {value} at step {step + 1}; lower the learning_rate.")
            if accelerator.is_main_process:
                run.append("history.csv", {"stage": 0, "step": step + 1, "loss": f"{value:.6f}"})
            progress.update(bar, advance=1, loss=value)
            done = step + 1
            if (done % config.evaluate_every == 0 or done == config.n_steps) and accelerator.is_main_process:
                ours, frequencies = evaluate(accelerator.unwrap_model(wrapped), outside, config, accelerator.device)
                row = {"stage": 0, "step": done, "loss": f"{ours:.6f}", "frequencies": f"{frequencies:.6f}"}
                run.append("evaluation.csv", row)
            if done % config.save_every == 0 and done < config.n_steps:
                run.save_state(0, done, {"seconds": time.monotonic() - begun})
            check()
    figures = {"n_proteins": len(inside), "n_held_out": len(outside), "seconds": round(time.monotonic() - begun, 1)}
    return accelerator.unwrap_model(wrapped), figures


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--genomes", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cpu", action="store_true", help="leave GPUs alone")
    parser.add_argument("--overwrite", action="store_true", help="replace what the output folder holds")
    return parser


def run_recipe(args: argparse.Namespace) -> None:
    """The whole run."""
    config = build_config(RecipeConfig, read_yaml(args.config), str(args.config))
    genomes = genome_files(args.genomes)
    accelerator = make_accelerator(config.mixed_precision, cpu=args.cpu)
    digest = hashlib.sha256("".join(f"{name}\t{path.stat().st_size}\n" for name, path in genomes).encode()).hexdigest()
    run = TrainingRun(args.output, {"config": asdict(config), "genomes": digest}, accelerator)
    run.open(args.overwrite)
    with Interruption() as interruption:
        proteins = Proteins.of_genomes(args.genomes, run)
        model, figures = train(config, run, proteins, interruption.check)
    if not accelerator.is_main_process:
        return
    last = list(csv.DictReader((args.output / "evaluation.csv").open()))[-1]
    record = {
        "recipe": "recipes/pretrain_protein_encoder.py",
        "config": asdict(config),
        "genomes": [name for name, _ in genomes],
        "n_tokens": config.n_steps * config.micro_batches * config.micro_batch_tokens,
        "held_out_loss": float(last["loss"]),
        "held_out_loss_of_frequencies": float(last["frequencies"]),
        **figures,
        "device": describe_device(accelerator),
    }

    def save(folder: Path) -> None:
        model.cpu().eval().save_pretrained(folder, save_original_format=False)
        esm_tokenizer(folder).save_pretrained(folder)

    folder = run.write_model(save, record)
    shutil.rmtree(args.output / "state", ignore_errors=True)
    print(f"held-out loss {record['held_out_loss']:.3f} nats (frequencies alone {float(last['frequencies']):.3f})")
    print(f"Wrote {folder}")


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe; gives the exit code."""
    args = parser().parse_args(arguments)
    return exit_code_of(partial(run_recipe, args), "the same command goes on from the last saved state")


if __name__ == "__main__":
    sys.exit(main())

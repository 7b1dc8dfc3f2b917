"""Pretrain a small protein encoder of ESM-2's architecture on the proteins of genomes.

The objective is masked language modelling as for ESM-2 (doi:10.1126/science.ade2574): 15 % of the residues are masked,
and the loss is their cross-entropy, averaged over all masked residues of a step. Proteins of similar length are batched
together; proteins longer than `max_residues` are cropped to a random window, and the trained encoder averages over
windows of that length. The data of a step depend only on the
seed, the step and the micro-batch: a resumed run gives the same losses as an uninterrupted one, and so does any number
of processes.

    accelerate launch recipes/pretrain_protein_encoder.py --config recipes/configs/pretrain_protein_encoder/mini.yaml \
        --genomes GENOMES --output RUN

With `objective: composition` nothing is trained: the encoder has no layers, and gives the standardised amino-acid
composition of a protein.

GENOMES holds one FASTA per genome, plain or compressed, and `genomes.tsv` with the columns genome_id and file (and
genus, if genera are held out); genes are predicted once and kept in `RUN/proteins.npz`. RUN gets `model/`, which
`biomeformer genome embed --protein-encoder` and transformers' `EsmModel` load, with `history.csv` (its validation loss
is on proteins held out by a hash of their sequence) and `training_record.json`.

Exit codes: 0 done, 1 failure, 2 bad input, 130 or 143 interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import EsmForMaskedLM, EsmModel

from biomeformer.errors import InputError
from biomeformer.genomes import read_genome
from biomeformer.genomes.composition import composition_encoder, composition_statistics
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
from biomeformer.genomes.training_genomes import read_held_out
from biomeformer.io.records import DamagedFileError, read_arrays, write_arrays
from biomeformer.io.tables import TableFormat, read_table
from biomeformer.runs.process_group import ProcessGroup
from biomeformer.runs.progress import out
from biomeformer.training.accelerator import describe_device, make_accelerator
from biomeformer.training.batches import to_device
from biomeformer.training.command import RecipeParser, run_main
from biomeformer.training.config import (
    AT_LEAST_ONE,
    DROPOUT,
    FRACTION,
    MIXED_PRECISION,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    Config,
    Range,
)
from biomeformer.training.loop import Outcome, Plan, Validation, train
from biomeformer.training.objectives.masking import IGNORED, mask_tokens
from biomeformer.training.run import TrainingRun
from biomeformer.training.schedules import cosine_warmup_decay

transformers.utils.logging.disable_progress_bar()
N_VALIDATION_BATCHES = 20
OBJECTIVES = ("masked_residues", "composition")
SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
# Letters that are not residues are never masked or used as random residues.
SPECIALS = [
    CLS,
    PAD,
    EOS,
    UNK,
    *range(FIRST + len(ALPHABET), VOCAB_SIZE),
    *(FIRST + ALPHABET.index(a) for a in "XBZUO"),
]


@dataclass
class RecipeConfig(Config):
    """Fields of the YAML file.

    Attributes:
        objective: `masked_residues`, or `composition` for an encoder without layers that is not trained: of the other
            fields it needs `max_residues`, `held_out` and `held_out_genera` alone.
        hidden_size: Hidden size.
        num_hidden_layers: Number of layers.
        num_attention_heads: Number of attention heads.
        intermediate_size: Hidden size of the feed-forward networks.
        n_steps: Optimizer steps.
        micro_batches: Micro-batches per step, shared among processes.
        micro_batch_tokens: Tokens per micro-batch, padding included.
        max_residues: Longer proteins are cropped to a window of this length, in training and by the trained encoder.
        learning_rate: Peak learning rate; cosine decay to zero after the warm-up.
        warmup: Fraction of the steps with a linearly rising learning rate.
        weight_decay: Weight decay of AdamW.
        max_grad_norm: Gradients are clipped to this norm.
        mask_fraction: Fraction of residues to mask.
        held_out: Fraction of the distinct proteins held out for validation, by a hash of their sequence.
        held_out_genera: File with one genus per line, relative to the YAML file; their genomes are not used.
        evaluate_every: Steps between evaluations.
        save_every: Steps between saved states.
        mixed_precision: `auto` (bf16 on a GPU that supports it), `bf16` or `no`.
        seed: Seed of all random choices.
    """

    objective: str = "masked_residues"
    hidden_size: int = 0
    num_hidden_layers: int = 0
    num_attention_heads: int = 0
    intermediate_size: int = 0
    n_steps: int = 0
    micro_batches: int = 1
    micro_batch_tokens: int = 8192
    max_residues: int = 512
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    mask_fraction: float = 0.15
    held_out: float = 0.02
    held_out_genera: str | None = None
    evaluate_every: int = 500
    save_every: int = 500
    mixed_precision: str = "auto"
    seed: int = 0

    ranges = {
        "objective": OBJECTIVES,
        # 0 where the objective has no network to train; see `check`.
        **dict.fromkeys((*SIZES, "n_steps"), NOT_NEGATIVE),
        "micro_batches": AT_LEAST_ONE,
        "micro_batch_tokens": AT_LEAST_ONE,
        "max_residues": AT_LEAST_ONE,
        "learning_rate": POSITIVE,
        "warmup": FRACTION,
        "weight_decay": NOT_NEGATIVE,
        "max_grad_norm": POSITIVE,
        "mask_fraction": Range(0, 1, is_open=True),
        "held_out": DROPOUT,
        "evaluate_every": NOT_NEGATIVE,
        "save_every": AT_LEAST_ONE,
        "mixed_precision": MIXED_PRECISION,
        "seed": SEED,
    }

    def check(self, where: str) -> None:
        """Raise `InputError` if a value is out of range."""
        if self.objective == "masked_residues":
            self.require_at_least_one(where, *SIZES, "n_steps")


PROTEINS = "proteins.npz"


class Proteins:
    """Distinct proteins in order of length.

    Args:
        letters: Concatenated sequences, uint8 `(n_residues,)`.
        offsets: Boundaries of the proteins in `letters`, int64 `(n_proteins + 1,)`.
    """

    def __init__(self, letters: np.ndarray, offsets: np.ndarray) -> None:
        self.letters, self.offsets = letters, offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def window(self, i: int, longest: int, rng: np.random.Generator) -> str:
        """Return a protein, or a random window of it if it is longer than `longest`."""
        begin, end = int(self.offsets[i]), int(self.offsets[i + 1])
        if end - begin > longest:
            begin += int(rng.integers(end - begin - longest + 1))
            end = begin + longest
        return self.letters[begin:end].tobytes().decode("ascii")

    def batch(self, config: RecipeConfig, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Draw a micro-batch of proteins of similar length, with residues masked."""
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

    def split(self, held_out: float) -> tuple[Proteins, Proteins]:
        """Split into training proteins and held-out ones."""
        limit = int(held_out * 2**32)
        bounds = list(zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True))
        hashes = [hashlib.sha256(self.letters[a:b].tobytes()).digest()[:4] for a, b in bounds]
        is_held_out = np.array([int.from_bytes(digest, "little") < limit for digest in hashes])
        return self._select(~is_held_out), self._select(is_held_out)

    def _select(self, keep: np.ndarray) -> Proteins:
        lengths = np.diff(self.offsets)
        letters = self.letters[np.repeat(keep, lengths)]
        return Proteins(letters, np.concatenate([[0], np.cumsum(lengths[keep])]))

    @classmethod
    def of_genomes(cls, genomes: list[tuple[str, Path]], run: TrainingRun) -> Proteins:
        """Return the proteins of all genomes, predicted once by the main process and kept in the run's folder."""
        file, advice = run.path / PROTEINS, "delete it, and the same command predicts the genes again"

        def call_genes() -> None:
            if file.is_file():
                return
            distinct: set[str] = set()
            for _, path in run.track(genomes, "predicting genes"):
                run.check()
                distinct |= {gene.protein for gene in read_genome(path, threads=os.cpu_count() or 1).genes}
            run.record_inputs()
            ordered = sorted(distinct, key=lambda protein: (len(protein), protein))
            letters = np.frombuffer("".join(ordered).encode(), np.uint8)
            offsets = np.concatenate([[0], np.cumsum([len(protein) for protein in ordered])])
            write_arrays(file, {"letters": letters, "offsets": offsets}, {})

        run.processes.on_main(call_genes)
        arrays = read_arrays(file, advice=advice)
        if arrays.keys() != {"letters", "offsets"}:
            raise DamagedFileError(f"{file} holds something else; {advice}.")
        return cls(arrays["letters"], arrays["offsets"])


GENOME_LIST = TableFormat("list of genomes", "it needs the columns genome_id and file", InputError)


def genome_files(folder: Path, held_out: frozenset[str] = frozenset()) -> list[tuple[str, Path]]:
    """Read the genome ids and files listed in a folder's `genomes.tsv`.

    Args:
        folder: Folder with the list.
        held_out: Genera whose genomes are left out.

    Raises:
        InputError: The list does not exist, lacks a column, or all its genomes are held out.
    """
    table = read_table(folder / "genomes.tsv", GENOME_LIST)
    table.require(("genome_id", "file", "genus") if held_out else ("genome_id", "file"))
    rows = [row for _, row in table.records()]
    kept = [(row["genome_id"], folder / row["file"]) for row in rows if not held_out or row["genus"] not in held_out]
    if not kept:
        raise InputError(f"{table.path} has no genome of a genus that is not held out; give a shorter list of genera.")
    return kept


def rng_of(config: RecipeConfig, *key: int) -> np.random.Generator:
    """Return the random generator of one draw."""
    return np.random.default_rng([config.seed, *key])


def masked_loss(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the summed cross-entropy of the masked residues, in nats, and their number."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    labels = batch["labels"].flatten()
    losses = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), labels, ignore_index=IGNORED, reduction="sum"
    )
    return losses, (labels != IGNORED).sum()


def loss_of_frequencies(held_out: Proteins, config: RecipeConfig) -> float:
    """Compute the validation loss of a model of residue frequencies, in nats."""
    counts = np.zeros(VOCAB_SIZE)
    for i in range(N_VALIDATION_BATCHES):
        labels = held_out.batch(config, rng_of(config, 2, i))["labels"].numpy()
        counts += np.bincount(labels[labels != IGNORED], minlength=VOCAB_SIZE)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def train_encoder(
    config: RecipeConfig, run: TrainingRun, training: Proteins, held_out: Proteins
) -> tuple[EsmForMaskedLM, Outcome]:
    """Train, or resume, and validate on the held-out proteins."""
    torch.manual_seed(config.seed)
    sizes_of_model = {name: getattr(config, name) for name in (*SIZES, "max_residues")}
    model: Any = EsmForMaskedLM(esm_config(**sizes_of_model, long_proteins="windows"))
    # The contact head is not trained by this objective.
    model.esm.contact_head.requires_grad_(False)

    def draw(step: int, micro: int, n_micro_batches: int) -> dict[str, torch.Tensor]:
        return training.batch(config, rng_of(config, 1, step, micro))

    def validate() -> Validation:
        def evaluate() -> float:
            totals = np.zeros(2)
            for i in range(N_VALIDATION_BATCHES):
                batch = to_device(held_out.batch(config, rng_of(config, 2, i)), run.accelerator.device)
                totals += [float(value) for value in masked_loss(model, batch)]
            return float(totals[0] / totals[1])

        return Validation(loss=run.processes.on_main(evaluate))

    plan = Plan(
        config.n_steps,
        cosine_warmup_decay(config.n_steps, config.warmup),
        micro_batches=config.micro_batches,
        evaluate_every=config.evaluate_every,
        save_every=config.save_every,
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
    )
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay)
    outcome = train(run, 0, model, optimizer, plan, draw, masked_loss, validate, name="masked residues")
    return model, outcome


def parser() -> RecipeParser:
    """Build the argument parser."""
    parser = RecipeParser(__file__, __doc__)
    parser.add_training_options()
    parser.add_argument("--genomes", type=Path, required=True, help="folder with genomes.tsv")
    return parser


def run_recipe(args: argparse.Namespace, processes: ProcessGroup | None = None) -> None:
    """Predict genes, train and write the results.

    Raises:
        BiomeformerError: The input is invalid, or a signal was received.
    """
    config = RecipeConfig.from_yaml(args.config, args.overrides)
    held_out_genera = read_held_out(args.config, config.held_out_genera)
    genomes = genome_files(args.genomes, held_out_genera)
    accelerator = make_accelerator(config.mixed_precision, cpu=args.cpu, processes=processes)
    identity = {"config": asdict(config), "genomes": [name for name, _ in genomes]}
    inputs = [path for _, path in genomes]
    run = TrainingRun(args.output, identity, accelerator, processes, inputs=inputs, files=[PROTEINS])
    with run.open(args.overwrite):
        proteins = Proteins.of_genomes(genomes, run)
        training, held_out = proteins.split(config.held_out)
        if not len(training) or not len(held_out):
            raise InputError(f"{len(proteins)} proteins are too few to hold {config.held_out} of them out.")
        record = {
            "recipe": "recipes/pretrain_protein_encoder.py",
            "config": asdict(config),
            "genomes": [name for name, _ in genomes],
            "held_out_genera": sorted(held_out_genera),
            "n_proteins": len(training),
            "n_held_out": len(held_out),
            "device": describe_device(accelerator),
        }
        if config.objective == "composition":
            model: Any = composition_encoder(
                *composition_statistics(training.letters, training.offsets), config.max_residues
            )
        else:
            model, outcome = train_encoder(config, run, training, held_out)
            assert outcome.validation is not None and outcome.validation.loss is not None
            record |= {
                "n_tokens": config.n_steps * config.micro_batches * config.micro_batch_tokens,
                "held_out_loss": round(outcome.validation.loss, 6),
                "held_out_loss_of_frequencies": round(loss_of_frequencies(held_out, config), 6),
                "seconds": outcome.seconds,
            }
        if run.is_main:
            folder = run.write_model(lambda path: save(model, path), record)
            if "held_out_loss" in record:
                frequencies = record["held_out_loss_of_frequencies"]
                out(f"held-out loss {record['held_out_loss']:.3f} nats (residue frequencies: {frequencies:.3f})")
            out(f"Wrote {folder}")
        run.delete_states()


def save(model: EsmForMaskedLM | EsmModel, folder: Path) -> None:
    """Write the checkpoint."""
    model.cpu().eval().save_pretrained(folder, save_original_format=False)
    esm_tokenizer(folder).save_pretrained(folder)


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe; return its exit code."""
    return run_main(run_recipe, parser().parse_args(arguments), "the same command resumes from the last saved state")


if __name__ == "__main__":
    sys.exit(main())

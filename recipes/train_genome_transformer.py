"""Train a genome transformer to tell a label of genomes, such as their habitat (arXiv 2405.05998).

* Genomes are split so that no group (genus, family) is in two folds. Within the training folds groups are set aside, on
  which training stops early, unless `patience` is null; the test fold has no part in it. What is reported are the test
  folds' scores.
* Contigs are put in another order in every epoch; the order of genes within them is kept. With `genes_per_step` a
  step sees some of a genome's genes, others each time: quicker, and a guard against learning few genomes by heart.
* Genomes of similar length make a batch, so that little is padded. Vectors are read genome by genome
  from the disk, or with `--streaming` from the Hub, the next batch while one is at work.
* AdamW, linear warm-up and decay, class weights. Processes share each batch; gradients are those of one process.

    biomeformer genome embed genomes.csv --protein-encoder facebook/esm2_t36_3B_UR50D --output embedded --device cuda
    accelerate launch recipes/train_genome_transformer.py --config recipes/configs/train_genome_transformer/paper.yaml \
        --genomes embedded --target habitat --group genus --output RUN

RUN gets `model/`, trained on all genomes for as many epochs as the folds took in the median, with `scores.csv`,
`predictions.csv` and `study.json` (`biomeformer phenotype report RUN` draws them), `history.csv` and
`training_record.json`. The same command goes on after the last finished epoch.

Exit codes: 0 done, 1 failure, 2 bad input, 130 or 143 interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from accelerate.utils import gather_object
from rich.console import Console
from rich.table import Table

from biomeformer import (
    GenomeTransformerConfig,
    GenomeTransformerForSequenceClassification,
    GenomeTransformerProcessor,
)
from biomeformer.errors import InputError
from biomeformer.genomes.dataset import DatasetGenomes, StreamedGenomes, open_genomes
from biomeformer.genomes.embedding import EmbeddedGenomes
from biomeformer.genomes.prediction import PROTEIN_ENCODER
from biomeformer.genomes.proteins import load_protein_encoder
from biomeformer.interruption import Interruption
from biomeformer.phenotypes import Study, Target, make_target, read_metadata
from biomeformer.phenotypes.evaluation import folds
from biomeformer.phenotypes.study import study_of_folds
from biomeformer.phenotypes.trained_folds import median_epoch, train_folds
from biomeformer.recipe_config import build_config, read_yaml
from biomeformer.training.accelerator import describe_device, make_accelerator
from biomeformer.training_run import (
    RECORD,
    TrainingRun,
    bucketed_batches,
    exit_code_of,
    share_of_peak_rate,
)

transformers.utils.logging.disable_progress_bar()
MAX_COPIED_BYTES = 200_000_000


@dataclass
class RecipeConfig:
    """Fields of the YAML file.

    Attributes:
        hidden_size: Width.
        num_hidden_layers: Layers.
        num_attention_heads: Heads.
        intermediate_size: Width of the feed-forward networks.
        positions: `none`, `contig` or `genome`.
        pooling: `mean`, `cls` or `attention`.
        dropout: Of embeddings, feed-forward networks and residuals.
        max_genes: Genes of a genome at most.
        n_epochs: At most; the learning rate falls to zero over them.
        patience: Epochs without a lower loss on the groups set aside after which training stops; with null nothing is
            set aside and all epochs are trained, which few genomes need.
        batch_genomes: Genomes a step, shared among processes.
        learning_rate: Peak.
        warmup: Share of the steps with a rising learning rate.
        weight_decay: Of AdamW.
        max_grad_norm: Gradients are clipped to this norm.
        class_weights: Whether each class counts as much as any other.
        label_smoothing: Share of a label that is spread over all classes.
        genes_per_step: Genes of a genome that a training step sees, drawn anew each time; all by default.
        gradient_checkpointing: Whether to recompute activations instead of keeping them.
        mixed_precision: `auto` (bf16 on a GPU that has it), `bf16` or `no`.
        n_folds: Of the cross-validation.
        n_repeats: Of the cross-validation.
        seed: Of everything.
    """

    hidden_size: int = 640
    num_hidden_layers: int = 15
    num_attention_heads: int = 1
    intermediate_size: int = 2560
    positions: str = "contig"
    pooling: str = "mean"
    dropout: float = 0.1
    max_genes: int = 4096
    n_epochs: int = 16
    patience: int | None = 4
    batch_genomes: int = 8
    learning_rate: float = 1e-4
    warmup: float = 0.05
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    class_weights: bool = True
    label_smoothing: float = 0.0
    genes_per_step: int | None = None
    gradient_checkpointing: bool = False
    mixed_precision: str = "auto"
    n_folds: int = 5
    n_repeats: int = 1
    seed: int = 0

    @classmethod
    def from_yaml(cls, path: Path) -> RecipeConfig:
        """Read and check a config.

        Raises:
            InputError: It cannot be read, has a field that is not known, or a value is out of range.
        """
        config = build_config(cls, read_yaml(path), str(path))
        for name in ("n_epochs", "batch_genomes", "n_repeats"):
            if getattr(config, name) < 1:
                raise InputError(f"{path}: {name} is {getattr(config, name)}; it must be at least 1.")
        if config.genes_per_step is not None and config.genes_per_step < 1:
            raise InputError(f"{path}: genes_per_step is {config.genes_per_step}; it must be at least 1, or null.")
        return config


class Trainer:
    """Trains one model after the other on the same genomes."""

    def __init__(
        self,
        config: RecipeConfig,
        run: TrainingRun,
        genomes: EmbeddedGenomes | DatasetGenomes | StreamedGenomes,
        target: Target,
        check: Callable[[], None],
    ) -> None:
        self.config, self.run, self.genomes, self.target, self.check = config, run, genomes, target, check
        self.source = str(genomes.folder) if isinstance(genomes, EmbeddedGenomes) else genomes.name
        self.accelerator = run.accelerator
        encoder = genomes.contract
        self.processor = GenomeTransformerProcessor(
            protein_encoder=encoder["name"],
            protein_encoder_sha256=encoder["weights_sha256"],
            protein_size=encoder["hidden_size"],
            max_residues=encoder["max_residues"],
            max_genes=config.max_genes,
        )
        n_genes = genomes.n_genes
        longest = min(config.max_genes, config.genes_per_step or config.max_genes)
        self.lengths = np.array([min(int(n_genes[name]), longest) for name in target.sample_ids])

    def new_model(self, *key: int) -> GenomeTransformerForSequenceClassification:
        """A model whose weights `key` decides."""
        config, classes = self.config, self.target.classes
        torch.manual_seed(int(np.random.default_rng([config.seed, *key]).integers(2**31)))
        model = GenomeTransformerForSequenceClassification(
            GenomeTransformerConfig(
                protein_size=self.processor.protein_size,
                hidden_size=config.hidden_size,
                num_hidden_layers=config.num_hidden_layers,
                num_attention_heads=config.num_attention_heads,
                intermediate_size=config.intermediate_size,
                hidden_dropout_prob=config.dropout,
                positions=config.positions,
                pooling=config.pooling,
                max_genes=config.max_genes,
                label_name=self.target.column,
                id2label=dict(enumerate(classes)),
                label2id={name: i for i, name in enumerate(classes)},
            )
        )
        if config.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        return model

    def genome(self, row: int, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        """Vectors and contigs of a genome; with a generator in another order of contigs, and some of the genes."""
        name = self.target.sample_ids[row]
        contigs = self.genomes.contig_ids(name)
        if rng is None:
            return self.genomes.vectors(name), contigs
        ranks = rng.permutation(int(contigs.max()) + 1)[contigs]
        order = np.argsort(ranks, kind="stable")
        n_kept = self.config.genes_per_step
        if n_kept is not None and n_kept < len(order):
            order = order[np.sort(rng.choice(len(order), n_kept, replace=False))]
        return self.genomes.vectors(name, order), ranks[order]

    def batch(self, rows: Sequence[int], *key: int) -> dict[str, torch.Tensor]:
        """Genomes as arguments of the model; without a key as they are."""
        pairs = [
            self.genome(row, np.random.default_rng([self.config.seed, *key, row]) if key else None) for row in rows
        ]
        return self.processor([vectors for vectors, _ in pairs], [contigs for _, contigs in pairs])

    def read_ahead(self, groups: Sequence[Sequence[int]], *key: int) -> Iterator[dict[str, torch.Tensor]]:
        """Batches on the device, the next one read while this one is at work."""
        with ThreadPoolExecutor(1) as reader:
            coming: Future[dict[str, torch.Tensor]] | None = None
            for rows in [*groups, None]:
                ready, coming = coming, None if rows is None else reader.submit(self.batch, rows, *key)
                if ready is not None:
                    yield {name: value.to(self.accelerator.device) for name, value in ready.result().items()}

    def batches(self, rows: np.ndarray, *key: int) -> list[np.ndarray]:
        """An epoch's batches."""
        rng = np.random.default_rng([self.config.seed, *key])
        return bucketed_batches(rows, self.lengths, self.config.batch_genomes, 8, rng)

    def train(
        self, rows: np.ndarray, judged: np.ndarray, n_epochs: int, stage: int
    ) -> tuple[GenomeTransformerForSequenceClassification, int]:
        """Train on some genomes, or go on; gives the model after its best epoch, and that epoch.

        Args:
            rows: Genomes to train on.
            judged: Genomes whose loss says when to stop; none trains all epochs.
            n_epochs: At most.
            stage: Number of this training.
        """
        config, accelerator, run = self.config, self.accelerator, self.run
        labels = torch.tensor(self.target.labels)
        sizes = np.bincount(self.target.labels[rows], minlength=len(self.target.classes))
        weights = torch.ones(len(sizes), dtype=torch.float32)
        if config.class_weights:
            weights = torch.from_numpy(len(rows) / (len(sizes) * np.maximum(sizes, 1))).float()
        weights = weights.to(accelerator.device)
        model = self.new_model(1, stage)
        n_steps = n_epochs * len(self.batches(rows, 2, stage, 0))
        optimizer: Any = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        wrapped, optimizer = accelerator.prepare(model, optimizer)
        position = run.load_state(stage) or {"step": 0, "best": None, "best_epoch": 0, "steps": 0}
        if position["step"] == 0:
            run.forget(stage)
        best, best_epoch, step = position["best"], position["best_epoch"], position["steps"]
        for epoch in range(position["step"] + 1, n_epochs + 1):
            if config.patience is not None and len(judged) and epoch - 1 - best_epoch >= config.patience:
                break
            wrapped.train()
            torch.manual_seed(int(np.random.default_rng([config.seed, 3, stage, epoch]).integers(2**31)))
            total = 0.0
            batches = self.batches(rows, 2, stage, epoch)
            # A process without a genome of a batch reads another's, and adds nothing.
            shares = [batch[accelerator.process_index :: accelerator.num_processes] for batch in batches]
            read = [share if len(share) else batch[:1] for share, batch in zip(shares, batches, strict=True)]
            for batch, mine, here, inputs in zip(
                batches, shares, read, self.read_ahead(read, 4, stage, epoch), strict=True
            ):
                rate = share_of_peak_rate(step, n_steps, config.warmup)
                for group in optimizer.param_groups:
                    group["lr"] = config.learning_rate * rate
                truth = labels[here].to(accelerator.device)
                with accelerator.autocast():
                    logits = wrapped(**inputs).logits
                losses = torch.nn.functional.cross_entropy(
                    logits, truth, weight=weights, label_smoothing=config.label_smoothing, reduction="none"
                )
                # Processes average their gradients.
                summed = losses.sum() * (1.0 if len(mine) else 0.0)
                whole = float(weights[labels[batch].to(weights.device)].sum())
                accelerator.backward(summed * accelerator.num_processes / whole)
                accelerator.clip_grad_norm_(wrapped.parameters(), config.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
                total += float(accelerator.reduce(summed.detach(), "sum")) / whole * len(batch)
                step += 1
                self.check()
            row = {"stage": stage, "step": epoch, "training_loss": f"{total / len(rows):.6f}", "loss_set_aside": ""}
            if len(judged):
                chosen = self.predict(model, judged)[np.arange(len(judged)), self.target.labels[judged]]
                loss = float(-np.log(chosen.clip(1e-12)).mean())
                row["loss_set_aside"] = f"{loss:.6f}"
                if best is None or loss < best:
                    best, best_epoch = loss, epoch
                    run.save_best(model)
            if accelerator.is_main_process:
                run.append("history.csv", row)
            run.save_state(stage, epoch, {"best": best, "best_epoch": best_epoch, "steps": step})
        if len(judged):
            run.load_best(model)
        accelerator.free_memory()
        return model.eval(), best_epoch or n_epochs

    @torch.no_grad()
    def predict(self, model: GenomeTransformerForSequenceClassification, rows: np.ndarray) -> np.ndarray:
        """Probabilities `(n_rows, n_classes)` of genomes, which the processes share."""
        accelerator = self.accelerator
        was_training = model.training
        model.eval()
        mine, places = [], range(accelerator.process_index, len(rows), accelerator.num_processes)
        for place, inputs in zip(places, self.read_ahead([[int(rows[i])] for i in places]), strict=True):
            with accelerator.autocast():
                logits = model(**inputs).logits
            mine.append((place, logits[0].double().softmax(0).cpu().tolist()))
            self.check()
        model.train(was_training)
        return np.array([values for _, values in sorted(gather_object(mine))]).reshape(-1, len(self.target.classes))


def accuracy_by_class(target: Target, tests: Sequence[np.ndarray], done: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Share of genomes told right, over all and by class, and what each class was taken for, over all test folds.

    What the paper's Table 1 gives of its habitats.
    """
    confusion = np.zeros((len(target.classes), len(target.classes)), np.int64)
    for test, fold in zip(tests, done, strict=True):
        np.add.at(confusion, (target.labels[test], np.array(fold["probabilities"]).argmax(1)), 1)
    right = confusion.diagonal() / confusion.sum(1)
    return {
        "accuracy": round(float(confusion.trace() / confusion.sum()), 4),
        "by_class": {name: round(float(value), 4) for name, value in zip(target.classes, right, strict=True)},
        "confusion": {
            name: dict(zip(target.classes, row.tolist(), strict=True))
            for name, row in zip(target.classes, confusion, strict=True)
        },
    }


def show(accuracy: dict[str, Any], column: str) -> None:
    """Print the confusion of classes."""
    classes = list(accuracy["confusion"])
    table = Table(column, "accuracy", *(f"taken for {name}" for name in classes))
    for name, row in accuracy["confusion"].items():
        table.add_row(name, f"{accuracy['by_class'][name]:.3f}", *map(str, row.values()))
    Console().print(table)


def cross_validate(trainer: Trainer, folder: Path) -> tuple[Study, list[dict[str, Any]], dict[str, Any]]:
    """Train and test on every fold; finished ones are read from `folder`.

    Returns:
        The study, what each fold gave, and accuracy by class.
    """
    config, target = trainer.config, trainer.target

    def train(i: int, rest: np.ndarray, aside: np.ndarray, test: np.ndarray) -> dict[str, Any]:
        model, epoch = trainer.train(rest, aside, config.n_epochs, i)
        return {"best_epoch": epoch, "probabilities": trainer.predict(model, test).tolist()}

    splits, done = train_folds(
        target,
        train,
        folder,
        trainer.accelerator,
        n_folds=config.n_folds,
        n_repeats=config.n_repeats,
        seed=config.seed,
        shown="balanced_accuracy",
        set_aside=config.patience is not None,
    )
    study = study_of_folds(
        target,
        splits,
        [np.array(fold["probabilities"]) for fold in done],
        features="genomes",
        model="genome_transformer",
        n_splits=config.n_folds,
        n_repeats=config.n_repeats,
        seed=config.seed,
        source=trainer.source,
    )
    return study, done, accuracy_by_class(target, [test for _, test in splits], done)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--genomes", required=True, help="folder of `biomeformer genome embed`, or a dataset")
    parser.add_argument("--revision", help="of a dataset from the Hub")
    parser.add_argument(
        "--streaming", action="store_true", help="read a dataset on the Hub where it is, without a copy"
    )
    parser.add_argument("--target", required=True, help="column with the classes")
    parser.add_argument("--group", help="column with genus or family, which no two folds share")
    parser.add_argument("--metadata", type=Path, help="CSV or TSV with the columns, instead of the catalog's")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cpu", action="store_true", help="leave GPUs alone")
    parser.add_argument("--overwrite", action="store_true", help="replace what the output folder holds")
    return parser


def run_recipe(args: argparse.Namespace) -> None:
    """Cross-validate, train on all genomes, write.

    Raises:
        BiomeformerError: Input is bad, or a signal came.
    """
    began = time.monotonic()
    config = RecipeConfig.from_yaml(args.config)
    genomes = open_genomes(args.genomes, revision=args.revision, streaming=args.streaming)
    columns = genomes.metadata if args.metadata is None else read_metadata(args.metadata)
    where = str(args.metadata or args.genomes)
    ids = [str(name) for name in genomes.metadata.index]
    target = make_target(columns, args.target, ids, group_column=args.group, where=where)
    list(folds(target, config.n_folds, 1, config.seed))
    accelerator = make_accelerator(config.mixed_precision, cpu=args.cpu)
    labels = [f"{name}\t{label}" for name, label in zip(target.sample_ids, target.labels.tolist(), strict=True)]
    identity = {
        "config": asdict(config),
        "target": target.column,
        "classes": list(target.classes),
        "group": args.group,
        "genomes": hashlib.sha256("\n".join(labels).encode()).hexdigest(),
        "protein_encoder": genomes.contract["weights_sha256"],
    }
    run = TrainingRun(args.output, identity, accelerator)
    trainer = Trainer(config, run, genomes, target, lambda: None)
    try:
        with torch.device("meta"):
            trainer.new_model()
    except ValueError as error:
        raise InputError(f"{args.config}: {error}") from error
    run.open(args.overwrite)
    with Interruption() as interruption:
        trainer.check = interruption.check
        study, done, accuracy = cross_validate(trainer, args.output / "folds")
        n_epochs = median_epoch(done)
        every = np.arange(len(target.labels))
        model, _ = trainer.train(every, every[:0], n_epochs, len(done))
    if not accelerator.is_main_process:
        return
    encoder = Path(trainer.processor.protein_encoder)
    copied = encoder.is_dir() and sum(file.stat().st_size for file in encoder.glob("*.safetensors")) <= MAX_COPIED_BYTES
    if copied:
        # A small encoder goes along, so that the checkpoint needs nothing else.
        trainer.processor.protein_encoder = PROTEIN_ENCODER
    record = {
        "recipe": "recipes/train_genome_transformer.py",
        "config": asdict(config),
        "target": study.record["target"],
        "scores": study.record["scores"],
        "accuracy": accuracy,
        "n_epochs": n_epochs,
        "best_epochs": [fold["best_epoch"] for fold in done],
        "protein_encoder": genomes.contract | {"name": trainer.processor.protein_encoder},
        "device": describe_device(accelerator),
        "wall_time_s": round(time.monotonic() - began, 1),
    }
    study.write(args.output)
    model.processor = trainer.processor

    def save(folder: Path) -> None:
        if copied:
            load_protein_encoder(encoder).model.save_pretrained(folder / PROTEIN_ENCODER, save_original_format=False)
            if (encoder / RECORD).is_file():
                shutil.copyfile(encoder / RECORD, folder / PROTEIN_ENCODER / RECORD)
        model.save_pretrained(folder)

    folder = run.write_model(save, record)
    shutil.rmtree(args.output / "state", ignore_errors=True)
    found = study.evaluations[0].scores
    show(accuracy, target.column)
    print(
        f"{target.column}: accuracy {accuracy['accuracy']:.3f}, balanced accuracy {found['balanced_accuracy']}, "
        f"ROC-AUC {found['roc_auc']}"
    )
    print(f"Wrote {folder}")


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe; gives the exit code."""
    args = parser().parse_args(arguments)
    return exit_code_of(partial(run_recipe, args), "the same command goes on after the last finished epoch")


if __name__ == "__main__":
    sys.exit(main())

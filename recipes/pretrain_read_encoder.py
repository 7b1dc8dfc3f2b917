"""Pretrain a read encoder on genomes, then learn centroids under it.

`metagenbert-mini` was trained from scratch with it (`mini.yaml`); it also repeats the training of DNABERT-MS on other
genomes.

Stages, each alone or in sequence:

* `mlm`: masked language modelling, DNABERT-2's objective (arXiv 2306.15006).
** `species`: cross-entropy of a read's unit vector against one learned unit vector per species.
* `contrastive`: DNABERT-S's curriculum (arXiv 2402.08777): pairs of reads of one genome, weighted SimCLR, then
  manifold instance mixup.
* `centroids`: FAISS k-means over reads of every genome.

Reads are sampled on the fly, evenly by genome, from both strands, with substitution errors. The data of a step depend
only on the seed, the stage, the step and the micro-batch: a resumed run gives the same losses as an uninterrupted one,
and so does any number of processes.

    accelerate launch recipes/pretrain_read_encoder.py \
        --config recipes/configs/pretrain_read_encoder/mini_markers.yaml \
        --genomes GENOMES [GENOMES ...] --markers FASTA --marker-groups TABLE --output RUN

GENOMES holds one FASTA per genome, plain or compressed, and `genomes.tsv` with the columns genome_id, species, genus
and file. FASTA and TABLE, which a config with `markers` needs, are marker genes of further species, such as those of
Debian's `metaphlan2-data`, and the organism of each accession or shotgun project. RUN gets
`encoder/` and, after centroids, `model/`, which `from_pretrained` loads, with `history.csv` (the loss of every step and
the validation results) and `training_record.json`. The same command resumes an interrupted run.

Exit codes: 0 done, 1 failure, 2 bad input, 130 or 143 interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, PreTrainedModel, PreTrainedTokenizerFast

from biomeformer import load_read_encoder
from biomeformer.checkpoints.admission import make_processor
from biomeformer.errors import InputError
from biomeformer.genomes.training_genomes import read_held_out
from biomeformer.inference.batching import embed_vectors
from biomeformer.io.atomic import atomic_directory
from biomeformer.io.digests import FileDigest, check_files, digest_files
from biomeformer.io.records import DamagedFileError, RecordType
from biomeformer.metagenomes import run_kmeans
from biomeformer.metagenomes.distances import far_distances
from biomeformer.metagenomes.kmeans import nearest_centroids
from biomeformer.models.kmer_encoder import KmerTokenizer
from biomeformer.models.metagenbert import MetagenBertModel
from biomeformer.reads import GenomeSet, ReadBatch
from biomeformer.reads.markers import load_markers
from biomeformer.runs.process_group import ProcessGroup
from biomeformer.runs.progress import out
from biomeformer.training.accelerator import describe_device, make_accelerator
from biomeformer.training.batches import to_device
from biomeformer.training.command import RecipeParser, run_main
from biomeformer.training.config import (
    AT_LEAST_ONE,
    FRACTION,
    MIXED_PRECISION,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    Config,
    Range,
)
from biomeformer.training.loop import Plan, Validation, torch_seed, train
from biomeformer.training.objectives import (
    ContrastiveLearning,
    MaskedLanguageModelling,
    ReadSource,
    SpeciesClassification,
    with_diverged_copies,
)
from biomeformer.training.run import TrainingRun
from biomeformer.training.schedules import cosine_warmup_decay

transformers.utils.logging.disable_progress_bar()

SPECIAL_TOKENS = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
# What the recipe writes beside what every run writes; the last is the folder of a tracker.
FILES = ("tokenizer", "stages", "encoder", "pretrain_read_encoder")
OBJECTIVES = ("mlm", "species", "contrastive")


@dataclass
class StageConfig(Config):
    """One stage of training.

    Attributes:
        objective: `mlm`, `species` or `contrastive`.
        n_steps: Optimizer steps.
        micro_batches: Micro-batches per step, shared among processes.
        micro_batch_reads: Reads (contrastive: pairs) per micro-batch, within which contrastive negatives are drawn.
        learning_rate: Peak learning rate; cosine decay to zero after the warm-up.
        warmup: Fraction of the steps with a linearly rising learning rate.
        weight_decay: Weight decay of AdamW.
        max_grad_norm: Gradients are clipped to this norm; null does not clip.
        read_length: Shortest and longest read, in bases.
        one_length: Whether all reads of a micro-batch have the same, randomly drawn length.
        error_rate: Substitutions per base.
        mask_fraction: Fraction of tokens to mask (mlm).
        scale: Factor of the cosine similarities (species).
        temperature: Divisor of the similarities (contrastive).
        simclr_share: Fraction of the steps with weighted SimCLR, before mixup begins (contrastive).
        mixup_alpha: Parameter of the Beta distribution of mixing shares (contrastive).
        projection_size: Size of the projected vectors (contrastive).
        head_learning_rate_factor: Ratio of the head's learning rate to the encoder's.
        evaluate_every: Steps between evaluations; 0 evaluates only at the end.
        patience: Evaluations without a better score after which the stage stops and restores the best weights; null
            disables early stopping.
        save_every: Steps between saved states.
    """

    objective: str
    n_steps: int
    micro_batches: int = 1
    micro_batch_reads: int = 256
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.0
    max_grad_norm: float | None = None
    read_length: tuple[int, int] = (75, 150)
    one_length: bool = False
    error_rate: float = 0.005
    mask_fraction: float = 0.15
    scale: float = 20.0
    temperature: float = 0.05
    simclr_share: float = 1 / 3
    mixup_alpha: float = 1.0
    projection_size: int = 128
    head_learning_rate_factor: float = 1.0
    evaluate_every: int = 0
    patience: int | None = None
    save_every: int = 1000

    ranges = {
        "objective": OBJECTIVES,
        "n_steps": AT_LEAST_ONE,
        "micro_batches": AT_LEAST_ONE,
        "micro_batch_reads": AT_LEAST_ONE,
        "learning_rate": POSITIVE,
        "warmup": FRACTION,
        "weight_decay": NOT_NEGATIVE,
        "max_grad_norm": POSITIVE,
        "read_length": AT_LEAST_ONE,
        "error_rate": FRACTION,
        "mask_fraction": Range(0, 1, is_open=True),
        "scale": POSITIVE,
        "temperature": POSITIVE,
        "simclr_share": FRACTION,
        "mixup_alpha": POSITIVE,
        "projection_size": AT_LEAST_ONE,
        "head_learning_rate_factor": POSITIVE,
        "evaluate_every": NOT_NEGATIVE,
        "patience": AT_LEAST_ONE,
        "save_every": AT_LEAST_ONE,
    }

    def check(self, where: str) -> None:
        """Raise `InputError` if the longest read is shorter than the shortest."""
        if not 0 < self.read_length[0] <= self.read_length[1]:
            raise InputError(f"{where}: read_length is {list(self.read_length)}; give shortest and longest, in bases.")


@dataclass
class CentroidsConfig(Config):
    """K-means under the encoder.

    Attributes:
        n_clusters: Number of centroids.
        reads_per_genome: Reads of each genome for k-means.
        marker_reads_per_genus: Reads of the markers of each genus for k-means, whatever its number of species.
        n_iterations: Iterations of k-means.
        read_length: Shortest and longest read, in bases.
        error_rate: Substitutions per base.
    """

    n_clusters: int
    reads_per_genome: int = 2000
    marker_reads_per_genus: int = 0
    n_iterations: int = 25
    read_length: tuple[int, int] = (75, 150)
    error_rate: float = 0.005

    ranges = {
        "n_clusters": AT_LEAST_ONE,
        "reads_per_genome": AT_LEAST_ONE,
        "marker_reads_per_genus": NOT_NEGATIVE,
        "n_iterations": AT_LEAST_ONE,
        "read_length": AT_LEAST_ONE,
        "error_rate": FRACTION,
    }


@dataclass
class DivergedCopiesConfig(Config):
    """Diverged copies of genomes as further species: see `biomeformer.training.objectives.divergence`.

    Attributes:
        n_copies: Copies per genome to train on; centroids are learned from the genomes only.
        rate: Smallest and largest mean number of substitutions per base.
    """

    n_copies: int
    rate: tuple[float, float] = (0.05, 0.25)

    ranges = {"n_copies": AT_LEAST_ONE, "rate": FRACTION}


@dataclass
class MarkersConfig(Config):
    """Marker genes of species without a genome, as further species: see `biomeformer.reads.markers.load_markers`.

    Attributes:
        share: Share of the reads of a batch that are of markers; the others are of genomes.
        min_bases: Species with fewer bases of markers are left out.
        excluded: Species left out, beside those of held-out genera, such as these under their former names.
    """

    share: float
    min_bases: int = 10_000
    excluded: list[str] = field(default_factory=list)

    ranges = {"share": Range(0, 1, is_open=True), "min_bases": NOT_NEGATIVE}


@dataclass
class RecipeConfig(Config):
    """Fields of the YAML file.

    Attributes:
        encoder: Folder, shipped name or Hub id of the encoder to continue; or, as a mapping, the `model_type` and
            config of a new one.
        stages: Stages of training, in order.
        centroids: The last stage; null for none.
        tokenizer: `vocab_size` and `n_reads` of a new BPE vocabulary, for a new encoder not based on k-mers.
        revision: Branch, tag or commit of an encoder from the Hub.
        preprocessing: Fields of `MetagenBertProcessor`.
        normalize_embeddings: Whether read vectors have unit length under the centroids.
        held_out_genera: File with one genus per line, relative to the YAML file; these genera are held out of all
            training and used for evaluation.
        diverged_copies: Copies of the genomes with random mutational biases, as further species; null for none.
        markers: Marker genes of further species; null for none.
        evaluation_reads: Reads per species in an evaluation.
        gradient_checkpointing: Whether to recompute activations instead of keeping them.
        mixed_precision: `auto` (bf16 on a GPU that supports it), `bf16` or `no`.
        seed: Seed of all random choices.
    """

    renamed = {"contract": "preprocessing"}

    encoder: str | dict[str, Any]
    stages: list[StageConfig] = field(default_factory=list)
    centroids: CentroidsConfig | None = None
    tokenizer: dict[str, int] | None = None
    revision: str | None = None
    preprocessing: dict[str, Any] = field(default_factory=dict)
    normalize_embeddings: bool = False
    held_out_genera: str | None = None
    diverged_copies: DivergedCopiesConfig | None = None
    markers: MarkersConfig | None = None
    evaluation_reads: int = 100
    gradient_checkpointing: bool = False
    mixed_precision: str = "auto"
    seed: int = 0

    ranges = {"evaluation_reads": AT_LEAST_ONE, "mixed_precision": MIXED_PRECISION, "seed": SEED}

    def check(self, where: str) -> None:
        """Raise `InputError` if a value is out of range."""
        for i, stage in enumerate(self.stages, 1):
            stage.check(f"{where}, stage {i}")


def draw(source: ReadSource, stage: StageConfig, *key: int) -> dict[str, Any]:
    """Draw one micro-batch of a stage."""
    return source.batch(
        key,
        stage.micro_batch_reads,
        stage.read_length,
        stage.error_rate,
        one_length=stage.one_length,
        pairs=stage.objective == "contrastive",
    )


class StageResult(TypedDict):
    """Content of a finished stage's `result.json`: its figures, and the digests of the files beside it."""

    stage: int
    figures: dict[str, Any]
    files: dict[str, FileDigest]


STAGE_RESULT = RecordType(StageResult, "delete the stage's folder, and the same command trains the stage again")


def finished_stage(run: TrainingRun, stage: int) -> Path | None:
    """Return the folder with the encoder of a stage, or None if the stage is not finished."""
    folder = run.path / "stages" / f"{stage}"
    return folder if (folder / "result.json").is_file() else None


def figures_of(folder: Path) -> dict[str, Any]:
    """Return the figures of a finished stage.

    Raises:
        DamagedFileError: They or the encoder beside them are damaged.
    """
    result = STAGE_RESULT.read(folder / "result.json")
    if str(result["stage"]) != folder.name:
        raise DamagedFileError(f"{folder / 'result.json'} is that of another stage; {STAGE_RESULT.advice}.")
    check_files(folder, result["files"], STAGE_RESULT.advice)
    return result["figures"]


class Trainer:
    """Trains the stages and learns the centroids."""

    def __init__(
        self,
        config: RecipeConfig,
        run: TrainingRun,
        train: GenomeSet,
        held_out: GenomeSet | None,
        encoder: PreTrainedModel,
        tokenizer: Any,
        source: str | None,
        markers: GenomeSet | None = None,
    ) -> None:
        self.config, self.run, self.accelerator = config, run, run.accelerator
        self.encoder, self.tokenizer, self.checkpoint = encoder, tokenizer, source
        self.processor = make_processor(source or "the new encoder", encoder, tokenizer, **config.preprocessing)
        copies = config.diverged_copies
        species = train
        if copies is not None and config.stages:
            rate = (float(copies.rate[0]), float(copies.rate[1]))
            species = with_diverged_copies(train, copies.n_copies, rate, config.seed)
        self.genomes = ReadSource(train, self.processor, config.seed)
        self.markers = None if markers is None else ReadSource(markers, self.processor, config.seed)
        parts = None
        if markers is not None and config.markers is not None:
            share = config.markers.share
            parts = [(len(species.ids), 1 - share), (len(markers.ids), share)]
            species = species + markers
        self.source = ReadSource(species, self.processor, config.seed, parts)
        self.validation_source = ReadSource(held_out or train, self.processor, config.seed)
        if getattr(encoder, "pooler", None) is not None:
            # Reads are mean-pooled, so a pooler gets no gradient.
            encoder.pooler.requires_grad_(False)

    def objective(self, stage: StageConfig, number: int) -> Any:
        """Build the module that computes a stage's loss."""
        torch.manual_seed(torch_seed(self.config.seed, number))
        if stage.objective == "mlm":
            revision = self.config.revision if self.checkpoint == self.config.encoder else None
            return MaskedLanguageModelling(self.encoder, self.tokenizer, stage.mask_fraction, self.checkpoint, revision)
        if stage.objective == "species":
            return SpeciesClassification(self.encoder, len(self.source.names), stage.scale)
        return ContrastiveLearning(self.encoder, stage.projection_size, stage.temperature, stage.mixup_alpha)

    def train(self, stage: StageConfig, number: int) -> dict[str, Any]:
        """Train one stage, or resume it; return its figures."""
        objective = self.objective(stage, number)
        if self.config.gradient_checkpointing:
            trained = objective.model if stage.objective == "mlm" else self.encoder
            if trained.supports_gradient_checkpointing:
                trained.gradient_checkpointing_enable()

        def draw_micro_batch(step: int, micro: int, n_micro_batches: int) -> dict[str, Any]:
            batch = draw(self.source, stage, number, step, micro)
            is_mixed = stage.objective == "contrastive" and step >= round(stage.simclr_share * stage.n_steps)
            if stage.objective == "mlm" or is_mixed:
                batch = objective.prepare(batch, self.source.rng(number, step, micro, 1))
            return batch

        heads = {id(p) for p in objective.heads}
        body = [p for p in objective.parameters() if id(p) not in heads and p.requires_grad]
        head_rate = stage.learning_rate * stage.head_learning_rate_factor
        optimizer = torch.optim.AdamW(
            [{"params": body}, {"params": objective.heads, "lr": head_rate}],
            lr=stage.learning_rate,
            weight_decay=stage.weight_decay,
        )
        plan = Plan(
            stage.n_steps,
            cosine_warmup_decay(stage.n_steps, stage.warmup),
            micro_batches=stage.micro_batches,
            evaluate_every=stage.evaluate_every,
            save_every=stage.save_every,
            patience=stage.patience,
            max_grad_norm=stage.max_grad_norm,
            seed=self.config.seed,
        )
        outcome = train(
            self.run,
            number,
            objective,
            optimizer,
            plan,
            draw_micro_batch,
            lambda wrapped, batch: wrapped(batch),
            lambda: self.validate(stage, objective),
            name=f"stage {number + 1}: {stage.objective}",
        )
        figures = self._figures(stage, number, objective, outcome.validation)
        figures["seconds"] = outcome.seconds
        self._finish(stage, number, objective, figures)
        return figures

    def validate(self, stage: StageConfig, objective: Any) -> Validation:
        """Validate on reads of held-out genera, on the main process."""
        if stage.objective == "mlm":
            return Validation(loss=self.run.processes.on_main(lambda: self._masked_loss(stage, objective)))
        return Validation(score=self.run.processes.on_main(lambda: self._recall(stage)))

    def _masked_loss(self, stage: StageConfig, objective: MaskedLanguageModelling) -> float:
        n_batches = max(1, self.config.evaluation_reads * len(self.validation_source.names) // stage.micro_batch_reads)
        totals = np.zeros(2)
        for micro in range(n_batches):
            batch = objective.prepare(
                draw(self.validation_source, stage, 10_000, micro), self.validation_source.rng(10_001, micro)
            )
            totals += [float(value) for value in objective(to_device(batch, self.accelerator.device))]
        return float(totals[0] / totals[1])

    def _recall(self, stage: StageConfig) -> float:
        """Compute the fraction of reads whose nearest species mean, over other reads, is that of their own species."""
        length = (stage.read_length[1],) * 2
        vectors, species = [], []
        for half in range(2):
            which = np.repeat(np.arange(len(self.validation_source.genomes.ids)), self.config.evaluation_reads)
            new, used, _ = self._vectors(
                self.validation_source, which, length, stage.error_rate, self.validation_source.rng(10_002, half)
            )
            vectors.append(new / np.maximum(np.linalg.norm(new, axis=1, keepdims=True), 1e-12))
            species.append(self.validation_source.species[used])
        means = np.stack([vectors[0][species[0] == i].mean(0) for i in range(len(self.validation_source.names))])
        nearest = ((means**2).sum(1) - 2 * vectors[1] @ means.T).argmin(1)
        return float((nearest == species[1]).mean())

    def _vectors(
        self,
        source: ReadSource,
        which: np.ndarray,
        length: tuple[int, int],
        error_rate: float,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Embed reads of given genomes: float32 `(n_used, hidden_size)`, genomes and tokens of the reads used."""
        batch = ReadBatch(*source.genomes.draw(which, length, error_rate, rng), np.arange(len(which)))
        vectors, packed = embed_vectors(
            self.as_model(np.zeros((1, self.encoder.config.hidden_size))), self.processor, batch
        )
        return vectors, which[packed.rows], packed.lengths

    def as_model(self, centroids: np.ndarray) -> MetagenBertModel:
        """Combine the encoder with centroids in a MetagenBERT model."""
        training = self.encoder.training
        model = MetagenBertModel.from_encoder_and_centroids(
            self.encoder,
            centroids,
            processor=self.processor,
            normalize_embeddings=self.config.normalize_embeddings,
        )
        self.encoder.train(training)
        return model

    def _figures(
        self, stage: StageConfig, number: int, objective: Any, validation: Validation | None
    ) -> dict[str, Any]:
        """Compute the figures of a finished stage; only the score on processes other than the main one."""
        figures: dict[str, Any] = {"score": None if validation is None else validation.merit}
        if not self.run.is_main:
            return figures
        losses = [float(row["training_loss"]) for row in self.run.history(number)]
        tail = losses[-max(len(losses) // 10, 1) :]
        figures |= {"n_steps": len(losses), "first_loss": losses[0], "final_loss": sum(tail) / len(tail)}
        if stage.objective == "species":
            fresh = replace(stage, micro_batch_reads=20_000, one_length=False)
            batch = to_device(draw(self.source, fresh, 10_003), self.accelerator.device)
            with torch.inference_mode():
                guesses = objective.logits(batch).argmax(1)
            figures["species_accuracy"] = float((guesses == batch["species"]).float().mean())
            figures["n_species"] = len(self.source.names)
        return figures

    def _finish(self, stage: StageConfig, number: int, objective: Any, figures: dict[str, Any]) -> None:
        """Write the stage's encoder, and delete its states."""
        if stage.objective == "mlm":
            objective.release(self.encoder)
        self.encoder.cpu().eval()
        if self.config.gradient_checkpointing and self.encoder.supports_gradient_checkpointing:
            self.encoder.gradient_checkpointing_disable()
        if self.run.is_main:
            with atomic_directory(self.run.path / "stages" / f"{number}", existing="replace", locked=True) as folder:
                self.encoder.save_pretrained(folder)
                self.tokenizer.save_pretrained(folder)
                if stage.objective == "mlm":
                    objective.model.cpu().save_pretrained(folder / "masked_lm")
                    self.tokenizer.save_pretrained(folder / "masked_lm")
                names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
                result = {"stage": number, "figures": figures, "files": digest_files(folder, names)}
                STAGE_RESULT.write(folder / "result.json", result)
        self.run.delete_states()

    def fit_centroids(self, config: CentroidsConfig) -> tuple[MetagenBertModel, dict[str, Any]]:
        """Learn centroids by k-means over reads of every genome, on the main process."""
        self.encoder.to(self.accelerator.device).eval()
        drawn = []
        length = (int(config.read_length[0]), int(config.read_length[1]))
        for genome in self.run.track(range(len(self.genomes.genomes.ids)), "embedding reads for centroids"):
            which = np.full(config.reads_per_genome, genome)
            rng = self.genomes.rng(10_004, genome)
            drawn.append(self._vectors(self.genomes, which, length, config.error_rate, rng))
        if self.markers is not None and config.marker_reads_per_genus:
            genera = np.array(self.markers.genomes.genera)
            for number, genus in enumerate(self.run.track(np.unique(genera).tolist(), "embedding reads of markers")):
                rng = self.markers.rng(10_006, number)
                which = np.sort(rng.choice(np.flatnonzero(genera == genus), config.marker_reads_per_genus))
                drawn.append(self._vectors(self.markers, which, length, config.error_rate, rng))
        self.encoder.cpu()
        vectors, _, n_tokens = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        fit = run_kmeans(
            vectors,
            config.n_clusters,
            n_iterations=config.n_iterations,
            seed=self.config.seed,
            spherical=self.config.normalize_embeddings,
        )
        figures = {"kmeans_objective": fit.objective[-1], "n_empty_clusters": fit.n_empty, "n_reads": fit.n_points}
        model = self.as_model(fit.centroids)
        squares, _ = nearest_centroids(torch.from_numpy(vectors), torch.from_numpy(fit.centroids))
        model.config.far_distances = far_distances(squares.sqrt().numpy(), n_tokens)
        return model, figures


def new_tokenizer(config: RecipeConfig, genomes: GenomeSet) -> Any:
    """Build the tokenizer of a new encoder: k-mers, or a BPE vocabulary learned as for DNABERT-2."""
    assert isinstance(config.encoder, dict)
    if config.encoder["model_type"] == "kmer_encoder":
        return KmerTokenizer(k=config.encoder.get("k", 8), canonical=not config.encoder.get("num_gate_heads", 0))
    sizes = {"vocab_size": 4096, "n_reads": 100_000, **(config.tokenizer or {})}
    rng = np.random.default_rng([config.seed, 10_005])
    which = rng.integers(0, len(genomes.ids), sizes["n_reads"])
    text, offsets = genomes.draw(which, (150, 150), 0.0, rng)
    reads = text.tobytes().decode()
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(
        (reads[a:b] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)),
        trainers.BpeTrainer(vocab_size=sizes["vocab_size"], special_tokens=SPECIAL_TOKENS, show_progress=False),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, SPECIAL_TOKENS.index(name)) for name in ("[CLS]", "[SEP]")]
    )
    names = dict(zip(("unk_token", "cls_token", "sep_token", "pad_token", "mask_token"), SPECIAL_TOKENS, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def starting_point(
    config: RecipeConfig, genomes: GenomeSet, run: TrainingRun
) -> tuple[PreTrainedModel, Any, str | None]:
    """Return the initial encoder and tokenizer, and the checkpoint that they come from or None if they are new."""
    if isinstance(config.encoder, str):
        return (*load_read_encoder(config.encoder, revision=config.revision), config.encoder)
    folder = run.path / "tokenizer"

    def make_tokenizer() -> None:
        if not folder.exists():
            with atomic_directory(folder, locked=True) as partial:
                new_tokenizer(config, genomes).save_pretrained(partial)

    run.processes.on_main(make_tokenizer)
    cls = KmerTokenizer if config.encoder["model_type"] == "kmer_encoder" else PreTrainedTokenizerFast
    tokenizer = cls.from_pretrained(folder)
    values = dict(config.encoder)
    model_type = values.pop("model_type")
    if model_type != "kmer_encoder":
        values = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, **values}
    torch.manual_seed(torch_seed(config.seed))
    return AutoModel.from_config(AutoConfig.for_model(model_type, **values)), tokenizer, None


def parser() -> RecipeParser:
    """Build the argument parser."""
    parser = RecipeParser(__file__, __doc__)
    parser.add_training_options()
    parser.add_argument("--genomes", type=Path, nargs="+", required=True, help="folders with genomes.tsv")
    parser.add_argument("--markers", type=Path, help="FASTA of marker genes, for a config with markers")
    parser.add_argument("--marker-groups", type=Path, help="table of their accessions: group and organism")
    parser.add_argument(
        "--stages", nargs="+", choices=[*OBJECTIVES, "centroids"], help="run only these stages; all by default"
    )
    parser.add_argument("--tracker", choices=["tensorboard", "trackio"], help="also log to this tracker")
    return parser


def run_recipe(args: argparse.Namespace, processes: ProcessGroup | None = None) -> None:
    """Train the requested stages, learn centroids and write the results.

    Raises:
        BiomeformerError: The input is invalid, or a signal was received.
    """
    config = RecipeConfig.from_yaml(args.config, args.overrides)
    held_out = set(read_held_out(args.config, config.held_out_genera))
    if args.stages is not None:
        config.stages = [stage for stage in config.stages if stage.objective in args.stages]
        config.centroids = config.centroids if "centroids" in args.stages else None
    if not config.stages and config.centroids is None:
        raise InputError(f"{args.config} has none of the requested stages.")
    genomes = GenomeSet.load(args.genomes, held_out)
    validation = GenomeSet.load(args.genomes, held_out, only_held_out=True) if held_out else None
    markers = read_markers(args, config, held_out)
    accelerator = make_accelerator(
        config.mixed_precision,
        cpu=args.cpu,
        processes=processes,
        log_with=args.tracker,
        project_dir=str(args.output),
    )
    digest = digest_of(genomes)
    identity = {"config": asdict(config), "genomes": digest, "held_out": sorted(held_out)}
    if markers is not None:
        identity["markers"] = digest_of(markers)
    if validation is not None:
        identity["held_out_genomes"] = digest_of(validation)
    with TrainingRun(args.output, identity, accelerator, processes, files=FILES).open(args.overwrite) as run:
        accelerator.init_trackers("pretrain_read_encoder", config={"seed": config.seed, "config": args.config.name})
        encoder, tokenizer, source = starting_point(config, genomes, run)
        done = [number for number in range(len(config.stages)) if finished_stage(run, number)]
        if done:
            figures_of(run.path / "stages" / f"{done[-1]}")
            source = str(finished_stage(run, done[-1]))
            encoder, tokenizer = load_read_encoder(source)
            encoder.config._name_or_path = ""
            accelerator.print(f"Resuming after stage {done[-1] + 1}, which is finished.")
        trainer = Trainer(config, run, genomes, validation, encoder, tokenizer, source, markers)
        metrics: dict[str, Any] = {}
        for number, stage in enumerate(config.stages):
            kept = finished_stage(run, number)
            figures = figures_of(kept) if kept else trainer.train(stage, number)
            metrics[f"{number + 1} {stage.objective}"] = figures
        accelerator.end_training()
        run.processes.on_main(lambda: write_results(config, trainer, genomes, held_out, metrics))


def read_markers(args: argparse.Namespace, config: RecipeConfig, held_out: set[str]) -> GenomeSet | None:
    """Load the marker genes that a config asks for, or return None.

    Raises:
        InputError: The config asks for markers and their files are not given, or the other way round.
    """
    files = args.markers, args.marker_groups
    if config.markers is None:
        if any(files):
            raise InputError(f"{args.config} has no markers; add them to it, or leave out --markers, --marker-groups.")
        return None
    if not all(files):
        raise InputError(f"{args.config} trains on markers; give --markers and --marker-groups, or set markers: null.")
    excluded, min_bases = config.markers.excluded, config.markers.min_bases
    return load_markers(*files, held_out, excluded=excluded, min_bases=min_bases)


def digest_of(genomes: GenomeSet) -> str:
    """Return the SHA-256 of the digests of all sequences."""
    return hashlib.sha256("".join(genomes.sha256).encode()).hexdigest()


def write_results(
    config: RecipeConfig, trainer: Trainer, genomes: GenomeSet, held_out: set[str], metrics: dict[str, Any]
) -> None:
    """Learn centroids if the config has them, and write the checkpoints."""
    run, encoder, tokenizer = trainer.run, trainer.encoder, trainer.tokenizer
    seconds = sum(figures["seconds"] for figures in metrics.values())
    outputs: dict[str, Any] = {
        "encoder": lambda folder: (encoder.save_pretrained(folder), tokenizer.save_pretrained(folder))
    }
    if config.centroids is not None:
        start = time.monotonic()
        model, figures = trainer.fit_centroids(config.centroids)
        metrics["centroids"] = {**figures, "seconds": round(time.monotonic() - start, 1)}
        seconds += time.monotonic() - start
        outputs["model"] = model.save_pretrained
    reads_per_step = [
        stage.micro_batches * stage.micro_batch_reads * (2 if stage.objective == "contrastive" else 1)
        for stage in config.stages
    ]
    record = {
        "recipe": "recipes/pretrain_read_encoder.py",
        "config": asdict(config),
        "genomes": [{"genome_id": g, "sha256": h} for g, h in zip(genomes.ids, genomes.sha256, strict=True)],
        "held_out_genera": sorted(held_out),
        **markers_record(trainer),
        "n_reads": sum(
            n_reads * metrics[f"{i} {stage.objective}"]["n_steps"]
            for i, (stage, n_reads) in enumerate(zip(config.stages, reads_per_step, strict=True), 1)
        ),
        "seed": config.seed,
        "wall_time_s": round(seconds, 1),
        "device": describe_device(run.accelerator),
        "metrics": _rounded(metrics),
    }
    for name, save in outputs.items():
        run.write_model(save, record, name)
    out(f"Wrote {', '.join(str(run.path / name) for name in outputs)}")


def markers_record(trainer: Trainer) -> dict[str, Any]:
    """Return what the training record says of marker genes, if there are any: their species, and a digest of all."""
    if trainer.markers is None:
        return {}
    genomes = trainer.markers.genomes
    return {
        "markers": {
            "n_species": len(genomes.ids),
            "n_genera": len(set(genomes.genera)),
            "n_bases": sum(map(len, genomes.sequences)),
            "sha256": digest_of(genomes),
            "species": genomes.species,
        }
    }


def _rounded(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: _rounded(value) for name, value in values.items()}
    return round(values, 4) if isinstance(values, float) else values


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe; return its exit code."""
    return run_main(run_recipe, parser().parse_args(arguments), "the same command resumes from the last saved state")


if __name__ == "__main__":
    sys.exit(main())

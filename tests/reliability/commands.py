"""Every command and recipe that writes files, with small inputs: for tests of what a kill or a full disk leaves."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from factories import (
    random_contig,
    random_genome_transformer,
    random_sequences,
    tiny_dnabert2,
    tiny_esm,
    tiny_metagenbert,
    write_cohort,
    write_protein_genomes,
)
from processes import run_recipe


@dataclass(frozen=True)
class Command:
    """A command or recipe.

    Attributes:
        arguments: The command line; INPUTS stands for the folder of `make_inputs`, and OUTPUT for the output.
        is_recipe: Whether the first argument is the name of a recipe.
        n_processes: Most processes that share its work.
        is_resumed: Whether the same command may be given again after it was done.
    """

    arguments: str
    is_recipe: bool = False
    n_processes: int = 1
    is_resumed: bool = False

    def resolved(self, inputs: Path, output: Path) -> list[str]:
        """Return the command line."""
        return [
            part.replace("INPUTS", str(inputs)).replace("OUTPUT", str(output)) for part in self.arguments.split(" ")
        ]


STAGE = "micro_batch_reads: 4, learning_rate: 0.002, read_length: [40, 50], evaluate_every: 2, save_every: 1"
STAGES = f"stages=[{{objective: mlm, n_steps: 3, micro_batches: 2, {STAGE}}}]".replace(" ", "\u00a0")
QUICK = "--folds 2 --repeats 1 --estimator l1 --threads 1"
COMMANDS = {
    "embed": Command(
        "embed INPUTS/cohort/cohort.csv --model INPUTS/model --output OUTPUT --device cpu",
        n_processes=2,
        is_resumed=True,
    ),
    "demo": Command("demo --output OUTPUT --threads 1", is_resumed=True),
    "wrap-centroids": Command(
        "wrap-centroids INPUTS/centroids.npy --read-encoder INPUTS/encoder --pooling mean --output OUTPUT"
    ),
    "fit-centroids": Command(
        "fit-centroids INPUTS/cohort/cohort.csv --read-encoder INPUTS/encoder --n-clusters 3 --reads-per-sample 40 "
        "--n-iterations 4 --output OUTPUT --device cpu",
        n_processes=2,
    ),
    **{
        f"export, {form}": Command(f"export INPUTS/run --format {form} --output OUTPUT")
        for form in ("csv", "datasets", "biom", "anndata")
    },
    "join": Command("join INPUTS/run --output OUTPUT"),
    "phenotype evaluate": Command(f"phenotype evaluate INPUTS/run --target group {QUICK} --output OUTPUT"),
    "phenotype train": Command(
        "phenotype train INPUTS/run --model INPUTS/model --target group --folds 2 --threads 1 --output OUTPUT"
    ),
    "phenotype train, predictor": Command(
        "phenotype train INPUTS/run --estimator boosting --target group --folds 2 --threads 1 --output OUTPUT"
    ),
    "phenotype predict": Command("phenotype predict INPUTS/phenotype INPUTS/cohort/s0.fastq.gz --output OUTPUT.csv"),
    "phenotype depth": Command(
        "phenotype depth INPUTS/cohort/cohort.csv --model INPUTS/model --target group --fraction 1 --fraction 0.5 "
        "--folds 2 --repeats 1 --estimator l1 --threads 1 --device cpu --output OUTPUT",
        is_resumed=True,
    ),
    "phenotype robustness": Command("phenotype robustness INPUTS/run --target group --permutations 9 --output OUTPUT"),
    "phenotype transfer": Command(
        "phenotype transfer INPUTS/run INPUTS/run2 --target group --estimator l1 --threads 1 --output OUTPUT"
    ),
    "phenotype report": Command(
        "phenotype report INPUTS/study --permutations 9 --threads 1 --output OUTPUT.html", is_resumed=True
    ),
    "clusters describe": Command(
        "clusters describe INPUTS/model --genomes INPUTS/genomes/genomes.tsv --reads-per-genome 50 --output OUTPUT "
        "--threads 1"
    ),
    "clusters reads": Command(
        "clusters reads INPUTS/cohort/s0.fastq.gz --model INPUTS/model --cluster 0 --output OUTPUT.fastq --threads 1",
        is_resumed=True,
    ),
    "genome embed": Command(
        "genome embed INPUTS/proteins/genomes.csv --protein-encoder INPUTS/esm --output OUTPUT --device cpu "
        "--threads 1",
        n_processes=2,
        is_resumed=True,
    ),
    "genome predict": Command(
        "genome predict INPUTS/proteins/g0.faa INPUTS/proteins/g1.faa --model INPUTS/genome-model --output OUTPUT.tsv "
        "--device cpu --threads 1",
        is_resumed=True,
    ),
    "genome attribute": Command(
        "genome attribute INPUTS/embedded-few --model INPUTS/genome-model --top 1 --ablate 1 --min-samples 2 "
        "--output OUTPUT --device cpu --threads 1",
        n_processes=2,
        is_resumed=True,
    ),
    "sequences prepare": Command("sequences prepare a=INPUTS/a.fa b=INPUTS/b.fa --output OUTPUT"),
    "sequences predict": Command(
        "sequences predict INPUTS/a.fa --model INPUTS/classifier --output OUTPUT.tsv --device cpu --threads 1",
        is_resumed=True,
    ),
    "convert": Command("convert INPUTS/published OUTPUT"),
    "publish card": Command("publish card INPUTS/model --id lab/x --license mit"),
    "embed_cohort": Command(
        "embed_cohort --cohort INPUTS/cohort/cohort.csv --model INPUTS/model --output OUTPUT --device cpu",
        is_recipe=True,
        n_processes=2,
        is_resumed=True,
    ),
    "fit_glob_centroids": Command(
        "fit_glob_centroids --config smoke --cohort INPUTS/cohort/cohort.csv --output OUTPUT --device cpu "
        "read_encoder=INPUTS/encoder reads_per_sample=40 n_clusters=[2,3]",
        is_recipe=True,
        n_processes=2,
    ),
    "pretrain_read_encoder": Command(
        f"pretrain_read_encoder --cpu --config smoke --genomes INPUTS/genomes --output OUTPUT {STAGES}",
        is_recipe=True,
        n_processes=2,
        is_resumed=True,
    ),
    "pretrain_protein_encoder": Command(
        "pretrain_protein_encoder --cpu --config smoke --genomes INPUTS/genomes --output OUTPUT n_steps=4 "
        "micro_batches=2 micro_batch_tokens=512 save_every=1",
        is_recipe=True,
        n_processes=2,
        is_resumed=True,
    ),
    "train_genome_transformer": Command(
        "train_genome_transformer --cpu --config smoke --genomes INPUTS/embedded --target habitat --group genus "
        "--output OUTPUT batch_genomes=3 micro_batches=2 n_epochs=2",
        is_recipe=True,
        n_processes=2,
        is_resumed=True,
    ),
    "finetune_sequence_classifier": Command(
        "finetune_sequence_classifier --cpu --config smoke --data INPUTS/prepared --output OUTPUT "
        "batch_sequences=8 micro_batches=2 n_epochs=2",
        is_recipe=True,
        n_processes=2,
        is_resumed=True,
    ),
    "finetune_phenotype": Command(
        "finetune_phenotype --cpu --config local --cohort INPUTS/cohort/cohort.csv --target group --output OUTPUT "
        "set_size=8 reads_per_sample=30 n_folds=2 n_epochs=2 batch_samples=3 micro_batches=2",
        is_recipe=True,
        n_processes=2,
        is_resumed=True,
    ),
}
del COMMANDS["publish card"]


def run_command(arguments: list[str], is_recipe: bool) -> int:
    """Run a command or recipe in this process, and return its exit code."""
    arguments = [argument.replace("\u00a0", " ") for argument in arguments]
    if is_recipe:
        return run_recipe(arguments[0], arguments[1:])
    from biomeformer.cli import app

    sys.argv = ["biomeformer", *arguments]
    try:
        app(prog_name="biomeformer")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def make_inputs(folder: Path) -> None:
    """Write the inputs of all commands."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in (_models, _cohorts, _genomes, _sequences):
        part(folder)


def _models(folder: Path) -> None:
    import torch

    from biomeformer.models.kmer_encoder import KmerEncoderConfig, KmerEncoderForSequenceClassification, KmerTokenizer
    from checkpoint_kinds import classifier

    tiny_metagenbert(min_read_length=20).save_pretrained(folder / "model")
    tiny_metagenbert().processor.tokenizer.save_pretrained(folder / "encoder")
    tiny_dnabert2().save_pretrained(folder / "encoder")
    width = tiny_dnabert2().config.hidden_size
    np.save(folder / "centroids.npy", np.random.default_rng(0).normal(size=(3, width)))
    labels = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    save = classifier(
        lambda larger: KmerEncoderForSequenceClassification(KmerEncoderConfig(k=3, hidden_size=8, **labels)),
        lambda: KmerTokenizer(k=3),
    )
    torch.manual_seed(0)
    save(folder / "classifier", False)
    _published(folder)


def _published(folder: Path) -> None:
    """A checkpoint as DNABERT-2's authors published it, a pickle."""
    import shutil

    import torch
    from safetensors.torch import load_file

    shutil.copytree(folder / "encoder", folder / "published")
    torch.save(load_file(folder / "published" / "model.safetensors"), folder / "published" / "pytorch_model.bin")
    (folder / "published" / "model.safetensors").unlink()


def _cohorts(folder: Path) -> None:
    import biomeformer
    from biomeformer.metagenomes import AbundanceTable, run_cohort
    from biomeformer.phenotypes import FeatureTable, make_target, train_checkpoint
    from biomeformer.phenotypes.study import run_study

    cohort = write_cohort(folder / "cohort", n_samples=12, n_reads=30)
    model = biomeformer.load(folder / "model")
    run_cohort(model, cohort, folder / "run").raise_for_failures()
    table = AbundanceTable.read(folder / "run")
    other = folder / "cohort" / "other.csv"
    other.write_text("".join(re.sub(r"^s(\d)", r"t\1", line) for line in cohort.read_text().splitlines(keepends=True)))
    run_cohort(model, other, folder / "run2").raise_for_failures()
    features = FeatureTable.from_abundance(table)
    target = make_target(table.metadata, "group", table.sample_ids)
    (folder / "study").mkdir()
    from biomeformer.cli.phenotype.reading import table_record

    inputs = {"tables": {"vectors": table_record(folder / "run")}}
    study = run_study({"vectors": [features]}, target, models=("l1",), n_splits=2, n_repeats=1, n_jobs=1, inputs=inputs)
    study.write(folder / "study")
    trained, _ = train_checkpoint(model, table, target, n_splits=2, n_jobs=1)
    trained.save_pretrained(folder / "phenotype")


def _genomes(folder: Path) -> None:
    from biomeformer import GenomeTransformerProcessor
    from biomeformer.genomes.catalog import read_catalog
    from biomeformer.genomes.embedding import embed_genomes
    from biomeformer.genomes.proteins import load_protein_encoder

    encoder = load_protein_encoder(tiny_esm(folder / "esm"))
    for name, n_genomes in (("", 12), ("-few", 3)):
        (folder / f"proteins{name}").mkdir()
        catalog = read_catalog(write_protein_genomes(folder / f"proteins{name}", n_genomes, 8))
        embed_genomes(encoder, catalog, folder / f"embedded{name}").raise_for_failures()
    model = random_genome_transformer()
    tiny_esm(folder / "genome-model" / "protein_encoder")
    model.processor = GenomeTransformerProcessor(
        "protein_encoder", encoder.weights_sha256, protein_size=24, max_genes=60
    )
    model.save_pretrained(folder / "genome-model")
    (folder / "genomes").mkdir()
    rng = np.random.default_rng(0)
    rows = ["genome_id\tspecies\tgenus\tfile"]
    for i in range(3):
        (folder / "genomes" / f"g{i}.fna").write_text(f">c\n{random_contig(rng, 12)}\n")
        rows.append(f"g{i}\tS{i} s\tS{i}\tg{i}.fna")
    (folder / "genomes" / "genomes.tsv").write_text("\n".join(rows) + "\n")


def _sequences(folder: Path) -> None:
    from biomeformer import prepare_sequences

    for name, seed in (("a", 1), ("b", 2)):
        sequences = random_sequences(30, 70, 110, seed)
        (folder / f"{name}.fa").write_text("".join(f">{name}{i}\n{s}\n" for i, s in enumerate(sequences)))
    prepare_sequences([f"{name}={folder / name}.fa" for name in "ab"], folder / "prepared", read_encoder=None)


__all__ = ["COMMANDS", "Command", "make_inputs", "run_command"]

"""Run a few optimiser steps of each training recipe in bfloat16, and check device and finite losses.

Models have their full size (DNABERT-2, the paper's genome transformer); inputs are generated, enough for about five
steps. A failing recipe does not stop the others; the exit code is then 1.

    python benchmarks/gpu_recipes.py --output recipes.json
    python benchmarks/gpu_recipes.py --output recipes.json --cpu --small
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import math
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from accelerate.state import AcceleratorState
from speed_shapes import DNABERT2, TINY, bpe_tokenizer, random_proteins, random_reads

from biomeformer.checkpoints import resolve_checkpoint
from biomeformer.models.dnabert2 import DnaBert2Config, DnaBert2Model

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "modeling" / "biomeformer" / "example_cohort" / "cohort.csv"
STEPS = 5


def write_genomes(folder: Path) -> Path:
    """Four genomes of 40 kb, for the two pretrainings."""
    folder.mkdir()
    rows = ["genome_id\tspecies\tgenus\tfile"]
    for i, bases in enumerate(random_reads(4, [40_000], seed=3)):
        (folder / f"g{i}.fna").write_bytes(b">c\n" + bases + b"\n")
        rows.append(f"g{i}\tG{i} s\tG{i}\tg{i}.fna")
    (folder / "genomes.tsv").write_text("\n".join(rows) + "\n")
    return folder


def write_proteomes(folder: Path, n_proteins: int) -> Path:
    """Sixteen genomes as proteins, embedded with the encoder that ships."""
    from biomeformer.genomes.catalog import read_catalog
    from biomeformer.genomes.embedding import embed_genomes
    from biomeformer.genomes.proteins import load_protein_encoder

    folder.mkdir()
    rng, pool = np.random.default_rng(0), random_proteins(200, seed=5)
    rows = ["genome_id,proteins,habitat,genus"]
    for i in range(16):
        chosen = rng.choice(len(pool), n_proteins)
        lines = [
            f">c{k // 50}_{k} # {900 * k + 1} # {900 * k + 600} # 1 # ID=1\n{pool[j]}" for k, j in enumerate(chosen)
        ]
        (folder / f"g{i}.faa").write_text("\n".join(lines) + "\n")
        rows.append(f"g{i},g{i}.faa,{['soil', 'host'][i % 2]},G{i // 4}{'sh'[i % 2]}")
    (folder / "genomes.csv").write_text("\n".join(rows) + "\n")
    encoder = load_protein_encoder(str(Path(resolve_checkpoint("genome-transformer-mini")) / "protein_encoder"))
    embed_genomes(encoder, read_catalog(folder / "genomes.csv"), folder / "embedded").raise_for_failures()
    return folder / "embedded"


def write_sequences(folder: Path) -> Path:
    """Two classes of 150 sequences each."""
    from biomeformer import prepare_sequences

    folder.mkdir()
    for name, seed in (("a", 1), ("b", 2)):
        text = "".join(f">{name}{i}\n{read.decode()}\n" for i, read in enumerate(random_reads(150, [300], seed)))
        (folder / f"{name}.fa").write_text(text)
    prepare_sequences([f"{name}={folder / name}.fa" for name in "ab"], folder / "prepared", read_encoder=None)
    return folder / "prepared"


def write_read_encoder(folder: Path, sizes: dict[str, int]) -> Path:
    """A DNABERT-2 with random weights, as a folder."""
    tokenizer = bpe_tokenizer(512)
    DnaBert2Model(DnaBert2Config(vocab_size=512, add_pooling_layer=True, **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def jobs(folder: Path, small: bool) -> dict[str, tuple[dict[str, Any], list[Any]]]:
    """Of each recipe its config and arguments."""
    sizes = TINY if small else DNABERT2
    reads = 16 if small else 256
    genomes = write_genomes(folder / "genomes")
    stage = {"n_steps": STEPS, "micro_batches": 2, "micro_batch_reads": reads, "read_length": [75, 150]}
    encoder = {"model_type": "dnabert2", "add_pooling_layer": False, **sizes}
    genome = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64} if small else {}
    protein = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return {
        "pretrain_read_encoder": (
            {
                "encoder": encoder,
                "tokenizer": {"vocab_size": 128 if small else 4096, "n_reads": 300 if small else 4000},
                "contract": {"min_read_length": 20, "max_length": 64},
                "stages": [{"objective": name, **stage} for name in ("mlm", "contrastive", "species")],
                "centroids": {"n_clusters": 8, "reads_per_genome": 50, "n_iterations": 5, "read_length": [75, 150]},
            },
            ["--genomes", genomes],
        ),
        "pretrain_protein_encoder": (
            {
                **(protein if small else {}),
                "n_steps": STEPS,
                "evaluate_every": STEPS,
                "save_every": 100,
                "held_out": 0.2,
            },
            ["--genomes", genomes],
        ),
        "train_genome_transformer": (
            {**genome, "n_epochs": 2, "batch_genomes": 4, "n_folds": 2},
            ["--genomes", write_proteomes(folder / "proteomes", 40 if small else 1000), "--target", "habitat"],
        ),
        "finetune_sequence_classifier": (
            {"base": str(write_read_encoder(folder / "encoder", sizes)), "n_epochs": 1, "batch_sequences": 48},
            ["--data", write_sequences(folder / "sequences")],
        ),
        "finetune_phenotype": (
            {
                "model": "metagenbert-mini",
                "elements": "reads",
                "train_encoder": True,
                "set_size": 64,
                "reads_per_sample": 256,
                "n_epochs": 2,
                "n_folds": 2,
                "batch_samples": 4,
            },
            ["--cohort", EXAMPLE, "--target", "group"],
        ),
    }


def load_recipe(name: str) -> Any:
    """A recipe as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "recipes" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def run(name: str, config: dict[str, Any], arguments: list[Any], folder: Path, cpu: bool) -> dict[str, Any]:
    """Run a recipe in this process: exit code, seconds, its device, and its losses."""
    file, output = folder / f"{name}.yaml", folder / f"{name}.run"
    file.write_text(yaml.safe_dump({**config, "mixed_precision": "bf16"}))
    AcceleratorState._reset_state(True)
    began = time.perf_counter()
    result: dict[str, Any] = {}
    try:
        module = load_recipe(name)
        options = ["--config", file, "--output", output, *arguments, *(["--cpu"] if cpu else [])]
        module.run_recipe(module.parser().parse_args(list(map(str, options))))
    except Exception as error:
        traceback.print_exc()
        result["error"] = f"{type(error).__name__}: {error}"
    result["seconds"] = round(time.perf_counter() - began, 1)
    # Beside a model of which another is a part, the part's own record lies deeper.
    records = sorted(output.rglob("training_record.json"), key=lambda path: len(path.parts))
    result["device"] = json.loads(records[0].read_text())["device"] if records else None
    histories = sorted(output.rglob("history.csv"))
    rows = [row for path in histories for row in csv.DictReader(path.open())]
    losses = [float(row[key]) for row in rows for key in row if "loss" in key and row[key]]
    result["n_losses"], result["losses"] = len(losses), losses[:12]
    result["ok"] = "error" not in result and bool(losses) and all(map(math.isfinite, losses))
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run, print, write; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cpu", action="store_true", help="run on CPU only")
    parser.add_argument("--small", action="store_true", help="models of a few thousand weights")
    args = parser.parse_args(arguments)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for recipe, (config, options) in jobs(folder, args.small).items():
            results[recipe] = run(recipe, config, options, folder, args.cpu)
            args.output.write_text(json.dumps(results, indent=1) + "\n")
            print(f"{recipe}: {json.dumps({k: v for k, v in results[recipe].items() if k != 'losses'})}", flush=True)
    n_ok = sum(row["ok"] for row in results.values())
    print(f"{n_ok} of {len(results)} recipes trained")
    return 0 if n_ok == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())

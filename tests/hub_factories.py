"""Checkpoints and tables with records, as training writes them, for tests of cards and publishing."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from biomeformer import AbundanceTable, SequenceClassifier
from biomeformer.metagenomes.cohort import provenance
from biomeformer.models.kmer_encoder import KmerEncoderConfig, KmerEncoderForSequenceClassification, KmerTokenizer
from biomeformer.models.metagenbert import MetagenBertModel
from biomeformer.phenotypes import FeatureTable, make_target, train_checkpoint, train_predictor
from biomeformer.phenotypes.covariates import make_covariates
from biomeformer.sequences.preprocessing import SequencePreprocessing
from factories import tiny_metagenbert

N_SAMPLES = 12


def small_table(model: MetagenBertModel | None = None) -> AbundanceTable:
    """Twelve samples with a disease, a country and an age."""
    model = model or tiny_metagenbert()
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 50, (N_SAMPLES, model.config.n_clusters))
    counts[::2, 0] += 100
    ids = tuple(f"s{i}" for i in range(N_SAMPLES))
    index = pd.Index(ids, name="sample_id")
    n_used = counts.sum(1)
    read_stats = pd.DataFrame({"n_reads": n_used, "n_selected": n_used, "n_used": n_used}, index=index)
    metadata = pd.DataFrame(
        {
            "disease": ["ill", "well"] * (N_SAMPLES // 2),
            "country": ["FR", "FR", "DE"] * (N_SAMPLES // 3),
            "age": [str(30 + i) for i in range(N_SAMPLES)],
        },
        index=index,
    )
    return AbundanceTable(ids, counts, read_stats, metadata, provenance(model, read_fraction=1.0, seed=0))


@cache
def _built_once(build: Callable[[Path], None]) -> tempfile.TemporaryDirectory[str]:
    """What `build` writes, built once per process and deleted at its end; tests change copies."""
    kept = tempfile.TemporaryDirectory(prefix="hub-factories-")
    build(Path(kept.name))
    return kept


def phenotype_checkpoint(folder: Path) -> Path:
    """A model with a fitted head and the record of its training."""
    return Path(shutil.copytree(_built_once(_build_phenotype_checkpoint).name, folder, dirs_exist_ok=True))


def _build_phenotype_checkpoint(folder: Path) -> None:
    model = tiny_metagenbert()
    table = small_table(model)
    target = make_target(table.metadata, "disease", table.sample_ids, where="table")
    trained, study = train_checkpoint(model, table, target, n_splits=3, n_jobs=1)
    trained.save_pretrained(folder)
    record = {"base_model": {"id": "lab/centroids", "revision": "a" * 40}, **study.record}
    (folder / "training_record.json").write_text(json.dumps(record))


def predictor_checkpoint(folder: Path) -> Path:
    """Boosting on vectors and age, and the record of its training."""
    table = small_table()
    target = make_target(table.metadata, "disease", table.sample_ids, where="table")
    covariates = make_covariates(table.metadata, ["age"], table.sample_ids)
    blocks = {"vectors": FeatureTable.from_abundance(table), "covariates": covariates}
    base = {"id": "lab/centroids", "revision": "a" * 40, "weights_sha256": table.provenance["weights_sha256"]}
    predictor, study = train_predictor(blocks, target, "boosting", base_model=base, n_splits=3, n_jobs=1)
    predictor.save_pretrained(folder)
    record = {"base_model": base, **study.record, "versions": predictor.versions}
    (folder / "training_record.json").write_text(json.dumps(record))
    return folder


def sequence_checkpoint(folder: Path) -> Path:
    """A classifier of sequences with a record."""
    torch.manual_seed(0)
    config = KmerEncoderConfig(k=3, hidden_size=8, id2label={0: "other", 1: "enhancer"})
    model = KmerEncoderForSequenceClassification(config)
    preprocessing = SequencePreprocessing("binary", max_tokens=100, thresholds=[0.4])
    preprocessing.write_to(model.config)
    SequenceClassifier(model.eval(), KmerTokenizer(k=3), preprocessing).save(folder)
    record = {
        "n_sequences": {"train": 300, "test": 40},
        "scores": {"roc_auc": {"value": 0.8123, "low": 0.75, "high": 0.87}},
    }
    (folder / "training_record.json").write_text(json.dumps(record))
    return folder


def fill_in(folder: Path) -> None:
    """Fill in what only people know."""
    path = folder / "card.toml"
    path.write_text(re.sub(r"^TODO: .*$", "Words of whoever made it.", path.read_text(), flags=re.MULTILINE))

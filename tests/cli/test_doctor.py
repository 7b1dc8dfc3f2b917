"""`biomeformer doctor`: what is installed, and whether shipped checkpoints and caches are whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial

import pytest
from huggingface_hub import scan_cache_dir

from biomeformer import checkpoints
from biomeformer.checkpoints import health


def findings(run, exit_code):
    result = run(["doctor", "--json"])
    assert result.exit_code == exit_code, result.output
    record = json.loads(result.stdout)
    assert record["healthy"] is (exit_code == 0)
    return record["findings"]


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(health, "scan_cache_dir", partial(scan_cache_dir, tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_sound_installation(run):
    record = findings(run, 0)
    assert record["package"]["requirements"]["status"] == "ok"
    assert {"cpu", "gpu", "export", "tuning"} <= set(record["extra"]) and "dev" not in record["extra"]
    assert record["extra"]["export"] == {"status": "ok", "detail": record["extra"]["export"]["detail"]}
    assert set(record["checkpoint"]) == {"metagenbert-mini", "genome-transformer-mini"}
    assert record["cache"]["Hugging Face Hub"]["detail"] == "empty"
    text = run(["doctor"])
    assert text.exit_code == 0 and text.stdout.rstrip().endswith("No problem.")


@pytest.mark.parametrize(
    ("package", "version", "area", "name", "status", "detail"),
    [
        ("anndata", None, "extra", "export", "missing", "anndata is not installed; to have it: pip install"),
        ("optuna", "3.0", "extra", "tuning", "missing", "optuna is 3.0, needed is >=4.5; to have it"),
        ("transformers", "4.40", "package", "requirements", "problem", "transformers is 4.40, needed is "),
    ],
)
def test_packages_that_do_not_fit_are_named(monkeypatch, run, package, version, area, name, status, detail):
    real = health.installed_version
    monkeypatch.setattr(health, "installed_version", lambda one: version if one == package else real(one))
    record = findings(run, 1 if status == "problem" else 0)[area][name]
    assert record["status"] == status and detail in record["detail"]


def test_two_builds_of_faiss_are_a_problem(monkeypatch, run):
    state = health.faiss_state()
    both = replace(state, state="both", advice="pip uninstall faiss-cpu faiss-gpu, then install one build.")
    monkeypatch.setattr(health, "faiss_state", lambda: both)
    record = findings(run, 1)["package"]["faiss"]
    assert record["status"] == "problem" and record["detail"].startswith("pip uninstall faiss-cpu faiss-gpu")


def test_a_damaged_shipped_checkpoint_is_a_problem(tmp_path, monkeypatch, run):
    shutil.copytree(checkpoints.FOLDER / "metagenbert-mini", tmp_path / "metagenbert-mini")
    weights = tmp_path / "metagenbert-mini" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path)
    record = findings(run, 1)["checkpoint"]["metagenbert-mini"]
    assert record["status"] == "problem" and "SHA256SUMS" in record["detail"]


def test_a_damaged_cache_is_a_problem(no_cache, run):
    (no_cache / "models--who--what").mkdir(parents=True)
    record = findings(run, 1)["cache"]["Hugging Face Hub"]
    assert record["status"] == "problem" and "1 damaged entries" in record["detail"]

"""Tests on a real card; where there is none they are skipped.

BIOMEFORMER_GPU_DEVICE names another device, so that the tests themselves can be tried on a CPU; BIOMEFORMER_GPU_SMALL
makes models small. With BIOMEFORMER_GPU_RESULTS, a file, outcomes and measured values are written there as JSON, after
each test, so that an interruption keeps them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from speed_shapes import read_encoder, with_centroids, write_random_fastq

DEVICE = os.environ.get("BIOMEFORMER_GPU_DEVICE", "cuda")
SMALL = bool(os.environ.get("BIOMEFORMER_GPU_SMALL"))
# Reads of several lengths, so that batches have groups of many sizes.
READ_LENGTHS = [50, 76, 101, 150, 151, 250]
_OUTCOMES: list[dict] = []


@pytest.fixture(autouse=True, scope="session")
def device() -> torch.device:
    """The card, or the device asked for instead."""
    if DEVICE.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA card")
    return torch.device("cuda:0" if DEVICE == "cuda" else DEVICE)


@pytest.fixture(scope="session", params=["metagenbert-mini", "dnabert2"])
def read_model(request, device):
    """A read model in float32 on the CPU: the shipped one, and one of DNABERT-2's shape with random weights."""
    shape = "tiny" if SMALL and request.param == "dnabert2" else request.param
    return with_centroids(*read_encoder(shape, torch.device("cpu")), 64 if SMALL else 1024, READ_LENGTHS)


@pytest.fixture(scope="session")
def few_reads(tmp_path_factory) -> Path:
    """300 random reads."""
    path = tmp_path_factory.mktemp("reads") / "few.fastq.gz"
    write_random_fastq(path, 300, READ_LENGTHS, seed=1)
    return path


@pytest.fixture(scope="session")
def many_reads(tmp_path_factory) -> Path:
    """8,000 random reads, more than a batch of the default size, or 600 in small form."""
    path = tmp_path_factory.mktemp("reads") / "many.fastq.gz"
    write_random_fastq(path, 600 if SMALL else 8_000, READ_LENGTHS, seed=2)
    return path


def pytest_runtest_logreport(report):
    results = os.environ.get("BIOMEFORMER_GPU_RESULTS")
    if not results or "tests/gpu/" not in report.nodeid or (report.when != "call" and report.passed):
        return
    _OUTCOMES.append(
        {
            "test": report.nodeid.removeprefix("tests/gpu/"),
            "outcome": report.outcome,
            "seconds": round(report.duration, 2),
            "values": dict(report.user_properties),
            "reason": "" if report.passed else str(report.longrepr)[-2000:],
        }
    )
    Path(results).write_text(json.dumps(_OUTCOMES, indent=1) + "\n")

"""Quantised weights (torchao, quanto, bitsandbytes) and weights on the disk: each works, or is one clear error.

`make test` installs torchao and quanto in `.venv/quantisation`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from interop.quantised_models import METHODS, MODELS, inputs

FOLDER = Path(sys.prefix) / "quantisation"
PACKAGES = {"torchao": "torchao", "quanto": "optimum/quanto", "bitsandbytes": "bitsandbytes"}
# Of the largest output; weights have 8 bits.
TOLERANCE = 0.1


def is_installed(method: str) -> bool:
    return (FOLDER / PACKAGES[method]).is_dir() or importlib.util.find_spec(PACKAGES[method].split("/")[0]) is not None


@pytest.fixture(scope="module")
def results():
    script, tests = Path(__file__).with_name("quantised_models.py"), Path(__file__).parents[1]
    path = os.pathsep.join(filter(None, [str(tests), os.environ.get("PYTHONPATH"), str(FOLDER)]))
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_quantised_weights_give_nearly_the_same_outputs(name, method, results):
    result = results[name][method]
    if not is_installed(method):
        kind, _, message = result["error"].partition(": ")
        assert kind in ("ImportError", "ModuleNotFoundError") and method in message and "\n" not in message
        if method != "bitsandbytes":
            # Where it is missing, the error is tested, and nothing else can be.
            pytest.skip(f"{method} is missing: pip install --no-deps --target {FOLDER} -r packaging/quantisation.txt")
        return
    assert "error" not in result, result
    assert result["n_quantised"] > 0 and 0 < result["difference"] < TOLERANCE
    if name == "metagenbert":
        assert result["n_reads"] == 60 and result["n_moved"] <= 3


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_weights_on_the_disk_give_the_same_outputs(name, tmp_path):
    model = MODELS[name]()
    model.save_pretrained(tmp_path / "model")
    options = {"device_map": {"": "disk"}, "offload_folder": tmp_path / "offloaded"}
    offloaded = type(model).from_pretrained(tmp_path / "model", **options)
    assert all(value.is_meta for value in offloaded.parameters())
    torch.testing.assert_close(offloaded(**inputs(name))[0], model(**inputs(name))[0])

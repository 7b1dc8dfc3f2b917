"""What runs on a card imports none of the packages that a machine with little more than torch lacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ABSENT = ("skbio", "biom", "optuna", "anndata", "peft", "fair_esm", "esm")
# An import that fails for each of them, then that of the files named.
SCRIPT = f"""
import importlib.util, pathlib, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"{{name}} is not on a machine with a card", name=name)
sys.meta_path.insert(0, Blocker())
for number, path in enumerate(sys.argv[1:]):
    name = f"imported_{{number}}" if "tests" in path else pathlib.Path(path).stem
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
"""
GROUPS = {
    "recipes": sorted(path for path in (ROOT / "recipes").glob("*.py")),
    "benchmarks": [
        ROOT / "benchmarks" / f"{name}.py"
        for name in ("speed", "gpu_attention", "gpu_recipes", "genome_transformer_speed", "kmeans_speed")
    ],
    "tests": sorted((ROOT / "tests" / "gpu").glob("*.py")),
}


def test_what_runs_on_a_card_needs_no_optional_package():
    assert all(len(group) >= 4 for group in GROUPS.values())
    files = [path for group in GROUPS.values() for path in group]
    # Benchmarks import each other by their names.
    names = [path.stem for path in files if path.parent.name != "gpu"]
    assert len(set(names)) == len(names)
    paths = os.pathsep.join(map(str, (ROOT / "modeling", ROOT / "benchmarks", ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, files)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]

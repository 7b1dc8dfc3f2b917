"""Exports with the anndata and pandas that the extra `export` installs, which are older than those of the tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / ".venv" / "export"


def test_exports_work_with_what_users_get():
    if not (PACKAGES / "anndata").is_dir():
        reason = "packaging/export.txt is not installed: pip install --no-deps --target .venv/export -r it"
        pytest.skip(reason)
    pins = dict(
        line.split("==") for line in (ROOT / "packaging" / "export.txt").read_text().splitlines() if "==" in line
    )
    paths = [str(PACKAGES), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    script = "import anndata, pandas; print(anndata.__version__, pandas.__version__)"
    versions = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert versions.stdout.split() == [pins["anndata"], pins["pandas"]]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/metagenomes/test_export.py"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0, done.stdout[-3000:]
    assert passed is not None and int(passed[1]) > 10

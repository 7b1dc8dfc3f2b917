"""Resolve every extra on every supported Python, with and without constraints.txt; nothing is installed.

    python packaging/resolve_extras.py [--python 3.11 3.12 3.13]

Needs uv and the package index. Prints one row per extra and Python, and exits with 1 if one cannot be resolved.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
N_AT_ONCE = 4
TIMEOUT = 600


def resolve(python: str, extra: str, constraints: bool) -> str | None:
    """Return why an extra cannot be resolved, or None."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--python-version", python, "--extra", extra]
    command += ["--constraint", "constraints.txt"] if constraints else []
    done = subprocess.run(
        [*command, "pyproject.toml"], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    return None if done.returncode == 0 else " ".join(done.stderr.split())[:600]


def main() -> None:
    """Resolve all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", default=["3.11", "3.12", "3.13"])
    pythons = parser.parse_args().python
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cases = list(product(pythons, project["optional-dependencies"], (False, True)))
    with ThreadPoolExecutor(N_AT_ONCE) as executor:
        reasons = list(executor.map(lambda case: resolve(*case), cases))
    for (python, extra, constraints), reason in zip(cases, reasons, strict=True):
        pinned = "constraints.txt" if constraints else "newest versions"
        print(f"{python}  {extra:<9}  {pinned:<15}  {'ok' if reason is None else reason}")
    failed = sum(reason is not None for reason in reasons)
    print(f"{failed} of {len(cases)} cannot be resolved." if failed else f"All {len(cases)} can be resolved.")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

"""Check for slower stages: measure again and compare with a results file of `speed.py`.

Compared is the ratio of each stage's rate to the rate of a fixed kernel that runs before and after it (`ratios`:
encoding to a matrix product, parsing and tokenising to zlib, and so on), as the median of the rounds; on a CPU by
processor time, with the share of the time in which all threads ran as one more figure, `busy`. So another machine, a
slower clock or a busy host changes little. A stage whose ratio falls by the tolerance or more is printed on a line of
its own, and the exit code is 1; where one falls, all is measured up to twice more before that is believed.

    python benchmarks/regression.py benchmarks/results/speed.metagenbert-mini.cpu.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from speed import Settings, measure

from biomeformer.errors import InputError

ATTEMPTS = 3


def fallen(before: Mapping[str, float], now: Mapping[str, float], tolerance: float) -> list[str]:
    """One line for each stage whose ratio fell by `tolerance` or more, or is no longer measured.

    Args:
        before: Ratios by stage, of the results file.
        now: Ratios by stage, of this run.
        tolerance: Share that is too much.
    """
    lines = []
    for stage, old in before.items():
        if stage not in now:
            lines.append(f"{stage}: was {old:.4g} and is not measured any more")
        elif now[stage] <= old * (1 - tolerance):
            lines.append(f"{stage}: fell by {1 - now[stage] / old:.1%}, from {old:.4g} to {now[stage]:.4g}")
    return lines


def best(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """The higher ratio of each stage."""
    return {stage: max(first.get(stage, 0.0), second.get(stage, 0.0)) for stage in {**first, **second}}


def settings_of(
    result: Mapping[str, Any], reads: int | None = None, rounds: int | None = None, tokenizer: Path | None = None
) -> Settings:
    """How a results file was measured, with as many reads and rounds unless others are given.

    Raises:
        InputError: It was measured with a tokenizer that is not given here.
    """
    wanted = result["settings"]["tokenizer"]
    if wanted is not None and tokenizer is None:
        raise InputError(f"the results were measured with the tokenizer {wanted}; give it with --tokenizer.")
    settings = Settings(**{**result["settings"], "tokenizer": tokenizer if wanted is not None else None})
    return replace(settings, reads=reads or settings.reads, rounds=rounds or settings.rounds)


def main(arguments: list[str] | None = None) -> int:
    """Measure again; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="a JSON of speed.py")
    parser.add_argument("--tolerance", type=float, default=0.1, help="share by which a ratio may not fall")
    parser.add_argument("--reads", type=int, help="reads of a round; as the file's by default")
    parser.add_argument("--rounds", type=int, help="as the file's by default")
    parser.add_argument("--tokenizer", type=Path, help="the tokenizer.json that the file was measured with")
    args = parser.parse_args(arguments)
    result = json.loads(args.results.read_text())
    settings = settings_of(result, args.reads, args.rounds, args.tokenizer)
    now: dict[str, float] = {}
    for _ in range(ATTEMPTS):
        now = best(now, measure(settings)["ratios"])
        lines = fallen(result["ratios"], now, args.tolerance)
        if not lines:
            break
    print("\n".join(lines) or f"No stage of {args.results.name} fell by {args.tolerance:.0%} or more.")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())

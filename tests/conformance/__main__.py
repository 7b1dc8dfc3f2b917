"""Run the suites and print one table: passed, failed, skipped, and the reason of each skip and expected failure.

`make conformance`, or `python -m conformance` with `modeling` and `tests` on `PYTHONPATH`; options of pytest, such as
`-k NAME`, may follow. Exits with 1 if a failure or a skip is not in `known_differences.toml`, or an entry there does
not hold any more. Without the package index it says so and exits with 0.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections import defaultdict
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from .download import CACHE, suites

HERE = Path(__file__).parent
KNOWN = HERE / "known_differences.toml"
LOG = CACHE / "pytest.log"
N_PROCESSES = "2"
OUTCOMES = ("passed", "expected failures", "skipped", "unexplained")


@dataclass
class Outcomes:
    """Plugin of pytest that collects the outcome of each test.

    Attributes:
        failures: Tracebacks of each failed test, of its subtests too, by `Class::test`.
        skips: Reasons of each skipped test or subtest.
        passed: Tests, of which some part ran through.
    """

    failures: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    skips: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    passed: set[str] = field(default_factory=set)
    n_errors: int = 0

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note a report, in the process that collects those of all workers."""
        name = "::".join(report.nodeid.split("::")[1:])
        if report.failed:
            self.failures[name].append(report.longreprtext)
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.skips[name].append(reason.removeprefix("Skipped: "))
        elif report.when == "call":
            self.passed.add(name)

    def pytest_collectreport(self, report: Any) -> None:
        """Note a file that cannot be imported."""
        if report.failed:
            self.failures[report.nodeid].append(report.longreprtext)


@dataclass
class Known:
    """The list of known differences.

    Attributes:
        failures: Entries with `tests`, patterns of `Class::test` that fail, and `reason`; with `error`, a part of the
            message with which they must fail.
        skips: Entries with `because`, beginnings of the suite's own reasons to skip, and `reason`.
    """

    failures: list[dict[str, Any]]
    skips: list[dict[str, Any]]

    @classmethod
    def read(cls) -> Known:
        """Read the list."""
        content = tomllib.loads(KNOWN.read_text())
        return cls(content["failure"], content["skip"])

    def failure(self, name: str, tracebacks: list[str]) -> str | None:
        """Return the reason of an expected failure, or None."""
        for entry in self.failures:
            is_expected = all(entry.get("error", "") in traceback for traceback in tracebacks)
            if is_expected and any(fnmatchcase(name, test) for test in entry["tests"]):
                return str(entry["reason"])
        return None

    def skip(self, because: str) -> str | None:
        """Return the reason of an expected skip, or None."""
        matching = (
            entry["reason"]
            for entry in self.skips
            if any(fnmatchcase(because, f"{text}*") for text in entry["because"])
        )
        return next(matching, None)


def report(outcomes: Outcomes, known: Known, is_whole: bool) -> int:
    """Print the table and return the exit code.

    Args:
        outcomes: Outcomes of all tests.
        known: The list of known differences.
        is_whole: Whether all tests ran, so that entries without effect can be told.
    """
    table: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(OUTCOMES, 0))
    reasons: dict[str, list[str]] = defaultdict(list)
    unexplained: list[str] = []
    for name in sorted(outcomes.passed | outcomes.failures.keys() | outcomes.skips.keys()):
        row = table[name.partition("::")[0]]
        because = next(iter(outcomes.skips.get(name, ())), None)
        if name in outcomes.failures:
            outcome, reason = "expected failures", known.failure(name, outcomes.failures[name])
            problem = f"{name} failed:\n{outcomes.failures[name][0]}"
        elif because is not None and name not in outcomes.passed:
            outcome, reason = "skipped", known.skip(because)
            problem = f"{name} was skipped, and the reason is not in {KNOWN.name}: {because}"
        else:
            row["passed"] += 1
            continue
        if reason is None:
            outcome = "unexplained"
            unexplained.append(problem)
        else:
            reasons[f"{outcome[:-1] if outcome.endswith('s') else outcome}: {reason}"].append(name)
        row[outcome] += 1
    for entry in known.failures if is_whole else ():
        for test in entry["tests"]:
            if not any(fnmatchcase(name, test) for name in outcomes.failures):
                unexplained.append(f"{KNOWN.name} expects {test} to fail, and it does not; take it off the list.")
    print_table(table, reasons)
    for problem in unexplained:
        print(f"\nUNEXPLAINED {problem}")
    print(f"\n{len(unexplained)} unexplained." if unexplained else "\nNo unexplained failure or skip.")
    return int(bool(unexplained))


def print_table(table: dict[str, dict[str, int]], reasons: dict[str, list[str]]) -> None:
    """Print the outcomes by test class, and the tests by reason."""
    width = max(map(len, table), default=5)
    print(f"{'suite':<{width}}  " + "  ".join(f"{outcome:>17}" for outcome in OUTCOMES))
    total = {outcome: sum(row[outcome] for row in table.values()) for outcome in OUTCOMES}
    for name, row in [*sorted(table.items()), ("total", total)]:
        print(f"{name:<{width}}  " + "  ".join(f"{row[outcome]:>17}" for outcome in OUTCOMES))
    for reason, names in sorted(reasons.items()):
        tests = sorted({name.partition("::")[2] for name in names})
        listed = ", ".join(tests[:4]) + (f" and {len(tests) - 4} more" if len(tests) > 4 else "")
        print(f"\n{len(names):>4} {reason}\n     {listed}")


def main(arguments: list[str]) -> int:
    """Run the suites."""
    try:
        suites()
    except OSError as error:
        print(f"Conformance skipped: {error}.")
        return 0
    os.environ["HF_HUB_OFFLINE"] = "1"
    outcomes = Outcomes()
    files = [str(path) for path in sorted(HERE.glob("suite_*.py"))]
    # The suites have markers and fixtures of their own, so the project's strict options do not apply.
    options = ["-o", "addopts=", "--import-mode=importlib", "-p", "no:cacheprovider", "-W", "ignore", "-n", N_PROCESSES]
    LOG.parent.mkdir(parents=True, exist_ok=True)
    print(f"Running the suites of {suites().parent.name}; the log of pytest is {LOG}", flush=True)
    with LOG.open("w") as log, redirect_stdout(log):
        code = pytest.main([*options, *files, *arguments], plugins=[outcomes])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        print(LOG.read_text()[-3000:])
        return int(code)
    return report(outcomes, Known.read(), is_whole=not arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

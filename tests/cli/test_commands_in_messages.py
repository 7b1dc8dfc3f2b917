"""Command lines in messages, help, docstrings and documents name commands and options that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import biomeformer
from command_tree import fault, verbs

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(biomeformer.__file__).parent
# The name, and words up to what cannot belong to a command: quotes, backticks, parentheses and punctuation.
LINE = re.compile(r"(?<![\w./-])biomeformer((?: (?!\s)[^\s`'\"();,|]+)*)")


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """Each string of a Python file, with a placeholder for what an f-string inserts."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    within = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "VALUE" for part in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in within:
            yield node.lineno, node.value


def command_lines(text: str, *, in_code: bool) -> Iterator[str]:
    """Command lines in a text: in backticks, after a colon or at the start of a line.

    Args:
        text: The text.
        in_code: Whether all of the text is code, so that any `biomeformer` begins a command line.
    """
    for match in LINE.finditer(text):
        before = text[: match.start()].rstrip(" ")
        if not in_code and before and before[-1] not in "`:\n$&\\'":
            continue
        words = match[1].rstrip(".:").split(" ")[1:]
        if words and words[0] not in {"…", "...", "VALUE"}:
            yield "biomeformer " + " ".join(word for word in words if word not in {"…", "..."})


def files() -> list[Path]:
    return sorted([*PACKAGE.rglob("*.py"), *(ROOT / "recipes").rglob("*.py"), ROOT / "hub_upload.py"])


def test_command_lines_in_the_source_exist():
    faults, n_lines, named = [], 0, set()
    for path in files():
        for number, text in literals(path):
            for line in command_lines(text, in_code=False):
                n_lines += 1
                reason = fault(line)
                if reason is not None:
                    faults.append(f"{path.relative_to(ROOT)}:{number}: {line!r}: {reason}")
                else:
                    named |= {verb for verb in verbs() if line.startswith(f"biomeformer {verb}")}
    assert not faults, "\n".join(faults)
    # The search finds what it looks for.
    assert n_lines > 100 and len(named) > 20


def test_the_words_of_next_commands_exist():
    """`next_command("phenotype", "predict", ...)`: a command, as far as its words are literal."""
    n_calls = 0
    for path in sorted((PACKAGE / "cli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "next_command":
                words = [part.value if isinstance(part, ast.Constant) else "VALUE" for part in node.args]
                if words[0] != "VALUE" and "VALUE" not in words[:2]:
                    n_calls += 1
                    assert fault("biomeformer " + " ".join(words)) is None, (path.name, words)
    assert n_calls > 15


@pytest.mark.parametrize("name", ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_command_lines_in_documents_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```(?:bash|sh|console|shell)?\n(.*?)^```", text, re.M | re.S)
    faults = []
    for block in blocks:
        for line in block.splitlines():
            stripped = line.strip().removeprefix("$ ")
            if stripped.startswith("biomeformer "):
                command = re.split(r"\s#|\s[|>&]\s?|[\[\]<>*]", stripped)[0].strip()
                reason = fault(command)
                faults += [f"{command!r}: {reason}"] if reason is not None else []
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("biomeformer embed cohort.csv --model x --output y", None),
        ("biomeformer phenotype evaluate DIR --target T --json", None),
        ("biomeformer phenotype", None),
        ("biomeformer phenotype evaluat DIR", "biomeformer phenotype has no command evaluat"),
        ("biomeformer embed cohort.csv --modl x", "biomeformer embed has no option --modl"),
    ],
)
def test_faults_are_found(line, reason):
    assert fault(line) == reason

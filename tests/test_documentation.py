"""The pages of docs/: commands that parse, names that exist, messages that are the code's, examples that run."""

from __future__ import annotations

import ast
import doctest
import importlib
import json
import re
import shlex
import sys
from functools import cache
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from biomeformer.cli import app
from processes import ROOT

sys.path.insert(0, str(ROOT / "packaging" / "site"))
from api import PAGES, api_pages
from commands import command_pages

DOCS = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [ROOT / "README.md", *DOCS, ROOT / "recipes" / "README.md"]
PACKAGE = ROOT / "modeling" / "biomeformer"
CONFIG = ROOT / "packaging" / "site" / "mkdocs.yml"
COMMANDS = typer.main.get_command(app)


def blocks(path: Path, language: str) -> list[str]:
    """Code blocks of a document."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", path.read_text(encoding="utf-8"), re.M | re.S)


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


def check_command(words: list[str]) -> None:
    """Check that a command of the package and its options exist, and that options and arguments fit."""
    command = COMMANDS
    path = "biomeformer"
    while hasattr(command, "commands"):
        known = {option for parameter in command.params for option in parameter.opts}
        while words and words[0] in known | {"--help", "--install-completion"}:
            words = words[1:]
        if not words:
            return
        assert words[0] in command.commands, f"{path} has no command {words[0]}"
        path, command, words = f"{path} {words[0]}", command.commands[words[0]], words[1:]
    if words in (["--help"], ["-h"]) or path == "biomeformer recipes run":
        return  # a recipe has options of its own
    root = {option for parameter in COMMANDS.params for option in parameter.opts}
    command.make_parser(typer.Context(command, info_name=path)).parse_args([word for word in words if word not in root])


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if "biomeformer " in path.read_text()], ids=names)
def test_every_documented_command_parses(path):
    n_commands = 0
    for block in blocks(path, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(r"(?:^|\s|/)biomeformer(\s.*)?$", line.split(" # ")[0].split("   #")[0])
            if found is None or line.lstrip().startswith(("#", "make", "pip", "conda", "docker build")):
                continue
            for part in re.split(r"\s&&\s|\s\|\s|;", found[1] or "")[:1]:
                check_command(shlex.split(part))
                n_commands += 1
    assert n_commands or not re.search(r"^biomeformer ", path.read_text(), re.M)


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if blocks(path, "python")], ids=names)
def test_python_of_documents_names_what_exists(path):
    for block in blocks(path, "python"):
        if ">>>" in block:
            continue
        tree = ast.parse(block)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("biomeformer"):
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names), block
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "biomeformer":
                assert hasattr(importlib.import_module("biomeformer"), node.attr), block


@pytest.mark.parametrize("path", [path for path in DOCS if ">>>" in path.read_text()], ids=names)
def test_examples_of_pages_give_what_they_show(path):
    failed, tried = doctest.testfile(str(path), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried and not failed


def documented_modules() -> list[str]:
    """Modules with examples in their docstrings."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if not path.is_symlink() and "recipes" not in path.parts and ">>> " in path.read_text(encoding="utf-8"):
            found.append(".".join(("biomeformer", *path.relative_to(PACKAGE).with_suffix("").parts)))
    return found


@pytest.mark.parametrize("name", documented_modules())
def test_examples_of_docstrings_give_what_they_show(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert result.attempted and not result.failed


@cache
def texts_of_code() -> str:
    """All texts of the package, with … for what is put into them, one per line."""
    texts = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(" ".join(text.split()) for text in texts)


def test_every_message_of_the_faq_is_in_the_code():
    quoted = re.findall(r"^### `(.*)`$", (ROOT / "docs" / "faq.md").read_text(), re.M)
    assert len(quoted) > 20
    missing = [text for text in quoted if text not in texts_of_code()]
    assert not missing


def options_of(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))


def printed_help(path: str) -> str:
    """What `--help` of a command prints, without the frame of its tables."""
    done = CliRunner().invoke(app, [*path.split()[1:], "--help"], terminal_width=250, env={"COLUMNS": "250"})
    assert done.exit_code == 0, path
    return " ".join(re.sub("[│─╭╮╰╯]", " ", done.stdout).split())


def test_the_command_reference_says_what_help_says():
    pages = command_pages()
    assert set(pages) == {"index.md", *(f"{name}.md" for name in COMMANDS.commands)}

    def check(command, path):
        page = pages[f"{path.split()[1]}.md"] if " " in path else pages["index.md"]
        section = next(part for part in re.split(r"^##? ", page, flags=re.M) if part.startswith(f"{path}\n"))
        context = typer.Context(command, info_name=path)
        help_page = printed_help(path)
        for parameter in command.params:
            record = parameter.get_help_record(context)
            if record is not None:
                assert all(" ".join(part.split()).replace("|", "\\|") in section for part in record)
                assert all(option in help_page for option in parameter.opts if option.startswith("--"))
        assert (command.help or "").split("\n\n")[0] in section
        for name, part in getattr(command, "commands", {}).items():
            check(part, f"{path} {name}")

    check(COMMANDS, "biomeformer")
    assert options_of(pages["embed.md"]) >= {"--model", "--read-fraction", "--overwrite"}


def test_the_python_reference_names_every_public_name():
    pages = api_pages()
    for package in PAGES:
        if package in ("errors", "models"):
            continue
        module = importlib.import_module(f"biomeformer.{package}")
        for name in module.__all__:
            assert re.search(rf"^::: biomeformer\.{package}\.([\w.]+\.)?{name}$", pages[f"{package}.md"], re.M), name
    root = importlib.import_module("biomeformer")
    for name in root.__all__:
        if name in PAGES or name in ("checkpoints", "__version__"):
            continue
        target = re.search(rf"\[`biomeformer\.{name}`\]\[([\w.]+)\]", pages["index.md"])
        assert target is not None, name
        assert any(f"::: {target[1]}\n" in f"{page}\n" for page in pages.values()), name
        module, _, attribute = target[1].rpartition(".")
        assert getattr(importlib.import_module(module), attribute) is getattr(root, name)


class Loader(yaml.SafeLoader):
    """Reads MkDocs' file, whose slugs are a Python object."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def test_the_navigation_names_pages_that_exist():
    text = json.dumps(yaml.load(CONFIG.read_text(), Loader)["nav"])
    pages = set(re.findall(r'"([a-z_0-9/]+\.md)"', text))
    made = {"recipes.md", "benchmarks.md", "changelog.md", "contributing.md"}
    assert len(pages) > 30 and {path for path in pages - made if not (ROOT / "docs" / path).is_file()} == set()


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md", "recipes/README.md", "benchmarks/README.md"])
def test_links_to_files_of_the_repository_lead_somewhere(name):
    path = ROOT / name
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text(encoding="utf-8"))
    assert targets and not [target for target in targets if not (path.parent / target).exists()]

"""Tab completion: the scripts for the shells, and what they ask for."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from biomeformer.cli import app
from command_tree import root, verbs


def complete(words: str, monkeypatch) -> set[str]:
    """What bash offers at the end of a line."""
    monkeypatch.setenv("_BIOMEFORMER_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    done = CliRunner().invoke(app, [], prog_name="biomeformer")
    return {line.strip() for line in done.stdout.splitlines()}


def test_commands_and_options_are_offered(monkeypatch):
    assert complete("biomeformer ", monkeypatch) == set(root().commands)
    assert complete("biomeformer phenotype ev", monkeypatch) == {"evaluate"}
    options = {name for parameter in verbs()["embed"].params for name in (*parameter.opts, *parameter.secondary_opts)}
    offered = complete("biomeformer embed --", monkeypatch)
    assert {name for name in options if name.startswith("--")} <= offered and "--json" in offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_shown(shell, monkeypatch):
    monkeypatch.setattr("shellingham.detect_shell", lambda *args, **kwargs: (shell, f"/bin/{shell}"))
    done = CliRunner().invoke(app, ["--show-completion"], prog_name="biomeformer")
    assert done.exit_code == 0 and "_BIOMEFORMER_COMPLETE" in done.stdout and f"complete_{shell}" in done.stdout

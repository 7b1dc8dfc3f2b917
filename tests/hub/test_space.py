"""Publishing the page as a Space: what is shown, sent and refused."""

from __future__ import annotations

import shutil

import pytest
import yaml

from biomeformer.errors import InputError
from biomeformer.hub.space import SHIPPED, space_contents

FILES = {"README.md", "app.py", "requirements.txt"}


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(SHIPPED, tmp_path / "space", ignore=shutil.ignore_patterns("__pycache__"))


def run(*arguments):
    """The command line."""
    from biomeformer.cli.app import app

    app(list(arguments), prog_name="biomeformer")


def test_the_command_shows_and_then_does(hub, hub_process):
    command = ["publish", "space", "lab/page"]
    shown = hub_process(run, *command, token="hf_ada")
    assert shown.exit_code == 0, shown.output
    assert "to         space lab/page (new, public)" in shown.output and "dry run" in shown.output
    assert all(f"  {name} " in shown.output for name in FILES)
    assert not hub.exists("lab/page", "space")
    done = hub_process(run, *command, "--push", token="hf_ada")
    assert done.exit_code == 0, done.output
    stored = hub.files("lab/page", repo_type="space")
    stored.pop(".gitattributes", None)
    assert stored == {name: (SHIPPED / name).read_bytes() for name in FILES}
    assert "/spaces/lab/page" in done.output


def test_the_shipped_folder_may_be_published():
    contents = space_contents("lab/page")
    assert set(contents.files) == FILES and contents.repo_type == "space"
    front_matter = yaml.safe_load((SHIPPED / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert contents.entry.license == front_matter["license"] == "apache-2.0"


def _write(name, text):
    return lambda folder: (folder / name).write_text(text)


def _replace(name, old, new):
    def change(folder):
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_write("notes.txt", "x"), "is no file of the Space"),
        (_write("reads.fastq", "@a\nACGT\n+\nIIII\n"), "is no file of the Space"),
        (_write("app.py", "def"), "is no Python"),
        (_write("app.py", 'TOKEN = "hf_' + "a" * 34 + '"\n'), "token"),
        (lambda folder: (folder / "requirements.txt").unlink(), "has no requirements.txt"),
        (_replace("requirements.txt", "gradio==6.31.0", "gradio>=6"), "is not an exact version"),
        (_replace("requirements.txt", "gradio==6.31.0", "gradio==6.30.0"), "make them equal"),
        (_replace("requirements.txt", "biomeformer[app,cpu]", "numba"), "does not install biomeformer"),
        (_replace("README.md", "license: apache-2.0\n", ""), "has no license"),
        (_replace("README.md", "sdk: gradio", "sdk: docker"), "sdk is 'docker'"),
        (_write("README.md", "# x\n"), "does not begin with front matter"),
        (_write("README.md", "---\ntitle: [\n---\n"), "is no YAML"),
    ],
)
def test_what_is_refused(folder, spoil, words):
    spoil(folder)
    with pytest.raises(InputError, match=words.replace("[", r"\[")):
        space_contents("lab/page", folder)

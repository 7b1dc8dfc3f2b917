"""Recipes of other package managers, containers and metadata agree with pyproject.toml."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from jinja2 import Environment

from biomeformer.version import __version__

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Conda's names of packages that PyPI calls otherwise.
CONDA_NAMES = {
    "adjustText": "adjusttext",
    "isal": "python-isal",
    "lazy-loader": "lazy_loader",
    "matplotlib": "matplotlib-base",
    "torch": "pytorch",
    "xxhash": "python-xxhash",
}


def split(requirement: str) -> tuple[str, str]:
    match = re.match(r"([A-Za-z0-9_.-]+)\s*([^;]*)", requirement)
    assert match is not None
    return match[1], match[2].strip()


def conda_recipe() -> dict:
    text = (ROOT / "packaging" / "conda" / "meta.yaml").read_text(encoding="utf-8")
    pin = {"pin_subpackage": lambda name, max_pin: f"{name} {max_pin}", "PYTHON": "python"}
    return yaml.safe_load(Environment(autoescape=False).from_string(text).render(**pin))


def test_the_conda_recipe_requires_what_the_package_requires():
    required = dict(map(split, [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["cpu"]]))
    expected = {CONDA_NAMES.get(name, name): bounds for name, bounds in required.items()}
    recipe = conda_recipe()
    stated = dict(map(split, recipe["requirements"]["run"]))
    assert stated == expected | {"python": PROJECT["requires-python"]}
    assert recipe["package"] == {"name": "biomeformer", "version": __version__}
    assert recipe["build"]["entry_points"] == [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]


@pytest.mark.parametrize("file", ["docker/Dockerfile", "docker/Dockerfile.cuda", "apptainer/biomeformer.def"])
def test_containers_install_extras_that_exist_from_files_that_are_copied(file):
    text = (ROOT / "packaging" / file).read_text(encoding="utf-8")
    extras = re.search(r"'\.\[([a-z,]+)\]'", text)
    assert extras is not None and set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    needed = {"pyproject.toml", "constraints.txt", PROJECT["readme"], *PROJECT["license-files"], "recipes", "modeling"}
    for name in needed:
        assert re.search(rf"\b{re.escape(name)}\b", text.split("pip install")[0]) and f"!{name}" in ignored


def test_job_scripts_are_valid_bash():
    scripts = sorted((ROOT / "packaging" / "slurm").glob("*.sbatch"))
    assert len(scripts) == 2
    for script in scripts:
        subprocess.run(["bash", "-n", script], check=True)


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert hooks[0]["rev"] == f"v{pinned['ruff']}"


def test_workflows_call_targets_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    steps = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    called = {command.split()[1] for command in steps if command.startswith("make ")}
    assert called == {"test", "test-python", "demo", "docs"} and called <= targets
    for command in steps:
        for path in re.findall(r"packaging/\S+", command):
            assert (ROOT / path).exists()
    json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))


def test_the_space_installs_the_versions_that_are_tested():
    folder = ROOT / "modeling" / "biomeformer" / "app" / "space"
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    lines = [line for line in (folder / "requirements.txt").read_text().splitlines() if not line.startswith("--")]
    required = dict(line.split("==") for line in lines)
    assert required.pop("biomeformer[app,cpu]") == __version__
    assert required == {name: pinned[name] for name in required} and "gradio" in required
    front_matter = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert front_matter["sdk_version"] == pinned["gradio"] and front_matter["license"] == PROJECT["license"].lower()


def test_the_fast_tests_exist():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    fast = re.search(r"^FAST_TESTS := ((?:.*\\\n)*.*)", text, re.MULTILINE)
    assert fast is not None
    paths = fast[1].replace("\\", " ").split()
    assert len(paths) > 5 and all((ROOT / path).exists() for path in paths)

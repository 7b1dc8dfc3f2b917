"""The public names: all of them load, none is listed twice, and importing the package costs next to nothing."""

from __future__ import annotations

import ast
import importlib
import os
import resource
import subprocess
import sys
import warnings
from collections import defaultdict
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import biomeformer
from biomeformer.cli.app import app

PACKAGE = Path(biomeformer.__file__).parent
LAZY_PACKAGES = sorted(
    ".".join(stub.parent.relative_to(PACKAGE.parent).parts) for stub in PACKAGE.rglob("__init__.pyi")
)
# Classes that a model folder has a copy of, since it must stand alone when it is exported as remote code.
COPIED_CLASSES = {"StrictPreTrainedModel", "WeightMismatchError", "WeightRules"}
HEAVY = ("torch", "transformers", "pandas", "matplotlib", "scipy", "sklearn", "skbio", "datasets", "pyarrow", "numpy")
# Seconds of CPU time: several times what it takes, for slow and busy machines.
MOST_SECONDS = 1.5


def run(*arguments: str) -> tuple[str, float]:
    """What an interpreter of its own prints, and its CPU time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def public_classes(path: Path) -> list[str]:
    """Names of a module's public classes, without importing it."""
    return [
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]


@pytest.mark.parametrize("package", LAZY_PACKAGES)
def test_every_public_name_loads(package):
    module = importlib.import_module(package)
    assert module.__all__ and set(module.__all__) <= set(dir(module))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, type | FunctionType | ModuleType):
                assert value.__name__.rsplit(".", 1)[-1] == name
    with pytest.raises(AttributeError):
        _ = module.no_such_name


def test_root_is_small_and_says_what_it_has():
    names = [name for name in biomeformer.__all__ if not (PACKAGE / name).is_dir() and name != "errors"]
    assert 15 <= len(names) <= 20
    for name in ("load", "embed_cohort", "fit_centroids", "attribute", "SequenceClassifier", "MetagenBertModel"):
        assert name in names
    assert biomeformer.__version__


def test_names_load_by_from_import_and_star():
    namespace: dict = {}
    exec("from biomeformer import *\nfrom biomeformer import load as renamed", namespace)
    assert set(biomeformer.__all__) <= set(namespace)
    assert namespace["renamed"] is biomeformer.load


@pytest.mark.parametrize("name", sorted(biomeformer.moved.NAMES))
def test_moved_names_work_with_a_warning(name):
    home = biomeformer.moved.NAMES[name]
    assert name not in biomeformer.__all__
    with pytest.warns(DeprecationWarning, match=rf"biomeformer\.{name} has moved: import it from {home}\.") as caught:
        value = getattr(biomeformer, name)
    assert caught[0].filename == __file__
    assert value is getattr(importlib.import_module(home), name)


def test_metrics_of_phenotypes_work_with_a_warning():
    phenotypes = importlib.import_module("biomeformer.phenotypes")
    metrics = importlib.import_module("biomeformer.metrics")
    for name in ("BalancedAccuracy", "BrierScore", "CalibrationError", "PrAuc", "RocAuc"):
        with pytest.warns(DeprecationWarning, match=rf"phenotypes\.{name} has moved: import it from biomeformer\.metr"):
            assert getattr(phenotypes, name) is getattr(metrics, name)
        assert name not in phenotypes.__all__


@pytest.mark.parametrize(
    ("module", "name"), [("phenotypes.telling", "discriminative_features"), ("sequences.nucleotides", "fold")]
)
def test_moved_modules_work_with_a_warning(module, name):
    (home,) = biomeformer.moved.MODULES[f"biomeformer.{module}"]
    with pytest.warns(DeprecationWarning, match=f"biomeformer.{module} has moved: import from {home}"):
        old = importlib.import_module(f"biomeformer.{module}")
    assert getattr(old, name) is getattr(importlib.import_module(home), name)


def test_no_name_of_the_first_version_is_lost():
    first = """AbundanceTable AttributionSettings ClusterSettings Cohort DnaBert2Config DnaBert2ForMaskedLM
    DnaBert2ForSequenceClassification DnaBert2Model GeneInteractionNetwork Genome GenomeTransformerConfig
    GenomeTransformerForSequenceClassification GenomeTransformerModel GenomeTransformerProcessor KmerEncoderConfig
    KmerEncoderForSequenceClassification KmerEncoderModel KmerTokenizer MetagenBertConfig
    MetagenBertForPhenotypeClassification MetagenBertModel MetagenBertOutput MetagenBertProcessor PreparationSettings
    PreparedSequences SampleEmbedding SampleReads SequenceClassifier SequenceCnnConfig
    SequenceCnnForSequenceClassification __version__ attribute convert_checkpoint embed_cohort embed_sample
    fit_centroids load load_read_encoder prepare_sequences read_cohort read_genome""".split()
    assert len(first) == 41
    assert set(first) <= {*biomeformer.__all__, *biomeformer.moved.NAMES, "__version__"}


def test_no_two_classes_share_a_name():
    modules = defaultdict(list)
    # A recipe is a script: nobody imports the classes of two of them.
    for path in sorted(path for path in PACKAGE.rglob("*.py") if path.parent.name != "recipes"):
        for name in public_classes(path):
            modules[name].append(str(path.relative_to(PACKAGE)))
    assert len(modules) > 100
    shared = {name: paths for name, paths in modules.items() if len(paths) > 1 and name not in COPIED_CLASSES}
    assert not shared


def test_attribute_takes_what_genomes_exports():
    from biomeformer.attribution import run

    annotation = ast.parse(Path(run.__file__).read_text(encoding="utf-8"))
    function = next(node for node in annotation.body if isinstance(node, ast.FunctionDef) and node.name == "attribute")
    taken = {ast.unparse(argument.annotation) for argument in function.args.args[:2] if argument.annotation}
    assert taken == {"GenomeTransformerForSequenceClassification", "EmbeddedGenomes"}
    assert biomeformer.genomes.EmbeddedGenomes is biomeformer.EmbeddedGenomes is run.EmbeddedGenomes
    assert taken <= set(biomeformer.__all__)


def test_importing_the_package_imports_nothing_heavy():
    script = f"import sys, biomeformer; print(sorted(set({HEAVY}) & set(sys.modules)))"
    printed, seconds = run("-c", script)
    assert printed.strip() == "[]"
    assert seconds < MOST_SECONDS


@pytest.mark.parametrize("package", LAZY_PACKAGES)
def test_packages_import_nothing_heavy(package):
    script = f"import sys, {package}; print(sorted(set({HEAVY}) & set(sys.modules)))"
    assert run("-c", script)[0].strip() == "[]"


def commands() -> list[list[str]]:
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    found = [[]]
    for prefix, typer_app in ([], app), *(([name], group) for name, group in groups.items()):
        if prefix:
            found.append(prefix)
        for command in typer_app.registered_commands:
            found.append([*prefix, command.name or command.callback.__name__.replace("_", "-")])
    return found


def test_all_help_pages_import_nothing_heavy():
    """In one interpreter, since modules stay imported."""
    assert len(commands()) > 25
    script = f"""import sys
from biomeformer.cli.app import app
for command in {commands()}:
    try:
        app([*command, "--help"], prog_name="biomeformer")
    except SystemExit as end:
        assert not end.code, command
    assert not set({HEAVY}) & set(sys.modules), (command, set({HEAVY}) & set(sys.modules))
"""
    printed, _ = run("-c", script)
    assert printed.count("Usage: biomeformer") == len(commands())


def test_help_is_cheap_as_a_module_too():
    script = f"""import runpy, sys
sys.argv = ["biomeformer", "--help"]
try:
    runpy.run_module("biomeformer", run_name="__main__", alter_sys=True)
finally:
    print(sorted(set({HEAVY}) & set(sys.modules)))
"""
    printed, _ = run("-c", script)
    assert "fit-centroids" in printed and printed.splitlines()[-1] == "[]"
    printed, seconds = run("-m", "biomeformer", "--help")
    assert "fit-centroids" in printed
    assert seconds < MOST_SECONDS


def test_the_package_costs_little_beside_transformers():
    script = """import resource
import torch, transformers
def seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
before = seconds()
import biomeformer
print(seconds() - before)
"""
    assert float(run("-c", script)[0]) < MOST_SECONDS

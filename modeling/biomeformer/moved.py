"""Names and modules of version 0.1 that have moved: they work, with a DeprecationWarning, until the next version."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Former names of the root, with the package that has them now.
NAMES = {
    "AttributionSettings": "biomeformer.attribution",
    "ClusterSettings": "biomeformer.attribution",
    "Cohort": "biomeformer.reads",
    "DnaBert2Config": "biomeformer.models.dnabert2",
    "DnaBert2ForMaskedLM": "biomeformer.models.dnabert2",
    "DnaBert2ForSequenceClassification": "biomeformer.models.dnabert2",
    "DnaBert2Model": "biomeformer.models.dnabert2",
    "GeneInteractionNetwork": "biomeformer.attribution",
    "Genome": "biomeformer.genomes",
    "GenomeTransformerModel": "biomeformer.models.genome_transformer",
    "KmerEncoderConfig": "biomeformer.models.kmer_encoder",
    "KmerEncoderForSequenceClassification": "biomeformer.models.kmer_encoder",
    "KmerEncoderModel": "biomeformer.models.kmer_encoder",
    "KmerTokenizer": "biomeformer.models.kmer_encoder",
    "MetagenBertOutput": "biomeformer.models.metagenbert",
    "PreparationSettings": "biomeformer.sequences",
    "PreparedSequences": "biomeformer.sequences",
    "SampleEmbedding": "biomeformer.metagenomes",
    "SampleReads": "biomeformer.reads",
    "SequenceCnnConfig": "biomeformer.models.sequence_cnn",
    "SequenceCnnForSequenceClassification": "biomeformer.models.sequence_cnn",
    "convert_checkpoint": "biomeformer.checkpoints.conversion_dnabert2",
}
# Former packages and modules, with those that have their names now.
MODULES: dict[str, tuple[str, ...]] = {
    "biomeformer.clustering": ("biomeformer.metagenomes",),
    "biomeformer.dnabert2": ("biomeformer.models.dnabert2", "biomeformer.checkpoints.conversion_dnabert2"),
    "biomeformer.embedding": (
        "biomeformer.metagenomes",
        "biomeformer.inference.batching",
        "biomeformer.runs.run_folder",
        "biomeformer.runs.scheduler",
    ),
    "biomeformer.genome_transformer": ("biomeformer.models.genome_transformer", "biomeformer.pipelines.genome"),
    "biomeformer.kmer_encoder": ("biomeformer.models.kmer_encoder",),
    "biomeformer.loading": ("biomeformer.checkpoints.loading",),
    "biomeformer.metagenbert": ("biomeformer.models.metagenbert", "biomeformer.pipelines.metagenome"),
    "biomeformer.phenotypes.metrics": ("biomeformer.metrics",),
    "biomeformer.phenotypes.telling": ("biomeformer.phenotypes.discriminative",),
    "biomeformer.pretraining": ("biomeformer.training.objectives",),
    "biomeformer.reports.html": ("biomeformer.reports.cohort",),
    "biomeformer.sequence_cnn": ("biomeformer.models.sequence_cnn",),
    "biomeformer.sequences.nucleotides": ("biomeformer.io.nucleotides",),
}


def moved_name(name: str, stacklevel: int = 3) -> Any:
    """Return the object of a former name of the root, with a warning that names its new module."""
    home = NAMES[name]
    warnings.warn(
        f"biomeformer.{name} has moved: import it from {home}. The old name goes with the next version.",
        DeprecationWarning,
        stacklevel=stacklevel,
    )
    return getattr(import_module(home), name)


def package_getattr(package: str, homes: dict[str, str], lazy_getattr: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package some of whose public names have moved to others.

    Args:
        package: Name of the package.
        homes: The package that each moved name is in now.
        lazy_getattr: The package's own `__getattr__`, for all other names.
    """

    def look_up(name: str) -> Any:
        if name not in homes:
            return lazy_getattr(name)
        warnings.warn(
            f"{package}.{name} has moved: import it from {homes[name]}. The old name goes with the next version.",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(import_module(homes[name]), name)

    return look_up


def renamed(old: str, new: str) -> Any:
    """Return a property that reads a renamed attribute by its old name, with a warning."""

    def get(instance: Any) -> Any:
        warnings.warn(
            f"{type(instance).__name__}.{old} is now called {new}. The old name goes with the next version.",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(instance, new)

    return property(get, doc=f"Deprecated: the old name of `{new}`.")


class MovedModules(MetaPathFinder, Loader):
    """Import hook for modules that have moved: the old module looks its names up in the new ones."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for old module names only."""
        return ModuleSpec(fullname, self) if fullname in MODULES else None

    def exec_module(self, module: ModuleType) -> None:
        """Make the old module look its names up in the new ones, with a warning."""
        homes = MODULES[module.__name__]
        warnings.warn(
            f"{module.__name__} has moved: import from {' or '.join(homes)}. The old name goes with the next version.",
            DeprecationWarning,
            stacklevel=2,
        )

        def look_up(name: str) -> Any:
            for home in homes:
                new_module = import_module(home)
                if not name.startswith("__") and hasattr(new_module, name):
                    return getattr(new_module, name)
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        module.__dict__["__getattr__"] = look_up


def install() -> None:
    """Install the import hook of moved modules; a second call does nothing."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())


__all__ = ["MODULES", "NAMES", "MovedModules", "install", "moved_name", "package_getattr", "renamed"]

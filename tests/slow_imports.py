"""What takes seconds to import, for processes that load it once and fork others."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterable

# They do not look at the environment of the Hub's clients.
LIBRARIES = """torch torch._dynamo numpy pandas pyarrow.dataset pyarrow.parquet scipy.stats sklearn.linear_model
    sklearn.ensemble sklearn.model_selection tokenizers safetensors.torch faiss httpx2 fsspec yaml aiohttp dill regex
    tqdm.auto pytest typer rich.console dnaio pyrodigal Bio.SeqIO isal.igzip networkx multiprocess xxhash
    matplotlib.figure""".split()
# They do, when they are imported.
CLIENTS = """huggingface_hub transformers transformers.pipelines transformers.models.bert.modeling_bert
    transformers.models.esm.modeling_esm transformers.models.esm.tokenization_esm datasets accelerate biomeformer
    biomeformer.cli.app biomeformer.attribution.network biomeformer.genomes.embedding biomeformer.genomes.prediction
    biomeformer.hub.publishing biomeformer.metagenomes.centroids biomeformer.metagenomes.cohort
    biomeformer.phenotypes.checkpoint biomeformer.phenotypes.study biomeformer.phenotypes.trained_folds
    biomeformer.reports.phenotype_figures biomeformer.reports.sequence_report biomeformer.sequences.classifier
    biomeformer.sequences.prepare biomeformer.sequences.training_data biomeformer.training.command
    biomeformer.training.objectives.modules biomeformer.training.objectives.reads biomeformer.training.search""".split()


def preload(names: Iterable[str], forbidden: Iterable[str] = ()) -> None:
    """Import modules; what is not installed is left out.

    Raises:
        RuntimeError: One of them imports a `forbidden` module.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if str(error.name).startswith("biomeformer"):
                raise RuntimeError(f"{name} is preloaded and does not exist") from error
            continue
        if early := [module for module in forbidden if module in sys.modules]:
            raise RuntimeError(f"{name} imports {early[0]}, which must not be loaded before a job sets its environment")


def freeze() -> None:
    """Keep the garbage collector from what is loaded: visiting it would copy its pages in each process forked."""
    gc.collect()
    gc.freeze()

"""Load a checkpoint by the class its config names. Publishing runs this in a fresh process.

python -m biomeformer.hub.load_check FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch


def load_check(folder: str) -> None:
    """Check that a checkpoint loads with every weight used and none missing.

    Raises:
        CheckpointError: It does not load, or has weights that loading tolerates but publishing does not.
        InputError: No card type covers its class.
    """
    from ..checkpoints.loader import load_from, load_tokenizer
    from ..checkpoints.source import open_checkpoint
    from ..errors import CheckpointError
    from ..genomes.proteins import PROTEIN_ENCODER, load_protein_encoder
    from ..metagenomes.cluster_descriptions import descriptions_of
    from ..models.metagenbert import MetagenBertModel
    from ..phenotypes.predictor import MODEL_TYPE as PREDICTOR
    from ..phenotypes.predictor import PhenotypePredictor
    from ..registration import MODELS, ClassReference
    from .card_types import card_type_of

    source = open_checkpoint(folder, local_files_only=True)
    class_name = (source.config.get("architectures") or [""])[0]
    card_type_of(class_name, folder)
    if source.model_type == PREDICTOR:
        PhenotypePredictor.from_source(source)
        return
    paths = {path.rpartition(".")[2]: path for classes in MODELS.values() for path in classes.values()}
    cls: Any = ClassReference(paths[class_name]).load()
    model, info = load_from(source, cls, dtype=torch.float32, output_loading_info=True)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        # Loading tolerates, for example, the weights of another head; a published checkpoint must not have them.
        if keys := sorted(info[problem]):
            raise CheckpointError(f"{folder}: {len(keys)} weights are {problem.split('_')[0]}, such as {keys[0]}.")
    if cls.processor_class is None:
        load_tokenizer(source)
    elif model.processor is None:
        raise CheckpointError(f"{folder} has no processor_config.json, the preprocessing config.")
    if isinstance(model, MetagenBertModel) and (remark := descriptions_of(model)[1]) is not None:
        raise CheckpointError(f"{remark}, or remove the file.")
    if (Path(folder) / PROTEIN_ENCODER).is_dir():
        load_protein_encoder(Path(folder) / PROTEIN_ENCODER, local_files_only=True)


def main() -> int:
    """Check the folder given on the command line, and return the exit code."""
    from ..errors import BiomeformerError

    try:
        load_check(sys.argv[1])
    except BiomeformerError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

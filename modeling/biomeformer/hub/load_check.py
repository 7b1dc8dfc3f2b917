"""Loads a checkpoint by the class its config names: run in a process of its own before anything is published.

python -m biomeformer.hub.load_check FOLDER
"""

from __future__ import annotations

import sys
from typing import Any

import torch


def load_check(folder: str) -> None:
    """See that a checkpoint loads whole.

    Raises:
        CheckpointError: It does not load, lacks weights, or holds a number that is not finite.
        InputError: There are no cards of its class.
    """
    import biomeformer

    from ..errors import CheckpointError
    from ..loading import MODEL_ERRORS, check_weights, load_tokenizer, one_sentence
    from .folder import CheckpointFolder
    from .kinds import kind_of

    checkpoint = CheckpointFolder(folder)
    kind_of(checkpoint.class_name, folder)
    check_weights(folder)
    cls: Any = getattr(biomeformer, checkpoint.class_name)
    try:
        model, info = cls.from_pretrained(
            folder, output_loading_info=True, use_safetensors=True, dtype=torch.float32, local_files_only=True
        )
        if not hasattr(model, "processor"):
            load_tokenizer(folder)
    except MODEL_ERRORS as error:
        raise CheckpointError(one_sentence(folder, error)) from error
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[what]:
            raise CheckpointError(
                f"{folder}: {len(info[what])} weights are {what.split('_')[0]}, such as {sorted(info[what])[0]}."
            )
    if getattr(model, "processor", True) is None:
        raise CheckpointError(f"{folder} has no processor_config.json, the preprocessing contract.")
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{folder}: {name} holds NaN or infinity.")


def main() -> int:
    """Check the folder given; gives the exit code."""
    from ..errors import BiomeformerError

    try:
        load_check(sys.argv[1])
    except BiomeformerError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

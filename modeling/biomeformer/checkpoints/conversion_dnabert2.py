"""Convert published DNABERT-2 checkpoints (`pytorch_model.bin`) to safetensors, without running any pickled code."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors.torch import save_file

from ..io.atomic import atomic_directory, is_new_or_empty
from ..models.dnabert2.configuration_dnabert2 import DnaBert2Config

WEIGHTS = "pytorch_model.bin"
SIDE_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "generation_config.json",
    "README.md",
    "LICENSE",
)


def convert_checkpoint(source: str | Path, output: str | Path, *, revision: str | None = None) -> Path:
    """Convert a published checkpoint of the DNABERT-2 family to safetensors.

    Weights keep their names and values. The config is rewritten as one of this package, so that `AutoModel` recognises
    it. Tokenizer files and the licence are copied; remote code is not.

    Args:
        source: Folder or Hub id with `config.json` and `pytorch_model.bin`.
        output: Folder to write, new or empty. It is written atomically.
        revision: Branch, tag or commit of a Hub id.

    Returns:
        The folder.

    Raises:
        OSError: A file is missing, or `output` is not empty.
        ValueError: The config is not DNABERT-2's, or the weights cannot be read as plain tensors.
    """
    output = Path(output)
    if not is_new_or_empty(output):
        raise OSError(
            f"{output} exists and is not an empty folder; give a new one to write the converted checkpoint to."
        )
    folder = Path(source)
    if not folder.is_dir():
        if folder.exists() or str(source).count("/") != 1:
            raise OSError(f"{source} is neither a folder nor a Hub id of the form owner/name; give one of the two.")
        folder = Path(
            snapshot_download(str(source), revision=revision, allow_patterns=["config.json", WEIGHTS, *SIDE_FILES])
        )
    for name in ("config.json", WEIGHTS):
        if not (folder / name).is_file():
            raise OSError(f"{folder} has no {name}; convert takes a folder laid out like zhihan1996/DNABERT-2-117M.")
    try:
        published = json.loads((folder / "config.json").read_text())
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'} is not JSON ({error}); fetch the checkpoint again.") from error
    config = DnaBert2Config.from_dict(published)
    try:
        state = torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(
            f"{folder / WEIGHTS} cannot be read as plain tensors: it is damaged, a pointer to the file, or holds code, "
            "which is never run; fetch the checkpoint again."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(
            f"{folder / WEIGHTS} is not a state dict of tensors; give the model's weights, not a training state."
        )
    # Published configs do not say whether there is a pooler: DNABERT-S has one, DNABERT-2 has not.
    config.add_pooling_layer = any("pooler." in key for key in state)
    with atomic_directory(output) as partial:
        # Tied weights share memory, which safetensors refuses.
        tensors = {key: value.clone().contiguous() for key, value in state.items()}
        save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(partial)
        for name in SIDE_FILES:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, partial / name)
    return output


__all__ = ["convert_checkpoint"]

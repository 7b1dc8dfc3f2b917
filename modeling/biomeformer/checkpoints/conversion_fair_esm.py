"""Convert ESM-2 checkpoints of fair-esm (`.pt`) to the layout of transformers."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import torch
from transformers import EsmForMaskedLM

from ..errors import CheckpointError, reason_of
from ..io.atomic import atomic_directory, is_new_or_empty
from .esm2 import VOCAB_SIZE, esm_config, esm_tokenizer

# Names of weights in fair-esm (esm/model/esm2.py) and in transformers' EsmForMaskedLM.
TRANSFORMERS_NAMES = {
    r"embed_tokens\.weight": "esm.embeddings.word_embeddings.weight",
    r"layers\.(\d+)\.self_attn\.q_proj\.(.*)": r"esm.encoder.layer.\1.attention.self.query.\2",
    r"layers\.(\d+)\.self_attn\.k_proj\.(.*)": r"esm.encoder.layer.\1.attention.self.key.\2",
    r"layers\.(\d+)\.self_attn\.v_proj\.(.*)": r"esm.encoder.layer.\1.attention.self.value.\2",
    r"layers\.(\d+)\.self_attn\.out_proj\.(.*)": r"esm.encoder.layer.\1.attention.output.dense.\2",
    r"layers\.(\d+)\.self_attn_layer_norm\.(.*)": r"esm.encoder.layer.\1.attention.LayerNorm.\2",
    r"layers\.(\d+)\.fc1\.(.*)": r"esm.encoder.layer.\1.intermediate.dense.\2",
    r"layers\.(\d+)\.fc2\.(.*)": r"esm.encoder.layer.\1.output.dense.\2",
    r"layers\.(\d+)\.final_layer_norm\.(.*)": r"esm.encoder.layer.\1.LayerNorm.\2",
    r"emb_layer_norm_after\.(.*)": r"esm.encoder.emb_layer_norm_after.\1",
    r"contact_head\.regression\.(.*)": r"esm.contact_head.regression.\1",
    r"lm_head\.dense\.(.*)": r"lm_head.dense.\1",
    r"lm_head\.layer_norm\.(.*)": r"lm_head.layer_norm.\1",
    r"lm_head\.weight": "lm_head.decoder.weight",
    r"lm_head\.bias": "lm_head.bias",
}
# Constants that transformers computes, not weights.
IGNORED = re.compile(r"layers\.\d+\.self_attn\.rot_emb\.inv_freq")


def convert_fair_esm(source: str | Path, output: str | Path) -> Path:
    """Convert an ESM-2 checkpoint of fair-esm to a folder of transformers with safetensors and a tokenizer.

    The pickle is read as plain tensors and an `argparse.Namespace`; no code in it is run. The contact head, which
    fair-esm stores in a second file next to it (`-contact-regression.pt`), is included if that file exists.

    Args:
        source: Path of the `.pt` file.
        output: Folder to write, new or empty. It is written atomically.

    Returns:
        The folder.

    Raises:
        CheckpointError: The file is not an ESM-2 of fair-esm, or the folder is not empty.
    """
    source, output = Path(source), Path(output)
    if not is_new_or_empty(output):
        raise CheckpointError(f"{output} is not an empty folder; give a new one.")
    content = _load(source)
    # The arguments of training are `args`, or in newer files `cfg`, whose `model` is a namespace or a dictionary.
    arguments = content.get("cfg", content.get("args"))
    arguments = getattr(arguments, "model", arguments) if not isinstance(arguments, dict) else arguments["model"]
    weights = {_fair_name(name): value for name, value in content.get("model", {}).items()}
    regression = source.with_name(f"{source.stem}-contact-regression.pt")
    if regression.is_file():
        weights |= _load(regression)["model"]
    layers = {int(name.split(".")[1]) for name in weights if name.startswith("layers.")}
    if "embed_tokens.weight" not in weights or not layers:
        raise CheckpointError(f"{source} holds no ESM-2 of fair-esm; give a file such as esm2_t6_8M_UR50D.pt.")
    n_heads = _field(arguments, "encoder_attention_heads", "attention_heads")
    vocab_size, hidden_size = weights["embed_tokens.weight"].shape
    if n_heads is None or vocab_size != VOCAB_SIZE:
        raise CheckpointError(
            f"{source} is no ESM-2 (vocabulary of {vocab_size}, {n_heads} attention heads); older ones are not read."
        )
    config = esm_config(
        hidden_size=hidden_size,
        num_hidden_layers=len(layers),
        num_attention_heads=int(n_heads),
        intermediate_size=int(weights["layers.0.fc1.weight"].shape[0]),
        token_dropout=bool(_field(arguments, "token_dropout") if arguments is not None else True),
    )
    model = EsmForMaskedLM(config)
    state = {_transformers_name(source, name): value for name, value in weights.items() if not IGNORED.fullmatch(name)}
    missing, unexpected = model.load_state_dict(state, strict=False)
    # The contact head is optional; positions are computed.
    missing = [
        name for name in missing if "contact_head" not in name and "position" not in name and "rotary" not in name
    ]
    if missing or unexpected:
        raise CheckpointError(f"{source}: weights do not fit an ESM-2 (such as {(missing + unexpected)[0]}).")
    with atomic_directory(output) as partial:
        model.save_pretrained(partial, save_original_format=False)
        esm_tokenizer(partial).save_pretrained(partial)
    return output


def _load(path: Path) -> dict[str, Any]:
    """Read a checkpoint of fair-esm without running code in it.

    Raises:
        CheckpointError: The file cannot be read, or holds something else.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file; check the path.") from None
    except Exception as error:
        reason = reason_of(error, 200)
        raise CheckpointError(f"{path} cannot be read as a fair-esm checkpoint ({reason}).") from error
    if not isinstance(content, dict) or "model" not in content:
        raise CheckpointError(f"{path} holds no fair-esm checkpoint (no 'model' in it).")
    return content


def _field(arguments: Any, *names: str) -> Any:
    """Return the first of the named arguments that has a value, or None."""
    for name in names:
        value = arguments.get(name) if isinstance(arguments, dict) else getattr(arguments, name, None)
        if value is not None:
            return value
    return None


def _fair_name(name: str) -> str:
    """Strip the prefixes that fair-esm's own loader strips (esm/pretrained.py)."""
    return re.sub(r"^(encoder\.)?(sentence_encoder\.)?", "", name)


def _transformers_name(source: Path, name: str) -> str:
    """Return a weight's name in transformers.

    Raises:
        CheckpointError: ESM-2 has no such weight.
    """
    for pattern, replacement in TRANSFORMERS_NAMES.items():
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    raise CheckpointError(f"{source}: the weight {name!r} is not one of ESM-2.")


__all__ = ["convert_fair_esm"]

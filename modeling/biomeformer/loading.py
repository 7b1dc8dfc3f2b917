"""Loading by name, folder or Hub id, with errors that say what to do."""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import cached_file, extract_commit_hash

from .checkpoints import checkpoint_name, resolve_checkpoint, shipped_checkpoints
from .checkpoints.integrity import refuse_unsafe_config, verify_weights
from .devices import resolve_device
from .dnabert2 import DnaBert2Model
from .dnabert2.configuration_dnabert2 import is_published_layout
from .errors import CheckpointError, InputError
from .genome_transformer import GenomeTransformerForSequenceClassification
from .metagenbert import MetagenBertForPhenotypeClassification, MetagenBertModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Of a read encoder only, and not of its weights as a whole.
FLOAT8 = "float8"
MODEL_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError)


def resolve_dtype(dtype: str) -> torch.dtype:
    """The type asked for.

    Raises:
        InputError: It is unknown.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is unknown; give {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def read_config(name: str, revision: str | None = None) -> dict[str, Any]:
    """A checkpoint's `config.json`, from a folder, the package, the Hub or its cache.

    Raises:
        CheckpointError: There is none, or it is not JSON.
    """
    path = Path(resolve_checkpoint(name))
    if path.is_dir():
        file: str | Path | None = path / "config.json"
        if not (path / "config.json").is_file():
            raise CheckpointError(
                f"{path} has no config.json, so it is not a checkpoint; give the folder that holds one."
            )
    elif path.exists():
        raise CheckpointError(f"{path} is a file; give the checkpoint's folder.")
    elif "/" not in name and get_close_matches(name, shipped_checkpoints(), n=1, cutoff=0.8):
        # A slip of the keyboard: the Hub need not be asked.
        raise CheckpointError(_not_found(name))
    else:
        try:
            file = cached_file(name, "config.json", revision=revision)
        except (OSError, ValueError) as error:
            raise CheckpointError(_not_found(name, error)) from error
    assert file is not None
    try:
        config = json.loads(Path(file).read_text())
    except ValueError as error:
        raise CheckpointError(f"{file} is not valid JSON ({error}); fetch the checkpoint again.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{file} is not a config: it holds no JSON object; fetch the checkpoint again.")
    refuse_unsafe_config(config, f"{name}: config.json")
    return config


def pinned(name: str, revision: str | None) -> str | None:
    """The commit that a revision of a Hub id is now, so that all files are of one; of a folder the revision itself."""
    if Path(resolve_checkpoint(name)).is_dir():
        return revision
    try:
        return extract_commit_hash(cached_file(name, "config.json", revision=revision), None) or revision
    except (OSError, ValueError):
        return revision


def check_weights(name: str) -> None:
    """See that a folder has weights, and that they are whole safetensors files.

    Raises:
        CheckpointError: They are missing, pickled or damaged.
    """
    folder = Path(resolve_checkpoint(name))
    if not folder.is_dir():
        return
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
        if pickles:
            raise CheckpointError(
                f"{folder} holds its weights as a pickle ({pickles[0]}), which is never loaded, and no safetensors; "
                f"convert a DNABERT-2 checkpoint once with: biomeformer convert {folder} {folder}-safetensors"
            )
        raise CheckpointError(f"{folder} has no model.safetensors, so it has no weights; fetch the checkpoint again.")
    for file in files:
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"{file} is damaged or no safetensors file ({reason}); fetch the checkpoint again."
            ) from error


def _not_found(name: str, error: Exception | None = None) -> str:
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        return f"{name}: no such folder; give a checkpoint's folder, a shipped name or a Hub id."
    close = get_close_matches(name, shipped_checkpoints(), n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    hub = "" if error is None else f", and the Hub gave none ({type(error).__name__})"
    shipped = ", ".join(shipped_checkpoints())
    return (
        f"No checkpoint {name!r}: it is no folder and none of the shipped ones ({shipped}){hub}; "
        f"{hint}check the name, or the network."
    )


def load(
    name: str | Path, *, revision: str | None = None, device: str = "cpu", dtype: str = "float32"
) -> MetagenBertModel:
    """Load a MetagenBERT checkpoint with its processor.

    Args:
        name: A shipped checkpoint (`metagenbert-mini`), a folder, or a Hub id.
        revision: Branch, tag or commit of a Hub id.
        device: `cpu`, `cuda`, `cuda:N`, `mps`, or `auto`: a CUDA device if there is one, else the CPU.
        dtype: `float32`, `bfloat16` or `float16`, of the read encoder; centroids and distances stay float32. Or
            `float8`: `bfloat16` with products in float8, on GPUs that have it.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: It cannot be found, or is damaged or inconsistent.
        InputError: Device or dtype is unknown or absent.
    """
    name = str(name)
    target, torch_dtype = resolve_device(device), resolve_dtype("bfloat16" if dtype == FLOAT8 else dtype)
    config = read_config(name, revision)
    if config.get("model_type") != "metagenbert":
        advice = (
            "genomes are its input: `biomeformer genome predict`, or GenomeTransformerForSequenceClassification."
            if config.get("model_type") == "genome_transformer"
            else "a read encoder gets its centroids with `biomeformer fit-centroids COHORT.csv --read-encoder`."
        )
        raise CheckpointError(
            f"{name} is a checkpoint of model_type {config.get('model_type')!r}, not metagenbert; {advice}"
        )
    model: MetagenBertModel = _from_checkpoint(MetagenBertModel, name, revision, torch_dtype)
    # Where the encoder came from, for the record of what is made with it.
    model.encoder.name_or_path = checkpoint_name(model.name_or_path)
    model.encoder.config._commit_hash = getattr(model.config, "_commit_hash", None)
    model.to(target).eval()
    if dtype == FLOAT8:
        # Not above: it brings pandas, which loading has no other use for.
        from .embedding.float8 import use_float8

        use_float8(model)
    return model


def origin(model: PreTrainedModel) -> dict[str, Any]:
    """Where a loaded model came from, for the record of what is made from it.

    Args:
        model: Loaded by this module, or by `from_pretrained`.

    Returns:
        `id`: a shipped name, a Hub id, or a folder, empty of a new model; and `revision`: the commit of a Hub id.
    """
    return {"id": checkpoint_name(model.name_or_path), "revision": getattr(model.config, "_commit_hash", None)}


def _from_checkpoint(cls: Any, name: str, revision: str | None, dtype: torch.dtype) -> Any:
    """A model of ours, with errors that say what to do."""
    check_weights(name)
    try:
        return cls.from_pretrained(name, revision=revision, dtype=dtype)
    except MODEL_ERRORS as error:
        raise CheckpointError(one_sentence(name, error)) from error


def load_phenotype_model(
    name: str | Path, *, revision: str | None = None, device: str = "cpu", dtype: str = "float32"
) -> MetagenBertForPhenotypeClassification:
    """Load a MetagenBERT checkpoint with a phenotype's head.

    Args:
        name: A folder or a Hub id.
        revision: Branch, tag or commit of a Hub id.
        device: As for `load`.
        dtype: As for `load`.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: It cannot be found, is damaged, or has no such head.
        InputError: Device or dtype is unknown or absent.
    """
    name = str(name)
    target, torch_dtype = resolve_device(device), resolve_dtype(dtype)
    config = read_config(name, revision)
    if "MetagenBertForPhenotypeClassification" not in (config.get("architectures") or ()):
        raise CheckpointError(
            f"{name} holds no head for a phenotype; make one with `biomeformer phenotype train TABLE --model {name}`."
        )
    cls = MetagenBertForPhenotypeClassification
    model: MetagenBertForPhenotypeClassification = _from_checkpoint(cls, name, revision, torch_dtype)
    return model.to(target).eval()


def load_genome_model(
    name: str | Path, *, revision: str | None = None, device: str = "cpu", dtype: str = "float32"
) -> GenomeTransformerForSequenceClassification:
    """Load a genome transformer with its classifier and processor.

    Args:
        name: A shipped checkpoint, a folder, or a Hub id.
        revision: Branch, tag or commit of a Hub id.
        device: As for `load`.
        dtype: As for `load`.

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: It cannot be found, is damaged, or is no such model.
        InputError: Device or dtype is unknown or absent.
    """
    name = str(name)
    target, torch_dtype = resolve_device(device), resolve_dtype(dtype)
    config = read_config(name, revision)
    if config.get("model_type") != "genome_transformer":
        raise CheckpointError(
            f"{name} is a checkpoint of model_type {config.get('model_type')!r}, not genome_transformer; give one that "
            "was trained on genomes."
        )
    cls = GenomeTransformerForSequenceClassification
    model: GenomeTransformerForSequenceClassification = _from_checkpoint(cls, name, revision, torch_dtype)
    return model.to(target).eval()


def load_read_encoder(
    name: str | Path, *, revision: str | None = None, device: str = "cpu", dtype: str = "float32"
) -> tuple[PreTrainedModel, Any]:
    """Load a read encoder and its tokenizer: ours, a published DNABERT-2, or any transformers encoder.

    Args:
        name: A folder or a Hub id; of a MetagenBERT checkpoint, shipped ones too, its encoder is taken.
        revision: Branch, tag or commit of a Hub id.
        device: As for `load`.
        dtype: As for `load`.

    Returns:
        Encoder in evaluation mode, and tokenizer.

    Raises:
        CheckpointError: It cannot be found, or is damaged or inconsistent.
        InputError: Device or dtype is unknown or absent.
    """
    name = str(name)
    target, torch_dtype = resolve_device(device), resolve_dtype(dtype)
    config = read_config(name, revision)
    if config.get("model_type") == "metagenbert":
        model = load(name, revision=revision, device=device, dtype=dtype)
        assert model.processor is not None
        return model.encoder, model.processor.tokenizer
    check_weights(name)
    revision = pinned(name, revision)
    verify_weights(name, revision=revision)
    try:
        cls = DnaBert2Model if config.get("model_type") == "dnabert2" or is_published_layout(config) else AutoModel
        encoder, info = cls.from_pretrained(
            name,
            revision=revision,
            dtype=torch_dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except MODEL_ERRORS as error:
        raise CheckpointError(one_sentence(name, error)) from error
    # A masked-language-model checkpoint has no pooler, and reads are not pooled by one.
    missing = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise CheckpointError(
            f"{name}: {len(missing)} weights of the encoder are missing (such as {missing[0]}); check that config and "
            "weights come from one checkpoint."
        )
    try:
        tokenizer = load_tokenizer(name, revision)
    except MODEL_ERRORS as error:
        raise CheckpointError(
            f"{name}: its tokenizer cannot be loaded ({type(error).__name__}); the folder must hold tokenizer.json, or "
            "a tokenizer_config.json that names a class transformers knows."
        ) from error
    if not hasattr(encoder.config, "hidden_size"):
        raise CheckpointError(f"{name}: a {config.get('model_type')} model has no hidden_size; give an encoder.")
    encoder.config._commit_hash = None if Path(name).is_dir() else revision
    return encoder.to(target).eval(), tokenizer


def load_tokenizer(name: str, revision: str | None = None) -> Any:
    """A checkpoint's tokenizer, also where the folder has no more than `tokenizer.json`."""
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    except MODEL_ERRORS:
        # A tokenizer.json without the config that says which class it is: DNABERT-2's, for one.
        file = cached_file(name, "tokenizer.json", revision=revision)
        return PreTrainedTokenizerFast(
            tokenizer_file=file,
            unk_token="[UNK]",
            cls_token="[CLS]",
            sep_token="[SEP]",
            pad_token="[PAD]",
            mask_token="[MASK]",
        )


def one_sentence(name: str, error: Exception) -> str:
    """A library's error on one line, with the checkpoint's name in it."""
    if "tokenizer" in str(error) and "instantiate" in str(error):
        return f"{name}: its tokenizer is missing or damaged (tokenizer.json); fetch the checkpoint again."
    if "use_safetensors" in str(error):
        return (
            f"{name} has no weights as safetensors, and a pickle is never loaded; ask its makers for them, or convert "
            f"a DNABERT-2 checkpoint once with: biomeformer convert {name} FOLDER"
        )
    text = " ".join(str(error).split()) or type(error).__name__
    return text if name in text else f"{name}: {text}"


__all__ = [
    "MODEL_ERRORS",
    "check_weights",
    "load",
    "load_genome_model",
    "load_phenotype_model",
    "load_read_encoder",
    "load_tokenizer",
    "one_sentence",
    "origin",
    "pinned",
    "read_config",
    "resolve_device",
    "resolve_dtype",
]

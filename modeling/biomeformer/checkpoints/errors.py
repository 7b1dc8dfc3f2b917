"""Error messages of checkpoints that cannot be loaded: one sentence each."""

from __future__ import annotations

from difflib import get_close_matches

from safetensors import SafetensorError

from ..errors import CheckpointError, CheckpointNotFoundError, reason_of
from . import shipped_checkpoints

# Exceptions of transformers, safetensors and huggingface_hub for checkpoints that are damaged, missing or inconsistent.
LOAD_ERRORS = (
    *(OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError),
    SafetensorError,
)
# What to use a model for, if it was given to something that reads another kind of input; by model type.
READ_BY = {
    "genome_transformer": 'genomes are its input: pipeline("genome-classification") or `biomeformer genome predict`',
    "metagenbert": 'reads are its input: pipeline("metagenome-embedding") or, with a head, "metagenome-classification"',
}
# Where to get a checkpoint of a model type, if one of another type was given.
TRAINED_BY = {
    "metagenbert": "a read encoder gets its centroids with `biomeformer fit-centroids COHORT.csv --read-encoder`",
    "genome_transformer": "give one that was trained on genomes",
    "dnabert2": "it has no DNABERT-2 auto_map or alibi_starting_size either, so it is not a DNABERT-2 checkpoint; load "
    "it with AutoModel instead",
    "esm": "give an ESM-2 of transformers, or turn one of fair-esm into it with `biomeformer convert`",
}


def is_load_error(error: Exception) -> bool:
    """Return whether libraries raise such an exception for a checkpoint; tokenizers raises `Exception` itself."""
    return isinstance(error, LOAD_ERRORS) or type(error) is Exception


def format_load_error(name: str, error: Exception) -> str:
    """Format an exception of a library as one sentence that contains the checkpoint's name."""
    if "tokenizer" in str(error) and "instantiate" in str(error):
        return f"{name}: its tokenizer is missing or damaged (tokenizer.json); fetch the checkpoint again."
    text = reason_of(error, None)
    if type(error) is Exception:
        return f"{name}: its tokenizer.json is damaged ({text}); fetch the checkpoint again."
    if isinstance(error, IndexError | ArithmeticError | AssertionError):
        reason = f"{type(error).__name__}: {text}"
        return f"{name}: its config or files do not fit each other ({reason}); fetch the checkpoint again."
    return text if name in text else f"{name}: {text}"


def wrong_model_type(name: str, stored: str | None, wanted: str) -> CheckpointError:
    """Return the error for a checkpoint of another model type.

    Args:
        name: Name of the checkpoint.
        stored: Its model type.
        wanted: The model type that was expected.

    Returns:
        The error; it names what reads such a checkpoint, or where to get the one wanted.
    """
    reader = READ_BY.get(stored or "") if wanted in READ_BY else None
    advice = reader or TRAINED_BY.get(wanted) or f"give a checkpoint of {wanted}"
    return CheckpointError(f"{name} is a checkpoint of model_type {stored!r}, not {wanted}; {advice}.")


def no_checkpoint(name: str, error: Exception | None = None) -> CheckpointNotFoundError:
    """Return the error for a name under which there is no checkpoint.

    Args:
        name: Name as the user gave it.
        error: Exception of the Hub's client; None if the Hub was not asked.
    """
    # Such a name can only be a path; others may be ids on the Hub.
    if name.startswith((".", "/", "~")) or name.count("/") > 2:
        return CheckpointNotFoundError(
            f"{name}: no such folder; give a checkpoint's folder, a shipped name or a Hub id."
        )
    close = get_close_matches(name, shipped_checkpoints(), n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    hub = "" if error is None else f", and the Hub and its cache gave no config.json for it ({type(error).__name__})"
    shipped = ", ".join(shipped_checkpoints())
    return CheckpointNotFoundError(
        f"No checkpoint {name!r}: it is no folder here and none of the shipped ones ({shipped}){hub}; {hint}check the "
        "name, or the network."
    )


__all__ = ["LOAD_ERRORS", "format_load_error", "is_load_error", "no_checkpoint", "wrong_model_type"]

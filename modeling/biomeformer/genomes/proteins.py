"""Proteins to vectors with ESM-2 (Lin et al. 2023, doi:10.1126/science.ade2574), through transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EsmModel

from ..checkpoints.errors import wrong_model_type
from ..checkpoints.esm2 import (
    ALPHABET,
    CLS,
    EOS,
    FIRST,
    MASK,
    MAX_RESIDUES,
    MORE_POSITIONS,
    PAD,
    UNK,
    VOCAB_SIZE,
    esm_config,
    esm_tokenizer,
)
from ..checkpoints.loader import load_from
from ..checkpoints.loading import resolve_device, resolve_dtype
from ..checkpoints.source import open_checkpoint
from ..errors import CheckpointError, InputError
from ..inference.batching import embed_batches
from ..inference.packed_esm import mean_residue_vectors
from ..inference.token_budget import TokenBudget
from ..models.metagenbert.modeling_metagenbert import hash_weights
from ..moved import renamed

# The folder of a genome model's checkpoint that holds its own protein encoder.
PROTEIN_ENCODER = "protein_encoder"
DEFAULT_BATCH_TOKENS = {"cpu": 1_024, "cuda": 65_536}


@dataclass(frozen=True)
class ProteinVectors:
    """Vectors of proteins.

    Attributes:
        vectors: float32 `(n_proteins, hidden_size)`, means over residues.
        n_truncated: Proteins that were longer than the limit.
    """

    vectors: np.ndarray
    n_truncated: int


@dataclass(frozen=True)
class ProteinEncoder:
    """ESM-2, and how a protein becomes one vector.

    Attributes:
        model: The encoder, without a head.
        name: Where it came from.
        max_residues: Longer proteins lose their end. As many as the encoder was trained on by default, which is what
            its config's `max_position_embeddings` less four says (1,022 for the published ones).
        weights_sha256: SHA-256 over names, shapes, types and values of the weights that decide vectors, as the
            checkpoint holds them; those of `model` by default.
    """

    model: EsmModel
    name: str
    max_residues: int = 0
    weights_sha256: str = ""

    def __post_init__(self) -> None:
        if not self.max_residues:
            object.__setattr__(self, "max_residues", int(self.model.config.max_position_embeddings) - MORE_POSITIONS)
        if not self.weights_sha256:
            object.__setattr__(self, "weights_sha256", hash_of(self.model))

    @property
    def hidden_size(self) -> int:
        """Width of a protein's vector."""
        return int(self.model.config.hidden_size)

    contract = renamed("contract", "preprocessing")

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Everything beside the sequence that decides a protein's vector."""
        return {
            "weights_sha256": self.weights_sha256,
            "hidden_size": self.hidden_size,
            "max_residues": self.max_residues,
            "pooling": "mean over residues",
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }

    def embed(
        self,
        proteins: Sequence[str],
        *,
        batch_tokens: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        check: Callable[[], None] | None = None,
    ) -> ProteinVectors:
        """Vectors of proteins: means over the residues' last hidden states, CLS, EOS and padding left out.

        Proteins are run in order of their length, end to end, so that nothing is padded; a vector does not depend on
        its batch beyond rounding. Where the device's memory does not suffice for a batch, it is halved, with a warning.

        Args:
            proteins: Capital letters of ESM-2's alphabet.
            batch_tokens: Token budget of one pass through the encoder.
            progress: Called after each batch with residues done and in all.
            check: Called after each batch; what it raises ends the work.

        Raises:
            InputError: A protein is empty, or a letter is not in the alphabet.
            RunError: A single protein does not fit into the device's memory.
        """
        if batch_tokens is not None and batch_tokens < 1:
            raise InputError(f"batch_tokens is {batch_tokens}; it must be at least 1 token.")
        device = self.model.device
        cut = [protein[: self.max_residues] for protein in proteins]
        n_truncated = sum(len(protein) > self.max_residues for protein in proteins)
        packed = pack_proteins(cut)
        budget = TokenBudget(
            self.model,
            batch_tokens or DEFAULT_BATCH_TOKENS["cpu" if device.type == "cpu" else "cuda"],
            what="protein",
            advice="give a lower max_residues",
        )
        vectors = np.empty((len(cut), self.hidden_size), np.float32)
        n_done, n_all = 0, int(packed.lengths.sum()) - 2 * len(cut)
        with closing(embed_batches(partial(mean_residue_vectors, self.model), packed, budget, device)) as batches:
            for values, rows in batches:
                vectors[rows] = values
                n_done += int(packed.lengths[rows].sum()) - 2 * len(rows)
                if progress is not None:
                    progress(n_done, n_all)
                if check is not None:
                    check()
        return ProteinVectors(vectors, n_truncated)


def hash_of(model: EsmModel) -> str:
    """SHA-256 of the weights that decide vectors."""
    ignored = ("pooler.", "contact_head.")
    return hash_weights({name: value for name, value in model.state_dict().items() if not name.startswith(ignored)})


@dataclass(frozen=True)
class PackedProteins:
    """Tokens of proteins as ESM-2's tokenizer gives them, end to end.

    Attributes:
        input_ids: int64 `(n_tokens,)`.
        lengths: int64 `(n_proteins,)`, tokens of each, CLS and EOS included.
    """

    input_ids: np.ndarray
    lengths: np.ndarray


def pack_proteins(proteins: Sequence[str]) -> PackedProteins:
    """Token ids of proteins.

    Raises:
        InputError: A protein is empty, or a letter is not in the alphabet.
    """
    table = np.full(256, -1, np.int64)
    table[np.frombuffer(ALPHABET.encode(), np.uint8)] = np.arange(FIRST, FIRST + len(ALPHABET))
    lengths = np.array([len(protein) for protein in proteins], np.int64)
    if not lengths.all():
        raise InputError(f"protein {int(lengths.argmin())} is empty; leave it out.")
    found = table[np.frombuffer("".join(proteins).encode("latin-1", "replace"), np.uint8)]
    if (found < 0).any():
        ends = np.cumsum(lengths)
        place = int((found < 0).argmax())
        row = int(np.searchsorted(ends, place, side="right"))
        letter = proteins[row][place - int(ends[row] - lengths[row])]
        raise InputError(f"protein {row} has the letter {letter!r}, which ESM-2 does not know; write X.")
    ends = np.cumsum(lengths + 2)
    input_ids = np.empty(int(lengths.sum()) + 2 * len(lengths), np.int64)
    is_residue = np.ones(len(input_ids), bool)
    is_residue[ends - 1] = is_residue[ends - lengths - 2] = False
    input_ids[ends - lengths - 2], input_ids[ends - 1] = CLS, EOS
    input_ids[is_residue] = found
    return PackedProteins(input_ids, lengths + 2)


def pad_proteins(packed: PackedProteins) -> np.ndarray:
    """Tokens padded on the right: int64 `(n_proteins, longest)`."""
    ids = np.full((len(packed.lengths), int(packed.lengths.max())), PAD, np.int64)
    ids[np.arange(ids.shape[1]) < packed.lengths[:, None]] = packed.input_ids
    return ids


def in_precision(model: EsmModel, dtype: torch.dtype, device: torch.device | None = None) -> EsmModel:
    """The model itself in another precision, but for the frequencies of its rotary positions.

    Rounded to bfloat16 these would be off by whole turns within a long protein.
    """
    exact = None if model.rotary_embeddings is None else model.rotary_embeddings.inv_freq
    model.to(device=device or model.device, dtype=dtype)
    if exact is not None:
        model.rotary_embeddings.inv_freq = exact.to(model.device)
    return model


def load_protein_encoder(
    name: str | Path,
    *,
    revision: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    **hub_options: Any,
) -> ProteinEncoder:
    """Load ESM-2 of any size: a folder, or a Hub id such as `facebook/esm2_t36_3B_UR50D` (the paper's).

    Args:
        name: Folder, Hub id, or folder of a Hub repository (`lab/model/protein_encoder`); of a genome model, also of a
            shipped one, the protein encoder in its checkpoint is taken.
        revision: Branch, tag or commit of a Hub id.
        device: `cpu`, `cuda`, `cuda:N`, `mps`, or `auto`: a CUDA device if there is one, else the CPU.
        dtype: `float32`, `bfloat16` or `float16`.
        **hub_options: `cache_dir`, `local_files_only` and `token`.

    Raises:
        CheckpointError: It cannot be found, is damaged, or is no ESM-2.
        InputError: Device or dtype is unknown or absent.
    """
    target, torch_dtype = resolve_device(device), resolve_dtype(dtype)
    repository, subfolder = _split(str(name))
    source = open_checkpoint(name, repository, revision=revision, subfolder=subfolder, **hub_options)
    if source.model_type == "genome_transformer" and not subfolder:
        if source.folder is not None and not (source.folder / PROTEIN_ENCODER).is_dir():
            raise CheckpointError(
                f"{name} is a genome model without a protein encoder of its own; give the one that its "
                "processor_config.json names."
            )
        source = source.part(PROTEIN_ENCODER)
    if source.model_type != "esm":
        raise wrong_model_type(source.name, source.model_type, "esm")
    model = load_from(source, EsmModel, dtype="auto", add_pooling_layer=False)
    # The name by which it can be loaded again.
    where = source.folder
    name = source.name if where is None else str(where)
    if model.config.max_position_embeddings <= MORE_POSITIONS:
        raise CheckpointError(
            f"{name}: its config's max_position_embeddings is {model.config.max_position_embeddings}, which leaves no "
            "residue; ESM-2's is 1026."
        )
    if model.config.vocab_size != VOCAB_SIZE or model.config.pad_token_id != PAD:
        raise CheckpointError(f"{name}: its vocabulary is not ESM-2's of 33 tokens; give an ESM-2.")
    digest = hash_of(model)
    return ProteinEncoder(in_precision(model, torch_dtype, target).eval(), name, weights_sha256=digest)


def _split(name: str) -> tuple[str, str]:
    """A folder or Hub id, and the folder within that a name of three parts means."""
    if name.count("/") != 2 or name.startswith((".", "/", "~")) or Path(name).exists():
        return name, ""
    repository, subfolder = name.rsplit("/", 1)
    return repository, subfolder


__all__ = [
    "ALPHABET",
    "CLS",
    "EOS",
    "FIRST",
    "MASK",
    "MAX_RESIDUES",
    "PAD",
    "PROTEIN_ENCODER",
    "UNK",
    "VOCAB_SIZE",
    "PackedProteins",
    "ProteinEncoder",
    "ProteinVectors",
    "esm_config",
    "esm_tokenizer",
    "in_precision",
    "load_protein_encoder",
    "pack_proteins",
    "pad_proteins",
]

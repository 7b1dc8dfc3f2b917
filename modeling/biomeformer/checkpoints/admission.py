"""Admission of read encoders: before a cohort is read, an encoder and its tokenizer must show that they embed DNA.

Any model of transformers whose output has a hidden state per token can embed reads, but not with any tokenizer, nor
reads of any length. What does not fit would otherwise show as vectors without information (a tokenizer that knows none
of the words gives each read the same tokens), or as an error in the middle of a cohort. So loading tokenises a probe of
random reads, embeds some, and finds the largest number of tokens that the encoder takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from ..errors import CheckpointError, InputError, reason_of
from ..models.metagenbert import MetagenBertProcessor
from ..models.metagenbert.modeling_metagenbert import token_vectors
from ..models.metagenbert.translation import translate_longest_frame
from .errors import is_load_error

N_PROBES = 24
PROBE_BASES = (60, 300)
# Reads of the probe that are embedded, and their tokens at most: of a large encoder on a CPU a second's work.
N_EMBEDDED, EMBEDDED_TOKENS = 2, 32
# If a tokenizer knows less of the letters of reads, or of the tokens that it makes of them, vectors say little of them.
LEAST_KNOWN = 0.5
# Names of the number of positions in configs of transformers, in the order in which to believe them.
POSITION_FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")
# Rows that a table of positions may have beside those of the config's number.
MOST_RESERVED = 16
AMINO_ACIDS = set("ACDEFGHIKLMNPQRSTVWY")
# Sizes of k-mers of which vocabularies are made.
KMER_SIZES = range(1, 9)
# Models that were admitted, so that each is probed once.
_admitted: WeakSet[Any] = WeakSet()


@dataclass(frozen=True)
class PositionLimit:
    """Number of tokens that an encoder takes.

    Attributes:
        n_tokens: Most tokens of a read, special ones included. None: no limit is known.
        is_hard: Whether more tokens are an error; else the encoder was made for so many, and more are possible.
    """

    n_tokens: int | None
    is_hard: bool = False


def make_processor(name: str, encoder: PreTrainedModel, tokenizer: Any, **asked: Any) -> MetagenBertProcessor:
    """Admit a read encoder; return the processor under which it embeds reads.

    Args:
        name: Name of the checkpoint, for messages.
        encoder: The read encoder, on any device; positions are tried out on the CPU only.
        tokenizer: Its tokenizer.
        **asked: Fields of the preprocessing config that the caller decides. Of the others, `max_length` becomes the
            number of tokens that the encoder takes, and `kmer_size` that of a vocabulary of k-mers whose tokenizer
            splits at blanks.

    Raises:
        CheckpointError: The encoder cannot embed DNA with this tokenizer.
        InputError: The fields asked for are inconsistent, or ask for more tokens than the encoder takes.
    """
    limit = position_limit(encoder)
    fields = dict(asked)
    if fields.get("max_length") is None:
        fields["max_length"] = limit.n_tokens
    try:
        processor = MetagenBertProcessor(tokenizer, **fields)
        if "kmer_size" not in fields and _known_share(processor) < LEAST_KNOWN:
            processor = next(
                (spaced for spaced in _spaced(processor) if _known_share(spaced) >= LEAST_KNOWN), processor
            )
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}, preprocessing config: {error}") from error
    _require_length(name, processor, limit)
    _require_alphabet(name, processor)
    require_known_tokens(name, processor)
    require_vectors(name, encoder, processor)
    return processor


def admit_model(name: str, model: Any) -> None:
    """Admit the read encoder of a model that has been loaded with its processor, which was admitted when it was made.

    The preprocessing config of a checkpoint cannot change any more. If it allows more tokens than the encoder takes, as
    in checkpoints of version 0.1, longer reads are truncated there, and counted as truncated.

    Args:
        name: Name of the checkpoint, for messages.
        model: A `MetagenBertModel`, or one with a head.

    Raises:
        CheckpointError: The encoder cannot embed DNA with this tokenizer.
    """
    processor = model.processor
    if model in _admitted or not isinstance(processor, MetagenBertProcessor):
        return
    encoder = model.base_model.encoder
    limit = position_limit(encoder)
    if limit.is_hard and limit.n_tokens is not None:
        processor.limit_length(limit.n_tokens)
    require_known_tokens(name, processor)
    require_vectors(name, encoder, processor)
    _admitted.add(model)


def require_admitted(encoder: PreTrainedModel, processor: MetagenBertProcessor) -> None:
    """Check an encoder and a processor that a caller made, before reads are embedded with them.

    Raises:
        CheckpointError: The encoder cannot embed DNA with the processor's tokenizer.
        InputError: The preprocessing config allows more tokens than the encoder takes.
    """
    name = encoder.name_or_path or f"the {type(encoder).__name__}"
    _require_length(name, processor, position_limit(encoder))
    _require_alphabet(name, processor)
    require_known_tokens(name, processor)
    require_vectors(name, encoder, processor)


def probe_reads() -> tuple[np.ndarray, np.ndarray]:
    """Return random DNA, the same each time: letters in ASCII and the offsets of `N_PROBES` reads."""
    rng = np.random.default_rng(0)
    lengths = np.linspace(*PROBE_BASES, N_PROBES).astype(np.int64)
    letters = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, int(lengths.sum()))]
    return letters, np.concatenate([[0], np.cumsum(lengths)])


def require_known_tokens(name: str, processor: MetagenBertProcessor) -> None:
    """Refuse a tokenizer that does not know DNA, or the protein that it is translated to.

    Raises:
        CheckpointError: Most letters of reads are in unknown tokens, or in none.
    """
    known = _known_share(processor)
    if known >= LEAST_KNOWN:
        return
    translated = processor.translation != "none"
    what = "translated DNA" if translated else "DNA"
    raise CheckpointError(
        f"{name}: its tokenizer does not know {what}: {known:.0%} of the letters of random reads are in tokens that it "
        f"knows ({_example(processor)}), so that all reads would have much the same vector; give an encoder that was "
        f"trained on {'proteins' if translated else 'DNA'}, or the tokenizer that belongs to this one."
    )


@torch.inference_mode()
def require_vectors(name: str, encoder: PreTrainedModel, processor: MetagenBertProcessor) -> None:
    """Refuse an encoder whose output is not one finite hidden state per token, or does not depend on the read only.

    Encoders with `embed_packed`, which are the package's own, and those without values (on the meta device) are not
    run.

    Raises:
        CheckpointError: Its output is something else, not finite, random, or the same for different reads.
    """
    if hasattr(encoder, "embed_packed") or encoder.device.type == "meta":
        return
    hidden_size = getattr(encoder.config, "hidden_size", None)
    if not isinstance(hidden_size, int):
        raise CheckpointError(
            f"{name}: a {encoder.config.model_type} model has no hidden_size; give an encoder of one sequence."
        )
    packed = processor.encode_reads(*probe_reads())
    length = min(int(packed.lengths.min()), EMBEDDED_TOKENS)
    starts = np.cumsum(packed.lengths) - packed.lengths
    rows = np.stack([packed.input_ids[start : start + length] for start in starts[-N_EMBEDDED:]])
    input_ids = torch.from_numpy(rows.astype(np.int64)).to(encoder.device)
    with _in_evaluation(encoder):
        try:
            together = token_vectors(encoder, input_ids)
            again = token_vectors(encoder, input_ids[:1])
        except Exception as error:
            if not is_load_error(error) or isinstance(error, torch.OutOfMemoryError):
                raise
            if "not implemented for" in str(error):
                # An operation that this device lacks in this dtype: the encoder may be meant for another one.
                return
            reason = reason_of(error, 200)
            raise CheckpointError(
                f"{name}: a {encoder.config.model_type} model gives no hidden state per token of a read ({reason}); "
                "give an encoder of sequences."
            ) from error
    if not isinstance(together, torch.Tensor) or together.shape != (*input_ids.shape, hidden_size):
        shape = tuple(together.shape) if isinstance(together, torch.Tensor) else type(together).__name__
        raise CheckpointError(
            f"{name}: the output of a {encoder.config.model_type} model is {shape} for {tuple(input_ids.shape)} "
            f"tokens, not a hidden state of {hidden_size} numbers per token; give an encoder of sequences."
        )
    if not torch.isfinite(together).all():
        raise CheckpointError(
            f"{name}: its hidden states are NaN or infinite in {str(encoder.dtype).removeprefix('torch.')}; load it in "
            "float32, or check its weights."
        )
    pooled = together[:, 0] if processor.pooling == "cls" else together.float().mean(1)
    if (pooled[0] == pooled[1]).all():
        pooling = ", of which pooling 'cls' takes the first" if processor.pooling == "cls" else ""
        raise CheckpointError(
            f"{name}: different reads have equal hidden states{pooling}; give another encoder, or pooling 'mean'."
        )
    scale = float(together[0].float().abs().max())
    if float((together[:1] - again).float().abs().max()) > (1e-3 if encoder.dtype.itemsize > 2 else 0.2) * scale:
        raise CheckpointError(
            f"{name}: a {encoder.config.model_type} model gives a read other vectors by itself than beside others, so "
            "counts would depend on the batch; give another encoder."
        )


def position_limit(encoder: PreTrainedModel) -> PositionLimit:
    """Return the number of tokens that an encoder takes.

    It is what the config says, but no more than its position embeddings allow, which is tried out: in RoBERTa, for
    instance, the first positions are not used. Encoders with `embed_packed`, which are the package's own, have none.
    """
    if hasattr(encoder, "embed_packed") or encoder.device.type == "meta":
        return PositionLimit(None)
    sizes = [getattr(encoder.config, field, None) for field in POSITION_FIELDS]
    size = next((size for size in sizes if isinstance(size, int) and size > 0), None)
    if size is None:
        # Relative positions, ALiBi, recurrences: nothing to look up.
        return PositionLimit(None)
    tables = [
        module
        for module in encoder.modules()
        if isinstance(module, nn.Embedding) and size <= module.num_embeddings <= size + MOST_RESERVED
    ]
    if not tables:
        # Positions are computed, as by rotary embeddings.
        return PositionLimit(size)
    if encoder.device.type != "cpu":
        # A position out of range ends a CUDA context, so it is not tried out: what RoBERTa leaves out is left out.
        return PositionLimit(size - max((table.padding_idx or -1) + 1 for table in tables), True)
    if _takes(encoder, size):
        return PositionLimit(size, not _takes(encoder, size + 1))
    enough, too_many = 0, size
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        if _takes(encoder, middle):
            enough = middle
        else:
            too_many = middle
    return PositionLimit(enough or None, bool(enough))


class _ReachedLayersError(Exception):
    """Raised where the first layer begins, so that no layer is computed."""


@torch.inference_mode()
def _takes(encoder: PreTrainedModel, n_tokens: int) -> bool:
    """Return whether so many tokens reach the encoder's first layer."""
    stacks = [module for module in encoder.modules() if isinstance(module, nn.ModuleList) and len(module)]
    if not stacks:
        return True

    def stop(*_: Any) -> None:
        raise _ReachedLayersError

    first = max(stacks, key=lambda stack: sum(parameter.numel() for parameter in stack.parameters()))[0]
    hook = first.register_forward_pre_hook(stop)
    # No padding, which RoBERTa gives no position of its own.
    taken = {getattr(encoder.config, "pad_token_id", None)}
    token = next(i for i in range(len(taken) + 1) if i not in taken)
    try:
        with _in_evaluation(encoder):
            token_vectors(encoder, torch.full((1, n_tokens), token))
    except _ReachedLayersError:
        return True
    except (IndexError, RuntimeError, ValueError):
        return False
    finally:
        hook.remove()
    return True


@contextmanager
def _in_evaluation(encoder: PreTrainedModel) -> Iterator[None]:
    was_training = encoder.training
    encoder.eval()
    try:
        yield
    finally:
        encoder.train(was_training)


def _require_length(name: str, processor: MetagenBertProcessor, limit: PositionLimit) -> None:
    if limit.is_hard and limit.n_tokens is not None and (processor.max_length or limit.n_tokens + 1) > limit.n_tokens:
        asked = "no max_length" if processor.max_length is None else f"max_length {processor.max_length}"
        raise InputError(
            f"{name} takes at most {limit.n_tokens} tokens and the preprocessing config says {asked}; set max_length "
            f"to {limit.n_tokens} or less, and cut long reads into windows if none may be truncated."
        )


def _require_alphabet(name: str, processor: MetagenBertProcessor) -> None:
    """Refuse DNA for an encoder of proteins: A, C, G and T are amino acids too, so no token is unknown."""
    if processor.translation == "none" and is_protein_tokenizer(processor.tokenizer):
        raise CheckpointError(
            f"{name} is an encoder of proteins: its tokens are amino acids, and A, C, G and T of a read would be taken "
            "for alanine, cysteine, glycine and threonine; translate the reads (--translate, or "
            "translation='longest_frame' in the preprocessing config), or give an encoder of DNA."
        )


def is_protein_tokenizer(tokenizer: Any) -> bool:
    """Return whether a vocabulary is that of proteins: all amino acids, and no token of several letters."""
    if getattr(tokenizer, "encode_packed", None) is not None:
        return False
    special = set(tokenizer.all_special_tokens)
    tokens = {token.strip("▁Ġ") for token in tokenizer.get_vocab() if token not in special}
    words = {token for token in tokens if token.isalpha()}
    return words >= AMINO_ACIDS and all(len(word) == 1 for word in words)


def _spaced(processor: MetagenBertProcessor) -> Iterator[MetagenBertProcessor]:
    """Yield processors that write reads as k-mers, for each size of which a vocabulary of k-mers has most."""
    letters = AMINO_ACIDS if processor.translation != "none" else set("ACGT")
    words = set(processor.tokenizer.get_vocab()) - set(processor.tokenizer.all_special_tokens)
    kmers = [word for word in words if set(word.upper()) <= letters]
    if len(kmers) < len(words) / 2:
        # A vocabulary of text has short words of these letters too.
        return
    for k in KMER_SIZES:
        n_kmers = sum(len(word) == k for word in kmers)
        if n_kmers > len(letters) ** k / 2:
            yield processor.replace(kmer_size=k)


def _known_share(processor: MetagenBertProcessor) -> float:
    """Return the share of the probe's letters, and of its tokens, that the tokenizer knows: the smaller one.

    A tokenizer may know many short words of few reads and none of the others, or drop letters without a token.
    """
    tokenizer = processor.tokenizer
    if getattr(tokenizer, "encode_packed", None) is not None:
        return 1.0
    letters, offsets = probe_reads()
    packed = processor.replace(max_length=None, truncation="keep_head").encode_reads(letters, offsets)
    n_tokens = packed.read_stats["n_tokens"]
    if not n_tokens:
        return 0.0
    alphabet, n_letters = set("ACGT"), len(letters)
    if processor.translation != "none":
        alphabet, n_letters = AMINO_ACIDS, len(translate_longest_frame(letters, offsets)[0])
    ids, counts = np.unique(packed.input_ids, return_counts=True)
    special = set(tokenizer.all_special_tokens)
    tokens = zip(tokenizer.convert_ids_to_tokens(ids.tolist()), counts.tolist(), strict=True)
    # K-mers overlap, so their letters may be more than the probe's.
    n_known = sum(
        n * sum(letter.upper() in alphabet for letter in token) for token, n in tokens if token not in special
    )
    return min(n_known / n_letters, 1 - packed.read_stats["n_unknown_tokens"] / n_tokens)


def _example(processor: MetagenBertProcessor) -> str:
    """Return the tokens of a piece of DNA, for messages."""
    if processor.translation != "none":
        return f"its unknown token is {processor.tokenizer.unk_token}"
    if processor.kmer_size is not None:
        return f"they are written as {processor.kmer_size}-mers"
    tokens = processor.tokenizer.convert_ids_to_tokens(
        processor.tokenizer("ACGTTGCA", add_special_tokens=False)["input_ids"]
    )
    return f"ACGTTGCA becomes {' '.join(map(str, tokens)) or 'nothing'}"


__all__ = [
    "PositionLimit",
    "admit_model",
    "is_protein_tokenizer",
    "make_processor",
    "position_limit",
    "probe_reads",
    "require_admitted",
    "require_known_tokens",
    "require_vectors",
]

"""Inputs of `speed.py`: encoders by shape with random weights, reads, proteins, and operations per token."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import EsmModel, PreTrainedModel, PreTrainedTokenizerFast

import biomeformer
from biomeformer.genomes.proteins import ALPHABET, MAX_RESIDUES, ProteinEncoder, esm_config
from biomeformer.models.dnabert2 import DnaBert2Config, DnaBert2Model
from biomeformer.models.metagenbert import MetagenBertModel, MetagenBertProcessor

SPECIALS = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
DNABERT2 = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
TINY = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
READ_SHAPES: dict[str, tuple[dict[str, int], int]] = {"dnabert2": (DNABERT2, 4096), "tiny": (TINY, 120)}
PROTEIN_SHAPES = {
    "esm2-3b": (36, 2560, 40),
    "esm2-650m": (33, 1280, 20),
    "esm2-8m": (6, 320, 20),
    "esm2-tiny": (2, 24, 2),
}
SHAPES = ("metagenbert-mini", *READ_SHAPES, *PROTEIN_SHAPES)
# More distinct reads than a BPE tokenizer remembers, so that few of a repeated block's are remembered.
BLOCK_READS = 100_000
MEMBER_READS = 10_000


@dataclass(frozen=True)
class Shape:
    """Sizes that decide the arithmetic of a token.

    Attributes:
        hidden_size: Width of a token's vector.
        n_layers: Transformer layers; 0 of an encoder that looks vectors up.
        intermediate_size: Inner width of the feed-forward part.
        n_inner: Matrices of the feed-forward part: 3 of a gated one (DNABERT-2), 2 otherwise.
        width: Numbers that an encoder that looks vectors up adds a token.
    """

    hidden_size: int
    n_layers: int = 0
    intermediate_size: int = 0
    n_inner: int = 2
    width: int = 0

    @classmethod
    def of(cls, config: Any) -> Shape:
        """The shape of an encoder's config."""
        if config.model_type == "kmer_encoder":
            return cls(config.hidden_size, width=2 * (config.hidden_size + config.num_gate_heads))
        gated = 3 if config.model_type == "dnabert2" else 2
        return cls(config.hidden_size, config.num_hidden_layers, config.intermediate_size, gated)

    def flops_per_token(self, length: float) -> float:
        """Operations of the encoder's matrix products for one token of a sequence of `length` tokens.

        A layer has `4 h^2` weights in attention (queries, keys, values, output) and `n h i` in its feed-forward part
        (n = 3 with a gate, else 2); a weight costs a multiplication and an addition. Scores and their product with
        the values cost `4 L h` more. In all `layers x (2 (4 h^2 + n h i) + 4 L h)`. DNABERT-2 (12 layers, h = 768,
        i = 3072, gated): 226.5 MFLOP for the weights, and 1.3 for attention at 34 tokens. Softmax, norms and
        activations are left out. An encoder that looks vectors up does `width` additions.

        Args:
            length: Tokens of the sequence; over sequences of several lengths, the sum of squares over the sum.
        """
        h = self.hidden_size
        weights = 2 * (4 * h * h + self.n_inner * h * self.intermediate_size)
        return self.n_layers * (weights + 4 * length * h) + self.width

    def products(self, n_tokens: int) -> list[tuple[int, int, int]]:
        """Rows, inner size and columns of a layer's products over so many tokens."""
        if not self.n_layers:
            return []
        h, i = self.hidden_size, self.intermediate_size
        return [(n_tokens, h, 3 * h), (n_tokens, h, h), (n_tokens, h, (self.n_inner - 1) * i), (n_tokens, i, h)]


def random_bases(n_reads: int, length: int, seed: list[int]) -> np.ndarray:
    """Random DNA, uint8 `(n_reads, length)`."""
    rng = np.random.default_rng(seed)
    return np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, (n_reads, length), dtype=np.uint8)]


def random_reads(n_reads: int, lengths: list[int], seed: int, part: int = 0) -> list[bytes]:
    """Random reads, of each length as many; other ones for another seed or part."""
    n_each = -(-n_reads // len(lengths))
    blocks = [random_bases(n_each, length, [seed, part, i]) for i, length in enumerate(lengths)]
    return [row.tobytes() for rows in zip(*blocks, strict=True) for row in rows][:n_reads]


def fastq(reads: list[bytes]) -> bytes:
    """Reads as FASTQ."""
    return b"".join(b"@r%d\n%s\n+\n%s\n" % (i, read, b"I" * len(read)) for i, read in enumerate(reads))


def gzip_member(text: bytes) -> bytes:
    """One gzip member without a date."""
    packer = zlib.compressobj(4, zlib.DEFLATED, 31)
    return packer.compress(text) + packer.flush()


def write_random_fastq(path: Path, n_reads: int, lengths: list[int], seed: int) -> int:
    """Write random reads, all different, as FASTQ.gz, few of them in memory; returns the bytes before compression."""
    n_bytes = 0
    with path.open("wb") as handle:
        for part, first in enumerate(range(0, n_reads, MEMBER_READS)):
            text = fastq(random_reads(min(MEMBER_READS, n_reads - first), lengths, seed, part))
            n_bytes += len(text)
            handle.write(gzip_member(text))
    return n_bytes


def write_large_fastq(path: Path, n_reads: int, lengths: list[int], seed: int) -> None:
    """Write FASTQ.gz of any size quickly, one block of reads over and over, each a gzip member."""
    reads = random_reads(min(n_reads, BLOCK_READS), lengths, seed)
    member = gzip_member(fastq(reads))
    with path.open("wb") as handle:
        for _ in range(n_reads // len(reads)):
            handle.write(member)
        if rest := n_reads % len(reads):
            handle.write(gzip_member(fastq(reads[:rest])))


def random_proteins(n_proteins: int, seed: int) -> list[str]:
    """Random proteins, about as long as bacterial ones: 30 to 1,022 residues, some 310 in the mean."""
    rng = np.random.default_rng(seed)
    sizes = np.clip(rng.gamma(2.6, 120.0, n_proteins), 30, MAX_RESIDUES).astype(int)
    letters = np.array(list(ALPHABET[:20]))
    return ["".join(rng.choice(letters, size)) for size in sizes]


def bpe_tokenizer(vocab_size: int, file: Path | None = None) -> PreTrainedTokenizerFast:
    """DNABERT-2's tokenizer from its `tokenizer.json`, or one laid out as it, learnt on random DNA."""
    if file is not None:
        tokenizer = Tokenizer.from_file(str(file))
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        text = [read.decode() for read in random_reads(4_000 if vocab_size > 1000 else 200, [150], 1)]
        trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=SPECIALS, show_progress=False)
        tokenizer.train_from_iterator(text, trainer)
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    names = dict(zip(("unk_token", "cls_token", "sep_token", "pad_token", "mask_token"), SPECIALS, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


EncoderParts = tuple[PreTrainedModel, MetagenBertProcessor, bool]


def read_encoder(
    shape: str, device: torch.device, tokenizer: Path | None = None, max_length: int | None = None
) -> EncoderParts:
    """A read encoder with its preprocessing config.

    Args:
        shape: One of `READ_SHAPES` with random weights, or a checkpoint's name or folder.
        device: Where to.
        tokenizer: A `tokenizer.json` for a shape with random weights.
        max_length: With it, vectors are sums over `max_length`, as the published scripts have them.

    Returns:
        Encoder in evaluation mode, processor, and whether read vectors have unit length.
    """
    if shape not in READ_SHAPES:
        model = biomeformer.load(shape, device=str(device))
        assert model.processor is not None
        return model.encoder, model.processor, bool(model.config.normalize_embeddings)
    sizes, vocab_size = READ_SHAPES[shape]
    made = bpe_tokenizer(vocab_size, tokenizer)
    torch.manual_seed(0)
    config = DnaBert2Config(vocab_size=max(vocab_size, len(made)), add_pooling_layer=False, **sizes)
    preprocessing: dict[str, Any] = {} if max_length is None else {"pooling": "mean_over_max_length"}
    processor = MetagenBertProcessor(made, max_length=max_length, **preprocessing)
    return DnaBert2Model(config).to(device).eval(), processor, False


def without_centroids(
    encoder: PreTrainedModel, processor: MetagenBertProcessor, normalize: bool, n_clusters: int
) -> MetagenBertModel:
    """A model whose centroids are random numbers, for before a read has a vector."""
    centroids = np.random.default_rng(0).normal(size=(n_clusters, encoder.config.hidden_size))
    return MetagenBertModel.from_encoder_and_centroids(
        encoder, centroids, processor=processor, normalize_embeddings=normalize
    )


@torch.inference_mode()
def with_centroids(
    encoder: PreTrainedModel,
    processor: MetagenBertProcessor,
    normalize: bool,
    n_clusters: int,
    lengths: list[int],
) -> MetagenBertModel:
    """A model whose centroids are vectors of other random reads."""
    probe = without_centroids(encoder, processor, normalize, 1)
    reads = random_reads(n_clusters, lengths, seed=99)
    vectors = []
    for first in range(0, n_clusters, 256):
        packed = processor.encode_reads(*flat(reads[first : first + 256]))
        ids = torch.from_numpy(packed.input_ids).to(encoder.device)
        vectors.append(probe.embed_packed(ids, torch.from_numpy(packed.lengths)).cpu().numpy())
    return MetagenBertModel.from_encoder_and_centroids(
        encoder, np.concatenate(vectors), processor=processor, normalize_embeddings=normalize
    )


def flat(reads: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Reads end to end, and where each begins."""
    return np.frombuffer(b"".join(reads), np.uint8), np.cumsum([0, *map(len, reads)])


def protein_encoder(shape: str, device: torch.device) -> ProteinEncoder:
    """ESM-2 of a size, with random weights."""
    n_layers, hidden_size, n_heads = PROTEIN_SHAPES[shape]
    torch.manual_seed(0)
    config = esm_config(
        hidden_size=hidden_size,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        intermediate_size=4 * hidden_size,
    )
    with device:
        model = EsmModel(config, add_pooling_layer=False).eval()
    return ProteinEncoder(model, shape, weights_sha256="random")

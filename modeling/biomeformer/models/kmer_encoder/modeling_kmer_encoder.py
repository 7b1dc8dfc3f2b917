"""Learnt k-mer vectors summed over a read, at the speed of a table look-up; with gates, one sum a reading frame."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.utils import can_return_tuple

from .configuration_kmer_encoder import KmerEncoderConfig
from .strict_loading import StrictPreTrainedModel, WeightRules

CODON = 3
# Of a classifier over the encoder.
HEAD = ("norm.", "dense.", "classifier.")
# Columns of a table that are summed at once: 4**6 rows of so many float32 are 1 MB.
TILE = 64


def reverse_complement_ids(k: int, device: torch.device) -> torch.Tensor:
    """Token id of the reverse complement of each of the `4**k` k-mers and of padding, int64 `(4**k + 1,)`."""
    rest = torch.arange(4**k, device=device)
    reverse = torch.zeros_like(rest)
    for _ in range(k):
        reverse = (reverse << 2) | (3 - (rest & 3))
        rest = rest >> 2
    return torch.cat([reverse.new_zeros(1), reverse + 1])


class KmerEncoderPreTrainedModel(StrictPreTrainedModel):
    """What models over k-mers share."""

    config_class = KmerEncoderConfig
    base_model_prefix = "kmer_encoder"
    main_input_name = "input_ids"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_range)
            if not getattr(module.weight, "_is_hf_initialized", False):
                init.zeros_(module.weight[0])
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_range)
            init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)


class KmerEncoderModel(KmerEncoderPreTrainedModel):
    """One vector a k-mer and one vector a read, the same for both strands.

    Without gates a read's vector is the mean of its canonical k-mers' vectors.

    With gates, each k-mer has a score a head beside its vector. The k-mers of each of the six reading frames (three on
    either strand) are summed apart; the frames' scores, through a softmax, say how much of each frame's sum goes into
    the read's vector, each head for its share of the dimensions. With k = 6 these are the codon pairs that tell coding
    frames apart (hexamer usage: Fickett and Tung 1992, doi:10.1093/nar/20.24.6441): most of a microbial genome is
    coding, and a species' codon usage shows most clearly in the frame that codes.
    """

    weight_rules = WeightRules(ignored=HEAD)
    # A read's vector is summed in the order of its own tokens, so its batch-mates cannot change a bit of it.
    embeds_reads_independently = True

    def __init__(self, config: KmerEncoderConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=0)
        self.gates = (
            nn.Embedding(config.vocab_size, config.num_gate_heads, padding_idx=0) if config.num_gate_heads else None
        )
        self._kept: tuple[list[tuple[torch.Tensor, int, int]], list[torch.Tensor]] | None = None
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The k-mer vectors."""
        return self.embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the k-mer vectors."""
        self.embeddings = value

    def embed_packed(
        self, input_ids: torch.Tensor, lengths: torch.Tensor, pooling: str = "mean", max_length: int | None = None
    ) -> torch.Tensor:
        """One vector a read.

        Args:
            input_ids: `(n_tokens,)`, reads end to end, int32 or int64.
            lengths: `(n_reads,)`, tokens of each read; on the CPU, or a GPU has to be waited for.
            pooling: `mean`, or `mean_over_max_length` (sum over `max_length`).
            max_length: Divisor of `mean_over_max_length`.

        Returns:
            `(n_reads, hidden_size)`; zero for a read without k-mers.

        Raises:
            ValueError: `pooling` is another one, or `max_length` is missing.
        """
        if pooling not in ("mean", "mean_over_max_length"):
            raise ValueError(f"pooling {pooling!r} is not one of mean, mean_over_max_length: k-mers have no [CLS].")
        if pooling == "mean_over_max_length" and not max_length:
            raise ValueError("pooling 'mean_over_max_length' needs max_length, the divisor in tokens.")
        n_places = 0 if self.gates is None else int(_places_by_frame(lengths).sum())
        lengths = _to_device(lengths, input_ids.device)
        if self.gates is None:
            mode = "mean" if pooling == "mean" else "sum"
            starts = (torch.cumsum(lengths, 0) - lengths).to(input_ids.dtype)
            vectors = nn.functional.embedding_bag(input_ids, _rows(self.embeddings), starts, mode=mode)
            return vectors if mode == "mean" else vectors / (max_length or 1)
        divisors = _n_known(input_ids, lengths).clamp_min(1) if pooling == "mean" else None
        if divisors is None:
            divisors = torch.full_like(lengths, max_length or 1)
        return self._gated_sums(input_ids, lengths, n_places, divisors)

    num_mixup_layers = 1

    def embed_packed_mixed(
        self,
        input_ids: torch.Tensor,
        lengths: torch.Tensor,
        partners: torch.Tensor,
        weights: torch.Tensor,
        layer: int = 0,
    ) -> torch.Tensor:
        """One vector a read after instance mixup, as `DnaBert2Model.embed_packed_mixed`; what is mixed are the vectors.

        Args:
            input_ids: `(n_tokens,)`, reads end to end.
            lengths: `(n_reads,)`, tokens of each read.
            partners: `(n_reads,)`, the number of the read that is mixed into each.
            weights: `(n_reads,)`, each read's own share.
            layer: 0; there is one layer.

        Returns:
            `(n_reads, hidden_size)`.
        """
        vectors = self.embed_packed(input_ids, lengths)
        share = _to_device(weights, vectors.device).to(vectors.dtype)[:, None]
        return share * vectors + (1 - share) * vectors[_to_device(partners, vectors.device)]

    def _tables(self) -> list[torch.Tensor]:
        """Scores, then vectors some heads at a time: of k-mers, then of their reverse complements, side by side.

        `(vocab_size, 2 * width)` each. They are kept while no gradient is asked for and the weights stay what they are.
        """
        assert self.gates is not None
        own = [table.weight for table in (self.gates, self.embeddings) if type(table) is nn.Embedding]
        # Adapters, as of LoRA, have no weight of their own, and what inference mode made tells no version.
        may_keep = len(own) == 2 and not torch.is_grad_enabled() and not any(weight.is_inference() for weight in own)
        state = [(weight, weight.data_ptr(), weight._version) for weight in own] if may_keep else []
        if may_keep and self._kept is not None:
            old, tables = self._kept
            if all(a[0] is b[0] and a[1:] == b[1:] for a, b in zip(old, state, strict=True)):
                return tables
        head_size = self.config.hidden_size // self.config.num_gate_heads
        width = max(TILE // (2 * head_size), 1) * head_size
        with torch.inference_mode(False) if may_keep else nullcontext():
            scores, vectors = _rows(self.gates), _rows(self.embeddings)
            reverse = reverse_complement_ids(self.config.k, vectors.device)
            tables = []
            for part in (scores, *vectors.split(width, dim=1)):
                forward = nn.functional.pad(part[1:], (0, 0, 1, 0))
                tables.append(torch.cat([forward, forward[reverse]], dim=1))
        if may_keep:
            tables = [table.detach() for table in tables]
            self._kept = state, tables
        return tables

    def _gated_sums(
        self, input_ids: torch.Tensor, lengths: torch.Tensor, n_places: int, divisors: torch.Tensor
    ) -> torch.Tensor:
        """Sums over the k-mers of each reading frame, weighed against each other, `(n_reads, hidden_size)`.

        They are divided by each read's divisor `(n_reads,)`, and made for some columns at a time, whose part of the
        table stays in a core's cache. Every step is a product or a sum of two numbers, in the same order for every
        read, so that a read's vector is the same to the last bit in any batch.
        """
        assert self.gates is not None
        n_reads, n_heads = len(lengths), self.config.num_gate_heads
        head_size = self.config.hidden_size // n_heads
        by_frame, starts = _by_frame(input_ids, lengths, n_places)

        def sums(table: torch.Tensor) -> torch.Tensor:
            """Of the columns of a table, `(CODON * n_reads, 2 * width)`: of k-mers, then of reverse complements."""
            return nn.functional.embedding_bag(by_frame, table, starts, mode="sum")

        scores, *tiles = self._tables()
        weights, total_weight = _exponentials(sums(scores).view(CODON, n_reads, 2, n_heads))
        vectors, first = [], 0
        for tile in tiles:
            width = tile.shape[1] // 2
            heads = slice(first, first + width // head_size)
            parts = sums(tile).unflatten(1, (-1, head_size))
            share = weights[..., heads].flatten(0, 1).flatten(1)[..., None]
            parts = torch.mul(parts, share, out=None if torch.is_grad_enabled() else parts)
            frames = parts.view(CODON, n_reads, 2 * width)
            both = frames[0] + frames[1] + frames[2]
            vectors.append(both[:, :width] + both[:, width:])
            first = heads.stop
        weighed = torch.cat(vectors, dim=1).unflatten(1, (n_heads, head_size))
        return (weighed / (total_weight * divisors[:, None] / (2 * CODON))[..., None]).flatten(1)

    @can_return_tuple
    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """K-mer vectors, and one vector a read.

        Args:
            input_ids: `(batch, length)`.
            attention_mask: `(batch, length)`, 1 on tokens.
            **kwargs: Ignored arguments of the transformers interface.

        Returns:
            `last_hidden_state (batch, length, hidden_size)`, the k-mers' own vectors, zero on padding; `pooler_output
            (batch, hidden_size)`, as `embed_packed` with mean pooling.
        """
        mask = input_ids != 0 if attention_mask is None else attention_mask.bool()
        hidden = self.embeddings(input_ids) * mask[:, :, None]
        pooled = self.embed_packed(input_ids[mask], mask.sum(1))
        return BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=pooled)


def _to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy on a device; to a GPU from pinned memory, so that nothing has to wait for it."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _n_known(input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """K-mers of each read, `(n_reads,)`; those that hold an unknown base are padding, and do not count."""
    # To look is to wait, but on a CPU.
    if not len(input_ids) or (input_ids.device.type == "cpu" and int(input_ids.amin())):
        return lengths
    total = nn.functional.pad(torch.cumsum(input_ids == 0, 0), (1, 0))
    ends = torch.cumsum(lengths, 0)
    return lengths - (total[ends] - total[ends - lengths])


def _places_by_frame(lengths: torch.Tensor) -> torch.Tensor:
    """Places of each read in each reading frame, `(n_reads,)`."""
    return (lengths + CODON - 1) // CODON


def _by_frame(input_ids: torch.Tensor, lengths: torch.Tensor, n_places: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens of all reads' first reading frame, then of their second, then of their third; a frame's lie together.

    Args:
        input_ids: `(n_tokens,)`, reads end to end.
        lengths: `(n_reads,)`, on the device of `input_ids`; a read may be empty.
        n_places: Sum of `_places_by_frame`, which is known on the CPU.

    Returns:
        `(CODON * n_places,)`, where each frame of a read has as many places, of which the last may be padding; and
        where each frame of each read begins, `(CODON * n_reads,)`.
    """
    n_places_each = _places_by_frame(lengths)
    ends = torch.cumsum(n_places_each, 0)
    starts = ends - n_places_each
    ahead = (torch.cumsum(lengths, 0) - lengths - CODON * starts).to(torch.int32)
    source = torch.arange(0, CODON * n_places, CODON, dtype=torch.int32, device=input_ids.device)
    source += ahead.repeat_interleave(n_places_each, output_size=n_places)
    by_frame = input_ids.new_empty(CODON, n_places)
    for frame, row in enumerate(by_frame):
        if frame:
            source = source.add_(1).clamp_(max=len(input_ids) - 1)
        torch.index_select(input_ids, 0, source, out=row)
    if n_places:
        # Nothing of a read may be left for its last place. An empty read has the place of the one before, and changes
        # nothing there.
        last = (ends - 1).clamp_min(0)
        n_last = lengths - CODON * (n_places_each - 1)
        for frame in range(1, CODON):
            by_frame[frame].scatter_reduce_(0, last, (n_last > frame).to(by_frame), "prod")
    begin = torch.arange(CODON, device=input_ids.device)[:, None] * n_places + starts
    return by_frame.flatten(), begin.flatten().to(input_ids.dtype)


def _exponentials(scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What a softmax over frames and strands divides by what, from scores `(CODON, n_reads, 2, n_heads)`.

    Returns:
        Exponentials of the same shape, the greatest 1, and their sums `(n_reads, n_heads)`.
    """
    greatest = torch.maximum(torch.maximum(scores[0], scores[1]), scores[2])
    # Of both strands, for both strands.
    greatest = torch.maximum(greatest, greatest.flip(1)).detach()
    weights = (scores - greatest).exp()
    both = weights[0] + weights[1] + weights[2]
    return weights, both[:, 0] + both[:, 1]


def _rows(table: nn.Module) -> torch.Tensor:
    """All rows of a table `(vocab_size, width)`; of one that an adapter wraps, as LoRA does, with what it adds."""
    if type(table) is nn.Embedding:
        return table.weight
    base: Any = getattr(table, "base_layer", table)
    rows: torch.Tensor = table(torch.arange(base.num_embeddings, device=base.weight.device))
    return rows


class KmerEncoderForSequenceClassification(KmerEncoderPreTrainedModel):
    """The encoder with a classifier over a sequence's vector, the same for both strands."""

    weight_rules = WeightRules(
        head=HEAD,
        no_head="classifier of sequences; fine-tune it with recipes/finetune_sequence_classifier.py",
    )

    def __init__(self, config: KmerEncoderConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.kmer_encoder = KmerEncoderModel(config)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        width = config.classifier_hidden_size
        self.dense = nn.Linear(config.hidden_size, width) if width else None
        self.classifier = nn.Linear(width or config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Classify sequences.

        Args:
            input_ids: `(batch, length)`.
            attention_mask: `(batch, length)`, 1 on tokens; by default all but padding.
            labels: `(batch,)` class numbers, `(batch, num_labels)` of 0 and 1 for several labels at once, or floats for
                regression, by `config.problem_type`.
            **kwargs: Ignored arguments of the transformers interface.

        Returns:
            `logits (batch, num_labels)`, and `loss` with labels.
        """
        mask = input_ids != 0 if attention_mask is None else attention_mask.bool()
        hidden = self.dropout(self.norm(self.kmer_encoder.embed_packed(input_ids[mask], mask.sum(1))))
        if self.dense is not None:
            hidden = self.dropout(nn.functional.gelu(self.dense(hidden)))
        logits = self.classifier(hidden)
        loss = None if labels is None else self.loss_function(labels, logits, config=self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits)


__all__ = ["KmerEncoderForSequenceClassification", "KmerEncoderModel", "KmerEncoderPreTrainedModel"]

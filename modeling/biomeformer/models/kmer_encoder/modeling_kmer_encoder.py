"""Learnt k-mer vectors, averaged over a read at the speed of a table look-up; with gates, per reading frame."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, TypeGuard

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.utils import can_return_tuple

from .configuration_kmer_encoder import KmerEncoderConfig
from .head_loss import head_loss
from .sentence_vectors import write_sentence_transformers_files
from .strict_loading import StrictPreTrainedModel, WeightRules

CODON = 3
# Prefixes of the weights of a classifier on top of the encoder.
HEAD = ("norm.", "dense.", "classifier.")
# Columns of a table that are summed at once: 4**6 rows of 64 float32 are 1 MB, which stays in a CPU's cache.
TILE = 64


def reverse_complement_ids(k: int, device: torch.device) -> torch.Tensor:
    """Return the token id of each token's reverse complement, padding's own first: int64 `(4**k + 1,)`."""
    # A k-mer is a number in base 4 whose last digit is taken off and put, complemented, at the end of the reverse.
    remaining = torch.arange(4**k, device=device)
    reverse = torch.zeros_like(remaining)
    for _ in range(k):
        reverse = (reverse << 2) | (3 - (remaining & 3))
        remaining = remaining >> 2
    return torch.cat([reverse.new_zeros(1), reverse + 1])


class KmerEncoderPreTrainedModel(StrictPreTrainedModel):
    """Base class of the k-mer models."""

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

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *args: Any, **kwargs: Any) -> nn.Embedding:
        """Return the table of k-mers, which has one size.

        Raises:
            ValueError: Another size is asked for.
        """
        table: nn.Embedding = self.get_input_embeddings()
        if new_num_tokens not in (None, table.num_embeddings):
            raise ValueError(
                f"A k-mer encoder has {table.num_embeddings} tokens, which follow from k = {self.config.k}, and cannot "
                f"have {new_num_tokens}; k-mer tokenizers take no added tokens with a model."
            )
        return table


class KmerEncoderModel(KmerEncoderPreTrainedModel):
    """An encoder with one vector per k-mer and one vector per read, the same for both strands.

    Without gates, a read's vector is the mean of its canonical k-mers' vectors.

    With gates, each k-mer has a vector and one score per head. Vectors and scores are summed separately for each of the
    six reading frames (three on either strand); a softmax over the frames' scores weights their sums in the read's
    vector, each head for its part of the dimensions. With k = 6, these are the codon pairs whose usage distinguishes
    coding frames (hexamer usage: Fickett and Tung 1992, doi:10.1093/nar/20.24.6441): most of a microbial genome is
    coding, and a species' codon usage is clearest in the coding frame.
    """

    weight_rules = WeightRules(ignored=HEAD)

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Save config and weights; with gates also how sentence-transformers gets a read's vector, if it loads them.

        It would average the vectors of k-mers, as is right without gates.
        """
        super().save_pretrained(save_directory, **kwargs)
        if self.gates is not None:
            write_sentence_transformers_files(save_directory, "pooler_output")

    # A read's vector is summed in the order of its own tokens, so it is bitwise the same in every batch.
    embeds_reads_independently = True

    def __init__(self, config: KmerEncoderConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=0)
        self.gates = (
            nn.Embedding(config.vocab_size, config.num_gate_heads, padding_idx=0) if config.num_gate_heads else None
        )
        self._cached_tables: tuple[list[torch.Tensor], list[torch.Tensor]] | None = None
        # The same tables as the package's compiled kernels read them.
        self._compiled_tables: tuple[list[torch.Tensor], Any] | None = None
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the k-mer vectors."""
        return self.embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the k-mer vectors."""
        self.embeddings = value

    def embed_packed(
        self, input_ids: torch.Tensor, lengths: torch.Tensor, pooling: str = "mean", max_length: int | None = None
    ) -> torch.Tensor:
        """Embed packed reads, one vector per read.

        Args:
            input_ids: `(n_tokens,)`, concatenated reads, int32 or int64.
            lengths: `(n_reads,)`, tokens of each read; on the CPU, or the CPU waits for the GPU.
            pooling: `mean`, or `mean_over_max_length` (the sum divided by `max_length`).
            max_length: Divisor of `mean_over_max_length`, in tokens.

        Returns:
            `(n_reads, hidden_size)`; zero for a read without k-mers.

        Raises:
            ValueError: `pooling` is unknown, or `max_length` is missing where needed.
        """
        if pooling not in ("mean", "mean_over_max_length"):
            raise ValueError(f"pooling {pooling!r} is not one of mean, mean_over_max_length: k-mers have no [CLS].")
        if pooling == "mean_over_max_length" and not max_length:
            raise ValueError("pooling 'mean_over_max_length' needs max_length, the divisor in tokens.")
        # Computed before the lengths are moved, so that the CPU need not wait for the GPU.
        n_slots = 0 if self.gates is None else int(_slots_per_frame(lengths).sum())
        lengths = to_device(lengths, input_ids.device)
        if self.gates is None:
            mode = "mean" if pooling == "mean" else "sum"
            starts = (torch.cumsum(lengths, 0) - lengths).to(input_ids.dtype)
            vectors = nn.functional.embedding_bag(input_ids, _rows(self.embeddings), starts, mode=mode)
            return vectors if mode == "mean" else vectors / (max_length or 1)
        compiled = self._embed_compiled(input_ids, lengths, None if pooling == "mean" else max_length)
        if compiled is not None:
            return compiled
        divisors = _n_known(input_ids, lengths).clamp_min(1) if pooling == "mean" else None
        if divisors is None:
            divisors = torch.full_like(lengths, max_length or 1)
        return self._gated_sums(input_ids, lengths, n_slots, divisors)

    num_mixup_layers = 1

    def embed_packed_mixed(
        self,
        input_ids: torch.Tensor,
        lengths: torch.Tensor,
        partners: torch.Tensor,
        weights: torch.Tensor,
        layer: int = 0,
    ) -> torch.Tensor:
        """Embed packed reads with instance mixup, as `DnaBert2Model.embed_packed_mixed`; here the vectors are mixed.

        Args:
            input_ids: `(n_tokens,)`, concatenated reads.
            lengths: `(n_reads,)`, tokens of each read.
            partners: `(n_reads,)`, index of the read that is mixed into each.
            weights: `(n_reads,)`, weight of each read itself; its partner has one minus this.
            layer: 0, the only layer.

        Returns:
            `(n_reads, hidden_size)`.
        """
        vectors = self.embed_packed(input_ids, lengths)
        share = to_device(weights, vectors.device).to(vectors.dtype)[:, None]
        return share * vectors + (1 - share) * vectors[to_device(partners, vectors.device)]

    def _tables(self) -> list[torch.Tensor]:
        """Return tables of scores and vectors of k-mers with those of their reverse complements beside them.

        On a CPU, the tables of the last call are kept beside a copy of the weights they were made from, and used again
        if these are equal: a comparison takes a tenth of the time. Versions or addresses of tensors would not do, since
        fused optimizers, edits of `.data` and numpy change neither.

        Returns:
            The table of scores, then tables of the vectors of a few heads each, so that they fit into the cache: each
            `(vocab_size, 2 * width)`.
        """
        assert self.gates is not None
        own = [table.weight for table in (self.gates, self.embeddings) if _is_plain(table)]
        # Layers with an adapter such as LoRA's are no plain embeddings; a comparison would make the CPU wait for a GPU.
        may_keep = len(own) == 2 and not torch.is_grad_enabled() and own[0].device.type == "cpu"
        if may_keep and self._cached_tables is not None:
            former, tables = self._cached_tables
            if all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(former, own, strict=True)):
                return tables
        head_size = self.config.hidden_size // self.config.num_gate_heads
        width = max(TILE // (2 * head_size), 1) * head_size
        with torch.inference_mode(False) if may_keep else nullcontext():
            # A weight of inference mode is copied, since it cannot be saved for a later call.
            copies = [weight.detach().clone() for weight in own] if may_keep else []
            scores, vectors = copies if may_keep else (_rows(self.gates), _rows(self.embeddings))
            reverse = reverse_complement_ids(self.config.k, vectors.device)
            tables = []
            for part in (scores, *vectors.split(width, dim=1)):
                forward = nn.functional.pad(part[1:], (0, 0, 1, 0))
                tables.append(torch.cat([forward, forward[reverse]], dim=1))
        if may_keep:
            self._cached_tables = copies, tables
        return tables

    def _embed_compiled(
        self, input_ids: torch.Tensor, lengths: torch.Tensor, divisor: int | None
    ) -> torch.Tensor | None:
        """Embed packed reads on a CPU by the package's compiled kernels.

        Args:
            input_ids: `(n_tokens,)`, concatenated reads.
            lengths: `(n_reads,)`.
            divisor: Of each read's sum; None for the number of its known k-mers.

        Returns:
            `(n_reads, hidden_size)`, equal to what torch's operations make of them to the last bit; None where the
            kernels do not apply, do not work, or are not worth loading yet.
        """
        assert self.gates is not None
        if self.bridge is None or torch.is_grad_enabled() or is_traced():
            return None
        layers = (self.gates, self.embeddings)
        if not all(_is_plain(layer) and layer.weight.dtype == torch.float32 for layer in layers):
            return None
        if input_ids.device.type != "cpu" or self.embeddings.weight.device.type != "cpu":
            return None
        kernels = self.bridge.read_kernels(len(input_ids))
        if kernels is None or not kernels.GatedTables.fit(self.config.hidden_size, self.config.num_gate_heads):
            return None
        tables = self._tables()
        if self._compiled_tables is None or self._compiled_tables[0] is not tables:
            forward = [table[:, : table.shape[1] // 2] for table in tables]
            reverse = reverse_complement_ids(self.config.k, input_ids.device)
            compiled = kernels.GatedTables.of(forward[0], torch.cat(forward[1:], dim=1), reverse)
            self._compiled_tables = tables, compiled
        vectors: torch.Tensor | None = self._compiled_tables[1].embed(input_ids, lengths, _exponentials, divisor)
        return vectors

    def _gated_sums(
        self, input_ids: torch.Tensor, lengths: torch.Tensor, n_slots: int, divisors: torch.Tensor
    ) -> torch.Tensor:
        """Sums over the k-mers of each reading frame, weighed against each other, `(n_reads, hidden_size)`.

        They are divided by each read's divisor `(n_reads,)`, and made for some columns at a time, whose part of the
        table stays in a core's cache. Every step is a product or a sum of two numbers, in the same order for every
        read, so that a read's vector is the same to the last bit in any batch.
        """
        assert self.gates is not None
        n_reads, n_heads = len(lengths), self.config.num_gate_heads
        head_size = self.config.hidden_size // n_heads
        by_frame, starts = _by_frame(input_ids, lengths, n_slots)

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
            strand_pair = frames[0] + frames[1] + frames[2]
            vectors.append(strand_pair[:, :width] + strand_pair[:, width:])
            first = heads.stop
        weighed = torch.cat(vectors, dim=1).unflatten(1, (n_heads, head_size))
        return (weighed / (total_weight * divisors[:, None] / (2 * CODON))[..., None]).flatten(1)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """Embed padded reads.

        Args:
            input_ids: `(batch, length)`.
            attention_mask: `(batch, length)`, 1 on tokens; by default all but padding.
            inputs_embeds: `(batch, length, hidden_size)`, vectors of k-mers instead of `input_ids`; without gates only.
            output_hidden_states: Whether to return `hidden_states`: `last_hidden_state` alone, since the embedding is
                the only layer; by default as the config says.
            output_attentions: Accepted and without effect: there is no attention.
            **kwargs: Ignored arguments of the transformers interface.

        Returns:
            `last_hidden_state (batch, length, hidden_size)`, the k-mers' own vectors, zero on padding; `pooler_output
            (batch, hidden_size)`, as `embed_packed` with mean pooling.

        Raises:
            ValueError: Not exactly one of `input_ids` and `inputs_embeds` is given, or the latter to a model with
                gates.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        hidden, pooled = self.embed_padded(input_ids, attention_mask, inputs_embeds)
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden, pooler_output=pooled, hidden_states=(hidden,) if output_hidden_states else None
        )

    def embed_padded(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        with_kmers: bool = True,
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Embed padded reads.

        Args:
            input_ids: `(batch, length)`.
            attention_mask: `(batch, length)`, 1 on tokens; by default all but padding.
            inputs_embeds: As for `forward`.
            with_kmers: Whether to return the k-mers' vectors, which are not needed for those of reads.

        Returns:
            `last_hidden_state` of `forward`, or None without `with_kmers`, and its `pooler_output`.

        Raises:
            ValueError: As for `forward`.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give either input_ids or inputs_embeds, and not both.")
        if inputs_embeds is not None and self.gates is not None:
            raise ValueError(
                "inputs_embeds were given to a k-mer encoder with gates, which needs each k-mer's reverse complement "
                "too; give input_ids."
            )
        if attention_mask is not None:
            mask = attention_mask.bool()
        elif input_ids is not None:
            mask = input_ids != 0
        else:
            assert inputs_embeds is not None
            mask = torch.ones_like(inputs_embeds[:, :, 0], dtype=torch.bool)
        if input_ids is None or self._is_observed():
            return self._embed_traceably(input_ids, mask, inputs_embeds)
        pooled = self.embed_packed(input_ids[mask], mask.sum(1))
        return self.embeddings(input_ids) * mask[:, :, None] if with_kmers else None, pooled

    def _is_observed(self) -> bool:
        """Return whether the vector of each k-mer matters: a graph is recorded, or a hook looks at the embeddings."""
        return is_traced() or bool(self.embeddings._forward_hooks or self.embeddings._forward_pre_hooks)

    def _embed_traceably(
        self, input_ids: torch.Tensor | None, mask: torch.Tensor, inputs_embeds: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed padded reads from the vectors of their k-mers, by operations that depend on no values.

        With gates, the module `embeddings` gives each k-mer's vector and that of its reverse complement in one call:
        `(batch, length, 2, hidden_size)`.

        Args:
            input_ids: `(batch, length)`, or None with `inputs_embeds`.
            mask: bool `(batch, length)`, true on tokens.
            inputs_embeds: `(batch, length, hidden_size)`, or None.

        Returns:
            `last_hidden_state` and `pooler_output` of `forward`, equal to those of packed reads up to rounding.
        """
        n_known = mask if input_ids is None else mask & (input_ids != 0)
        divisor = n_known.sum(1, keepdim=True).clamp_min(1)
        if self.gates is None:
            vectors = self.embeddings(input_ids) if inputs_embeds is None else inputs_embeds
            hidden = vectors * mask[:, :, None]
            return hidden, hidden.sum(1) / mask.sum(1, keepdim=True).clamp_min(1)
        assert input_ids is not None
        ids = torch.where(mask, input_ids, 0)
        reverse = reverse_complement_ids(self.config.k, ids.device)
        both = torch.stack([ids, reverse[ids]], -1)
        known = n_known[:, :, None, None]
        vectors = self.embeddings(both) * known
        scores = self.gates(both) * known
        # Which reading frame of its read each token is in, wherever the read begins.
        frame = (torch.cumsum(mask, 1) - 1) % CODON
        in_frame = (frame[:, :, None] == torch.arange(CODON, device=ids.device)).to(vectors.dtype)
        by_frame = torch.einsum("blf,blsh->bfsh", in_frame, scores)
        weights = by_frame.flatten(1, 2).softmax(1).unflatten(1, (CODON, 2))
        n_heads = self.config.num_gate_heads
        sums = torch.einsum("blf,blsd->bfsd", in_frame, vectors).unflatten(-1, (n_heads, -1))
        pooled = (sums * weights[..., None]).sum((1, 2)).flatten(1)
        return vectors[:, :, 0], pooled * (2 * CODON) / divisor


# Copied from biomeformer/models/dnabert2/modeling_dnabert2.py
def is_traced() -> bool:
    """Return whether a graph of this call is recorded, in which no operation may depend on a tensor's values."""
    return bool(torch.compiler.is_compiling() or torch.jit.is_tracing())


# Copied from biomeformer/models/dnabert2/modeling_dnabert2.py
def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to a device; to a GPU from pinned memory, so that the CPU does not wait for the copy."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _n_known(input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the number of k-mers of each read, `(n_reads,)`, without those with an unknown base, which are padding."""
    # On a CPU, reads without unknown bases are recognised at once; on a GPU, looking at values would mean waiting.
    if not len(input_ids) or (input_ids.device.type == "cpu" and int(input_ids.amin())):
        return lengths
    total = nn.functional.pad(torch.cumsum(input_ids == 0, 0), (1, 0))
    ends = torch.cumsum(lengths, 0)
    return lengths - (total[ends] - total[ends - lengths])


def _slots_per_frame(lengths: torch.Tensor) -> torch.Tensor:
    """Return the number of slots of each read in each reading frame, `(n_reads,)`."""
    return (lengths + CODON - 1) // CODON


def _by_frame(input_ids: torch.Tensor, lengths: torch.Tensor, n_slots: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sort tokens by reading frame: those of all reads' first frame, then of their second, then of their third.

    Every frame of a read gets the same number of slots, of which the last may hold padding.

    Args:
        input_ids: `(n_tokens,)`, concatenated reads.
        lengths: `(n_reads,)`, on the device of `input_ids`; a read may be empty.
        n_slots: Sum of `_slots_per_frame`, computed on the CPU.

    Returns:
        Tokens `(CODON * n_slots,)`; and the index at which each frame of each read begins, `(CODON * n_reads,)`.
    """
    slots = _slots_per_frame(lengths)
    ends = torch.cumsum(slots, 0)
    starts = ends - slots
    shift = (torch.cumsum(lengths, 0) - lengths - CODON * starts).to(torch.int32)
    source = torch.arange(0, CODON * n_slots, CODON, dtype=torch.int32, device=input_ids.device)
    source += shift.repeat_interleave(slots, output_size=n_slots)
    by_frame = input_ids.new_empty(CODON, n_slots)
    for frame, row in enumerate(by_frame):
        if frame:
            source = source.add_(1).clamp_(max=len(input_ids) - 1)
        torch.index_select(input_ids, 0, source, out=row)
    if n_slots:
        # In a read's last slot, a frame may have no token left: make it padding, by multiplying with 0. An empty read
        # has no slot and points to that of the read before, where its 1 changes nothing.
        last = (ends - 1).clamp_min(0)
        n_last = lengths - CODON * (slots - 1)
        for frame in range(1, CODON):
            by_frame[frame].scatter_reduce_(0, last, (n_last > frame).to(by_frame), "prod")
    begin = torch.arange(CODON, device=input_ids.device)[:, None] * n_slots + starts
    return by_frame.flatten(), begin.flatten().to(input_ids.dtype)


def _exponentials(scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return numerators and denominators of a softmax over frames and strands.

    Args:
        scores: `(CODON, n_reads, 2, n_heads)`.

    Returns:
        Exponentials of the same shape, the largest of a read and head 1, and their sums `(n_reads, n_heads)`.
    """
    largest = torch.maximum(torch.maximum(scores[0], scores[1]), scores[2])
    # The largest over both strands, for both strands.
    largest = torch.maximum(largest, largest.flip(1)).detach()
    weights = (scores - largest).exp()
    strand_sums = weights[0] + weights[1] + weights[2]
    return weights, strand_sums[:, 0] + strand_sums[:, 1]


def _rows(table: nn.Module) -> torch.Tensor:
    """Return all rows of a table, `(vocab_size, width)`; if an adapter such as LoRA wraps it, including its update."""
    if _is_plain(table):
        return table.weight
    base: Any = getattr(table, "base_layer", table)
    device = "cpu" if base.weight.is_meta else base.weight.device
    rows: torch.Tensor = table(torch.arange(base.num_embeddings, device=device))
    return rows


def _is_plain(table: nn.Module) -> TypeGuard[nn.Embedding]:
    """Return whether a table's rows are its weights: without an adapter, and not offloaded by accelerate's hooks."""
    return type(table) is nn.Embedding and not hasattr(table, "_hf_hook")


class KmerEncoderForSequenceClassification(KmerEncoderPreTrainedModel):
    """The encoder with a classifier on a sequence's vector; predictions are the same for both strands."""

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
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Classify sequences.

        Args:
            input_ids: `(batch, length)`.
            attention_mask: `(batch, length)`, 1 on tokens; by default all but padding.
            labels: `(batch,)` class numbers, `(batch, num_labels)` of 0 and 1 for several labels at once, or floats for
                regression, by `config.problem_type`.
            inputs_embeds: `(batch, length, hidden_size)`, vectors of k-mers instead of `input_ids`; without gates only.
            output_hidden_states: As for `KmerEncoderModel.forward`.
            **kwargs: Ignored arguments of the transformers interface.

        Returns:
            `logits (batch, num_labels)`, and `loss` with labels.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        kmers, pooled = self.kmer_encoder.embed_padded(
            input_ids, attention_mask, inputs_embeds, with_kmers=bool(output_hidden_states)
        )
        hidden = self.dropout(self.norm(pooled))
        if self.dense is not None:
            hidden = self.dropout(nn.functional.gelu(self.dense(hidden)))
        logits = self.classifier(hidden)
        loss = None
        if labels is not None:
            loss = head_loss(logits, labels, self.config, num_items_in_batch=kwargs.get("num_items_in_batch"))
        states = (kmers,) if output_hidden_states else None
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=states)


__all__ = ["KmerEncoderForSequenceClassification", "KmerEncoderModel", "KmerEncoderPreTrainedModel"]

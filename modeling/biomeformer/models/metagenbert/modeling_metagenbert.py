"""MetagenBERT-Glob (arXiv 2601.03295): embed reads, and assign them to the nearest of a set of centroids."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import ModelOutput, can_return_tuple

from .configuration_metagenbert import MetagenBertConfig
from .deep_sets import DeepSets, make_deep_sets
from .exact_batches import by_length, exact_batch_size
from .full_float32 import full_float32_matmul
from .head_loss import head_loss
from .processing_metagenbert import MetagenBertProcessor
from .sentence_vectors import write_sentence_transformers_files
from .strict_loading import StrictPreTrainedModel, WeightRules
from .weight_hash import hash_weights

if TYPE_CHECKING:
    # transformers refuses remote code with imports that are not installed, but ignores those within `try`.
    try:
        from biomeformer.metagenomes import AbundanceTable, SampleEmbedding
        from biomeformer.reads import Cohort
    except ImportError:
        pass

# If the squared distances to the two nearest centroids differ by less than this fraction of the vectors' squared scale,
# the difference may be rounding error.
TIE_TOLERANCE = 1e-5
# Reads whose distances are computed at once on a CPU, so that these stay in the cache.
DISTANCE_ROWS = 256
# Parts of encoders that read vectors do not need. Checkpoints of masked language models lack them.
UNUSED_PARTS = ("pooler", "contact_head")
# Largest number of column blocks in `two_nearest`.
MINIMUM_BLOCKS = 16


def as_read_encoder(model: PreTrainedModel) -> PreTrainedModel:
    """Return the part of a model that embeds reads, such that a read's vector depends on the read only.

    It is the encoder of an encoder-decoder, and of others the whole model. BigBird's sparse attention is made full: it
    attends to blocks drawn at random, and is replaced by full attention for good at the first short batch.
    """
    encoder, decoder = getattr(model, "encoder", None), getattr(model, "decoder", None)
    if isinstance(encoder, PreTrainedModel) and isinstance(decoder, nn.Module):
        encoder.name_or_path = model.name_or_path
        model = encoder
    if getattr(model.config, "attention_type", None) == "block_sparse" and hasattr(model, "set_attention_type"):
        model.set_attention_type("original_full")
        model.config.attention_type = "original_full"
    return model


def token_vectors(encoder: PreTrainedModel, input_ids: torch.Tensor) -> torch.Tensor:
    """Return the last hidden states of equally long reads, `(n_reads, length, hidden_size)`, from their tokens."""
    # Causal models would keep what they need to go on with a read.
    options = {"use_cache": False} if "use_cache" in signature(encoder.forward).parameters else {}
    output = encoder(input_ids=input_ids, attention_mask=torch.ones_like(input_ids), **options)
    hidden: torch.Tensor = output.last_hidden_state
    return hidden


@dataclass
class MetagenBertOutput(ModelOutput):
    """Output of `MetagenBertModel.forward`.

    Attributes:
        read_embeddings: `(n_reads, hidden_size)`, float32.
        cluster_ids: `(n_reads,)`, int64, index of each read's nearest centroid.
        squared_distances: `(n_reads, n_clusters)`, float32.
        hidden_states: The encoder's, `(n_reads, length, hidden_size)` each, if asked for.
        attentions: The encoder's, `(n_reads, n_heads, length, length)` each, if asked for.
    """

    read_embeddings: torch.Tensor | None = None
    cluster_ids: torch.Tensor | None = None
    squared_distances: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class NearestCentroids(NamedTuple):
    """Output of `MetagenBertModel.nearest_packed`, on the model's device.

    Attributes:
        cluster_ids: int64 `(n_reads,)`, index of each read's nearest centroid, up to rounding in this batch.
        near_tie: bool `(n_reads,)`, whether the two nearest centroids are equally far within rounding error.
        vectors: float32 `(n_reads, hidden_size)`, vectors of the reads.
    """

    cluster_ids: torch.Tensor
    near_tie: torch.Tensor
    vectors: torch.Tensor


class MetagenBertPreTrainedModel(StrictPreTrainedModel):
    """Base class of the models with a read encoder and centroids.

    Attributes:
        processor: The preprocessing config with its tokenizer.
    """

    config_class = MetagenBertConfig
    base_model_prefix = "metagenbert"
    main_input_name = "input_ids"
    processor_class = MetagenBertProcessor
    processor_required = True
    input_kinds = ("tokens", "FASTQ files")
    _keep_in_fp32_modules_strict = {"centroids"}
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    supports_gradient_checkpointing = True
    processor: MetagenBertProcessor | None = None

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MetagenBertModel):
            init.normal_(module.centroids, mean=0.0, std=self.config.initializer_range)
        elif isinstance(module, DeepSets):
            module.init_weights()

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Save as every model of the package, and how sentence-transformers gets a read's vector, if it loads it."""
        super().save_pretrained(save_directory, **kwargs)
        write_sentence_transformers_files(save_directory, "read_embeddings")

    def _finish_loading(self, info: dict[str, Any], options: dict[str, Any]) -> None:
        # `from_pretrained` makes every weight trainable, but centroids are constant.
        self.base_model.centroids.requires_grad_(False)
        # Parts of an encoder that read vectors do not need, and that its checkpoint did not have: they are random now.
        for name in UNUSED_PARTS:
            if any(f"encoder.{name}." in key for key in info["missing_keys"]):
                setattr(self.base_model.encoder, name, None)
                info["missing_keys"] = {key for key in info["missing_keys"] if f"encoder.{name}." not in key}


class MetagenBertModel(MetagenBertPreTrainedModel):
    """A read encoder with the centroids of a reference cohort, as one checkpoint.

    `from_pretrained` also loads the checkpoint's `MetagenBertProcessor`, so that the model alone turns FASTQ files into
    abundance vectors.
    """

    weight_rules = WeightRules(ignored=("head.",), optional=tuple(f"encoder.{name}." for name in UNUSED_PARTS))

    def __init__(self, config: MetagenBertConfig) -> None:
        super().__init__(config)
        self.encoder = as_read_encoder(AutoModel.from_config(config.encoder_config))
        self.centroids = nn.Parameter(
            torch.empty(config.n_clusters, config.hidden_size, dtype=torch.float32), requires_grad=False
        )
        # Results of `_exact_batch_size`.
        self._exact_batches: dict[tuple[int, int, torch.device, torch.dtype], bool] = {}
        # The centroids as the package's compiled kernel reads them.
        self._compiled_centroids: Any = None
        self.post_init()

    def _apply(self, fn: Callable[..., torch.Tensor], recurse: bool = True) -> MetagenBertModel:
        """Keep the centroids in float32 through `.half()`, `.bfloat16()` and `.to(dtype)`."""
        centroids = self.centroids.data
        super()._apply(fn, recurse)
        if self.centroids.dtype != torch.float32:
            self.centroids.data = centroids.to(self.centroids.device)
        return self

    @classmethod
    def from_encoder_and_centroids(
        cls,
        encoder: PreTrainedModel,
        centroids: np.ndarray | torch.Tensor | str | Path,
        *,
        processor: MetagenBertProcessor | None = None,
        tokenizer: Any = None,
        normalize_embeddings: bool = False,
        **preprocessing: Any,
    ) -> MetagenBertModel:
        """Combine an encoder and an array of centroids, such as the one published by the authors of MetagenBERT.

        Args:
            encoder: The read encoder with which the centroids were fitted.
            centroids: `(n_clusters, hidden_size)` array, tensor, or path of a `.npy` file. With the authors' published
                centroids, give `pooling="mean_over_max_length"` and their `max_length`, which set the vectors' scale.
            processor: The preprocessing config under which reads are tokenised.
            tokenizer: A tokenizer from which to make a processor, if none is given.
            normalize_embeddings: Whether read vectors are scaled to unit length.
            **preprocessing: Fields of `MetagenBertProcessor`, for the processor made from `tokenizer`.

        Returns:
            The model, in evaluation mode; it shares the given encoder.

        Raises:
            ValueError: The array is not finite, or its shape does not fit the encoder.
            OSError: The file cannot be read.
        """
        encoder = as_read_encoder(encoder)
        if isinstance(centroids, (str, Path)):
            centroids = np.load(centroids, allow_pickle=False)
        values = torch.as_tensor(np.asarray(centroids, dtype=np.float32))
        hidden_size = int(encoder.config.hidden_size)
        if values.ndim != 2 or values.shape[1] != hidden_size or not len(values):
            raise ValueError(
                f"The centroids are {tuple(values.shape)} and the encoder's hidden_size is {hidden_size}; "
                "give an array of shape (n_clusters, hidden_size)."
            )
        if not torch.isfinite(values).all():
            raise ValueError("The centroids hold NaN or infinity; give the array that k-means returned.")
        if processor is None and tokenizer is not None:
            processor = MetagenBertProcessor(tokenizer, **preprocessing)
        config = MetagenBertConfig(
            encoder_config=encoder.config,
            n_clusters=len(values),
            pooling=processor.pooling if processor else preprocessing.get("pooling", "mean"),
            max_length=processor.max_length if processor else preprocessing.get("max_length"),
            normalize_embeddings=normalize_embeddings,
        )
        with torch.device("meta"):
            model = cls(config)
        model.encoder = encoder
        model.centroids = nn.Parameter(values.clone().to(encoder.device), requires_grad=False)
        model.processor = processor
        return model.eval()

    def get_input_embeddings(self) -> nn.Module:
        """Return the encoder's embeddings of tokens."""
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the encoder's embeddings of tokens."""
        self.encoder.set_input_embeddings(value)

    @property
    def weights_sha256(self) -> str:
        """SHA-256 over names, shapes, types and values of all weights in memory (not of the file), computed anew."""
        return hash_weights(self.state_dict())

    def embed_packed(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Embed packed reads, one vector per read, without padding.

        Args:
            input_ids: `(n_tokens,)`, concatenated reads.
            lengths: `(n_reads,)`, tokens of each read, all positive; on the CPU, or the CPU waits for the GPU.

        Returns:
            float32 `(n_reads, hidden_size)`, of unit length if the config asks for it.
        """
        pooling, max_length = self.config.pooling, self.config.max_length
        packed = getattr(self.encoder, "embed_packed", None)
        if packed is not None:
            vectors = packed(input_ids, lengths, pooling=pooling, max_length=max_length)
        else:
            vectors = self._embed_by_length(input_ids, lengths)
        return self._finish(vectors)

    def _embed_by_length(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Embed packed reads with an encoder without `embed_packed`: groups of equally long reads, without padding."""
        lengths = lengths.cpu()
        order = torch.argsort(lengths, stable=True)
        reads = input_ids.split(lengths.tolist())
        vectors: list[torch.Tensor] = []
        first = 0
        for n in torch.unique(lengths, return_counts=True)[1].tolist():
            ids = torch.stack([reads[row] for row in order[first : first + n].tolist()])
            vectors.append(self._pool(token_vectors(self.encoder, ids), torch.ones_like(ids)).float())
            first += n
        return torch.cat(vectors)[torch.argsort(order).to(input_ids.device)]

    def _pool(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Pool token vectors `(n_reads, length, hidden_size)` to one vector per read, as the config says."""
        if self.config.pooling == "cls":
            return hidden[torch.arange(len(hidden), device=hidden.device), mask.int().argmax(1)]
        total = (hidden.float() * mask[:, :, None]).sum(1)
        if self.config.pooling == "mean_over_max_length":
            return total / self.config.max_length
        return total / mask.sum(1, keepdim=True)

    def _pool_encoded(self, encoded: Any, input_ids: torch.Tensor | None, mask: torch.Tensor) -> torch.Tensor:
        """Pool the encoder's output for padded reads to one vector per read, as the config says."""
        if not getattr(self.encoder, "embeds_reads_independently", False):
            return self._pool(encoded.last_hidden_state, mask)
        # A k-mer encoder pools by reading frame, which its token vectors do not show: its mean is over known k-mers.
        if self.config.pooling == "mean":
            return encoded.pooler_output
        is_known = mask.bool() if input_ids is None else mask.bool() & (input_ids != 0)
        n_known = is_known.sum(1, keepdim=True)
        return encoded.pooler_output * n_known / self.config.max_length

    def _finish(self, vectors: torch.Tensor) -> torch.Tensor:
        """Cast vectors to float32, and scale them to unit length if the config asks for it."""
        vectors = vectors.float()
        return nn.functional.normalize(vectors, dim=-1) if self.config.normalize_embeddings else vectors

    @full_float32_matmul()
    def squared_distances(self, vectors: torch.Tensor) -> torch.Tensor:
        """Compute squared Euclidean distances of vectors to all centroids: float32 `(n_reads, n_clusters)`."""
        centroids = self.centroids.float()
        norms = vectors.square().sum(1, keepdim=True) + centroids.square().sum(1)
        return (norms - 2 * vectors @ centroids.T).clamp_min(0)

    def assign_packed(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Assign each read to its nearest centroid; with an encoder in float32, independently of its batch.

        Matrix products round differently at different shapes. So a read whose two nearest centroids are equally far
        within rounding error is embedded again as if it were alone, and compared in float64: the result then depends on
        the read only. Products are computed in full float32, whatever the host program has set (`full_float32_matmul`).

        In bfloat16, float16 and float8 there is no such guarantee: vectors differ between batches by more than near
        ties do, so a read near the border of two clusters may be assigned to either, depending on its batch. Near ties
        are then compared in float64, but not embedded again.

        Args:
            input_ids: `(n_tokens,)`, concatenated reads.
            lengths: `(n_reads,)`, tokens of each read, all positive; on the CPU, or the CPU waits for the GPU.

        Returns:
            Cluster ids, int64 `(n_reads,)`; of equally near centroids the first.
        """
        return self.settle_near_ties(self.nearest_packed(input_ids, lengths), input_ids, lengths)

    def settle_near_ties(
        self, nearest: NearestCentroids, input_ids: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Decide the near ties of a batch, as `assign_packed` does.

        Args:
            nearest: Output of `nearest_packed`.
            input_ids: As given there.
            lengths: As given there.

        Returns:
            Cluster ids, int64 `(n_reads,)`, those of `nearest`, changed in place.
        """
        cluster_ids, near_tie, vectors = nearest
        rows = near_tie.nonzero()[:, 0]
        if not len(rows):
            return cluster_ids
        if self.settles_near_ties_by_distance:
            cluster_ids[rows] = self.nearest_exactly(vectors[rows])
        else:
            for group, reads in by_length(input_ids, lengths.cpu(), rows.cpu()):
                cluster_ids[group.to(cluster_ids.device)] = self.assign_exact(reads)
        return cluster_ids

    @full_float32_matmul()
    def nearest_packed(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> NearestCentroids:
        """Find the nearest centroid of each read, up to rounding, and mark near ties; the CPU does not wait for a GPU.

        Args:
            input_ids: `(n_tokens,)`, concatenated reads.
            lengths: `(n_reads,)`, tokens of each read, all positive; on the CPU, or the CPU waits for the GPU.

        Returns:
            Cluster ids, near ties and vectors. Near ties are decided by `nearest_exactly` if
            `settles_near_ties_by_distance`, and otherwise by `assign_exact`.
        """
        # Not of a model that is wholly on the meta device.
        if self.centroids.is_meta and getattr(self, "hf_device_map", None):
            raise ValueError(
                "The centroids are offloaded (device_map), and reads are only assigned by a model that is whole on one "
                "device; load it without device_map."
            )
        vectors = self.embed_packed(input_ids, lengths)
        compiled = self._nearest_compiled(vectors)
        if compiled is not None:
            return NearestCentroids(*compiled, vectors)
        norms = torch.linalg.vector_norm(self.centroids, dim=1).square()
        tiles = vectors.split(DISTANCE_ROWS) if vectors.device.type == "cpu" else (vectors,)
        # Squared distances minus the read's own squared norm, which is the same for every centroid.
        results = [two_nearest(torch.addmm(norms, tile, self.centroids.T, alpha=-2)) for tile in tiles]
        cluster_ids, nearest, second = (torch.cat(parts) for parts in zip(*results, strict=True))
        scale = torch.linalg.vector_norm(vectors, dim=1).square() + norms.max()
        return NearestCentroids(cluster_ids, second - nearest <= TIE_TOLERANCE * scale, vectors)

    def _nearest_compiled(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Find nearest centroids on a CPU by the package's compiled kernel, with the same clusters and near ties.

        Returns:
            Cluster ids and near ties as of `NearestCentroids`; None where the kernel does not apply or is not loaded.
        """
        tensors = (vectors, self.centroids)
        if self.bridge is None or any(one.device.type != "cpu" or one.dtype != torch.float32 for one in tensors):
            return None
        if is_traced() or vectors.requires_grad or torch.is_autocast_enabled("cpu"):
            return None
        kernel = self.bridge.nearest_kernel(self._compiled_centroids, self.centroids, len(vectors))
        if kernel is None:
            return None
        self._compiled_centroids = kernel
        found: tuple[torch.Tensor, torch.Tensor] = kernel.find(vectors, TIE_TOLERANCE)
        return found

    @property
    def settles_near_ties_by_distance(self) -> bool:
        """Whether vectors of reads in near ties are used as they are: the same in any batch, or never exact anyway."""
        if getattr(self.encoder, "embeds_reads_independently", False):
            return True
        return self.encoder.dtype.itemsize < 4 or torch.is_autocast_enabled(self.device.type)

    def nearest_exactly(self, vectors: torch.Tensor) -> torch.Tensor:
        """Find the nearest centroid of each vector in float64, independently of the other vectors.

        Args:
            vectors: float32 `(n_reads, hidden_size)`.

        Returns:
            Cluster ids, int64 `(n_reads,)`; of equally near centroids the first.
        """
        # MPS does not support float64.
        device = torch.device("cpu") if vectors.device.type == "mps" else vectors.device
        centroids = self.centroids.to(device, torch.float64)
        nearest = [
            # Not by a matrix product, which would round differently at another number of rows.
            torch.cdist(part.to(device, torch.float64), centroids, compute_mode="donot_use_mm_for_euclid_dist").argmin(
                1
            )
            for part in vectors.split(DISTANCE_ROWS)
        ]
        return torch.cat(nearest).to(vectors.device)

    @full_float32_matmul()
    def assign_exact(self, reads: torch.Tensor) -> torch.Tensor:
        """Assign equally long reads to their nearest centroids, each independently of the others.

        On a GPU, several reads are embedded at once: for each length in batches of one fixed shape, padded with one of
        their reads. At a fixed shape, every row of a matrix product is computed from its own numbers in a fixed order,
        whatever the other rows hold. That this does not depend on the position of the row either is tested for each
        length, with a batch of copies of one read; if it does, reads are embedded one by one.

        Args:
            reads: `(n_reads, length)` tokens on the model's device.

        Returns:
            Cluster ids, int64 `(n_reads,)`; of equally near centroids the first.
        """
        batch_size = self._exact_batch_size(reads[0])
        vectors = []
        for batch in reads.split(batch_size):
            filling = batch[:1].expand(batch_size - len(batch), -1)
            vectors.append(self._embed_equally_long(torch.cat([batch, filling]))[: len(batch)])
        return self.nearest_exactly(torch.cat(vectors))

    def _exact_batch_size(self, read: torch.Tensor) -> int:
        """Return how many reads of a read's length can be embedded at once with the same result as one by one."""
        n_reads = exact_batch_size(len(read), read.device)
        key = (n_reads, len(read), read.device, self.encoder.dtype)
        if n_reads > 1 and key not in self._exact_batches:
            vectors = self._embed_equally_long(read.expand(n_reads, -1))
            self._exact_batches[key] = bool((vectors == vectors[0]).all())
        return n_reads if n_reads > 1 and self._exact_batches[key] else 1

    def _embed_equally_long(self, reads: torch.Tensor) -> torch.Tensor:
        """Embed reads `(n_reads, length)`."""
        return self.embed_packed(reads.flatten(), torch.full((len(reads),), reads.shape[1]))

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> MetagenBertOutput:
        """Embed reads and find their nearest centroids.

        Args:
            input_ids: `(n_reads, length)`.
            attention_mask: `(n_reads, length)`, 1 on tokens.
            output_hidden_states: Whether to return the encoder's hidden states, of which the read embeddings are then
                pooled; by default as the config says.
            output_attentions: Whether to return the encoder's attention weights; likewise.
            inputs_embeds: `(n_reads, length, width)`, vectors of tokens instead of `input_ids`, for encoders that take
                them.
            **kwargs: Ignored arguments of the transformers interface.

        Returns:
            Read embeddings, cluster ids and squared distances; hidden states and attentions if asked for.

        Raises:
            ValueError: Not exactly one of `input_ids` and `inputs_embeds` is given.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give either input_ids or inputs_embeds, and not both.")
        if attention_mask is not None:
            mask = attention_mask
        elif input_ids is not None:
            mask = torch.ones_like(input_ids)
        else:
            assert inputs_embeds is not None
            mask = torch.ones_like(inputs_embeds[:, :, 0], dtype=torch.int64)
        states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        weights = self.config.output_attentions if output_attentions is None else output_attentions
        encoded: Any = {}
        if input_ids is None or states or weights or is_traced():
            # Not every encoder takes the other one.
            inputs = {"inputs_embeds": inputs_embeds} if input_ids is None else {"input_ids": input_ids}
            encoded = self.encoder(
                **inputs, attention_mask=mask, output_hidden_states=states, output_attentions=weights
            )
            vectors = self._finish(self._pool_encoded(encoded, input_ids, mask))
        else:
            vectors = self.embed_packed(input_ids[mask.bool()], mask.sum(1).cpu())
        distances = self.squared_distances(vectors)
        return MetagenBertOutput(
            read_embeddings=vectors,
            cluster_ids=distances.argmin(1),
            squared_distances=distances,
            hidden_states=encoded.get("hidden_states"),
            attentions=encoded.get("attentions"),
        )

    def embed_sample(self, fastq_1: str | Path, fastq_2: str | Path | None = None, **options: Any) -> SampleEmbedding:
        """Compute the abundance vector of a sample; see `biomeformer.metagenomes.sample.embed_sample` for the options.

        Args:
            fastq_1: FASTQ or FASTA file, plain or compressed, or a list of those of one sample, such as of lanes.
            fastq_2: Second file of a paired sample, or a list of as many.
            **options: `read_fraction`, `seed`, `batch_tokens`, `progress`.

        Returns:
            Counts, abundance and read statistics.

        Raises:
            ReadFileError: A file cannot be read, or is damaged.
            ImportError: This model's code came with its checkpoint, without the package.
        """
        package = self._package()
        return package.embed_sample(self, package.sample_reads(fastq_1, fastq_2), **options)

    def embed_cohort(self, cohort: str | Path | Cohort, **options: Any) -> AbundanceTable:
        """Compute the abundance table of a cohort; see `biomeformer.metagenomes.cohort.embed_cohort` for the options.

        Args:
            cohort: Path of a cohort CSV or TSV, or a `Cohort`.
            **options: `read_fraction`, `seed`, `batch_tokens`, `output`, `progress`.

        Returns:
            One row per sample.

        Raises:
            ImportError: This model's code came with its checkpoint, without the package.
        """
        return self._package().embed_cohort(self, cohort, **options)


class MetagenBertForPhenotypeClassification(MetagenBertPreTrainedModel):
    """A model of a phenotype: read encoder, centroids, and a head.

    `config.head` selects the head: linear, on the transformed abundance vector, or DeepSets, on a set of vectors of the
    sample, either centroids of its own reads (MetagenBERT-Local) or some of its reads (MetagenBERT-Sub).
    `config.problem_type` selects the task: `single_label_classification`, `multi_label_classification` or `regression`;
    `config.id2label` names the outputs.
    """

    weight_rules = WeightRules(
        head=("head.",),
        no_head="head for a phenotype; make one with `biomeformer phenotype train TABLE --model CHECKPOINT`",
        optional=tuple(f"metagenbert.encoder.{name}." for name in UNUSED_PARTS),
    )
    main_input_name = "counts"
    _keep_in_fp32_modules_strict = {"centroids", "head"}

    def __init__(self, config: MetagenBertConfig) -> None:
        super().__init__(config)
        self.metagenbert = MetagenBertModel(config)
        self.head: nn.Module = (
            nn.Linear(config.n_clusters, config.num_labels) if config.head == "linear" else make_deep_sets(config)
        )
        self.post_init()

    def _apply(self, fn: Callable[..., torch.Tensor], recurse: bool = True) -> MetagenBertForPhenotypeClassification:
        """Keep the head in float32 through `.half()`, `.bfloat16()` and `.to(dtype)`."""
        tensors = {name: value.data for name, value in self._head_tensors()}
        super()._apply(fn, recurse)
        for name, value in self._head_tensors():
            if value.dtype != torch.float32:
                value.data = tensors[name].to(value.device)
        return self

    def _head_tensors(self) -> list[tuple[str, torch.Tensor]]:
        return [*self.head.named_parameters(), *self.head.named_buffers()]

    @can_return_tuple
    def forward(
        self,
        counts: torch.Tensor | None = None,
        elements: torch.Tensor | None = None,
        weights: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        lengths: torch.Tensor | None = None,
        set_sizes: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Score samples: abundance vectors with a linear head, sets of vectors or of reads with a DeepSets head.

        Args:
            counts: `(n_samples, n_clusters)`, counts of reads per cluster, or fractions unless `zero_replacement`
                is `sq`; for a linear head.
            elements: `(n_samples, n_elements, hidden_size)`, vectors of sets; for a DeepSets head.
            weights: `(n_samples, n_elements)`, shares of the elements; 0 marks padding. Equal by default.
            input_ids: `(n_tokens,)`, concatenated tokens of reads, to be embedded with gradients, instead of
                `elements`.
            lengths: `(n_reads,)`, tokens of each read; on the CPU, or the CPU waits for the GPU.
            set_sizes: `(n_samples,)`, number of reads of each sample; likewise on the CPU.
            labels: Class indices `(n_samples,)`, zeros and ones `(n_samples, num_labels)` for multi-label
                classification, or numbers `(n_samples,)` for regression.
            **kwargs: Ignored arguments of the transformers interface.

        Returns:
            `logits (n_samples, num_labels)`, float64 for a linear head, and `loss` with labels.

        Raises:
            ValueError: The head's inputs were not given.
        """
        if self.config.head == "linear":
            if counts is None:
                raise ValueError("A linear head scores abundance vectors; give counts.")
            shares = transform_abundance(counts, self.config.abundance_transform, self.config.zero_replacement)
            weight, bias = self.head.get_parameter("weight"), self.head.get_parameter("bias")
            logits = shares @ weight.double().T + bias.double()
        else:
            if input_ids is not None and lengths is not None and set_sizes is not None:
                elements, weights = self._embedded_sets(input_ids, lengths, set_sizes)
            if elements is None:
                raise ValueError(
                    "A DeepSets head scores sets of vectors; give elements, or input_ids with lengths and set_sizes."
                )
            logits = self.head(elements, torch.ones_like(elements[:, :, 0]) if weights is None else weights)
        loss = None
        if labels is not None:
            loss = head_loss(logits, labels, self.config, num_items_in_batch=kwargs.get("num_items_in_batch"))
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _embedded_sets(
        self, input_ids: torch.Tensor, lengths: torch.Tensor, set_sizes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed packed reads, and pad them to `elements` and `weights` of `forward`."""
        vectors = self.metagenbert.embed_packed(input_ids, lengths)
        set_sizes = set_sizes.cpu()
        mask = (torch.arange(int(set_sizes.max())) < set_sizes[:, None]).to(vectors.device)
        elements = vectors.new_zeros(*mask.shape, vectors.shape[1])
        return elements.masked_scatter(mask[:, :, None], vectors), mask.float()

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the probabilities of logits `(n_samples, num_labels)`; outputs of a regression are unchanged."""
        if self.config.problem_type == "multi_label_classification":
            return logits.sigmoid()
        return logits if self.config.problem_type == "regression" else logits.softmax(1)

    @torch.no_grad()
    def predict_counts(self, counts: np.ndarray) -> np.ndarray:
        """Predict the probabilities of the labels, or the numbers of a regression, from abundance vectors.

        Args:
            counts: `(n_samples, n_clusters)`, counts or fractions of reads per cluster.

        Returns:
            float64 `(n_samples, num_labels)`.

        Raises:
            ValueError: The head is not linear.
        """
        values = torch.as_tensor(np.asarray(counts), device=self.metagenbert.centroids.device)
        return self.probabilities(self(counts=values).logits).cpu().numpy()

    @torch.no_grad()
    def predict_sets(self, elements: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Predict the probabilities of the labels, or the numbers of a regression, with a DeepSets head.

        Args:
            elements: float32 `(n_sets, n_elements, hidden_size)`, sets of one sample.
            weights: float32 `(n_sets, n_elements)`; 0 marks padding.

        Returns:
            float64 `(num_labels,)`, the mean over the sets.
        """
        device = self.metagenbert.centroids.device
        logits = self(
            elements=torch.as_tensor(elements, device=device), weights=torch.as_tensor(weights, device=device)
        ).logits
        return self.probabilities(logits.double()).mean(0).cpu().numpy()

    def predict(self, fastq_1: str | Path, fastq_2: str | Path | None = None, **options: Any) -> dict[str, float]:
        """Predict the phenotype of one sample from its reads.

        Args:
            fastq_1: FASTQ or FASTA file, plain or compressed.
            fastq_2: Second file of a paired sample.
            **options: `batch_tokens`, `progress` and, with a linear head, `read_fraction` and `seed`.

        Returns:
            The probability of each label, or each number of a regression, by its name.

        Raises:
            ReadFileError: A file cannot be read, or is damaged.
            ImportError: This model's code came with its checkpoint, without the package.
        """
        if self.config.head == "linear":
            sample = self.metagenbert.embed_sample(fastq_1, fastq_2, **options)
            values = self.predict_counts(sample.counts[None])[0]
        else:
            package = self._package()
            reads = package.sample_reads(fastq_1, fastq_2)
            read_set = package.read_set(self.metagenbert, reads, **set_options(self.config), **options)
            values = self.predict_sets(*read_set.parts(self.config.set_size))
        return {self.config.id2label[i]: float(value) for i, value in enumerate(values)}


# Copied from biomeformer/models/dnabert2/modeling_dnabert2.py
def is_traced() -> bool:
    """Return whether a graph of this call is recorded, in which no operation may depend on a tensor's values."""
    return bool(torch.compiler.is_compiling() or torch.jit.is_tracing())


def transform_abundance(counts: torch.Tensor, transform: str, zeros: str = "fixed") -> torch.Tensor:
    """Normalise abundance vectors to a sum of one and transform them, in float64.

    Args:
        counts: `(n_samples, n_clusters)`, of which no row is zero.
        transform: `none`; or `clr`, the centred log-ratio (as scikit-bio's `clr`) after zeros are replaced.
        zeros: Replacement of zeros: `fixed`, `1 / n_clusters**2` (scikit-bio's `multi_replace`); or `sq`,
            `1 / (n_clusters * (sqrt(n_reads) + 1))` (zCompositions' `cmultRepl`, method SQ); or `epsilon`, by which
            1e-12 is added to every share.

    Returns:
        float64 `(n_samples, n_clusters)`.
    """
    shares = counts.double()
    depth = shares.sum(1, keepdim=True)
    shares = shares / depth
    if transform == "none":
        return shares
    if zeros == "epsilon":
        logs = (shares + 1e-12).log()
        return logs - logs.mean(1, keepdim=True)
    n = shares.shape[1]
    delta = torch.full_like(depth, 1 / n**2) if zeros == "fixed" else 1 / (n * (depth.sqrt() + 1))
    is_zero = shares == 0
    # The other shares are scaled down by what the replaced zeros take, so that the sum stays one.
    remainder = 1 - is_zero.double().sum(1, keepdim=True) * delta
    logs = torch.where(is_zero, delta, shares * remainder).log()
    return logs - logs.mean(1, keepdim=True)


def two_nearest(distances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find the two smallest numbers of each row.

    Args:
        distances: `(n_rows, n_columns)`; changed in place.

    Returns:
        Column of the smallest number (of equal ones, any), int64 `(n_rows,)`; the smallest number; and the second
        smallest, infinite if there is one column.
    """
    n_blocks = math.gcd(distances.shape[1], MINIMUM_BLOCKS)
    # A minimum over blocks of columns is vectorised, an argmin is not: reducing the blocks first leaves few columns for
    # the argmin.
    blocks = distances.unflatten(1, (n_blocks, -1))
    nearest, within = blocks.amin(1).min(1)
    block = blocks.gather(2, within[:, None, None].expand(-1, n_blocks, 1))[:, :, 0].min(1).indices
    column = block * blocks.shape[2] + within
    return column, nearest, distances.scatter_(1, column[:, None], math.inf).amin(1)


def set_options(config: MetagenBertConfig) -> dict[str, Any]:
    """Return the arguments of `biomeformer.metagenomes.read_sets.read_set` that make a DeepSets head's sets."""
    return {
        "elements": config.set_elements,
        "size": config.set_size,
        "n_reads": config.set_reads,
        "seed": config.set_seed,
    }


__all__ = [
    "MetagenBertForPhenotypeClassification",
    "MetagenBertModel",
    "MetagenBertOutput",
    "MetagenBertPreTrainedModel",
    "set_options",
    "transform_abundance",
]

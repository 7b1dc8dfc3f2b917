"""MetagenBERT-Glob: reads to vectors to nearest centroids (arXiv 2601.03295)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
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
from .deep_sets import DeepSets
from .full_float32 import full_float32_matmul
from .processing_metagenbert import MetagenBertProcessor
from .strict_loading import StrictPreTrainedModel, WeightRules

if TYPE_CHECKING:
    # transformers refuses remote code whose imports it does not find, but leaves out those that may fail.
    try:
        from biomeformer.metagenomes import AbundanceTable, SampleEmbedding
        from biomeformer.reads import Cohort
    except ImportError:
        pass

# A gap between the two nearest centroids under this share of the vectors' scale may be rounding noise.
TIE_TOLERANCE = 1e-5
DISTANCE_ROWS = 256
MINIMUM_BLOCKS = 16
# Equally long reads that a GPU embeds at once where each must be embedded as if by itself, and most tokens of them. On
# a CPU one read is worth a pass.
EXACT_BATCH_READS = {"cuda": 16}
EXACT_BATCH_TOKENS = 4096


@dataclass
class MetagenBertOutput(ModelOutput):
    """What `MetagenBertModel.forward` returns.

    Attributes:
        read_embeddings: `(n_reads, hidden_size)`, float32.
        cluster_ids: `(n_reads,)`, int64, the nearest centroid of each read.
        squared_distances: `(n_reads, n_clusters)`, float32.
    """

    read_embeddings: torch.Tensor | None = None
    cluster_ids: torch.Tensor | None = None
    squared_distances: torch.Tensor | None = None


class NearestCentroids(NamedTuple):
    """What `MetagenBertModel.nearest_packed` returns, on the model's device.

    Attributes:
        cluster_ids: int64 `(n_reads,)`, as this batch rounds distances.
        near_tie: bool `(n_reads,)`: of these reads the two nearest centroids are as good as equally far.
        vectors: float32 `(n_reads, hidden_size)`, the reads'.
    """

    cluster_ids: torch.Tensor
    near_tie: torch.Tensor
    vectors: torch.Tensor


class MetagenBertPreTrainedModel(StrictPreTrainedModel):
    """What models over a read encoder and centroids share.

    Attributes:
        processor: The preprocessing config with its tokenizer.
    """

    config_class = MetagenBertConfig
    base_model_prefix = "metagenbert"
    main_input_name = "input_ids"
    processor_class = MetagenBertProcessor
    processor_required = True
    input_kinds = ("tokens", "FASTQ files")
    _keep_in_fp32_modules_strict = {"centroids", "head"}
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

    def _finish_loading(self, info: dict[str, Any], options: dict[str, Any]) -> None:
        # Loading makes every weight trainable; centroids are not.
        self.base_model.centroids.requires_grad_(False)


class MetagenBertModel(MetagenBertPreTrainedModel):
    """A read encoder with the centroids of a reference cohort, as one checkpoint.

    `from_pretrained` also loads the `MetagenBertProcessor` that the checkpoint carries, so that a model goes from FASTQ
    to abundance vectors by itself.
    """

    weight_rules = WeightRules(ignored=("head.",))

    def __init__(self, config: MetagenBertConfig) -> None:
        super().__init__(config)
        self.encoder = AutoModel.from_config(config.encoder_config)
        self.centroids = nn.Parameter(
            torch.empty(config.n_clusters, config.hidden_size, dtype=torch.float32), requires_grad=False
        )
        # What `_exact_batch_size` has tried out.
        self._exact_batches: dict[tuple[int, int, torch.device, torch.dtype], bool] = {}
        self.post_init()

    def _apply(self, fn: Callable[..., torch.Tensor], recurse: bool = True) -> MetagenBertModel:
        """Keep the centroids in float32 through `.half()`, `.bfloat16()` and `.to(dtype)`."""
        exact = self.centroids.data
        super()._apply(fn, recurse)
        if self.centroids.dtype != torch.float32:
            self.centroids.data = exact.to(self.centroids.device)
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
        """Wrap an encoder and an array of centroids, for instance the one the authors publish.

        Args:
            encoder: The read encoder the centroids were learnt with.
            centroids: `(n_clusters, hidden_size)` array, tensor, or path of a `.npy` file. For the authors' published
                centroids give `pooling="mean_over_max_length"` and their `max_length`, since they live on that scale.
            processor: The preprocessing config under which reads are tokenised; or give
            tokenizer: a tokenizer, from which a processor is made with
            **preprocessing: fields of `MetagenBertProcessor`.
            normalize_embeddings: Whether read vectors have unit length.

        Returns:
            The model, in evaluation mode, sharing the encoder given.

        Raises:
            ValueError: The array is not finite, or its shape does not fit the encoder.
            OSError: The file cannot be read.
        """
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

    @cached_property
    def weights_sha256(self) -> str:
        """SHA-256 over names, shapes, types and values of all weights as they are held (not of the file)."""
        return hash_weights(self.state_dict())

    def embed_packed(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """One vector a read, from packed tokens, without padding.

        Args:
            input_ids: `(n_tokens,)`, reads end to end.
            lengths: `(n_reads,)`, tokens of each read, all positive; on the CPU, or a GPU has to be waited for.

        Returns:
            `(n_reads, hidden_size)`, float32, of unit length where the config says so.
        """
        pooling, max_length = self.config.pooling, self.config.max_length
        packed = getattr(self.encoder, "embed_packed", None)
        if packed is not None:
            vectors = packed(input_ids, lengths, pooling=pooling, max_length=max_length)
        else:
            vectors = self._embed_by_length(input_ids, lengths)
        return self._finish(vectors)

    def _embed_by_length(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        lengths = lengths.cpu()
        order = torch.argsort(lengths, stable=True)
        reads = input_ids.split(lengths.tolist())
        vectors: list[torch.Tensor] = []
        first = 0
        for n in torch.unique(lengths, return_counts=True)[1].tolist():
            ids = torch.stack([reads[row] for row in order[first : first + n].tolist()])
            hidden = self.encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
            vectors.append(self._pool(hidden, torch.ones_like(ids)).float())
            first += n
        return torch.cat(vectors)[torch.argsort(order).to(input_ids.device)]

    def _pool(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.config.pooling == "cls":
            return hidden[:, 0]
        total = (hidden.float() * mask[:, :, None]).sum(1)
        if self.config.pooling == "mean_over_max_length":
            return total / self.config.max_length
        return total / mask.sum(1, keepdim=True)

    def _finish(self, vectors: torch.Tensor) -> torch.Tensor:
        vectors = vectors.float()
        return nn.functional.normalize(vectors, dim=-1) if self.config.normalize_embeddings else vectors

    @full_float32_matmul()
    def squared_distances(self, vectors: torch.Tensor) -> torch.Tensor:
        """Squared Euclidean distances `(n_reads, n_clusters)` in float32."""
        centroids = self.centroids.float()
        norms = vectors.square().sum(1, keepdim=True) + centroids.square().sum(1)
        return (norms - 2 * vectors @ centroids.T).clamp_min(0)

    def assign_packed(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Nearest centroid of each read; of an encoder in float32 the same whatever batch a read is in.

        Matrix products round differently at different shapes. A read whose two nearest centroids are as good as equally
        far is therefore embedded again as if it were by itself, and compared in float64: its answer then depends on the
        read alone. Products are made in full float32, whatever the host program has set (`full_float32_matmul`).

        In bfloat16, float16 and float8 no such promise is made: vectors differ between batches by more than near ties
        do, so that a read near the border of two clusters may change sides with its batch. Near ties are compared in
        float64, and not embedded again.

        Args:
            input_ids: `(n_tokens,)`, reads end to end.
            lengths: `(n_reads,)`, tokens of each read, all positive; on the CPU, or a GPU has to be waited for.

        Returns:
            Cluster ids, int64 `(n_reads,)`; of equally near centroids the first.
        """
        cluster_ids, near_tie, vectors = self.nearest_packed(input_ids, lengths)
        rows = near_tie.nonzero()[:, 0]
        if not len(rows):
            return cluster_ids
        if self.settles_near_ties_by_distance:
            cluster_ids[rows] = self.nearest_exactly(vectors[rows])
        else:
            for some, reads in by_length(input_ids, lengths.cpu(), rows.cpu()):
                cluster_ids[some.to(cluster_ids.device)] = self.assign_exact(reads)
        return cluster_ids

    @full_float32_matmul()
    def nearest_packed(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> NearestCentroids:
        """Nearest centroid of each read as this batch rounds it, and whether that may be rounding; waits for nothing.

        Args:
            input_ids: `(n_tokens,)`, reads end to end.
            lengths: `(n_reads,)`, tokens of each read, all positive; on the CPU, or a GPU has to be waited for.

        Returns:
            Cluster ids, and which of them are near_tie: `nearest_exactly` has the answer for these, or, where
            `settles_near_ties_by_distance` does not hold, `assign_exact`.
        """
        vectors = self.embed_packed(input_ids, lengths)
        norms = torch.linalg.vector_norm(self.centroids, dim=1).square()
        # On a CPU so many reads at a time that their distances stay in the cache.
        tiles = vectors.split(DISTANCE_ROWS) if vectors.device.type == "cpu" else (vectors,)
        # Without the read's own norm, which is the same for every centroid.
        found = [two_nearest(torch.addmm(norms, tile, self.centroids.T, alpha=-2)) for tile in tiles]
        cluster_ids, nearest, second = (torch.cat(parts) for parts in zip(*found, strict=True))
        scale = torch.linalg.vector_norm(vectors, dim=1).square() + norms.max()
        return NearestCentroids(cluster_ids, second - nearest <= TIE_TOLERANCE * scale, vectors)

    @property
    def settles_near_ties_by_distance(self) -> bool:
        """Whether a doubtful read's vector is taken as it is: it is the same in any batch, or not exact anyway."""
        if getattr(self.encoder, "embeds_reads_independently", False):
            return True
        return self.encoder.dtype.itemsize < 4 or torch.is_autocast_enabled(self.device.type)

    def nearest_exactly(self, vectors: torch.Tensor) -> torch.Tensor:
        """Nearest centroid of each vector, compared in float64: each by itself, so that its batch changes nothing.

        Args:
            vectors: float32 `(n_reads, hidden_size)`.

        Returns:
            Cluster ids, int64 `(n_reads,)`; of equally near centroids the first.
        """
        # MPS has no float64.
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
        """Nearest centroid of equally long reads, each embedded as if it were by itself; it depends on the read alone.

        On a GPU several are embedded at once, for each length in batches of one and the same shape, which are filled up
        with a read they have. At one shape, every row of a matrix product is made of its own numbers in one and the
        same order, whatever the other rows hold. That this is also so wherever a row lies is tried out for each length,
        by a batch of one read repeated; where it is not, reads are embedded one by one.

        Args:
            reads: `(n_reads, length)` tokens on the model's device.

        Returns:
            Cluster ids, int64 `(n_reads,)`; of equally near centroids the first.
        """
        n_at_once = self._exact_batch_size(reads[0])
        vectors = []
        for some in reads.split(n_at_once):
            filling = some[:1].expand(n_at_once - len(some), -1)
            vectors.append(self._embed_equally_long(torch.cat([some, filling]))[: len(some)])
        return self.nearest_exactly(torch.cat(vectors))

    def _exact_batch_size(self, read: torch.Tensor) -> int:
        """How many reads as long as this one can be embedded at once, as if each were by itself."""
        n_reads = exact_batch_size(len(read), read.device)
        key = (n_reads, len(read), read.device, self.encoder.dtype)
        if n_reads > 1 and key not in self._exact_batches:
            vectors = self._embed_equally_long(read.expand(n_reads, -1))
            self._exact_batches[key] = bool((vectors == vectors[0]).all())
        return n_reads if n_reads > 1 and self._exact_batches[key] else 1

    def _embed_equally_long(self, reads: torch.Tensor) -> torch.Tensor:
        return self.embed_packed(reads.flatten(), torch.full((len(reads),), reads.shape[1]))

    @can_return_tuple
    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> MetagenBertOutput:
        """Embed reads and find their nearest centroids.

        Args:
            input_ids: `(n_reads, length)`.
            attention_mask: `(n_reads, length)`, 1 on tokens.
            **kwargs: Ignored arguments of the transformers interface.

        Returns:
            Read embeddings, cluster ids and squared distances.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        vectors = self.embed_packed(input_ids[mask.bool()], mask.sum(1).cpu())
        distances = self.squared_distances(vectors)
        return MetagenBertOutput(read_embeddings=vectors, cluster_ids=distances.argmin(1), squared_distances=distances)

    def embed_sample(self, fastq_1: str | Path, fastq_2: str | Path | None = None, **options: Any) -> SampleEmbedding:
        """Abundance vector of one sample; see `biomeformer.metagenomes.sample.embed_sample` for the options.

        Args:
            fastq_1: FASTQ or FASTA file, plain or compressed.
            fastq_2: The mates' file of a paired sample.
            **options: `read_fraction`, `seed`, `batch_tokens`, `progress`.

        Returns:
            Counts, abundance and tallies.

        Raises:
            ImportError: This model's code came with its checkpoint.
        """
        package = self._package()
        return package.embed_sample(self, package.sample_reads(fastq_1, fastq_2), **options)

    def embed_cohort(self, cohort: str | Path | Cohort, **options: Any) -> AbundanceTable:
        """Abundance table of a cohort; see `biomeformer.metagenomes.cohort.embed_cohort` for the options.

        Args:
            cohort: Path of a cohort CSV or TSV, or a `Cohort`.
            **options: `read_fraction`, `seed`, `batch_tokens`, `output`, `progress`.

        Returns:
            One row a sample.

        Raises:
            ImportError: This model's code came with its checkpoint.
        """
        return self._package().embed_cohort(self, cohort, **options)


class MetagenBertForPhenotypeClassification(MetagenBertPreTrainedModel):
    """From reads to a phenotype: read encoder, centroids, and a head.

    The head is linear, on the transformed abundance vector, or DeepSets, on a set of vectors of the sample: its own
    centroids (MetagenBERT-Local) or some of its reads (MetagenBERT-Sub); `config.head` says which.
    `config.problem_type` says what the head's outputs are: one class of several (`single_label_classification`),
    several at once (`multi_label_classification`), or a number (`regression`); `config.id2label` names them.
    """

    weight_rules = WeightRules(
        head=("head.",),
        no_head="head for a phenotype; make one with `biomeformer phenotype train TABLE --model CHECKPOINT`",
    )

    def __init__(self, config: MetagenBertConfig) -> None:
        super().__init__(config)
        self.metagenbert = MetagenBertModel(config)
        self.head: nn.Module = (
            nn.Linear(config.n_clusters, config.num_labels) if config.head == "linear" else DeepSets(config)
        )
        self.post_init()

    def _apply(self, fn: Callable[..., torch.Tensor], recurse: bool = True) -> MetagenBertForPhenotypeClassification:
        """Keep the head in float32 through `.half()`, `.bfloat16()` and `.to(dtype)`."""
        exact = {name: value.data for name, value in self._head_tensors()}
        super()._apply(fn, recurse)
        for name, value in self._head_tensors():
            if value.dtype != torch.float32:
                value.data = exact[name].to(value.device)
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
            counts: `(n_samples, n_clusters)`, cluster counts or shares.
            elements: `(n_samples, n_elements, hidden_size)`, vectors of sets.
            weights: `(n_samples, n_elements)`, their shares; 0 is padding. Even by default.
            input_ids: `(n_tokens,)`, instead of `elements` the tokens of reads end to end, to be embedded here, with
                gradients.
            lengths: `(n_reads,)`, tokens of each read; on the CPU, or a GPU has to be waited for.
            set_sizes: `(n_samples,)`, reads of each sample; likewise.
            labels: Classes `(n_samples,)`, 0 and 1 `(n_samples, num_labels)` where several hold at once, or numbers
                `(n_samples,)`.
            **kwargs: Ignored arguments of the transformers interface.

        Returns:
            Logits `(n_samples, num_labels)`, float64 of a linear head, and the loss where labels are given.

        Raises:
            ValueError: What the head reads was not given.
        """
        if self.config.head == "linear":
            if counts is None:
                raise ValueError("A linear head scores abundance vectors; give counts.")
            shares = transform_abundance(counts, self.config.abundance_transform)
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
            if self.config.problem_type == "regression":
                loss = nn.functional.mse_loss(logits.reshape(labels.shape), labels.to(logits.dtype))
            elif self.config.problem_type == "multi_label_classification":
                loss = nn.functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
            else:
                loss = nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _embedded_sets(
        self, input_ids: torch.Tensor, lengths: torch.Tensor, set_sizes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        vectors = self.metagenbert.embed_packed(input_ids, lengths)
        set_sizes = set_sizes.cpu()
        there = (torch.arange(int(set_sizes.max())) < set_sizes[:, None]).to(vectors.device)
        elements = vectors.new_zeros(*there.shape, vectors.shape[1])
        return elements.masked_scatter(there[:, :, None], vectors), there.float()

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        if self.config.problem_type == "multi_label_classification":
            return logits.sigmoid()
        return logits if self.config.problem_type == "regression" else logits.softmax(1)

    @torch.no_grad()
    def predict_counts(self, counts: np.ndarray) -> np.ndarray:
        """Probabilities of the labels, or the numbers of a regression.

        Args:
            counts: `(n_samples, n_clusters)`, cluster counts or shares.

        Returns:
            float64 `(n_samples, num_labels)`.

        Raises:
            ValueError: The head is not linear.
        """
        values = torch.as_tensor(np.asarray(counts), device=self.metagenbert.centroids.device)
        return self._probabilities(self(counts=values).logits).cpu().numpy()

    @torch.no_grad()
    def predict_sets(self, elements: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Probabilities of the labels, or the numbers of a regression, by a DeepSets head.

        Args:
            elements: float32 `(n_sets, n_elements, hidden_size)`, all of one sample.
            weights: float32 `(n_sets, n_elements)`; 0 is padding.

        Returns:
            float64 `(num_labels,)`, the mean over the sets.
        """
        device = self.metagenbert.centroids.device
        logits = self(
            elements=torch.as_tensor(elements, device=device), weights=torch.as_tensor(weights, device=device)
        ).logits
        return self._probabilities(logits.double()).mean(0).cpu().numpy()

    def predict(self, fastq_1: str | Path, fastq_2: str | Path | None = None, **options: Any) -> dict[str, float]:
        """Predict the phenotype of one sample from its reads.

        Args:
            fastq_1: FASTQ or FASTA file, plain or compressed.
            fastq_2: The mates' file of a paired sample.
            **options: `batch_tokens`, `progress` and, with a linear head, `read_fraction` and `seed`.

        Returns:
            The probability of each label, or the number of a regression, by its name.

        Raises:
            ReadFileError: A file is damaged.
            ImportError: This model's code came with its checkpoint.
        """
        if self.config.head == "linear":
            sample = self.metagenbert.embed_sample(fastq_1, fastq_2, **options)
            values = self.predict_counts(sample.counts[None])[0]
        else:
            package = self._package()
            reads = package.sample_reads(fastq_1, fastq_2)
            found = package.read_set(self.metagenbert, reads, **set_options(self.config), **options)
            values = self.predict_sets(*found.parts(self.config.set_size))
        return {self.config.id2label[i]: float(value) for i, value in enumerate(values)}


def transform_abundance(counts: torch.Tensor, transform: str) -> torch.Tensor:
    """Close abundance vectors to one and transform them, in float64.

    Args:
        counts: `(n_samples, n_clusters)`, with something in every row.
        transform: `none`; or `clr`, the centred log-ratio with zeros replaced by `1 / n_clusters**2` (as scikit-bio's
            `multi_replace` and `clr` do).

    Returns:
        float64 `(n_samples, n_clusters)`.
    """
    shares = counts.double()
    shares = shares / shares.sum(1, keepdim=True)
    if transform == "none":
        return shares
    delta = 1 / shares.shape[1] ** 2
    is_zero = shares == 0
    room = 1 - is_zero.double().sum(1, keepdim=True) * delta
    logs = torch.where(is_zero, shares.new_tensor(delta), shares * room).log()
    return logs - logs.mean(1, keepdim=True)


def two_nearest(distances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The smallest number of each row, any of equal ones, and the next.

    Args:
        distances: `(n_rows, n_columns)`, changed in place.

    Returns:
        Its column, int64 `(n_rows,)`, itself, and the next smallest, infinite where there is one column.
    """
    n_blocks = math.gcd(distances.shape[1], MINIMUM_BLOCKS)
    # The smallest of several numbers side by side is found at once, its place by one comparison after the other: the
    # blocks are laid over each other first, which leaves few places to look at.
    blocks = distances.unflatten(1, (n_blocks, -1))
    nearest, within = blocks.amin(1).min(1)
    block = blocks.gather(2, within[:, None, None].expand(-1, n_blocks, 1))[:, :, 0].min(1).indices
    column = block * blocks.shape[2] + within
    return column, nearest, distances.scatter_(1, column[:, None], math.inf).amin(1)


def exact_batch_size(length: int, device: torch.device) -> int:
    """Reads of a length that are embedded at once where each must be as if by itself; it depends on nothing else."""
    return max(min(EXACT_BATCH_READS.get(device.type, 1), EXACT_BATCH_TOKENS // length), 1)


def by_length(
    input_ids: torch.Tensor, lengths: torch.Tensor, rows: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Some of a batch's reads, equally long ones together; a GPU is not waited for.

    Args:
        input_ids: `(n_tokens,)`, reads end to end.
        lengths: `(n_reads,)`, tokens of each read, on the CPU.
        rows: int64 `(n_rows,)`, which of the reads, on the CPU.

    Yields:
        Rows `(n_equally_long,)` on the CPU, and tokens `(n_equally_long, length)` on the device of `input_ids`.
    """
    starts = torch.cumsum(lengths, 0) - lengths
    for length in lengths[rows].unique().tolist():
        some = rows[lengths[rows] == length]
        places = starts[some][:, None] + torch.arange(length)
        if input_ids.device.type == "cuda":
            places = places.pin_memory()
        yield some, input_ids[places.to(input_ids.device, non_blocking=True)]


def hash_weights(weights: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, shapes, types and values of weights, in the order of their names."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def set_options(config: MetagenBertConfig) -> dict[str, Any]:
    """How a DeepSets head's sets are made: arguments of `biomeformer.metagenomes.read_sets.read_set`."""
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
    "hash_weights",
    "set_options",
    "transform_abundance",
]

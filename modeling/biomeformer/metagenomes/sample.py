"""Embedding of one sample: reads in, cluster counts out; no read's vector is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..errors import InputError
from ..inference.batching import check_batch_tokens, is_lookup_encoder, map_per_core
from ..inference.kernels import record_kernels
from ..io.html_repr import MAX_ROWS, count, html_table
from ..io.short_repr import short_repr
from ..models.metagenbert import MetagenBertModel, MetagenBertProcessor, PackedReads
from ..moved import renamed
from ..reads import ReadBatch, SampleReader, SampleReads
from ..runs.prefetch import prefetch
from .counting import ClusterCounter, FirstVectors
from .distances import MAX_COMPARED_READS, count_far
from .kmeans import nearest_centroids

READ_STATS = (
    "n_reads",
    "n_selected",
    "n_used",
    "n_too_short",
    "n_no_tokens",
    "n_truncated",
    "n_ambiguous",
    "n_lower_case",
    "n_windows",
    "n_tokens",
    "n_unknown_tokens",
    "n_compared",
    "n_far",
)
# Statistics that version 0.1 does not have, and the value they get: reads had one window each, and 0 tokens stands for
# tokens that were not counted, as 0 reads compared for reads whose distances were not looked at.
LATER_READ_STATS: dict[str, str | int] = {
    "n_windows": "n_used", "n_tokens": 0, "n_unknown_tokens": 0, "n_compared": 0, "n_far": 0
}  # fmt: skip
ProgressCallback = Callable[[str, int, int, int], None]


@dataclass(frozen=True)
class SampleEmbedding:
    """Cluster counts of one sample.

    Attributes:
        counts: int64 `(n_clusters,)`, reads per cluster; windows of reads, if the preprocessing config cuts reads.
        read_stats: `n_reads` in the files, `n_selected` by subsampling, of which `n_used + n_too_short + n_no_tokens`;
            of the used ones `n_truncated`, `n_ambiguous`, `n_lower_case`; their windows, `n_windows`, which `counts`
            add up to; `n_tokens` in these, of which the tokenizer does not know `n_unknown_tokens`; and of some of
            the first windows, `n_compared` whose distance to the centroids was compared with those of the reads these
            were learned on, `n_far` of them far (see `biomeformer.metagenomes.distances`).
        sample_id: Name of the sample in its cohort.
    """

    counts: np.ndarray
    read_stats: dict[str, int]
    sample_id: str | None = None

    __repr__ = short_repr

    def _repr_html_(self) -> str:
        order = np.argsort(-self.counts, kind="stable")[:MAX_ROWS]
        columns = {"reads": self.counts[order], "share": self.abundance[order]}
        frame = pd.DataFrame(columns, index=pd.Index(order, name="cluster"))
        name = "sample" if self.sample_id is None else self.sample_id
        used, found = (self.read_stats.get(column, 0) for column in ("n_used", "n_reads"))
        return html_table(self, f"{name}, {used:,} of {count(found, 'read')} used; its largest clusters", frame)

    tallies = renamed("tallies", "read_stats")

    @property
    def abundance(self) -> np.ndarray:
        """Abundance vector: float64 `(n_clusters,)`, the share of the used reads, or windows, each cluster holds."""
        return self.counts / max(int(self.counts.sum()), 1)


def complete_read_stats(read_stats: Mapping[str, int]) -> dict[str, int]:
    """Return read statistics with those that version 0.1 did not count."""
    if "n_used" not in read_stats:
        return dict(read_stats)
    complete = dict(read_stats)
    for name, value in LATER_READ_STATS.items():
        complete.setdefault(name, read_stats[value] if isinstance(value, str) else value)
    return {name: complete[name] for name in READ_STATS if name in complete} | complete


def require_processor(model: MetagenBertModel) -> MetagenBertProcessor:
    """Return the processor of a model.

    Raises:
        InputError: It has none.
    """
    if not isinstance(model.processor, MetagenBertProcessor):
        raise InputError(
            "The model has no processor, so reads cannot be tokenised; load it with from_pretrained, or set "
            "model.processor to a MetagenBertProcessor."
        )
    return model.processor


@torch.inference_mode()
def embed_sample(
    model: MetagenBertModel,
    reads: SampleReads | str | Path | Sequence[str | Path],
    *,
    sample_id: str | None = None,
    read_fraction: float = 1.0,
    seed: int = 0,
    batch_tokens: int | None = None,
    progress: ProgressCallback | None = None,
    share: tuple[int, int] = (0, 1),
    check: Callable[[], None] | None = None,
) -> SampleEmbedding:
    """Embed a sample's reads and count those nearest to each centroid.

    Args:
        model: Model with its processor, on the device to use.
        reads: The sample's files: `SampleReads`, or the path of a file, or a list of paths of files of single reads.
        sample_id: Name for progress and results.
        read_fraction: Share of the reads to use; read *i* is kept or not by a hash of *i* and the seed, and mates stay
            together, so equal arguments keep equal reads however the work is split.
        seed: Seed of that hash.
        batch_tokens: Token budget of one pass through the encoder. Counts of an encoder in float32 do not depend on it,
            nor on `share`, on one kind of device; in bfloat16, float16 and float8, reads near the border of two
            clusters may change sides.
        progress: Called after each batch with sample id, reads seen, bytes read and bytes in all.
        share: `(i, n)` embeds every `n`-th batch of reads, starting with the `i`-th; `combine` adds the `n` shares
            up. Each share reads and checks the whole files.
        check: Called after each batch, and while waiting for reads; what it raises ends the work.

    Returns:
        Counts and read_stats; of a share, those of its batches, but `n_reads` and `n_selected` of the whole sample.

    Raises:
        ReadFileError: A file is damaged or holds no reads.
        InputError: An argument is out of range, or no read can be used.

    Examples:
        >>> from importlib.resources import files
        >>> from biomeformer import load
        >>> reads = files("biomeformer") / "example_cohort" / "reads"
        >>> sample = embed_sample(load("metagenbert-mini"), reads / "case_01_R1.fastq.gz", read_fraction=0.1)
        >>> sample.counts.shape, sample.read_stats["n_reads"]
        ((512,), 2500)
        >>> int(sample.counts.sum()) == sample.read_stats["n_used"]
        True
    """
    processor = require_processor(model)
    if not isinstance(reads, SampleReads):
        reads = SampleReads.single(*([reads] if isinstance(reads, str | Path) else reads))
    budget = check_batch_tokens(batch_tokens, model)
    was_training = model.training
    model.eval()
    # The first reads of the whole sample are compared, by whichever share has them.
    first = FirstVectors(MAX_COMPARED_READS) if share[0] == 0 and model.config.far_distances is not None else None
    counter = ClusterCounter(model, budget, first)

    def encode(batch: ReadBatch) -> PackedReads:
        return processor.encode_reads(batch.sequence, batch.offsets)

    def encode_and_count(numbered: tuple[int, ReadBatch]) -> dict[str, int]:
        number, batch = numbered
        packed = encode(batch)
        counter.add(packed, is_first=number == 0)
        return packed.read_stats

    read_stats = dict.fromkeys(READ_STATS, 0)
    reader = SampleReader(reads, read_fraction=read_fraction, seed=seed, kernels=record_kernels)
    try:
        # Closed at once if a batch fails, so that no thread reads on.
        mine: Iterator[ReadBatch] = islice(reader, share[0], None, share[1])
        with ExitStack() as stack:
            if is_lookup_encoder(model) and model.device.type == "cpu":
                # Tokenising is the larger part of the work, and is shared out with it.
                batches = stack.enter_context(closing(prefetch(enumerate(mine), torch.get_num_threads(), check)))
                counted = stack.enter_context(closing(map_per_core(encode_and_count, batches, model.device)))
            else:
                ahead = stack.enter_context(closing(prefetch(map(encode, mine), check=check)))
                counted = stack.enter_context(closing(counter.add_all(ahead)))
            for batch_stats in counted:
                for name, value in batch_stats.items():
                    read_stats[name] += value
                if progress is not None:
                    progress(sample_id or "", reader.n_reads, reader.bytes_done, reader.bytes_total)
                if check is not None:
                    check()
        counts = counter.counts
        if first is not None:
            read_stats |= _compare(model, first)
    finally:
        model.train(was_training)
    read_stats["n_reads"], read_stats["n_selected"] = reader.n_reads, reader.n_selected
    embedding = SampleEmbedding(counts, read_stats, sample_id)
    if share[1] == 1:
        reason = why_nothing_used(embedding, reads, read_fraction, processor.preprocessing)
        if reason is not None:
            raise InputError(reason)
    return embedding


def _compare(model: MetagenBertModel, first: FirstVectors) -> dict[str, int]:
    """Return how many of a sample's first reads have a length on record, and how many are far from the centroids."""
    vectors, n_tokens = first.vectors()
    if not len(vectors):
        return {}
    squares, _ = nearest_centroids(vectors, model.centroids.cpu())
    n_compared, n_far = count_far(squares.sqrt().numpy(), n_tokens, model.config.far_distances)
    return {"n_compared": n_compared, "n_far": n_far}


def combine(shares: Sequence[SampleEmbedding]) -> SampleEmbedding:
    """Return the sample whose batches were shared, from all its shares."""
    first = shares[0]
    read_stats = {name: sum(share.read_stats[name] for share in shares) for name in READ_STATS}
    for name in ("n_reads", "n_selected"):
        read_stats[name] = first.read_stats[name]
    return SampleEmbedding(np.sum([share.counts for share in shares], axis=0), read_stats, first.sample_id)


def why_nothing_used(
    embedding: SampleEmbedding, reads: SampleReads, read_fraction: float, preprocessing: dict[str, Any]
) -> str | None:
    """Return why not a single read of a sample was used; None if one was."""
    read_stats = embedding.read_stats
    if read_stats["n_used"]:
        return None
    where = ", ".join(map(str, reads.paths()))
    if not read_stats["n_selected"]:
        return f"{where}: none of {read_stats['n_reads']} reads fell under the read fraction {read_fraction}; raise it."
    return (
        f"{where}: none of {read_stats['n_selected']} reads can be used ({read_stats['n_too_short']} under "
        f"{preprocessing['min_read_length']} bases, {read_stats['n_no_tokens']} without tokens); is this the right "
        "file?"
    )

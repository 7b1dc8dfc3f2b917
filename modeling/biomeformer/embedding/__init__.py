"""From FASTQ to cluster counts: the read-embedding engine and abundance tables."""

from .abundance_table import AbundanceTable
from .cohort import embed_cohort, provenance, run_cohort
from .cohort_run import RunOutcome
from .engine import DEFAULT_BATCH_TOKENS, embed_vectors, iter_token_batches
from .run_folder import RunStatus, run_status
from .sample import TALLIES, ProgressCallback, SampleEmbedding, embed_sample

__all__ = [
    "DEFAULT_BATCH_TOKENS",
    "TALLIES",
    "AbundanceTable",
    "ProgressCallback",
    "RunOutcome",
    "RunStatus",
    "SampleEmbedding",
    "embed_cohort",
    "embed_sample",
    "embed_vectors",
    "iter_token_batches",
    "provenance",
    "run_cohort",
    "run_status",
]

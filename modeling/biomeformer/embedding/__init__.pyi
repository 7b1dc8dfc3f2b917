from .abundance_table import AbundanceTable as AbundanceTable
from .cohort import embed_cohort as embed_cohort, provenance as provenance, run_cohort as run_cohort
from .cohort_run import RunOutcome as RunOutcome
from .engine import (
    DEFAULT_BATCH_TOKENS as DEFAULT_BATCH_TOKENS,
    embed_vectors as embed_vectors,
    iter_token_batches as iter_token_batches,
)
from .run_folder import RunStatus as RunStatus, run_status as run_status
from .sample import (
    TALLIES as TALLIES,
    ProgressCallback as ProgressCallback,
    SampleEmbedding as SampleEmbedding,
    embed_sample as embed_sample,
)

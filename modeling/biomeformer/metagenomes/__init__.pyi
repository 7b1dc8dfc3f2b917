from .abundance_table import AbundanceTable as AbundanceTable
from .cluster_descriptions import ClusterDescriptions as ClusterDescriptions, find_descriptions as find_descriptions
from .cluster_origins import describe_by_genomes as describe_by_genomes
from .centroids import (
    CentroidFit as CentroidFit,
    fit_centroids as fit_centroids,
    fit_several_centroids as fit_several_centroids,
)
from .cohort import embed_cohort as embed_cohort, provenance as provenance, run_cohort as run_cohort
from .kmeans import (
    KMeansFit as KMeansFit,
    run_distributed_kmeans as run_distributed_kmeans,
    run_kmeans as run_kmeans,
)
from .points import Points as Points
from .read_sets import ReadSet as ReadSet, read_set as read_set
from .sample import (
    READ_STATS as READ_STATS,
    ProgressCallback as ProgressCallback,
    SampleEmbedding as SampleEmbedding,
    embed_sample as embed_sample,
)

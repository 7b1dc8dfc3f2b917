from .centroids import (
    CentroidFit as CentroidFit,
    fit_centroids as fit_centroids,
    fit_several_centroids as fit_several_centroids,
)
from .kmeans import KMeansFit as KMeansFit, run_distributed_kmeans as run_distributed_kmeans, run_kmeans as run_kmeans
from .points import Points as Points
from .read_sets import ReadSet as ReadSet, read_set as read_set

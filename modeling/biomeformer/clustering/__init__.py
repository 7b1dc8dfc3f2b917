"""K-means over read vectors, by FAISS's rules."""

from .centroids import CentroidFit, fit_centroids, fit_several_centroids
from .kmeans import KMeansFit, run_distributed_kmeans, run_kmeans
from .points import Points
from .read_sets import ReadSet, read_set

__all__ = [
    "CentroidFit",
    "KMeansFit",
    "Points",
    "ReadSet",
    "fit_centroids",
    "fit_several_centroids",
    "read_set",
    "run_distributed_kmeans",
    "run_kmeans",
]

"""K-means over read vectors, on FAISS."""

from .centroids import CentroidFit, fit_centroids, fit_several_centroids
from .kmeans import KMeansFit, run_distributed_kmeans, run_kmeans
from .points import Points

__all__ = [
    "CentroidFit",
    "KMeansFit",
    "Points",
    "fit_centroids",
    "fit_several_centroids",
    "run_distributed_kmeans",
    "run_kmeans",
]

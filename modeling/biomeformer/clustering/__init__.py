"""K-means over read vectors, on FAISS."""

from .centroids import CentroidFit, fit_centroids
from .kmeans import KMeansFit, run_kmeans

__all__ = ["CentroidFit", "KMeansFit", "fit_centroids", "run_kmeans"]

"""Which pairs of genes count for a genome transformer, and the networks they make (arXiv 2405.05998)."""

from .collection import ClusterSettings
from .explanation import AttributionSettings, Explanation, explain_genome
from .network import GeneInteractionNetwork
from .run import attribute

__all__ = [
    "AttributionSettings",
    "ClusterSettings",
    "Explanation",
    "GeneInteractionNetwork",
    "attribute",
    "explain_genome",
]

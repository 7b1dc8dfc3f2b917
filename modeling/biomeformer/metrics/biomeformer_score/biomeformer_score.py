"""Scores of class probabilities, as a metric module that `evaluate.load` takes from a folder or from the Hub."""

from biomeformer.metrics.evaluate_metrics import ProbabilityMetric as BiomeformerScore

__all__ = ["BiomeformerScore"]

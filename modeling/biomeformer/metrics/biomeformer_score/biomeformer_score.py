"""Scores of classes, labels and numbers, as a metric module for `evaluate.load` from a folder or the Hub."""

from biomeformer.metrics.evaluate_metrics import Score as BiomeformerScore

__all__ = ["BiomeformerScore"]

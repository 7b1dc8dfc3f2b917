"""Pipelines of transformers from files to results."""

"""Pipelines for `transformers.pipeline` that read files of reads or of genomes."""

"""Genomes: genes and their proteins."""

from .calling import call_genes
from .genome import Gene, Genome
from .reading import genome_name, read_genome

__all__ = ["Gene", "Genome", "call_genes", "genome_name", "read_genome"]

"""Reads: opening FASTQ and FASTA by content, batches, subsampling by identity, cohort tables."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

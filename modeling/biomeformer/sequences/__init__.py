"""Labelled sequences as datasets for fine-tuning a genomic language model (arXiv 2509.25274)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

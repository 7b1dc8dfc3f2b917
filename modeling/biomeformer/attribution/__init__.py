"""Which pairs of genes count for a genome transformer, and the networks they make (arXiv 2405.05998)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

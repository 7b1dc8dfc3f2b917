"""From the reads of metagenomes to cluster counts, abundance tables and centroids (arXiv 2601.03295)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

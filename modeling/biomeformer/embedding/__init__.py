"""From FASTQ to cluster counts: the read-embedding engine and abundance tables."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

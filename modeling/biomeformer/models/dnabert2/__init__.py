"""DNABERT-2 (arXiv 2306.15006) as a native transformers model, without remote code or Triton."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

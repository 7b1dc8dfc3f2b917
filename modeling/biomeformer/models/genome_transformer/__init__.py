"""The whole-genome transformer (arXiv 2405.05998)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

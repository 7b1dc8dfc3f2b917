"""MetagenBERT-Glob (arXiv 2601.03295): a read encoder and its centroids as one pretrained model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

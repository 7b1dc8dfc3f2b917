"""A read encoder for CPUs: the mean of learnt vectors of a read's canonical k-mers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Pretraining of read encoders: reads sampled on the fly, and the objectives minimized on them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Pretraining of read encoders: reads drawn on the fly, and what is minimised on them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

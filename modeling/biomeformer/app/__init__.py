"""A page to try the models in a browser, on this machine or as a Hugging Face Space; needs the extra `app`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

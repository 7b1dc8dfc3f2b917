"""Does the metagenome's vector predict a phenotype, and how sure is that?"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Foundation models for metagenomes and microbial genomes.

Importing the package imports neither torch nor transformers. Names are loaded when they are first used, and
transformers' Auto classes and `pipeline` know the package's models whether transformers is imported before or after.
"""

from typing import Any

import lazy_loader

from . import moved, registration
from .version import __version__ as __version__

# The public names, and where each is from, are listed in `__init__.pyi` alone.
_getattr, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    return moved.moved_name(name) if name in moved.NAMES else _getattr(name)


moved.install()
registration.register()

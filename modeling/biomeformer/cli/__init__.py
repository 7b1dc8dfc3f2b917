"""The `biomeformer` command: one file a verb; the work is the library's."""

from .app import app, main

__all__ = ["app", "main"]

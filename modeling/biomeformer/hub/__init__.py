"""Model cards, generated from the manifest and each checkpoint's own record."""

from .cards import load_manifest, render_card, stale_cards, write_cards

__all__ = ["load_manifest", "render_card", "stale_cards", "write_cards"]

"""Model cards, generated from the manifest and each checkpoint's own record."""

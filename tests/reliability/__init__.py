"""Damaged files, failing disks and killed processes: what the package makes of them."""

"""Mechanisms that the training recipes share."""

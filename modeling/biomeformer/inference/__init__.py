"""Batches by token budget and passes through an encoder, for reads and for proteins."""

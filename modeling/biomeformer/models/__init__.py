"""Model folders: configuration, modeling, tokenization and processing of each model type.

Each folder imports only files beside it, torch and transformers, so that it can be exported with a checkpoint as remote
code.
"""

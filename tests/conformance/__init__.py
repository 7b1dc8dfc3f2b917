"""The common test suites of transformers, run against the models, tokenizers, processors and pipelines of the package.

`make conformance` downloads the source distribution of the pinned transformers, whose `tests/` has the suites, and runs
them through the adapters here. Nothing of theirs is part of the project.
"""

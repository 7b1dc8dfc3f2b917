"""Presets: the options with which a paper's procedure is repeated, by command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from .console import note

# The scale of the published centroids: the sum over a read's tokens, special ones included, divided by 42.
_SCALE = {"pooling": "mean_over_max_length", "max_length": 42}
_CLASSIFIER = {"estimator": ["lasso"], "transform": "ilr", "zeros": "epsilon", "folds": 10, "repeats": 1}
# Values by preset, command and parameter; docs/papers.md says where each is from.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "metagenbert-paper": {
        "fit-centroids": {
            "n_clusters": [2**power for power in range(4, 15)],
            "reads_per_sample": 10_000,
            "n_iterations": 20,
            "min_points_per_centroid": 32,
            "max_points_per_centroid": 1024,
            "spherical": False,
            **_SCALE,
        },
        "wrap-centroids": {"spherical": False, **_SCALE},
        "phenotype evaluate": _CLASSIFIER,
        "phenotype train": {"estimator": "lasso", "transform": "ilr", "zeros": "epsilon", "folds": 10},
        "phenotype depth": {"fraction": [1.0, 0.1, 0.05], **_CLASSIFIER},
        "phenotype robustness": {"zeros": "epsilon", "permutations": 999},
    },
    "enhancers-paper": {
        "sequences prepare": {
            "length": 1000,
            "edges": "pad",
            "canonical_contigs": True,
            "max_n": 1.0,
            "reverse_complement": True,
            "balance": True,
            "split": "random",
            "shares": "0.7,0.15,0.15",
            "max_tokens": 232,
        },
    },
}


def presets_of(command: str) -> dict[str, Mapping[str, Any]]:
    """Return the values of each preset that a command has, such as `phenotype evaluate`."""
    return {name: commands[command] for name, commands in PRESETS.items() if command in commands}


def _apply(context: typer.Context, name: str | None) -> str | None:
    """Make a preset's values the defaults of the command; options that are given still win."""
    if name is None:
        return None
    command = context.command_path.partition(" ")[2]
    known = presets_of(command)
    if name not in known:
        raise typer.BadParameter(f"{name!r} is no preset of this command; give {', '.join(known)}.")
    values = known[name]
    context.default_map = {**(context.default_map or {}), **values}
    note(f"preset {name}: {', '.join(f'{key} {_text(value)}' for key, value in values.items())}")
    return name


def _text(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, list) else str(value)


Preset = Annotated[
    str | None,
    typer.Option(
        callback=_apply,
        is_eager=True,
        help="Options of a paper's procedure as defaults, such as metagenbert-paper; see docs/papers.md.",
        show_default=False,
    ),
]

__all__ = ["PRESETS", "Preset", "presets_of"]

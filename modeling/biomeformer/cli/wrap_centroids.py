"""`biomeformer wrap-centroids`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError
from .console import doing, next_command, out, record, report_files
from .fit_centroids import Pooling
from .options import Revision
from .output import check_output, hold_output
from .presets import Preset


def wrap_centroids(
    centroids: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Centroids: .npy, .npz, or a flat L2 index of FAISS (.faiss).", show_default=False
        ),
    ],
    read_encoder: Annotated[
        str, typer.Option(help="Encoder the centroids were fitted with: a folder or Hub id.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint folder to write.", show_default=False)],
    preset: Preset = None,
    pooling: Annotated[
        Pooling | None,
        typer.Option(
            help="How token vectors were pooled when the centroids were fitted.",
            show_default="of a MetagenBERT checkpoint its own, else required",
        ),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Longest read in tokens, at that time.", show_default="none")
    ] = None,
    spherical: Annotated[bool, typer.Option(help="Read vectors were scaled to unit length.")] = False,
    array: Annotated[
        str | None, typer.Option(help="Array of an .npz with several.", show_default="the only one, or centroids")
    ] = None,
    revision: Revision = None,
) -> None:
    """Make a checkpoint of existing centroids and the read encoder that they were fitted with.

    A file of centroids does not tell the scale of the vectors it was fitted on, so pooling and longest read have to be
    given: those of the centroids published with MetagenBERT are set by `--preset metagenbert-paper`.
    """
    check_output(output)
    hold_output(output)
    from ..metagenomes.centroid_files import read_centroids

    values = read_centroids(centroids, array)
    with doing(f"loading {read_encoder}"):
        from ..io.atomic import atomic_directory, write_json
        from .runtime import start

        start()
        from ..checkpoints.integrity import hash_file
        from ..checkpoints.loading import load_encoder_with_processor
        from ..checkpoints.source import model_source, open_checkpoint
        from ..models.metagenbert import MetagenBertModel

        is_metagenbert = open_checkpoint(read_encoder, revision=revision).model_type == "metagenbert"
        if pooling is None and not is_metagenbert:
            raise InputError(
                "--pooling is not given, and nothing in a file of centroids tells it; give mean_over_max_length with "
                "--max-length (as published with MetagenBERT: --preset metagenbert-paper), mean or cls."
            )
        asked: dict[str, Any] = {"pooling": pooling, "max_length": max_length}
        encoder, processor = load_encoder_with_processor(
            read_encoder, revision=revision, **{field: value for field, value in asked.items() if value is not None}
        )
    hidden_size = int(encoder.config.hidden_size)
    if values.shape[1] != hidden_size:
        hint = "; the array seems to be transposed" if len(values) == hidden_size else ""
        raise InputError(
            f"{centroids} holds {len(values):,} centroids of {values.shape[1]:,} dimensions and the vectors of "
            f"{read_encoder} have {hidden_size:,}{hint}; give the encoder that the centroids were fitted with."
        )
    with doing("writing the checkpoint"):
        model = MetagenBertModel.from_encoder_and_centroids(
            encoder, values, processor=processor, normalize_embeddings=spherical
        )
        training_record = {
            "base_model": model_source(encoder),
            "centroids": {
                "file": centroids.name,
                "sha256": hash_file(centroids),
                "n_clusters": len(values),
            },
        }
        with atomic_directory(output, locked=True) as partial:
            model.save_pretrained(partial)
            write_json(partial / "training_record.json", training_record, indent=2)
    scale = f"pooling {processor.pooling}"
    if processor.max_length is not None:
        scale += f", at most {processor.max_length} tokens per read"
    out(f"{len(values):,} centroids of {hidden_size:,} dimensions, {scale}")
    report_files({"checkpoint": output})
    record(n_clusters=len(values), hidden_size=hidden_size, pooling=processor.pooling, max_length=processor.max_length)
    next_command("embed", "cohort.csv", "--model", output, "--output", "results")


__all__ = ["wrap_centroids"]

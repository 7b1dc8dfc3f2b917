"""`biomeformer genome`: genomes to vectors of their proteins."""

from __future__ import annotations

import typer

from .embed import embed
from .predict import predict

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="From genomes to genes, proteins and vectors."
)


@app.callback()
def _genome() -> None:
    """From genomes to genes, proteins and vectors."""


app.command(
    epilog="""**Examples**

    biomeformer genome embed genomes.csv --protein-encoder facebook/esm2_t36_3B_UR50D --output embedded --device cuda

    biomeformer genome embed genomes.csv --protein-encoder ./esm2 --output embedded --format datasets
"""
)(embed)
app.command(epilog="Example: `biomeformer genome predict genome.fna.gz other.gbk --model RUN/model -o habitats.tsv`")(
    predict
)

"""`biomeformer genome`: genomes to vectors of their proteins."""

from __future__ import annotations

import typer

from .attribute import attribute
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
app.command(
    epilog="Examples: `biomeformer genome predict genome.fna.gz`, `biomeformer genome predict *.gbk -m MODEL -o t.tsv`"
)(predict)
app.command(
    epilog="""**Examples**

    biomeformer genome attribute embedded --output network

    biomeformer genome attribute embedded --model RUN/model --top 0.001 --output network
"""
)(attribute)

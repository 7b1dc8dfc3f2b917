"""`biomeformer clusters`: what the clusters of a model are, and the reads that they hold."""

from __future__ import annotations

import typer

from .describe import describe
from .reads import reads

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Describe the clusters of a model by reference genomes, and extract their reads.",
)


@app.callback()
def _clusters() -> None:
    """Describe the clusters of a model by reference genomes, and extract their reads."""


app.command(
    epilog="""**Examples**

    biomeformer clusters describe metagenbert-mini --genomes genomes.csv --output clusters

    biomeformer clusters describe ./my-model --genomes genomes.csv --annotations product --output clusters --beside
"""
)(describe)
app.command(
    epilog="Example: `biomeformer clusters reads R1.fastq.gz R2.fastq.gz -m metagenbert-mini -c 136 -o 136.fastq.gz`"
)(reads)

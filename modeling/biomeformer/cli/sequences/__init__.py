"""`biomeformer sequences`: prepare datasets of labelled sequences, and predict with fine-tuned models."""

from __future__ import annotations

import typer

from .predict import predict
from .prepare import prepare

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Prepare labelled sequences for fine-tuning, and predict sequences with fine-tuned models.",
)


@app.callback()
def _sequences() -> None:
    """Prepare labelled sequences for fine-tuning, and predict sequences with fine-tuned models."""


app.command(
    epilog="""**Examples**

    biomeformer sequences prepare enhancer=pos.fa other=neg.fa --output enhancers

    biomeformer sequences prepare enhancer=peaks.narrowPeak other=background.bed --genome hg38.fa.gz
    --split chromosome --validation-contigs chr8 --test-contigs chr9 --output enhancers

    biomeformer sequences prepare table.csv --split cluster --read-encoder ./dnabert2 --output prepared
"""
)(prepare)
app.command(epilog="Example: `biomeformer sequences predict new.fa --model run/model --output labels.tsv`")(predict)

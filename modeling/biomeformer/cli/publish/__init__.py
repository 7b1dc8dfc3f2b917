"""`biomeformer publish`: models and datasets to the Hugging Face Hub."""

from __future__ import annotations

import typer

from ..group import BiomeformerGroup
from .card import card
from .collection import collection
from .dataset import dataset
from .model import model
from .space import space

app = typer.Typer(
    cls=BiomeformerGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Publish models and datasets on the Hugging Face Hub: a dry run, unless --push is given.",
)


@app.callback()
def _publish() -> None:
    """Publish models and datasets on the Hugging Face Hub: a dry run, unless --push is given.

    The token is that of `hf auth login` or of HF_TOKEN. Reads and other sequences are never published.
    """


app.command(
    epilog="""**Examples**

    biomeformer publish card my-centroids --id lab/gut-centroids --license cc-by-4.0

    biomeformer publish card my-centroids
"""
)(card)
app.command(
    epilog="""**Examples**

    biomeformer publish model my-centroids lab/gut-centroids

    biomeformer publish model my-centroids lab/gut-centroids --push --tag v1
"""
)(model)
app.command(epilog="Example: `biomeformer publish space lab/try-biomeformer --push`")(space)
app.command(epilog="Example: `biomeformer publish dataset my-dataset lab/gut-abundance --push`")(dataset)
app.command(
    epilog="Example: `biomeformer publish collection Gut lab --model lab/gut-centroids --dataset lab/gut-abundance`"
)(collection)


def main() -> None:
    """Run the command as `hub_upload.py`."""
    app(prog_name="hub_upload.py")

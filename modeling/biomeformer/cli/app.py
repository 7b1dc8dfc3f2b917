"""The `biomeformer` command and its subcommands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..io.limits import EXPANDED_BYTES, RECORD_BASES
from .clusters import app as clusters
from .console import out, record
from .convert import convert
from .demo import demo
from .doctor import doctor
from .embed import embed
from .export import export
from .fit_centroids import fit_centroids
from .genome import app as genome
from .group import BiomeformerGroup
from .inspect import inspect
from .join import join
from .page import app as page
from .phenotype import app as phenotype
from .publish import app as publish
from .recipes import app as recipes
from .sequences import app as sequences
from .status import status
from .wrap_centroids import wrap_centroids

EPILOG = """**Examples**

    biomeformer demo

    biomeformer embed cohort.csv --model metagenbert-mini --output results

    biomeformer fit-centroids cohort.csv --read-encoder dnabert2 --n-clusters 1024 --output my-model

`--json` after any command prints its result as one JSON document. `--install-completion` sets up tab completion.

Exit codes: 0 done, 1 failure, 2 bad input, 130 and 143 interrupted.
"""

app = typer.Typer(
    cls=BiomeformerGroup,
    name="biomeformer",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)


def _version(wanted: bool) -> None:
    if wanted:
        from ..version import __version__

        out(f"biomeformer {__version__}")
        record(version=__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no remarks and no progress; after any command.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show the messages of transformers and other libraries too.")
    ] = False,
    log_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Append remarks, progress, results and errors to a file, with time stamps; after any command.",
            show_default=False,
        ),
    ] = None,
    max_record_bases: Annotated[
        float, typer.Option(help="Longest record of a FASTQ or FASTA file that is read; after any command.")
    ] = RECORD_BASES.default,
    max_expanded_bytes: Annotated[
        float, typer.Option(help="Largest size of a compressed table or genome once expanded; after any command.")
    ] = EXPANDED_BYTES.default,
) -> None:
    """From metagenomes to abundance vectors: foundation models for microbiomes."""


app.command(epilog="Example: `biomeformer demo --output demo-results`")(demo)
app.command(
    epilog="""**Examples**

    biomeformer embed cohort.csv --model metagenbert-mini --output results

    biomeformer embed cohort.csv --model ./my-model --output results --read-fraction 0.1 --seed 1

    biomeformer embed cohort.csv --model ./my-model --output results --device cuda --dtype bfloat16

    accelerate launch --num_processes 8 -m biomeformer embed cohort.csv -m ./my-model -o results --device cuda
"""
)(embed)
app.command(epilog="Example: `biomeformer status results`")(status)
app.command(
    epilog="""**Examples**

    biomeformer export results --format csv

    biomeformer export results --format datasets --output my-cohort
"""
)(export)
app.command(epilog="Example: `biomeformer join results-1 results-2 --output all`")(join)
app.command(
    "fit-centroids",
    epilog="""**Examples**

    biomeformer fit-centroids cohort.csv --read-encoder metagenbert-mini --n-clusters 256 --output my-model

    biomeformer fit-centroids cohort.csv --read-encoder ./dnabert2 --n-clusters 1024 --device cuda --output my-model
""",
)(fit_centroids)
app.command(
    "wrap-centroids",
    epilog="""**Examples**

    biomeformer wrap-centroids centroids_1024.npy --read-encoder dnabert2 --preset metagenbert-paper --output glob

    biomeformer wrap-centroids index_512.faiss --read-encoder ./encoder --pooling mean --output my-model
""",
)(wrap_centroids)
app.command(
    epilog="""**Examples**

    biomeformer inspect metagenbert-mini

    biomeformer inspect ./my-model --json

    biomeformer inspect --environment
"""
)(inspect)
app.command(epilog="Example: `biomeformer doctor --json`")(doctor)
app.command("app", epilog="Example: `biomeformer app --phenotype-model my-test --cohort results`")(page)
app.add_typer(clusters, name="clusters")
app.add_typer(phenotype, name="phenotype")
app.add_typer(genome, name="genome")
app.add_typer(sequences, name="sequences")
app.add_typer(recipes, name="recipes")
app.add_typer(publish, name="publish")
app.command(epilog="Example: `biomeformer convert zhihan1996/DNABERT-2-117M dnabert2`")(convert)


def main() -> None:
    """Run the command."""
    app(prog_name="biomeformer")

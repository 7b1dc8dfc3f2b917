"""`biomeformer phenotype`: predict phenotypes from abundance vectors and other features."""

from __future__ import annotations

import typer

from .depth import depth
from .evaluate import evaluate
from .predict import predict
from .report import report
from .robustness import robustness
from .train import train
from .transfer import transfer

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Predict phenotypes, with uncertainty.")


@app.callback()
def _phenotype() -> None:
    """Predict phenotypes from abundance vectors, with uncertainty."""


app.command(
    epilog="""**Examples**

    biomeformer phenotype evaluate results --target disease

    biomeformer phenotype evaluate results --target disease --species metaphlan.tsv --group subject --output study
"""
)(evaluate)
app.command(
    epilog="""**Examples**

    biomeformer phenotype depth cohort.csv --model metagenbert-mini --target disease --output depth

    biomeformer phenotype depth results-100 results-10 results-1 --target disease --output depth
"""
)(depth)
app.command(
    epilog="""**Examples**

    biomeformer phenotype train results --model metagenbert-mini --target disease --output my-test

    biomeformer phenotype train results --target bmi --estimator forest --covariates age,sex --output my-predictor
"""
)(train)
app.command(
    epilog="""**Examples**

    biomeformer phenotype predict my-test sample_R1.fastq.gz sample_R2.fastq.gz

    biomeformer phenotype predict my-test cohort.csv --output predictions.csv

    biomeformer phenotype predict my-test results --output predictions.csv

    biomeformer phenotype predict my-predictor results --metadata people.csv --output predictions.csv
"""
)(predict)
app.command(
    epilog="""**Examples**

    biomeformer phenotype transfer mine --test theirs --target disease

    biomeformer phenotype transfer a b c --target disease

    biomeformer phenotype transfer results --target disease --leave-out-column study
"""
)(transfer)
app.command(
    epilog="""**Examples**

    biomeformer phenotype robustness results --target disease

    biomeformer phenotype robustness results --target disease --terms age,sex --strata study
"""
)(robustness)
app.command(
    epilog="""**Examples**

    biomeformer phenotype report study

    biomeformer phenotype report study --depth depth --cohort cohort.csv --model metagenbert-mini --output disease.html
"""
)(report)

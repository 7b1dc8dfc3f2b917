"""The page: two tabs, whose functions call `analysis` and show what it returns."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from ..errors import BiomeformerError, InputError, describe_unexpected
from ..genomes.prediction import GenomePrediction
from ..io.atomic import describe_error
from ..io.spreadsheets import write_spreadsheet
from ..reports.svg import svg
from ..sinks import spreadsheet, terminal
from .analysis import Analyses, SampleResult, gene_table
from .sessions import COMPRESSION_SUFFIXES, GENOME_SUFFIXES, READ_SUFFIXES, Sessions

TITLE = "biomeformer"
# Nothing is fetched: fonts are those of the visitor's system.
FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
CSS = """
.gradio-container { width: 100% !important; min-width: 0 !important; max-width: 60rem !important; margin: 0 auto; }
.status { padding: 0.6rem 0.8rem; border-left: 4px solid #2a7ab0; overflow-wrap: anywhere; }
.status.error { border-color: #b3261e; }
.ordination img { width: 100%; height: auto; background: white; }
"""
CACHE_SECONDS = (600, 3600)

logger = logging.getLogger(__name__)


def make_page(analyses: Analyses, sessions: Sessions) -> gr.Blocks:
    """Return the page.

    Args:
        analyses: The loaded models.
        sessions: Folders of what is uploaded.
    """
    limits = analyses.limits
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=CACHE_SECONDS) as page:
        gr.Markdown(
            f"# {TITLE}\n\nReads become an abundance vector; a genome becomes the probabilities of its "
            f"{_text(analyses.genome_model.config.label_name or 'label')}. What you upload is deleted when the result "
            "is computed, and the result when you close the page. Research use only, not for diagnosis."
        )
        with gr.Tab("Sample"):
            _sample_tab(analyses, sessions)
        with gr.Tab("Genome"):
            _genome_tab(analyses, sessions)
        gr.Markdown(
            f"Limits: {limits.upload_bytes / 1e6:,.0f} MB per file, {limits.reads:,} reads per sample. For more, use "
            "the command line: `biomeformer embed`, `biomeformer genome predict`."
        )

        def leave(request: gr.Request) -> None:
            sessions.end(str(request.session_hash))

        page.unload(leave)
    return page


def _sample_tab(analyses: Analyses, sessions: Sessions) -> None:
    upload = gr.File(
        label="Reads of one sample: FASTQ or FASTA, one file or the two of a pair",
        file_count="multiple",
        file_types=_types(READ_SUFFIXES),
    )
    button = gr.Button("Embed the sample", variant="primary")
    status = gr.HTML(elem_id="sample-status")
    statistics = gr.Dataframe(label="Reads", interactive=False, visible=False)
    drawing = gr.HTML(visible=False, elem_classes="ordination")
    phenotype = gr.Label(label="Phenotype", visible=False)
    downloads = gr.File(label="Abundance vector", file_count="multiple", interactive=False, visible=False)
    outputs = [upload, status, statistics, drawing, phenotype, downloads]

    def run(paths: list[str] | None, request: gr.Request) -> list[Any]:
        session = str(request.session_hash)
        given = paths or []
        names = [Path(path).name for path in given]

        def work() -> list[Any]:
            if not given:
                raise _nothing()
            if len(given) > 2 or len(set(given)) < len(given):
                raise InputError(f"{len(given)} files were given; give one file of reads, or the two of a pair.")
            files = [sessions.take(session, path, f"reads_{i}", READ_SUFFIXES) for i, path in enumerate(given, start=1)]
            try:
                result = analyses.sample(files)
            except BiomeformerError as error:
                raise type(error)(_with_names(str(error), files, names)) from error
            finally:
                for file in files:
                    file.unlink(missing_ok=True)
            folder = sessions.folder(session)
            frame, table = folder / "abundance.csv", folder / "abundance.parquet"
            write_spreadsheet(result.clusters, frame, index=False)
            result.table.write(table)
            return [
                None,
                _status(_sample_summary(result, names, analyses.cohort_name)),
                gr.update(value=result.read_stats, visible=True),
                gr.update(value=_image(svg(result.figure()), _alt_text(analyses.cohort_name)), visible=True),
                _label(result.probabilities),
                gr.update(value=[str(frame), str(table)], visible=True),
            ]

        return _guarded(work, len(outputs))

    _track(upload, sessions)
    button.click(run, upload, outputs, api_name="embed", concurrency_limit=1, concurrency_id="models")


def _genome_tab(analyses: Analyses, sessions: Sessions) -> None:
    name = analyses.genome_model.config.label_name or "label"
    upload = gr.File(
        label="A genome: FASTA, GenBank, GFF3 with its sequence, or proteins", file_types=_types(GENOME_SUFFIXES)
    )
    button = gr.Button("Predict", variant="primary")
    status = gr.HTML(elem_id="genome-status")
    probabilities = gr.Label(label=_text(name), visible=False)
    downloads = gr.File(label="Genes and prediction", file_count="multiple", interactive=False, visible=False)
    outputs = [upload, status, probabilities, downloads]

    def run(path: str | None, request: gr.Request) -> list[Any]:
        session = str(request.session_hash)

        def work() -> list[Any]:
            if not path:
                raise _nothing()
            shown = Path(path).name
            file = sessions.take(session, path, "genome", GENOME_SUFFIXES)
            try:
                prediction = analyses.genome(file)
            except BiomeformerError as error:
                raise type(error)(_with_names(str(error), [file], [shown])) from error
            finally:
                file.unlink(missing_ok=True)
            folder = sessions.folder(session)
            genes, row = folder / "genes.tsv", folder / "prediction.tsv"
            options: dict[str, Any] = {"sep": "\t", "index": False}
            write_spreadsheet(gene_table(prediction), genes, **options)
            predicted = {"genome": [spreadsheet(shown)], name: [prediction.label]}
            frame = pd.DataFrame(predicted | {key: [value] for key, value in prediction.probabilities.items()})
            write_spreadsheet(frame, row, **options)
            return [
                None,
                _status(_genome_summary(prediction, shown)),
                _label(prediction.probabilities),
                gr.update(value=[str(row), str(genes)], visible=True),
            ]

        return _guarded(work, len(outputs))

    _track(upload, sessions)
    button.click(run, upload, outputs, api_name="predict_genome", concurrency_limit=1, concurrency_id="models")


def _track(upload: gr.File, sessions: Sessions) -> None:
    """Take note of each upload, so that one that is never used is deleted with its session."""

    def track(paths: list[str] | str | None, request: gr.Request) -> None:
        sessions.uploaded(str(request.session_hash), [paths] if isinstance(paths, str) else paths or [])

    upload.upload(track, upload, None, queue=False, api_visibility="private")


def _guarded(work: Callable[[], list[Any]], n_outputs: int) -> list[Any]:
    """Return what to show: the result, or the reason of a failure in one sentence."""
    try:
        return work()
    except BiomeformerError as error:
        reason = str(error)
    except Exception as error:
        logger.exception("the page could not compute a result")
        reason = describe_error(error) or describe_unexpected(error)
    return [None, _status([reason], is_error=True), *[gr.update(value=None, visible=False)] * (n_outputs - 2)]


def _nothing() -> InputError:
    return InputError("no file was chosen; drop one into the box, or click it.")


def _with_names(message: str, files: list[Path], names: list[str]) -> str:
    """Return a message with the names that files were uploaded under, in place of ours."""
    for file, name in zip(files, names, strict=False):
        message = message.replace(str(file), name)
    return message


def _status(sentences: list[str], *, is_error: bool = False) -> str:
    """Return sentences as HTML, in which names from files are text."""
    lines = "<br>".join(_text(sentence) for sentence in sentences)
    role, kind = ("alert", "status error") if is_error else ("status", "status")
    return f'<div class="{kind}" role="{role}">{lines}</div>'


def _text(text: str) -> str:
    return escape(terminal(text))


def _image(content: bytes, alt: str) -> str:
    data = base64.b64encode(content).decode()
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{_text(alt)}">'


def _label(probabilities: dict[str, float] | None) -> Any:
    if probabilities is None:
        return gr.update(value=None, visible=False)
    return gr.update(value={terminal(name): value for name, value in probabilities.items()}, visible=True)


def _alt_text(cohort_name: str) -> str:
    return f"Ordination of your sample among {cohort_name}: principal coordinates of Bray-Curtis dissimilarities"


def _sample_summary(result: SampleResult, names: list[str], cohort_name: str) -> list[str]:
    row = result.table.read_stats.iloc[0]
    nearest = ", ".join(f"{name} ({distance:.2f})" for name, distance in result.nearest)
    return [
        f"{' and '.join(names)}: {row['n_used']:,} of {row['n_reads']:,} reads were used, in "
        f"{int((result.table.counts[0] > 0).sum()):,} of {result.table.counts.shape[1]:,} clusters.",
        f"Most similar in {cohort_name}, by Bray-Curtis dissimilarity: {nearest}.",
        *(f"Note: {remark}." for remark in result.remarks),
    ]


def _genome_summary(prediction: GenomePrediction, name: str) -> list[str]:
    lines = [f"{name}: {prediction.label}, from {len(prediction.genome):,} genes ({prediction.genome.method})."]
    if prediction.n_dropped_genes:
        lines.append(f"Note: {prediction.n_dropped_genes:,} genes beyond the model's limit were not seen.")
    lines += [f"Note: {remark}." for remark in prediction.genome.notes]
    if prediction.differences:
        what = "; ".join(prediction.differences)
        lines.append(f"Note: unlike the genomes the model was trained on, so be careful: {what}.")
    return lines


def _types(suffixes: tuple[str, ...]) -> list[str]:
    # The browser compares the last suffix alone.
    return [*suffixes, *filter(None, COMPRESSION_SUFFIXES)]


__all__ = ["CSS", "FONTS", "make_page"]

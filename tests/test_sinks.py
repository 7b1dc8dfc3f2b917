"""Names from files, neutralised for where they are shown: terminals, HTML, Markdown, spreadsheets, figures."""

from __future__ import annotations

import csv
import io
import json
import re
from html import escape
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib.text import Text
from rich.console import Console
from rich.table import Table

from biomeformer import errors, sinks
from biomeformer.io.markdown import grid, pairs
from biomeformer.io.spreadsheets import undo_spreadsheet, write_spreadsheet
from biomeformer.io.tables import read_table
from biomeformer.metagenomes import READ_STATS, AbundanceTable
from biomeformer.metagenomes.export import dataset_card_text, export_table
from biomeformer.reports import cohort_report
from biomeformer.reports.figure import make_cohort_figure
from biomeformer.reports.page import environment
from biomeformer.runs.progress import cell, error_line, note, out, out_lines
from biomeformer.sequences.dataset_card import dataset_card

# What others may call a sample, a class, a column, a gene or a file.
HOSTILE = (
    "\x1b]0;owned\x07",
    "\x1b[2J\x1b[31mred",
    "\x9b31m",
    "evil\u202egnp.exe",
    "a\u200bb\ufeffc\u3164",
    "line\nerror: forged\r\ttab",
    "<script>alert(1)</script>",
    "</script><!--<script>",
    '"><img src=x onerror=alert(1)>',
    "[click](javascript:alert(1)) ![x](http://x)",
    "**bold** `code` | pipe $x^2$ # h",
    "https://evil.example www.evil.example a@evil.example",
    "$\\frac{1}$ and $",
    "_hidden",
    "[/red][bold]",
    '=HYPERLINK("http://evil")',
    "+33 1",
    "-x",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "'=1",
    "\uff1d1",
    "\udcff",
)
PROVENANCE = {
    "weights_sha256": "0123456789abcdef" * 4,
    "dtype": "float32",
    "n_clusters": 8,
    "read_fraction": 1.0,
    "seed": 3,
    "contract": {"pooling": "mean", "min_read_length": 32, "max_length": 42},
    "versions": {"biomeformer": "0"},
}
PARAGRAPH = environment().from_string('<p title="{{ text }}">{{ text }}</p>')
FORMULA = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\u3164\ud800-\udfff]")


class Elements(HTMLParser):
    """Collects elements, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}


@given(st.text())
def test_a_terminal_gets_one_line_of_printable_characters(text):
    shown = sinks.terminal(text)
    assert shown.isprintable() or (shown == "" and sinks.terminal(shown) == shown)
    assert not CONTROL.search(shown)
    if text.isprintable() and text.isascii():
        assert shown == text


def test_letters_of_all_scripts_stay():
    text = "Bactéroïdes 腸内細菌 échantillon-1 µ"
    assert sinks.terminal(text) == text


@pytest.mark.parametrize("name", HOSTILE)
def test_printed_lines_are_single_and_printable(name, capsys):
    for show in (out, note, error_line):
        show(f"name: {name}")
        printed = "".join(capsys.readouterr())
        assert printed.count("\n") == 1 and not CONTROL.search(printed.replace("\n", ""))
    out_lines(f"id\tvalue\n{name}\t1")
    assert not CONTROL.search(capsys.readouterr().out)


@pytest.mark.parametrize("name", HOSTILE)
def test_messages_of_errors_are_neutral_in_python_too(name):
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.BiomeformerError)
    ]
    more = {errors.WriteError: ("disk full",), errors.RunInterrupted: (15,), errors.SamplesFailedError: ({},)}
    assert len(kinds) > 10
    for kind in kinds:
        message = str(kind(f"{name}: no such sample.", *more.get(kind, ())))
        assert message.isprintable() and message.endswith(": no such sample.")


@pytest.mark.parametrize("name", HOSTILE)
def test_markup_of_names_is_text_in_rich_tables(name):
    table = Table()
    table.add_column(cell(name))
    table.add_row(cell(name))
    console = Console(file=io.StringIO(), width=500, force_terminal=False)
    console.print(table)
    assert console.file.getvalue().count(sinks.terminal(name).strip()) == 2


@given(st.text(max_size=20) | st.sampled_from(HOSTILE))
def test_html_holds_text_only(text):
    page = PARAGRAPH.render(text=text)
    elements = Elements(page)
    assert elements.tags == ["p"] and elements.attributes == {"title"}


@settings(max_examples=40, deadline=None)
@given(st.recursive(st.text() | st.sampled_from(HOSTILE), st.lists))
def test_json_in_a_page_neither_ends_nor_opens_an_element(value):
    content = sinks.script_json(json.dumps(value))
    assert "<" not in content and json.loads(content) == value


def inline(text: str) -> list[str]:
    """The types of the tokens that a Markdown reader sees in a cell."""
    parser = MarkdownIt("commonmark", {"linkify": False}).enable(["table", "strikethrough"])
    tokens = parser.parse(grid(["name"], [[text]]))
    return [child.type for token in tokens if token.type == "inline" for child in token.children or []]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_in_markdown_are_text(name):
    assert set(inline(sinks.markdown(name))) == {"text"}
    assert inline(sinks.markdown_code(name)) == ["text", "code_inline"]
    tokens = MarkdownIt("commonmark").parse(f"Classes are\n{sinks.markdown(name)}\nand others.")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert not re.search(r"(?<!\\)://|www\.|(?<!\\)@", sinks.markdown(name))


def test_ordinary_names_stay_legible_in_markdown():
    for name in (
        "host_associated",
        "Bacteroides sp. (strain 3-1)",
        "n = 3",
        "s__Escherichia_coli",
        "2.5 %",
        "n. 1",
        "E. coli",
    ):
        assert sinks.markdown(name) == name


def test_markdown_shows_the_name_itself():
    for name in HOSTILE:
        shown = MarkdownIt("commonmark").renderInline(sinks.markdown(name))
        assert shown == escape(sinks.terminal(name)).replace("&#x27;", "'")


@given(st.text() | st.sampled_from(HOSTILE) | st.from_regex(r"'*[=+\-@]?[0-9.eE]*\Z"))
def test_spreadsheet_cells_are_read_back(text):
    written = sinks.spreadsheet(text)
    assert sinks.from_spreadsheet(written) == text
    try:
        float(text)
    except ValueError:
        assert not FORMULA.match(written)


def test_numbers_stay_numbers():
    assert [sinks.spreadsheet(value) for value in ("-5", "+1.5e3", -5, -0.5, None, "5")] == [
        "-5", "+1.5e3", -5, -0.5, None, "5"
    ]  # fmt: skip


def test_a_table_of_hostile_names_is_neutral_in_a_spreadsheet_and_read_back(tmp_path):
    names = [name for name in HOSTILE if name.isprintable()]
    frame = pd.DataFrame({"=label": names, "n": np.arange(len(names)) - 5}, index=pd.Index(names, name="@id"))
    for sep in (",", "\t"):
        path = tmp_path / "table.csv"
        write_spreadsheet(frame, path, sep=sep)
        with path.open(newline="") as file:
            rows = list(csv.reader(file, delimiter=sep))
        assert not [text for row in rows for text in row if FORMULA.match(text) and not text.lstrip("-").isdigit()]
        back = undo_spreadsheet(pd.read_csv(path, sep=sep, keep_default_na=False)).set_index("@id")
        assert list(back.index) == names and list(back["=label"]) == names and list(back["n"]) == list(frame["n"])
    write_spreadsheet(frame, path)
    table = read_table(path)
    assert table.columns == ("@id", "=label", "n") and table.column("@id") == names


def hostile_table() -> AbundanceTable:
    """A table whose samples, columns, classes and model have hostile names."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 50, (len(HOSTILE), 8))
    names = [name.encode("utf-8", "replace").decode() for name in HOSTILE]
    index = pd.Index(names, name="sample_id")
    stats = pd.DataFrame({name: counts.sum(1) for name in READ_STATS}, index=index)
    metadata = pd.DataFrame({name: [names[i % 5], *names[1:]] for i, name in enumerate(names)}, index=index)
    metadata["group"] = [names[6] if i % 2 else names[12] for i in range(len(names))]
    record = PROVENANCE | {"model": names[6], names[9]: names[10]}
    return AbundanceTable(tuple(names), counts, stats, metadata, record)


def test_a_cohort_of_hostile_names_is_reported_and_exported(tmp_path):
    table = hostile_table()
    figure = make_cohort_figure(table, colour_by="group")
    assert not [text for text in figure.findobj(Text) if CONTROL.search(text.get_text().replace("\n", ""))]
    page = cohort_report(table, tmp_path / "report.html", colour_by="group", title=HOSTILE[8]).read_text()
    elements = Elements(page)
    assert elements.tags.count("script") == 1 and "onerror" not in elements.attributes
    assert not CONTROL.search(page)
    assert set(inline(dataset_card_text(table).split("centroids\n")[1].split("\n")[0])) <= {"text", "code_inline"}
    (tmp_path / "csv").mkdir()
    export_table(table, tmp_path / "csv", "csv")
    for name in ("samples.csv", "abundance.csv"):
        with (tmp_path / "csv" / name).open(newline="") as file:
            cells = [text for row in csv.reader(file) for text in row]
        assert len(cells) > 100 and not [text for text in cells if FORMULA.match(text)]
    back = undo_spreadsheet(
        pd.read_csv(tmp_path / "csv" / "samples.csv", index_col=0, keep_default_na=False, dtype=str)
    )
    assert list(back.index) == list(table.sample_ids)
    assert list(back["group"]) == list(table.metadata["group"])


def test_a_dataset_card_of_hostile_names_is_text():
    names = [name.encode("utf-8", "replace").decode() for name in HOSTILE[:12]]
    record = {
        "task": "classification",
        "label_names": names,
        "splits": {"train": {"n_sequences": 24, "class_counts": dict.fromkeys(names, 2)}},
        "settings": {
            "split": "group", "group_column": names[9], "shares": [0.8, 0.1, 0.1], "seed": 0, "similarity": 0.8,
            "validation_contigs": [], "test_contigs": [], "reverse_complement": False,
        },
        "tallies": {"dropped": {}, "n_read": 24, "n_kept": 24},
        "biomeformer": "0",
        "inputs": [{"file": name} for name in names],
        "genome": names[6],
        "token_lengths": None,
    }  # fmt: skip
    card = dataset_card(record, {"train": 10})
    front, body = card.split("---\n", 2)[1:]
    stored = yaml.safe_load(front)["dataset_info"]["features"][2]["dtype"]["class_label"]["names"]
    assert list(stored.values()) == names
    page = MarkdownIt("commonmark").enable("table").render(body)
    elements = Elements(page)
    assert not {"script", "img", "a", "strong", "em"} & set(elements.tags)
    assert elements.tags.count("th") == len(names) + 2 and not CONTROL.search(body)


def test_cells_of_cards_stay_within_their_columns():
    for text in (grid(["a", "b"], [[sinks.markdown(name), "1"] for name in HOSTILE]),
                 pairs({sinks.markdown(name): sinks.markdown_code(name) for name in HOSTILE})):  # fmt: skip
        page = MarkdownIt("commonmark").enable("table").render(text)
        assert page.count("<td") in (2 * len(HOSTILE), 2 * len(set(map(sinks.terminal, HOSTILE))))

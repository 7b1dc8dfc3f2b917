"""What all reports have in common: one file, hostile names, tables and points that can be explored, a foot, print."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from matplotlib.colors import to_rgb

import browser
from biomeformer.checkpoints import FOLDER
from biomeformer.cli import app
from biomeformer.metagenomes import READ_STATS, AbundanceTable, ClusterDescriptions
from biomeformer.metagenomes.cluster_descriptions import NAME
from biomeformer.phenotypes import FeatureTable
from biomeformer.phenotypes.cohort_transfer import LabelledCohort, Transfer
from biomeformer.phenotypes.evaluation import interval
from biomeformer.reports import cohort_report
from biomeformer.reports.blocks import Cards, DataTable, Details, Figures, Heading, Items, Note, Paragraph, Section
from biomeformer.reports.cluster_report import cluster_report
from biomeformer.reports.network_report import network_report
from biomeformer.reports.page import write_page
from biomeformer.reports.phenotype import ReadsOfCluster, phenotype_report
from biomeformer.reports.sequence_report import sequence_report
from biomeformer.reports.transfer import transfer_report
from biomeformer.runs.command_line import set_command
from biomeformer.sequences.evaluation import SequenceEvaluation
from biomeformer.sequences.prediction_table import prediction_table
from report_factories import PROVENANCE, cluster_reads, made_up, study, tables
from test_sinks import CONTROL, HOSTILE, Elements

# What files can hold: lone surrogates are none of it.
NAMES = tuple(name.encode("utf-8", "replace").decode() for name in HOSTILE)
SHIPPED = FOLDER / "metagenbert-mini"
N_SAMPLES = 60


def cohort(n_samples: int = N_SAMPLES, names: tuple[str, ...] = ()) -> AbundanceTable:
    rng = np.random.default_rng(0)
    counts = rng.poisson(20, (n_samples, 30)).astype(np.int64)
    counts[::2, 3] += 40
    ids = tuple(f"s{i}" for i in range(n_samples))
    ids = (*names, *ids[len(names) :])
    index = pd.Index(ids, name="sample_id")
    stats = pd.DataFrame({name: counts.sum(1) for name in READ_STATS}, index=index)
    groups = [(NAMES[6], NAMES[8])[i % 2] if names else "ab"[i % 2] for i in range(n_samples)]
    metadata = pd.DataFrame({"group": groups, "age": [str(20 + i / 2) for i in range(n_samples)]}, index=index)
    if names:
        metadata.columns = ["group", NAMES[7]]
    return AbundanceTable(
        ids, counts, stats, metadata, PROVENANCE | ({"model": NAMES[6], NAMES[9]: 1} if names else {})
    )


def hostile_cohort(path: Path) -> Path:
    return cohort_report(cohort(names=NAMES), path, title=NAMES[8], failed=dict(zip(NAMES, NAMES[::-1], strict=True)))


def hostile_phenotype(path: Path) -> Path:
    ids = (*NAMES, *(f"s{i}" for i in range(N_SAMPLES - len(NAMES))))
    made, table = study(sets=("vectors",), models=("l1",)), tables()["vectors"]
    goal = replace(made.target, column=NAMES[6], classes=(NAMES[7], NAMES[8]), sample_ids=ids)
    features = FeatureTable(ids, (*NAMES, *table.names[len(NAMES) :]), table.values)
    one = replace(made, target=goal, sources={"vectors": NAMES[6]}, inputs={"tables": {"vectors": {"notes": NAMES}}})
    reads = [replace(cluster_reads()[0], examples=(NAMES[6],))]
    return phenotype_report(
        one, path, tables={"vectors": features}, cluster_reads=reads, show_reads=True, remark=NAMES[6], n_permutations=9
    )


def hostile_sequences(path: Path) -> Path:
    rng, labels = np.random.default_rng(0), (NAMES[6], NAMES[8], NAMES[0])
    truth, splits = rng.integers(0, 3, 90), ["validation", "test"] * 45
    table = prediction_table("multi_class", labels, [*map(str, range(90))], splits, truth, rng.dirichlet([1, 1, 1], 90))
    settings = dict(zip(NAMES[:10], NAMES[10:20], strict=True))
    scores = SequenceEvaluation.from_predictions(
        table, "multi_class", labels, model=NAMES[6], base_model=NAMES[7], settings=settings, n_bootstraps=3
    )
    return sequence_report(scores, table, path)


def hostile_network(path: Path) -> Path:
    network = made_up(30, 40)
    record = network.record | {"model": network.record["model"] | {"name": NAMES[6], "label": NAMES[8]}}
    pairs = network.pairs.assign(annotation_1=NAMES[7], annotation_2=NAMES[6])
    genomes = network.genomes.assign(genome_id=[*NAMES, *network.genomes["genome_id"]][: len(network.genomes)])
    clusters = network.clusters.assign(common_annotations=NAMES[: len(network.clusters)])
    return network_report(replace(network, pairs=pairs, genomes=genomes, clusters=clusters, record=record), path)


def hostile_transfer(path: Path) -> Path:
    made = study(sets=("vectors",), models=("l1",))
    goal = replace(made.target, column=NAMES[6], classes=(NAMES[7], NAMES[8]))
    evaluation = made.evaluations[0]
    spans = {name: interval(values, 0.5) for name, values in evaluation.fold_scores.items()}
    results = [Transfer((NAMES[0],), name, "l1", spans, evaluation.probabilities) for name in NAMES]
    return transfer_report(results, [LabelledCohort(name, (), goal) for name in NAMES], path, column=NAMES[6])


def hostile_clusters(path: Path) -> Path:
    shipped = ClusterDescriptions.read(SHIPPED / NAME)
    taxa = [NAMES[i % len(NAMES)] for i in range(len(shipped))]
    frame = shipped.frame.assign(species=taxa, genus=taxa[::-1])
    return cluster_report(ClusterDescriptions(frame, shipped.record | {"model": NAMES[6]}), path)


REPORTS = {
    "cohort": hostile_cohort,
    "phenotype": hostile_phenotype,
    "sequences": hostile_sequences,
    "network": hostile_network,
    "transfer": hostile_transfer,
    "clusters": hostile_clusters,
}


@pytest.fixture(scope="module", params=REPORTS)
def hostile(request, tmp_path_factory):
    return REPORTS[request.param](tmp_path_factory.mktemp("hostile") / f"{request.param}.html")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return cohort_report(cohort(), tmp_path_factory.mktemp("cohort") / "report.html")


def test_hostile_names_are_text_in_every_report(hostile):
    text = hostile.read_text()
    elements = Elements(text)
    n_scripts = 3 if hostile.stem == "network" else 1
    assert elements.tags.count("script") == n_scripts and elements.tags.count("body") == 1
    assert not {name for name in elements.attributes if name.startswith("on")}
    assert not CONTROL.search(text)
    assert "alert(1)" in text and "<script>alert" not in text


def test_no_report_asks_the_network_or_overflows(hostile, tmp_path):
    text = hostile.read_text()
    assert not re.search(r'\b(src|href)="(?!data:|#)', text) and "@import" not in text
    seen = browser.look(hostile, tmp_path, 400)
    assert seen.console == [] and seen.requests == [] and seen.scroll_width <= 400
    assert browser.overlaps(seen.boxes) == [] and all(box["drawn"] for box in seen.boxes)
    assert all(box["right"] <= 401 for box in seen.boxes if not box["scrolls"])


def test_a_page_runs_no_script_and_loads_no_picture_but_its_own(page, tmp_path):
    bad = tmp_path / "bad.html"
    fault = '<img src="http://127.0.0.1:9/x.png"><script>document.title = "taken over"</script>'
    bad.write_text(page.read_text().replace("<h2>Overview", f"{fault}<h2>Overview", 1))
    log = tmp_path / "net.json"
    done = browser.run(tmp_path, f"--log-net-log={log}", "--virtual-time-budget=3000", "--dump-dom", bad.as_uri())
    assert "<title>Cohort report</title>" in done.stdout and 'class="filter"' in done.stdout
    asked = {event.get("params", {}).get("url") for event in json.loads(log.read_text())["events"]}
    assert "http://127.0.0.1:9/x.png" not in asked


def test_tables_sort_numbers_as_numbers_and_text_as_text(tmp_path):
    frame = pd.DataFrame(
        {
            "name": ["cluster 10", "cluster 9", "b", "a", "cluster 1"],
            "score": ["0.5 (0.1-0.9)", "10.0 (1.0-20.0)", "undefined", "-3.0 (-4.0 to -2.0)", "1e-3"],
            "reads": ["1,200", "900", "", "3", "20"],
        }
    )
    path = write_page(tmp_path / "p.html", "t", [], [Section("s", [DataTable(frame, "rows")])])
    script = """
      const heads = [...document.querySelectorAll("table.data th")], result = {};
      const column = i => [...document.querySelectorAll("table.data tbody tr")].map(r => r.cells[i].textContent);
      for (const [name, i] of [["name", 0], ["score", 1], ["reads", 2]]) {
        for (const click of [1, 2]) {
          heads[i].querySelector("button").click();
          result[`${name}${click}`] = [column(i), heads.map(head => head.getAttribute("aria-sort"))];
        }
      }
      return result;"""
    sorted_by = browser.drive(path, tmp_path / "b", script)
    ascending = ["a", "b", "cluster 1", "cluster 9", "cluster 10"]
    assert sorted_by["name1"] == [ascending, ["ascending", None, None]]
    assert sorted_by["name2"] == [ascending[::-1], ["descending", None, None]]
    scores = ["10.0 (1.0-20.0)", "0.5 (0.1-0.9)", "1e-3", "-3.0 (-4.0 to -2.0)", "undefined"]
    assert sorted_by["score1"] == [scores, [None, "descending", None]]
    # What is undefined stays last.
    assert sorted_by["score2"][0] == [*scores[-2::-1], "undefined"]
    assert sorted_by["reads1"][0] == ["1,200", "900", "20", "3", ""]


def test_tables_are_filtered_by_words(page, tmp_path):
    script = """
      const input = document.querySelector("#section-2 input"), rows = document.querySelectorAll("#section-2 tbody tr");
      const status = document.querySelector("#section-2 [role=status]"), result = [];
      for (const words of ["s1", "A s1", "nothing", ""]) {
        input.value = words;
        input.dispatchEvent(new Event("input"));
        result.push([[...rows].filter(row => row.offsetHeight > 0).length, status.textContent]);
      }
      return result;"""
    ids = [f"s{i}" for i in range(N_SAMPLES)]
    expected = sum("s1" in name for name in ids)
    in_group = sum("s1" in name and i % 2 == 0 for i, name in enumerate(ids))
    assert browser.drive(page, tmp_path, script) == [
        [expected, f"{expected} of 60 samples"],
        [in_group, f"{in_group} of 60 samples"],
        [0, "0 of 60 samples"],
        [60, ""],
    ]


def test_points_tell_their_names_and_groups_can_be_selected(page, tmp_path):
    script = """
      const figure = document.querySelector("figure.scatter"), points = [...figure.querySelectorAll(".point")];
      const tip = figure.querySelector(".tip"), buttons = [...figure.querySelectorAll(".legend button")];
      const faded = () => points.filter(point => point.classList.contains("faded")).length;
      const result = {n: points.length, hidden: tip.hidden, legend: buttons.map(b => b.textContent.trim())};
      const over = new PointerEvent("pointerover", {bubbles: true});
      points[0].firstElementChild.dispatchEvent(over);
      result.tip = tip.hidden ? null : tip.textContent;
      buttons[0].click();
      result.one = [faded(), buttons.map(b => b.getAttribute("aria-pressed"))];
      buttons[1].click();
      result.both = faded();
      buttons[0].click(); buttons[1].click();
      result.none = faded();
      const frame = figure.getBoundingClientRect(), box = points[0].getBoundingClientRect();
      result.inside = box.left >= frame.left && box.right <= frame.right && box.width > 2;
      return result;"""
    seen = browser.drive(page, tmp_path, script)
    assert seen["n"] == N_SAMPLES and seen["hidden"] and seen["legend"] == ["a (n = 30)", "b (n = 30)"]
    assert seen["tip"] == "s0: a" and seen["inside"]
    assert seen["one"] == [30, ["true", "false"]] and seen["both"] == 0 and seen["none"] == 0


def test_a_page_without_scripts_shows_the_same(page, tmp_path):
    shown = browser.without_scripts(page, tmp_path)
    assert "<button" not in shown and 'class="filter"' not in shown
    titles = re.findall(r'<g class="point" data-group="\d">\s*<title>(.*?)</title>', shown)
    assert set(titles) == {f"s{i}: {'ab'[i % 2]}" for i in range(N_SAMPLES)}
    assert all(f">s{i}</td>" in shown for i in range(N_SAMPLES))


def test_print_has_all_rows_and_no_controls(page, tmp_path):
    """A table that scrolls on the screen is whole on paper."""
    script = """
      const rows = document.querySelectorAll("#section-2 tbody tr"), frame = document.querySelector("#section-2 .wide");
      return [frame.scrollHeight > frame.clientHeight, rows.length];"""
    assert browser.drive(page, tmp_path / "screen", script) == [True, N_SAMPLES]
    style = re.search(r"@media print \{(.*?)\n\}", page.read_text(), re.S).group(1)
    copy = tmp_path / "print.html"
    copy.write_text(page.read_text().replace("</style>", f"{style}</style>", 1))
    script = """
      const frame = document.querySelector("#section-2 .wide"), hidden = name => [...document.querySelectorAll(name)]
        .every(e => e.offsetHeight === 0);
      return [frame.scrollHeight > frame.clientHeight, hidden("nav"), hidden(".filter label"),
              document.documentElement.scrollWidth <= 700];"""
    assert browser.drive(copy, tmp_path / "print", script, width=700) == [False, True, True, True]
    pages = re.findall(rb"/Type\s*/Page\b", browser.print_to_pdf(page, tmp_path / "pdf"))
    assert 2 <= len(pages) <= 6


def test_the_foot_names_date_command_versions_and_parameters(tmp_path, date):
    set_command(["biomeformer", "embed", "a cohort.csv", "--output", "<results>", f"--model={tmp_path}/mine"])
    foot = cohort_report(cohort(), tmp_path / "r.html").read_text().split('<footer id="run">')[1]
    cells = {unescape(name): unescape(re.sub("<.*?>", "", value)) for name, value in
             re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>', foot)}  # fmt: skip
    assert cells["date"] == date
    assert shlex.split(cells["command"]) == [
        "biomeformer",
        "embed",
        "a cohort.csv",
        "--output",
        "<results>",
        "--model=mine",
    ]
    # Others read it, so it has no paths of this machine.
    assert str(tmp_path) not in foot
    assert f"numpy {np.__version__}" in cells["versions"] and "biomeformer" in cells["versions"]
    assert cells["preprocessing"] == "pooling mean, min read length 32, max length 42" and cells["seed"] == "3"
    # No value is JSON.
    assert not [value for value in cells.values() if value.startswith(("{", "[")) or value in ("null", "true")]


def next_command(path: Path) -> list[str]:
    return shlex.split(unescape(re.search(r'<p class="next">Next: <code>(.*?)</code>', path.read_text()).group(1)))


def test_the_next_command_is_one_that_the_command_line_takes(hostile):
    program, *words = next_command(hostile)
    assert program == "biomeformer"
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    # Raises if a word is unknown or a required one is missing.
    context = command.make_context(command.name, words)
    assert context.params


def test_the_next_command_is_of_the_folder_of_the_table(page):
    folder = page.parent
    assert next_command(page)[1:] == [
        "phenotype", "evaluate", folder.name, "--target", "group", "--output", f"{folder.name}-group"
    ]  # fmt: skip


def test_every_kind_of_block_escapes(tmp_path):
    text = "<i>&\x1b\u202e"
    blocks = [
        Paragraph(text), Note(text), Heading(text), Items([text]), Cards({text: text}), Details({text: text}),
        DataTable(pd.DataFrame({text: [text]}), text), Figures([]), ReadsOfCluster(text, text, [text]),
    ]  # fmt: skip
    page = write_page(tmp_path / "p.html", text, blocks, [Section(text, blocks)], next_command=text).read_text()
    assert page.count("&lt;i&gt;&amp;\\x1b\\u202e") > 20 and "<i>" not in page and not CONTROL.search(page)


def test_large_cohorts_make_pages_of_bounded_size(tmp_path):
    many = cohort_report(cohort(10_000), tmp_path / "r.html")
    text = many.read_text()
    assert many.stat().st_size < 3_000_000
    assert text.count('<g class="point"') == 1000 and "1,000 of the 10,000 samples are drawn" in text
    assert "The first 1,000 of 10,000 are listed" in text


def test_one_palette_tells_colours_of_classes_apart(page):
    """Points of a group have the colour that its legend has."""
    text = page.read_text()
    colours = re.findall(r'<li data-group="(\d)">.*?fill="(#\w+)"', text)
    for group, colour in colours:
        drawing = text[text.index('class="drawing"') :]
        point = drawing[drawing.index(f'<g class="point" data-group="{group}"') :][:600]
        assert re.search(rf"fill: {colour}", point, re.I) and to_rgb(colour)
    assert len({colour for _, colour in colours}) == 2

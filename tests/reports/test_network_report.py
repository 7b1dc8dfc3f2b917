"""The page of a network, driven in a browser: search, filter, click, drag, save."""

from __future__ import annotations

import base64
import json
import re
from html import unescape
from urllib.parse import unquote

import networkx as nx
import numpy as np
import pytest

import browser
from biomeformer.attribution import GeneInteractionNetwork
from biomeformer.reports.network_layout import network_layout
from biomeformer.reports.network_report import MAX_NODES, network_report, shown_graph
from report_factories import made_up

# Does what a person would, and writes down what came of it.
# Frames come from the clock, which a browser without a screen keeps running.
FRAMES = "<script>window.requestAnimationFrame = draw => setTimeout(() => draw(performance.now()), 1);</script>"
DRIVER = """<script>
addEventListener("load", async () => {
  const root = document.getElementById("network"), canvas = root.querySelector("canvas"), found = {};
  const frame = () => new Promise(done => setTimeout(done, 20));
  const point = (type, x, y) => canvas.dispatchEvent(new PointerEvent(type, {
    clientX: x, clientY: y, pointerId: 1, bubbles: true, cancelable: true}));
  const box = () => canvas.getBoundingClientRect();
  const status = () => root.querySelector(".status").textContent;
  const details = () => root.querySelector(".details").innerText;
  const set = (name, value, type) => {
    const input = root.querySelector(name);
    input.value = value;
    input.dispatchEvent(new Event(type, {bubbles: true}));
  };
  await frame();
  found.start = status();
  set(".search", "SEARCHED", "input");
  await frame();
  found.searched = status();
  root.querySelector(".search").dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true}));
  await frame();
  found.chosen = details();
  // The chosen node is in the middle: drag it, click where it was, and where it is.
  const x = box().left + box().width / 2, y = box().top + box().height / 2;
  set(".search", "", "input");
  point("pointermove", x, y);
  await frame();
  found.cursor = canvas.style.cursor;
  point("pointerdown", x, y);
  for (let i = 1; i <= 10; i++) point("pointermove", x + 6 * i, y + 4 * i);
  point("pointerup", x + 60, y + 40);
  await frame();
  canvas.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape", bubbles: true}));
  found.none = details();
  point("pointermove", x + 60, y + 40);
  point("pointerdown", x + 60, y + 40);
  point("pointerup", x + 60, y + 40);
  await frame();
  found.clicked = details();
  const other = root.querySelector(".details button");
  other.click();
  await frame();
  found.followed = details();
  set(".class", "host", "change");
  await frame();
  found.host = status();
  set(".class", "", "change");
  set(".least", "2", "input");
  await frame();
  found.two = status();
  set(".least", "1", "input");
  set(".colour", "class", "change");
  canvas.dispatchEvent(new WheelEvent("wheel", {deltaY: -200, bubbles: true, cancelable: true}));
  await frame();
  HTMLAnchorElement.prototype.click = function () { found[this.download] = this.href; };
  root.querySelector(".save-svg").click();
  root.querySelector(".save-png").click();
  root.querySelector(".fit").click();
  await frame();
  const result = document.createElement("pre");
  result.id = "driven";
  result.textContent = JSON.stringify(found);
  document.body.append(result);
});
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return network_report(made_up(90, 160), tmp_path_factory.mktemp("network") / "report.html")


def drive(page, folder, searched):
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / "page.html"
    text = browser.permissive(page.read_text()).replace("<head>", f"<head>{FRAMES}", 1)
    copy.write_text(text.replace("</body>", DRIVER.replace("SEARCHED", searched) + "</body>"))
    done = browser.run(
        folder, "--window-size=1200,900", "--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom",
        copy.as_uri(),
    )  # fmt: skip
    found = re.search(r'<pre id="driven">(.*?)</pre>', done.stdout, re.S)
    complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    assert found is not None and not complaints, (complaints, done.stderr[-1500:])
    return json.loads(unescape(found.group(1)))


def test_search_filter_click_drag_and_save(page, tmp_path):
    network = made_up(90, 160)
    graph = network.to_networkx()
    found = drive(page, tmp_path, "f0007")
    whole = f"{len(graph)} nodes, {graph.number_of_edges()} edges"
    assert found["start"] == whole and found["searched"] == f"{whole}, 1 match"
    node = graph.nodes["F0007"]
    assert "F0007" in found["chosen"] and "<b>kinase</b> & $co_7$" in found["chosen"]
    assert f"partners\n{node['degree']}" in found["chosen"] and found["cursor"] == "pointer"
    # Where it was dragged, it is.
    assert found["none"].startswith("Click a node") and found["clicked"] == found["chosen"]
    assert found["followed"] != found["clicked"] and "Paired with" in found["followed"]
    host = network.to_networkx(label="host")
    assert found["host"].startswith(f"{len(host)} nodes, {host.number_of_edges()} edges")
    two = [e for e in graph.edges(data=True) if e[2]["n_genomes"] >= 2]
    assert f", {len(two)} edge" in found["two"]
    picture = unquote(found["network.svg"].removeprefix("data:image/svg+xml;charset=utf-8,"))
    assert picture.count("<circle") == len(graph) and picture.count("<line") == graph.number_of_edges()
    assert base64.b64decode(found["network.png"].removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")


def test_two_thousand_nodes(tmp_path):
    network = made_up(2600, 5200)
    graph = shown_graph(network)
    assert len(graph) == MAX_NODES < 2600
    page = network_report(network, tmp_path / "report.html")
    found = drive(page, tmp_path / "drive", next(iter(graph)).lower())
    assert found["start"].startswith("2,000 nodes")
    picture = unquote(found["network.svg"].removeprefix("data:image/svg+xml;charset=utf-8,"))
    assert picture.count("<circle") == 2000 and found["clicked"] == found["chosen"]


@pytest.mark.parametrize("width", [1280, 400])
def test_network_report_has_no_overlaps_or_requests(page, tmp_path, width):
    seen = browser.look(page, tmp_path, width)
    assert seen.console == [] and seen.requests == []
    assert seen.scroll_width <= seen.width and all(box["drawn"] for box in seen.boxes)
    shown = [box for box in seen.boxes if not box["scrolls"]]
    assert not browser.overlaps(shown)
    text = page.read_text()
    assert "<b>kinase</b>" not in text.split('id="network-data"')[0] and "&lt;i&gt;kinase" in text


def test_layouts_are_the_same_and_apart():
    graph = nx.disjoint_union_all([nx.path_graph(n) for n in (9, 5, 2, 2, 1)])
    graph = nx.relabel_nodes(graph, str)
    places = network_layout(graph)
    assert places == network_layout(graph) and set(places) == set(graph)
    boxes = []
    for nodes in nx.connected_components(graph):
        points = np.array([places[node] for node in nodes])
        boxes.append((*points.min(0), *points.max(0)))
    for i, a in enumerate(boxes):
        assert not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in boxes[i + 1 :])
    big = nx.relabel_nodes(nx.barabasi_albert_graph(600, 1, seed=0), str)
    assert np.isfinite(list(network_layout(big).values())).all()


def test_no_pairs_of_families(tmp_path):
    network = made_up(30, 20)
    alike = network.pairs.assign(family_2=network.pairs["family_1"])
    lonely = GeneInteractionNetwork(
        alike, network.clusters.head(0), network.families, network.genomes, network.enrichment.head(0), network.record
    )
    text = network_report(lonely, tmp_path / "r.html").read_text()
    assert "No two gene families form a pair" in text and "No annotation or class is enriched" in text


def test_pairs_that_tell_nothing_are_called_so(page, tmp_path):
    """Where random genes tell the class better than those of the pairs, certainly."""
    network = made_up(30, 20)
    assert "does not base its decision on them" not in page.read_text()
    for high, warned in ((-0.1, True), (0.1, False)):
        span = [-0.5, -0.6, high]
        control = {"from": "as many random genes", "genes": 90.0, "accuracy": span, "balanced_accuracy": span}
        network.record["pseudo_examples"] = [control | {"pseudo_examples_minus_this": span}]
        text = network_report(network, tmp_path / "r.html").read_text()
        assert ("does not base its decision on them" in text) is warned

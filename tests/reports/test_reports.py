"""Figures and reports hold what the table holds."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from biomeformer.errors import InputError, TableError
from biomeformer.metagenomes import READ_STATS, AbundanceTable
from biomeformer.reports import bray_curtis_pcoa, cohort_figure, cohort_report
from biomeformer.reports.colouring import default_colour_column
from biomeformer.reports.figure import make_cohort_figure
from biomeformer.reports.heatmap import robust_maximum

PROVENANCE = {
    "model": "a <model>",
    "weights_sha256": "0123456789abcdef" * 4,
    "dtype": "float32",
    "n_clusters": 16,
    "read_fraction": 0.5,
    "seed": 3,
    "contract": {"pooling": "mean", "min_read_length": 32, "max_length": 42},
    "versions": {"biomeformer": "0"},
}


def table(n_samples, metadata=None):
    rng = np.random.default_rng(0)
    shift = np.where(np.arange(n_samples)[:, None] % 2 == 0, np.arange(16), np.arange(16)[::-1])
    counts = rng.poisson(5 + 4 * shift).astype(np.int64)
    ids = tuple(f"sample_{i}" for i in range(n_samples))
    index = pd.Index(ids, name="sample_id")
    read_stats = pd.DataFrame({name: counts.sum(1) for name in READ_STATS}, index=index)
    return AbundanceTable(ids, counts, read_stats, pd.DataFrame(metadata or {}, index=index), PROVENANCE)


def test_pcoa_keeps_euclidean_distances():
    # Two clusters only: Bray-Curtis of shares is the distance along a line.
    abundance = np.array([[0.1, 0.9], [0.3, 0.7], [0.8, 0.2]])
    points, shares = bray_curtis_pcoa(abundance)
    distance = np.abs(points[:, None, 0] - points[None, :, 0])
    np.testing.assert_allclose(distance, np.abs(abundance[:, None, 0] - abundance[None, :, 0]), atol=1e-9)
    np.testing.assert_allclose(shares, [1, 0], atol=1e-9)


def test_pcoa_tells_groups_apart():
    points, shares = bray_curtis_pcoa(table(12).abundance)
    assert abs(points[::2, 0].mean() - points[1::2, 0].mean()) > 5 * points[::2, 0].std()
    assert shares[0] > shares[1] > 0 and shares.sum() <= 1
    for n_samples in (1, 2):
        points, _ = bray_curtis_pcoa(table(n_samples).abundance)
        assert points.shape == (n_samples, 2) and np.isfinite(points).all()


def test_default_colours_are_of_a_column_that_groups_samples():
    assert default_colour_column(table(6, {"age": [*"123456"], "group": [*"ababab"]}).metadata) == "group"
    assert default_colour_column(table(3, {"group": [*"abc"]}).metadata) is None
    # One that is named as a target goes before others.
    columns = {"sex": [*"mmffmf"], "Study condition": [*"ababab"], "site": [*"xxyyxx"]}
    assert default_colour_column(table(6, columns).metadata) == "Study condition"
    assert default_colour_column(table(3).metadata) is None


@pytest.mark.parametrize(
    ("n_samples", "metadata", "colour_by"),
    [
        (1, None, None),
        (2, {"group": ["a", "b"]}, "group"),
        (12, {"group": [*"ab" * 6]}, None),
        (30, {"age": [str(40 + i / 2) for i in range(30)]}, "age"),
        (40, {"site": [f"site {i % 12}" for i in range(40)]}, "site"),
        (60, {"group": [""] * 30 + ["x" * 60] * 30}, "group"),
    ],
)
def test_cohort_figure_draws_every_sample(tmp_path, n_samples, metadata, colour_by):
    sample_table = table(n_samples, metadata)
    path = cohort_figure(sample_table, tmp_path / "cohort.png", colour_by=colour_by, title="A title")
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 20_000
    figure = make_cohort_figure(sample_table, colour_by=colour_by)
    drawn = sum(
        len(points.get_offsets()) for points in figure.axes[0].collections if points.get_label() != "<colorbar>"
    )
    assert drawn == n_samples


def test_odd_labels_and_gaps(tmp_path):
    odd = table(6, {"group": [r"a$\frac$", r"a$\frac$", "b$", "b$", None, None], "age": ["1.5", *"23456"]})
    odd = AbundanceTable((r"s$x_1$", *odd.sample_ids[1:]), odd.counts, odd.read_stats, odd.metadata, PROVENANCE)
    assert cohort_figure(odd, tmp_path / "odd.png", colour_by="group").is_file()
    ages = table(30, {"age": ["" if i % 5 == 0 else str(40 + i / 2) for i in range(30)]})
    axes = make_cohort_figure(ages, colour_by="age").axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["no value (n = 6)"]
    with pytest.raises(TableError, match=r"no metadata column 'sex'.*it has age"):
        cohort_figure(ages, tmp_path / "x.png", colour_by="sex")
    with pytest.raises(InputError, match=r"not written as '\.xyz'"):
        cohort_figure(ages, tmp_path / "x.xyz")


def test_names_do_not_overlap():
    figure = make_cohort_figure(table(12, {"group": [*"ab" * 6]}))
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) > 6
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_names_cover_no_point():
    figure = make_cohort_figure(table(12, {"group": [*"ab" * 6]}))
    axes = figure.axes[0]
    figure.canvas.draw()
    pixels = axes.transData.transform(np.concatenate([points.get_offsets() for points in axes.collections]))
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(box.contains(*point) for box in boxes for point in pixels)
    frame = axes.get_window_extent().padded(12)
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


def test_metadata_columns_of_the_names_of_statistics_are_listed_beside_them(tmp_path):
    page = cohort_report(table(4, {"reads": [*"wxyz"], "sample": [*"1234"]}), tmp_path / "r.html").read_text()
    heads = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', page)
    assert heads.count("reads") == heads.count("sample") == 2 and all(f">{name}</td>" in page for name in "wxyz")


@pytest.mark.parametrize("n_samples", [1, 2, 3, 16])
def test_samples_in_one_place_are_drawn(tmp_path, n_samples):
    """Of names that no place is left for, neither text nor line is left."""
    same = table(n_samples, {"group": ["ab"[i % 2] for i in range(n_samples)]})
    same = replace(same, counts=np.repeat(same.counts[:1], n_samples, 0))
    page = cohort_report(same, tmp_path / "r.html").read_text()
    assert page.count('<g class="point"') == n_samples
    assert cohort_figure(same, tmp_path / "c.png").is_file()


def test_ordinations_have_one_scale_on_both_axes():
    axes = make_cohort_figure(table(30)).axes[0]
    axes.figure.canvas.draw()
    (x0, y0), (x1, y1) = axes.transData.transform([(0, 0), (0.1, 0.1)])
    assert x1 - x0 == pytest.approx(y1 - y0)
    assert "% of variance" in axes.get_xlabel() and "% of variance" in axes.get_ylabel()


def test_one_large_value_leaves_the_others_of_a_heat_map_apart():
    plain = table(40)
    counts = plain.counts.copy()
    counts[0, 0] = 200 * counts.sum(1).max()
    extreme = AbundanceTable(plain.sample_ids, counts, plain.read_stats, plain.metadata, PROVENANCE)
    axes = make_cohort_figure(extreme).axes
    image = axes[1].images[0]
    shades = image.norm(image.get_array())
    others = np.sort(np.asarray(shades).ravel())[:-1]
    # On a linear scale that ends at the largest value they would lie within a tenth of the colours.
    assert np.quantile(others, 0.9) - np.quantile(others, 0.1) > 0.4 and float(shades.max()) == 1
    label = next(one.get_ylabel() for one in axes if "reads in cluster" in one.get_ylabel())
    assert "square-root scale" in label and "ends at the 99th percentile; largest: 99" in label
    # Without such a value the scale has all values.
    assert robust_maximum(np.linspace(0, 5, 1000)) == 5 and robust_maximum(np.zeros(9)) == 1


def test_report_is_one_file_with_every_sample(tmp_path):
    path = cohort_report(table(12, {"group": ["<b>", "c"] * 6}), tmp_path / "report.html", title="Gut & soil")
    page = path.read_text()
    assert "Gut &amp; soil" in page and "&lt;b&gt;" in page and "<b>&" not in page and "a &lt;model&gt;" in page
    assert all(f"sample_{i}" in page for i in range(12))
    assert "A fraction 0.5 of the reads" in page and "at most 42 tokens" in page and "0123456789ab…" in page
    assert (
        not re.search(r"(src|href)=\"(?!data:|#)", page)
        and "@import" not in page
        and not re.search(r"url\((?!#)", page)
    )


def test_of_many_samples_some_are_drawn_and_listed_and_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("biomeformer.reports.ordination.MAX_DRAWN_SAMPLES", 10)
    monkeypatch.setattr("biomeformer.reports.cohort.MAX_LISTED_SAMPLES", 5)
    many = table(40, {"group": [*"ab" * 20]})
    figure = make_cohort_figure(many)
    assert sum(len(points.get_offsets()) for points in figure.axes[0].collections) == 10
    assert figure.axes[1].images[0].get_array().shape[1] == 10
    assert figure.get_supxlabel() == "10 of 40 samples, drawn at random"
    page = cohort_report(many, tmp_path / "r.html", failed={f"x{i}": "broken" for i in range(9)}).read_text()
    assert "10 of the 40 samples are drawn, chosen at random" in page and page.count('<g class="point"') == 10
    assert (
        "The first 5 of 40 are listed; the abundance table has all" in page
        and len(re.findall("<td[^>]*>sample_", page)) == 5
    )
    assert "The first 5 of 9 are listed; biomeformer status" in page and page.count("broken") == 5
    few = cohort_report(table(4), tmp_path / "few.html").read_text()
    assert "drawn, chosen" not in few and "are listed" not in few and not make_cohort_figure(table(4)).get_supxlabel()

"""Feature tables of every common layout, and what is wrong with others."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest

from biomeformer.errors import InputError, TableError
from biomeformer.metagenomes import AbundanceTable
from biomeformer.metagenomes.sample import READ_STATS
from biomeformer.phenotypes import FeatureTable, design_matrix, read_feature_table, transform_shares
from biomeformer.phenotypes.transforms import block_rules, is_counts, replace_zeros

SAMPLES = ["A1", "B 2", "C3"]
SPECIES = {
    "k__Bacteria|p__X|g__E|s__E_coli": [20.0, 0, 50.5],
    "k__Bacteria|p__X|g__E|s__E_albertii": [30.0, 90, 0.5],
    "k__Bacteria|p__Y|g__Z_unclassified": [50.0, 10, 49],
}
RANKS = {
    "k__Bacteria": [100.0, 100, 100],
    "k__Bacteria|p__X": [50.0, 90, 51],
    "k__Bacteria|p__X|g__E": [50.0, 90, 51],
    "k__Bacteria|p__X|g__E|s__E_coli|t__K12": [20.0, 0, 50.5],
    "k__Bacteria|p__Y": [50.0, 10, 49],
}


def rows(taxa, separator="\t"):
    return [separator.join([name, *map(str, values)]) for name, values in taxa.items()]


def layouts():
    both = dict(sorted((RANKS | SPECIES).items()))
    columns = ["\t".join(["sample_id", *both])]
    columns += ["\t".join([name, *(str(values[i]) for values in both.values())]) for i, name in enumerate(SAMPLES)]
    return {
        "metaphlan 2": ["ID\t" + "\t".join(SAMPLES), *rows(both)],
        "metaphlan 2, hashed header": ["#SampleID\t" + "\t".join(SAMPLES), *rows(both)],
        "metaphlan 4": [
            "#mpa_vJan21_CHOCOPhlAnSGB_202103",
            "clade_name\tNCBI_tax_id\t" + "\t".join(SAMPLES),
            *[row.replace("\t", "\t2|1224\t", 1) for row in rows(both)],
        ],
        "curatedMetagenomicData": [
            '"",' + ",".join(f'"{name}"' for name in SAMPLES),
            *[f'"{name}",' + ",".join(map(str, values)) for name, values in both.items()],
        ],
        "rows of metadata": ["ID\t" + "\t".join(SAMPLES), "disease\tn\tcrc\tn", *rows(both)],
        "taxa in columns": columns,
        "with unclassified": ["clade_name\t" + "\t".join(SAMPLES), "UNCLASSIFIED\t1\t1\t1", *rows(both)],
        "windows": ["\ufeffID\t" + "\t".join(SAMPLES) + "\r", *[row + "\r" for row in rows(both)]],
    }


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("layout", layouts())
def test_species_tables_of_any_layout_are_read(tmp_path, layout, compressed):
    text = ("\n".join(layouts()[layout]) + "\n").encode()
    (tmp_path / "t.tsv").write_bytes(gzip.compress(text) if compressed else text)
    table = read_feature_table(tmp_path / "t.tsv")
    assert table.sample_ids == tuple(SAMPLES)
    assert {name: column.tolist() for name, column in zip(table.names, table.values.T, strict=True)} == SPECIES
    assert any("above or below the species" in note for note in table.notes)
    assert ("that are not taxa ('disease')" in " ".join(table.notes)) == (layout == "rows of metadata")
    assert ("assigned to no taxon or gene ('UNCLASSIFIED'): 0.99 % of the abundance" in " ".join(table.notes)) == (
        layout == "with unclassified"
    )


@pytest.mark.parametrize("turned", [False, True])
def test_plain_tables_turn_to_the_samples(tmp_path, turned):
    frame = pd.DataFrame([[1, 2], [3, 4], [5, 6]], index=SAMPLES, columns=["x", "y"])
    (frame.T if turned else frame).to_csv(tmp_path / "t.csv")
    table = read_feature_table(tmp_path / "t.csv", SAMPLES)
    assert table.sample_ids == tuple(SAMPLES) and table.names == ("x", "y")
    assert table.values.tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize("version", [1, 2])
def test_biom_tables_of_either_version_are_read(tmp_path, version):
    import h5py
    from biom import Table

    biom = Table(np.array([[1.0, 0, 3], [4, 5, 6]]), ["o1", "o2"], SAMPLES)
    if version == 1:
        (tmp_path / "t.biom").write_text(biom.to_json("test"))
    else:
        with h5py.File(tmp_path / "t.biom", "w") as file:
            biom.to_hdf5(file, "test")
    table = read_feature_table(tmp_path / "t.biom")
    assert table.sample_ids == tuple(SAMPLES) and table.names == ("o1", "o2")
    assert table.values.tolist() == [[1, 4], [0, 5], [3, 6]]


def abundance_table(**provenance):
    index = pd.Index(SAMPLES, name="sample_id")
    read_stats = pd.DataFrame({name: [4, 4, 4] for name in READ_STATS}, index=index)
    counts = np.array([[1, 3], [2, 2], [4, 0]], np.int64)
    record = {"weights_sha256": "ab", "contract": {"pooling": "mean"}, "n_clusters": 2, "dtype": "float32"}
    return AbundanceTable(tuple(SAMPLES), counts, read_stats, pd.DataFrame(index=index), record | provenance)


def test_our_own_tables_join_only_when_they_agree(tmp_path):
    abundance_table().write(tmp_path / "abundance.parquet")
    one, two = read_feature_table(tmp_path), read_feature_table(tmp_path / "abundance.parquet")
    assert one.values.tolist() == [[1, 3], [2, 2], [4, 0]] and one.names == ("cluster_0", "cluster_1")
    one.check_joins(two, "one", "two")
    # Another fraction of the reads is no other space.
    one.check_joins(FeatureTable.from_abundance(abundance_table(read_fraction=0.1)), "one", "two")
    for change in ({"weights_sha256": "cd"}, {"contract": {"pooling": "cls"}}, {"dtype": "bfloat16"}):
        other = FeatureTable.from_abundance(abundance_table(**change))
        # The provenance has the preprocessing config under its first name.
        field = next(iter(change)).replace("contract", "preprocessing config")
        with pytest.raises(TableError, match=f"one and two do not join: they differ in {field} "):
            one.check_joins(other, "one", "two")


def test_taken_samples_keep_their_order_and_shares():
    table = FeatureTable.from_abundance(abundance_table())
    taken = table.take(["C3", "A1"])
    assert taken.sample_ids == ("C3", "A1") and taken.values.tolist() == [[4, 0], [1, 3]]
    assert taken.shares.tolist() == [[1, 0], [0.25, 0.75]]
    with pytest.raises(TableError, match=r"species lacks 1 of 2 samples \(such as 'Z9'"):
        table.take(["A1", "Z9"], "species")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("sample_id\tx\n", "fewer than two lines"),
        ("just words\nand more\n", "no tab or comma separates"),
        ("sample_id,x,y\nA,1\nB,1,2,3\n", "every row needs as many fields"),
        ("sample_id,x,y\nA,1,\nB,1,2\n", "sample 'A', 'y': the value is empty"),
        ("sample_id,x,y\nA,1,NA\nB,1,2\n", "sample 'A', 'y': the value is 'NA', which is no number"),
        ("sample_id;x;y\nA;1;0,5\nB;1;2\n", r"'0,5', which is no number \(write a point as the decimal mark"),
        ('sample_id,x,y\nA,1,"1,234.5"\nB,1,2\n', "and nothing between thousands"),
        ("sample_id,x,y\nA,1,12%\nB,1,2\n", r"'12%', which is no number \(leave the percent sign out\)"),
        ("sample_id,x,y\nA,1,1_0\nB,1,2\n", "sample 'A', 'y': the value is '1_0', which is no number; fix"),
        ("sample_id,x,y\nA,1,nan\nB,1,2\n", "sample 'A', 'y': the value is nan"),
        ("sample_id,x,y\nA,1,-2\nB,1,2\n", "the value is -2.0; give finite numbers of 0 or more"),
        ("sample_id,x,y\nA,1,2\nA,1,2\n", "the sample 'A' occurs twice"),
        ("sample_id,x,x\nA,1,2\nB,1,2\n", "the feature 'x' occurs twice"),
        ("sample_id,x,y\nA,0,0\nB,1,2\n", "sample 'A': all values are 0"),
        ("sample_id,x,y\nA,50.5,49.5\nB,80.5,70\n", "sample 'B': the percentages sum to 150.5, more than 100"),
        ("sample_id,x,y\nA,0.5,0.5\nB,0.7,0.7\n", "sample 'B': the shares sum to 1.4, more than 1"),
        ("{ no biom", "no BIOM table"),
    ],
)
def test_tables_without_features_are_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(TableError, match=message) as raised:
        read_feature_table(tmp_path / "t.csv")
    assert str(tmp_path / "t.csv") in str(raised.value) and "\n" not in str(raised.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(TableError, match="no such table"):
        read_feature_table(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("sample_id,x\nÖ,1\n".encode("latin-1"))
    with pytest.raises(TableError, match="line 2: not UTF-8"):
        read_feature_table(tmp_path / "latin.csv")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"sample_id,x\n" * 100)[:-9])
    with pytest.raises(TableError, match="gzip stream is cut short"):
        read_feature_table(tmp_path / "cut.csv.gz")


def test_log_ratios_follow_their_definitions():
    shares = np.array([[0.5, 0.25, 0.25], [0.8, 0.2, 0.0]])
    clr = transform_shares(shares, "clr")
    np.testing.assert_allclose(clr[0], np.log(shares[0]) - np.log(shares[0]).mean())
    np.testing.assert_allclose(clr.sum(1), 0, atol=1e-12)
    # The stated rule: 1/9 for the zero, the rest of the whole shared as before.
    replaced = np.array([0.8 * 8 / 9, 0.2 * 8 / 9, 1 / 9])
    np.testing.assert_allclose(clr[1], np.log(replaced) - np.log(replaced).mean())
    ilr = transform_shares(shares, "ilr")
    assert ilr.shape == (2, 2)
    # An isometry: distances are those of clr.
    np.testing.assert_allclose(np.linalg.norm(ilr[0] - ilr[1]), np.linalg.norm(clr[0] - clr[1]))
    assert np.array_equal(transform_shares(shares, "none"), shares)
    with pytest.raises(InputError, match="'log'; give none, clr, ilr"):
        transform_shares(shares, "log")
    with pytest.raises(InputError, match="needs two features"):
        transform_shares(np.ones((2, 1)), "clr")


def test_blocks_are_closed_and_transformed_each_by_itself():
    clusters = FeatureTable(("a", "b"), ("c0", "c1"), np.array([[10.0, 30], [5, 5]]))
    species = FeatureTable(("a", "b"), ("s0", "s1"), np.array([[75.0, 25], [100, 0]]))
    matrix = design_matrix([clusters, species], "none")
    assert matrix.tolist() == [[0.25, 0.75, 0.75, 0.25], [0.5, 0.5, 1, 0]]
    clr = design_matrix([clusters, species], "clr")
    np.testing.assert_allclose(clr[:, :2], transform_shares(clusters.shares, "clr"))
    np.testing.assert_allclose(clr[:, 2:], transform_shares(species.shares, "clr"))
    # A row's transform does not know the other rows.
    alone = design_matrix([clusters.take(["b"]), species.take(["b"])], "clr")
    np.testing.assert_allclose(alone[0], clr[1])
    with pytest.raises(InputError, match="different samples"):
        design_matrix([clusters, species.take(["b", "a"])], "none")


def test_zeros_are_replaced_by_depth_where_there_are_counts():
    """The formulas of Martín-Fernández et al. 2015 (doi:10.1177/1471082X14535524), Table 1, sample by sample."""
    counts = np.array([[0.0, 3, 9, 4], [10, 0, 5, 85], [200, 300, 0, 1500], [2, 1, 1, 6]])
    expected = {"sq": np.empty_like(counts), "gbm": np.empty_like(counts)}
    for i, row in enumerate(counts):
        n, d = row.sum(), len(row)
        others = np.delete(counts, i, axis=0).sum(0)
        prior = others / others.sum()
        for rule, t, s in (("sq", np.full(d, 1 / d), np.sqrt(n)), ("gbm", prior, 1 / np.prod(prior) ** (1 / d))):
            # Posterior means under a Dirichlet prior of strength s and mean t, for zeros only.
            posterior = t * s / (n + s)
            taken = posterior[row == 0].sum()
            expected[rule][i] = [posterior[j] if row[j] == 0 else row[j] / n * (1 - taken) for j in range(d)]
    for rule, values in expected.items():
        np.testing.assert_allclose(replace_zeros(counts, rule), values, rtol=1e-12)
        np.testing.assert_allclose(replace_zeros(counts, rule).sum(1), 1)
    # Deeper sequencing makes a zero smaller; the rule of shares does not know the depth.
    shallow, deep = (replace_zeros(np.array([[0.0, 50, 50]]) * depth, "sq")[0, 0] for depth in (1, 100))
    assert deep < shallow / 9
    assert replace_zeros(np.array([[0.0, 0.5, 0.5]]), "fixed")[0, 0] == pytest.approx(1 / 9)


def test_the_prior_of_gbm_is_from_training_samples_only():
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, (12, 5)).astype(float)
    table = FeatureTable(tuple(f"s{i}" for i in range(12)), tuple("abcde"), counts)
    training = np.arange(8)
    matrix = design_matrix([table], "clr", "gbm", training)
    changed = counts.copy()
    changed[9] = [90, 1, 0, 5, 70]
    other = design_matrix([FeatureTable(table.sample_ids, table.names, changed)], "clr", "gbm", training)
    np.testing.assert_array_equal(np.delete(matrix, 9, axis=0), np.delete(other, 9, axis=0))
    np.testing.assert_allclose(matrix[:8], transform_shares(counts[:8], "clr", "gbm"))


def test_rules_for_zeros_that_do_not_apply_are_refused():
    shares = FeatureTable(("a", "b"), ("x", "y"), np.array([[0.5, 0.5], [1, 0]]))
    counts = FeatureTable(("a", "b"), ("x", "y"), np.array([[7.0, 3], [9, 0]]))
    assert block_rules([shares, counts], "clr", "auto") == ["fixed", "sq"]
    assert block_rules([shares, counts], "none", "auto") == ["", ""]
    # Whole percentages are no counts.
    assert not is_counts(np.array([[75.0, 25], [100, 0]]))
    with pytest.raises(InputError, match="'sq' for zeros needs counts"):
        design_matrix([shares], "clr", "sq")
    with pytest.raises(InputError, match="feature 'y' is in fewer"):
        design_matrix([counts], "clr", "gbm")
    with pytest.raises(InputError, match="rule for zeros is 'half'; give auto, fixed, sq, gbm"):
        design_matrix([counts], "clr", "half")

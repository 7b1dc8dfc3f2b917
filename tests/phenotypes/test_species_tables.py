"""Species tables as profilers write them: which rows partition the community, which columns are samples."""

from __future__ import annotations

import csv
import gzip

import numpy as np
import pandas as pd
import pytest

from biomeformer.errors import TableError
from biomeformer.phenotypes import read_feature_table

RANKS = "kpcofgs"
N_SAMPLES = 12
SAMPLES = [f"S{i:02d}" for i in range(1, N_SAMPLES + 1)]


def taxa(n_species=240, prefixes=tuple(f"{rank}__" for rank in RANKS)):
    """Lineages of species, several per genus and so on up, with names as odd as real ones."""
    odd = ("[Eubacterium] hallii", "Clostridiales bacterium 1_7_47FAA", "sp. CAG:45", "X'y", "Incertae Sedis (a)")
    lineages = []
    for i in range(n_species):
        parts = [
            "Bacteria",
            *(f"{rank.upper()}{i // size}" for rank, size in zip("pcofg", (60, 30, 15, 8, 3), strict=True)),
        ]
        parts.append(f"{odd[i % len(odd)]} {i}".replace(" ", "_"))
        lineages.append(tuple(prefix + part for prefix, part in zip(prefixes, parts, strict=True)))
    return lineages


def counts(n_rows=240, seed=0, depth=50_000):
    """Reads of each taxon (rows) in each sample (columns), with zeros as in real samples."""
    rng = np.random.default_rng(seed)
    weights = rng.lognormal(0, 2.5, (n_rows, 1)) * rng.lognormal(0, 1, (n_rows, N_SAMPLES))
    weights *= rng.random((n_rows, N_SAMPLES)) < 0.4
    weights[0] += 1e-3
    return np.stack([rng.multinomial(depth, column / column.sum()) for column in weights.T], 1)


def frame(names, values):
    return pd.DataFrame(values, index=names, columns=SAMPLES)


def with_parents(lineages, values, separator="|", own=()):
    """Every rank's rows as the sums of those below, computed by pandas, plus what is assigned to the rank itself."""
    leaves = frame([separator.join(lineage) for lineage in lineages], values)
    parts = [leaves, *(frame([separator.join(lineage)], [row]) for lineage, row in own)]
    rows = pd.concat(parts)
    sums = [
        rows.groupby(lambda name, n=n: separator.join(name.split(separator)[:n])).sum() for n in range(1, len(RANKS))
    ]
    # Groups of shorter lineages are those themselves.
    return pd.concat(
        [leaves, *(table[[name.count(separator) == n for name in table.index]] for n, table in enumerate(sums))]
    )


def read(tmp_path, table, name="t.tsv", header="clade_name", head="", **options):
    path = tmp_path / name
    table.to_csv(path, sep="\t", index_label=header, quoting=csv.QUOTE_NONE)
    path.write_text(head + path.read_text())
    return read_feature_table(path, **options)


def as_frame(table):
    return pd.DataFrame(table.values.T, index=list(table.names), columns=list(table.sample_ids))


def assert_equal(table, expected, tolerance=0.0):
    actual = as_frame(table)
    assert set(actual.index) == set(expected.index) and list(actual.columns) == list(expected.columns)
    np.testing.assert_allclose(actual.loc[expected.index].to_numpy(), expected.to_numpy(), atol=tolerance, rtol=1e-12)


@pytest.mark.parametrize(
    ("head", "scale", "decimals"),
    [
        ("", 100, 5),
        ("#mpa_v30_CHOCOPhlAn_201901\n", 100, 5),
        ("#mpa_vJun23_CHOCOPhlAnSGB_202307\n#merged by hand\n# of 12, on Monday\n#\n", 100, 2),
        ("", 1e6, 3),
        ("", 1, 8),
    ],
)
def test_rows_that_sum_those_below_are_left_out_whatever_the_rounding(tmp_path, head, scale, decimals):
    lineages, values = taxa(), counts()
    all_ranks = (with_parents(lineages, values / values.sum(0)) * scale).round(decimals)
    strains = all_ranks[all_ranks.index.str.contains("s__")].copy()
    strains.index = [f"{name}|t__SGB{i}" for i, name in enumerate(strains.index)]
    table = read(tmp_path, pd.concat([all_ranks, strains]), head=head)
    assert_equal(table, all_ranks[all_ranks.index.str.contains("s__")])
    assert not table.warnings
    assert any(
        "above or below the species were left out" in note and "0 % of the abundance" in note for note in table.notes
    )


def test_ranks_are_told_apart_without_species(tmp_path):
    lineages, values = [lineage[:-1] for lineage in taxa()], counts()
    genera = frame(["|".join(lineage) for lineage in lineages], values).groupby(level=0).sum()
    parents = pd.concat([genera.groupby(lambda name, n=n: "|".join(name.split("|")[:n])).sum() for n in range(1, 6)])
    assert_equal(read(tmp_path, pd.concat([parents, genera])), genera)


@pytest.mark.parametrize(
    ("prefixes", "header", "separator"),
    [
        (tuple(f"{rank}__" for rank in RANKS), "#OTU ID", ";"),
        (tuple(f"{rank}__" for rank in RANKS), "#OTU ID", "; "),
        (tuple(f"{rank}__" for rank in "dpcofgs"), "Taxon", ";"),
        (tuple(f"D_{i}__" for i in range(7)), "#OTU ID", ";"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_taxa_without_a_name_are_taxa(tmp_path, prefixes, header, separator, turned):
    """Greengenes, GTDB and SILVA: ASVs collapsed by lineage, many of them of no known species, genus or family."""
    lineages = taxa(prefixes=prefixes)
    names = []
    for i, lineage in enumerate(lineages):
        n_unknown = (0, 1, 0, 2, 3)[i % 5]
        names.append(separator.join([*lineage[: 7 - n_unknown], *prefixes[7 - n_unknown :]]))
    names += [separator.join([*lineages[0][:3], "__", "__", "__", "__"]), separator.join(prefixes)]
    table = frame(names, counts(len(names))).groupby(level=0).sum()
    text = table.T if turned else table
    result = read(
        tmp_path, text, header="index" if turned else header, head="" if turned else "# Constructed from biom file\n"
    )
    assert_equal(result, table)
    assert len(table) > 150 and not result.warnings


def test_rows_that_are_not_sums_are_abundances_of_their_own(tmp_path):
    """Genera hold what no species was found for: some samples have less of the genus than of its species."""
    lineages = taxa(prefixes=tuple(f"{rank}__" for rank in "dpcofgs"))
    species = frame([";".join(lineage) for lineage in lineages], counts())
    names = sorted({";".join(lineage[:6]) for lineage in lineages})
    genera = frame(names, counts(len(names), seed=1))
    both = pd.concat([species, genera])
    table = read(tmp_path, both)
    assert_equal(table, both)
    assert not table.warnings and "kept as abundances of their own" in table.notes[0]


def test_rows_that_may_be_either_are_kept_and_the_reading_is_said(tmp_path):
    species, genus = "d__B;g__Blautia;s__Blautia_wexlerae", "d__B;g__Blautia"
    both = frame([genus, species], np.stack([np.arange(4000, 4012), np.arange(200, 212)]))
    table = read(tmp_path, both)
    assert_equal(table, both)
    (warning,) = table.warnings
    assert "95 % of the abundance" in warning and "rows of all ranks, or of one" in warning


@pytest.mark.parametrize("scale", [None, 100])
def test_what_is_assigned_no_further_is_a_feature(tmp_path, scale):
    """kreport2mpa.py: clade counts at every rank, with reads that stay at a genus or at the root of a phylum."""
    lineages, values = taxa(), counts()
    rng = np.random.default_rng(3)
    inner = [lineages[0][:6], lineages[100][:6], lineages[150][:2]]
    own = [(lineage, rng.integers(0, 900, N_SAMPLES)) for lineage in inner]
    table = with_parents(lineages, values, own=own)
    expected = pd.concat(
        [
            table[table.index.str.contains("s__")],
            *(frame(["|".join(lineage) + "_unclassified"], [row]) for lineage, row in own),
        ]
    )
    total = expected.sum()
    if scale:
        table, expected = table / total * scale, expected / total * scale
    result = read(tmp_path, table, header="#Classification")
    assert_equal(result, expected, 0 if scale is None else 1e-6)
    np.testing.assert_allclose(as_frame(result).sum(), table.loc["k__Bacteria"], rtol=1e-6)
    share = 100 * sum(row.sum() for _, row in own) / total.sum() if scale is None else None
    assert any("exceed the sum of the taxa below" in note for note in result.notes)
    assert share is None or any(f"{share:.2g} % of the abundance, is kept" in note for note in result.notes)


def test_mixed_ranks_are_refused(tmp_path):
    lineages, values = taxa(), counts()
    table = with_parents(lineages, values)
    # The genera normalised on their own, as after merging tables of two tools.
    genera = table.index.str.contains("g__") & ~table.index.str.contains("s__")
    table.loc[genera] = counts(int(genera.sum()), seed=5)
    with pytest.raises(TableError, match=r"ranks are mixed: .* is the sum of the rows below it, and .* has less"):
        read(tmp_path, table)
    doubled = pd.concat([frame(["k__B;p__A", "k__B; p__A"], counts(2)), frame(["k__C"], counts(1))])
    with pytest.raises(TableError, match="are one taxon in two rows"):
        read(tmp_path, doubled)


def test_percentages_of_two_ranks_without_lineages_are_refused(tmp_path):
    values = counts(60) / counts(60).sum(0) * 100
    table = frame(
        [f"Genus {i}" for i in range(60)] + [f"Species {i}" for i in range(60)], np.concatenate([values, values])
    )
    with pytest.raises(TableError, match="every sample sums to 2 times 100, as in a table that mixes 2 ranks"):
        read(tmp_path, table, header="name", sample_ids=SAMPLES)


@pytest.mark.parametrize("scale", ["cpm", "tpm", "coverage", "per mille", "filtered"])
def test_abundances_of_any_scale_have_the_same_shares(tmp_path, scale):
    values = counts() / counts().sum(0)
    rng = np.random.default_rng(2)
    factors = {"cpm": 1e6, "tpm": 1e6, "coverage": rng.uniform(30, 900, N_SAMPLES), "per mille": 1000}
    table = frame(["|".join(lineage) for lineage in taxa()], values * factors.get(scale, 100))
    if scale == "filtered":
        table = table.iloc[20:]
    result = read(tmp_path, table, header="# Gene Family")
    np.testing.assert_allclose(result.shares.T, (table / table.sum()).to_numpy(), atol=1e-12)


def bracken_table(table, level="S", fractions=True):
    columns = {"name": table.index, "taxonomy_id": range(1000, 1000 + len(table)), "taxonomy_lvl": level}
    for sample in table.columns:
        columns[f"{sample}.bracken_num"] = table[sample].to_numpy()
        if fractions:
            columns[f"{sample}.bracken_frac"] = (table[sample] / table[sample].sum()).round(5).to_numpy()
    return pd.DataFrame(columns)


def test_tables_of_bracken_are_read_by_their_reads(tmp_path):
    expected = frame([f"Genus species {i}" for i in range(200)], counts(200))
    bracken_table(expected).to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    table = read_feature_table(tmp_path / "t.tsv", SAMPLES)
    assert_equal(table, expected)
    assert any("estimated reads of 12 samples" in note for note in table.notes)
    assert any("the ending '.bracken'" in note for note in table.notes)
    only_fractions = bracken_table(expected)
    only_fractions = only_fractions[[name for name in only_fractions if not name.endswith("_num")]]
    only_fractions.to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    assert_equal(read_feature_table(tmp_path / "t.tsv", SAMPLES), (expected / expected.sum()).round(5))
    mixed = bracken_table(expected, ["S"] * 150 + ["G"] * 50)
    mixed.to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    with pytest.raises(TableError, match=r"ranks are mixed in column taxonomy_lvl \(150 of S, 50 of G\)"):
        read_feature_table(tmp_path / "t.tsv", SAMPLES)
    bracken_table(expected).iloc[:, :3].to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    with pytest.raises(TableError, match="no column ends with _num or _frac; keep those with _num"):
        read_feature_table(tmp_path / "t.tsv", SAMPLES)


@pytest.mark.parametrize("named", [False, True])
def test_wide_tables_of_taxpasta_are_read(tmp_path, named):
    values = counts(200)
    numbers = ["0", *map(str, range(501, 700))]
    names = ["", *(f"Genus species {i // 2 if i < 4 else i}" for i in range(199))]
    table = frame(numbers, values)
    if named:
        for position, (column, content) in enumerate({"name": names, "rank": "species", "lineage": "a;b;c"}.items()):
            table.insert(position, column, content)
    result = read(tmp_path, table, header="taxonomy_id", sample_ids=SAMPLES)
    # Two taxa of one name keep their numbers.
    expected = [
        f"{name} ({number})" if i < 4 else name
        for i, (name, number) in enumerate(zip(names[1:], numbers[1:], strict=True))
    ]
    assert_equal(result, frame(expected if named else numbers[1:], values[1:]))
    remarks = " ".join(result.notes + result.warnings)
    assert "assigned to no taxon or gene ('unclassified')" in remarks


@pytest.mark.parametrize(
    ("header", "row", "what"),
    [
        ("file,percent,reads,taxon_id,taxon_name", "a.out,50.0,500,816,Bacteroides", "kaiju2table.* --profiler kaiju"),
        (
            "name,taxID,taxRank,genomeSize,numReads,numUniqueReads,abundance",
            "root,1,no rank,0,5,5,0.0",
            "a report of Centrifuge.* --profiler centrifuge",
        ),
        (
            "%,reads,taxReads,kmers,dup,cov,taxID,rank,taxName",
            "50.1,5,5,4,1,0.1,0,no rank,unclassified",
            "a report of KrakenUniq of one sample; give the folder",
        ),
        ("sample,coverage,taxonomy", "S1,10.5,Root; d__Bacteria", "profile of SingleM.*singlem summarise"),
        ("intersect_bp,f_orig_query,f_unique_weighted,name", "1000,0.5,0.6,GCF_1", "sourmash gather.*lineage_summary"),
        ("query_name,rank,fraction,lineage", "S1,phylum,0.4,Bacteria;X", "sourmash tax.*lineage_summary"),
        ("taxonomy_id,sample,count", "816,S1,5", "long table of taxpasta.*--wide"),
        ("@SampleID:S1", "@Version:0.9.1", "a profile in the format of CAMI"),
    ],
)
def test_tables_of_other_layouts_are_refused_by_name(tmp_path, header, row, what):
    (tmp_path / "t.tsv").write_text("\n".join([header, row]).replace(",", "\t") + "\n")
    with pytest.raises(TableError, match=what):
        read_feature_table(tmp_path / "t.tsv", SAMPLES)


def test_the_summary_of_sourmash_tax_is_read(tmp_path):
    table = frame([f"Bacteria;Phylum{i};Genus{i}" for i in range(120)], counts(120) / 1e6)
    assert_equal(read(tmp_path, table, header="lineage"), table)


def test_what_motus_left_unassigned_is_left_out_with_its_share(tmp_path):
    head = "# motus version 3.0.3 | merge 3.0.3\n# call: python motus merge -d profiles\n"
    names = [f"Genus species {i} [ref_mOTU_v3_{i:05d}]" for i in range(150)]
    values = counts(150) / 50_000
    for share in (0.03, 0.4):
        table = frame([*names, "unassigned"], np.concatenate([values * (1 - share), np.full((1, N_SAMPLES), share)]))
        result = read(tmp_path, table, header="#consensus_taxonomy", head=head)
        assert_equal(result, table.iloc[:-1])
        remarks = result.warnings if share > 0.05 else result.notes
        assert any(f"('unassigned'): {100 * share:.2g} % of the abundance on average" in remark for remark in remarks)
        assert bool(result.warnings) == (share > 0.05)


def test_humann_rows_of_communities_are_kept_and_parts_by_species_are_not(tmp_path):
    families = [f"UniRef90_A{i}: protein, 5'-{i}" for i in range(120)]
    values = counts(120).astype(float)
    totals = frame(families, values)
    parts = frame(
        [f"{name}|{species}" for name in families for species in ("g__A.s__A_b", "unclassified")],
        np.repeat(values / 2, 2, axis=0),
    )
    table = pd.concat([frame(["UNMAPPED"], [values.sum(0)]), totals, parts])
    table.columns = [f"{sample}_Abundance-RPKs" for sample in SAMPLES]
    result = read(tmp_path, table, header="# Gene Family", sample_ids=SAMPLES)
    assert_equal(result, totals)
    assert any("240, such as" in note and "0 % of the abundance" in note for note in result.notes)
    assert any("('UNMAPPED'): 50 % of the abundance" in warning for warning in result.warnings)


def test_tables_of_r_are_read_with_tabs_and_with_blanks(tmp_path):
    expected = frame(["|".join(lineage) for lineage in taxa()], counts())
    for separator in ("\t", " "):
        lines = [separator.join(f'"{name}"' for name in SAMPLES)]
        lines += [
            separator.join([f'"{name}"', *map(str, row)])
            for name, row in zip(expected.index, expected.to_numpy(), strict=True)
        ]
        (tmp_path / "t.txt").write_text("\n".join(lines) + "\n")
        assert_equal(read_feature_table(tmp_path / "t.txt"), expected)


def kraken_report(lineages, column, own, unclassified):
    """A report as Kraken 2 writes it, with its ranks between the main ones."""
    values = dict(zip(lineages, column, strict=True))
    nodes = sorted({lineage[:n] for lineage in lineages for n in range(1, 8)})
    total = sum(values.values()) + sum(own.values()) + unclassified
    at_root = 7
    clade = {
        node: sum(n for lineage, n in values.items() if lineage[: len(node)] == node)
        + sum(n for lineage, n in own.items() if lineage[: len(node)] == node)
        for node in nodes
    }
    lines = [
        (unclassified, unclassified, "U", 0, "unclassified"),
        (total - unclassified + at_root, at_root, "R", 1, "root"),
    ]
    lines.append((total - unclassified, 0, "R1", 131567, "  cellular organisms"))
    for i, node in enumerate(nodes):
        rank = "DPCOFGS"[len(node) - 1]
        name = "  " * (len(node) + 1) + node[-1].partition("__")[2].replace("_", " ")
        direct = own.get(node, 0) + values.get(node, 0)
        lines.append((clade[node], direct, rank, 10 + i, name))
        if rank == "S" and clade[node] > 3:
            lines.append((3, 3, "S1", 9000 + i, f"{name} strain X"))
    return "".join(
        f"{100 * n / total:6.2f}\t{n}\t{own_n}\t{rank}\t{number}\t{name}\n" for n, own_n, rank, number, name in lines
    )


@pytest.mark.parametrize("ending", [".kreport", ".kraken2.report.txt.gz"])
def test_a_folder_of_kraken_reports_is_one_table(tmp_path, ending):
    lineages = taxa(60, tuple(f"{rank}__" for rank in "dpcofgs"))
    values = counts(60, depth=4000)
    genus = lineages[0][:6]
    folder = tmp_path / "reports"
    folder.mkdir()
    for i, sample in enumerate(SAMPLES):
        text = kraken_report(lineages, values[:, i].tolist(), {genus: 50 + i}, 1000).encode()
        (folder / f"{sample}{ending}").write_bytes(gzip.compress(text) if ending.endswith("gz") else text)
    (folder / "multiqc.log").write_text("nothing\n")
    for expected_ids in (None, SAMPLES):
        table = read_feature_table(folder, expected_ids)
        species = frame(["|".join(lineage) for lineage in lineages], values)
        rest = frame(
            ["|".join(genus) + "_unclassified", "r__root_unclassified"], [range(50, 50 + N_SAMPLES), [7] * N_SAMPLES]
        )
        assert_equal(table, pd.concat([species, rest]))
    assert any("12 files of Kraken were read" in note for note in table.notes)
    assert any("1 other files in the folder were left out" in note for note in table.notes)
    assert any("('unclassified'): 20 % of the abundance" in warning for warning in table.warnings)
    with pytest.raises(
        TableError, match="a Kraken report of one sample; give the folder with one such file per sample"
    ):
        read_feature_table(folder / f"S01{ending}")
    (folder / f"S01_again{ending}").write_bytes((folder / f"S01{ending}").read_bytes())
    with pytest.raises(TableError, match="are both of sample 'S01'"):
        read_feature_table(folder, SAMPLES)


def test_folders_of_bracken_and_metaphlan_are_read_and_not_mixed(tmp_path):
    expected = frame([f"Genus species {i}" for i in range(100)], counts(100))
    bracken, metaphlan = tmp_path / "bracken", tmp_path / "metaphlan"
    bracken.mkdir()
    metaphlan.mkdir()
    header = "name\ttaxonomy_id\ttaxonomy_lvl\tkraken_assigned_reads\tadded_reads\tnew_est_reads\tfraction_total_reads"
    tree = with_parents(taxa(), counts() / 500).round(5)
    for sample in SAMPLES:
        rows = [f"{name}\t{i}\tS\t0\t{n}\t{n}\t0.1" for i, (name, n) in enumerate(expected[sample].items()) if n]
        (bracken / f"{sample}.bracken").write_text("\n".join([header, *rows]) + "\n")
        profile = [
            "#mpa_vJun23",
            "#metaphlan x.fq",
            f"#SampleID\t{sample}",
            "#clade_name\tNCBI_tax_id\trelative_abundance\tadditional_species",
        ]
        profile += [f"{name}\t2|1224\t{n}\t" for name, n in tree[sample].items() if n]
        (metaphlan / f"{sample}_profile.txt").write_text("\n".join(profile) + "\n")
    assert_equal(read_feature_table(bracken), expected[expected.sum(axis=1) > 0])
    species = tree[tree.index.str.contains("s__")]
    assert_equal(read_feature_table(metaphlan, SAMPLES), species[species.sum(axis=1) > 0], 1e-4)
    for path, tool in (
        (bracken / "S01.bracken", "the output of Bracken"),
        (metaphlan / "S01_profile.txt", "the profile of MetaPhlAn"),
    ):
        with pytest.raises(TableError, match=f"this is {tool} of one sample"):
            read_feature_table(path)
    (bracken / "S99_profile.txt").write_text((metaphlan / "S01_profile.txt").read_text())
    with pytest.raises(TableError, match="holds files of Bracken and MetaPhlAn; give a folder with those of one tool"):
        read_feature_table(bracken)


@pytest.mark.parametrize("blank", ["0", "", "NA", "nan", "-1"])
def test_samples_that_are_not_used_do_not_stop_the_run(tmp_path, blank):
    table = frame([f"x{i}" for i in range(50)], counts(50)).astype(object)
    table["BLANK1"] = blank
    table.T.to_csv(tmp_path / "t.csv", index_label="sample")
    result = read_feature_table(tmp_path / "t.csv", SAMPLES)
    assert_equal(result.take(SAMPLES), table[SAMPLES].astype(float))
    with pytest.raises(TableError, match="sample 'BLANK1'"):
        result.take(["S01", "BLANK1"])
    # Without metadata every sample is used.
    with pytest.raises(TableError, match="sample 'BLANK1'"):
        read_feature_table(tmp_path / "t.csv")


def test_a_sample_of_which_nothing_was_classified_is_an_error_only_if_it_is_used(tmp_path):
    tree = with_parents(taxa(), counts() / 500)
    tree.loc["UNCLASSIFIED"] = 0.0
    tree["CONTROL"] = 0.0
    tree.loc["UNCLASSIFIED", "CONTROL"] = 100.0
    result = read(tmp_path, tree, head="#mpa_vJun23\n", sample_ids=SAMPLES)
    assert_equal(result.take(SAMPLES), tree.loc[tree.index.str.contains("s__"), SAMPLES])
    with pytest.raises(TableError, match="sample 'CONTROL': all values are 0"):
        result.take(["CONTROL"])


@pytest.mark.parametrize("layout", ["samples in rows", "samples in columns", "taxa", "other case"])
def test_columns_of_the_metadata_are_never_features(tmp_path, layout):
    table = frame(
        ["|".join(lineage) for lineage in taxa()] if layout == "taxa" else [f"x{i}" for i in range(50)],
        counts(240 if layout == "taxa" else 50),
    )
    expected = table.copy()
    for name in ("Disease", "SUBJECT") if layout == "other case" else ("disease", "subject"):
        table.loc[name] = [i % 2 for i in range(N_SAMPLES)]
    (table if layout == "samples in columns" else table.T).to_csv(tmp_path / "t.csv", index_label="sample")
    result = read_feature_table(tmp_path / "t.csv", SAMPLES, metadata_columns=["disease", "subject", "age"])
    assert_equal(result, expected)
    assert [name.lower() for name in result.metadata_columns] == ["disease", "subject"]
    assert any("never features" in note for note in result.notes)
    everything = list(table.index)
    with pytest.raises(TableError, match="0 features; give a table of both; give metadata that holds no features"):
        read_feature_table(tmp_path / "t.csv", SAMPLES, metadata_columns=everything)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("ending", ["_profile", ".metaphlan_bugs_list", "_Abundance-CPM", "-16S.filtered"])
def test_endings_of_sample_names_are_removed_where_the_metadata_has_none(tmp_path, ending, turned):
    expected = frame([f"x{i}" for i in range(50)], counts(50))
    table = expected.rename(columns=lambda name: name + ending)
    (table.T if turned else table).to_csv(tmp_path / "t.csv", index_label="name")
    result = read_feature_table(tmp_path / "t.csv", SAMPLES)
    assert_equal(result, expected)
    assert any(f"the ending {ending!r}" in note for note in result.notes)
    # Names that the metadata has as they are stay.
    assert read_feature_table(tmp_path / "t.csv", list(table.columns)).sample_ids == tuple(table.columns)


@pytest.mark.parametrize("name", ["cirrhosis", "colorectal", "ibd", "obesity", "t2d", "wt2d"])
def test_real_tables_have_the_features_that_pandas_reads(shared_data, name):
    path = shared_data / "cohorts" / f"{name}.species_abundance.tsv.gz"
    expected = pd.read_csv(path, sep="\t", index_col=0)
    table = read_feature_table(path)
    assert table.names == tuple(expected.columns) and table.sample_ids == tuple(expected.index)
    assert (table.values == expected.to_numpy()).all() and not table.notes and not table.warnings

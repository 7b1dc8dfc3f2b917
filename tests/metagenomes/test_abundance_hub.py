"""Abundance tables as datasets of the Hub, read by the real client; and tables joined into one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from biomeformer.errors import TableError
from biomeformer.metagenomes import AbundanceTable
from biomeformer.metagenomes.abundance_table import METADATA_KEY, RECORD, is_dataset_id, table_file
from biomeformer.metagenomes.export import export_table, sample_frame
from biomeformer.metagenomes.sample import READ_STATS
from biomeformer.phenotypes import FeatureTable

MAIN, TAGGED = "a" * 40, "b" * 40
PROVENANCE = {
    "model": "lab/model",
    "revision": None,
    "weights_sha256": "ab" * 32,
    "contract": {"pooling": "mean", "max_length": None, "min_read_length": 20},
    "n_clusters": 3,
    "read_fraction": 0.1,
    "seed": 0,
    "dtype": "float32",
    "device": "cpu",
    "versions": {"biomeformer": "0.1"},
}


def make(ids, metadata=None, **provenance) -> AbundanceTable:
    ids = tuple(ids)
    index = pd.Index(ids, name="sample_id")
    counts = np.arange(3 * len(ids), dtype=np.int64).reshape(-1, 3) + 2**40
    first = READ_STATS.index("n_used")
    read_stats = pd.DataFrame({name: counts.sum(1) + abs(i - first) for i, name in enumerate(READ_STATS)}, index=index)
    read_stats["n_windows"] = read_stats["n_used"]
    columns = {"age": [str(i) for i in range(len(ids))]} if metadata is None else metadata
    return AbundanceTable(ids, counts, read_stats, pd.DataFrame(columns, index=index), PROVENANCE | provenance)


def exported(table: AbundanceTable, folder: Path) -> Path:
    folder.mkdir(parents=True)
    return export_table(table, folder, "datasets")


def same(one: AbundanceTable, other: AbundanceTable) -> bool:
    return (
        one.sample_ids == other.sample_ids
        and one.counts.dtype == other.counts.dtype == np.int64
        and np.array_equal(one.counts, other.counts)
        and one.read_stats.equals(other.read_stats)
        and one.provenance == other.provenance
    )


def in_cache(cache: Path, name: str, commit: str, table: AbundanceTable, ref: str) -> Path:
    """A dataset as the client leaves it in its cache."""
    folder = cache / f"datasets--{name.replace('/', '--')}"
    exported(table, folder / "snapshots" / commit)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / ref).write_text(commit)
    return table_file(folder / "snapshots" / commit)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_one_file_is_a_dataset_and_a_table(tmp_path):
    from datasets import Features, List, Value, load_dataset

    cohort = {
        "disease": ["ibd", "", "healthy"],
        "age": ["34", " 7 ", "+61"],
        "bmi": ["22.50", "", "1e1"],
        "zero": ["0.0", "-1.25", "1e-7"],
        "subject": ["007", "010", "11"],
        "barcode": ["12345678901234567", "12345678901234568", "1"],
        "n_reads": ["a", "b", "c"],
        "metadata.n_reads": ["d", "e", "f"],
        "abundance": ["high", "low", "low"],
        "metadata.age": ["x", "y", "z"],
        "nothing": ["", "", ""],
    }
    table = make(["S1", "s 2", "日本"], cohort)
    folder = exported(table, tmp_path / "data set")
    read = AbundanceTable.read(folder)
    assert same(read, table) and same(AbundanceTable.read(table_file(folder)), table)
    assert read.source == str(folder) and table.source is None
    shortest = {"age": ["34", "7", "61"], "bmi": ["22.5", "", "10"], "zero": ["0", "-1.25", "1e-07"]}
    assert read.metadata.to_dict("list") == cohort | shortest
    # Read and exported again, the columns are what they were.
    pd.testing.assert_frame_equal(sample_frame(read), sample_frame(table))
    # Its own format keeps the same names, and the text as it was.
    table.write(tmp_path / "abundance.parquet")
    own = AbundanceTable.read(tmp_path / "abundance.parquet")
    assert same(own, table) and own.metadata.to_dict("list") == cohort

    data = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    taken = {"n_reads", "metadata.n_reads", "abundance"}
    kinds = {f"metadata.{name}" if name in taken else name: "string" for name in cohort}
    kinds |= {"metadata.metadata.n_reads": "string", "age": "int64", "bmi": "float64", "zero": "float64"}
    assert data.features == Features(
        {"sample_id": Value("string")}
        | {name: Value("int64") for name in READ_STATS}
        | {name: Value(kind) for name, kind in kinds.items()}
        | {"counts": List(Value("int64"), length=3), "abundance": List(Value("float64"), length=3)}
    )
    assert data["counts"][:] == table.counts.tolist() and data["bmi"][:] == [22.5, None, 10]
    np.testing.assert_array_equal(np.array(data["abundance"][:]), table.abundance)


def test_many_rows_in_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("biomeformer.metagenomes.export.ROW_GROUP_BYTES", 100)
    table = make([f"s{i}" for i in range(7)])
    folder = exported(table, tmp_path / "x")
    assert pq.ParquetFile(table_file(folder)).num_row_groups == 4
    assert same(AbundanceTable.read(folder), table)


def test_a_run_before_its_dataset(tmp_path):
    exported(make(["dataset"]), tmp_path / "run")
    make(["run"]).write(tmp_path / "run" / "abundance.parquet")
    assert AbundanceTable.read(tmp_path / "run").sample_ids == ("run",)
    with pytest.raises(TableError, match=r"abundance.parquet: no such file"):
        AbundanceTable.read(tmp_path)


def test_a_dataset_by_its_id(tmp_path, cache, monkeypatch):
    main, tagged = make(["S1", "S2"]), make(["T1"])
    file = in_cache(cache, "lab/x", MAIN, main, "main")
    in_cache(cache, "lab/x", TAGGED, tagged, "v1")
    monkeypatch.chdir(tmp_path)
    for name in ("lab/x", Path("lab/x")):
        read = AbundanceTable.read(name)
        assert same(read, main) and read.source == "lab/x" and table_file(name) == file
        for revision in ("v1", TAGGED):
            assert same(AbundanceTable.read(name, revision=revision), tagged)
    for name, revision in (("lab/y", None), ("lab/x", "v2"), ("lab/x", "c" * 40)):
        with pytest.raises(
            TableError, match=r"not in the cache and the Hub gives none \(.*offline mode is enabled"
        ) as raised:
            AbundanceTable.read(name, revision=revision)
        message = str(raised.value)
        assert message.startswith(f"{name}: ") and (revision or "") in message and "\n" not in message
    # A path that is there is the one meant.
    exported(make(["local"]), tmp_path / "lab" / "x")
    assert AbundanceTable.read("lab/x").sample_ids == AbundanceTable.read(Path("lab/x")).sample_ids == ("local",)
    with pytest.raises(TableError, match=r"lab/x is a path of this machine, and only datasets .* leave out 'v1'"):
        AbundanceTable.read("lab/x", revision="v1")


@pytest.mark.parametrize(
    "path",
    ["./lab/x", "/lab/x", "~/x", "a/b/c", "lab", "lab/x/", "lab/", "lab/-x", "runs/abundance.parquet", "a/s.TSV"],
)
def test_paths_that_are_no_ids(path, cache):
    assert not is_dataset_id(path)
    with pytest.raises(TableError, match="no such file; give the abundance"):
        AbundanceTable.read(path)


def test_the_clients_own_settings(tmp_path):
    in_cache(tmp_path / "home" / "hub", "lab/x", MAIN, make(["S1"]), "main")
    code = (
        "from pathlib import Path\nfrom biomeformer import AbundanceTable\n"
        "print(AbundanceTable.read(Path('lab/x')).sample_ids)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))}
    environment |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout.strip() == "('S1',)", result.stderr


class Answers(BaseHTTPRequestHandler):
    """One answer per repository."""

    table, file = b"", ""
    codes = {"none": (404, "RepoNotFound"), "gated": (403, "GatedRepo"), "empty": (404, "RevisionNotFound")}

    def do_HEAD(self):
        name = self.path.split("/")[3]
        status, code = self.codes.get(name, (404, "EntryNotFound") if name == "bare" else (200, ""))
        if name == "login":
            status = 401
        body = b"no parquet" if name == "text" else self.table
        if self.path.startswith("/api/"):
            name = self.path.split("/")[4]
            status, code = self.codes.get(name, (200, "")) if name != "gated" else (200, "")
            status = 401 if name == "login" else status
            files = [] if name == "bare" else [self.file]
            siblings = [{"rfilename": file} for file in files]
            tree = [{"type": "file", "path": file, "size": 1, "oid": "0"} for file in files]
            info = {"id": f"lab/{name}", "sha": MAIN, "siblings": siblings, "private": False, "tags": []}
            body = json.dumps(tree if "/tree/" in self.path else info | {"downloads": 0, "likes": 0}).encode()
        self.send_response(status)
        headers = {"X-Error-Code": code, "X-Repo-Commit": MAIN, "ETag": '"1"', "Content-Length": str(len(body))}
        for key, value in headers.items():
            if value and (status == 200 or key != "Content-Length"):
                self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_GET = do_HEAD

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(tmp_path, cache, monkeypatch):
    folder = exported(make(["S1"]), tmp_path / "published")
    monkeypatch.setattr(Answers, "table", table_file(folder).read_bytes())
    monkeypatch.setattr(Answers, "file", table_file(folder).relative_to(folder).as_posix())
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    yield endpoint
    server.shutdown()
    server.server_close()


def test_what_the_hub_answers(hub, tmp_path):
    assert AbundanceTable.read("lab/good").sample_ids == ("S1",)
    assert table_file(tmp_path / "hub" / "datasets--lab--good" / "snapshots" / MAIN).name == Path(Answers.file).name
    for name, message in {
        "none": "no such file or folder here, and no such dataset on the Hub that this login may see; check the name",
        "gated": "this login may not read it; ask for access",
        "empty": "has no revision 'main'",
        "bare": r"has no data/train-\*.parquet, so it is no abundance table",
        "login": "cannot be fetched|that this login may see",
        "text": r"lab/text \(data/train-\S+.parquet\): cannot be read as Parquet",
    }.items():
        with pytest.raises(TableError, match=message) as raised:
            AbundanceTable.read(f"lab/{name}")
        assert str(raised.value).startswith(f"lab/{name}") and "\n" not in str(raised.value)


def test_files_that_are_no_sound_table(tmp_path):
    good = table_file(exported(make(["S1", "S2"]), tmp_path / "x"))
    table = pq.read_table(good)
    record = json.loads(table.schema.metadata[METADATA_KEY])
    del record["checksum"]

    def refuses(message, changed=None, **fields):
        metadata = table.schema.metadata | {METADATA_KEY: RECORD.serialize(record | fields)}
        pq.write_table((table if changed is None else changed).replace_schema_metadata(metadata), good)
        with pytest.raises(TableError, match=message):
            AbundanceTable.read(good)

    def put(name, values):
        return table.set_column(table.column_names.index(name), name, values)

    refuses("table of format 9, and this version reads 1", format_version=9)
    refuses("record does not have its form .*, so it is damaged", provenance="m")
    refuses("record does not have its form .*, so it is damaged", tally_columns=None)
    refuses("not one column 'n_used', which its record names", table.drop_columns(["n_used"]))
    refuses("not one column 'sex'", metadata_columns=["sex"])
    refuses("column 'n_used' is not all whole numbers", put("n_used", pa.array([1, None])))
    refuses("column 'sample_id' is not all text", put("sample_id", pa.array([1, 2])))
    for counts in (
        [[1, 2, 3], [1, 2]],
        [[1, 2, 3], None],
        [[1, 2, 3], [1, 2, None]],
        [[1, 2, 3], [1, 2, -3]],
        [[], []],
    ):
        refuses("'counts' does not hold whole numbers", put("counts", pa.array(counts, pa.list_(pa.int64()))))
    refuses("'counts' does not hold whole numbers", put("counts", pa.array([[0.5, 0.5], [1.0, 0]])))
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: b"{"}), good)
    with pytest.raises(TableError, match="record is not JSON, so it is damaged"):
        AbundanceTable.read(good)
    # As another program would write it again: without our record.
    pq.write_table(table.replace_schema_metadata({}), good)
    with pytest.raises(TableError, match="no biomeformer record"):
        AbundanceTable.read(good)


def test_joined_tables_keep_samples_metadata_and_origin(tmp_path):
    one = make(["B", "A"], {"age": ["1", "2"], "sex": ["f", "m"]})
    two = make(["C"], {"land": ["dk"], "age": ["3"]}, seed=1, device="cuda", revision="v1", model="elsewhere")
    three = make(["D"], {})
    joined = AbundanceTable.join([one, two, three])
    assert joined.sample_ids == ("B", "A", "C", "D") == tuple(joined.read_stats.index) == tuple(joined.metadata.index)
    assert np.array_equal(joined.counts, np.concatenate([one.counts, two.counts, three.counts]))
    assert joined.counts.dtype == np.int64 and joined.read_stats.loc["C"].equals(two.read_stats.loc["C"])
    assert joined.metadata.to_dict("list") == {
        "age": ["1", "2", "3", ""],
        "sex": ["f", "m", "", ""],
        "land": ["", "", "dk", ""],
    }
    differing = ("seed", "device", "revision", "model")
    own = [
        {"n_samples": len(table.sample_ids), **{name: table.provenance[name] for name in differing}}
        for table in (one, two, three)
    ]
    assert joined.provenance == one.provenance | {"joined": own}
    # In steps it is the same; and it is a table as others are.
    steps = AbundanceTable.join([AbundanceTable.join([one, two]), three])
    assert same(steps, joined) and steps.metadata.equals(joined.metadata)
    read = AbundanceTable.read(exported(joined, tmp_path / "joined"))
    assert same(read, joined) and read.metadata.equals(joined.metadata)
    assert same(AbundanceTable.join([one]), one) and same(
        AbundanceTable.join([one, three]), AbundanceTable.join([one, three])
    )
    assert "joined" not in AbundanceTable.join([one, three]).provenance


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"weights_sha256": "cd" * 32},
            r"they differ in weights_sha256 \(abababababab… and cdcdcdcdcdcd…\); embed both with",
        ),
        (
            {"contract": PROVENANCE["contract"] | {"pooling": "cls"}},
            r"they differ in preprocessing config \(pooling: mean and cls\)",
        ),
        ({"n_clusters": 4}, r"they differ in n_clusters \(3 and 4\)"),
        ({"dtype": "bfloat16"}, r"they differ in dtype \(float32 and bfloat16\); .* in one dtype"),
        ({"read_fraction": 1.0}, r"they differ in read_fraction \(0.1 and 1.0\); embed both at one read fraction"),
    ],
)
def test_tables_that_do_not_join(tmp_path, change, message):
    one, two = make(["A"]), make(["B"], **change)
    with pytest.raises(TableError, match=r"table 1 \(1 samples, such as 'A'\) and table 2 .* do not join: " + message):
        AbundanceTable.join([one, two])
    one.write(tmp_path / "one.parquet")
    read = AbundanceTable.read(tmp_path / "one.parquet")
    with pytest.raises(TableError) as raised:
        AbundanceTable.join([read, replace(two, source="lab/two")])
    assert str(raised.value).startswith(f"{tmp_path / 'one.parquet'} and lab/two do not join: they differ in ")
    # The same rule as for feature tables, but that these compare read depths too.
    features = [FeatureTable.from_abundance(table) for table in (one, two)]
    if "read_fraction" in change:
        features[0].check_joins(features[1], "one", "two")
    else:
        with pytest.raises(TableError, match="one and two do not join: " + message):
            features[0].check_joins(features[1], "one", "two")


def test_other_reasons_not_to_join():
    one = make(["A", "B"])
    with pytest.raises(TableError, match=r"sample 'B' is in table 1 .* and again in table 2 .*; rename it"):
        AbundanceTable.join([one, make(["C", "B"])])
    with pytest.raises(TableError, match="no table to join"):
        AbundanceTable.join([])
    with pytest.raises(TableError, match="does not say which weights"):
        AbundanceTable.join([one, replace(make(["C"]), provenance={})])
    with pytest.raises(TableError, match=r"they differ in numbers of clusters \(3 and 2\)"):
        AbundanceTable.join([one, replace(make(["C"]), counts=np.ones((1, 2), np.int64))])
    with pytest.raises(TableError, match="they differ in read statistics"):
        AbundanceTable.join([one, replace(make(["C"]), read_stats=make(["C"]).read_stats[["n_reads"]])])


def test_a_source_is_only_a_name(tmp_path):
    table = make(["A"])
    table.write(tmp_path / "a.parquet")
    shutil.copy(tmp_path / "a.parquet", tmp_path / "b.parquet")
    one, two = (AbundanceTable.read(tmp_path / f"{name}.parquet") for name in "ab")
    assert (one.source, two.source) == (str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")) and same(one, two)
    one.write(tmp_path / "c.parquet")
    assert str(tmp_path).encode() not in (tmp_path / "c.parquet").read_bytes()

"""Parquet files with checksums: what was written is read, whoever wrote it, and what was damaged is refused."""

import random

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from biomeformer.io.parquet import CheckedParquet, CheckedParquetWriter, column_checksum, write_parquet
from biomeformer.io.records import DamagedFileError

FRAME = pd.DataFrame(
    {
        "id": ["a", "ä", None, ""],
        "n": [1, 2, 3, 4],
        "x": [1.5, np.nan, 2, 3],
        "is": [True, False, True, True],
        "list": [[1, 2], None, [], [3]],
    }
).set_index("id")


def test_a_damaged_file_is_refused_or_means_the_same(tmp_path):
    file, rng, n_refused = tmp_path / "t.parquet", random.Random(0), 0
    write_parquet(file, pa.Table.from_pandas(FRAME))
    content = file.read_bytes()
    for _ in range(800):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        try:
            pd.testing.assert_frame_equal(CheckedParquet(file, "write it again").read_frame(), FRAME)
        except DamagedFileError as error:
            n_refused += 1
            assert str(error).startswith(str(file)) and str(error).endswith("; write it again.")
            assert "\n" not in str(error)
    assert n_refused > 400


def test_row_groups_are_verified_one_by_one(tmp_path):
    file, schema = tmp_path / "t.parquet", pa.schema([("n", pa.int64()), ("key", pa.binary(4))])
    with CheckedParquetWriter(file, schema) as writer:
        for numbers in ([1, 2], [], [3]):
            writer.write(pa.table([numbers, [b"abcd"] * len(numbers)], schema=schema))
    table = CheckedParquet(file, "", ("n", "key"))
    assert [table.read_group(i, ["n"])["n"].to_pylist() for i in range(3)] == [[1, 2], [], [3]]
    assert table.read().num_rows == table.n_rows == 3
    with pytest.raises(DamagedFileError, match="has 3 row groups"):
        table.read_group(3)
    with pytest.raises(DamagedFileError, match="has no column 'm'"):
        CheckedParquet(file, "", ("m",))


def test_files_of_other_writers_are_read_without_checksums(tmp_path):
    FRAME.to_parquet(tmp_path / "t.parquet")
    table = CheckedParquet(tmp_path / "t.parquet", "")
    pd.testing.assert_frame_equal(table.read_frame(), FRAME)
    assert table.checksum is None
    with pytest.raises(FileNotFoundError):
        CheckedParquet(tmp_path / "none.parquet", "")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", None, "bc"], pa.string()),
        ([1.5, None, 2], pa.float64()),
        ([[1], None, [2, 3]], pa.list_(pa.int32())),
        ([{"a": 1}, None, {"a": 2}], pa.struct([("a", pa.int64())])),
        ([True, None, False], pa.bool_()),
        ([b"ab", None, b"cd"], pa.binary(2)),
    ],
)
def test_a_column_s_checksum_depends_on_its_values_alone(values, kind):
    whole = pa.array(values, kind)
    expected = column_checksum(whole)
    assert column_checksum(pa.chunked_array([whole[:1], whole[1:]])) == expected
    assert column_checksum(pa.concat_arrays([whole, whole])[3:]) == expected
    assert column_checksum(pa.array([values[0], values[2], values[1]], kind)) != expected
    assert column_checksum(whole[:2]) != expected

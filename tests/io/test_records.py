"""Records and arrays with checksums: what was written is read, and what was damaged is refused."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biomeformer.io.records import CHECKSUM, DamagedFileError, RecordType, read_arrays, write_arrays


@dataclass
class Counts:
    version: int
    counts: dict[str, int]
    share: float = 0.5


RECORD = RecordType(Counts, "run it again", [{"version", "counts"}])
VALUES = {"version": 2, "counts": {"Müller-1": 1_073_741_824, "b": 0}, "share": 0.1}
ARRAYS = {"counts": np.arange(7), "empty": np.zeros((0, 3), np.float16), "text": np.frombuffer("ä".encode(), np.uint8)}
METADATA = {"sample_id": "Müller-1", "fingerprint": "0f"}


def test_a_record_is_read_as_it_was_written(tmp_path):
    file = tmp_path / "run.json"
    RECORD.write(file, VALUES)
    assert RECORD.read(file) == Counts(**VALUES)
    assert list(json.loads(file.read_text())) == [*VALUES, CHECKSUM]


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_record_that_was_changed_is_refused_or_means_the_same(tmp_path, data):
    file = tmp_path / "run.json"
    RECORD.write(file, VALUES)
    content = bytearray(file.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["flip", "delete", "truncate", "insert"])):
        case "flip":
            content[position] ^= 1 << data.draw(st.integers(0, 7))
        case "delete":
            del content[position]
        case "truncate":
            del content[position:]
        case "insert":
            content[position:position] = data.draw(st.binary(min_size=1, max_size=4))
    file.write_bytes(content)
    try:
        assert RECORD.read(file) == Counts(**VALUES)
    except DamagedFileError as error:
        assert str(file) in str(error) and str(error).endswith("; run it again.") and "\n" not in str(error)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"version": NaN}', "is not JSON"),
        (b"[1]", "is not a JSON object"),
        (b'{"version": 2, "counts": {}, "share": 1.0}', "has no checksum"),
        (b'{"version": 2, "counts": {"a": "many"}}', r"Expected `int`, got `str` - at `\$.counts"),
    ],
)
def test_what_is_no_record_is_refused_with_its_reason(tmp_path, content, problem):
    file = tmp_path / "run.json"
    file.write_bytes(content)
    with pytest.raises(DamagedFileError, match=problem):
        RECORD.read(file)


def test_a_record_of_the_version_before_checksums_is_read_if_it_has_exactly_its_fields(tmp_path):
    file = tmp_path / "run.json"
    file.write_text('{"version": 1, "counts": {"a": 3}}')
    assert RECORD.read(file) == Counts(1, {"a": 3})
    file.write_text('{"version": 1, "counts": {"a": 3}, "checksun": "xxh3:0"}')
    with pytest.raises(DamagedFileError, match="has no checksum"):
        RECORD.read(file)


def test_a_missing_record_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        RECORD.read(tmp_path / "run.json")
    with pytest.raises(DamagedFileError, match="cannot be read"):
        RECORD.read(tmp_path)


def test_arrays_are_read_as_they_were_written(tmp_path):
    file = tmp_path / "part.safetensors"
    write_arrays(file, ARRAYS, METADATA)
    arrays = read_arrays(file, advice="run it again")
    assert arrays.metadata == METADATA and arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype and np.array_equal(arrays[name], array)


def test_every_flipped_bit_of_a_file_of_arrays_is_refused_or_means_the_same(tmp_path):
    file = tmp_path / "part.safetensors"
    write_arrays(file, ARRAYS, METADATA)
    content = file.read_bytes()
    n_refused = 0
    for position in range(len(content)):
        for bit in (0, 4, 7):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            file.write_bytes(damaged)
            try:
                arrays = read_arrays(file, advice="run it again")
            except DamagedFileError:
                n_refused += 1
            else:
                assert arrays.metadata == METADATA
                assert all(np.array_equal(arrays[name], ARRAYS[name]) for name in ARRAYS)
    assert n_refused > 2.9 * len(content)


def test_arrays_without_a_checksum_are_read_if_they_have_exactly_the_fields_of_the_version_before(tmp_path):
    from safetensors.numpy import save_file

    file = tmp_path / "part.safetensors"
    save_file({"counts": np.arange(3)}, file, metadata={"sample_id": "a"})
    assert read_arrays(file, advice="", fields_without_checksum=[{"sample_id"}]).metadata == {"sample_id": "a"}
    with pytest.raises(DamagedFileError, match="has no checksum"):
        read_arrays(file, advice="run it again", fields_without_checksum=[{"sample_id", "reads"}])

"""Opening files by content."""

import bz2
import gzip
import lzma
import sys

import pytest

from biomeformer.errors import ReadFileError
from biomeformer.io.compression import StreamError, compression_of, open_bytes, open_text, remove_compression_suffix

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = "\ufeffa,é\r\nb,c\n".encode()
FORMS = {None: bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd.compress}


@pytest.mark.parametrize("form", FORMS)
def test_bytes_and_text_of_any_file(tmp_path, form):
    path = tmp_path / "named.txt"
    path.write_bytes(FORMS[form](TEXT))
    assert compression_of(path) == form
    with open_bytes(path) as file:
        assert file.read(3) == b"\xef\xbb\xbf" and file.read() == TEXT[3:]
    with open_text(path) as file:
        assert file.readlines() == ["a,é\n", "b,c\n"]
    with open_text(path, newline="") as file:
        assert file.read() == "a,é\r\nb,c\n"


def test_a_limit_on_what_comes_out(tmp_path):
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    with (
        open_bytes(tmp_path / "bomb.gz", max_bytes=1_000_000) as file,
        pytest.raises(StreamError, match="more than 1 MB"),
    ):
        file.read()
    with open_bytes(tmp_path / "bomb.gz", max_bytes=50_000_000) as file:
        assert len(file.read()) == 50_000_000


def test_zstd_with_a_long_window(tmp_path):
    """`zstd --long=31` writes windows above the default limit of 128 MB."""
    parameter = zstd.CompressionParameter
    compressor = zstd.ZstdCompressor(options={parameter.window_log: 28, parameter.compression_level: 1})
    data = b"ACGT" * 1000
    content = compressor.compress(data, mode=zstd.ZstdCompressor.FLUSH_BLOCK) + compressor.flush()
    with pytest.raises(zstd.ZstdError):
        zstd.ZstdDecompressor().decompress(content)
    (tmp_path / "long.zst").write_bytes(content)
    with open_bytes(tmp_path / "long.zst") as file:
        assert file.read() == data


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(ReadFileError, match="there is no such file"):
        open_bytes(tmp_path / "none")
    with pytest.raises(ReadFileError, match="is a directory; give a file"):
        open_text(tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.fna.gz", "a.fna"), ("a.FNA.GZ", "a.FNA"), ("a.vcf.bgz", "a.vcf"), ("a.tsv.zst", "a.tsv"),
     ("a.gz.tsv", "a.gz.tsv"), ("gz", "gz"), (".gz", ".gz"), ("a", "a")],
)  # fmt: skip
def test_only_a_compression_suffix_is_removed(name, expected):
    assert remove_compression_suffix(name) == expected

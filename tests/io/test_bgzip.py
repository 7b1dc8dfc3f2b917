"""Blocks of bgzip decompressed in threads, against the same stream decompressed in one piece after the other."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from biomeformer.io import compression
from biomeformer.io.bgzip import BlockDecompressor
from biomeformer.io.compression import DecompressedStream, StreamError
from reads.read_files import BGZF_END, bgzip

DATA = random.Random(0).randbytes(60_000).hex().encode()


def read(path: Path, threads: int) -> tuple[bytes, str]:
    """Return what a file holds up to a break, and the break's reason."""
    parts = []
    with DecompressedStream(path, threads=threads) as stream:
        try:
            while part := stream.read_block(1 << 20):
                parts.append(bytes(part))
        except StreamError as error:
            return b"".join(parts), str(error)
    return b"".join(parts), ""


@pytest.mark.parametrize(
    "content",
    [
        bgzip(DATA),
        bgzip(DATA, block=500),
        bgzip(DATA, block=64 << 10),
        bgzip(DATA).removesuffix(BGZF_END),
        BGZF_END,
        bgzip(DATA) + bgzip(DATA),
        bgzip(DATA) + bytes(100) + bgzip(DATA),
        bgzip(DATA) + gzip.compress(DATA) + bgzip(DATA),
        gzip.compress(DATA),
        bgzip(DATA) + b"not gzip",
        bgzip(DATA)[:70_000],
        bgzip(bytes(64_000), block=64_000) + bgzip(bytes(1 << 20), block=1 << 20),
    ],
    ids=[
        "usual",
        "small blocks",
        "largest blocks",
        "no end",
        "empty",
        "two",
        "padding",
        "among gzip",
        "gzip",
        "appended",
        "cut",
        "large block",
    ],
)
def test_threads_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(compression, "CHUNK_BYTES", 20_000)
    path = tmp_path / "reads.gz"
    path.write_bytes(content)
    assert read(path, 3) == read(path, 0)


def test_damage_is_found_at_the_same_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "CHUNK_BYTES", 3000)
    rng = random.Random(1)
    path = tmp_path / "reads.gz"
    n_broken = 0
    for _ in range(200):
        content = bytearray(bgzip(DATA[:20_000], block=rng.choice([300, 4000])))
        for _ in range(rng.choice([1, 1, 3])):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        expected = read(path, 0)
        assert read(path, 2) == expected
        n_broken += bool(expected[1])
    assert n_broken > 100


def test_a_file_is_closed_before_its_end(tmp_path: Path) -> None:
    path = tmp_path / "reads.gz"
    path.write_bytes(bgzip(DATA, block=500) * 20)
    stream = DecompressedStream(path, threads=2)
    assert bytes(stream.read_block(10)) == DATA[:10]
    blocks = stream._blocks
    assert isinstance(blocks, BlockDecompressor)
    assert blocks.is_pending
    stream.close()
    assert blocks._pool is not None
    assert blocks._pool._shutdown

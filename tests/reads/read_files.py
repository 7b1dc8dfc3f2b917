"""Builders of read files for the tests."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import struct
import sys
import zlib
from pathlib import Path

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def random_sequences(n_reads: int, length: int = 100, seed: int = 0) -> list[str]:
    generator = random.Random(seed)
    return ["".join(generator.choices("ACGT", k=length)) for _ in range(n_reads)]


def fastq(sequences: list[str], *, newline: str = "\n", suffix: str = "") -> bytes:
    return "".join(
        f"@read{number}{suffix}{newline}{sequence}{newline}+{newline}{'I' * len(sequence)}{newline}"
        for number, sequence in enumerate(sequences)
    ).encode()


def fasta(sequences: list[str], *, newline: str = "\n", width: int | None = None) -> bytes:
    lines = []
    for number, sequence in enumerate(sequences):
        lines.append(f">read{number}")
        step = width or max(len(sequence), 1)
        lines.extend(sequence[start : start + step] for start in range(0, len(sequence), step))
    return (newline.join(lines) + newline).encode()


def bgzip(data: bytes, block: int = 65_280) -> bytes:
    """Blocked gzip as samtools' bgzip writes it, with the empty end block."""
    members = []
    for start in range(0, len(data), block):
        part = data[start : start + block]
        compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
        deflated = compressor.compress(part) + compressor.flush()
        size = len(deflated) + 25
        members.append(
            bytes.fromhex("1f8b08040000000000ff060042430200")
            + struct.pack("<H", size)
            + deflated
            + struct.pack("<II", zlib.crc32(part), len(part))
        )
    return b"".join(members) + BGZF_END


def zstd_with_skippable_frame(data: bytes) -> bytes:
    """zstd as pzstd writes it: a frame to be skipped in front of the data."""
    return struct.pack("<II", 0x184D2A50, 4) + b"\x01\x02\x03\x04" + zstd.compress(data)


COMPRESSORS = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "bgzip": bgzip,
    "gzip members": lambda data: gzip.compress(data[:1000]) + gzip.compress(b"") * 2000 + gzip.compress(data[1000:]),
    "gzip, zero bytes after": lambda data: gzip.compress(data) + b"\0" * 600,
    "zstd": zstd.compress,
    "zstd frames": lambda data: zstd.compress(data[:1000]) + zstd.compress(data[1000:]),
    "zstd, skippable frame": zstd_with_skippable_frame,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path

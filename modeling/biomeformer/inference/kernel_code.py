"""Kernels in machine code for reads on a CPU, compiled by numba; imported by `biomeformer.inference.kernels` alone.

The arithmetic is that of torch's operations that they replace, in the same order, without contraction or reordering:
vectors are equal to the last bit, so that it does not matter which of the two computed a read.

Arguments are not checked here: an index beyond an array is undefined behaviour. The callers in `kernels` check them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from .kernel_layout import BLOCKS, CODON, HEADS, LANES, ROWS, TILE

# Reads whose tokens, and approximate distances, stay in the cache.
CHUNK_READS = 512
CHUNK_ROWS = 32
CHUNK_KMERS = 1024
UNKNOWN_BASE = 4


def _compiled(function: Callable[..., Any], **options: Any) -> Any:
    """Compile a function when it is called first; the machine code is kept on disk where a folder can be written to."""
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        return njit(function, cache=True, **options)
    except RuntimeError:
        # Neither the package's folder nor the user's cache can be written to.
        return njit(function, **options)


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Return the pointer to an array's numbers."""
    return context.make_array(kind)(context, builder, value).data


def _at(builder: Any, pointer: Any, index: Any, kind: ir.Type) -> Any:
    """Return a pointer to the element of an array with an index, as a pointer to a type."""
    return builder.bitcast(builder.gep(pointer, [index]), kind.as_pointer())


def _sum_rows(width: int) -> Any:
    """Return an intrinsic that sums rows of a table for every third token, and rows of their reverse complements.

    It is written in LLVM's language, since the compiler would keep the sums in memory otherwise: `width` columns in
    registers, each added to in the order of the tokens.
    """

    @intrinsic
    def sum_rows(typingctx: Any, table: Any, ids: Any, reverse: Any, first: Any, end: Any, out: Any) -> Any:
        signature = types.void(table, ids, reverse, types.intp, types.intp, out)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kinds = signature.args
            rows, tokens, complements = (_data(context, builder, kinds[i], args[i]) for i in range(3))
            target = _data(context, builder, kinds[5], args[5])
            first, end = args[3], args[4]
            index, row = first.type, ir.VectorType(ir.FloatType(), width)

            def load_row(token: Any) -> Any:
                begin = builder.mul(builder.zext(token, index), ir.Constant(index, width))
                return builder.load(_at(builder, rows, begin, row), align=4)

            entry = builder.block
            head, body, done = (builder.append_basic_block(name) for name in ("head", "body", "done"))
            builder.branch(head)
            builder.position_at_end(head)
            position, forward, backward = builder.phi(index), builder.phi(row), builder.phi(row)
            builder.cbranch(builder.icmp_signed("<", position, end), body, done)
            builder.position_at_end(body)
            token = builder.load(builder.gep(tokens, [position]))
            complement = builder.load(builder.gep(complements, [builder.zext(token, index)]))
            following = (
                (position, first, builder.add(position, ir.Constant(index, CODON))),
                (forward, ir.Constant(row, [0.0] * width), builder.fadd(forward, load_row(token))),
                (backward, ir.Constant(row, [0.0] * width), builder.fadd(backward, load_row(complement))),
            )
            for phi, before, after in following:
                phi.add_incoming(before, entry)
                phi.add_incoming(after, body)
            builder.branch(head)
            builder.position_at_end(done)
            for place, sums in enumerate((forward, backward)):
                builder.store(sums, _at(builder, target, ir.Constant(index, place * width), row), align=4)
            return context.get_dummy_value()

        return signature, generate

    return sum_rows


@intrinsic
def _approximate(
    typingctx: Any,
    rows: Any,
    row: Any,
    codes: Any,
    block: Any,
    n_words: Any,
    factors: Any,
    scales: Any,
    offsets: Any,
    norms: Any,
    n_columns: Any,
    distances: Any,
    least: Any,
) -> Any:
    """Compute distances of `ROWS` rows to `BLOCKS` blocks of 16 centroids, products by VNNI's `vpdpbusd`.

    Arguments: rows of unsigned bytes `(n_rows, 4 * n_words)`; the first row; codes `(n_blocks, n_words, 16, 4)`; the
    first block; words of four bytes per row; twice the step of each row, float32 `(n_rows,)`; scales, offsets and norms
    as of `find_nearest`; centroids with those that fill up; float32 distances `(n_rows, n_columns)`; and the least of
    them in each lane, float32 `(n_rows, 16)`, which are lowered.
    """
    signature = types.void(
        rows, types.intp, codes, types.intp, types.intp, factors, scales, offsets, norms, types.intp, distances, least
    )

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointers = {i: _data(context, builder, signature.args[i], args[i]) for i in (0, 2, 5, 6, 7, 8, 10, 11)}
        row, block, n_words, n_columns = args[1], args[3], args[4], args[9]
        index, word = n_words.type, ir.IntType(32)
        words, numbers = ir.VectorType(word, LANES), ir.VectorType(ir.FloatType(), LANES)
        four_times = ir.VectorType(ir.IntType(8), 4 * LANES)
        # LLVM before 22 takes bytes as words of four; later versions translate this.
        multiply = builder.module.declare_intrinsic(
            "llvm.x86.avx512.vpdpbusd.512", (), ir.FunctionType(words, [words, words, words])
        )
        first_lane = ir.Constant(words, [0] * LANES)

        def constant(value: int) -> Any:
            return ir.Constant(index, value)

        def spread(one: Any, kind: ir.VectorType) -> Any:
            nowhere = ir.Constant(kind, ir.Undefined)
            return builder.shuffle_vector(
                builder.insert_element(nowhere, one, ir.Constant(word, 0)), nowhere, first_lane
            )

        def load(pointer: Any, position: Any, kind: ir.Type) -> Any:
            return builder.load(_at(builder, pointer, position, kind), align=1 if kind in (word, four_times) else 4)

        row_numbers = [builder.add(row, constant(i)) for i in range(ROWS)]
        row_bytes = builder.mul(n_words, constant(4))
        row_starts = [builder.mul(number, row_bytes) for number in row_numbers]
        block_bytes = builder.mul(row_bytes, constant(LANES))
        block_starts = [builder.mul(builder.add(block, constant(j)), block_bytes) for j in range(BLOCKS)]
        entry = builder.block
        head, body, done = (builder.append_basic_block(name) for name in ("head", "body", "done"))
        builder.branch(head)
        builder.position_at_end(head)
        position = builder.phi(index)
        sums = [[builder.phi(words) for _ in range(BLOCKS)] for _ in range(ROWS)]
        builder.cbranch(builder.icmp_signed("<", position, n_words), body, done)
        builder.position_at_end(body)
        byte = builder.mul(position, constant(4))
        lanes_byte = builder.mul(byte, constant(LANES))
        factors = [
            builder.bitcast(load(pointers[2], builder.add(start, lanes_byte), four_times), words)
            for start in block_starts
        ]
        for i, start in enumerate(row_starts):
            one = spread(load(pointers[0], builder.add(start, byte), word), words)
            for j in range(BLOCKS):
                sums[i][j].add_incoming(first_lane, entry)
                sums[i][j].add_incoming(builder.call(multiply, [sums[i][j], one, factors[j]]), body)
        position.add_incoming(constant(0), entry)
        position.add_incoming(builder.add(position, constant(1)), body)
        builder.branch(head)
        builder.position_at_end(done)
        columns = [builder.mul(builder.add(block, constant(j)), constant(LANES)) for j in range(BLOCKS)]
        scales, norms = ([load(pointers[i], column, numbers) for column in columns] for i in (6, 8))
        offsets = [load(pointers[7], column, words) for column in columns]
        for i, number in enumerate(row_numbers):
            factor = spread(load(pointers[5], number, ir.FloatType()), numbers)
            lanes = builder.mul(number, constant(LANES))
            least = load(pointers[11], lanes, numbers)
            start = builder.mul(number, n_columns)
            for j, column in enumerate(columns):
                product = builder.sitofp(builder.sub(sums[i][j], offsets[j]), numbers)
                distance = builder.fsub(norms[j], builder.fmul(builder.fmul(factor, scales[j]), product))
                builder.store(distance, _at(builder, pointers[10], builder.add(start, column), numbers), align=4)
                least = builder.select(builder.fcmp_ordered("<", distance, least), distance, least)
            builder.store(least, _at(builder, pointers[11], lanes, numbers), align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _at_most(typingctx: Any, values: Any, first: Any, limit: Any) -> Any:
    """Return which of 16 float32 are at most a limit, as bits of a uint32.

    Arguments: values, index of the first, and the limit.
    """
    signature = types.uint32(values, types.intp, types.float32)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), LANES)
        numbers = builder.load(
            _at(builder, _data(context, builder, signature.args[0], args[0]), args[1], vector), align=4
        )
        limits = ir.Constant(vector, ir.Undefined)
        limits = builder.insert_element(limits, args[2], ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        limits = builder.shuffle_vector(limits, limits, zeros)
        flags = builder.fcmp_ordered("<=", numbers, limits)
        return builder.zext(builder.bitcast(flags, ir.IntType(LANES)), ir.IntType(32))

    return signature, generate


_sum_scores = _sum_rows(HEADS)
_sum_tile = _sum_rows(TILE)


def _sum_frame_scores(ids: Any, ends: Any, reverse: Any, tables: Any, scores: Any) -> None:
    """Sum the scores of each reading frame's k-mers.

    Args:
        ids: int32 `(n_tokens,)`, concatenated reads.
        ends: int64 `(n_reads,)`, end of each read.
        reverse: int32 `(vocab_size,)`, token of each token's reverse complement.
        tables: float32 `(n_tables, vocab_size, HEADS)`, scores of some heads each.
        scores: float32 `(CODON, n_reads, 2, n_heads)`, filled; of k-mers, and of their reverse complements.
    """
    n_heads = scores.shape[3]
    sums = np.empty(2 * HEADS, np.float32)
    for part in range(len(tables)):
        first_head = HEADS * part
        n_here = min(HEADS, n_heads - first_head)
        begin = 0
        for read in range(len(ends)):
            end = ends[read]
            for frame in range(CODON):
                _sum_scores(tables[part], ids, reverse, begin + frame, end, sums)
                for head in range(n_here):
                    scores[frame, read, 0, first_head + head] = sums[head]
                    scores[frame, read, 1, first_head + head] = sums[HEADS + head]
            begin = end


def _sum_weighed_frames(
    ids: Any, ends: Any, reverse: Any, tables: Any, weights: Any, divisors: Any, vectors: Any
) -> None:
    """Sum the vectors of each reading frame's k-mers, and the frames' sums by their weights.

    A tile of columns of the table stays in the cache for `CHUNK_READS` reads, whose tokens do too.

    Args:
        ids: As of `_sum_frame_scores`, and so are `ends` and `reverse`.
        ends: See there.
        reverse: See there.
        tables: float32 `(n_tiles, vocab_size, TILE)`, columns of the k-mers' vectors.
        weights: float32 `(CODON, n_reads, 2, n_heads)`.
        divisors: float32 `(n_reads, n_heads)`.
        vectors: float32 `(n_reads, n_tiles * TILE)`, filled.
    """
    n_reads, n_tiles = len(ends), len(tables)
    head_size = n_tiles * TILE // weights.shape[3]
    sums = np.empty((CODON, 2 * TILE), np.float32)
    for chunk in range(0, n_reads, CHUNK_READS):
        for tile in range(n_tiles):
            begin = ends[chunk - 1] if chunk else 0
            for read in range(chunk, min(chunk + CHUNK_READS, n_reads)):
                end = ends[read]
                for frame in range(CODON):
                    _sum_tile(tables[tile], ids, reverse, begin + frame, end, sums[frame])
                for first in range(0, TILE, LANES):
                    start = tile * TILE + first
                    head = start // head_size
                    w0, w1, w2 = weights[0, read, 0, head], weights[1, read, 0, head], weights[2, read, 0, head]
                    r0, r1, r2 = weights[0, read, 1, head], weights[1, read, 1, head], weights[2, read, 1, head]
                    divisor = divisors[read, head]
                    for i in range(LANES):
                        forward, back = first + i, TILE + first + i
                        here = sums[0, forward] * w0 + sums[1, forward] * w1 + sums[2, forward] * w2
                        there = sums[0, back] * r0 + sums[1, back] * r1 + sums[2, back] * r2
                        vectors[read, start + i] = (here + there) / divisor
                begin = end


def _number_kmers(sequence: Any, offsets: Any, codes: Any, k: int, ids: Any, lengths: Any) -> int:
    """Number the k-mers of each read: one more than their value in base 4, and 0 of those with an unknown base.

    A read without a k-mer whose bases are all known gets no token.

    Args:
        sequence: uint8 `(n_bases,)`, concatenated reads in ASCII.
        offsets: int64 `(n_reads + 1,)`, index at which each read begins, and the end of the last.
        codes: uint8 `(256,)`, 0 to 3 for each letter of a base, and 4 for others.
        k: Length of a k-mer in bases.
        ids: int32, filled from its beginning; room for one token per base.
        lengths: int64 `(n_reads,)`, filled with the number of tokens of each read.

    Returns:
        Number of tokens of all reads.
    """
    kmer_codes = np.empty(CHUNK_KMERS + k - 1, np.int32)
    n_tokens = 0
    for read in range(len(lengths)):
        begin = offsets[read]
        n_here = max(offsets[read + 1] - begin - k + 1, 0)
        n_known = 0
        for first in range(0, n_here, CHUNK_KMERS):
            n_chunk = min(CHUNK_KMERS, n_here - first)
            bases = sequence[begin + first : begin + first + n_chunk + k - 1]
            chunk = ids[n_tokens + first : n_tokens + first + n_chunk]
            every = 0
            for i in range(len(bases)):
                kmer_codes[i] = codes[bases[i]]
                every |= kmer_codes[i]
            # Pass by pass, which a compiler turns into operations on whole registers.
            chunk[:] = 1
            for place in range(k):
                shifted, shift = kmer_codes[place : place + n_chunk], 2 * (k - 1 - place)
                for i in range(n_chunk):
                    chunk[i] += (shifted[i] & 3) << shift
            n_known += n_chunk
            if every >= UNKNOWN_BASE:
                last_unknown = -1
                for i in range(len(bases)):
                    if kmer_codes[i] == UNKNOWN_BASE:
                        for kmer in range(max(last_unknown + 1, i - k + 1), min(i + 1, n_chunk)):
                            chunk[kmer] = 0
                            n_known -= 1
                        last_unknown = i
        lengths[read] = n_here if n_known else 0
        n_tokens += lengths[read]
    return n_tokens


def _quantise(vector: Any, out: Any) -> tuple[Any, Any, Any]:
    """Round a vector to bytes, with 128 added; fills uint8 `out`, zeros (128) beyond the vector's end.

    Returns:
        The step between two bytes, the length of the vector, and the length of what rounding changed.
    """
    largest = np.float32(0)
    for value in vector:
        largest = max(largest, abs(value))
    step = largest / np.float32(127) if largest > 0 else np.float32(1)
    square, lost = np.float32(0), np.float32(0)
    for i in range(len(vector)):
        rounded = np.rint(vector[i] / step)
        # A quotient of 127 may be rounded up.
        out[i] = np.uint8(np.int32(min(max(rounded, np.float32(-127)), np.float32(127))) + 128)
        difference = vector[i] - rounded * step
        square += vector[i] * vector[i]
        lost += difference * difference
    for i in range(len(vector), len(out)):
        out[i] = 128
    return step, np.sqrt(square), np.sqrt(lost)


def _inner_product(first: Any, second: Any) -> Any:
    """Return the inner product of two vectors, in float32."""
    total = np.float32(0)
    for i in range(len(first)):
        total += first[i] * second[i]
    return total


# Sums and minima of a row, whose order is free: they are bounds, or within the tolerance of near ties.
_ANY_ORDER = {"fastmath": {"reassoc", "nsz", "contract"}}
quantise = _compiled(_quantise, **_ANY_ORDER)
_product = _compiled(_inner_product, **_ANY_ORDER)


def _find_nearest(
    vectors: Any,
    centroids: Any,
    exact_norms: Any,
    codes: Any,
    scales: Any,
    offsets: Any,
    norms: Any,
    longest: float,
    largest_loss: float,
    tolerance: float,
    cluster_ids: Any,
    near_tie: Any,
) -> None:
    """Find the nearest centroid of each vector, and mark near ties; see `kernels.NearestKernel` for the bound.

    Args:
        vectors: float32 `(n_rows, hidden_size)`.
        centroids: float32 `(n_clusters, hidden_size)`.
        exact_norms: float32 `(n_clusters,)`, their squared lengths.
        codes: int8 `(n_blocks, n_words, 16, 4)`, the rounded centroids.
        scales: float32 `(16 * n_blocks,)`, the step between two bytes of each centroid.
        offsets: int32 `(16 * n_blocks,)`, 128 times the sum of each centroid's bytes.
        norms: float32 `(16 * n_blocks,)`, squared lengths; infinite beyond the last centroid.
        longest: Greatest length of a centroid.
        largest_loss: Greatest length of what rounding changed of a centroid.
        tolerance: Share of the squared scale within which two distances are a near tie.
        cluster_ids: int64 `(n_rows,)`, filled.
        near_tie: bool `(n_rows,)`, filled.
    """
    n_rows, n_blocks, n_words = len(vectors), codes.shape[0], codes.shape[1]
    n_padded = LANES * n_blocks
    rows = np.empty((CHUNK_ROWS, 4 * n_words), np.uint8)
    factors = np.empty(CHUNK_ROWS, np.float32)
    lengths, losses = np.empty_like(factors), np.empty_like(factors)
    distances, least = np.empty((CHUNK_ROWS, n_padded), np.float32), np.empty((CHUNK_ROWS, LANES), np.float32)
    largest_norm = np.float32(longest * longest)
    for chunk in range(0, n_rows, CHUNK_ROWS):
        n_here = min(CHUNK_ROWS, n_rows - chunk)
        for i in range(n_here):
            step, lengths[i], losses[i] = quantise(vectors[chunk + i], rows[i])
            factors[i] = np.float32(2) * step
        for i in range(n_here, -(-n_here // ROWS) * ROWS):
            rows[i], factors[i] = 128, 0
        least[:] = np.inf
        for block in range(0, n_blocks, BLOCKS):
            for i in range(0, n_here, ROWS):
                _approximate(
                    rows, i, codes, block, n_words, factors, scales, offsets, norms, n_padded, distances, least
                )
        for i in range(n_here):
            scale = lengths[i] * lengths[i] + largest_norm
            lowest = least[i].min()
            error = losses[i] * longest + (lengths[i] + losses[i]) * largest_loss
            # Both distances of a comparison may be off by twice the error of their products; and rounding of float32.
            limit = np.float32(lowest + 4 * error + 2 * tolerance * scale)
            nearest, second, winner = np.float32(np.inf), np.float32(np.inf), 0
            for first in range(0, n_padded, LANES):
                flags = _at_most(distances, i * n_padded + first, limit)
                lane = 0
                while flags:
                    if flags & 1:
                        j = first + lane
                        distance = exact_norms[j] - np.float32(2) * _product(vectors[chunk + i], centroids[j])
                        if distance < nearest:
                            nearest, second, winner = distance, nearest, j
                        elif distance < second:
                            second = distance
                    flags >>= np.uint32(1)
                    lane += 1
            cluster_ids[chunk + i] = winner
            # Not finite: decided in float64, as near ties are.
            near_tie[chunk + i] = not (second - nearest > tolerance * scale)


number_kmers = _compiled(_number_kmers)
sum_frame_scores = _compiled(_sum_frame_scores)
sum_weighed_frames = _compiled(_sum_weighed_frames)
find_nearest = _compiled(_find_nearest)

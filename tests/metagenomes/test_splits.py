"""However the work is split, the counts are the same."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biomeformer.errors import RunInterrupted
from biomeformer.metagenomes import embed_sample, run_cohort
from biomeformer.metagenomes.sample import combine
from biomeformer.reads import SampleReader, SampleReads
from biomeformer.runs.scheduler import plan_work
from factories import random_sequences, tiny_metagenbert, write_cohort, write_fastq

QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def model():
    return tiny_metagenbert(min_read_length=40)


@pytest.fixture(scope="module")
def reads(tmp_path_factory) -> SampleReads:
    """Two runs, the first of pairs."""
    folder = tmp_path_factory.mktemp("reads")
    first, second, single = (random_sequences(90, 20, 120, seed=i) for i in range(3))
    pair = (write_fastq(folder / "1.fastq", first, mate=1), write_fastq(folder / "2.fastq.gz", second, mate=2))
    return SampleReads((pair, (write_fastq(folder / "3.fastq", single),)))


@given(
    sizes=st.lists(st.integers(1, 10**12), max_size=40),
    n_ranks=st.integers(1, 70),
    share_batches=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_a_plan_does_each_sample_once(sizes, n_ranks, share_batches):
    samples = {f"s{i}": size for i, size in enumerate(sizes)}
    plan = plan_work(samples, n_ranks, share_batches=share_batches)
    whole = [name for names in plan.whole for name in names]
    assert sorted(whole + [name for name, _ in plan.shared]) == sorted(samples) and len(plan.whole) == n_ranks
    taken = [rank for _, among in plan.shared for rank in among]
    if plan.shared:
        assert sorted(taken) == list(range(n_ranks)), "every rank is in one group"
    assert share_batches or not plan.shared
    if share_batches:
        # Nobody gets more than by an even share of the samples, unless a sample alone is larger.
        load = [sum(samples[name] for name in names) for names in plan.whole]
        n_each = len(whole) / n_ranks
        assert not whole or max(load) <= max(samples[name] for name in whole) * max(n_each, 1)


@given(
    n_shares=st.integers(1, 7),
    batch_reads=st.integers(2, 50),
    batch_tokens=st.sampled_from([1, 37, 500, 100_000]),
    fraction=st.sampled_from([1.0, 0.6, 0.13]),
    seed=st.integers(0, 3),
)
@QUICK
def test_any_split_of_a_sample_gives_equal_counts(model, reads, n_shares, batch_reads, batch_tokens, fraction, seed):
    options = {"read_fraction": fraction, "seed": seed}
    expected = embed_sample(model, reads, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("biomeformer.metagenomes.sample.SampleReader", partial(SampleReader, batch_reads=batch_reads))
        shares = [
            embed_sample(model, reads, share=(i, n_shares), batch_tokens=batch_tokens, **options)
            for i in range(n_shares)
        ]
    joined = combine(shares)
    assert np.array_equal(joined.counts, expected.counts) and joined.read_stats == expected.read_stats
    assert joined.counts.sum() == sum(share.read_stats["n_used"] for share in shares)


@given(stops=st.lists(st.integers(0, 12), max_size=6), batch_reads=st.integers(2, 60))
@QUICK
def test_any_interruptions_give_the_same_table(model, tmp_path_factory, stops, batch_reads):
    folder: Path = tmp_path_factory.mktemp("runs")
    cohort = write_cohort(folder / "cohort", n_samples=4, n_reads=40)
    expected = model.embed_cohort(cohort)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("biomeformer.metagenomes.sample.SampleReader", partial(SampleReader, batch_reads=batch_reads))
        for stop in stops:
            calls = iter(range(1000))

            def check(stop=stop, calls=calls):
                if next(calls) == stop:
                    raise RunInterrupted("interrupted", 15)

            try:
                run_cohort(model, cohort, folder / "run", check=check)
            except RunInterrupted:
                pass
        table = run_cohort(model, cohort, folder / "run").result
    assert np.array_equal(table.counts, expected.counts) and table.read_stats.equals(expected.read_stats)
    assert table.sample_ids == expected.sample_ids

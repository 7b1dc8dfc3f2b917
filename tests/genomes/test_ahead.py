"""Genomes read ahead of their use come in order, with their errors, and not without bound."""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass

import numpy as np
import pytest

from biomeformer.errors import GenomeError
from biomeformer.genomes.ahead import GenomesAhead
from biomeformer.genomes.calling import call_genes
from factories import random_contig


@dataclass
class Entry:
    """A genome that notes when it is read."""

    number: int
    read_so_far: list[int]

    def read(self, *, translation_table, threads):
        self.read_so_far.append(self.number)
        if self.number == 2:
            raise GenomeError("genome 2 is damaged")
        return self.number, translation_table, threads


@pytest.mark.parametrize(("n_genomes", "threads", "each"), [(7, 3, 1), (2, 6, 3), (7, 1, 1), (0, 4, 4)])
def test_genomes_come_in_order_and_few_are_read_ahead(n_genomes, threads, each):
    started: list[int] = []
    entries = [Entry(number, started) for number in range(n_genomes)]
    with GenomesAhead(entries, translation_table=4, threads=threads) as ahead:
        taken = []
        for n_taken, (entry, reading) in enumerate(ahead, 1):
            taken.append(entry.number)
            if entry.number == 2:
                with pytest.raises(GenomeError, match="genome 2 is damaged"):
                    reading.result()
            else:
                assert reading.result() == (entry.number, 4, each)
            assert len(started) <= n_taken + threads
    assert taken == list(range(n_genomes))


def test_what_is_not_begun_is_left_out_when_the_caller_stops():
    started: list[int] = []
    entries = [Entry(number, started) for number in range(3, 50)]
    with pytest.raises(KeyboardInterrupt), GenomesAhead(entries, translation_table=11, threads=2) as ahead:
        for _, reading in ahead:
            reading.result()
            raise KeyboardInterrupt
    assert len(started) <= 3


def test_filters_of_warnings_stay_as_they_are_when_several_threads_call_genes():
    contigs = {"c": random_contig(np.random.default_rng(0))}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        results = []
        threads = [threading.Thread(target=lambda: results.append(call_genes(contigs)[1])) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert warnings.filters == before and len(results) == 4 and all("single mode" in how for how in results)

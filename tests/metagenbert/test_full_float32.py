"""Full float32 products beside a host program that has set a coarser precision."""

import threading
from contextlib import contextmanager

import pytest
import torch

from biomeformer.metagenbert.full_float32 import full_float32_matmul

MATMULS = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)


@contextmanager
def torch_as_it_was():
    """Put torch's settings back to those of a fresh process."""
    try:
        yield
    finally:
        torch.backends.fp32_precision = "none"
        torch.backends.cudnn.fp32_precision = "none"
        torch.backends.mkldnn.set_flags(_fp32_precision="none")
        torch.set_float32_matmul_precision("highest")
        for matmul in MATMULS:
            matmul.fp32_precision = "none"


def legacy(precision):
    return lambda: torch.set_float32_matmul_precision(precision)


def legacy_flag():
    torch.backends.cuda.matmul.allow_tf32 = True


def newer():
    torch.backends.cuda.matmul.fp32_precision = "tf32"


def newer_for_all():
    torch.backends.fp32_precision = "tf32"


def newer_on_cpu():
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"


def nothing():
    pass


def state():
    """All that can be asked of torch; the older setting cannot be read beside some of the newer."""
    try:
        older = torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32
    except RuntimeError:
        older = None
    return older, *(matmul.fp32_precision for matmul in MATMULS), torch.backends.fp32_precision


@pytest.mark.parametrize(
    "host", [nothing, legacy("high"), legacy("medium"), legacy_flag, newer, newer_for_all, newer_on_cpu]
)
def test_the_hosts_setting_is_left_out_and_put_back(host):
    with torch_as_it_was():
        host()
        before = state()
        for _ in range(2):
            with full_float32_matmul(), full_float32_matmul():
                assert all(matmul.fp32_precision in ("ieee", "none") for matmul in MATMULS)
                # Neither raises, as they do where torch's two settings contradict each other.
                assert torch.get_float32_matmul_precision() == "highest"
                assert not torch.backends.cuda.matmul.allow_tf32
            assert state() == before
        with pytest.raises(KeyError), full_float32_matmul():
            raise KeyError
        assert state() == before


def test_an_operation_that_follows_the_setting_of_all_goes_on_to_follow_it():
    with torch_as_it_was():
        torch.backends.fp32_precision = "tf32"
        with full_float32_matmul():
            pass
        torch.backends.fp32_precision = "ieee"
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"


def test_several_threads_hold_it_until_the_last_one_leaves():
    with torch_as_it_was():
        torch.set_float32_matmul_precision("high")
        first_is_in, second_is_in = threading.Event(), threading.Event()
        seen = []

        def second():
            first_is_in.wait(10)
            with full_float32_matmul():
                second_is_in.set()
                first.join(10)
                seen.append(torch.get_float32_matmul_precision())

        def begin_and_leave():
            with full_float32_matmul():
                first_is_in.set()
                second_is_in.wait(10)

        first, other = threading.Thread(target=begin_and_leave), threading.Thread(target=second)
        first.start()
        other.start()
        other.join(20)
        assert seen == ["highest"] and torch.get_float32_matmul_precision() == "high"

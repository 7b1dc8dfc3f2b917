"""Times of stages, each with a fixed kernel measured at the same moment, and the matrix peak."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from hardware import SQUARES, Kernel, costs, matrix_peak, product_kernel, stolen_time
from speed_settings import Settings
from speed_shapes import Shape

from biomeformer.checkpoints.loading import FLOAT8, resolve_device, resolve_dtype

# For tests, which have no time for large matrices.
TINY_SHAPES = ("tiny", "esm2-tiny")
# Seconds of a moment, and moments of a round that a short stage is repeated for.
MOMENT, MOMENTS = 0.1, 3
# Rows of a model's products in the matrix peak.
PEAK_TOKENS = {"cpu": 4_096, "cuda": 65_536}


class Times:
    """Seconds an item, by stage, of several rounds, and how fast that is beside a fixed kernel."""

    def __init__(self) -> None:
        self.rounds: dict[str, list[float]] = {}
        self._ratios: dict[str, list[float]] = {}
        self._busy: dict[str, list[float]] = {}

    def beside(
        self,
        stage: str,
        kernel: Kernel,
        work: Callable[[], Any],
        *,
        amount: float,
        n: int,
        device: torch.device,
        once: bool = False,
    ) -> None:
        """Time a stage, once or some moments long, with the kernel before and after it or each moment.

        Args:
            stage: Its name.
            kernel: What it is compared with.
            work: One run.
            amount: What a run gets through, in the kernel's unit.
            n: Items of a run.
            device: Waited for.
            once: Whether the work may run but once.
        """
        before = kernel.rate()
        for _ in range(1 if once else MOMENTS):
            stolen: dict[str, Any] = {}
            with stolen_time(stolen):
                took = [costs(work, device)]
                while not once and sum(wall for wall, _ in took) < MOMENT:
                    took.append(costs(work, device))
            after = kernel.rate()
            rate = amount * len(took) / sum(cost for _, cost in took)
            self.rounds.setdefault(stage, []).extend(wall / n for wall, _ in took)
            self._ratios.setdefault(stage, []).append(rate / ((before + after) / 2))
            if once and device.type == "cpu":
                given = took[0][0] * torch.get_num_threads() - (stolen["stolen_s"] or 0.0)
                self._busy.setdefault(stage, []).append(took[0][1] / given)
            before = after

    def ratios(self) -> dict[str, float]:
        """By stage, the median of its rate beside the kernel's; both by processor time where there is no GPU."""
        return {stage: statistics.median(values) for stage, values in self._ratios.items()}

    def busy(self, stage: str) -> float | None:
        """Median share of the threads' time in which they ran, of a stage that runs once a round on a CPU.

        Time that the host gave to other machines is left out.
        """
        return statistics.median(self._busy[stage]) if stage in self._busy else None

    def best(self, stage: str) -> float:
        """Fewest seconds an item."""
        return min(self.rounds[stage])

    def summary(self, stages: tuple[str, ...], tokens: float) -> dict[str, dict[str, float]]:
        """Reads and tokens a second of each stage by itself, and its share of the stages' time together."""
        total = sum(self.best(stage) for stage in stages)
        return {
            stage: {
                "reads_per_second": rounded(1 / self.best(stage)),
                "tokens_per_second": rounded(tokens / self.best(stage)),
                "share": round(self.best(stage) / total, 4),
            }
            for stage in stages
        }


def peaks(settings: Settings, shape: Shape) -> tuple[dict[str, Any], dict[str, Kernel]]:
    """Matrix peak of each precision; float32's always, since distances are in it; float8 has bfloat16's.

    Returns:
        For the JSON, in TFLOP/s, by precision; and a product of each, always the same, as a kernel.
    """
    device, kernels = resolve_device(settings.device), {}
    peak_record: dict[str, Any] = {}
    products = shape.products(PEAK_TOKENS[device.type])
    squares = (256,) if settings.shape in TINY_SHAPES else SQUARES["cpu" if device.type == "cpu" else "cuda"]
    for dtype in dict.fromkeys(["float32", *settings.dtypes]):
        best, each = matrix_peak(device, torch_dtype(dtype), products, squares)
        peak_record[dtype] = {
            "tflops": rounded(best / 1e12),
            "products": {"x".join(map(str, product)): rounded(rate / 1e12) for product, rate in each.items()},
        }
        kernels[dtype] = product_kernel(device, torch_dtype(dtype), (squares[-1],) * 3)
    return peak_record, kernels


def peak_shares(rates: dict[str, float], flops: float, peak: dict[str, Any]) -> dict[str, float]:
    """Shares of the matrix peak, of tokens a second and operations a token."""
    return {stage: rounded(rate * flops / (peak["tflops"] * 1e12)) for stage, rate in rates.items()}


def summary(times: Times, stages: tuple[str, ...], tokens: float) -> dict[str, Any]:
    """Rates of the stages and end to end, for the JSON."""
    return {
        "stages": times.summary(stages, tokens),
        "end_to_end": {
            "reads_per_second": rounded(1 / times.best("end_to_end")),
            "tokens_per_second": rounded(tokens / times.best("end_to_end")),
            "rounds": [rounded(1 / value) for value in times.rounds["end_to_end"]],
        },
    }


def figures(
    kind: str,
    n: int,
    tokens: float,
    flops: float,
    peak: dict[str, Any],
    by_dtype: dict[str, Any],
    ratios: dict[str, float],
) -> dict[str, Any]:
    """What the JSON holds of an encoder: of `n` reads or proteins a round, with their tokens and operations a token."""
    return {
        "kind": kind,
        "n_reads": n,
        "tokens_per_read": round(tokens, 2),
        "mflop_per_token": rounded(flops / 1e6),
        "matrix_peak": peak,
        "dtypes": by_dtype,
        "ratios": {stage: rounded(value) for stage, value in sorted(ratios.items())},
    }


def torch_dtype(dtype: str) -> torch.dtype:
    """What a precision computes in, products in float8 apart."""
    return resolve_dtype("bfloat16" if dtype == FLOAT8 else dtype)


def rounded(value: float, digits: int = 4) -> float:
    """To so many significant digits."""
    return float(f"{value:.{digits}g}")

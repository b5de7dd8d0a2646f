"""What a fit costs: seconds and memory of an epoch."""

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback

MIB = 2**20


class Cost(Callback):
    """Measures the epochs of a fit that it is a callback of: seconds of training alone, and the most memory in use.

    Memory is that which torch has allocated on a GPU; on the CPU the largest resident set of the whole process while
    the fit lasted, Python and libraries included. Where the system does not let that be counted anew for each fit
    (Linux does), it is the largest since the process began; on Windows it is not known.

    Example:
        >>> cost = Cost()
        >>> guide = ldm.guides.Deterministic(torch.nn.Linear(8, 2), ldm.entropy.LogDet())
        >>> _ = ldm.fit(ldm.priors.Gaussian(2), guide, torch.randn(500, 8), epochs=2, progress=False, callbacks=(cost,))
        >>> sorted(cost.summary())
        ['memory', 'peak_memory_mib', 'seconds_per_epoch']
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.device = torch.device("cpu")
        self._started = 0.0

    def on_train_start(self, trainer, pl_module) -> None:
        """Count anew."""
        self.device = pl_module.device
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            _forget_peak()

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        """The clock starts."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        """And stops, before what is reported of an epoch is measured."""
        self.seconds.append(time.perf_counter() - self._started)

    def summary(self) -> dict[str, Any]:
        """Median seconds of an epoch, the most memory in MiB, and what memory that is; nothing without an epoch.

        The first epoch, in which libraries warm up, counts only where there is no other.
        """
        if not self.seconds:
            return {}
        cuda = self.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(self.device) / MIB if cuda else _peak()
        seconds = {"seconds_per_epoch": statistics.median(self.seconds[1:] or self.seconds)}
        if peak is None:
            return seconds
        return seconds | {
            "peak_memory_mib": peak,
            "memory": "allocated on the GPU" if cuda else "resident set of the process",
        }


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # no Linux, or not allowed
        return


def _peak() -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    except (OSError, StopIteration):
        try:
            import resource
        except ImportError:  # Windows
            return None
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / MIB

"""A progress bar."""

import sys
from typing import Any


def progress_bar(what: str, total: int, *, show: bool) -> Any:
    """A bar on stderr, of ``tqdm``; where nobody watches (a log), a line every thirty seconds at most.

    Args:
        what: Is being done.
        total: Steps.
        show: Whether to show it.
    """
    from tqdm.auto import tqdm

    interval = 0.1 if sys.stderr.isatty() else 30.0
    return tqdm(desc=what, total=total, unit="step", dynamic_ncols=True, mininterval=interval, disable=not show)

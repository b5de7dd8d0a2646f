"""A run folder is written beside its place, under a hidden name, and moved there when it is whole."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKPOINT = "checkpoint.ckpt"  # what an interrupted run goes on from; a finished one has none


def interrupted(run: str | os.PathLike[str]) -> Path:
    """Where a run is while it is written, and stays if it is killed.

    Example:
        >>> interrupted("runs/digits").as_posix()
        'runs/.digits.partial'
    """
    run = Path(run)
    return run.with_name(f".{run.name}.partial")


@contextmanager
def run_folder(run: str | os.PathLike[str], *, resume: bool = False) -> Iterator[Path]:
    """A folder to write a run into, which becomes ``run`` at the end, in one step.

    A mistake (an exception) leaves nothing behind, unless there is a checkpoint by then. That stays, as it does after
    Ctrl-C or a kill, so that the run can go on.

    Args:
        run: The folder that is to be.
        resume: Whether to go on with what an interrupted run left.

    Yields:
        The folder to write into: :func:`interrupted` of ``run``.

    Raises:
        ValueError: If ``run`` is there already, if an interrupted run of that name is (with ``resume``: is not), or the
            folder cannot be made.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "run"
        >>> with run_folder(place) as folder:
        ...     _ = (folder / "notes.txt").write_text("all of it")
        >>> (place / "notes.txt").read_text()
        'all of it'
    """
    run = Path(os.path.abspath(run))
    hidden = interrupted(run)
    if run.exists() and not (run.is_dir() and not any(run.iterdir())):
        raise ValueError(f"{run} is there already: choose another folder, or remove it")
    if resume and not hidden.is_dir():
        raise ValueError(f"no interrupted run of {run} is there to go on with: start it anew")
    if hidden.exists() and not resume:
        raise ValueError(f"an interrupted run of {run} is there: go on with it (--resume), or remove {hidden}")
    made = [parent for parent in (hidden, *hidden.parents) if not parent.exists()]
    try:
        hidden.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{run} cannot be written: {error.strerror or error}; choose another folder") from error
    try:
        yield hidden
        os.replace(hidden, run)
        (run / CHECKPOINT).unlink(missing_ok=True)
    except Exception:
        if hidden.exists() and not (hidden / CHECKPOINT).exists():
            shutil.rmtree(hidden)
            for parent in made[1:]:
                parent.rmdir()
        raise

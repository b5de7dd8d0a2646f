"""What a diagnosis finds, one thing at a time."""

from typing import Any, NamedTuple

from pyro_ldm.runs.report import Section


class Finding(NamedTuple):
    """A section of the report, and the arrays behind it.

    Attributes:
        section: The section.
        groups: Groups for :func:`pyro_ldm.diagnostics.arviz.to_arviz`, with their dims and coords.
    """

    section: Section
    groups: dict[str, Any] = {}  # noqa: RUF012

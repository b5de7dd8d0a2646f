"""A report: sections with a verdict in words, text, tables and pictures, as one HTML file that needs nothing else."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from numbers import Integral, Real
from typing import Any

MARKS = {"good": "✓", "bad": "!", "open": "–"}  # beside the words, which say it too
MAX_ROWS = 60  # of a table: a report is to be read


@dataclass(frozen=True)
class Picture:
    """A PNG, and the sentence that says what it shows, to those who do not see it as well.

    Attributes:
        png: The file's content.
        caption: The sentence.
        name: What the file is called, without its ending, where the picture is to be one beside the report as well.

    Example:
        >>> Picture(b"...", "nothing to be seen").data_url
        'data:image/png;base64,Li4u'
    """

    png: bytes
    caption: str
    name: str = ""

    @classmethod
    def of(cls, figure: Any, caption: str, *, name: str = "") -> "Picture":
        """A matplotlib figure's."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=120)
        return cls(buffer.getvalue(), caption, name)

    @property
    def data_url(self) -> str:
        """The picture itself, as an address that needs no network."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Table:
    """Rows of numbers and words under column names; numbers are written with three digits.

    Example:
        >>> table = Table(("prior", "elpd, nats"), [("Laplace", -1234.567), ("Gaussian", float("nan"))])
        >>> [cell for cell, _ in table.body[0]], table.body[1][1]
        (['Laplace', '-1235'], ('not defined', True))
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""

    @classmethod
    def of(cls, frame: Any, caption: str = "", *, index: str = "") -> "Table":
        """A pandas DataFrame's, its index first; of a long one the first rows, which the caption says.

        Args:
            frame: The DataFrame.
            caption: What the table shows.
            index: Name of the index, where it has none.
        """
        shown = frame.iloc[:MAX_ROWS].reset_index(names=index or frame.index.name or "")
        if len(frame) > MAX_ROWS:
            caption += f" (the first {MAX_ROWS} of {len(frame)} rows)"
        return cls([str(name) for name in shown.columns], shown.to_numpy(dtype=object).tolist(), caption)

    @property
    def head(self) -> list[tuple[str, bool]]:
        """Each column's name, and whether it is one of numbers."""
        return [(name, bool(self.rows) and _is_number(self.rows[0][i])) for i, name in enumerate(self.columns)]

    @property
    def body(self) -> list[list[tuple[str, bool]]]:
        """Each cell as it is written, and whether it is a number."""
        return [[(_written(cell), _is_number(cell)) for cell in row] for row in self.rows]


@dataclass(frozen=True)
class Section:
    """A part of a report, and one of the findings that it begins with.

    Attributes:
        title: What it is about.
        verdict: What was found, in one sentence, "finding: the numbers behind it"; empty where there is nothing to say.
        good: Whether that is as one would wish; ``None`` where it is neither.
        text: What was computed, and how to read it; an empty line parts paragraphs.
        numbers: The few that count, by names that say their unit.
        tables: The others.
        pictures: The pictures.
        note: What was left out, and why.
    """

    title: str
    verdict: str = ""
    good: bool | None = None
    text: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    note: str = ""

    @property
    def all_tables(self) -> list[Table]:
        """The numbers that count as a table, and the others."""
        return [*([Table((), list(self.numbers.items()))] if self.numbers else []), *self.tables]

    @property
    def status(self) -> str:
        """``good`` in a word."""
        return {True: "good", False: "bad", None: "open"}[self.good]


def report(
    title: str, sections: Sequence[Section], *, subtitle: str = "", facts: Mapping[str, Any] | None = None
) -> str:
    """One HTML page without scripts or links to anything outside it; whatever it is made of is escaped.

    Args:
        title: Its title.
        sections: Its parts, in order. The verdicts of all of them stand at the top.
        subtitle: A line under the title.
        facts: Settings and versions, at the end.

    Example:
        >>> page = report("digits <3", [Section("Collapse", "not collapsed: effective rank 4.0 of 4", good=True)])
        >>> "digits &lt;3" in page, "<script" in page
        (True, False)
    """
    from jinja2 import Environment, StrictUndefined

    source = resources.files("pyro_ldm.runs").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source).render(
        title=title, subtitle=subtitle, sections=list(sections), facts=dict(facts or {}), marks=MARKS
    )


def _is_number(cell: Any) -> bool:
    return isinstance(cell, Real) and not isinstance(cell, bool)


def _written(cell: Any) -> str:
    if not _is_number(cell):
        return {True: "yes", False: "no", None: ""}.get(cell, str(cell)) if isinstance(cell, bool | None) else str(cell)
    if isinstance(cell, Integral):
        return str(cell)
    value = float(cell)
    if not math.isfinite(value):
        return "not defined" if math.isnan(value) else str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"

"""The report: one page that needs nothing else, says everything it is given, escapes it, and fits a phone."""

import html
import html.parser
import json
import re
import shutil
import subprocess

import numpy
import pandas
import pytest

from pyro_ldm.runs.report import MAX_ROWS, Picture, Section, Table, report

NASTY = "<script>alert('x')</script>\"&<img src=http://example.org/x.png onerror=alert(1)>"
LONG = "a_name_without_any_space_" * 12


class Page(html.parser.HTMLParser):
    """Tags, attributes and the text that a reader sees."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def a_picture(width=900):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 120, 3))
    FigureCanvasAgg(figure)
    figure.add_subplot().plot([0, 1], [0, 1])
    return Picture.of(figure, f"A line, {NASTY}")


def sections():
    frame = pandas.DataFrame(numpy.arange(44.0).reshape(4, 11) * 1e4, columns=[f"a column {i}" for i in range(11)])
    return [
        Section("Match", "not matched: KL 0.50 nats", good=False, text="One.\n\nTwo.", tables=[Table.of(frame, "KL")]),
        Section("Collapse", f"not collapsed: {LONG}", good=True, pictures=[a_picture(3000)]),
        Section(NASTY, f"unknown: {NASTY}", text=NASTY, tables=[Table((NASTY,), [(NASTY,)], NASTY)], note=NASTY),
        Section("No verdict", text=LONG, note="left out"),
    ]


@pytest.fixture
def page():
    return report(NASTY, sections(), subtitle=LONG, facts={"data": NASTY, NASTY: LONG, "seed": 3})


def test_everything_is_said_and_nothing_of_it_is_markup(page):
    read = Page(page)
    assert not {"script", "iframe", "object", "link", "form"} & set(read.tags)
    assert not any(name.startswith("on") for _, name, _ in read.attributes)
    assert read.tags.count("img") == 1
    assert page.count(NASTY) == 0
    assert read.text.count(NASTY) == 14  # the title twice, a caption, nine in its section, two facts
    for words in ("One. Two.", "not matched : KL 0.50 nats", "left out", LONG):
        assert words in read.text


def test_verdicts_come_first_and_lead_to_their_sections(page):
    read = Page(page)
    assert read.text.index("KL 0.50 nats") < read.text.index("One.")
    places = {value for _, name, value in read.attributes if name == "id"}
    links = [value for tag, name, value in read.attributes if (tag, name) == ("a", "href")]
    assert links == ["#section-0", "#section-1", "#section-2"] and {link[1:] for link in links} <= places


def test_nothing_is_fetched(page):
    """All addresses are pictures within the page, or places in it; a browser is told to allow no more."""
    read = Page(page)
    addresses = [value for _, name, value in read.attributes if name in ("src", "href", "action", "srcset", "poster")]
    assert addresses and all(value.startswith(("data:image/png;base64,", "#")) for value in addresses)
    style = re.search(r"<style>(.*?)</style>", page, re.S)[1]
    assert "url(" not in style and "@import" not in style
    policy = next(value for _, name, value in read.attributes if name == "content" and "default-src" in value)
    assert "default-src 'none'" in policy and "img-src data:" in policy and "script" not in policy


def test_pictures_say_what_they_show(page):
    assert [value for tag, name, value in Page(page).attributes if (tag, name) == ("img", "alt")] == [
        f"A line, {NASTY}"
    ]


def test_tables_write_numbers_for_reading():
    frame = pandas.DataFrame(
        {"value": [1234.5678, -0.01234, float("nan"), float("-inf")], "count": [3, 4, 5, 6], "good": [True] * 4},
        index=["a", "b", "c", "d"],
    )
    table = Table.of(frame, "them", index="name")
    assert [name for name, _ in table.head] == ["name", "value", "count", "good"]
    assert [[cell for cell, _ in row] for row in table.body] == [
        ["a", "1235", "3", "yes"],
        ["b", "-0.0123", "4", "yes"],
        ["c", "not defined", "5", "yes"],
        ["d", "-inf", "6", "yes"],
    ]
    assert [number for _, number in table.head] == [False, True, True, False]


def test_long_tables_say_what_is_left_out():
    table = Table.of(pandas.DataFrame({"value": range(100)}), "many")
    assert len(table.body) == MAX_ROWS == 60 and "the first 60 of 100 rows" in table.caption


def test_a_report_of_nothing():
    assert Page(report("empty", [])).text.count("empty") == 2


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
MEASURE = """<!doctype html><body style="margin:0">
<iframe id="page" src="report.html" style="border:0;width:{width}px;height:800px"></iframe>
<pre id="found"></pre><script>
addEventListener("load", () => {{
  const page = document.getElementById("page"), inside = page.contentDocument, root = inside.documentElement;
  const img = inside.querySelector("img");
  document.getElementById("found").textContent = JSON.stringify({{
    width: root.clientWidth, needed: root.scrollWidth, scripts: inside.scripts.length,
    background: page.contentWindow.getComputedStyle(inside.body).backgroundColor,
    picture: img.naturalWidth, shown: img.getBoundingClientRect().width,
    words: inside.body.innerText.includes("not matched: KL 0.50 nats"),
    fetched: page.contentWindow.performance.getEntriesByType("resource").map(entry => entry.name),
  }});
}});
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize(("width", "dark"), [(320, False), (390, True), (1280, False)])
def test_in_a_browser(page, tmp_path, width, dark):
    """Nothing sticks out sideways, wide tables and long names included; pictures are there; nothing is fetched.

    The page itself allows no script: it is measured from outside, within a frame as wide as a phone's screen.
    """
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    (tmp_path / "measure.html").write_text(MEASURE.format(width=width))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files"]
    options += [f"--user-data-dir={tmp_path}/browser", "--virtual-time-budget=2000", "--dump-dom"]
    options += ["--blink-settings=preferredColorScheme=0"] if dark else []
    command = [CHROMIUM, *options, (tmp_path / "measure.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)[1]))
    assert found["width"] == found["needed"] == width
    assert found["picture"] == 3000 and 0.8 * min(width, 900) < found["shown"] <= width
    assert found["words"] and found["scripts"] == 0
    assert all(name.startswith("data:") for name in found["fetched"])
    assert found["background"] == ("rgb(22, 25, 29)" if dark else "rgb(255, 255, 255)")

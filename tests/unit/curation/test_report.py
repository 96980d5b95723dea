"""The report of the data: its numbers add up, its page loads nothing and shows strangers' captions as text."""

from __future__ import annotations

import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from components.curation.decide import Decision
from components.curation.images import encode_png
from components.curation.report.facts import NEAR, Bound, gather
from components.curation.report.page_html import Example, Words, counted, report_page
from tests.browser import CHROMIUM, needs_chromium

pytestmark = pytest.mark.unit
EVIL = "<script>document.title='lost'</script><img src=x onerror=\"document.title='lost'\">'\" & </style>"
BOUNDS = [Bound("flat_image", "contrast", least=4.0), Bound("nsfw", "nsfw", most=0.5)]
STAGES = ("ingest", "measure", "curate")


def rows(count=300, sources=("photos", "scraped<b>")):
    """Decisions, sources and signals of rows in three shards; every tenth failed."""
    rng = np.random.default_rng(0)
    contrast, nsfw = rng.uniform(0, 40, count).tolist(), rng.uniform(0, 1, count).tolist()
    decisions = []
    for row, (c, n) in enumerate(zip(contrast, nsfw, strict=True)):
        if row % 10 == 0:
            decisions.append(Decision("failed", "broken_image", "cut short"))
        elif c < 4:
            decisions.append(Decision("dropped", "flat_image", f"contrast {c:.2f}"))
        elif n > 0.5:
            decisions.append(Decision("dropped", "nsfw", f"nsfw {n:.2f}"))
        else:
            decisions.append(Decision("kept"))
    nsfw[min(1, count - 1)] = None
    names = [sources[row % len(sources)] for row in range(count)]
    signals = {
        "contrast": contrast,
        "nsfw": nsfw,
        "words": [row % 7 for row in range(count)],
        "language": ["en"] * count,
    }
    return decisions, [f"{row * 3 // count:05d}" for row in range(count)], names, signals


def page_of(count=300, before=None):
    decisions, shards, sources, signals = rows(count)
    facts = gather(decisions, shards, sources, signals, BOUNDS, STAGES, ("flat_image", "nsfw"), before)
    picture = encode_png(np.full((40, 60, 3), 90, np.uint8))
    examples = {}
    for row in facts.shown():
        values = {name: signals[name][row] for name in ("contrast", "nsfw")}
        state, reason = decisions[row].state, decisions[row].reason
        examples[row] = Example(f"{shards[row]}/{row}", state, reason, EVIL, EVIL, (picture, b"junk"), values)
    early = {
        stage: [Example("a:1", state, reason, EVIL, EVIL)]
        for stage, state, reason in set().union(*(before or {}).values())
    }
    words = Words("Data & more", "samples", {"flat_image": "one colour"}, {"ingest": "while the source was read"})
    return facts, report_page(facts, examples, words, early)


def test_the_numbers_of_a_report_add_up():
    facts, _ = page_of()
    assert facts.total["input"] == 300 == sum(facts.flows.values())
    steps = facts.funnel()
    assert [(step.stage, step.reason) for step in steps] == [
        ("measure", "broken_image"), ("curate", "flat_image"), ("curate", "nsfw"),
    ]  # fmt: skip
    assert steps[-1].left == facts.total["kept"]
    assert sum(step.lost for step in steps) == facts.total["dropped"] + facts.total["failed"]
    contrast, nsfw, words = facts.signals
    assert len(contrast.kept) + len(contrast.lost) + facts.total["failed"] == 300 and contrast.missing == 0
    assert nsfw.missing == 1 and words.bounds == ()  # a signal that is no number is not drawn
    assert {name: counts["input"] for name, counts in facts.sources.items()} == {"photos": 150, "scraped<b>": 150}


BEFORE = {
    "photos": {("ingest", "failed", "broken_image"): 4, ("ingest", "dropped", "other_file"): 2},
    "empty": {("ingest", "failed", "no_url"): 1},
}


def test_what_was_lost_while_a_source_was_read_comes_first_and_each_source_has_a_funnel():
    facts, page = page_of(before=BEFORE)
    assert facts.total["input"] == 307 == sum(facts.flows.values()) and facts.sources["photos"]["input"] == 156
    steps = facts.funnel()
    assert [(step.stage, step.reason) for step in steps][:4] == [
        ("ingest", "other_file"), ("ingest", "broken_image"), ("ingest", "no_url"), ("measure", "broken_image"),
    ]  # fmt: skip
    assert steps[-1].left == facts.total["kept"] and steps[2].left == 300
    assert counted(facts)["ingest_broken_image"] == 301 and counted(facts)["came_in"] == 307
    for source, counts in facts.sources.items():
        own = facts.funnel(source)
        assert own[-1].left == counts["kept"] and own[0].left + own[0].lost == counts["input"]
    assert [(s.reason, s.left) for s in facts.funnel("empty")] == [("no_url", 0)]
    (table,) = re.findall(r"<section id=sources>.*?</section>", page)
    rows = [[int(n) for n in re.findall(r"<td>(\d+)</td>", row)] for row in table.split("<tr>")[2:]]
    assert len(rows) == 4 and all(came - sum(lost) == kept for came, kept, *lost in rows)
    assert rows[-1] == [sum(column) for column in zip(*rows[:-1], strict=True)]
    assert "lost in ingest" in page and "while the source was read" in page and "a:1" in page


def test_the_examples_of_a_threshold_are_the_nearest_on_its_two_sides():
    decisions, shards, sources, signals = rows()
    facts = gather(decisions, shards, sources, signals, BOUNDS, STAGES)
    bound, good, bad = facts.signals[0].near[0]
    readable = [v for v, d in zip(signals["contrast"], decisions, strict=True) if d.state != "failed"]
    assert bound.reason == "flat_image" and len(good) == len(bad) == NEAR
    assert [signals["contrast"][row] for row in good] == sorted(v for v in readable if v >= 4)[:NEAR]
    assert [signals["contrast"][row] for row in bad] == sorted((v for v in readable if v < 4), reverse=True)[:NEAR]


def test_a_page_loads_nothing_and_shows_captions_as_text():
    _, page = page_of()

    class Reader(HTMLParser):
        def __init__(self):
            super().__init__()
            self.tags, self.links = set(), []

        def handle_starttag(self, tag, attrs):
            self.tags.add(tag)
            self.links += [value for name, value in attrs if name in ("src", "href")]
            assert not [name for name, _ in attrs if name.startswith("on")]

    reader = Reader()
    reader.feed(page)
    assert not reader.tags & {"script", "link", "iframe", "object", "b1"}
    assert all(link.startswith(("data:image/webp;base64,", "#")) for link in reader.links)
    assert "&lt;script&gt;" in page and "scraped&lt;b&gt;" in page and "url(" not in page


def test_a_report_of_one_row_and_of_the_same_values_is_a_page_too():
    for count in (1, 2, 11):
        facts, page = page_of(count)
        assert page.endswith("</html>") and "nan" not in re.sub(r"base64,[^\"]*", "", page)
        assert facts.total["input"] == count


def test_a_page_is_the_same_every_time():
    assert page_of()[1] == page_of()[1]


@needs_chromium
@pytest.mark.parametrize(("width", "theme"), [(1200, "light"), (360, "dark")])
def test_a_browser_shows_the_page_in_light_and_dark_wide_and_on_a_phone(tmp_path, width, theme):
    from PIL import Image

    (tmp_path / "sheet.html").write_text(page_of(before=BEFORE)[1], "utf-8")
    # A frame gives the page a phone's width: a window of headless Chromium is never so narrow.
    (tmp_path / "frame.html").write_text(
        f"<body style='margin:0'><iframe src=sheet.html style='border:0;width:{width}px;height:3000px'></iframe>"
        "<script>onload=()=>{const d=document.querySelector('iframe').contentDocument,e=d.scrollingElement;"
        "document.title=[d.title,e.scrollWidth,d.querySelectorAll('script').length,"
        "[...d.images].filter(i=>i.naturalWidth>0).length,d.querySelectorAll('svg').length,"
        "Math.max(...[...d.querySelectorAll('.funnel')].map(e=>e.scrollWidth-e.clientWidth))].join('|')}</script>"
    )
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
               "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}",
               f"--window-size={max(width, 500)},3000",
               *(["--force-dark-mode"] if theme == "dark" else [])]  # fmt: skip
    picture = tmp_path / "shot.png"
    page = (tmp_path / "frame.html").as_uri()
    dumped = subprocess.run([*command, "--dump-dom", page], capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", dumped.stdout)
    assert title, dumped.stdout[-500:]
    name, wide, scripts, pictures, figures, cut = title[1].replace("&amp;", "&").rsplit("|", 5)
    assert name == "Data & more: report of the data" and scripts == "0"
    assert int(wide) <= width and int(cut) <= 0  # nothing hangs over the edge, no funnel is cut
    assert int(pictures) > 20 and int(figures) == 4  # flows, two thresholds, one other signal
    subprocess.run([*command, f"--screenshot={picture}", page], capture_output=True, timeout=120, check=True)
    shot = np.asarray(Image.open(picture).convert("RGB"))
    assert shot[5, 5].mean() > 200 if theme == "light" else shot[5, 5].mean() < 60
    assert Path(picture).stat().st_size > 20_000 and len(np.unique(shot.reshape(-1, 3), axis=0)) > 50

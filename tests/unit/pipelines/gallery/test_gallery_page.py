"""The page of a run shows what there is, says what it leaves out, and lets nothing of a caption become code."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pipelines.gallery.run_page
from components.curation.report.facts import Step
from components.curation.report.page_html import funnel_list
from components.curation.report.sample_report import WORDS
from pipelines.gallery.run_page import gallery_page
from pipelines.store.runs import Run, StageState
from pipelines.workflow.launch import _log_page
from pipelines.workflow.report import report
from tests.unit.pipelines.gallery.whole_run import EVIL, ORDER, commit, picture_rows, png, whole_run

pytestmark = pytest.mark.unit
VOID = ("meta", "img", "input", "br")


class Page(HTMLParser):
    """Every element of a page with its attributes and its text, and all text that is no script or style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {[name for name, *_ in self._open]}"

    def handle_starttag(self, tag, attrs):
        element = (tag, dict(attrs), [])
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag):
        if tag not in ("path", "rect") or self._open[-1][0] == tag:
            assert self._open.pop()[0] == tag

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_data(self, data):
        for element in self._open:
            element[2].append(data)

    def all(self, tag: str, kind: str = "") -> list[tuple[dict[str, str | None], str]]:
        """Attributes and text of elements, of one class where it is named."""
        found = [(about, " ".join(words)) for name, about, words in self.elements if name == tag]
        return [(a, " ".join(t.split())) for a, t in found if not kind or kind in (a.get("class") or "").split()]


def page_of(store, run) -> str:
    return gallery_page(store, run, report(store, run))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return whole_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def text(made) -> str:
    return page_of(*made)


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_a_page_tells_what_ran_and_what_was_cached(page):
    rows = page.all("li", "cached") + page.all("li", "done")
    assert len(rows) == len(ORDER) and len(page.all("li", "cached")) == 4
    assert any(words.startswith("ingest cached made by run 20261120-090000-000 in 0:12") for _, words in rows)
    assert any(words.startswith("train_editor 6:40, 400 steps") for _, words in rows)
    assert any("kept 450 of 500 samples" in words and "(champion)" in words for _, words in page.all("p"))


def test_a_page_shows_the_funnel_of_curation(page):
    steps = [words for _, words in page.all("ol", "funnel")]
    assert len(steps) == 1 and re.search(
        r"lost in ingest.*no image.*480 −20.*lost in curate.*flat image.*450 −30", steps[0]
    )
    assert any("Drawings by the test, CC0" in words for _, words in page.all("p"))


def test_a_page_shows_prompts_and_edits_with_verdicts(page):
    cards = page.all("figure", "card")
    verdicts = [about["data-verdict"] for about, _ in cards if "data-verdict" in about]
    assert len(verdicts) == 36 + 1 + 16
    assert (verdicts.count("right"), verdicts.count("wrong"), verdicts.count("none")) == (24 + 8, 12 + 8, 1)
    edit = next(words for _, words in cards if "case 1" in words)
    assert re.match(r"source result truth ✗ wrong remove paint the square red, case 1", edit)
    strips = [words for _, words in page.all("div", "strip")]
    assert len(strips) == 4 and strips[0] == "2,560 samples · wrong 5,120 samples · right 10,240 samples · right truth"


def test_a_page_shows_figures_with_interval_chance_and_ceiling_and_says_what_is_absent(page):
    rows = [words for _, words in page.all("tr")]
    assert any(words.startswith("overall 0.620 0.550 – 0.690 0.050 0.970") for words in rows)
    assert any(words.startswith("success 0.480 0.390 – 0.570 0.010 0 0.990") for words in rows)
    assert any(words.startswith("psnr 24.10 – – 15.20 31") for words in rows)
    assert any(words.startswith("frechet dinov2 143.20 – – 21.50") and "less is better" in words for words in rows)
    assert "editing.lpips weights.lpips names no file: set evaluate_generator.judges.reference.lpips" in rows
    guidance = [row for row in rows if re.match(r"(1|2\.5|10) 0\.\d+$", row)]
    assert guidance == ["1 0.310", "2.5 0.620", "10 0.550"]  # as numbers, not as words


def test_a_page_shows_the_lineage_and_the_versions(page):
    boxes = [words for _, words in page.all("g")]
    assert len(boxes) == len(ORDER) + 2  # a source and a version
    assert any("pixsem-generator/1" in words and "champion" in words for words in boxes)
    assert any(words.startswith("models:/pixsem-generator/1 champion") for _, words in page.all("tr"))


def test_a_page_says_what_it_leaves_out(text, page, made):
    (left,) = [words for _, words in page.all("section") if words.startswith("Not on this page")]
    assert "19 of 31 sample grids of train_generator" in left
    small = Run("r0", "tiny", state="completed", asked=[])
    assert "Nothing was left out." in page_of(made[0], small)


def test_a_page_is_the_same_every_time_and_names_no_password(made, text):
    assert page_of(*made) == text
    assert "secret" not in text and "…@there" in text


def test_hostile_captions_stay_text(tmp_path):
    text = page_of(*whole_run(tmp_path, words=EVIL))
    page = Page(text)
    scripts = page.all("script")
    assert [about.get("type") for about, _ in scripts] == ["application/json", None, None]
    assert not [name for _, about, _ in page.elements for name in about if name.startswith("on")]
    sources = [about["src"] or "" for about, _ in page.all("img")]
    assert len(sources) > 100 and all(source.startswith("data:image/webp;base64,") for source in sources)
    assert not [a for _, a, _ in page.elements if re.match(r"(https?|javascript|file|//)", a.get("href") or "")]
    plain = " ".join(EVIL.split())
    assert any(plain in words for _, words in page.all("span", "prompt"))
    assert any(plain in words for _, words in page.all("option"))  # a category
    assert any(plain in words for _, words in page.all("dd"))  # a note of a judge
    assert "{{" in EVIL and "49" not in re.findall(r"& ?(\d+)", text)  # a caption is no template either
    (policy,) = [a["content"] or "" for a, _ in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    raw = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in raw]
    assert policy.endswith("script-src " + " ".join(f"'sha256-{each}'" for each in hashes))
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy.split("script-src")[1]


def test_a_hostile_reason_in_the_funnel_stays_text():
    steps = [Step("curate", "dropped", EVIL, 1, 2)]
    assert not [
        n for n, *_ in Page(funnel_list(steps, {"input": 3, "kept": 2}, WORDS, {})).elements if n in ("script", "img")
    ]


def test_the_plots_are_drawn_by_the_published_library_with_its_licence():
    folder = Path(pipelines.gallery.run_page.__file__).parent / "uplot"
    script = (folder / "uPlot.iife.min.js").read_bytes()  # of uplot-1.6.32.tgz on npm
    assert hashlib.sha256(script).hexdigest() == "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"
    assert "MIT License" in (folder / "LICENSE").read_text("utf-8")


def test_curves_reach_the_plots_whole(page):
    (data,) = [words for about, words in page.all("script") if about.get("type")]
    found = {curve["stage"]: curve for curve in json.loads(data)}
    assert list(found) == ["train_encoder", "train_generator", "train_editor", "share exactly right"]
    assert found["train_editor"]["plots"]["loss and validation loss"] == ["loss", "validation_loss"]
    assert found["train_editor"]["steps"][-1] == 400 and found["train_editor"]["figures"]["loss"][0] == 0.5
    assert found["share exactly right"]["figures"]["overall"] == [0.0, 0.5, 1.0]


def test_an_evaluation_of_before_single_pictures_shows_its_grids_and_says_so(tmp_path):
    page = Page(page_of(*whole_run(tmp_path, rows=[])))
    assert any("kept no single pictures" in words for _, words in page.all("p", "note"))
    words = [words for _, words in page.all("figure", "sheet")]
    assert any("Prompts and what was made of them" in each for each in words)
    assert any("Source, result and truth" in each for each in words)
    assert len(page.all("figure", "bare")) == 36 + 1 + 16


def test_a_page_stays_below_ten_megabytes(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (192, 192, 3), np.uint8)
    loud = png(Image.fromarray(noise))
    rows = [row | {"picture": loud} for row in picture_rows(400, 120)]
    rows = [row | ({"source": loud, "truth": loud} if row["kind"] == "edit" else {}) for row in rows]
    text = page_of(*whole_run(tmp_path, rows=rows))
    assert 3e6 < len(text.encode()) < 10e6
    page = Page(text)
    verdicts = {
        (a["data-split"], a["data-category"], a["data-verdict"]) for a, _ in page.all("figure") if "data-split" in a
    }
    assert len(verdicts) == 4 + 1 + 2  # some of each, however few fit
    (left,) = [words for _, words in page.all("section") if words.startswith("Not on this page")]
    assert re.search(r"\d+ of 401 judged prompts", left) and re.search(r"\d+ of 120 judged edits", left)


def test_a_damaged_picture_is_said_and_the_page_is_made(tmp_path):
    store, run = whole_run(tmp_path)
    (path,) = tmp_path.glob("store/artifacts/evaluate_tokenizer/*/reconstructions.png")
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    text = page_of(store, run)
    assert "reconstructions.png: content changed (sha256 differs)" in text and 'id="prompts"' in text


def test_a_run_that_failed_early_has_a_page_that_says_why(tmp_path):
    store, _run = whole_run(tmp_path)
    early = Run("20261129-130000-000", "demo", state="failed", asked=["preset=demo"])
    commit(store, early, "ingest", {}, fingerprint="a" * 24)
    early.stages["measure"] = StageState("failed", "b" * 24, seconds=3.0, error="the disk is full: make room")
    early.stages["curate"] = StageState("skipped", error="its input measure did not come about")
    page = Page(page_of(store, early))
    assert any("the disk is full: make room" in words for _, words in page.all("li", "failed"))
    assert not page.all("form") and not page.all("article", "plot")
    assert len(page.all("g")) == 2 and any(words == "Not made yet: measure, curate." for _, words in page.all("p"))


def test_a_page_that_cannot_be_made_is_said_and_fails_no_run(tmp_path, capsys):
    store, run = whole_run(tmp_path)
    (path,) = tmp_path.glob("store/artifacts/curate/*/manifest.json")
    path.write_text(path.read_text().replace("450", "451"))
    _log_page(None, store, run)  # it ends before it logs anything
    told = capsys.readouterr().err
    assert "the page of the run was not logged" in told and f"pixsem report {run.id} --html --store" in told

"""A run's page in a browser: what a person sees, wide and on a phone, light and dark, and what the filters do. And the
page of a real run: by the command line, and in MLflow.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.gallery.run_page import gallery_page
from pipelines.workflow.report import report
from tests.browser import CHROMIUM, needs_chromium
from tests.unit.pipelines.gallery.whole_run import EVIL, ORDER, whole_run

pytestmark = pytest.mark.integration
HEIGHT = 3000
# Drives the page from the frame around it, as a person would, and keeps what is to be seen then.
DRIVER = """
onload = async () => {
  const page = document.querySelector("iframe").contentDocument, found = {};
  const all = (what, at = page) => [...at.querySelectorAll(what)];
  const seen = what => all(what).filter(e => e.offsetParent !== null);
  const pause = () => new Promise(done => setTimeout(done, 50));
  const set = async (form, name, value) => {
    const input = form.elements[name];
    input.value = value;
    input.dispatchEvent(new Event("input", {bubbles: true}));
    await pause();
  };
  await pause();
  found.title = page.title;
  found.width = page.scrollingElement.scrollWidth;
  found.cut = Math.max(...all(".timeline, .cards, .plots").map(e => e.scrollWidth - e.clientWidth));
  found.broken = all("img").filter(i => i.complete && !i.naturalWidth).length;
  found.stages = seen(".timeline li").length;
  const colours = c => new Set(c.getContext("2d").getImageData(0, 0, c.width, c.height).data).size;
  found.curves = all(".plot canvas").filter(c => colours(c) > 8).length;
  const [prompts, edits] = all("form.filters");
  const counted = form => form.querySelector("output").textContent;
  found.prompts = [seen("#prompts-cards > figure").length, counted(prompts)];
  await set(prompts, "verdict", "wrong");
  found.wrong = [seen("#prompts-cards > figure").length, counted(prompts), seen("#prompts-cards b.right").length];
  await set(prompts, "category", all("select[name=category] option", prompts)[1].value);
  found.category = counted(prompts);
  await set(prompts, "words", "RED number 1");
  found.search = [counted(prompts), seen("#prompts-cards .prompt").map(e => e.textContent.slice(0, 22))];
  await set(prompts, "words", "no such words");
  found.nothing = [counted(prompts), seen("#prompts .nothing").length];
  prompts.querySelector("button").click();
  await pause();
  found.reset = [counted(prompts), seen("#prompts .nothing").length];
  await set(edits, "verdict", "right");
  found.edits = [counted(edits), seen("#edits-cards > figure:not([hidden]) img").length];
  const stepper = all(".stepper")[0], range = stepper.querySelector("input");
  found.last = [seen(".stepper:first-of-type figure").length, stepper.querySelector("output").textContent];
  range.value = 0;
  range.dispatchEvent(new Event("input"));
  found.first = stepper.querySelector("output").textContent;
  const plot = all(".plot")[0], before = plot.querySelector("canvas").toDataURL();
  plot.querySelector("select").value = "l1";
  plot.querySelector("select").dispatchEvent(new Event("change"));
  await pause();
  found.redrawn = plot.querySelector("canvas").toDataURL() !== before && all(".u-label", plot).map(e => e.textContent);
  found.keyboard = all("select, input, button, summary, nav a").filter(e => e.tabIndex < 0).length;
  found.unnamed = all("select, input").filter(e => !e.labels.length).length;
  document.title = JSON.stringify(found);
};
"""


def shown(folder: Path, page: str, width: int, dark: bool) -> tuple[dict, np.ndarray]:
    """Open a page in a frame of a phone's or a desk's width; return what `DRIVER` found, and a picture of its top."""
    (folder / "page.html").write_text(page, "utf-8")
    (folder / "frame.html").write_text(
        f"<meta charset=utf-8><body style='margin:0'><iframe src=page.html style='border:0;width:{width}px;"
        f"height:{HEIGHT}px'></iframe><script>{DRIVER}</script>"
    )
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
               "--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000",
               f"--window-size={max(width, 500)},{HEIGHT}", *(["--force-dark-mode"] if dark else [])]  # fmt: skip
    address = (folder / "frame.html").as_uri()
    dumped = subprocess.run([*command, "--dump-dom", address], capture_output=True, text=True, timeout=240, check=True)
    title = re.search(r"<title>(.*?)</title>", dumped.stdout, re.DOTALL)
    assert title, dumped.stdout[-500:]
    picture = folder / "shot.png"
    subprocess.run([*command, f"--screenshot={picture}", (folder / "page.html").as_uri()], capture_output=True,
                   timeout=240, check=True)  # fmt: skip
    return json.loads(title[1].replace("&amp;", "&")), np.asarray(Image.open(picture).convert("RGB"))


@needs_chromium
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, True)])
def test_a_person_sees_the_run_and_finds_pictures_by_verdict_category_and_words(tmp_path, width, dark):
    store, run = whole_run(tmp_path)
    found, shot = shown(tmp_path, gallery_page(store, run, report(store, run)), width, dark)
    assert found["title"] == f"pixsem run {run.id}"
    assert found["width"] <= width and found["cut"] <= 0 and found["broken"] == 0
    assert found["stages"] == len(ORDER) and found["curves"] == 4
    assert found["prompts"] == [37, "37 of 37 shown"]
    assert found["wrong"] == [12, "12 of 37 shown", 0]
    assert found["category"] == "6 of 37 shown"
    assert found["search"] == ["1 of 37 shown", ["a red circle number 12"]]
    assert found["nothing"] == ["0 of 37 shown", 1] and found["reset"] == ["37 of 37 shown", 0]
    assert found["edits"] == ["8 of 16 shown", 24]
    assert found["last"] == [1, "step 155"] and found["first"] == "step 5"
    assert found["redrawn"] == ["step", "l1"]
    assert found["keyboard"] == 0 and found["unnamed"] == 0
    assert shot[5, 5].mean() < 60 if dark else shot[5, 5].mean() > 200


@needs_chromium
def test_neither_a_caption_nor_a_script_that_got_in_runs(tmp_path):
    store, run = whole_run(tmp_path, words=EVIL)
    page = gallery_page(store, run, report(store, run))
    hole = "<script>document.title='lost'</script><img src=x onerror=\"document.title='lost'\">"
    found, _ = shown(tmp_path, page.replace("</main>", f"{hole}</main>"), 1200, False)
    assert found["title"] == f"pixsem run {run.id}"  # the page's own policy lets neither run
    assert found["prompts"] == [37, "37 of 37 shown"] and found["curves"] == 4


def test_a_run_logs_its_page_and_the_command_line_makes_it(finished, tmp_path):
    page = tmp_path / "page.html"
    told = finished.json("report", "--html", "--out", str(page))
    assert told["page"] == str(page) and told["bytes"] == page.stat().st_size < 10e6
    text = page.read_text("utf-8")
    assert f"run {told['run']} " in text and "synthesize_edits" in text and "lost in curate" in text
    first = json.loads(min(finished.store.glob("runs/*/run.json")).read_text())  # later ones may be fully cached
    (logged,) = finished.store.glob(f"mlartifacts/**/{first['mlflow_run']}/artifacts/report.html")
    assert "lost in curate" in logged.read_text("utf-8")
    assert "--html" in finished("report", "--out", "x.html", code=2).stderr

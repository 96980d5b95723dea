"""The README's picture of the page: a store's champion behind the real service, looked at in headless Chromium.

`python -m tests.benchmarks.serve_picture [STORE]` writes `tests/results/serve.png`: pictures of three of the page's own
examples on a wide light page, and an edit of the last by an example on a dark phone. Seeds are fixed.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from pipelines.serve.limits import Limits
from pipelines.serve.start import MODEL, started
from tests.browser import Browser
from tests.ports import free_port

PROMPTS, INSTRUCTION = (3, 6, 5), 2  # which of the page's examples
WIDE, PHONE, HEIGHT = 880, 380, 860  # CSS pixels
GAP = 20
PAPER = (200, 203, 206)
COLOURS = 256
MADE = "document.querySelectorAll('.tile .open:enabled').length"


def look(browser: Browser) -> Image.Image:
    """Return what is seen, once nothing moves any longer."""
    time.sleep(0.5)
    return Image.open(io.BytesIO(browser.picture())).convert("RGB")


def main() -> None:
    store = sys.argv[1] if len(sys.argv) > 1 else "./store"
    with (
        started(MODEL, store, Limits(port=free_port())) as service,
        tempfile.TemporaryDirectory() as profile,
        Browser(Path(profile)) as browser,
    ):
        browser.call("Emulation.setScrollbarsHidden", hidden=True)
        browser.size(WIDE, HEIGHT)
        browser.open(f"{service.url}/")
        for form, number, wanted in (*(("#ask", number, 0) for number in PROMPTS), ("#change", INSTRUCTION, 2)):
            if form == "#change":
                browser.ask("document.activeElement.blur()")
                wide = look(browser)
                browser.size(PHONE, HEIGHT, dark=True)
                browser.click(".tile .open")
            browser.click(f"{form} .chip:nth-child({number})")
            browser.ask(f"document.querySelector('{form} [name=seed]').value = 1")
            before = browser.ask(MADE)
            browser.press("Enter", "\r")
            browser.until(
                f"document.querySelectorAll('#editor .step').length === {wanted}"
                if wanted
                else f"{MADE} > {before + 3}"
            )
        browser.ask("document.activeElement.blur(), document.querySelector('#editor').scrollTo(0, 0)")
        phone = look(browser)
    both = Image.new("RGB", (WIDE + GAP + PHONE, HEIGHT), PAPER)
    both.paste(wide, (0, 0))
    both.paste(phone, (WIDE + GAP, 0))
    target = Path(__file__).parents[1] / "results" / "serve.png"
    both.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

"""The page in a real browser, before the real service: made, edited, undone, dropped, asked for a key, on a phone."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image

from tests.browser import Browser, needs_chromium

pytestmark = [pytest.mark.integration, needs_chromium]
MADE = "document.querySelectorAll('.tile .open:enabled').length"
SHOWN = "document.querySelector('#editor .after').src"
OPEN = "document.querySelector('#editor').open"
SIDEWAYS = (
    "[document.documentElement, ...document.querySelectorAll('dialog[open]')].some(e => e.scrollWidth > e.clientWidth)"
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def person(chromium, served):
    """A person who opened the page. In the end it asked no other host for anything, and complained of nothing."""
    tab = chromium.another()
    tab.size(1200, 900)
    arrive(tab, served.url)
    yield tab
    tab.ask("1")  # hears what is left
    asked = [url for url in tab.requested if not url.startswith(("data:", "about:", f"{served.url}/"))]
    assert asked == [] and tab.complaints == []


def arrive(tab, url):
    tab.open(f"{url}/")
    tab.until("document.querySelectorAll('#prompts .chip').length")


def count(tab, number):
    tab.click(f"#ask input[value='{number}']")


def ask(tab, words, number=1):
    """Write words into the box of prompts, and press Enter."""
    count(tab, number)
    tab.click("#prompt")
    tab.ask("document.querySelector('#prompt').select()")
    tab.write(words)
    tab.press("Enter", "\r")


def edit(tab, words):
    steps = tab.ask("document.querySelectorAll('#editor .step').length") or 1
    tab.click("#instruction")
    tab.write(words)
    tab.press("Enter", "\r")
    tab.until(f"document.querySelectorAll('#editor .step').length === {max(2, steps + 1)}")


def text_of(tab, selector):
    return tab.ask(f"document.querySelector({json.dumps(selector)}).textContent")


def picture(address):
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def test_an_example_is_clicked_made_with_its_settings_and_survives_a_reload(person):
    person.click("#prompts .chip")
    assert person.ask("document.querySelector('#prompt').value") == "a red circle on the left"
    person.click("#ask .settings-button")
    assert person.ask("document.querySelector('#ask [name=steps]').placeholder") == "3"  # the model's own
    person.click("#ask [name=seed]")
    person.write("7")
    count(person, 2)
    person.click("#ask [type=submit]")
    person.until(f"{MADE} === 2")
    assert person.ask("document.querySelectorAll('.tile .meter:not([hidden])').length") == 0
    assert "2 of 2 is ready" in text_of(person, "#live")
    person.click(".tile:nth-child(2) .open")
    person.until(OPEN)
    kept = picture(person.ask("document.querySelector('#editor .download').href"))
    assert kept.size == (32, 32) and "8" in kept.text.values() and "a red circle on the left" in kept.text.values()
    assert "Seed8" in text_of(person, "#editor .facts")
    name = person.ask("document.querySelector('#editor .download').download")
    assert name == "a-red-circle-on-the-left-8.png"
    person.press("Escape")
    person.until(f"!{OPEN}")
    assert "picture 2" in person.ask("document.activeElement.ariaLabel")  # the focus is where it was
    person.call("Page.reload")
    person.until(f"{MADE} === 2")
    person.click("#version")
    person.until("document.querySelector('#card img')?.naturalWidth > 0")
    assert "A tiny model" in text_of(person, "#card .paper")


def test_edits_are_compared_undone_and_done_again_by_the_keyboard(person):
    ask(person, "a red circle")
    person.until(f"{MADE} === 1")
    person.click(".tile .open")
    person.until(f"{OPEN} && document.activeElement.id === 'instruction'")
    first = person.ask(SHOWN)
    edit(person, "make it blue")
    second = person.ask(SHOWN)
    edit(person, "make it green")
    third = person.ask(SHOWN)
    assert len({first, second, third}) == 3
    assert text_of(person, "#editor h2") == "a red circle → make it blue → make it green"
    assert person.ask("document.querySelector('#editor .before').src") == second
    person.ask("document.querySelector('#editor .slider').focus()")
    person.press("ArrowRight")
    assert person.ask("document.querySelector('.slider').ariaValueText") == "51 % before, 49 % after"
    assert person.ask("document.querySelector('.stage').style.getPropertyValue('--at')") == "51%"
    for shift, wanted in ((0, second), (0, first), (0, first), (8, second), (8, third)):
        person.press("z", modifiers=2 | shift)
        assert person.ask(SHOWN) == wanted
    person.click("#editor .undo")
    edit(person, "turn it")  # from the second step: the third stays among the steps
    assert text_of(person, "#editor h2") == "a red circle → make it blue → turn it"
    assert person.ask("document.querySelectorAll('#editor .step').length") == 4
    assert person.ask("document.querySelector('.tile .said').textContent") == "3 edits"


def give(tab, data, how):
    """Drop or paste a file."""
    told = "{bubbles: true, cancelable: true, dataTransfer: d, clipboardData: d}"
    kinds = {"drop": ("Drag", ["dragenter", "dragover", "drop"]), "paste": ("Clipboard", ["paste"])}
    tab.ask(
        f"(d => {{ d.items.add(new File([Uint8Array.from(atob('{base64.b64encode(data).decode()}'), "
        "c => c.charCodeAt(0))], 'cat.jpg', {type: 'image/jpeg'})); "
        f"for (const kind of {kinds[how][1]}) "
        f"document.querySelector('main').dispatchEvent(new {kinds[how][0]}Event(kind, {told})) }})(new DataTransfer())"
    )


def test_a_persons_own_picture_is_dropped_or_pasted_shown_as_its_middle_square_and_edited(person):
    file = io.BytesIO()
    Image.new("RGB", (900, 600), (200, 30, 30)).save(file, "JPEG")
    for how in ("drop", "paste"):
        give(person, file.getvalue(), how)
        person.until(OPEN)
        shown = picture(person.ask(SHOWN))
        assert shown.size == (512, 512) and shown.convert("RGB").getpixel((9, 9))[0] > 150
        edit(person, "make it blue")
        assert picture(person.ask(SHOWN)).size == (32, 32)
        person.press("Escape")
        person.until(f"!{OPEN}")
    give(person, b"no picture", "drop")
    person.until("document.querySelector('#own-problem').textContent")
    assert "cat.jpg is not a picture that this browser can read" in text_of(person, "#own-problem")
    assert not person.ask(OPEN)


def test_two_people_at_once_get_their_own_pictures_alone(person, chromium, served):
    other = chromium.another()
    arrive(other, served.url)
    for tab, words, number in ((person, "a red circle", 4), (other, "a blue square", 2)):
        ask(tab, words, number)
    for tab, words, number in ((person, "a red circle", 4), (other, "a blue square", 2)):
        tab.until(f"{MADE} === {number}")
        assert tab.ask("[...document.querySelectorAll('.group h2')].map(h => h.textContent)") == [words]
    assert other.complaints == []


def test_stop_ends_what_is_on_its_way_and_says_so_where_the_picture_would_be(person):
    person.click("#ask .settings-button")
    person.click("#ask [name=steps]")
    person.write("250")
    ask(person, "a red circle")
    person.until("/Step \\d/.test(document.querySelector('.tile .said').textContent)")
    person.click("#ask .stop")
    person.until("document.querySelector('.tile .said').textContent === 'Stopped.'")
    assert person.ask("document.querySelector('#ask .stop').hidden") and person.ask(MADE) == 0
    person.click(".tile .link")
    assert person.ask("document.querySelectorAll('.group').length") == 0


def test_mistakes_are_said_beside_their_cause_and_a_lost_server_is_said_until_it_is_back(person):
    ask(person, "x" * 4_001)
    person.until("document.querySelector('#ask-problem').textContent")
    assert "prompt is 4,001 characters" in text_of(person, "#ask-problem")
    assert person.ask("document.querySelector('#prompt').ariaInvalid") == "true"
    assert person.ask("document.querySelectorAll('.tile').length") == 0
    assert "400" in person.complaints.pop()  # Chromium's own line on the answer
    gone = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    person.call("Network.emulateNetworkConditions", offline=True, **gone)
    ask(person, "a red circle")
    person.until("!document.querySelector('#banner').hidden")
    assert "The server does not answer" in text_of(person, "#banner")
    person.call("Network.emulateNetworkConditions", offline=False, **gone)
    person.until("document.querySelector('#banner').hidden")
    person.click(".tile.failed .quiet")  # try again
    person.until(f"{MADE} === 1")
    assert all("ERR_INTERNET_DISCONNECTED" in line for line in person.complaints)
    person.complaints.clear()


def test_a_busy_server_is_waited_for_and_waiting_can_be_stopped(person, served):
    with served.front(held_bytes=1) as url:  # each body is one too many: 429 with Retry-After
        arrive(person, url)
        ask(person, "a red circle")
        person.until("/The server is busy. Next try in \\d s./.test(document.querySelector('.tile .said').textContent)")
        person.click("#ask .stop")
        person.until("document.querySelector('.tile .said').textContent === 'Stopped.'")
    assert "429" in person.complaints.pop() and not person.complaints


def test_the_key_is_asked_for_until_it_is_the_right_one_and_kept_in_the_tab(person, served):
    with served.front(api_key="a secret") as url:
        arrive(person, url)
        ask(person, "a red circle")
        for given in ("wrong", "a secret"):
            person.until("document.querySelector('#key').open && document.activeElement.id === 'secret'")
            person.write(given)
            person.press("Enter", "\r")
            if given == "wrong":
                person.until("document.querySelector('#key-problem').textContent === 'This key was refused.'")
        person.until(f"{MADE} === 1")
        person.call("Page.reload")
        person.until("document.querySelectorAll('#prompts .chip').length")
        ask(person, "a blue square")
        person.until(f"{MADE} === 2")  # without a question
        assert not person.ask("document.querySelector('#key').open")
    assert len(person.complaints) == 2 and all("401" in line for line in person.complaints)
    person.complaints.clear()


def test_nothing_is_wider_than_a_phone_and_dark_is_dark(person):
    person.size(360, 740, dark=True)
    assert not person.ask(SIDEWAYS)
    person.click("#ask .settings-button")
    ask(person, "a red circle with quite a long description that has to be broken", 4)
    person.until(f"{MADE} === 4")
    assert not person.ask(SIDEWAYS)
    person.click(".tile .open")
    person.until(OPEN)
    edit(person, "make it blue")
    assert not person.ask(SIDEWAYS)
    red, green, blue = Image.open(io.BytesIO(person.picture())).convert("RGB").getpixel((2, 700))
    assert max(red, green, blue) < 60

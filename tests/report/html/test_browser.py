"""The HTML report in a real browser: it opens without network, plays, seeks, sorts, filters, and fits a phone."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.report.html.kit import HOP_S, HOSTILE, MADE, frames, page, scored, unscored
from tests.signals import speechlike, write

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
REQUIRED = os.environ.get("MTQSCORE_REQUIRE_BROWSER") == "1"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
WAIT_S = 5.0
PHONE, DESK = {"width": 320, "height": 640}, {"width": 1280, "height": 900}

pytestmark = pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="no Chromium on this machine")


@dataclass
class Events:
    """Console, requests and dialogs of a page."""

    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def assert_quiet(self) -> None:
        assert (self.console, self.dialogs) == ([], [])
        assert [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, "MTQSCORE_REQUIRE_BROWSER is set, and there is no Chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 rows, hostile names among them; the worst has a bad second at 3 s, another is an excerpt of 90 s."""
    folder = tmp_path_factory.mktemp("report")
    curve = np.full(int(6 / HOP_S) + 1, 4.0)
    curve[int(3 / HOP_S) : int(4 / HOP_S)] = 1.2
    curve[10:40] = np.nan
    worst = write(folder / '"><img src=x onerror=alert(1)>.wav', speechlike(6.0))
    long = write(folder / "long.flac", speechlike(90.0, 8_000), 8_000)
    dip = np.full(int(90 / HOP_S) + 1, 3.0)
    dip[int(60 / HOP_S) : int(61 / HOP_S)] = 1.5
    rows = [
        scored(str(worst), 1.1, 6.0, frames=frames(curve)),
        scored(str(long), 1.2, 90.0, sample_rate_hz=8_000, frames=frames(dip)),
        *(scored(name, 1.3) for name in HOSTILE),
        *(unscored(name, reason=name) for name in HOSTILE),
        *(scored(f"plain/{index}.wav", 2 + index / 50) for index in range(122)),
    ]
    file = folder / "report.html"
    file.write_text(page(rows, MADE, gates=("g>=2.5", "mean(s)>=1.1")), encoding="utf-8", errors="backslashreplace")
    return file


@contextmanager
def opened(browser: Browser, report: Path, **options: Any) -> Iterator[tuple[Page, Events]]:
    context = browser.new_context(**{"viewport": DESK, **options})
    tab, events = context.new_page(), Events()
    tab.set_default_timeout(5_000)
    tab.on("console", lambda message: events.console.append(message.text))
    tab.on("pageerror", lambda error: events.console.append(str(error)))
    tab.on("request", lambda request: events.requests.append(request.url))
    tab.on("dialog", lambda dialog: (events.dialogs.append(dialog.message), dialog.dismiss()))
    tab.goto(report.as_uri())
    yield tab, events
    context.close()


def wait_until(tab: Page, expression: str) -> None:
    """Wait for an expression to hold; the page's own policy forbids what the browser driver would do for that."""
    end = time.monotonic() + WAIT_S
    while not tab.evaluate(expression):
        assert time.monotonic() < end, expression
        tab.wait_for_timeout(20)


def open_player(tab: Page, which: int = 0) -> Locator:
    player: Locator = tab.locator("details.recording").nth(which)
    player.locator("summary").click()
    player.locator(".slider").wait_for()
    if player.locator("audio").count():
        wait_until(
            tab, f"document.querySelectorAll('details.recording')[{which}].querySelector('audio').readyState > 0"
        )
    return player


def column(tab: Page, number: int) -> list[str]:
    texts: list[str] = tab.locator(f"#table tbody tr > :nth-child({number})").all_inner_texts()
    return texts


def test_it_opens_quietly_whatever_the_names(browser: Browser, report: Path) -> None:
    with opened(browser, report) as (tab, events):
        for which in range(tab.locator("details.recording").count()):
            open_player(tab, which)
        assert tab.locator("img").count() == 2, "the two spectrograms, and nothing that a name brought"
        assert all(tab.evaluate("[...document.images].map(image => image.naturalWidth)"))
        tab.get_by_role("searchbox").fill("<img")
        assert column(tab, 2) == [str(report.parent / '"><img src=x onerror=alert(1)>.wav'), HOSTILE[0], HOSTILE[0]]
        events.assert_quiet()


def test_sound_seeks_from_the_picture_and_the_curves(browser: Browser, report: Path) -> None:
    with opened(browser, report) as (tab, events):
        player = open_player(tab)
        audio = player.locator("audio")
        assert audio.evaluate("audio => audio.duration") == pytest.approx(6.0, abs=0.01)
        slider = player.locator(".slider")
        box = slider.bounding_box()
        assert box is not None
        for share, height in ((0.5, 0.25), (0.25, 0.8)):
            slider.click(position={"x": box["width"] * share, "y": box["height"] * height})
            assert audio.evaluate("audio => audio.currentTime") == pytest.approx(6 * share, abs=0.05)
        tab.mouse.down()
        tab.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 20)
        tab.mouse.up()
        assert audio.evaluate("audio => audio.currentTime") == pytest.approx(4.5, abs=0.05)
        tab.mouse.move(box["x"] + box["width"] * 3.5 / 6, box["y"] + 20)
        assert player.locator(".readout").inner_text().split() == ["0:03.5", "S", "1.20", "N", "1.20", "G", "1.20"]
        tab.mouse.move(box["x"] + box["width"] * 0.8 / 6, box["y"] + 20)
        assert "G –" in player.locator(".readout").inner_text(), "a gap has no score"
        events.assert_quiet()


def test_every_place_can_be_reached(browser: Browser, report: Path) -> None:
    with opened(browser, report) as (tab, events):
        audio = open_player(tab).locator("audio")
        for time_s in (5.95, 0, 5.6, 0.01, 5.2, 3):
            audio.evaluate("(audio, time) => { audio.currentTime = time; }", time_s)
            wait_until(tab, "!document.querySelector('audio').seeking")
            assert audio.evaluate("audio => audio.currentTime") == pytest.approx(time_s, abs=0.01)
        events.assert_quiet()


def test_it_plays_and_the_worst_second_is_one_click_away(browser: Browser, report: Path) -> None:
    with opened(browser, report) as (tab, events):
        player = open_player(tab)
        player.get_by_role("button", name="Worst second, 0:03.0").click()
        wait_until(tab, "document.querySelector('audio').currentTime > 2.6")
        assert player.get_by_role("button", name="Pause").is_visible()
        head = player.locator(".head")
        before = float(head.evaluate("head => parseFloat(head.style.left)"))
        wait_until(tab, f"parseFloat(document.querySelector('.head').style.left) > {before}")
        other = open_player(tab, 1)
        other.get_by_role("button", name="Play").click()
        wait_until(tab, "document.querySelectorAll('audio')[0].paused")
        tab.evaluate("() => { window.other = document.querySelectorAll('audio')[1]; }")
        wait_until(tab, "!window.other.paused")
        other.locator("summary").click()
        wait_until(tab, "window.other.paused")
        events.assert_quiet()


def test_an_excerpt_keeps_the_time_of_its_recording(browser: Browser, report: Path) -> None:
    with opened(browser, report) as (tab, _):
        player = open_player(tab, 1)
        slider, audio = player.locator(".slider"), player.locator("audio")
        assert float(slider.get_attribute("aria-valuemin") or 0) == pytest.approx(45.5, abs=0.3)
        player.get_by_role("button", name="Worst second, 1:00").click()
        assert audio.evaluate("audio => audio.currentTime") == pytest.approx(14, abs=0.5)
        assert "30.0 s of 1:30, from 0:45" in player.inner_text()
        assert any(label.startswith("1:00") for label in player.locator(".axis span").all_inner_texts())


def test_everything_works_from_the_keyboard(browser: Browser, report: Path) -> None:
    with opened(browser, report) as (tab, events):
        tab.locator("details.recording summary").first.focus()
        tab.keyboard.press("Enter")
        tab.locator(".slider").wait_for()
        wait_until(tab, "document.querySelector('audio').readyState")
        for _ in range(3):
            tab.keyboard.press("Tab")  # play, worst second, position
        assert tab.evaluate("document.activeElement.getAttribute('role')") == "slider"
        at = "document.querySelector('audio').currentTime"
        for key, expected in (("End", 6), ("Home", 0), ("ArrowRight", 0.5), ("PageUp", 5.5), ("Shift+ArrowLeft", 5.4)):
            tab.keyboard.press(key)
            assert tab.evaluate(at) == pytest.approx(expected, abs=0.02), key
        spoken = tab.locator(".slider").get_attribute("aria-valuetext")
        assert spoken is not None
        assert spoken.startswith("0:05.4, S-MOS 4.00")
        tab.keyboard.press("Home")
        tab.keyboard.press(" ")
        wait_until(tab, f"{at} > 0.1")
        events.assert_quiet()


def test_every_column_sorts_both_ways(browser: Browser, report: Path) -> None:
    with opened(browser, report) as (tab, events):
        assert tab.locator("#table tbody tr").count() == 100
        head = tab.locator("#table th", has_text="G-MOS")
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        low = column(tab, 7)
        assert low[0] == "1.10"
        assert [float(value) for value in low] == sorted(float(value) for value in low)
        head.get_by_role("button").press("Enter")
        assert head.get_attribute("aria-sort") == "descending"
        assert column(tab, 7)[0] == "4.42"
        tab.get_by_role("button", name="Last").click()
        assert set(column(tab, 7)[-13:]) == {"–"}, "rows without scores come last in both directions"
        for name in ("#", "recording", "length", "rate", "S-MOS", "N-MOS", "notes"):
            heads = tab.locator("#table th").filter(has=tab.get_by_role("button", name=name, exact=True))
            first = []
            for direction in ("ascending", "descending"):
                heads.get_by_role("button").click()
                assert heads.get_attribute("aria-sort") == direction
                first.append(tab.locator("#table tbody tr").first.inner_text())
            assert first[0] != first[1] or name == "rate", name
        assert tab.locator("[aria-sort]").count() == 1
        events.assert_quiet()


def test_filters_narrow_and_clear(browser: Browser, report: Path) -> None:
    with opened(browser, report) as (tab, events):
        count = tab.get_by_role("status")
        assert count.inner_text() == "150 rows"
        tab.get_by_label("Show").select_option("failed")
        assert count.inner_text() == "13 of 150 rows"
        assert all(note.startswith("silent: ") for note in column(tab, 8))
        tab.get_by_label("Show").select_option("gate:0")
        assert count.inner_text() == "40 of 150 rows"
        tab.get_by_label("below").fill("2")
        assert count.inner_text() == "15 of 150 rows"
        tab.get_by_role("searchbox").fill("LONG")
        assert count.inner_text() == "1 of 150 rows"
        tab.get_by_role("searchbox").fill("no such name")
        assert count.inner_text() == "0 of 150 rows"
        tab.get_by_role("button", name="Clear").click()
        wait_until(tab, "document.getElementById('count').textContent === '150 rows'")
        tab.get_by_role("button", name="Next").click()
        assert column(tab, 1)[0] == "101"
        events.assert_quiet()


def test_a_row_leads_to_its_sound(browser: Browser, report: Path) -> None:
    with opened(browser, report) as (tab, _):
        for _ in range(2):  # the second time the address stays the same
            tab.locator("#table tbody a").nth(1).click()
            tab.locator("#listen-2[open] .slider").wait_for()
            tab.locator("#listen-2 summary").click()
            wait_until(tab, "!document.getElementById('listen-2').open")


@pytest.mark.parametrize(("viewport", "scheme"), [(PHONE, "dark"), (DESK, "light")], ids=["phone", "desk"])
def test_it_fits_and_is_accessible(browser: Browser, report: Path, viewport: Any, scheme: Any) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, report, viewport=viewport, color_scheme=scheme, reduced_motion="reduce") as (tab, events):
        open_player(tab)
        assert tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        found = Axe().run(tab).response["violations"]
        assert [(item["id"], item["impact"], item["nodes"][0]["html"]) for item in found] == []
        events.assert_quiet()


def test_it_can_be_read_without_scripts(browser: Browser, report: Path) -> None:
    with opened(browser, report, java_script_enabled=False) as (tab, events):
        assert tab.get_by_text("these are the first 100 of 150 rows").is_visible()
        assert tab.locator("#table tbody tr").count() == 100
        assert not tab.locator("#filters").is_visible()
        tab.locator("details.recording summary").nth(1).click()
        assert tab.get_by_text("30.0 s of 1:30").is_visible()
        events.assert_quiet()

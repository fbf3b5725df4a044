"""The report and the comparison as a reader sees them: in Chromium, on a phone, on a desk, printed, light and dark."""

import re

import pytest
from browser import DRESSES
from hostile_run import ATTACKS, WORD, WRITING, hostile_run, make_run

from hf_monitor import compare_runs
from hf_monitor.report import write_report

NAME = "<svg onload=alert(0)> \"' 요약 &amp; 👩🏽‍💻"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages of runs whose texts are meant to break them, and of runs with nothing odd."""
    folder = tmp_path_factory.mktemp("runs")
    hostile = [hostile_run(folder / name, turn) for turn, name in enumerate((NAME, f"{NAME} 2"))]
    plain = [make_run(folder / f"plain_{seed}", 200, attempts=2, seed=seed) for seed in range(2)]
    return {
        "hostile": write_report(hostile[0], folder / "hostile.html"),
        "plain": write_report(plain[0], folder / "plain.html"),
        "hostile compared": compare_runs(hostile).to_html(folder / "hostile_compared.html"),
        "plain compared": compare_runs(plain).to_html(folder / "plain_compared.html"),
    }


def test_hostile_texts_are_shown_as_text(browser, pages):
    text = browser.open(pages["hostile"]).text()
    assert NAME in browser.evaluate("document.querySelector('h1').innerText")
    assert browser.evaluate("document.title").startswith("<svg onload=alert(0)>")
    for one in [*ATTACKS, *WRITING[:3], WORD[:500]]:
        assert one in text
    never = "script, iframe, img, object, embed, [onload], [style]"
    assert browser.evaluate(f"document.querySelectorAll('{never}').length") == 0
    assert "could not be made" not in text


def test_a_comparison_shows_hostile_texts_as_text(browser, pages):
    text = browser.open(pages["hostile compared"]).text()
    for one in (NAME, *ATTACKS):
        assert one in text


@pytest.mark.no_cover
@pytest.mark.parametrize("name", ["plain", "hostile", "plain compared", "hostile compared"])
def test_nothing_is_loaded_nothing_runs_and_it_can_be_read_in_every_dress(browser, pages, name):
    shown = browser.open(pages[name])
    shown.open_details()
    for dress in DRESSES:
        shown.dress(*dress)
        seen = shown.look()
        assert seen["wider"] <= 0, (dress, seen["widest"])
        assert seen["smallest"] >= 10, (dress, seen["small"])
        assert seen["faintest"] >= 4.5, (dress, seen["faint"])
        assert seen["clipped"] == [], dress
        assert seen["same"] == [], dress
        assert (seen["paper"] < 0.05) == (dress[1:] == ("dark", "screen")), dress
    assert shown.caught == []


@pytest.mark.no_cover
def test_it_prints(browser, pages, tmp_path):
    pdf = browser.open(pages["plain"], scheme="dark").print_pdf(tmp_path / "plain.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 60
    assert len(pdf) > 20_000

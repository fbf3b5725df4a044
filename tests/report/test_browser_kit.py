"""The browser of the tests catches what a page must not do, and measures what is there: others rely on its silence."""

import pytest

POLICY = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\">"


@pytest.fixture
def opened(browser, tmp_path):
    def opened(body, head="", **dress):
        page = tmp_path / "page.html"
        page.write_text(
            f"<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>t</title>{head}</head><body>{body}"
        )
        return browser.open(page, **dress)

    return opened


@pytest.mark.no_cover
def test_a_quiet_page_is_not_blamed(opened):
    assert opened("<p>안녕 <b>hello</b></p><details><summary>more</summary>inside</details>").caught == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<script>var a = 1</script>", "script: "),
        ("<svg onload='window.a = 1'></svg>", "script: "),
        ("<img src='data:,' onerror='window.a = 1'>", "script: "),
        ("<script>setTimeout(() => { throw new Error('x') }, 0)</script>", "exception: "),
        ("<script>console.error('x')</script>", "console: error ['x']"),
        ("<script>alert('x')</script>", "dialog: x"),
        ("<img src='http://tests.invalid/a.png'>", "request: http://tests.invalid/a.png"),
        ("<img src='beside.png'>", "request: file://"),
        ("<p style='background: url(http://tests.invalid/b)'>x</p>", "request: http://tests.invalid/b"),
        ("<iframe srcdoc='x'></iframe>", "frameAttached: "),
        ("<meta http-equiv=refresh content='0;url=about:blank#x'>", "frameRequestedNavigation: "),
        (f"{POLICY}<script>var a = 1</script>", "issue: ContentSecurityPolicyIssue"),
        (f"{POLICY}<p style='color: red'>x</p>", "issue: ContentSecurityPolicyIssue"),
        (f"{POLICY}<svg onload='window.a = 1'></svg>", "issue: ContentSecurityPolicyIssue"),
    ],
)
def test_what_a_page_must_not_do_is_caught(opened, body, kind):
    head = POLICY if body.startswith(POLICY) else ""
    caught = opened(body.removeprefix(POLICY), head).caught
    assert [one for one in caught if one.startswith(kind)], caught


def test_what_one_page_did_is_not_said_of_the_next(opened):
    assert opened("<script>console.log(1)</script>").caught
    assert opened("<p>x</p>").caught == []


def test_what_is_too_wide_too_small_too_faint_or_cut_off_is_measured(opened):
    rules = "body { margin: 0; background: #fff } .w { width: 500px } .s { font-size: 8px } .f { color: #aaa }"
    head = f"<style>{rules}</style>"
    text = "<text y='20' x='{}' font-size='20'>{}</text>"
    svg = (
        f"<svg viewBox='0 0 400 100' width='200'>{text.format(380, 'out of it')}{text.format(0, 'half as large')}</svg>"
    )
    bad = opened(
        f"<p class=w>w</p><p class=s>tiny</p><p class=f id=a>faint</p><p id=a>x</p>{svg}", head, width=380
    ).look()
    assert bad["wider"] == 120
    assert (bad["smallest"], bad["small"]) == (8, "tiny")
    assert bad["faint"] == "faint"
    assert bad["faintest"] == pytest.approx(2.32, abs=0.01)
    assert bad["clipped"] == ["out of it"]
    assert bad["same"] == ["a"]
    assert opened(svg, head).look()["smallest"] == pytest.approx(10, abs=0.01)


def test_a_text_on_a_dark_page_is_measured_against_the_dark(opened):
    rules = "@media (prefers-color-scheme: dark) { body { color: #eee; background: #111 } }"
    head = f"<style>:root {{ color-scheme: light dark }} {rules}</style>"
    page = opened("<p>x</p>", head)
    assert page.look()["paper"] == 1
    page.dress(1280, "dark")
    dark = page.look()
    assert dark["paper"] < 0.01
    assert dark["faintest"] > 15


def test_hidden_text_is_not_measured_until_it_is_opened(opened):
    page = opened("<details><summary>more</summary><p>inside</p></details>")
    assert page.look()["texts"] == 1
    assert "inside" in page.text()
    assert page.look()["texts"] == 2


def test_pictures_and_prints_are_written(opened, tmp_path):
    page = opened("<p>x</p>", width=380)
    assert page.screenshot(tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert page.print_pdf(tmp_path / "p.pdf").read_bytes().startswith(b"%PDF")


def test_a_page_that_is_not_there_is_an_error(browser, tmp_path):
    with pytest.raises(FileNotFoundError, match="ERR_FILE_NOT_FOUND"):
        browser.open(tmp_path / "no.html")

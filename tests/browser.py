"""A Chromium without a window, for tests of pages: it shows, measures, prints, and writes down all that must not be.

It is driven over a pipe: no port, no package (https://chromedevtools.github.io/devtools-protocol/).
By hand, to look at a page in all its dresses: ``python tests/browser.py PAGE.html FOLDER``.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MEASURES = (Path(__file__).parent / "browser.js").read_text(encoding="utf-8")
# No page needs a network here, and Chromium itself shall ask for nothing.
OPTIONS = [
    *("--headless", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe"),
    *("--no-first-run", "--no-default-browser-check", "--disable-background-networking", "--disable-component-update"),
    *("--disable-extensions", "--disable-sync", "--disable-breakpad", "--password-store=basic", "--use-mock-keychain"),
    *("--disable-features=OptimizationHints,MediaRouter,Translate", "--host-resolver-rules=MAP * ~NOTFOUND"),
]
DRESSES = [
    (width, scheme, media)
    for width, media in ((380, "screen"), (1280, "screen"), (760, "print"))
    for scheme in ("light", "dark")
]


class NoBrowser(Exception):
    """There is none, or it does not start; says why."""


class Browser:
    """One process; :meth:`open` shows a page of its own each time. Every wait ends after ``patience_s``.

    Attributes
    ----------
    caught : list of str
        What the page now open did that a report must not do: requests, scripts, console, errors, dialogs, navigations.
    """

    def __init__(self, patience_s: float = 60.0) -> None:
        self.patience_s = patience_s
        self.caught: list[str] = []
        self._pid = 0
        self._last, self._buffer, self._loaded = 0, b"", False
        self._session = self._target = self._frame = ""
        self._ours: set[int] = set()
        self._home = Path(tempfile.mkdtemp(prefix="browser-"))
        try:
            self._start()
            self._ask("Browser.getVersion")
        except BaseException as error:
            said = self._home / "stderr"
            last = said.read_text(errors="replace").strip()[-300:] if said.exists() else ""
            self.close()
            if isinstance(error, OSError | TimeoutError):
                raise NoBrowser(f"Chromium does not start: {error} ({last or 'it said nothing'})") from error
            raise

    def _start(self) -> None:
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            raise NoBrowser(f"none of {', '.join(NAMES)} was found")
        # It reads from 3 and writes to 4. Ours are lifted above those, so that none is overwritten before it is copied.
        (its_in, ask), (answer, its_out) = os.pipe(), os.pipe()
        lifted = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in (its_in, its_out, ask, answer)]
        for fd in (its_in, its_out, ask, answer):
            os.close(fd)
        its_in, its_out, self._to, self._from = lifted
        options = [*OPTIONS, f"--user-data-dir={self._home}/profile"]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # as root it has none
        silent = os.O_WRONLY | os.O_CREAT
        try:
            self._pid = os.posix_spawn(
                program,
                [program, *options],
                os.environ | {"HOME": str(self._home)},
                setpgroup=0,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, str(self._home / "stderr"), silent, 0o600),
                    (os.POSIX_SPAWN_DUP2, its_in, 3),
                    (os.POSIX_SPAWN_DUP2, its_out, 4),
                ],
            )
        finally:
            os.close(its_in)
            os.close(its_out)

    def close(self) -> None:
        """End it, with all its processes."""
        if self._pid:
            with suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0
            os.close(self._to)
            os.close(self._from)
        for _ in range(50):  # its children may write for a moment more
            shutil.rmtree(self._home, ignore_errors=True)
            if not self._home.exists():
                break
            time.sleep(0.02)

    # -- the protocol

    def _ask(self, method: str, *, session: str = "", **parameters: object) -> dict:
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters} | (
            {"sessionId": session} if session else {}
        )
        data = json.dumps(message).encode() + b"\0"
        while data:  # a pipe takes 64 KiB at a time
            data = data[os.write(self._to, data) :]
        number, until = self._last, time.monotonic() + self.patience_s
        while True:
            answer = self._next(until, method)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _page(self, method: str, **parameters: object) -> dict:
        return self._ask(method, session=self._session, **parameters)

    def _next(self, until: float, what: str) -> dict:
        """Wait for one message; events are noted on the way."""
        while b"\0" not in self._buffer:
            if not select.select([self._from], [], [], max(until - time.monotonic(), 0.0))[0]:
                raise TimeoutError(f"no answer to {what} in {self.patience_s:g} s")
            data = os.read(self._from, 1 << 20)
            if not data:
                raise OSError(f"Chromium ended before it answered {what}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        if "method" in message:
            self._note(message["method"], message["params"], message.get("sessionId", ""))
        return message

    def _note(self, event: str, of: dict, session: str) -> None:
        if session != self._session or not session:
            return
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Page.javascriptDialogOpening":
            self.caught.append(f"dialog: {of['message']}")
            self._send_away_dialog()
        elif event == "Network.requestWillBeSent":
            if of["request"]["url"].split("#")[0] != self._url or of["type"] != "Document":
                self.caught.append(f"request: {of['request']['url'][:200]}")
        elif event == "Debugger.scriptParsed":
            if of["executionContextId"] not in self._ours:
                self.caught.append(f"script: {of['url'][:200]} line {of['startLine']}")
        elif event == "Runtime.executionContextCreated":
            if of["context"]["name"] == "tests":
                self._ours.add(of["context"]["id"])
        elif event == "Runtime.consoleAPICalled":
            self.caught.append(f"console: {of['type']} {[one.get('value') for one in of['args']]}")
        elif event == "Runtime.exceptionThrown":
            self.caught.append(f"exception: {of['exceptionDetails']['text']}")
        elif event == "Log.entryAdded":
            self.caught.append(f"log: {of['entry']['source']} {of['entry']['level']}: {of['entry']['text'][:300]}")
        elif event == "Audits.issueAdded":
            self.caught.append(f"issue: {of['issue']['code']} {json.dumps(of['issue']['details'])[:300]}")
        elif event == "Page.frameNavigated":
            if of["frame"].get("parentId") or of["frame"]["url"].split("#")[0] not in ("about:blank", self._url):
                self.caught.append(f"navigation: {of['frame']['url'][:200]}")
        elif event in (
            "Page.frameAttached",
            "Page.downloadWillBegin",
            "Page.frameRequestedNavigation",
            "Inspector.targetCrashed",
        ):
            self.caught.append(f"{event.split('.')[1]}: {of.get('url', '')[:200]}")

    def _send_away_dialog(self) -> None:
        """Without waiting: the answer would come within another wait."""
        self._last += 1
        message = {
            "id": self._last,
            "method": "Page.handleJavaScriptDialog",
            "params": {"accept": False},
            "sessionId": self._session,
        }
        os.write(self._to, json.dumps(message).encode() + b"\0")

    # -- what tests use

    def open(
        self, path: str | os.PathLike[str], width: int = 1280, scheme: str = "light", media: str = "screen"
    ) -> Browser:
        """Show a file from disk, and forget what an earlier page did; back when it is loaded and drawn."""
        if self._target:
            self._ask("Target.closeTarget", targetId=self._target)
        self.caught, self._session, self._loaded, self._ours = [], "", False, set()
        self._url = Path(path).resolve().as_uri()
        self._target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Audits", "Debugger", "DOM"):
            self._page(f"{domain}.enable")
        self.dress(width, scheme, media)
        answer = self._page("Page.navigate", url=self._url)
        if "errorText" in answer:
            raise FileNotFoundError(f"{self._url}: {answer['errorText']}")
        self._frame = answer["frameId"]
        until = time.monotonic() + self.patience_s
        while not self._loaded:
            self._next(until, "load")
        self._world()
        # What a page does in its first moments comes after "load": two frames and a turn of the loop later it is here.
        self.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 20))))"
        )
        return self

    def _world(self) -> None:
        """Measuring has a world of its own: no policy binds it, and its scripts are told from those of the page."""
        made = self._page("Page.createIsolatedWorld", frameId=self._frame, worldName="tests")
        self._context = made["executionContextId"]
        self._ours.add(self._context)
        self.evaluate(MEASURES + ";0")

    def dress(self, width: int, scheme: str = "light", media: str = "screen", height: int = 900) -> None:
        """Set the width in CSS pixels, ``"light"`` or ``"dark"``, ``"screen"`` or ``"print"``."""
        self._page("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._page("Emulation.setEmulatedMedia", media=media, features=features)

    def evaluate(self, expression: str):
        """Give the value (JSON) of an expression; of a promise, what it comes to."""
        answer = self._page(
            "Runtime.evaluate", expression=expression, contextId=self._context, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(
                answer["exceptionDetails"].get("exception", {}).get("description", answer["exceptionDetails"])
            )
        return answer["result"].get("value")

    def look(self) -> dict:
        """Measure the page as it is dressed now (browser.js says what each is)."""
        return self.evaluate("look()")

    def text(self) -> str:
        """All text that is shown; ``<details>`` are opened for it and stay so."""
        return self.evaluate("openAll(), document.body.innerText")

    def open_details(self) -> None:
        """Open what a reader may open."""
        self.evaluate("openAll()")

    def screenshot(self, path: str | os.PathLike[str], *, whole: bool = True) -> Path:
        """Write a PNG of the whole page, or of what a window shows."""
        data = self._page("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        Path(path).write_bytes(base64.b64decode(data))
        return Path(path)

    def print_pdf(self, path: str | os.PathLike[str]) -> Path:
        """Print, as a reader would: A4, no backgrounds."""
        data = self._page("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"]
        Path(path).write_bytes(base64.b64decode(data))
        return Path(path)


def main(page: str, folder: str) -> None:
    """Take a picture of a page in each dress, print it, and say what was caught and measured."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    browser = Browser()
    try:
        browser.open(page)
        for width, scheme, media in DRESSES:
            browser.dress(width, scheme, media)
            print(width, scheme, media, browser.look())
            print(browser.screenshot(Path(folder) / f"{width}_{scheme}_{media}.png"))
        print(browser.print_pdf(Path(folder) / "page.pdf"))
        print("caught:", *(browser.caught or ["nothing"]), sep="\n  ")
    finally:
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:3])

"""What the page and the checklist say of the run's mirror in W&B; from wandb.json alone."""

import json
import re

import pytest
from hostile_run import make_run

from hf_monitor.loggers.mirror.identity import MirroredRun, put
from hf_monitor.preflight.after import check_after
from hf_monitor.report import report_html
from hf_monitor.report.mirrored import mirrored

URL = "https://wandb.ai/team/summaries/runs/r1"


@pytest.mark.parametrize("url", [URL, "http://127.0.0.1:8080/a?b=%20&c='"])
def test_a_web_address_is_a_link(tmp_path, url):
    put(tmp_path, MirroredRun("r1", (1,), url=url, mode="online", state="finished"))
    assert (mirrored(tmp_path)[0].url, mirrored(tmp_path)[0].amiss) == (url, False)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "https://user:pw@host/x",
        "https:///x",
        "file:///etc/passwd",
        "http://[",
        f"{URL}\n",
        None,
        5,
    ],
)
def test_nothing_else_is(tmp_path, url):
    put(tmp_path, MirroredRun("r1", (1,), url=url, mode="online", state="finished"))
    assert mirrored(tmp_path)[0].url == ""


def test_what_is_left_to_do_is_a_command_for_the_run_folder_wherever_it_is_moved(tmp_path):
    folder = "wandb/offline-run-20261126_111604-r1"
    put(tmp_path, MirroredRun("r1", (1,), mode="offline", folders=("wandb/run-x", folder, f"{folder} b"), why="no key"))
    one = mirrored(tmp_path)[0]
    assert (one.command, one.amiss) == (f"wandb sync {folder} '{folder} b'", True)
    assert "no key" in one.sentence
    for place in (folder, f"{folder} b"):
        assert mirrored(tmp_path)[0].amiss
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "run-r1.wandb.synced").touch()
    assert (mirrored(tmp_path)[0].command, mirrored(tmp_path)[0].amiss) == ("", False)


def test_page_and_checklist_say_it(tmp_path):
    run = make_run(tmp_path / "a b", 10)
    put(run, MirroredRun("r1", (1,), "summaries", "team", "kobart", URL, "online", state="unsent", why="no answer"))
    put(run, MirroredRun("asked", (4,), mode="offline", state="finished"))
    put(run, MirroredRun("r1-2", (2, 3), mode="online", state="running", url=URL))
    page = report_html(run).decode()
    assert f'<a href="{URL}" rel="noreferrer">team/summaries/kobart (attempt 1)</a>' in page
    assert "Not all of it was sent: no answer." in page
    assert re.search(r"r1-2 \(attempt 2, 3\)</a>: That all of it was sent is not recorded", page)
    assert page.count("<pre>hf-monitor wandb .</pre>") == 3
    checks = [one for one in check_after(run, deep=False) if one.name == "W&B"]
    assert [one.state for one in checks] == ["warning", "ok", "warning"]  # offline was asked for
    assert checks[0].suggestion == f"cd '{run}' && hf-monitor wandb ."
    (run / "wandb.json").write_text(json.dumps({"format": 1, "runs": [3]}))
    assert mirrored(run) == []
    assert "Weights &amp; Biases" not in report_html(run).decode()


def test_a_run_that_a_process_is_sending_is_left_to_it(tmp_path):
    put(tmp_path, MirroredRun("r1", (1,), url=URL, mode="online", state="running", pid=12))
    (busy,) = mirrored(tmp_path, lambda run: run.pid == 12)
    assert (busy.sentence, busy.command, busy.amiss) == (
        *("Process 12 is sending it at this moment; it ends by itself.", "", False),
    )
    assert mirrored(tmp_path)[0].amiss

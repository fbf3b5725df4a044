"""The W&B mirror under stress: the part that takes little time, and that what the script looks for is noticed."""

import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import untraced
from wandb_compare import compare, expected
from wandb_stub import WandbStub

from hf_monitor.run.rows import encode_row

SCRIPT = Path(__file__).parents[2] / "scripts" / "stress_wandb.py"
ROWS = [
    {"time": 1.0, "attempt": 1, "step": 5, "kind": "train", "loss": 0.5, "epoch": 0.1},
    {"time": 2.0, "attempt": 1, "step": 5, "kind": "eval", "eval_loss": float("nan"), "eval_rouge1": 0.25},
    {
        "time": 3.0,
        "attempt": 2,
        "step": 5,
        "kind": "text_scores",
        "by_language": {"ko": {"rouge1": 0.5}},
        "sampled": False,
    },
]


def told(**changes):
    """Give the history that W&B should have, with changes of the line of a number."""
    lines = [{"_step": 10 * number, **expected(row)} for number, row in enumerate(ROWS, 1)]
    for number, change in changes.items():
        lines[int(number[1:]) - 1] |= change
    return lines


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(map(encode_row, ROWS)) + b'{"time":4.0,"att')
    return tmp_path


def test_the_names_are_those_of_transformers(folder):
    assert set(told()[1]) == {"_step", "eval/loss", "eval/rouge1", "attempt", "kind", "train/global_step"}
    assert told()[2]["text_scores/by_language.ko.rouge1"] == 0.5


def test_the_same_is_good_and_nan_may_be_a_word(folder):
    assert str(compare(folder, told())) == "3 rows, 0 missing, 0 unlike, 0 doubled"
    assert compare(folder, told(l2={"eval/loss": "NaN"})).good
    assert compare(folder, [*told(), {"_step": 31, "table": 1}]).good  # media have steps of their own


@pytest.mark.parametrize(
    ("history", "what"),
    [
        (told()[:2], "1 missing, 0 unlike, 0 doubled"),
        (told(l1={"train/loss": 0.5000001}), "0 missing, 1 unlike, 0 doubled"),
        (told(l2={"eval/loss": 0.0}), "0 missing, 1 unlike, 0 doubled"),
        (told(l3={"text_scores/sampled": 0}), "0 missing, 1 unlike, 0 doubled"),
        (told(l3={"attempt": 1}), "0 missing, 1 unlike, 0 doubled"),
        ([*told(), told()[0]], "0 missing, 0 unlike, 1 doubled"),
        ([*told(), {**told()[0], "_step": 77}], "0 missing, 0 unlike, 1 doubled"),
        ([], "3 missing, 0 unlike, 0 doubled"),
    ],
)
def test_what_is_not_the_same_is_noticed(folder, history, what):
    found = compare(folder, history)
    assert str(found) == f"3 rows, {what}"
    assert not found.good


def asked(stub, body):
    request = urllib.request.Request(f"{stub.url}/graphql", data=body)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return answer.read()


def test_the_stub_dies_comes_back_with_what_it_had_and_can_be_in_trouble(tmp_path):
    body = b'{"query": "mutation UpsertBucket { x }", "variables": {"name": "one", "project": "p"}}'
    with WandbStub(folder=tmp_path) as stub:
        assert b'"inserted": true' in asked(stub, body)
        stub.kill()
        with pytest.raises(urllib.error.URLError, match="refused"):
            asked(stub, body)
        stub.start()
        assert b'"inserted": false' in asked(stub, body)
        stub.status = 429
        with pytest.raises(urllib.error.HTTPError, match="429") as error:
            asked(stub, body)
        error.value.close()
    again = WandbStub.load(tmp_path)  # in another process, say
    assert (len(again.requests), list(again.runs), again.errors) == (2, ["one"], [])
    assert again.bodies == stub.bodies


@pytest.mark.slow(seconds=20)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it forks, and looks for processes in /proc")
def test_no_planted_secret_and_every_row_reach_wandb(tmp_path):
    """Online, where the `.wandb` file is searched, too; the parts that measure seconds are run by hand."""
    command = [sys.executable, str(SCRIPT), "--only", "secrets", "--places", "online"]
    done = subprocess.run(command, capture_output=True, text=True, env=untraced.ENVIRONMENT, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all goals are met" in done.stdout
    found = re.findall(r"^\| (offline|online) +\| 13 +\| (\d+) +\| 0 +\|$", done.stdout, re.MULTILINE)
    assert [where for where, _ in found] == ["online"]
    assert all(int(searched) > 100_000 for _, searched in found)

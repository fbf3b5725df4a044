"""The examples of docs/run.md and of the docstrings of the reader, run as they stand."""

import doctest
import re
import sys
from pathlib import Path

import pytest

from hf_monitor.run import reader, rows

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from made_runs import make_run

    make_run(tmp_path / "out" / "monitor", 100, attempts=2, n_texts=4)
    trials = b'{"batch_size":16,"fits":true}\n{"batch_size":32,"fits":false}\n'
    (tmp_path / "out" / "monitor" / "trials.jsonl").write_bytes(trials)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("made_runs", None)


def test_examples_of_the_document_are_true(folder):
    text = (ROOT / "docs" / "run.md").read_text(encoding="utf-8")
    text = re.sub(r"^```.*$", "", text, flags=re.MULTILINE)
    tried = doctest.DocTestRunner().run(doctest.DocTestParser().get_doctest(text, {}, "docs/run.md", None, 0))
    assert tried.attempted > 30
    assert tried.failed == 0


@pytest.mark.parametrize("module", [reader, rows])
def test_examples_of_the_docstrings_are_true(module):
    tried = doctest.testmod(module)
    assert tried.attempted
    assert tried.failed == 0

"""``hf-monitor report``: of a run however it ended, where the page goes, and what is said where it cannot."""

import json
from pathlib import Path

import pytest
from markupsafe import escape

from hf_monitor import RunWriter
from hf_monitor.cli import main
from hf_monitor.report import report_html, verdict_of


@pytest.fixture
def run_dir(tmp_path):
    """A run within its output_dir, that goes on: it was begun by this process."""
    writer = RunWriter(tmp_path / "out" / "monitor")
    writer.event("train_begin", 0)
    writer.row("train", 7, {"loss": 1.0})
    writer.close()
    return writer.run_dir


def sources(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "report.html"}


@pytest.mark.parametrize("named", ["out", "out/monitor"])
def test_it_says_where_the_page_is_and_changes_nothing_else(run_dir, tmp_path, capsys, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    before = sources(tmp_path)
    assert main(["report", named]) == 0
    said = capsys.readouterr()
    assert said == (f"{verdict_of(run_dir)}\n{run_dir / 'report.html'}\n", "")
    questions = ["Did it learn?", "What went wrong?", "What to change first?"]
    assert [line.partition("?")[0] + "?" for line in said.out.splitlines()[:-1]] == questions
    assert (run_dir / "report.html").read_bytes() == report_html(run_dir)
    assert sources(tmp_path) == before


@pytest.mark.parametrize(
    ("event", "status"), [(None, "running"), ("train_end", "finished"), ("error", "crashed"), ("torn", "running")]
)
def test_of_a_run_however_it_ended(run_dir, event, status):
    with (run_dir / "metrics.jsonl").open("a") as file:
        if event == "torn":
            file.write('{"time": 1.0, "att')
        elif event:
            file.write(f'{{"time": 1.0, "attempt": 1, "step": 7, "kind": "event", "event": "{event}"}}\n')
    assert main(["report", str(run_dir)]) == 0
    page = (run_dir / "report.html").read_text()
    assert f">{status}<" in page
    assert "step 7" in page or "after 7" in page


@pytest.mark.parametrize(("output", "path"), [("new/page.html", "new/page.html"), (".", "report.html")])
def test_output_names_another_place(run_dir, tmp_path, capsys, monkeypatch, output, path):
    monkeypatch.chdir(tmp_path)
    assert main(["report", "out", "--output", output]) == 0
    assert capsys.readouterr().out.splitlines()[3:] == [f"{tmp_path / path}"]
    assert (tmp_path / path).read_bytes().rstrip().endswith(b"</html>")
    assert not (run_dir / "report.html").exists()


def test_the_verdict_is_what_the_page_says_and_is_there_for_scripts(run_dir, capsys):
    with (run_dir / "metrics.jsonl").open("a") as file:
        for step, value in ((8, 1.0), (9, 5.0)):
            row = {"time": 1.0, "attempt": 1, "step": step, "kind": "eval", "eval_rougeL": value}
            file.write(json.dumps(row) + "\n")
        row |= {"kind": "event", "event": "error", "type": "ValueError", "message": "mine \x1b[31m\u202e<b>"}
        file.write(json.dumps(row) + "\n")
    assert main(["report", str(run_dir), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["report"] == str(run_dir / "report.html")
    verdict = verdict_of(run_dir)
    assert found["verdict"] == verdict._asdict()
    assert verdict.status == "crashed"
    assert "rose from 1 at step 8 to its best, 5," in verdict.learned
    assert "mine" in verdict.went_wrong
    assert str(verdict).replace("\n", "").isprintable()  # a terminal takes it as text
    assert str(escape(verdict.change_first)) in (run_dir / "report.html").read_text()


def test_a_page_without_a_verdict_is_still_written(run_dir, capsys, monkeypatch):
    def broken(material):
        raise KeyError("ours")

    monkeypatch.setattr("hf_monitor.report.sections.verdict.verdict", broken)
    assert main(["report", str(run_dir), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"report": str(run_dir / "report.html"), "verdict": None}
    assert "no verdict could be made: KeyError: 'ours'" in said.err


def test_a_link_stays_and_the_page_is_the_same_through_one(run_dir, tmp_path, capsys):
    (tmp_path / "latest").symlink_to(tmp_path / "out")
    (tmp_path / "shown.html").write_text("old")
    (tmp_path / "link.html").symlink_to(tmp_path / "shown.html")
    assert main(["report", str(tmp_path / "latest"), "--output", str(tmp_path / "link.html")]) == 0
    assert capsys.readouterr().out.splitlines()[3:] == [str(tmp_path / "link.html")]
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "shown.html").read_bytes() == report_html(run_dir)


def test_output_never_writes_over_what_a_run_is_made_of(run_dir, capsys):
    before = sources(run_dir)
    assert main(["report", str(run_dir), "--output", str(run_dir / "metrics.jsonl")]) == 2
    assert "must be a folder or an HTML file" in capsys.readouterr().err
    assert sources(run_dir) == before


def test_a_page_that_cannot_be_written_names_a_way_out(run_dir, capsys):
    (run_dir / "report.html").mkdir()
    (run_dir / "report.html" / "something").touch()
    assert main(["report", str(run_dir)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{str(run_dir / 'report.html')!r} cannot be written: Is a directory" in said.err
    assert "--output FILE" in said.err
    assert not list(run_dir.glob(".*.tmp"))


def test_rows_that_cannot_be_read_are_said_to_be_so(run_dir, capsys):
    (run_dir / "metrics.jsonl").unlink()
    (run_dir / "metrics.jsonl").mkdir()
    (run_dir / "run.json").write_text('{"run_id": "one", "format": 1}')
    assert main(["report", str(run_dir)]) == 2
    said = capsys.readouterr().err
    assert f"{str(run_dir)!r} cannot be read: " in said
    assert "--output" not in said
    assert not (run_dir / "report.html").exists()


def test_where_there_is_no_run_it_says_so(tmp_path, capsys):
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "there is no run folder" in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    assert list(Path(tmp_path).iterdir()) == []

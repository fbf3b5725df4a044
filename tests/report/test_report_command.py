"""``hf-monitor report``: of a run however it ended, where the page goes, and what is said where it cannot."""

from pathlib import Path

import pytest

from hf_monitor import RunWriter
from hf_monitor.cli import main
from hf_monitor.report import report_html


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
    assert capsys.readouterr() == (f"{run_dir / 'report.html'}\n", "")
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
    assert capsys.readouterr().out == f"{tmp_path / path}\n"
    assert (tmp_path / path).read_bytes().rstrip().endswith(b"</html>")
    assert not (run_dir / "report.html").exists()


def test_a_link_stays_and_the_page_is_the_same_through_one(run_dir, tmp_path, capsys):
    (tmp_path / "latest").symlink_to(tmp_path / "out")
    (tmp_path / "shown.html").write_text("old")
    (tmp_path / "link.html").symlink_to(tmp_path / "shown.html")
    assert main(["report", str(tmp_path / "latest"), "--output", str(tmp_path / "link.html")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'link.html'}\n"
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

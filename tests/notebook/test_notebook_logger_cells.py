"""NotebookLogger in a real kernel: what is in the saved notebook."""

import json

import nbformat
import pytest
from nbclient import NotebookClient

from hf_monitor import load_run

CELLS = [
    # 0
    "import sys, threading, time\n"
    "from hf_monitor import NotebookLogger\n"
    "nb = NotebookLogger()\n"
    "nb.start_experiment('first <try>', run_dir=FOLDER + '/first', total_steps=300)\n"
    "for n in nb.progress(300, 'epoch 1'):\n"
    "    nb.log_metrics({'loss': 1 / (n + 1), 'batch_time': 0.1})\n"
    "    time.sleep(0.005)\n"
    "nb.create_inline_plot([3, 2, 1], 'lengths')\n"
    "nb.create_inline_plot([1, 2, 3], 'lengths')\n",
    # 1: another cell
    "nb.log_metric('loss', 0.25)\n"
    "nb.create_inline_plot(([10, 20], [1.0, float('nan')]), 'of its own')\n"
    "nb.create_inline_plot(([10, 20], [1.0, 4.0]), 'of its own')\n"
    "nb.log_with_plot('halfway', {'norms': [1, 2, 3], 'acc': 0.5})\n",
    # 2
    "nb.log_metric('loss', 0.2)\nraise ValueError('a typo of mine')",
    # 3: it goes on, and ends
    "open_after = nb._open.experiment._status\n"
    "nb.log_metric('loss', 0.125)\n"
    "print(open_after, '/', nb._open.experiment._status)\n"
    "nb.end_experiment()\n"
    "nb.end_experiment()\n"
    "nb.display_summary()\n",
    # 4: run again, as people do: the first of the two ends in order
    "nb = NotebookLogger(FOLDER + '/again')\n"
    "nb.start_experiment('one')\n"
    "nb.log_metric('loss', 1.0)\n"
    "nb = NotebookLogger(FOLDER + '/again')\n"
    "nb.start_experiment('two')\n"
    "nb.log_metric('loss', 2.0)\n"
    "nb.start_experiment('three')\n",
    # 5: without an experiment
    "nb.end_experiment()\nfor item in nb.progress(['a', 'b', 'c'], 'lone'):\n    if item == 'b':\n        break\n",
    # 6: 100,000 values
    "nb.start_experiment('long', run_dir=None)\n"
    "began = time.perf_counter()\n"
    "for n in range(100_000):\n"
    "    nb.log_metric('loss', (n * 7919 % 1000) / (n + 1))\n"
    "print((time.perf_counter() - began) / 100_000 * 1e6, 'us each')\n"
    "nb.end_experiment()\n",
    # 7
    "late = time.monotonic() + 10\n"
    "while 'hf_monitor-area' in (names := [one.name for one in threading.enumerate()]) and time.monotonic() < late:\n"
    "    time.sleep(0.05)\n"
    "print('hf_monitor-area' in names)\n"
    "print('ipywidgets' in sys.modules, 'torch' in sys.modules)\n"
    "nb.start_experiment('left open', run_dir=FOLDER + '/open')\n"
    "nb.log_metric('loss', 1.0)\n",
    # 8: the stop button
    "nb.log_metric('loss', 0.5)\nraise KeyboardInterrupt\n",
    # 9: nothing to do with it
    "a_typo",
]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    cells[0].source = f"FOLDER = {str(folder)!r}\n" + cells[0].source
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True).execute()
    return notebook, folder


def shown(notebook, cell):
    return [output for output in notebook.cells[cell].outputs if output.output_type == "display_data"]


def html(notebook, cell):
    return [output.data["text/html"] for output in shown(notebook, cell)]


def said(notebook, cell):
    return "".join(output.text for output in notebook.cells[cell].outputs if output.output_type == "stream")


def test_an_experiment_is_one_output_kept_up_to_date_in_its_place(session):
    notebook, folder = session
    (area,) = html(notebook, 0)  # whatever was logged, plotted and said later, in other cells, too
    assert "first &lt;try&gt;" in area
    assert "finished" in area
    assert "a typo of mine" not in area  # it went on
    assert "0.125" in area
    assert "batch_time" in area  # as the user calls it
    assert "halfway" in area
    assert area.count('alt="lengths') == 1  # the second took the place of the first
    assert area.count('alt="norms') == 1
    assert "of its own" not in area
    assert said(notebook, 3).startswith("crashed / running")

    run = load_run(folder / "first")
    assert run.status == "finished"
    assert run.curve("loss").values[-3:] == [0.25, 0.2, 0.125]
    assert run.curve("loss").steps == list(range(303))


def test_plots_and_tables_are_outputs_of_their_cell(session):
    notebook, _ = session
    plot, here = html(notebook, 1)
    assert "halfway" in here  # where the user looks
    assert 'alt="norms' in here
    assert 'alt="of its own' in plot
    assert "not finite" not in plot
    (table,) = html(notebook, 3)
    assert "<td" in table
    assert "303" in table  # values
    assert "first &lt;try&gt;" in table


def test_cells_that_are_run_again_leave_one_open(session):
    notebook, folder = session
    one, two, three = html(notebook, 4)
    assert "finished" in one
    assert "finished" in two
    assert "finished" in three
    lone = html(notebook, 5)
    assert len(lone) == 1
    assert "1 of 3" in lone[0]
    run = load_run(folder / "again")
    assert len(run.attempts) == 4  # and the long one of cell 6
    assert run.status == "finished"


def test_a_long_one_is_small_and_cheap(session):
    notebook, _ = session
    (area,) = shown(notebook, 6)
    assert len(json.dumps(area)) < 100_000
    assert float(said(notebook, 6).split()[0]) < 300
    threads, modules = said(notebook, 7).splitlines()
    assert threads == "False"
    assert modules == "False False"


def test_a_shutdown_after_the_stop_button_leaves_an_interrupted_run(session):
    notebook, folder = session
    (area,) = html(notebook, 7)
    assert "interrupted" in area
    run = load_run(folder / "open")
    assert run.status == "interrupted"
    assert run.ending.type == "KeyboardInterrupt"
    assert run.curve("loss").values == [1.0, 0.5]


def test_nothing_but_html_and_text_is_in_the_notebook(session):
    notebook, _ = session
    kinds = {kind for cell in range(len(CELLS)) for output in shown(notebook, cell) for kind in output.data}
    assert kinds == {"text/html", "text/plain"}
    failed = {n for n, cell in enumerate(notebook.cells) if any(one.output_type == "error" for one in cell.outputs)}
    assert failed == {2, 8, 9}

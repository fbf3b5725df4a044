"""The notebooks in git: without outputs, the same after each run, readable by every Jupyter."""

import re

import nbformat
import pytest
from kernel_runs import NOTEBOOKS


def test_all_five_are_there():
    assert [path.name[:3] for path in NOTEBOOKS] == ["01_", "02_", "03_", "04_", "05_"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_of_a_run_is_stored(path):
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert [cell.id for cell in notebook.cells] == [f"cell-{n:02d}" for n in range(1, len(notebook.cells) + 1)]
    for before, cell in zip([None, *notebook.cells], notebook.cells, strict=False):
        assert cell.metadata == {}
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            assert len(cell.source.splitlines()) <= 35
            assert before is not None, "a notebook begins with what it is about"
            assert before.cell_type == "markdown", "a sentence stands before each cell"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_others_that_it_names_are_there(path):
    names = {other.name for other in NOTEBOOKS}
    assert set(re.findall(r"\d\d_\w+\.ipynb", path.read_text(encoding="utf-8"))) <= names


def test_the_korean_one_is_in_korean():
    [path] = [path for path in NOTEBOOKS if path.name.startswith("02_")]
    for cell in nbformat.read(path, 4).cells:
        comments = re.findall(r"(?m)(?:^|\s)# (.*)$", cell.source) if cell.cell_type == "code" else [cell.source]
        for words in comments:
            assert re.search("[가-힣]", words) or "import" in words or "from_pretrained" in words, words

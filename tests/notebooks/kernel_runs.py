"""Run a notebook as somebody does who opened it in a folder of his own; read what it showed."""

from __future__ import annotations

import base64
import os
import re
from html import unescape
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# What others say on stderr in a kernel without ipywidgets, and nothing of it is ours.
_EXPECTED = re.compile(
    r".*TqdmWarning: IProgress not found.*\n|  from \.autonotebook import tqdm as notebook_tqdm\n"
    r"|\[transformers\] `use_cache=True` is incompatible with gradient checkpointing.*\n|\n"
)
_NO_WIDGETS = 'import sys\nsys.modules["ipywidgets"] = None  # an import of it fails, as where it is not installed\n'


class Executed:
    """A notebook that was run: its code cells, and what they showed."""

    def __init__(self, name: str, folder: Path) -> None:
        self.notebook = nbformat.read(ROOT / "notebooks" / name, 4)
        site = folder / "site"
        site.mkdir(parents=True)
        (site / "sitecustomize.py").write_text(_NO_WIDGETS, encoding="utf-8")
        path = os.pathsep.join(filter(None, [str(site), str(ROOT), os.environ.get("PYTHONPATH")]))
        self.folder = folder / "anywhere"
        self.folder.mkdir()
        client = NotebookClient(
            self.notebook, kernel_name="python3", timeout=300, resources={"metadata": {"path": str(self.folder)}}
        )
        try:
            # A cell that fails is an error here. WANDB_MODE of the tests is not what a user has.
            client.execute(env={**os.environ, "PYTHONPATH": path, "WANDB_MODE": ""})
        finally:
            nbformat.write(self.notebook, folder / name)  # to look at
        self.cells = [cell for cell in self.notebook.cells if cell.cell_type == "code"]

    def cell(self, words: str) -> nbformat.NotebookNode:
        """Give the one cell whose code has these words."""
        [found] = [cell for cell in self.cells if words in cell.source]
        return found

    def printed(self, words: str, name: str = "stdout") -> str:
        """Give what the cell with these words printed."""
        return "".join(out.text for out in self.cell(words).outputs if out.output_type == "stream" and out.name == name)

    def shown(self, words: str, kind: str = "text/html") -> list[str]:
        """Give the outputs of a kind that the cell with these words has, in order."""
        return [out.data[kind] for out in self.cell(words).outputs if kind in out.get("data", {})]

    def text(self, words: str) -> str:
        """Give the words of the only HTML that the cell shows."""
        [html] = self.shown(words)
        return " ".join(words_of(html).split())

    def check_outputs(self, trainings: int = 1) -> None:
        """Nothing on stderr but what is expected, no widget, no script, and small enough for git."""
        outputs = [out for cell in self.cells for out in cell.outputs]
        for out in outputs:
            if out.output_type == "stream" and out.name == "stderr":
                assert _EXPECTED.sub("", out.text) == ""
            for kind, value in out.get("data", {}).items():
                assert "widget" not in kind
                assert "<script" not in value
        assert len(nbformat.writes(self.notebook).encode()) < 300_000 * trainings
        html = "".join(out.data["text/html"] for out in outputs if "text/html" in out.get("data", {}))
        assert "<progress" not in html  # transformers' own display


def words_of(html: str) -> str:
    """Give the words of HTML, and those that stand for its pictures."""
    html = re.sub(r"<style.*?</style>", " ", html, flags=re.DOTALL)
    html = re.sub(r'<img[^>]*? alt="([^"]*)"[^>]*>', r" \1 ", html)
    return unescape(re.sub(r"<[^>]+>", " ", html))


def without_spaces(text: str) -> str:
    """Give a text without its spaces: marks within a word put some in."""
    return "".join(text.split())


def is_chart(png: str) -> bool:
    """Whether it is a picture with something in it."""
    picture = base64.b64decode(png)
    return picture.startswith(b"\x89PNG") and len(picture) > 10_000

"""A picture is replaced whole: whoever looks sees the old one or the new one."""

import base64
import errno
import io
import re
from pathlib import Path

import pytest

from hf_monitor.charts.chart import Chart
from hf_monitor.charts.pictures import save_charts
from hf_monitor.errors import NothingToDraw


class Line(Chart):
    def plot(self, ax=None):
        (ax,) = self._axes(ax, 2.0, 1.0)
        ax.plot([1, 2])
        return ax


@pytest.mark.parametrize("name", ["a.png", "a.svg", "a.PNG", "a"])
def test_the_old_picture_stays_until_the_new_one_is_whole(tmp_path, monkeypatch, name):
    seen = []

    def replace(self, target, replace=Path.replace):
        seen.append((self.read_bytes(), Path(target).read_bytes()))
        return replace(self, target)

    path = tmp_path / "deep" / name
    path.parent.mkdir()
    path.write_bytes(b"old")
    monkeypatch.setattr(Path, "replace", replace)
    assert Line().save(path) == path
    assert seen == [(path.read_bytes(), b"old")]
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes()[:4] == (b"<?xm" if name == "a.svg" else b"\x89PNG")


def test_a_disk_that_is_full_leaves_the_old_picture_and_nothing_else(tmp_path, monkeypatch):
    def replace(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OSError, match="No space left"):
        Line().save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_notebook_shows_the_pictures_small_and_says_what_is_left_out(tmp_path):
    from PIL import Image

    def nothing():
        raise NothingToDraw("no <b>data</b>")

    pictures = save_charts([("a<b>.png", Line), ("gone.png", Line), ("none.png", nothing)], tmp_path)
    pictures[1].unlink()
    html = pictures._repr_html_()
    assert "none.png is left out: no &lt;b&gt;data&lt;/b&gt;" in html
    assert "<b>" not in html
    ((alt, source),) = re.findall('alt="([^"]*)" src="data:image/webp;base64,([^"]*)"', html)
    assert alt == "a&lt;b&gt;.png"
    with Image.open(io.BytesIO(base64.b64decode(source))) as shown, Image.open(pictures[0]) as whole:
        assert shown.format == "WEBP"
        assert shown.width <= 700
        assert abs(shown.width / shown.height - whole.width / whole.height) < 0.05

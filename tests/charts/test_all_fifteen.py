"""All fifteen at once, with hostile names, in a process of their own: what they leave as it was, and the same bytes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import untraced

pytest.importorskip("koreanize_matplotlib", reason="Korean needs a font: pip install 'hf-monitor[korean]'")

SCRIPTS = Path(__file__).parents[2] / "scripts"
NAME = "요약 <script> $x$ $\\foo$ 뷁 שלום \U0001f600 " + "가" * 10_000
CODE = f"""
import gc, json, logging, sys, warnings
warnings.simplefilter("error")
import matplotlib
def state():
    # Reading rcParams['backend'] itself chooses a backend, so it is asked for in the way that does not.
    values = {{key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}}
    return values, matplotlib.get_backend(auto_select=False)
before = state()
sys.path.insert(0, {str(SCRIPTS)!r})
from pathlib import Path
import bench_charts
records = []
class Keep(logging.Handler):
    def emit(self, record):
        records.append(record.getMessage())
logging.getLogger().addHandler(Keep())
drawn = bench_charts.draw_all(Path(sys.argv[1]), model_name=json.loads(sys.argv[2]))
assert state() == before, "rcParams or backend changed"
unwanted = ("matplotlib.pyplot", "torch", "transformers", "koreanize_matplotlib")
gc.collect()
figures = sum(type(thing).__name__ == "Figure" for thing in gc.get_objects())
loaded = [name for name in unwanted if name in sys.modules]
print(json.dumps({{"drawn": len(drawn), "loaded": loaded, "records": records, "figures": figures}}))
"""


def draw(folder, seed):
    environment = {**untraced.ENVIRONMENT, "PYTHONHASHSEED": seed}
    command = [sys.executable, "-c", CODE, str(folder), json.dumps(NAME)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    pictures = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}
    return json.loads(done.stdout.splitlines()[-1]), pictures


@pytest.mark.no_cover
def test_all_fifteen_leave_matplotlib_as_it_was_and_are_the_same_bytes_again(tmp_path):
    said, first = draw(tmp_path / "plots", "1")
    assert said == {"drawn": 15, "loaded": [], "records": [], "figures": 0}
    assert len(first) == 15
    shutil.rmtree(tmp_path / "plots")
    _, second = draw(tmp_path / "plots", "2")
    assert [name for name in first if first[name] != second.get(name)] == []

"""The Makefile's set-up, with a stand-in for Python that installs nothing: what it does and in which state."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")

# Makes environments whose python only writes down how it was called.
STAND_IN = r"""#!/bin/sh
here=$(dirname "$0")
echo "$@" >> {calls}
case "$1 $2" in
"-m venv")
    for folder; do :; done
    mkdir -p "$folder/bin"
    cp "$0" "$folder/bin/python"
    if [ -e {broken} ]; then
        echo "The virtual environment was not created successfully because ensurepip is not available."
        exit 1
    fi
    touch "$folder/bin/pip-is-there" "$folder/bin/activate" ;;
"-m pip"|"scripts/install.py install")
    [ -e "$here/pip-is-there" ] || {{ echo "No module named pip"; exit 1; }}
    case "$*" in *" install "*) [ ! -e {no_network} ] ;; esac ;;
"-c import"*) [ ! -e {old} ] ;;
"--version "*) echo "Python 3.8.10" ;;
esac
"""


@pytest.fixture
def clone(tmp_path):
    """A clone, in a folder with a space in its name, as far as the Makefile looks at it."""
    folder = tmp_path / "my clone"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    switches = {name: f"'{tmp_path / name}'" for name in ("calls", "broken", "no_network", "old")}
    python = tmp_path / "standin"
    python.write_text(STAND_IN.format(**switches))
    python.chmod(0o755)
    return folder


@pytest.fixture
def make(clone, tmp_path):
    """Run make there; give its exit code, what it printed, and how python was called."""

    def run(*arguments, python=tmp_path / "standin"):
        (tmp_path / "calls").write_text("")
        done = subprocess.run(
            ["make", *arguments, f"PYTHON={python}"], cwd=clone, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout + done.stderr, (tmp_path / "calls").read_text()

    return run


def test_the_first_call_installs_and_the_second_does_not(make):
    code, said, calls = make("train", "OUTPUT=a b")
    assert code == 0, said
    assert calls.count("-m venv") == 1
    assert calls.count(" install ") == 2
    assert calls.splitlines()[-1] == "scripts/train_summarizer.py --output_dir a b"
    _, _, calls = make("train")
    assert calls == "scripts/train_summarizer.py --output_dir outputs/demo\n"


def test_a_python_without_ensurepip_is_said_and_mended_by_the_next_call(make, tmp_path, clone):
    (tmp_path / "broken").touch()
    code, said, calls = make("train")
    assert code == 2
    assert "apt install python3-venv, then make train again." in said
    assert " install " not in calls
    assert (clone / ".venv" / "bin" / "python").exists()  # as Debian leaves it
    (tmp_path / "broken").unlink()
    code, said, calls = make("train")
    assert code == 0, said
    assert calls.count("-m venv") == 1


def installs(calls):
    return [line.partition(" install ")[2] for line in calls.splitlines() if " install " in line]


def test_torch_is_an_exact_version_unless_another_is_named_and_no_later_step_replaces_that(make, clone):
    _, _, calls = make("train")
    assert installs(calls)[0] == "torch==2.13.0"
    shutil.rmtree(clone / ".venv")
    _, _, calls = make("test", "TORCH=torch==2.9.0 --index-url https://download.pytorch.org/whl/cu130")
    assert installs(calls)[0] == "torch==2.9.0 --index-url https://download.pytorch.org/whl/cu130"
    assert all(call.startswith("-c constraints.txt -e ") for call in installs(calls)[1:])
    pinned = {line.partition("==")[0].strip().lower() for line in (clone / "constraints.txt").read_text().splitlines()}
    assert "transformers" in pinned
    assert "torch" not in pinned


@pytest.mark.parametrize("missing", ["activate", "python", "pip-is-there"])
def test_an_environment_whose_making_was_interrupted_is_made_anew(make, clone, missing):
    make("train")
    (clone / ".venv" / ".installed").unlink()
    (clone / ".venv" / "bin" / missing).unlink()
    code, said, calls = make("train")
    assert code == 0, said
    assert calls.count("-m venv") == 1


def test_an_environment_of_the_users_own_is_not_deleted(make, clone):
    """As uv makes them: of that name, and without pip."""
    (clone / ".venv").mkdir()
    (clone / ".venv" / "mine").touch()
    code, said, calls = make("train")
    assert code == 2
    assert ".venv is there, but has no pip, and make has not made it. Move it away, or: make train VENV=" in said
    assert (clone / ".venv" / "mine").exists()
    assert " install " not in calls
    code, said, _ = make("train", "VENV=.venv-make")
    assert code == 0, said


def test_an_interrupted_installation_is_taken_up_in_the_same_environment(make, tmp_path):
    (tmp_path / "no_network").touch()
    code, _, calls = make("train")
    assert code == 2
    assert "train_summarizer" not in calls
    (tmp_path / "no_network").unlink()
    code, said, calls = make("train")
    assert code == 0, said
    assert "-m venv" not in calls
    assert calls.count(" install ") == 2


def test_a_python_that_is_not_there_or_too_old_is_said(make, tmp_path):
    code, said, _ = make("train", python="nopython")
    assert code == 2
    assert "nopython was not found. hf_monitor needs Python 3.11 or newer." in said
    (tmp_path / "old").touch()
    code, said, _ = make("test")
    assert code == 2
    assert "needs Python 3.11 or newer" in said
    assert "is Python 3.8.10. Try: make test PYTHON=python3.11" in said


def test_a_real_environment_passes_for_whole(clone):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=clone, check=True)
    site = clone / ".venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    ours = Path(sys.prefix) / site.relative_to(clone / ".venv")
    whole = next(line for line in (clone / "Makefile").read_text().splitlines() if line.startswith("VENV_IS_WHOLE"))
    command = whole.partition(":= ")[2].replace("$(BIN)", ".venv/bin")
    assert subprocess.run(command, shell=True, cwd=clone, check=False).returncode != 0
    (site / "pip.pth").write_text(f"{ours}\n")
    assert subprocess.run(command, shell=True, cwd=clone, check=False).returncode == 0

"""scripts/install.py: what uv is told of pip's configuration, and that pip does what uv does not."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "install.py"
NAMES = runpy.run_path(str(SCRIPT))
PLAIN = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_SYSTEM_CERTS": "1"}

# Write down how they were called; uv and the getting of uv fail where a file says so.
UV = """#!/bin/sh
echo "uv $* $UV_INDEX_URL" >> {folder}/calls
if [ -e {folder}/uv_fails ]; then echo "error: no such host" >&2; exit 2; fi
"""
PIP = """
import pathlib, shutil, sys
folder = pathlib.Path(r"{folder}")
with (folder / "calls").open("a") as calls:
    print("pip", *sys.argv[1:], file=calls)
if "config" in sys.argv:
    print((folder / "config").read_text())
elif sys.argv[-1] == "uv":
    if (folder / "no_uv").exists():
        sys.exit(1)
    shutil.copy(folder / "uv", pathlib.Path(sys.prefix) / "bin" / "uv")
elif (folder / "pip_fails").exists():
    sys.exit(3)
"""


def test_the_stronger_of_pips_sources_counts_and_values_are_read_as_pip_writes_them():
    listed = (
        ":env:.find-links='/opt/wheels'\nglobal.find-links='/elsewhere'\nglobal.index-url='https://a/simple'\n"
        "install.index_url=\"https://b/it's\"\nglobal.extra-index-url='\\nhttps://c\\nhttps://d'\nfreeze.all='true'\n"
    )
    assert NAMES["configured"](listed) == {
        "find-links": "/opt/wheels",
        "index-url": "https://b/it's",
        "extra-index-url": "\nhttps://c\nhttps://d",
    }


def test_uv_looks_where_pip_would_and_passes_over_folders_that_are_not_there(tmp_path):
    here = tmp_path / "simple"
    here.mkdir()
    arguments, environment = NAMES["for_uv"](
        {
            "find-links": f"{here} {tmp_path / 'gone'}",
            "extra-index-url": f"https://c/simple {here.as_uri()} {(tmp_path / 'gone').as_uri()}",
            "index-url": "https://a/simple",
            "constraint": str(here),
            "cert": "/etc/ca.pem",
            "timeout": "180",
        }
    )
    assert arguments == [
        *("--find-links", str(here), "--extra-index-url", "https://c/simple"),
        *("--extra-index-url", here.as_uri(), "--constraint", str(here)),
    ]
    assert environment == PLAIN | {"UV_INDEX_URL": "https://a/simple", "SSL_CERT_FILE": "/etc/ca.pem"}


@pytest.mark.parametrize("option", ["no-index", "proxy", "client-cert", "require-hashes", "target", "something-new"])
def test_what_uv_cannot_be_told_leaves_it_to_pip(option):
    assert NAMES["for_uv"]({option: "1"}) is None


@pytest.fixture
def install(tmp_path):
    """Run the script in an environment whose pip and uv only write down how they were called."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (tmp_path / "pip.py").write_text(PIP.format(folder=tmp_path))
    (tmp_path / "uv").write_text(UV.format(folder=tmp_path))
    (tmp_path / "uv").chmod(0o755)
    (tmp_path / "config").write_text("global.index-url='https://mirror/simple'")

    def run(*arguments, **environment):
        (tmp_path / "calls").write_text("")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "COVERAGE_"))}
        done = subprocess.run(
            [tmp_path / "venv" / "bin" / "python", SCRIPT, "install", *arguments],
            env=kept | {"PYTHONPATH": str(tmp_path)} | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        calls = (tmp_path / "calls").read_text().splitlines()
        return done.returncode, done.stdout, [call for call in calls if " config " not in call]

    return run


PIP_INSTALLS = "pip --disable-pip-version-check --quiet install torch -f x"


@pytest.mark.skipif(os.name == "nt", reason="make is for POSIX")
def test_uv_is_fetched_once_and_pip_goes_on_where_it_is_missing_or_fails(install, tmp_path):
    code, said, calls = install("torch", "-f", "x", HF_MONITOR_UV="0")
    assert (code, said, calls) == (0, "", [PIP_INSTALLS])
    (tmp_path / "no_uv").touch()
    code, said, calls = install("torch", "-f", "x")
    assert code == 0
    assert said == "uv is not to be had here: installing with pip\n"
    assert calls[1:] == [PIP_INSTALLS]
    (tmp_path / "no_uv").unlink()

    python = tmp_path / "venv" / "bin" / "python"
    by_uv = f"uv --quiet pip install --python {python} torch -f x https://mirror/simple"
    code, said, calls = install("torch", "-f", "x")
    assert (code, said) == (0, "")
    assert calls[0].endswith("install --only-binary uv -c constraints.txt uv")
    assert calls[1:] == [by_uv]
    assert install("torch", "-f", "x") == (0, "", [by_uv])

    (tmp_path / "uv_fails").touch()
    code, said, calls = install("torch", "-f", "x")
    assert (code, said) == (0, "uv failed (error: no such host): installing with pip\n")
    assert calls == [by_uv, PIP_INSTALLS]
    (tmp_path / "pip_fails").touch()
    assert install("torch", "-f", "x")[0] == 3

    (tmp_path / "config").write_text("global.index-url='https://mirror/simple'\nglobal.proxy='http://proxy'")
    (tmp_path / "pip_fails").unlink()
    code, said, calls = install("torch", "-f", "x")
    assert (code, said) == (0, "pip's configuration says more than uv can be told: installing with pip\n")
    assert calls == [PIP_INSTALLS]
    (tmp_path / "config").write_text("global.index-url=not a literal of Python")
    assert install("torch", "-f", "x") == (0, said, [PIP_INSTALLS])

    (tmp_path / "config").write_text("")
    (tmp_path / "venv" / "bin" / "uv").write_bytes(b"\x7fELF of another machine")
    code, said, calls = install("torch", "-f", "x")
    assert (code, said) == (0, "uv does not start (Exec format error): installing with pip\n")
    assert calls == [PIP_INSTALLS]

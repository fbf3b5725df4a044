"""Scenarios in processes of their own, forked from one that has imported everything."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest


class Scenario:
    """A process that runs a piece of code in a folder."""

    def __init__(self, server, folder, code, env, traced):
        self.server, self.folder = server, folder
        order = {"code": textwrap.dedent(code), "cwd": str(folder), "env": env, "traced": traced}
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        self.pid = json.loads(server.stdout.readline())["pid"]

    def wait_until_ready(self):
        until = time.monotonic() + 60
        while not (self.folder / "ready").exists():
            assert time.monotonic() < until, self.err
            time.sleep(0.01)

    def send(self, number):
        self.wait_until_ready()
        os.kill(self.pid, number)
        return self

    def end(self):
        """Wait for the end; give the exit code as :mod:`subprocess` does (negative: the signal)."""
        return json.loads(self.server.stdout.readline())["code"]

    @property
    def out(self):
        return (self.folder / "out.txt").read_text()

    @property
    def err(self):
        return (self.folder / "err.txt").read_text()


@pytest.fixture(scope="module")
def nursery():
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("nursery.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        assert "up" in server.stdout.readline()
        yield server
        server.stdin.close()
        assert server.wait(timeout=60) == 0


@pytest.fixture
def scenario(nursery, tmp_path, request):
    """Start a scenario; tests marked ``no_cover`` have theirs not traced either (one that is killed leaves no data)."""
    started, traced = [], request.node.get_closest_marker("no_cover") is None

    def start(code, **env):
        found = Scenario(nursery, tmp_path, code, env, traced)
        started.append(found)
        return found

    yield start
    for one in started:
        try:
            os.kill(one.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        nursery.stdout.readline()

"""A mirror that keeps what it was told; the real one is a process that imports wandb."""

from typing import ClassVar


class FakeMirror:
    made: ClassVar[list] = []

    def __init__(self, spec, *more):
        self.spec, self.run, self.announce = spec, more[0] if len(more) == 2 else None, more[-1]
        self.calls: list = []
        FakeMirror.made.append(self)

    @property
    def url(self):
        return f"https://wandb.ai/me/p/runs/{self.spec.wandb_id}"

    def start(self):
        self.calls.append("start")

    def drain(self, seconds):
        self.calls.append("drain")
        return True

    def finish(self, exit_code=None, seconds=8.0):
        self.calls.append(("finish", exit_code))

"""A stand-in for a card and the probes on it."""

from __future__ import annotations

import dataclasses

from hf_monitor.auto_batch import plan as plan_module
from hf_monitor.auto_batch import probe as probing
from hf_monitor.auto_batch.plan_device import DeviceFacts
from hf_monitor.auto_batch.shapes import Budget, ProbeResult, StepSettings, Trial
from hf_monitor.errors import BatchDoesNotFit
from hf_monitor.gpu.tiers import tier_of
from hf_monitor.seq2seq.batches import Lengths

GIB = 2**30


class Card:
    """Answers as a card would: so much memory, so many bytes a sample, so many samples a second."""

    def __init__(self, monkeypatch, name="NVIDIA GeForce RTX 3060", gib=12.0, precision="bf16", fixed=1.0, slope=0.1):
        self.name, self.gib, self.fixed, self.slope, self.speed = name, gib, fixed, slope, lambda size: float(size)
        self.largest_evaluation = 7
        self.calls = []
        facts = DeviceFacts("cpu", name, gib * 1024, precision, tier_of(name, gib * 1024))
        monkeypatch.setattr(plan_module, "launch_facts", lambda device: facts)
        monkeypatch.setattr(probing, "probe_batch_size", self.probe)
        monkeypatch.setattr(probing, "time_batch_sizes", self.time)

    def peak(self, size, options):
        halves = options["precision"] != "fp32"
        fixed = self.fixed * (1.5 if options["accumulation"] else 1.0)
        return fixed + self.slope * size * (0.6 if halves else 1.0) * (0.3 if options["gradient_checkpointing"] else 1)

    def probe(self, model, device, safe_factor, *, max_batch_size, evaluation=None, **options):
        self.calls.append({**options, "max_batch_size": max_batch_size, "evaluation": evaluation})
        limit = safe_factor * self.gib
        if self.peak(1, options) > limit:
            raise BatchDoesNotFit("not even one sample fits", needed_bytes=1, limit_bytes=int(limit * GIB))
        size = max(n for n in range(1, max_batch_size + 1) if self.peak(n, options) <= limit)
        peak = int(self.peak(size, options) * GIB)
        trial = Trial(size, peak, True, False, 0.5, size / 0.5, peak - 1)
        names = {field.name for field in dataclasses.fields(StepSettings)}
        found = ProbeResult(
            batch_size=size,
            peak_bytes=peak,
            predicted_bytes=peak - 1,
            budget=Budget(int(self.gib * GIB), "all of the card"),
            limit_bytes=int(limit * GIB),
            safe_factor=safe_factor,
            lengths=Lengths(512, 128, "given"),
            settings=StepSettings(**{k: v for k, v in options.items() if k in names}),
            device="cpu",
            device_name=self.name,
            meter="a stand-in",
            trials=(trial,),
            limited_by="memory" if size < max_batch_size else "max_batch_size",
        )
        if evaluation is None or not self.largest_evaluation:
            return found
        inner = dataclasses.replace(found, batch_size=self.largest_evaluation)
        return dataclasses.replace(found, evaluation=inner)

    def time(self, model, device, sizes, settings, *, repeats, **options):
        self.calls.append({"sizes": sizes, "repeats": repeats, "accumulation": settings.accumulation, **options})
        return tuple(Trial(n, GIB, True, False, n / self.speed(n), self.speed(n)) for n in sizes)

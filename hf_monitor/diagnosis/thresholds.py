"""Every number that a hardware rule decides by, with its reason; ``docs/findings.md`` shows them as a table."""

from __future__ import annotations

__all__ = [
    "BLOCKS",
    "BUSY_CPU_SHARE",
    "BUSY_GPU_PERCENT",
    "BUSY_HOST_PERCENT",
    "CLOCK_SHARE",
    "DATA_WAIT_HIGH_SHARE",
    "DATA_WAIT_SHARE",
    "DISK_CHECKPOINTS",
    "DISK_FREE_MIB",
    "FAR",
    "FEW_WORKERS",
    "LONG_SAMPLES",
    "MANY_STEPS",
    "MEMORY_BAND",
    "MEMORY_EDGE_SHARE",
    "MEMORY_HEADROOM_SHARE",
    "MIN_MEMORY_SAMPLES",
    "MIN_SAMPLES",
    "MIN_SECONDS",
    "MIN_STEPS",
    "MIN_WINDOWS",
    "OTHER_MEMORY_SHARE",
    "OVERFITTING_EVALUATIONS",
    "OVERFITTING_NOISE",
    "OVERFITTING_RISE",
    "OVERFITTING_TREND",
    "OVERFITTING_TREND_FROM_FIRST",
    "TEXT_COLUMNS",
    "THROTTLED_SHARE",
    "USUAL_WORKERS",
    "WARM_UP_WINDOWS",
]

# How much must be seen

MIN_SAMPLES = 40
"""Samples of the training phases that a share or a mean needs. None throttled among 35 is the least that leaves 10 %
out (Wilson, 95 %: 0 of 35 reaches up to 9.9 %); at the sampler's 1 Hz this is 40 s of training."""

MIN_SECONDS = 30.0
"""Time that these samples must span, however fast the sampler was: NVML's utilisation is itself a mean over 1/6 s to 1
s (``nvmlUtilization_t``), so that many samples of a few seconds say the same thing many times."""

MIN_WINDOWS = 3
"""Logged windows after the warm-up: the fewest for which Student's factor (4.3 for 2 degrees) is of any use."""

MIN_STEPS = 20
"""Optimizer steps in these windows: with fewer, one slow batch is more than 5 % of all."""

MANY_STEPS = 100
"""Optimizer steps from which fewer windows than ``MIN_WINDOWS`` count, too (``logging_steps`` is 500 by default). They
give no interval, but the wait in them was measured step by step: one that is ``FAR`` from its threshold is there, or is
not. Of 100 steps one slow batch would have to take as long as 25 others to be a fifth of the time."""

WARM_UP_WINDOWS = 3
"""From so many windows on the first is left out: it holds the start of the data loader's workers, cuDNN's choice of
kernels and the first growth of the allocator."""

MIN_MEMORY_SAMPLES = 10
"""Samples before a peak is taken for the peak of the training. A peak that is too high needs one: it was there."""

BLOCKS = 10
"""Consecutive samples are put into so many blocks, and the interval is Student's over the blocks' means (method of
batch means, Schmeiser 1982: 10 to 30 blocks), because samples of one second resemble their neighbours and are no
independent draws."""

FAR = 2.0
"""A share or mean is judged by its 95 % interval, block by block, so that one near its threshold is inconclusive. But a
training that had twice the threshold had it, even if in one spell (a card that throttles from its hottest hour on), and
one that had half of it did not. For the wait for data these are TensorFlow's 20 % and 5 %."""

LONG_SAMPLES = 120
"""Samples (two minutes at 1 Hz) from which ``FAR`` counts: in less, one spell of seconds would be a fifth of it."""

# Where the time goes

DATA_WAIT_SHARE = 0.10
"""Share of the training time spent waiting for the next batch. As much as takes a GPU that is busy otherwise below
``BUSY_GPU_PERCENT``. PyTorch's profiler plugin recommends workers from 5 % (torch_tb_profiler,
``RunProfileData.analyze``); TensorFlow's calls 5 % moderately and 20 % highly input-bound
(``kModeratelyInfeedBoundThresholdInPercent``, ``kHighlyInfeedBoundThresholdInPercent``)."""

DATA_WAIT_HIGH_SHARE = 0.20
"""From here on it is a warning: TensorFlow's "highly input-bound"."""

BUSY_GPU_PERCENT = 90.0
"""NVML utilisation (share of time with any kernel running) from which a GPU is busy. A little under 100, since the
Trainer leaves gaps of its own (optimizer, logging) of a few percent."""

BUSY_CPU_SHARE = 0.70
"""Of the cores that torch may use, on a training without GPU. Lower than for a GPU: Python, the tokenizer's collation
and the serial parts of the optimizer leave all cores but one idle. Our own choice."""

# Clocks

THROTTLED_SHARE = 0.10
"""Share of the training's samples with a reason to throttle. A short spell (a fan that is late, a change of P-state,
which NVML may report as hw_slowdown) costs nothing that is worth an action. Our own choice."""

CLOCK_SHARE = 0.70
"""Mean SM clock while power-capped, of the highest clock. A power cap is how a card keeps to its limit, and the highest
clock is above what a card holds under load. Below 70 % the limit itself was lowered, or power is missing. Our own
choice, not measured."""

# Memory

MEMORY_EDGE_SHARE = 0.95
"""Peak of the memory used, of the total. What is left is for a batch longer than any so far."""

MEMORY_HEADROOM_SHARE = 0.70
"""Peak below which a larger batch is worth the change. Memory is a fixed part (weights, gradients, optimizer) and a
part that grows with the batch, so that a batch of 0.95 / peak times the size fits: from 70 % down at least a third
more. It is also the figure of SageMaker Debugger's BatchSize rule (``gpu_memory_threshold_p95=70``)."""

MEMORY_BAND = 0.02
"""A peak that misses a threshold by less than this is said to be near it: the next training's longest batch decides."""

OTHER_MEMORY_SHARE = 0.05
"""Of the card's memory, held by others: what ``MEMORY_EDGE_SHARE`` leaves free. A desktop's windows (100 to 500 MiB)
stay below it on cards of 12 GiB and more. Our own choice."""

# Host

DISK_FREE_MIB = 1024.0
"""Least free disk: log, rows and charts of a long run, and the operating system's own needs."""

DISK_CHECKPOINTS = 2
"""Checkpoints that must still fit, where the Trainer saves any: it writes the new one before it deletes the old one."""

# Losses

OVERFITTING_EVALUATIONS = 2
"""Evaluations after the lowest one that a rise needs: one alone may be chance."""

OVERFITTING_RISE = 0.01
"""Rise of the validation loss above its lowest, as a share of it; Prechelt's generalization loss GL_1 (1 %)."""

OVERFITTING_NOISE = 1.0
"""Standard deviations of the evaluations' own scatter that the rise must be above what the lowest of so many is below
by chance (sqrt(2 ln m), the expected extreme of m normal values). Simulated, 2000 draws each: losses that only scatter
by 1 % are called overfitting in 6 % (3 evaluations), 4 % (5), 5 % (10), 2 % (20), 1 % (50), by 0.4 % in at most 2 %;
smooth U-shapes with 0.3 % of scatter are found from 10 evaluations on; with 5 in 98 %, 42 % or 0 %, by their shape
(``scripts/bench_charts.py --overfitting``)."""

OVERFITTING_TREND = 0.3
"""Kendall's tau of the evaluations after the lowest against their order. Our own choice, by the same simulation."""

OVERFITTING_TREND_FROM_FIRST = 0.8
"""The same where the first evaluation was the lowest: there is no fall before it to show that anything was learnt."""

# Suggestions

FEW_WORKERS = 2
"""Data loader workers up to which more are suggested where there are cores: Lightning's rule (``num_workers <= 2 <
num_cpus``)."""

USUAL_WORKERS = 4
"""Workers suggested at most: batches of texts are light, and each worker is a process with its own memory."""

TEXT_COLUMNS = (
    *("text", "document", "article", "summary", "highlights", "dialogue", "sentence", "passage", "question", "answer"),
    *("prompt", "instruction", "completion", "messages", "conversation", "translation", "premise", "hypothesis"),
)
"""Parts of the names that columns of raw text have: where one is there and ``input_ids`` is not, texts are tokenized
while the training goes on. From data sets that are much used (CNN/DailyMail, XSum, SAMSum, GLUE, SQuAD, WMT, chats),
without names that tables have, too ("target", "source"). Our own choice."""

BUSY_HOST_PERCENT = 90.0
"""Mean load of all cores from which more workers are not suggested: they would only take turns. SageMaker Debugger's
CPUBottleneck rule has the same figure (``cpu_threshold=90``)."""

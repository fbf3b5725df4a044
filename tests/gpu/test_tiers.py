"""Tiers: the golden table of cards, and what must hold for any device.

cards.csv: what nvidia-smi (NVML) or rocm-smi report, and where that was read: a GitHub thread, a file of a repository,
or ("index id") the text of a public GitHub file, of which the index gave no address, only its own number. The name
of a MIG instance is put together from its card and profile, as torch does.
"""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_monitor.errors import InputError
from hf_monitor.gpu.tiers import EFFECTIVE_BATCH, TIERS, tier_of

with (Path(__file__).parent / "cards.csv").open(encoding="utf-8", newline="") as file:
    CARDS = [(row["name"], float(row["memory_mib"]), row["tier"]) for row in csv.DictReader(file)]

memories = st.floats(min_value=1, max_value=300_000)
tiers = st.sampled_from(list(TIERS.values()))


@pytest.mark.parametrize(("name", "memory_mib", "tier"), CARDS, ids=[f"{card[0]} {card[1]:.0f}" for card in CARDS])
def test_each_card_is_in_the_tier_that_its_owner_expects(name, memory_mib, tier):
    assert tier_of(name, memory_mib).tier.name == tier


@pytest.mark.parametrize(
    ("memory_gib", "tier"),
    [(7.42, "Budget"), (7.51, "Budget"), (11.49, "Mid-Range"), (11.56, "Mid-Range"), (21.95, "High-End")],
)
def test_torch_reports_less_than_nvml_and_the_tier_is_the_same(memory_gib, tier):
    # "GPU 0 has a total capacity of ..." of 8, 12 and 24 GB cards in public out-of-memory messages, the lowest ones
    assert tier_of("a card", memory_gib * 1024).tier.name == tier


def test_every_card_says_where_its_figure_comes_from():
    with (Path(__file__).parent / "cards.csv").open(encoding="utf-8", newline="") as file:
        sources = [row["source"] for row in csv.DictReader(file)]
    assert len(sources) >= 45
    checkable = [
        source
        for source in sources
        if re.match(r"https://github\.com/[\w.-]+/[\w.-]+(/(issues|pull)/\d+| \S+)", source)
    ]
    assert len(checkable) >= 30  # a thread, or a file of a repository; of the others only an index knows the address
    assert all(re.fullmatch(r"index id \d+ .*", source) for source in sources if source not in checkable)


@pytest.mark.parametrize(
    ("name", "batch_sizes", "accumulation"),
    [
        ("High-End", (96, 256), (1, 1)),
        ("Mid-Range", (64, 128), (2, 2)),
        ("Budget", (32, 64), (3, 4)),
        ("Low-End", (16, 32), (6, 8)),
    ],
)
def test_the_tiers_are_those_that_were_asked_for(name, batch_sizes, accumulation):
    assert (TIERS[name].batch_sizes, TIERS[name].accumulation) == (batch_sizes, accumulation)


def test_every_batch_of_a_tier_times_every_accumulation_of_it_stays_within_96_to_256():
    for tier in TIERS.values():
        for batch_size in range(tier.batch_sizes[0], tier.batch_sizes[1] + 1):
            for steps in range(tier.accumulation[0], tier.accumulation[1] + 1):
                assert EFFECTIVE_BATCH[0] <= batch_size * steps <= EFFECTIVE_BATCH[1]


@settings(deadline=None)
@given(tiers, st.data(), st.integers(1, 10_000))
def test_whatever_is_asked_for_a_batch_of_the_tier_gets_an_accumulation_of_the_tier(tier, data, effective):
    batch_size = data.draw(st.integers(*tier.batch_sizes))
    steps = tier.accumulation_for(batch_size, effective)
    assert tier.accumulation[0] <= steps <= tier.accumulation[1]
    assert EFFECTIVE_BATCH[0] <= batch_size * steps <= EFFECTIVE_BATCH[1]
    others = range(tier.accumulation[0], tier.accumulation[1] + 1)
    assert all(abs(batch_size * steps - effective) <= abs(batch_size * other - effective) for other in others)


@pytest.mark.parametrize(
    ("tier", "batch_size", "steps"), [("High-End", 128, 1), ("Mid-Range", 64, 2), ("Budget", 32, 4), ("Low-End", 16, 8)]
)
def test_the_default_effective_batch_is_128(tier, batch_size, steps):
    assert TIERS[tier].accumulation_for(batch_size) == steps
    assert TIERS[tier].start == (batch_size, steps)


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 128), (3, 43), (8, 16), (300, 1), (1000, 1)])
def test_a_measured_batch_outside_the_tier_gets_what_it_needs(batch_size, steps):
    assert TIERS["Low-End"].accumulation_for(batch_size) == steps


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(InputError, match="batch_size must be 1 or more, got 0"):
        TIERS["Budget"].accumulation_for(0)
    with pytest.raises(InputError, match="effective must be 1 or more, got -1"):
        TIERS["Budget"].accumulation_for(32, -1)


@settings(deadline=None)
@given(memories, memories)
def test_more_memory_is_never_a_lower_tier_for_an_unknown_name(one, other):
    order = list(TIERS.values())
    less, more = sorted((one, other))
    assert order.index(tier_of("Card X", more).tier) <= order.index(tier_of("Card X", less).tier)


@settings(deadline=None)
@given(st.text(), st.none() | st.floats() | st.integers(-10, 10**9))
def test_any_name_and_any_memory_give_a_tier_and_a_rule(name, memory_mib):
    match = tier_of(name, memory_mib)
    assert match.tier in TIERS.values()
    assert match.rule


@pytest.mark.parametrize(
    ("name", "memory_mib", "tier"),
    [card for card in CARDS if card[0].startswith(("NVIDIA ", "Tesla "))],
    ids=[f"{card[0]} {card[1]:.0f}" for card in CARDS if card[0].startswith(("NVIDIA ", "Tesla "))],
)
def test_prefix_and_case_of_the_name_do_not_matter(name, memory_mib, tier):
    bare = name.removeprefix("NVIDIA ").removeprefix("Tesla ").removeprefix("GeForce ")
    for spelling in (bare, f"NVIDIA {bare}", f"Tesla {bare}", f"GeForce {bare}", bare.upper(), f"  nvidia  {bare} "):
        assert tier_of(spelling, memory_mib) == tier_of(name, memory_mib)


@pytest.mark.parametrize(
    ("name", "memory_mib", "rule"),
    [
        ("NVIDIA GeForce RTX 3060", 12288, "by its name: RTX 3060, also with 12 GB"),
        ("NVIDIA GeForce RTX 3080", 10240, "by its name: RTX 3080, also with 10 GB"),
        ("Tesla T4", 15360, "by its name: T4, 16 GB"),
        ("NVIDIA GeForce RTX 4090", 24564, "by its memory: 24564 MiB (22016 or more)"),
        (
            "NVIDIA GeForce RTX 3080 Laptop GPU",
            8192,
            "by its memory, being a laptop's: 8192 MiB (7577 or more)",
        ),
        (
            "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
            4864,
            "by the memory of this MIG instance, not of the whole card: 4864 MiB "
            "(below 7577, and below the 6 GB that the tier is meant for)",
        ),
        ("NVIDIA GeForce GTX 1660", 6144, "by its memory: 6144 MiB (below 7577)"),
        ("", None, "neither its memory nor its name is known: the lowest tier"),
    ],
)
def test_the_rule_that_fired_is_said(name, memory_mib, rule):
    assert tier_of(name, memory_mib).rule == rule


@pytest.mark.parametrize(
    ("name", "tier"),
    [
        ("NVIDIA H100 80GB HBM3", "High-End"),
        ("NVIDIA H100 PCIe", "High-End"),
        ("NVIDIA H200 NVL", "High-End"),
        ("NVIDIA GH200 480GB", "High-End"),
        ("NVIDIA GB10", "High-End"),
        ("NVIDIA A100 80GB PCIe", "High-End"),
        ("NVIDIA A100-PG509-200", "High-End"),
        ("A100-SXM-64GB", "High-End"),
        ("NVIDIA L40", "High-End"),
        ("NVIDIA L4", "High-End"),
        ("AMD Instinct MI100", "High-End"),
        ("AMD Instinct MI210", "High-End"),
        ("AMD Instinct MI250X/MI250", "High-End"),
        ("AMD Instinct MI300X VF", "High-End"),
        ("AMD Instinct MI300A", "High-End"),
        ("Arcturus GL-XL [Instinct MI100]", "High-End"),
        ("Tesla V100S-PCIE-32GB", "High-End"),
        ("Tesla V100-DGXS-16GB", "Mid-Range"),
        ("NVIDIA GeForce GTX 1060 6GB", "Low-End"),
        ("NVIDIA RTX 2000 Ada Generation 16GB", "Mid-Range"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "Low-End"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "Budget"),
        ("NVIDIA H200 MIG 7g.141gb", "High-End"),
        ("NVIDIA GeForce RTX 3060 Laptop GPU", "Low-End"),
    ],
)
@pytest.mark.parametrize("unknown", [None, 0, -1.0, math.nan, math.inf])
def test_without_memory_the_name_says_what_it_can(name, tier, unknown):
    assert tier_of(name, unknown).tier.name == tier


@pytest.mark.parametrize(
    ("name", "memory_mib", "tier"),
    [
        ("GRID T4-4Q", 4096, "Low-End"),  # a vGPU has a name of its own ...
        ("NVIDIA A100-10C", 10240, "Budget"),
        ("NVIDIA A100-10", 10240, "Budget"),
        ("Tesla T4", 4000, "Low-End"),  # ... or that of the card (HAMi)
        ("NVIDIA H100 80GB HBM3", 20000, "Mid-Range"),
    ],
)
def test_a_part_of_a_card_goes_by_its_own_memory(name, memory_mib, tier):
    assert tier_of(name, memory_mib).tier.name == tier


@pytest.mark.parametrize(
    "name", ["NVIDIA A100-SXM4-40GB MIG 1g.5gb", "nvidia a100-sxm4-40gb mig 1G.5GB", "A100 1g.5gb"]
)
def test_a_mig_instance_goes_by_its_memory_whatever_the_case(name):
    assert tier_of(name, 4864).tier.name == "Low-End"
    assert "MIG" in tier_of(name, 4864).rule


@pytest.mark.parametrize(
    ("name", "memory_gib", "tier"),
    [
        ("Apple M1", 8, "Low-End"),
        ("Apple M2", 16, "Budget"),
        ("Apple M3 Pro", 18, "Mid-Range"),
        ("M4 Max", 36, "High-End"),
        ("Apple M2 Ultra", 192, "High-End"),
        ("Apple M1", None, "Low-End"),
    ],
)
def test_an_apple_chip_goes_by_the_share_of_the_memory_that_its_gpu_may_use(name, memory_gib, tier):
    match = tier_of(name, None if memory_gib is None else memory_gib * 1024)
    assert match.tier.name == tier
    assert "Apple" in match.rule

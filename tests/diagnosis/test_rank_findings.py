"""Trainings on several cards: all processes wait for the one whose data comes last, whichever it is."""

import pytest

from hf_monitor.diagnosis import hardware_findings
from hf_monitor.run import RunWriter, load_run
from hf_monitor.run.ranks import RankSamples

NO_TORCH = dict.fromkeys(
    ("torch_allocated_mib", "torch_reserved_mib", "torch_allocated_peak_mib", "torch_reserved_peak_mib")
)


def findings(folder):
    return {found.rule: found for found in hardware_findings(folder.run())}


def four_ranks(folder, shares, load=(99.0, 99.0, 99.0, 55.0), **rank):
    """Ranks 0 to 3, a card each; those that wait for another in NCCL are busy."""
    folder.facts["devices"]["world_size"] = 4
    folder.begin(gpus=[{"gpu": gpu, "memory_total_mib": 24564.0} for gpu in range(4)]).windows([shares[0]] * 8).host()
    folder.system[0]["used_gpus"] = [0, 1, 2, 3]
    for gpu, percent in enumerate(load):
        folder.gpu(100, gpu=gpu, utilization_percent=percent, **({} if gpu == 0 else NO_TORCH))
    for k, share in enumerate(shares[1:], start=1):
        folder.rank(k, [share] * 8, **rank)
    return folder


def test_a_slow_loader_of_another_rank_makes_the_training_data_bound(folder):
    four_ranks(folder, [0.01, 0.02, 0.01, 0.45])
    found = findings(folder)["data_bound"]
    assert (found.verdict, found.severity, found.gpu) == ("found", "warning", 3)
    assert found.value == pytest.approx(0.45)
    assert (found.n_samples, found.steps) == (7, (20, 80))  # without the rank's first window
    assert found.sentence.startswith("Rank 3 waited for its next batch 45 % of its time")
    assert "GPU 3 busy 55 %" in found.sentence
    assert "of 4 ranks it waited most" in found.sentence
    assert found.evidence["data_wait_rank"] == 3
    assert found.evidence["data_wait_share_of_ranks"] == {"0": 0.01, "1": 0.02, "2": 0.01, "3": 0.45}


def test_a_card_that_is_busy_with_waiting_for_another_rank_is_not_compute_bound(folder):
    found = findings(four_ranks(folder, [0.01, 0.02, 0.01, 0.45]))["compute_bound"]
    assert (found.verdict, found.gpu, found.value) == ("clear", 0, 99.0)
    assert "GPU 0 was busy 99 %" in found.sentence
    assert "rank 3 waited for data 45 %" in found.sentence


def test_ranks_that_hardly_wait_are_clear_and_may_be_compute_bound(folder):
    found = findings(four_ranks(folder, [0.01, 0.02, 0.01, 0.03], load=(99.0,) * 4))
    assert found["data_bound"].verdict == "clear"
    assert found["compute_bound"].verdict == "found"


def test_a_slow_loader_of_rank_0_is_found_as_ever(folder):
    found = findings(four_ranks(folder, [0.45, 0.02, 0.01, 0.02], load=(55.0, 99.0, 99.0, 99.0)))["data_bound"]
    assert (found.verdict, found.gpu) == ("found", 0)
    assert found.sentence.startswith("Rank 0 waited")


def test_a_rank_whose_card_is_busy_all_the_same_holds_nothing_up(folder):
    found = findings(four_ranks(folder, [0.01, 0.02, 0.01, 0.45], load=(99.0,) * 4))["data_bound"]
    assert found.verdict == "clear"
    assert "GPU 3 busy 99 % of it all the same" in found.sentence


def test_rank_0_alone_says_nothing_of_the_others(folder):
    four_ranks(folder, [0.01])
    found = findings(folder)
    assert found["data_bound"].verdict == "inconclusive"
    assert "of 4 ranks only rank 0 was heard" in found["data_bound"].reason
    assert "only rank 0 was heard" in found["data_bound"].sentence
    assert found["compute_bound"].verdict == "inconclusive"  # busy, or waiting for another rank


def test_ranks_of_which_some_were_not_heard_are_not_clear(folder):
    found = findings(four_ranks(folder, [0.01, 0.02]))["data_bound"]
    assert found.verdict == "inconclusive"
    assert "of 4 ranks 2 ranks were heard" in found.reason


def test_rank_0_that_waits_is_found_though_no_other_was_heard(folder):
    found = findings(four_ranks(folder, [0.4], load=(55.0,) * 4))["data_bound"]
    assert found.verdict == "found"
    assert "only rank 0 was heard" in found.sentence


def test_rank_0_that_waits_with_a_busy_card_may_wait_for_others(folder):
    assert findings(four_ranks(folder, [0.4]))["data_bound"].verdict == "inconclusive"


def test_samples_of_rank_0_alone_say_nothing_of_the_others_either(folder):
    four_ranks(folder, [0.01])
    folder.metrics = folder.metrics[:1]
    found = findings(folder)["data_bound"]
    assert found.n_samples == 100
    assert (found.verdict, "only rank 0 was heard" in found.reason) == ("inconclusive", True)


@pytest.mark.parametrize("rank", [{"host": "there"}, {"device": "cuda:0"}, {"device": "cuda:9"}, {"device": "xpu:3"}])
def test_a_card_that_is_not_known_to_be_the_ranks_is_not_asked(folder, rank):
    """Another machine's cards have the same numbers, and where each process sees one card only, all are cuda:0."""
    found = findings(four_ranks(folder, [0.01, 0.02, 0.01, 0.45], load=(99.0,) * 4, **rank))["data_bound"]
    assert (found.verdict, found.gpu) == ("found", None)
    assert "busy" not in found.sentence


def test_windows_of_a_rank_before_it_began_again_do_not_count(folder):
    four_ranks(folder, [0.01, 0.8, 0.01, 0.02], load=(99.0,) * 4)
    folder.rank(1, [0.01] * 8, time=1_000_200.0)  # auto_find_batch_size
    found = findings(folder)["data_bound"]
    assert (found.verdict, found.evidence["data_wait_share_of_ranks"]["1"]) == ("clear", 0.01)


def test_a_rank_with_too_little_to_say_was_not_heard(folder):
    four_ranks(folder, [0.01, 0.01, 0.01, 0.01], load=(99.0,) * 4)
    folder.ranks[3] = folder.ranks[3][:2]
    assert "3 ranks were heard" in findings(folder)["data_bound"].reason


@pytest.mark.parametrize("rank", [-1, "1", 1.5, [1], {"a": 1}, True, 10**400])
def test_a_rank_that_is_none_is_nobody(folder, rank):
    folder.begin().windows([0.01] * 8).gpu().host()
    folder.system += [row | {"rank": rank, "data_wait_share": 0.9} for row in folder.metrics]
    assert findings(folder)["data_bound"].verdict == "clear"


def test_what_ranks_wrote_is_read_from_their_files(tmp_path, monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    timing = {"kind": "timing", "steps": 10, "seconds": 10.0, "step_seconds": 0.9}
    shares = {0: 0.01, 1: 0.40}

    def trained(writer, samples):
        for step in range(10, 90, 10):
            writer.numbers("timing", step, {**timing, "data_wait_share": shares[0]})
            samples.rows("system.jsonl", [{"step": step, **timing, "data_wait_share": shares[1]}])

    first = RunWriter(tmp_path)
    first.begin_attempt({"devices": {"world_size": 2, "device": "cuda:0"}})
    first.event("train_begin", 0)
    second = RankSamples(tmp_path, 1)
    second.rows("system.jsonl", [{"step": 0, "kind": "event", "event": "sampler_begin", "device": "cuda:1"}])
    first.rows("system.jsonl", [{"step": 0, "kind": "event", "event": "sampler_begin", "device": "cuda:0"}])
    gpu = {"kind": "gpu", "phase": "train", "step": 1, "memory_used_mib": 5.0}
    for k in range(60):
        cards = [{**gpu, "gpu": 0, "utilization_percent": 99}, {**gpu, "gpu": 1, "utilization_percent": 50}]
        first.rows("system.jsonl", [{**card, "time": 2e9 + k} for card in cards])
    trained(first, second)

    assert (tmp_path / "system.rank1.jsonl").exists()
    run = load_run(tmp_path)
    assert {(row["rank"], row["attempt"]) for row in run.system.of("timing")} == {(1, 1)}
    found = {one.rule: one for one in hardware_findings(run)}
    assert (found["data_bound"].verdict, found["data_bound"].gpu) == ("found", 1)
    assert "Rank 1 waited for its next batch 40 % of its time" in found["data_bound"].sentence
    assert "GPU 1 busy 50 %" in found["data_bound"].sentence


# One process, several cards


def over_two_cards(folder, **second):
    """A model that ``device_map`` has spread: the arguments name the first card only."""
    folder.begin(gpus=[{"gpu": gpu, "memory_total_mib": 24564.0} for gpu in range(3)]).windows([0.02] * 10).host()
    folder.system[0]["used_gpus"] = [0]
    folder.gpu(100, utilization_percent=45.0).gpu(100, gpu=2, **NO_TORCH)
    return folder.gpu(100, gpu=1, memory_used_mib=24500.0, throttle=["hw_thermal"], **second)


def test_a_card_that_holds_tensors_is_judged_though_no_argument_names_it(folder):
    found = hardware_findings(over_two_cards(folder, torch_allocated_mib=9000.0).run())
    about = {rule: [one.gpu for one in found if one.rule == rule] for rule in ("memory_edge", "thermal_throttling")}
    assert about == {"memory_edge": [0, 1], "thermal_throttling": [0, 1]}
    assert {one.verdict for one in found if one.gpu == 1} >= {"found"}
    (compute_bound,) = [one for one in found if one.rule == "compute_bound"]
    assert "cards that share the model take turns" in compute_bound.sentence


def test_a_card_with_a_context_and_no_tensors_is_not_judged(folder):
    found = hardware_findings(over_two_cards(folder, torch_allocated_mib=0.0).run())
    assert [one.gpu for one in found if one.rule == "memory_edge"] == [0]

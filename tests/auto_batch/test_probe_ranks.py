"""Several processes: the smallest result holds for all, or all end with an error and none waits for another."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import untraced

from hf_monitor.auto_batch.agreement import agree, smallest
from hf_monitor.auto_batch.ranks import World, ddp_bucket_bytes, probe_together, world
from hf_monitor.auto_batch.shapes import Budget, ProbeResult, StepSettings, Trial
from hf_monitor.auto_batch.sharding import sharded_by, sharding_note
from hf_monitor.errors import BatchDoesNotFit, HfMonitorError
from hf_monitor.seq2seq.batches import Lengths

SCRIPT = str(Path(__file__).with_name("ranks_script.py"))
ACCELERATE = [untraced.LAUNCH, "--multi_gpu", "--num_processes", "2"]
ENVIRONMENT = {**untraced.ENVIRONMENT, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


def result_of(size, **changes):
    trial = Trial(size, 100 * size, True, False, 0.1)
    found = ProbeResult(
        size, 100 * size, None, Budget(1000, "told"), 950, 0.95, Lengths(8, 4), StepSettings(), "cpu", "x86", "counted",
        trials=(trial,),
    )  # fmt: skip
    return replace(found, **changes)


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """Two processes of `accelerate launch`: what they agreed upon, trained with, and how they failed.

    Trainer's own auto_find_batch_size, where only rank 1 runs out of memory above 3 samples, was seen here (torch 2.13,
    transformers 5.23, accelerate 1.15, gloo) not to end: after 45 s rank 1 stood in DistributedDataParallel's
    constructor, at its next size, and rank 0 in backward(), at the old one, each waiting for the other.
    """
    folder = tmp_path_factory.mktemp("ranks")
    command = [*ACCELERATE, "--main_process_port", "0", SCRIPT, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    files = [folder / f"rank{rank}.json" for rank in (0, 1)]
    assert all(file.exists() for file in files), done.stderr[-4000:]
    seen = [json.loads(file.read_text()) for file in files]
    assert "death" in seen[0], done.stderr[-4000:]  # the last that is tried
    assert done.returncode != 0
    assert [rank["world"] for rank in seen] == [[2, 2], [2, 2]]
    return seen


@pytest.mark.slow
def test_ranks_with_unlike_cards_and_a_run_folder_on_one_of_them_plan_alike(launched):
    """Before the ranks were connected, each planned for itself: bf16 beside fp32, a resume beside a probe (a hang)."""
    zero, one = launched
    assert zero["plans"] == one["plans"]
    (*first, _), (*again, word) = zero["plans"]
    assert first == again == ["fp32", 2, "Tesla T4, NVIDIA L4"]
    assert word.startswith("taken over from ")


@pytest.mark.slow
def test_ranks_that_do_not_do_the_same_are_told_apart(launched):
    for rank in launched:
        assert rank["unlike"][0] == "RankFailed"
        assert "rank 0 has probed its batch size; rank 1 has done something else" in rank["unlike"][1]


@pytest.mark.slow
def test_every_rank_takes_what_the_smallest_one_found(launched):
    zero, one = launched
    assert zero["limits"] == one["limits"]
    size, rank, limit, trials = one["limits"]
    assert (rank, limit) == (1, 12 * 2**20)
    assert 1 < size < 40
    assert all(trials)  # of both ranks
    assert one["rows"] == [0, 1]
    assert one["notes"][-1].startswith("the smallest of 2 ranks (")
    assert zero["timed"] == one["timed"] == [[1, 1], [3, 4]]  # the slower one of each; 5 was timed on one rank only
    assert zero["own_optimizer"]  # a function, which no process can send to another
    assert one["own_optimizer"]


@pytest.mark.slow
def test_one_rank_out_of_memory_leaves_equal_sizes_and_equal_weights(launched):
    zero, one = launched
    assert zero["one_rank_oom"] == one["one_rank_oom"] == [3, 1]
    assert zero["ooms"] == one["ooms"] == [False, True]
    assert zero["untouched"]
    assert one["untouched"]
    assert (zero["size"], one["size"], zero["backend"]) == (3, 3, "gloo")
    assert zero["trained"]
    assert zero["weights"] == one["weights"]


@pytest.mark.slow
def test_no_module_is_imported_with_fake_tensors_in_it(launched):
    """PEFT makes tensors while it is imported, which happens behind the first optimizer."""
    assert not any(seen["imported_before"] for seen in launched)
    assert [seen["fake"] for seen in launched] == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("case", range(4))
def test_buckets_of_ddp_are_counted_as_torch_counts_them(launched, case):
    r"""As measured on two gloo processes of the real Trainer (MiB, by torch's profiler and DDP's own log).

    ============================  =======  ========  =========  =======================
    model and precision           buckets  measured  estimated  estimate without buckets
    ============================  =======  ========  =========  =======================
    T5 fp32, batch 8                 1.00     13.16      13.11  -8.0 %
    T5 bf16, batch 2                 1.00      7.16       7.16  -14.0 %
    BART, partly frozen, fp32        0.96      9.14       9.11  -10.8 %
    BART, partly frozen, bf16        0.96      7.42       7.39  -13.2 %
    ============================  =======  ========  =========  =======================
    """
    for rank in launched:
        name, buckets, own, measured, estimated = rank["memory"][case]
        assert own == buckets, name
        assert estimated == pytest.approx(measured, rel=0.03), name
        assert estimated - own < 0.94 * measured, name  # without them it would not do


@pytest.mark.slow
def test_where_one_rank_does_not_fit_all_hear_of_it_with_the_same_figures(launched):
    zero, one = launched
    assert one["one"][:3] == ["BatchDoesNotFit", one["one"][1], 24 * 2**20 // 16]
    assert zero["one"][:3] == ["BatchDoesNotFit", f"on rank 1: {one['one'][1]}", 24 * 2**20 // 16]
    # Both do not fit: the figures of the tighter one, so that what is tried next is the same everywhere.
    assert zero["both"][2] == one["both"][2] == 2**20
    assert zero["both"][3] == "BatchDoesNotFit"


@pytest.mark.slow
def test_an_error_of_one_rank_is_raised_there_and_named_elsewhere(launched):
    zero, one = launched
    assert one["bug"] == ["ValueError", "a bug, on this rank only"]
    assert zero["bug"][0] == "RankFailed"
    assert "rank 1: ValueError: a bug, on this rank only" in zero["bug"][1]
    assert one["bug_and_does_not_fit"] == ["ValueError", "a bug, on this rank only"]
    assert (zero["bug_and_does_not_fit"][0], zero["bug_and_does_not_fit"][3]) == ("RankFailed", "BatchDoesNotFit")


@pytest.mark.slow
def test_nobody_waits_for_a_rank_that_was_interrupted_or_has_died(launched):
    zero, one = launched
    assert one["interrupt"] == ["KeyboardInterrupt"]
    assert zero["interrupt"][0] == "RankFailed"
    assert "has died or was interrupted" in zero["interrupt"][1]
    assert zero["death"][0] == "RankFailed"
    assert "rank 0 has probed its batch size, but not every other rank has come" in zero["death"][1]


@pytest.fixture
def alone(tmp_path):
    """A process group of one, in this process."""
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("view", [False, True])
def test_buckets_are_as_large_as_what_is_trained(alone, view):
    model = torch.nn.Sequential(torch.nn.Linear(700, 700), torch.nn.Linear(700, 30, bias=False), torch.nn.LayerNorm(30))
    model[1].to(torch.bfloat16)
    model[2].requires_grad_(False)
    model.tied = model[0]
    wrapped = torch.nn.parallel.DistributedDataParallel(model, bucket_cap_mb=1, gradient_as_bucket_view=view)
    sizes = [int(n) for n in wrapped._get_ddp_logging_data()["bucket_sizes"].split(", ")]
    assert len(sizes) > 1  # of each dtype
    assert sum(sizes) == ddp_bucket_bytes(model) == 700 * 701 * 4 + 700 * 30 * 2
    assert ddp_bucket_bytes(model, gradient_as_bucket_view=True) == 0


def test_the_first_of_equal_results_is_taken_and_evaluation_by_itself(alone):
    evaluations = [result_of(7), result_of(2)]
    found = smallest([result_of(5, evaluation=e, device_name=name) for e, name in zip(evaluations, "ab", strict=True)])
    assert (found.batch_size, found.rank, found.device_name) == (5, 0, "a")
    assert (found.evaluation.batch_size, found.evaluation.rank) == (2, 1)
    assert [(row["batch_size"], row["rank"]) for row in found.rows()] == [(5, 0), (5, 1), (7, 0), (2, 1)]


def test_what_the_ranks_did_not_do_alike_is_noted():
    longer = result_of(4, lengths=Lengths(16, 4), device="cuda:1")
    found = smallest([result_of(5, evaluation=result_of(1)), longer])
    assert (found.batch_size, found.lengths.source, found.evaluation) == (4, 16, None)
    assert [note.split(":")[0] for note in found.notes[1:]] == [
        "the ranks have not probed the same settings or lengths",
        "only some of the ranks have probed the evaluation batch",
        "NCCL keeps buffers of its own outside of torch's allocator, from the first exchange of gradients on",
    ]


def test_agreeing_gives_back_the_own_optimizer_and_raises_the_own_error(alone):
    settings = StepSettings(optimizer=lambda groups: None)
    given = result_of(5, settings=settings, evaluation=result_of(3, settings=settings))
    found = agree(given)
    assert found.settings is settings
    assert found.evaluation.settings is settings
    for error in (ValueError("mine"), BatchDoesNotFit("mine", limit_bytes=3)):
        with pytest.raises(type(error), match=r"^mine$") as caught:
            agree(error)
        assert caught.value is error


def test_the_world_is_read_from_the_launcher_and_nothing_is_made(monkeypatch):
    names = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    assert world() == World(1, 0, 0, 1)
    for name, value in zip(names, "4312", strict=True):
        monkeypatch.setenv(name, value)
    assert world() == World(4, 3, 1, 2)
    assert not dist.is_initialized()
    monkeypatch.delenv("LOCAL_RANK")  # the Trainer then trains alone, too
    assert world().size == 1
    assert probe_together(lambda: result_of(5)) == result_of(5)


def test_ranks_on_one_machine_share_its_memory_and_take_a_gpu_each(monkeypatch):
    from hf_monitor.auto_batch import inputs, meters

    model = torch.nn.Linear(2, 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert inputs.device_of(model, "cuda") == torch.device("cuda:0")
    alone = meters._cpu_budget(0, None)
    for name, value in zip(("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"), "4324", strict=True):
        monkeypatch.setenv(name, value)
    assert inputs.device_of(model, "cuda") == torch.device("cuda:2")
    shared = meters._cpu_budget(0, None)
    assert shared.bytes < alone.bytes / 2  # a quarter, but others use memory meanwhile
    assert "for each of 4 processes" in shared.why


def test_a_cpu_probe_beside_a_gpu_does_not_guess_the_backend(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "ACCELERATE_USE_CPU": "false"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(HfMonitorError, match="Make the TrainingArguments first"):
        probe_together(lambda: result_of(5), device=torch.device("cpu"))
    assert not dist.is_initialized()


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED"])
def test_what_a_probe_promises_of_a_sharded_training_is_said(monkeypatch, kind):
    for other in ("FSDP", "DEEPSPEED"):
        monkeypatch.delenv(f"ACCELERATE_USE_{other}", raising=False)
    assert sharding_note() is None
    monkeypatch.setenv(f"ACCELERATE_USE_{kind}", "true")
    assert sharding_note().lower().startswith(kind.lower() + ": probed was the whole model on one device")
    assert "does not fit on one device cannot be probed" in sharding_note()


def test_sharding_is_known_from_accelerates_state_and_from_the_trainers_configuration(monkeypatch):
    from accelerate import PartialState
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType
    from transformers.integrations import HfDeepSpeedConfig

    monkeypatch.delitem(AcceleratorState._shared_state, "distributed_type", raising=False)  # of a test before
    monkeypatch.delitem(PartialState._shared_state, "distributed_type", raising=False)
    monkeypatch.setitem(PartialState._shared_state, "distributed_type", DistributedType.FSDP)
    assert sharding_note().startswith("FSDP")
    monkeypatch.delitem(PartialState._shared_state, "distributed_type")
    assert sharding_note() is None
    try:
        held = HfDeepSpeedConfig({"zero_optimization": {"stage": 2}})
    except ImportError:
        pytest.skip("deepspeed is not installed")
    assert sharding_note().startswith("DeepSpeed")
    del held


def test_a_model_spread_by_fsdp_is_recognised_and_one_of_ddp_is_not(alone):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    assert sharded_by(torch.nn.parallel.DistributedDataParallel(model)) is None
    with pytest.warns(UserWarning, match="the world size is 1"):
        wrapped = FullyShardedDataParallel(torch.nn.Linear(4, 4), device_id=torch.device("cpu"))
    assert sharded_by(wrapped) == "FSDP"
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    assert sharded_by(model) == "FSDP2 or tensor parallelism (DTensor)"


def test_what_ddp_wraps_can_be_probed_without_an_exchange(alone):
    exchanged = []

    def hook(state, bucket):
        exchanged.append(bucket.buffer().nbytes)
        future = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    wrapped = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 4))
    wrapped.register_comm_hook(None, hook)
    wrapped.module(torch.ones(1, 4)).sum().backward()
    assert exchanged == []
    wrapped(torch.ones(1, 4)).sum().backward()
    assert sum(exchanged) == ddp_bucket_bytes(wrapped.module) == 80

"""Host and process readings: against psutil where that knows better, and over files of containers handed in."""

import os
import time

import psutil
import pytest

from hf_monitor.gpu.host import HostReader, cpu_count, memory_limit

MIB = 2**20


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_memory_and_disk_are_those_that_psutil_gives(tmp_path):
    reader = HostReader(tmp_path)
    found, memory = reader.read(), psutil.virtual_memory()
    if reader.facts()["ram_limit"] == "machine":
        assert found["ram_total_mib"] == pytest.approx(memory.total / MIB, abs=1)
        assert found["ram_used_mib"] == pytest.approx((memory.total - memory.available) / MIB, rel=0.2)
    assert found["disk_free_mib"] == pytest.approx(psutil.disk_usage(str(tmp_path)).free / MIB, rel=0.1)
    rss = reader.read_process()["process_rss_mib"]
    assert rss == pytest.approx(psutil.Process().memory_info().rss / MIB, rel=0.05)


def test_shares_of_time_are_none_at_first_then_since_the_last_call(tmp_path):
    reader = HostReader(tmp_path)
    assert reader.read()["cpu_percent"] is None
    assert reader.read_process()["process_cpu_percent"] is None
    cpu, wall = time.process_time(), time.monotonic()
    while time.process_time() - cpu < 0.2:
        pass
    share = 100 * (time.process_time() - cpu) / (time.monotonic() - wall)
    found = reader.read_process()["process_cpu_percent"]
    assert found == pytest.approx(share, rel=0.25)
    assert 0 < reader.read()["cpu_percent"] <= 100


def test_processor_share_by_hand(tmp_path):
    root = write(
        tmp_path,
        {"proc/stat": "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3\n", "proc/meminfo": "", "proc/self/statm": ""},
    )
    reader = HostReader(tmp_path, root)
    assert reader.read()["cpu_percent"] is None
    (root / "proc/stat").write_text("cpu  160 0 110 710 120 0 0 0 0 0\ncpu0 1 2 3\n")  # 70 busy, 30 idle or waiting
    assert reader.read()["cpu_percent"] == 70.0


def test_without_proc_psutil_takes_its_place(tmp_path):
    reader = HostReader(tmp_path, tmp_path / "nothing")
    assert reader.read()["ram_total_mib"] == pytest.approx(psutil.virtual_memory().total / MIB, abs=1)
    assert reader.read_process()["process_rss_mib"] > 1


def test_the_limit_of_a_container_version_2(tmp_path):
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/kubepods/pod1\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
            "sys/fs/cgroup/kubepods/memory.max": f"{8 * 2**30}\n",
            "sys/fs/cgroup/kubepods/pod1/memory.max": "max\n",
            "sys/fs/cgroup/kubepods/memory.current": f"{3 * 2**30}\n",
            "sys/fs/cgroup/kubepods/memory.stat": f"anon 5\ninactive_file {2**30}\nactive_file 7\n",
            "sys/fs/cgroup/kubepods/pod1/cpu.max": "150000 100000\n",
            "proc/stat": "cpu 1 1 1 1 1 1 1 1\n",
            "proc/meminfo": "",
            "proc/self/statm": "10 5 1\n",
        },
    )
    limit, folder = memory_limit(root)
    assert (limit, folder.name) == (8 * 2**30, "kubepods")
    assert cpu_count(root) == min(2, len(os.sched_getaffinity(0)))
    reader = HostReader(tmp_path, root)
    found = reader.read()
    assert (found["ram_used_mib"], found["ram_total_mib"]) == (
        2048.0,
        8192.0,
    )  # without the cache that can be given back
    assert reader.facts()["ram_limit"] == "container"


def test_the_limit_of_a_container_version_1(tmp_path):
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "9:cpu,cpuacct:/box\n4:memory:/box\n0::/\n",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{4 * 2**30}\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/box/memory.usage_in_bytes": f"{2 * 2**30}\n",
            "sys/fs/cgroup/memory/box/memory.stat": f"inactive_file 3\ntotal_inactive_file {2**29}\n",
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "-1\n",
            "proc/stat": "cpu 1 1 1 1 1 1 1 1\n",
            "proc/meminfo": "",
            "proc/self/statm": "10 5 1\n",
        },
    )
    assert memory_limit(root)[0] == 4 * 2**30
    assert cpu_count(root) == len(os.sched_getaffinity(0))
    assert HostReader(tmp_path, root).read()["ram_used_mib"] == 1536.0


@pytest.mark.parametrize("text", ["", "0::/gone\n", "garbage\n", "4:memory:/gone\n"])
def test_where_no_limit_is_said_there_is_none(tmp_path, text):
    assert memory_limit(write(tmp_path, {"proc/self/cgroup": text})) is None


def test_a_disk_that_does_not_answer_is_none(tmp_path):
    assert HostReader(tmp_path / "gone").read()["disk_free_mib"] is None


def test_a_limit_above_what_the_machine_has_is_none(tmp_path):
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cgroup.controllers": "memory\n",
            "sys/fs/cgroup/memory.max": f"{512 * 2**30}\n",
            "sys/fs/cgroup/memory.current": f"{60 * 2**30}\n",
            "proc/stat": "cpu 1 1 1 1 1 1 1 1\n",
            "proc/meminfo": "MemTotal: 67108864 kB\nMemFree: 1 kB\nMemAvailable: 4194304 kB\n",
            "proc/self/statm": "10 5 1\n",
        },
    )
    reader = HostReader(tmp_path, root)
    found = reader.read()
    assert (found["ram_used_mib"], found["ram_total_mib"]) == (61440.0, 65536.0)
    assert reader.facts()["ram_limit"] == "machine"

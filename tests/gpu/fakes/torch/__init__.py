"""A torch whose CUDA does what FAKE_TORCH (JSON) says, with the words of the real one (c10/cuda/CUDAFunctions.cpp)."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

SAYS = json.loads(os.environ.get("FAKE_TORCH", "{}"))
print("a package that prints while it is imported")

for _ in range(SAYS.get("times", 0)):
    print(SAYS["say"], file=sys.stderr)
if "probe" in SAYS:
    Path(SAYS["probe"]).write_text(f"{os.getpid()}\n")

if SAYS.get("import", "").startswith("ImportError"):
    raise ImportError(SAYS["import"].partition(": ")[2])
if SAYS.get("import") == "hang":
    child = subprocess.Popen(["sleep", "600"])
    Path(SAYS["tell"]).write_text(str(child.pid))
    time.sleep(600)
if SAYS.get("import") == "crash":
    os.kill(os.getpid(), signal.SIGILL)
if SAYS.get("import") == "exit":
    sys.exit(3)

__version__ = SAYS.get("version", "2.13.0+cu126")
version = SimpleNamespace(cuda=SAYS.get("cuda", "12.6"), hip=SAYS.get("hip"))
DEVICES = SAYS.get("devices", [{}])
INITIALIZATION = "{} (Triggered internally at /pytorch/c10/cuda/CUDAFunctions.cpp:119.)"  # what TORCH_WARN appends


class _Cuda:
    @staticmethod
    def is_available():
        if "warning" in SAYS:
            warnings.warn(INITIALIZATION.format("CUDA initialization: " + SAYS["warning"]), stacklevel=2)
        return SAYS.get("available", True)

    @staticmethod
    def init():
        raise RuntimeError(SAYS.get("warning", "No CUDA GPUs are available"))

    @staticmethod
    def device_count():
        return len(DEVICES)

    @staticmethod
    def get_arch_list():
        return SAYS.get("architectures", ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"])

    @staticmethod
    def get_device_properties(index):
        device = DEVICES[index]
        major, minor = device.get("capability", [8, 9])
        return SimpleNamespace(
            name=device.get("name", "NVIDIA GeForce RTX 4090"),
            total_memory=25386352640,
            major=major,
            minor=minor,
            uuid=device.get("uuid", f"{index:08d}-aaaa-bbbb-cccc-dddddddddddd"),
            gcnArchName=device.get("gcn", "gfx90a:sramecc+:xnack-"),
            pci_domain_id=0,
            pci_bus_id=device.get("bus", index + 1),
            pci_device_id=0,
        )

    @staticmethod
    def mem_get_info(index):
        if error := DEVICES[index].get("memory_error"):
            raise RuntimeError(error)
        if DEVICES[index].get("memory") == "hang":
            time.sleep(600)
        if DEVICES[index].get("memory") == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        return 24 << 30, 25386352640


cuda = _Cuda()
backends = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: bool(SAYS.get("mps"))))


class _Tensor:
    def __init__(self, rows, device="cpu"):
        self.rows, self.device = rows, device

    def remainder(self, number):
        return _Tensor([one % number for one in self.rows])

    def reshape(self, rows, columns):
        return _Tensor([self.rows[row * columns : (row + 1) * columns] for row in range(rows)])

    def float(self):
        return self

    def to(self, device):
        says = DEVICES[int(device.partition(":")[2] or 0)]
        if says.get("kernel") == "hang" and os.environ.get("FAKE_HANG_IN_C"):
            ctypes.PyDLL(None).sleep(600)  # keeps the GIL
        if says.get("kernel") == "hang":
            time.sleep(600)
        if says.get("kernel") == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if says.get("kernel") not in (None, "wrong"):
            raise RuntimeError(says["kernel"])
        return _Tensor(self.rows, device)

    def __matmul__(self, other):
        columns = list(zip(*other.rows, strict=True))
        rows = [[sum(map(int.__mul__, row, column)) for column in columns] for row in self.rows]
        if self.device != "cpu" and DEVICES[int(self.device.partition(":")[2] or 0)].get("kernel") == "wrong":
            rows[3][5] += 1
        return _Tensor(rows, self.device)

    def cpu(self):
        return self

    def tolist(self):
        return self.rows


def arange(number):
    return _Tensor(list(range(number)))

"""Out of memory, in all the words in which it is said."""

from __future__ import annotations

import gc
import re
from typing import Any

__all__ = ["free_memory", "is_out_of_memory"]

# As they stand in torch (c10/cuda/CUDACachingAllocator.cpp, c10/core/impl/alloc_cpu.cpp,
# aten/src/ATen/cuda/Exceptions.h, aten/src/ATen/mps/MPSAllocator.mm), NCCL (src/include/checks.h), triton (driver.c).
_WORDS = re.compile(
    r"""
      \b(CUDA|HIP|XPU|NPU|MPS\ backend|CUDA\ driver|CUDA\ runtime)\b[^\n]{0,40}\bout\ of\ memory
    | \bTriton\ Error\ \[(CUDA|HIP)\]:\ out\ of\ memory
    | \b(cudaErrorMemoryAllocation|hipErrorOutOfMemory|CUDA_ERROR_OUT_OF_MEMORY)\b
    | \b(CUBLAS|CUDNN|CUSPARSE|CUSOLVER|HIPBLAS|HIPSPARSE)_STATUS_ALLOC_FAILED
    | \bCUFFT_ALLOC_FAILED\b
    | \bmiopenStatusAllocFailed\b
    | \b(Cuda|HIP)\ failure\ (\d+\ )?'?out\ of\ memory
    | \bFailed\ to\ (CUDA|Cuda)\ (host\ )?[cm]alloc(\ async)?\b
    | \bDefaultCPUAllocator:\ (can't\ allocate\ memory|not\ enough\ memory)
    | \bPT_DEVMEM\ Allocation\ failed
    | \bRESOURCE_EXHAUSTED:\ (Out\ of\ memory|.{0,80}\bout\ of\ memory)
    """,
    re.VERBOSE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that a device, or the host, ran out of memory.

    Not meant: Triton's ``OutOfResources`` (a kernel wants more shared memory than a block has: no smaller batch helps)
    and ``CUDNN_STATUS_NOT_SUPPORTED`` (mostly a wrong layout), which accelerate and Lightning count in.

    Parameters
    ----------
    error : BaseException

    Returns
    -------
    bool
        Also where the error was raised ``from`` one that means it.
    """
    import torch

    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if isinstance(found, torch.OutOfMemoryError | MemoryError):
            return True
        if isinstance(found, RuntimeError | ValueError) and _WORDS.search(str(found)):
            return True
        found = found.__cause__
    return False


def free_memory(device: Any) -> None:
    """Free what nobody holds any more. Call it outside of the ``except`` block: its traceback holds the tensors.

    Parameters
    ----------
    device : torch.device
    """
    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()

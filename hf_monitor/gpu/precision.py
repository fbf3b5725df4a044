"""Which number format a card should train in."""

from __future__ import annotations

import re
from typing import Literal

__all__ = ["amd_has_bf16", "amd_has_flash_attention", "precision_of"]


def precision_of(capability: tuple[int, int] | None) -> Literal["bf16", "fp16", "fp32"]:
    """Give the format to train in by compute capability.

    bf16 is computed in hardware from 8.0 (Ampere), fp16 in tensor cores from 7.0 (Volta); below, fp16 is slow
    (https://docs.nvidia.com/cuda/cuda-programming-guide/, "Compute Capabilities"). Without one (Apple): fp32.
    """
    if capability is None or capability < (7, 0):
        return "fp32"
    return "bf16" if capability >= (8, 0) else "fp16"


def amd_has_bf16(architecture: str | None) -> bool:
    """Say whether an AMD GPU has instructions for bf16: MI100 and newer, RDNA 3 and newer.

    https://rocm.docs.amd.com/en/latest/reference/precision-support.html
    """
    return re.match(r"gfx(908|90a|9[45]|1[12])", architecture or "") is not None


def amd_has_flash_attention(architecture: str | None) -> bool:
    """Say whether FlashAttention-2 names an AMD GPU as one of its own: MI200 and MI300.

    https://github.com/Dao-AILab/flash-attention, "AMD ROCm Support" (github.com/Dao-AILab/flash-attention/pull/1010)
    """
    return re.match(r"gfx(90a|94[0-2])", architecture or "") is not None

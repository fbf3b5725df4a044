"""Which torch wheel fits a driver and a card."""

from __future__ import annotations

import re

__all__ = ["MINIMUM_DRIVER", "install_jetson", "install_rocm", "install_torch", "wheel_for"]

_TAGS: dict[tuple[int, int], tuple[str, tuple[int, ...]]] = {
    (2, 6): ("2.6.0", (118, 124, 126)),
    (2, 7): ("2.7.1", (118, 126, 128)),
    (2, 8): ("2.8.0", (126, 128, 129)),
    (2, 9): ("2.9.1", (126, 128, 130)),
    (2, 10): ("2.10.0", (126, 128, 130)),
    (2, 11): ("2.11.0", (126, 128, 130)),
    (2, 12): ("2.12.1", (126, 130, 132)),
    (2, 13): ("2.13.0", (126, 129, 130, 132)),
}
"""The last patch of each torch and the CUDA that it is built for.

Up to 2.9 https://pytorch.org/get-started/previous-versions/, for 2.13 ``torch.cuda.PYTORCH_RELEASES_CODE_CC``, between
them what was seen installed from https://download.pytorch.org/whl/. cu129 came to 2.12 after its .0 and is left out.
"""

_INDEX = "https://download.pytorch.org/whl"
_ROCM = f"{_INDEX}/rocm7.2"
_JETSON = {36: "https://pypi.jetson-ai-lab.io/jp6/cu126", 38: "https://pypi.jetson-ai-lab.io/sbsa/cu130"}
"""Of each release of L4T; for JetPack 7 (Thor) see https://github.com/pollen-robotics/microduck_rl/issues/38."""

MINIMUM_DRIVER = {11: "450", 12: "525", 13: "580"}
"""The oldest driver for each major CUDA; within a major every minor version runs on it (minor version compatibility).

https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
"""


def _runs_on(tag: int, driver: tuple[int, int], capability: tuple[int, int] | None) -> bool:
    # cu128 and newer have no code for Maxwell, Pascal and Volta (github.com/pytorch/pytorch/issues/157517); cu126 and
    # older have none for Blackwell.
    if capability is not None and (
        capability < (5, 0) or (capability < (7, 5) and tag > 126) or (capability >= (10, 0) and tag < 128)
    ):
        return False
    return tag // 10 <= driver[0]


def wheel_for(
    torch_version: str | None, driver_cuda: tuple[int, int] | None, *capabilities: tuple[int, int] | None
) -> tuple[str, str] | None:
    """Choose the wheel to install: the installed torch's own version, where it is built for this driver and the cards.

    Parameters
    ----------
    torch_version : str or None
        The installed one (``"2.13.0+cpu"``); None for the newest.
    driver_cuda : tuple of int or None
        The newest CUDA that the driver can do; None where there is no driver yet (one to come can do 13.0).
    *capabilities : tuple of int or None
        Of each card; the wheel has code for all of them.

    Returns
    -------
    tuple of str or None
        Version and tag, ``("2.13.0", "cu126")``; None where no torch that this package runs with (2.6) fits.
    """
    driver = driver_cuda or (13, 0)
    newest = max(_TAGS)
    release = re.match(r"(\d+)\.(\d+)(?:\.\d+)?(?=\+|$)", torch_version or "")
    mine = (int(release[1]), int(release[2])) if release else newest
    for minor in [mine, *sorted(set(_TAGS) - {mine}, reverse=True)]:
        last_patch, tags = _TAGS.get(minor, ("", ()))
        fitting = [tag for tag in tags if all(_runs_on(tag, driver, one) for one in capabilities or (None,))]
        if fitting:
            # What the driver has in full, else what runs by minor version compatibility with the least to compile.
            full = [tag for tag in fitting if (tag // 10, tag % 10) <= driver]
            version = release[0] if release and minor == mine else last_patch
            return version, f"cu{max(full) if full else min(fitting)}"
    return None


def install_torch(pip: str, wheel: tuple[str, str]) -> str:
    """Give the command that installs a wheel; ``+cu126`` is said, since pip takes ``+cpu`` for the same version."""
    version, tag = wheel
    return f'{pip} "torch=={version}+{tag}" --index-url {_INDEX}/{tag}'


def install_rocm(pip: str) -> str:
    """Give the command that installs torch for AMD GPUs."""
    return f"{pip} torch --index-url {_ROCM}"


def install_jetson(pip: str, release: int | None) -> str:
    """Give the command that installs NVIDIA's torch for a Jetson's release of L4T; else what shows the release."""
    if release is not None and release >= min(_JETSON):
        index = _JETSON[max(one for one in _JETSON if one <= release)]
        return f"{pip} --upgrade --force-reinstall torch --index-url {index}"
    which = "this release" if release is None else f"L4T R{release}"
    return (
        f"cat /etc/nv_tegra_release   # for {which} no torch from 2.6 on is known; JetPack 6 and newer have one: "
        "https://developer.nvidia.com/embedded/jetpack"
    )

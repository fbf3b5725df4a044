"""NVML (``pynvml`` of nvidia-ml-py) as we use it: opened and closed in pairs, its errors as codes with a reason.

Source of functions, structures and codes: https://docs.nvidia.com/deploy/nvml-api/.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

__all__ = ["Failure", "Session", "Unsaid", "answer_of", "failure_of", "open_session"]

_REASONS = {
    "NVML_ERROR_UNINITIALIZED": "NVML was shut down by another part of this process",
    "NVML_ERROR_INVALID_ARGUMENT": "the driver does not take this question for this device",
    "NVML_ERROR_NOT_SUPPORTED": "this device does not give it",
    "NVML_ERROR_NO_PERMISSION": "the driver does not allow this user to see it",
    "NVML_ERROR_NOT_FOUND": "the driver does not find it",
    "NVML_ERROR_INSUFFICIENT_POWER": "the power cables of the card are not all plugged in",
    "NVML_ERROR_DRIVER_NOT_LOADED": "the NVIDIA driver is not loaded",
    "NVML_ERROR_TIMEOUT": "the driver did not answer in time",
    "NVML_ERROR_LIBRARY_NOT_FOUND": "the driver's library libnvidia-ml is not found",
    "NVML_ERROR_FUNCTION_NOT_FOUND": "this driver or this nvidia-ml-py does not know the function yet",
    "NVML_ERROR_GPU_IS_LOST": "the GPU has fallen off the bus or is not accessible any more",
    "NVML_ERROR_RESET_REQUIRED": "the GPU has to be reset before it can be used again",
    "NVML_ERROR_OPERATING_SYSTEM": "the operating system blocked the question",
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH": "driver and library are of different versions, the machine needs a reboot",
    "NVML_ERROR_IN_USE": "the GPU is in use by something that keeps others out",
    "NVML_ERROR_NO_DATA": "the driver has no data for it",
    "NVML_ERROR_ARGUMENT_VERSION_MISMATCH": "the driver knows another version of this question",
    "NVML_ERROR_DEPRECATED": "the driver has given up this question",
    "NVML_ERROR_GPU_NOT_FOUND": "the GPU is not found any more",
    "NVML_ERROR_UNKNOWN": "an unknown error in the driver",
}

_LASTING = frozenset(
    {
        "NVML_ERROR_NOT_SUPPORTED",
        "NVML_ERROR_FUNCTION_NOT_FOUND",
        "NVML_ERROR_NO_PERMISSION",
        "NVML_ERROR_INVALID_ARGUMENT",
        "NVML_ERROR_ARGUMENT_VERSION_MISMATCH",
        "NVML_ERROR_DEPRECATED",
    }
)
_DEVICE = frozenset({"NVML_ERROR_GPU_IS_LOST", "NVML_ERROR_RESET_REQUIRED", "NVML_ERROR_GPU_NOT_FOUND"})

_names: dict[int, str] = {}  # code -> constant's name, of the pynvml that is there; filled at the first error


class Unsaid(Exception):
    """Not given, for a reason that is not NVML's: a value that cannot be, a question that nobody here can ask."""

    def __init__(self, code: str, reason: str):
        super().__init__(code, reason)
        self.code, self.reason = code, reason


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a value is not there.

    Attributes
    ----------
    code : str
        NVML's constant (``"NVML_ERROR_NOT_SUPPORTED"``), ``"IMPLAUSIBLE"`` for a value that cannot be, or the name of a
        Python exception.
    reason : str
        In words.
    lasting : bool
        Asking again is pointless.
    whole_device : bool
        It is not about one value: the GPU is gone.
    """

    code: str
    reason: str
    lasting: bool = False
    whole_device: bool = False


def _code_name(number: Any) -> str:
    """Give the constant's name of an error code; a code newer than this nvidia-ml-py is named by its number."""
    if not _names:
        import pynvml

        _names.update({getattr(pynvml, name): name for name in dir(pynvml) if name.startswith("NVML_ERROR_")})
    return _names.get(number, f"NVML_ERROR_{number}")


def failure_of(error: BaseException) -> Failure:
    """Turn what a call raised into a code, a reason and how long it will last."""
    if isinstance(error, Unsaid):
        return Failure(error.code, error.reason, lasting=error.code in _LASTING)
    number = getattr(error, "value", None)
    if type(error).__module__.startswith("pynvml") and isinstance(number, int):
        code = _code_name(number)
        reason = _REASONS.get(code) or answer_of(str, error) or code
        return Failure(code, reason, lasting=code in _LASTING, whole_device=code in _DEVICE)
    return Failure(type(error).__name__, answer_of(str, error) or type(error).__name__)


def answer_of(ask: Callable[..., Any], *args: Any) -> Any:
    """Ask once; None where there is no answer, for whatever reason."""
    try:
        return ask(*args)
    except Exception:  # noqa: BLE001 - whatever a driver, ctypes or an old nvidia-ml-py does: the value is not known
        return None


class Session:
    """NVML, initialised. NVML counts how often it was: others in this process are not disturbed by our close.

    Attributes
    ----------
    nvml : module
        ``pynvml``.
    generation : int
        Grows when NVML had to be initialised anew; handles of devices are of one generation.
    """

    def __init__(self, nvml: ModuleType):
        self.nvml: Any = nvml
        self.generation = 0
        self._open = False
        nvml.nvmlInit()
        self._open = True

    @property
    def driver_version(self) -> str | None:
        """``"570.86.10"``, None where the driver does not say."""
        version = answer_of(self.nvml.nvmlSystemGetDriverVersion)
        return version if isinstance(version, str) and version else None

    def renew(self) -> bool:
        """Initialise once more, after somebody shut NVML down under us; whether that went well."""
        try:
            self.nvml.nvmlInit()
        except Exception:  # noqa: BLE001 - the failure is seen, and told, at the next question
            return False
        self.generation += 1
        return True

    def close(self) -> None:
        """Give NVML back; later calls do nothing."""
        if self._open:
            self._open = False
            answer_of(self.nvml.nvmlShutdown)


def open_session() -> tuple[Session | None, Failure | None]:
    """Initialise NVML.

    Returns
    -------
    session : Session or None
    failure : Failure or None
        Why there is no session; lasting, since nobody tries again.
    """
    try:
        import pynvml
    except ImportError as error:
        return None, Failure("ImportError", f"nvidia-ml-py cannot be imported ({error})", lasting=True)
    try:
        return Session(pynvml), None
    except Exception as error:  # noqa: BLE001 - no NVML, no readings of it; the caller says why
        return None, replace(failure_of(error), lasting=True)

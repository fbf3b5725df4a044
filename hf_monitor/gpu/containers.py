"""Containers: what starts one with a GPU, and what mends one that has lost it. Each kind has words of its own."""

from __future__ import annotations

from hf_monitor.gpu.case import Case

__all__ = ["container_words", "mend_libraries", "restart_container", "start_with_gpu"]


def container_words(case: Case) -> str:
    """Name the kind: ``docker container``; ``container`` where it is not known which."""
    kind = case.evidence.container
    return "container" if kind in (None, "container") else f"{kind} container"


def start_with_gpu(case: Case) -> str:
    """Give what shows, on the host, whether a container can have the GPU, and how (its makers' and NVIDIA's documents).

    https://docs.docker.com/engine/containers/gpu/, https://apptainer.org/docs/user/latest/gpu.html,
    https://documentation.ubuntu.com/lxd/latest/reference/devices_gpu/
    """
    kind, name = case.evidence.container, case.evidence.hostname or "<container>"
    extra = " -e NVIDIA_DRIVER_CAPABILITIES=compute,utility" if case.nvml.get("code") == 0 else ""
    if kind == "kubernetes":
        return (
            "kubectl describe nodes | grep nvidia.com/gpu   # the container's resources.limits need nvidia.com/gpu: 1"
        )
    if kind == "apptainer":
        names = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
        image = next((case.environment[one] for one in names if case.environment.get(one)), "<image>")
        return f"apptainer exec --nv {image} nvidia-smi   # on the host; then start this one with --nv"
    if kind == "container":
        return f"lxc config device add {name} gpu gpu   # on the host (LXD; incus and others: its GPU and /dev/nvidia*)"
    engine, gpu = "docker", "--runtime nvidia" if case.evidence.tegra else "--gpus all"
    if kind == "podman":
        engine, gpu = "podman", "--device nvidia.com/gpu=all"
    return f"{engine} run --rm {gpu}{extra} ubuntu nvidia-smi   # on the host; then start this one with {gpu}{extra}"


def restart_container(case: Case) -> str:
    """Give what starts this container anew."""
    kind, name = case.evidence.container, case.evidence.hostname or "<container>"
    if kind == "kubernetes":
        return f"kubectl delete pod {name}   # its controller starts a new one"
    engine = {"podman": "podman", "container": "lxc"}.get(str(kind), "docker")
    return f"{engine} restart {name}   # on the host"


def mend_libraries(case: Case) -> str | None:
    """Give what brings the module's version into a container whose libraries are its own; None where the host's are."""
    version = case.evidence.module_version
    if case.evidence.container != "container":
        return None
    which = f"NVIDIA-Linux-{case.evidence.machine or 'x86_64'}-{version or '<version>'}.run"
    return (
        f"cat /proc/driver/nvidia/version; sudo sh {which} --no-kernel-modules   # the libraries of just that version"
    )

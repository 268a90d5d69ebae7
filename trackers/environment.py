"""Describes the machine, the packages and the code that a run was trained with."""

from __future__ import annotations

import os
import platform
import resource
import selectors
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from ..runs.scrub import scrub_code, scrub_command
from .gpu import Gpus

# What decides the numbers or the speed of a training; nothing else of a machine's packages is stored.
PACKAGES = (
    "torch", "lightning", "pytorch-lightning", "torchmetrics", "torchvision", "torchaudio", "triton",
    "tensorflow", "tensorflow-cpu", "keras", "jax", "jaxlib",
    "numpy", "scipy", "scikit-learn", "pandas", "transformers", "datasets", "accelerate", "trackside",
)  # fmt: skip

# Thread counts and determinism switches: the only environment variables ever stored.
VARIABLES = (
    "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "KMP_AFFINITY",
    "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC",
    "TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS", "XLA_FLAGS", "NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES", "PYTHONHASHSEED", "KERAS_BACKEND",
)  # fmt: skip

GIT_SECONDS = 5.0
LARGEST_DIFF = 100_000


def describe_machine(gpus: Gpus | None = None, *, threads: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return host, processor, memory, threads, GPUs, packages and command line as a JSON object.

    No secret leaves the process: the command line is scrubbed and no environment variable but a few that set
    threads and determinism is read.

    Args:
        gpus: the GPUs that this process may see, if any.
        threads: thread counts that the framework reported, added to those found here.
    """
    environment: dict[str, Any] = {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu": _cpu_name(),
        "cpu_count": _usable_cpus(),
        "memory_bytes": psutil.virtual_memory().total,
        "threads": {**_threads(), **(threads or {})},
        "gpus": gpus.describe() if gpus is not None else [],
        "packages": _versions(),
        "command": scrub_command(sys.argv),
        "process_started": psutil.Process().create_time(),  # seconds since the epoch, UTC
    }
    if hasattr(os, "getloadavg"):
        environment["load_average"] = [round(load, 2) for load in os.getloadavg()]
    return environment


def describe_usage() -> dict[str, Any]:
    """Return what the process has used so far, by the operating system's own count: a peak between samples is in it.

    Returns:
        `peak_memory_bytes`: the largest resident memory since the process began; `processor_seconds`: of all its
        threads together. Both of this process alone, without its children.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    scale = 1 if sys.platform == "darwin" else 1024  # kilobytes everywhere but on macOS
    return {"peak_memory_bytes": usage.ru_maxrss * scale, "processor_seconds": usage.ru_utime + usage.ru_stime}


def describe_git(directory: Path | None = None) -> dict[str, Any] | None:
    """Return `{"commit", "dirty", "diff"}` of the checkout that the program runs from; None outside of one.

    The difference to the commit is cut at 100 kB and scrubbed. Git is given 5 seconds in all, takes no lock and runs
    none of the programs that a configuration may name. Meant for a thread of its own.

    Args:
        directory: where to look; that of the running script, else the working directory.
    """
    places = [directory] if directory is not None else [_program_directory(), Path.cwd()]
    commit, where = None, places[0]
    for where in places:
        commit = _git(where, "rev-parse", "HEAD")
        if commit is not None:
            break
    if commit is None:
        return None
    status = _git(where, "status", "--porcelain", "--untracked-files=no")
    state: dict[str, Any] = {"commit": commit.strip()}
    if status is not None:
        state["dirty"] = bool(status.strip())
        if state["dirty"]:
            diff = _git(where, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color")
            if diff is not None:
                state["diff"] = scrub_code(diff)
                state["diff_truncated"] = len(diff) >= LARGEST_DIFF
    return state


def _git(directory: Path, *arguments: str) -> str | None:
    """Return the first 100 kB that git prints; None if it fails or takes too long."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(directory), "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments]
    variables = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        # Without close_fds and cwd Python spawns, instead of forking and waiting at a pipe for the child's word: a
        # worker of a data loader that is forked at that moment inherits the pipe, and no word comes while it lives.
        process = subprocess.Popen(
            command,
            close_fds=False,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None
    assert process.stdout is not None
    with process.stdout as output:
        text = _read(output.fileno(), process)
    truncated = len(text) == LARGEST_DIFF
    if process.poll() is None and text:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0 if truncated else 0.5)
    if process.poll() is None:
        process.kill()
    code = process.wait()
    return text.decode("utf-8", "replace") if code == 0 or truncated else None


def _read(pipe: int, process: subprocess.Popen[bytes]) -> bytes:
    """What a process prints until it ends, at most `LARGEST_DIFF` bytes and `GIT_SECONDS`.

    The end of the pipe may not come with the end of the process: a worker of a data loader that was forked meanwhile
    has inherited the other side, and holds it for as long as it lives.
    """
    text = b""
    deadline = time.monotonic() + GIT_SECONDS
    with selectors.DefaultSelector() as waiting:
        waiting.register(pipe, selectors.EVENT_READ)
        while len(text) < LARGEST_DIFF and time.monotonic() < deadline:
            ended = process.poll() is not None
            if waiting.select(0 if ended else 0.05):
                chunk = os.read(pipe, LARGEST_DIFF - len(text))
                if not chunk:
                    break
                text += chunk
            elif ended:
                break
    return text


def _program_directory() -> Path:
    script = Path(sys.argv[0]) if sys.argv and sys.argv[0] else None
    return script.resolve().parent if script is not None and script.is_file() else Path.cwd()


def _cpu_name() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads() -> dict[str, Any]:
    threads: dict[str, Any] = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    # Only a framework that the program already loaded is asked: importing one here would cost seconds.
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_interop_threads"):
        threads["torch_intraop"] = torch.get_num_threads()
        threads["torch_interop"] = torch.get_num_interop_threads()
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and hasattr(tensorflow, "config"):
        setting = tensorflow.config.threading
        for kind, asked in (
            ("intraop", setting.get_intra_op_parallelism_threads()),
            ("interop", setting.get_inter_op_parallelism_threads()),
        ):
            # 0 means that TensorFlow decides: by its variable, else one thread a core.
            variable = os.environ.get(f"TF_NUM_{kind.upper()}_THREADS", "")
            threads[f"tensorflow_{kind}"] = asked or (int(variable) if variable.isdecimal() else 0) or os.cpu_count()
    return threads


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions

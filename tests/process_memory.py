"""What Linux says of a process's memory, for the benchmarks."""

from pathlib import Path


def status_mb(process: int | str = "self", key: str = "VmRSS") -> float | None:
    """A figure of /proc, by default the resident memory of this process; None once it is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    found = [line for line in status.splitlines() if line.startswith(f"{key}:")]
    return int(found[0].split()[1]) / 1024 if found else None

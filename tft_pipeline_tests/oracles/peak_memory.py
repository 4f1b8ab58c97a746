"""The most memory a piece of Python takes beyond what its process held before, measured by the kernel in a process of its own.

Not for figures below about ten megabytes: allocators keep pages.
"""

import json
import subprocess
import sys
from pathlib import Path

MEASURABLE = Path("/proc/self/clear_refs").exists()
"""The peak is Linux's VmHWM: unlike ru_maxrss it can be reset, and a child does not inherit it."""

ROOT = Path(__file__).parents[2]
PEAK = """
import json

def status(name):
    line, = (line for line in open("/proc/self/status") if line.startswith(name))
    return int(line.split()[1]) * 1024

def peak(call):
    before = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    kept = call()
    return status("VmHWM") - before
"""


def measured(script: str) -> dict[str, float]:
    """Run `script`, in which peak(call) gives the bytes of one call, and decode the JSON object it prints last."""
    done = subprocess.run([sys.executable, "-c", PEAK + script], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"the measured process failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))

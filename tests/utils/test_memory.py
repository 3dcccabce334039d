import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastreid.utils.memory import peak_memory, peak_of

MIB = 2**20
GREEDY = "import os; from fastreid.utils.memory import peak_memory as p; a = p(); b'x' * (200 << 20); print(a, p())"


@pytest.mark.skipif(sys.platform == "win32", reason="no figure there")
def test_the_peak_is_that_of_this_process_alone(repo):
    held = bytearray(os.urandom(MIB)) * 300
    assert peak_memory() > 300 * MIB
    done = subprocess.run([sys.executable, "-c", GREEDY], capture_output=True, text=True, cwd=repo, check=True)
    before, after = map(int, done.stdout.split())
    assert 190 * MIB < after - before < 260 * MIB
    assert before < 100 * MIB or not Path("/proc/self/status").exists()  # elsewhere the parent's may count
    assert len(held) == 300 * MIB


def test_a_process_that_has_ended_has_no_figure():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert peak_of(process.pid) is None

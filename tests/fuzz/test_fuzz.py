# SPDX-License-Identifier: Apache-2.0
"""A few seconds of libFuzzer for each parser of foreign bytes, with address and undefined behaviour
sanitizers. scripts/fuzz.sh does it for hours; the corpora are replayed without clang, too."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = os.environ.get("METATAP_FUZZ_SECONDS", "0")
RUNTIME = pathlib.Path("/usr/lib/llvm-19/lib/clang/19/lib/linux")


def fuzzers():
    """All but those of a whole stage, which take long to build."""
    listed = subprocess.run([ROOT / "scripts/fuzz.sh", "--list"], capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split() if name != "api"]


@pytest.fixture(scope="module")
def built():
    if SECONDS == "0":
        pytest.skip("METATAP_FUZZ_SECONDS is 0")
    if shutil.which("clang++-19") is None:
        pytest.skip("clang++-19 is not installed")
    if not list(RUNTIME.glob("libclang_rt.fuzzer-*.a")):
        pytest.skip("libclang-rt-19-dev is not installed")
    done = subprocess.run([ROOT / "scripts/build.sh", "fuzz", *[f"fuzz_{name}" for name in fuzzers()]],
                          capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.mark.parametrize("name", fuzzers())
def test_finds_nothing(built, name, tmp_path):
    done = subprocess.run([ROOT / "scripts/fuzz.sh", "--no-install", "--no-build", "--time", SECONDS,
                           "--corpus", tmp_path, name], capture_output=True, text=True,
                          timeout=60 + int(SECONDS))
    log = tmp_path / f"{name}.log"
    assert done.returncode == 0, done.stdout + done.stderr + (log.read_text(errors="replace")[-4000:]
                                                             if log.exists() else "")
    executions = int(done.stdout.splitlines()[-1].split()[1])
    assert executions > 0

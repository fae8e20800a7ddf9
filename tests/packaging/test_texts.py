# SPDX-License-Identifier: Apache-2.0
"""Manual pages and completion, against the programs they are about."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lab"))
from labkit import BIN  # noqa: E402

COMPLETION = ROOT / "packaging/metatap.bash-completion"
PAGES = {"metatap": ROOT / "packaging/man/metatap.1", "metatapd": ROOT / "packaging/man/metatapd.8"}


def help_of(*command):
    done = subprocess.run([BIN / command[0], *command[1:], "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def listed(section, text):
    """The names in a section of a program's help."""
    inside, names = False, []
    for line in text.splitlines():
        if not line.startswith(" "):
            inside = line == f"{section}:"
        elif inside and re.match(r"  \S", line):
            names += line.split()[0].split(",")
    return names


def rendered(page):
    if not shutil.which("man"):
        pytest.skip("man is not installed")
    done = subprocess.run(["man", "--warnings", "-l", str(page)], capture_output=True,
                          text=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8",
                                          "MANWIDTH": "100", "MANROFFOPT": ""})
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def commands(*so_far):
    """All there are, each with what it belongs to."""
    yield so_far
    for name in listed("Subcommands", help_of(*so_far)):
        yield from commands(*so_far, name)


@pytest.mark.parametrize("program", PAGES)
def test_manual_page(program):
    """It renders without a complaint, and names every command and option there is."""
    shown = rendered(PAGES[program])
    for command in commands(program):
        options = [name for name in listed("Options", help_of(*command))
                   if name.startswith("--") and name != "--help"]
        assert not [name for name in (*command, *options) if name not in shown], command


def test_manual_page_of_the_configuration():
    """What is in it is made of the options; here, that it can be read."""
    shown = rendered(ROOT / "packaging/man/metatapd.conf.5")
    for words in ("[dataplane]", "metrics_listen", "$state_path/metadata_proxy", "Value: pass, refuse."):
        assert words in shown


def test_every_manual_page_is_rendered():
    pages = {*PAGES.values(), ROOT / "packaging/man/metatapd.conf.5"}
    assert pages == set((ROOT / "packaging/man").iterdir())


def test_exit_codes_are_the_same_wherever_they_are_written():
    """In the help, in the manual page, and in the document."""
    def listed_in(text, row):
        return {int(code): meaning for code, meaning in re.findall(row, text, re.M)}
    helped = listed_in(help_of("metatap").partition("Exit codes:")[2], r"(?:^|   *)(\d+) (\S.*?)(?=   \d|\n)")
    document = listed_in((ROOT / "docs/troubleshooting.md").read_text().partition("## Exit codes")[2],
                         r"^\| (\d+) \| (.*) \|$")
    page = rendered(PAGES["metatap"])
    assert set(helped) == set(document) == set(range(11))
    for code in range(11):
        assert re.search(rf"^ +{code} +\S", page.partition("EXIT STATUS")[2], re.M), code


def test_every_help_has_an_example():
    """One, that begins with the command it is of, and has no option that is not there."""
    every = [*commands("metatap"), ("metatapd",)]
    assert len(every) > 15
    for command in every:
        text = help_of(*command)
        (example,) = re.findall(r"^Example: (.*)", text, re.M)
        words = example.split(" | ")[0].split(" >")[0].split()
        plain = [word for word in words if not word.startswith("-")]
        assert plain[:len(command)] == list(command), example
        known = listed("Options", text) + listed("Options", help_of(command[0]))
        assert {word for word in words if word.startswith("-")} <= set(known), example


def test_completion_parses():
    done = subprocess.run(["bash", "-n", str(COMPLETION)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line,section,command", [
    ("metatap ", "Subcommands", ["metatap"]),
    ("metatap --json instance ", "Subcommands", ["metatap", "instance"]),
    ("metatap instance password --", "Options", ["metatap", "instance", "password"]),
    ("metatapd --", "Options", ["metatapd"])])
def test_completion_offers_what_the_help_lists(line, section, command):
    script = ('source "$1"; COMP_WORDS=($2); [[ $2 == *" " ]] && COMP_WORDS+=(""); '
              'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _metatap; printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", script, "bash", str(COMPLETION), line], capture_output=True,
                          text=True, env={"PATH": f"{BIN}:/usr/bin:/bin"})
    offered = done.stdout.split()
    wanted = [name for name in listed(section, help_of(*command))
              if section == "Subcommands" or name.startswith("--")]
    assert wanted and offered == wanted, done.stderr


def test_completion_does_nothing_but_ask_for_help(tmp_path):
    """Whatever is on the line so far."""
    log = tmp_path / "asked"
    program = tmp_path / "metatap"
    program.write_text(f'#!/bin/sh\necho "$*" >>{log}\n')
    program.chmod(0o755)
    script = ('source "$1"; COMP_WORDS=(metatap instance remove web ""); COMP_CWORD=4; _metatap')
    subprocess.run(["bash", "-c", script, "bash", str(COMPLETION)],
                   env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False)
    assert log.read_text() and all(line.endswith("--help") for line in log.read_text().splitlines())

# SPDX-License-Identifier: Apache-2.0
"""Kernels as the distribution packages them: found, fetched and unpacked, without installing any."""

import dataclasses
import pathlib
import re
import shutil
import subprocess


class PackageError(RuntimeError):
    """One sentence for the person at the terminal."""


def run(*argv, **more):
    done = subprocess.run([str(word) for word in argv], text=True, capture_output=True, **more)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise PackageError(f"{argv[0]}: {said[-1] if said else done.returncode}")
    return done.stdout


def numbers(text):
    return tuple(map(int, re.findall(r"\d+", text)))


@dataclasses.dataclass
class Kernel:
    """One package, and once it is unpacked its files."""
    package: str
    apt: "Apt"
    base: pathlib.Path = None  # lib/modules is below

    @property
    def series(self):
        """As people say it: 6.1, 6.12."""
        return ".".join(map(str, numbers(self.package)[:2]))

    @property
    def release(self):
        return self.package.removeprefix("linux-image-").removesuffix("-unsigned")

    @property
    def image(self):
        return self.apt.folder / self.package / "boot" / f"vmlinuz-{self.release}"

    def prepare(self):
        folder = self.apt.fetch(self.package)
        # Newer packages have everything below /usr.
        self.base = folder if (folder / "lib/modules").is_dir() else folder / "usr"
        run("depmod", "-b", self.base, self.release)

    def module_files(self, *names):
        """With all that they need, in the order in which they are loaded."""
        files = []
        for name in names:
            shown = run("modprobe", "-d", self.base, "-S", self.release, "--show-depends", name)
            for line in shown.splitlines():
                words = line.split()
                if words[0] == "insmod" and words[1] not in files:
                    files.append(words[1])
        return [pathlib.Path(file) for file in files]


class Apt:
    """Packages of this machine's own lists, or of another suite's, whose lists are then kept in
    `folder`, as is what is fetched."""

    def __init__(self, folder, suite=None):
        self.folder, self._options = pathlib.Path(folder), ["-o", "APT::Sandbox::User=root"]
        if suite:
            self._use(suite)

    def _use(self, suite):
        lists = self.folder / f"apt-{suite}"
        for part in ("lists/partial", "cache/archives/partial"):
            (lists / part).mkdir(parents=True, exist_ok=True)
        sources = lists / "sources.list"
        sources.write_text(f"deb {self._mirror()} {suite} main\n")
        self._options += ["-o", f"Dir::State::lists={lists / 'lists'}", "-o", f"Dir::Cache={lists / 'cache'}",
                          "-o", f"Dir::Etc::SourceList={sources}", "-o", "Dir::Etc::SourceParts=/dev/null",
                          "-o", "Acquire::Languages=none"]
        run("apt-get", *self._options, "-qq", "update")

    @staticmethod
    def _mirror():
        """Where this machine has its own packages from."""
        shown = run("apt-get", "indextargets", "--format", "$(SITE)", "Identifier: Packages")
        sites = [site for site in shown.split() if "security" not in site]
        if not sites:
            raise PackageError("apt-get: no sources of packages are configured")
        return sites[0]

    def kernels(self, series=None):
        """The newest of each series, oldest first."""
        pattern = r"^linux-image-[0-9][0-9.]*[^ ]*-amd64$"
        newest = {}
        for line in run("apt-cache", *self._options, "search", "--names-only", pattern).splitlines():
            name = line.split()[0]
            if re.search(r"-(cloud|rt)-amd64|-\d+\.\d+-amd64$", name) or not self._fits(name, series):
                continue
            kernel = Kernel(name, self)
            if kernel.series not in newest or numbers(newest[kernel.series].package) < numbers(name):
                newest[kernel.series] = kernel
        return sorted(newest.values(), key=lambda kernel: numbers(kernel.package))

    @staticmethod
    def _fits(name, series):
        return not series or any(name == wanted or f"-{wanted}." in name for wanted in series)

    def fetch(self, package):
        """The folder into which it is unpacked; what is there already is used again."""
        folder = self.folder / package
        if not folder.exists():
            fresh = self.folder / f"{package}.new"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            run("apt-get", *self._options, "-qq", "download", package, cwd=fresh)
            file = next(fresh.glob("*.deb"))
            run("dpkg-deb", "-x", file, fresh)
            file.unlink()
            fresh.rename(folder)
        return folder

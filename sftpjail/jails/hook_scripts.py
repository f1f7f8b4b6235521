"""Hook scripts: which of the executables in the directories of an event are run, and which not."""

from __future__ import annotations

import itertools
import posixpath
import re
import stat
from shlex import quote

from ..errors.escapes import look_at
from ..formats import fixes
from ..host import Host
from ..model import Problem, is_roots
from ..openssh.chroot_path import path_fix
from ..paths import LIB

# The administrator's directory takes precedence: a script there replaces one of the same name, and
# a link to /dev/null masks it.
DIRECTORIES = (f"{LIB}/hooks", "/etc/sftpjail/hooks")
NAME = r"[A-Za-z0-9_-]+"
# Suffixes of files left by editors and package managers, or put aside by hand.
LEFT = r"^[.#]|~$|\.(dpkg|ucf|rpm|pac)[a-z-]*$|\.(bak|old|orig|new|off|disabled)$"


def scripts(event: str, host: Host) -> tuple[list[str], list[Problem]]:
    """Return the scripts to run for an event, by name, and the problems of those that are not run.

    Names follow the rules of run-parts(8), so that `x.dpkg-old` and `x~` do not run.
    """
    chosen: dict[str, str] = {}
    problems = []
    for directory in DIRECTORIES:
        for name in host.listdir(f"{directory}/{event}.d"):
            path = f"{directory}/{event}.d/{name}"
            if re.fullmatch(NAME, name):
                chosen[name] = path
            elif not re.search(LEFT, name) and would_run(path, host):
                why = "it has a name with other characters than letters, digits, _ and -"
                problems.append(passed_by(path, why, fixes.move(path, _renamed(path, host), host)))
    good = []
    for _, path in sorted(chosen.items()):
        if host.realpath(path) == "/dev/null":
            continue
        wrong, fix = _flaw(path, host)
        if wrong:
            problems.append(passed_by(path, f"it {wrong}", fix))
        else:
            good.append(path)
    return good, problems


def passed_by(path: str, why: str, fix: str) -> Problem:
    """Return the problem of a script that is not run."""
    return Problem(f"the hook script {path} is not run: {why}", "its event skips it", fix)


def would_run(path: str, host: Host) -> bool:
    """Return whether PATH is an executable file, or a link to one."""
    found = host.stat(path)
    return found is not None and stat.S_ISREG(found.st_mode) and bool(found.st_mode & 0o111)


def _renamed(path: str, host: Host) -> str:
    """Return a free path next to PATH with a name that would run, without `.sh`."""
    directory, name = posixpath.split(path)
    stem = posixpath.splitext(name)[0]
    plain = [re.sub(r"[^A-Za-z0-9_-]+", "-", given) for given in (stem, name)]
    names = itertools.chain(plain, (f"{plain[0]}-{number}" for number in itertools.count(2)))
    return next(new for part in names if host.lstat(new := f"{directory}/{part}") is None)


def _flaw(path: str, host: Host) -> tuple[str, str]:
    """Return why a script is not run, and the command that fixes it; both are "" if it is run."""
    found = host.stat(path)
    if found is None or not stat.S_ISREG(found.st_mode):
        return "is not a file", look_at(f"ls -ld {quote(path)}")
    if not is_roots(found):
        return "can be changed by others than root", fixes.on(
            path, host, "chown root {}", "chmod 755 {}"
        )
    if not found.st_mode & 0o111:
        return "is not executable", fixes.on(path, host, "chmod 755 {}")
    loose = host.files.loose_parent(path) or host.files.loose_parent(host.realpath(path))
    if loose:
        return f"lies in {loose}, which {host.flaw(loose)}", path_fix(loose, host)
    return "", ""

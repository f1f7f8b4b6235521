"""Hostile callers: what a process may get from the one that starts it, each as Python that runs before execve(2).

`env` is the environment that the command gets. Whatever lies in TRAPS leaves a trace in TRACE if it is run or
loaded.
"""

from __future__ import annotations

from machine import Machine, Result

TRAPS, TRACE = "/tmp/traps", "/tmp/trapped"
_PROGRAMS = (
    "env getent gpasswd id mount sh sshd ssh-keygen systemctl umount unshare useradd usermod"
)
_PRELUDE = "import os, resource, signal, sys; env = dict(os.environ)\n"
_FINAL = "\nos.execve('/usr/bin/sftpjail', sys.argv[1:], env)"


def _variable(name: str, value: str) -> str:
    return f"env[{name!r}] = {value!r}"


def _limit(name: str, value: int) -> str:
    return f"resource.setrlimit(resource.RLIMIT_{name}, ({value}, {value}))"


# What may keep a command from its end; every other caller may not.
LIMITS = {
    "RLIMIT_NOFILE 4": _limit("NOFILE", 4),
    "RLIMIT_NOFILE 8": _limit("NOFILE", 8),
    "RLIMIT_FSIZE 0": _limit("FSIZE", 0),
    "RLIMIT_FSIZE 700": _limit("FSIZE", 700),
    "RLIMIT_AS 40 MB": _limit("AS", 40_000_000),
    "RLIMIT_NPROC 1": _limit("NPROC", 1),
}
_ALL = "(n for n in signal.valid_signals() if n not in (signal.SIGKILL, signal.SIGSTOP) and n < 32)"
CALLERS = LIMITS | {
    "PATH begins with a directory of others": f"env['PATH'] = '{TRAPS}:' + env['PATH']",
    "PATH is empty": _variable("PATH", ""),
    "no environment": "env.clear()",
    "IFS": _variable("IFS", "/s"),
    "LD_LIBRARY_PATH": _variable("LD_LIBRARY_PATH", TRAPS),
    "LD_PRELOAD": _variable("LD_PRELOAD", f"{TRAPS}/none.so"),
    "PYTHONPATH": _variable("PYTHONPATH", TRAPS),
    "PYTHONHOME": _variable("PYTHONHOME", TRAPS),
    "PYTHONSTARTUP": _variable("PYTHONSTARTUP", f"{TRAPS}/os.py"),
    "PYTHONWARNINGS and PYTHONINSPECT": "env |= {'PYTHONWARNINGS': 'error', 'PYTHONINSPECT': '1'}",
    "BASH_ENV and ENV": f"env |= dict.fromkeys(('BASH_ENV', 'ENV'), '{TRAPS}/sh')",
    "LC_ALL is nonsense": _variable("LC_ALL", "xx_YY.none"),
    "LC_ALL=C": _variable("LC_ALL", "C"),
    "TZ is nonsense": _variable("TZ", "../../etc/shadow"),
    "umask 0777": "os.umask(0o777)",
    "umask 0": "os.umask(0)",
    "no standard input": "os.close(0)",
    "no standard output": "os.close(1)",
    "no standard error": "os.close(2)",
    "no standard streams": "os.closerange(0, 3)",
    "a deleted directory": "os.mkdir('/tmp/gone'); os.chdir('/tmp/gone'); os.rmdir('/tmp/gone')",
    "a directory of mode 0": "os.makedirs('/tmp/shut', 0, True); os.chdir('/tmp/shut')",
    "SIGCHLD is ignored": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "all signals are ignored": f"[signal.signal(n, signal.SIG_IGN) for n in {_ALL}]",
    "all signals are blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))",
    "TMPDIR": _variable("TMPDIR", "/nonexistent"),
    "HOME is relative": _variable("HOME", "../.."),
    "COLUMNS=0 and TERM": "env |= {'COLUMNS': '0', 'LINES': '-1', 'TERM': 'nonsense', 'FORCE_COLOR': '1'}",
    "SUDO_USER is nonsense": _variable("SUDO_USER", "\n; root"),
    "no_new_privs": "import ctypes; ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)",
}


def set_traps(machine: Machine) -> None:
    """Programs, modules and a shell's file that leave a trace."""
    trap = f"#!/bin/sh\n: >{TRACE}\n"
    for name in _PROGRAMS.split():
        machine.write(f"{TRAPS}/{name}", trap, 0o755)
    for module in ("os", "site", "sitecustomize", "pluggy", "usercustomize"):
        machine.write(f"{TRAPS}/{module}.py", f"open({TRACE!r}, 'w')\n")


def call(machine: Machine, caller: str, *argv: str) -> Result:
    """Run sftpjail as such a caller does; it may take minutes, but not for ever."""
    program = _PRELUDE + CALLERS[caller] + _FINAL
    command = ("/usr/bin/python3", "-I", "-c", program, "sftpjail", *argv)
    return machine.run(*command, check=False, timeout=180)

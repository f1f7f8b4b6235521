"""Steps that many system tests share: a host that is ready, a jail with a key, what a command said and changed."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from machine import CHANGING, CONFIG, Machine, Result, changes

# chattr(1) cannot take over the flags of a file that lies in a lower layer of the sandbox, so it
# gets a copy.
IMMUTABLE = "f() { cp -a $1 $1.copy; mv $1.copy $1; chattr +i $1; }; f"
TOPS = ("/etc", "/home", "/srv", "/usr/local", "/var/lib")
# The package managers' own; together they are most of what there is to hash.
DULL = (*CHANGING, "/var/lib/dpkg", "/var/lib/apt")
# A plain profile and no log daemon: for tests that are about something else and want to be quick.
QUIET = "[logs]\nbackend = none\n"

KILLER = "#!/bin/sh\nkill -9 $PPID\nsleep 5\n"


def as_shipped(machine: Machine) -> None:
    """From here on the configuration is as it is shipped, and as a test writes it: setup decides where mounts are."""
    machine.mounts = ""
    machine.sh(f"cp /src/packaging/sftpjail.conf {CONFIG}")


def is_new(machine: Machine) -> bool:
    """Whether this OpenSSH takes PAMServiceName: Debian 13's does, Debian 12's does not."""
    return bool(machine.sh("sshd -V 2>&1 | grep -c OpenSSH_9.2 || :").out == "0\n")


def ready(machine: Machine, config: str = QUIET) -> None:
    """sshd runs and `sftpjail setup` is done."""
    machine.write(CONFIG, config)
    machine.start_sshd()
    machine.run("sftpjail", "setup")


def jail(machine: Machine, name: str, *options: str) -> str:
    """An account in the group sftponly, made by useradd, and its key, whose path is returned."""
    machine.run("useradd", "-m", "-G", "sftponly", *options, name)
    return open_with_key(machine, name)


def open_with_key(machine: Machine, name: str) -> str:
    key = f"/root/keys/{name}"
    if not machine.exists(key):
        machine.keygen(name)
    machine.run("sftpjail", "key", "add", name, f"{key}.pub")
    return key


def works(machine: Machine, user: str, key: str, *batch: str) -> Result:
    """A login that lands where it can write, inside a jail; `batch` is done as well. Returns what sftp said."""
    done = machine.sftp(
        user, key, ["put /etc/hostname proof", "rm proof", "ls -1 /", "pwd", *batch]
    )
    assert done.code == 0, done
    assert "/etc" not in done.out.split() and "/usr" not in done.out.split(), done
    return done


def shut(machine: Machine, user: str, key: str) -> None:
    """No login at all."""
    done = machine.sftp(user, key, ["pwd"])
    assert done.code == 255 and "Remote working directory" not in done.out, done


def by_password(
    machine: Machine, name: str, *more: str, address: str = "127.0.0.1", word: str = "pw"
) -> int:
    """A login that answers with the password `word`; its exit code. `more` are options of sftp(1)."""
    machine.write("/run/askpass", f"#!/bin/sh\necho '{word}'\n", 0o755)
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
    options += ["PubkeyAuthentication=no", "NumberOfPasswordPrompts=1", "BatchMode=no", *more]
    words = [word for option in options for word in ("-o", option)]
    return machine.run(
        *("setsid", "sftp", "-F", "none", *words, "-P", str(machine.port), "-b", "-"),
        f"{name}@{address}",
        env={"SSH_ASKPASS": "/run/askpass", "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"},
        input="pwd\n",
        check=False,
    ).code


def doors(machine: Machine, user: str, key: str) -> list[str]:
    """The doors beside SFTP that are open: see doors.py."""
    script = "/src/tests/support/doors.py"
    return machine.run("python3", script, str(machine.port), key, user, timeout=120).out.split()


def refused(machine: Machine, *argv: str, code: int = 1, says: str = "", **options: object) -> str:
    """A command that fails with one clear error and changes nothing; returns what it said."""
    before = snapshot(machine)
    done = machine.run(*argv, check=False, **options)  # type: ignore[arg-type]
    assert done.code == code, done
    assert says in done.err, done
    assert "Traceback" not in done.err and "a bug:" not in done.err, done
    said = [line for line in done.err.splitlines() if line.startswith("sftpjail:")]
    assert len([line for line in said if ": waiting for " not in line]) == 1, done
    assert changes(before, snapshot(machine)) == {}, done
    return done.err


def choice(said: str, label: str) -> str:
    """The command of one of the choices that were printed."""
    return said.partition(f"  choice: {label}: ")[2].partition("\n")[0]


def again(machine: Machine, *argv: str) -> None:
    """The same command once more: it changes no file, not even a time, and says so."""
    before = listing(machine)
    done = machine.run(*argv)
    assert changes(before, listing(machine)) == {}, done
    assert "nothing to do" in done.out, done


def previewed(machine: Machine, *argv: str) -> str:
    """What `--dry-run` shows, which changes nothing."""
    before = listing(machine), mounted(machine)
    done = machine.run(argv[0], "--dry-run", *argv[1:])
    assert changes(before[0], listing(machine)) == {}, done
    assert mounted(machine) == before[1], done
    return done.out


def listing(machine: Machine, times: bool = True) -> dict[str, tuple[object, ...]]:
    return machine.listing(*TOPS, exclude=DULL, times=times)


def snapshot(machine: Machine) -> dict[str, object]:
    """All files and mounts, to compare with `changes`."""
    return {**listing(machine, times=False), "mounts": mounted(machine)}


def mounted(machine: Machine, below: str = "/srv") -> list[str]:
    """The mount points below a directory."""
    lines = machine.read("/proc/self/mountinfo").splitlines()
    points = (
        re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), line.split(" ")[4])
        for line in lines
    )
    return sorted(point for point in points if point.startswith(f"{below}/"))


def fstab(machine: Machine, user: str) -> list[str]:
    """The lines of fstab that are this account's."""
    lines = (
        line
        for line in machine.read("/etc/fstab").split("\n")
        if line.count(" ") > 2 and line[0] != "#"
    )
    return [line for line in lines if f"x-sftpjail.user={user}" in line.split(" ")[3].split(",")]


def settings(machine: Machine, user: str) -> str:
    """What sshd would do with this account."""
    return machine.run(
        "/usr/sbin/sshd", "-T", "-C", f"user={user},host=localhost,addr=127.0.0.1"
    ).out


def programs_of(machine: Machine, *argv: str) -> list[str]:
    """The programs that a command starts, itself first, in their order: execve(2) as strace(1) sees it."""
    machine.run("strace", "-f", "-qq", "-e", "trace=execve", "-o", "/run/programs", *argv)
    found = re.findall(r'execve\("([^"]+)".* = 0', machine.read("/run/programs"))
    return [str(program) for program in found]


def modules_of(machine: Machine, *argv: str) -> set[str]:
    """The modules that sftpjail has imported when it ends."""
    program = (
        "import runpy, sys\ntry: runpy.run_path('/usr/bin/sftpjail')\nfinally: print(*sys.modules)"
    )
    return set(machine.run("python3", "-I", "-c", program, *argv).out.splitlines()[-1].split())


def web(machine: Machine, directory: str = "/srv/web/example.com") -> str:
    """A directory with files, some in a directory of their own."""
    machine.write(f"{directory}/index.html", "hello\n")
    machine.write(f"{directory}/deep/down/page.html", "page\n")
    return directory


@contextmanager
def running(machine: Machine, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on while the test does something else; ended with everything it started."""
    process = subprocess.Popen(
        machine.argv(*argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        subprocess.run(["pkill", "-KILL", "-s", str(process.pid)], check=False)
        process.send_signal(signal.SIGKILL)
        process.communicate()


@contextmanager
def session(machine: Machine, user: str, key: str, directory: str) -> Iterator[None]:
    """An open SFTP session that has the listing of a directory and a file of it behind it, and stays."""
    with running(machine, "sftp", *machine._client(key, "-P"), f"{user}@127.0.0.1") as process:
        assert process.stdin and process.stdout
        process.stdin.write(f"cd {directory}\npwd\n")
        wait_line(process, "Remote working directory: ")
        yield


def wait_line(process: subprocess.Popen[str], begin: str, timeout: float = 20) -> str:
    deadline = time.monotonic() + timeout
    assert process.stdout
    for line in process.stdout:
        if begin in line:
            return line
        assert time.monotonic() < deadline, f"no {begin!r}"
    raise AssertionError(f"ended before it said {begin!r}")


def killed(machine: Machine, event: str, *argv: str) -> None:
    """Have a command die in its hook scripts."""
    hook = f"/etc/sftpjail/hooks/{event}.d/killer"
    machine.write(hook, KILLER, 0o755)
    assert machine.run(*argv, check=False).code == -9
    machine.run("rm", hook)
    assert machine.exists("/var/lib/sftpjail/journal")

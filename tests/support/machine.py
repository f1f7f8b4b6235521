"""A throw-away copy of the machine that runs the tests, with its own processes, network and files.

It is one `tests/sandbox`, held open; commands enter its namespaces. Closing it, or the death of
pytest, ends it whole.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import signal
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from answers import judge_output
from days import BEGAN, DAY, as_of_the_first_day

SANDBOX = Path(__file__).parents[1] / "sandbox"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CONFIG = "/etc/sftpjail/sftpjail.conf"
# Where Machine.listing looks, and what changes by itself.
# The one thing of ours that a teardown leaves; a directory that holds nothing else is left out too.
HISTORY = "/var/lib/sftpjail/history"
SEEN = "/var/lib/sftpjail/seen"  # a cache of when keys were used, which any login changes
CHANGING = (
    HISTORY,
    SEEN,
    "/etc/*-",
    "/etc/.pwd.lock",
    "/var/cache",
    "/var/log",
    "/var/tmp",
    "/var/lib/systemd",
    "*/__pycache__",
)

# The login of the account $1 with the key $2: a line, if it works.
LOGIN = """\
said=$(sftp -q -b /root/batch {} "$1@127.0.0.1" 2>&1) && printf '%s\\t%s\\n' "$1" "$(echo $said)"
exit 0
"""


@dataclass(frozen=True)
class Result:
    argv: tuple[str, ...]
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"{shlex.join(self.argv)}\nexit code {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"


class CommandFailed(AssertionError):
    """A command that a test counts on failed, or took too long."""


class Machine:
    def __init__(
        self,
        *,
        boot: bool = False,
        layer: Path | None = None,
        root: str = "host",
        mounts: str = "",
    ) -> None:
        """`boot` runs it under systemd; `layer` is a directory whose files lie over the copy; `root` is what to copy.

        `mounts` is what each profile gets where a test's sftpjail.conf does not say; "" leaves that to setup.
        """
        self.mounts = mounts
        self.boot = boot
        self.port = 22 if boot else 2222
        self._argv = [str(SANDBOX), "--root", root]
        if boot:
            self._argv.append("--beside")
        if layer:
            self._argv += ["--layer", str(layer)]
        self._holder: subprocess.Popen[bytes] | None = None
        self.pid = 0  # of a process inside, as seen from here

    def __enter__(self) -> Self:
        # A booted command's time limit is for people; here each command has its own.
        self._holder = subprocess.Popen(
            [*self._argv, "--", "sh", "-c", "echo ready; read wait"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "SANDBOX_TIMEOUT": "3600"},
        )
        assert self._holder.stdin and self._holder.stdout
        if self._holder.stdout.readline() != b"ready\n":
            self.close()
            raise CommandFailed(f"{shlex.join(self._argv)} did not start")
        inside = _last_child(self._holder.pid, b"echo ready; read wait")
        self.pid = self._guest(inside) if self.boot else inside
        return self

    def _guest(self, beside: int) -> int:
        """Process 1 of the system that runs beside a process in the sandbox, as seen from here."""
        first = _status(beside, "PPid")[0]
        for pid in descendants(first):
            if _status(pid, "NSpid")[-1] == 1:
                return pid
        raise CommandFailed("the machine is not up")

    def reboot(self, timeout: float = 60) -> None:
        """Restart the system, as `reboot` does; whatever was running is gone."""
        assert self._holder
        self.run("systemctl", "reboot", check=False)
        old, deadline = self.pid, time.monotonic() + timeout
        beside = _last_child(self._holder.pid, b"echo ready; read wait")
        while time.monotonic() < deadline:
            time.sleep(0.1)
            try:
                self.pid = self._guest(beside)
                if self.pid != old:
                    state = self.run("systemctl", "is-system-running", check=False).out.strip()
                    if state in ("running", "degraded"):
                        return
            except (CommandFailed, OSError):
                continue
        raise CommandFailed("the machine did not come up again")

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._holder is None:
            return
        assert self._holder.stdin and self._holder.stdout
        self._holder.stdin.close()
        try:
            self._holder.wait(10)
        except subprocess.TimeoutExpired:
            self._holder.terminate()
            self._holder.wait(10)
        self._holder.stdout.close()
        self._holder = None

    # --- commands

    def argv(self, *argv: str, env: Mapping[str, str] | None = None, cwd: str = "/") -> list[str]:
        """What to execute out here to have `argv` run as root in there, for tests that want a Popen of their own."""
        values = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb", **(env or {})}
        clean = [
            "env",
            "-i",
            f"--chdir={cwd}",
            *(f"{name}={value}" for name, value in values.items()),
        ]
        return ["nsenter", "--all", f"--target={self.pid}", *clean, *argv]

    def run(
        self,
        *argv: str | os.PathLike[str],
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        timeout: float = 60,
    ) -> Result:
        words = tuple(map(str, argv))
        process = subprocess.Popen(
            self.argv(*words, env=env, cwd=cwd),
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="surrogateescape",
            start_new_session=True,
        )
        try:
            out, err = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise CommandFailed(
                f"no end after {timeout} s: {Result(words, -1, out, err)}"
            ) from None
        result = Result(words, process.returncode, out, err)
        if check and result.code:
            raise CommandFailed(str(result))
        judge_output(words, result.code, out)
        return result

    def sh(self, script: str, **options: object) -> Result:
        return self.run("sh", "-ec", script, **options)  # type: ignore[arg-type]

    # --- files

    def write(self, path: str, text: str, mode: int | None = None) -> None:
        """Writes through what is there: links are followed, owner and mode stay, unless `mode` says otherwise.

        A sftpjail.conf gets `mounts`.
        """
        if path == CONFIG and self.mounts:
            text = with_mounts(text, self.mounts)
        change = f'; chmod {mode:o} "$1"' if mode is not None else ""
        self.run(
            "sh", "-ec", f'mkdir -p "$(dirname "$1")"; cat >"$1"{change}', "sh", path, input=text
        )

    def append(self, path: str, text: str) -> None:
        self.run("sh", "-c", 'cat >>"$1"', "sh", path, input=text)

    def read(self, path: str) -> str:
        return self.run("cat", path).out

    def exists(self, path: str) -> bool:
        """Also true of a link that leads nowhere."""
        return self.run("sh", "-c", '[ -e "$1" ] || [ -L "$1" ]', "sh", path, check=False).code == 0

    def mode(self, path: str) -> str:
        """Owner, group and mode, as in "root:root 755"; of what a link leads to."""
        return self.run("stat", "-L", "-c", "%U:%G %a", path).out.strip()

    def listing(
        self, *tops: str, exclude: Sequence[str] = CHANGING, times: bool = False
    ) -> dict[str, tuple[object, ...]]:
        """Everything under `tops` (default /etc /home /srv /usr/local /var), to compare before and after.

        path -> (type, owner, group, mode, content, [mtime in ns]), where the content is a hash,
        which midnight does not change, what a link says, or the access lists of a directory.
        """
        tops = tops or ("/etc", "/home", "/srv", "/usr/local", "/var")
        owners = {
            line.split(":")[2]: line.split(":")[0] for line in self.read("/etc/passwd").splitlines()
        }
        groups = {
            line.split(":")[2]: line.split(":")[0] for line in self.read("/etc/group").splitlines()
        }
        root = f"/proc/{self.pid}/root"
        found: dict[str, tuple[object, ...]] = {}

        def add(path: str) -> None:
            if any(Path(path).match(pattern) for pattern in exclude):
                return
            try:
                info = os.lstat(root + path)
                ours = path == os.path.dirname(HISTORY) and HISTORY in exclude
                if ours and os.listdir(root + path) == [os.path.basename(HISTORY)]:
                    return
            except FileNotFoundError:
                return
            owner, group = str(info.st_uid), str(info.st_gid)
            entry = (
                stat.filemode(info.st_mode)[0],
                owners.get(owner, owner),
                groups.get(group, group),
                f"{stat.S_IMODE(info.st_mode):o}",
                _content(root + path, info),
            )
            found[path] = (*entry, info.st_mtime_ns) if times else entry
            if stat.S_ISDIR(info.st_mode):
                for name in sorted(os.listdir(root + path)):
                    add(f"{path.rstrip('/')}/{name}")

        for top in tops:
            add(top)
        return found

    def wait_for(self, path: str, pattern: str = "", timeout: float = 10) -> str:
        """Waits until the file is there and `pattern` is found in it; returns what it holds."""
        deadline = time.monotonic() + timeout
        while True:
            text = self.run(
                "sh", "-c", 'if [ -S "$1" ]; then :; else cat "$1"; fi', "sh", path, check=False
            )
            if text.code == 0 and re.search(pattern, text.out, re.MULTILINE):
                return text.out
            if time.monotonic() > deadline:
                raise CommandFailed(f"no {pattern!r} in {path} after {timeout} s: {text}")
            time.sleep(0.02)

    # --- what a host runs

    def let_the_path_unit_apply(self) -> None:
        """Wait until systemd has seen /etc/group change and applied: later, that would repair what a test breaks."""
        self.sh(
            "sleep 1; systemctl start sftpjail.service"
        )  # `start` waits for the run that has begun

    def install(self) -> None:
        self.run("make", "-C", "/src", "install", "prefix=/usr")

    def start_sshd(self, *options: str) -> None:
        """The live configuration, on a port of its own; `options` go to sshd."""
        self.run("install", "-d", "-m", "755", "/run/sshd")
        self.run("ssh-keygen", "-A")
        self.run("/usr/sbin/sshd", "-p", str(self.port), "-o", "PidFile=/run/sshd.pid", *options)
        self.wait_for("/run/sshd.pid", r"\d")  # sshd writes it when it listens

    def patience(self) -> str:
        """What keeps sshd, since OpenSSH 9.8, from locking out an address from which many logins fail; a line, or ""."""
        self.run("install", "-d", "-m", "755", "/run/sshd")
        self.run("ssh-keygen", "-A")
        line = "PerSourcePenalties no"
        return (
            f"{line}\n"
            if self.run("/usr/sbin/sshd", "-t", "-o", line, check=False).code == 0
            else ""
        )

    def stop_sshd(self) -> None:
        self.stop("/run/sshd.pid")

    def restart_sshd(self, *options: str) -> None:
        self.stop_sshd()
        self.start_sshd(*options)

    def start_rsyslog(self) -> None:
        # In the foreground: the parent of its daemon sleeps for a second.
        self.sh(
            "rm -f /dev/log; setsid rsyslogd -n -i /run/rsyslogd.pid </dev/null >/run/rsyslogd.out 2>&1 &"
        )
        self.wait_for("/dev/log")

    def stop_rsyslog(self) -> None:
        self.stop("/run/rsyslogd.pid")

    def restart_rsyslog(self) -> None:
        self.stop_rsyslog()
        self.start_rsyslog()

    def start_syslog_ng(self) -> None:
        """The live configuration, but for its system() source, which would read the kernel's log as well."""
        config = self.read("/etc/syslog-ng/syslog-ng.conf").replace(
            "system();", 'unix-dgram("/dev/log");'
        )
        self.write("/run/syslog-ng.conf", config)
        self.run("syslog-ng", "--no-caps", "-f", "/run/syslog-ng.conf", "-p", "/run/syslog-ng.pid")
        self.wait_for("/dev/log")

    def stop_syslog_ng(self) -> None:
        self.stop("/run/syslog-ng.pid")
        self.run("rm", "-f", "/dev/log")  # rsyslog does that itself

    def restart_syslog_ng(self) -> None:
        self.stop_syslog_ng()
        self.start_syslog_ng()

    def stop(self, pidfile: str) -> None:
        """Ends a daemon, and waits for its end."""
        script = 'pid=$(cat "$1"); kill "$pid"; while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done; rm -f "$1"'
        self.run("sh", "-ec", script, "sh", pidfile)

    # --- what a user does

    def keygen(self, name: str) -> str:
        """A new key pair: the path of the private half; the public one is beside it, with .pub."""
        path = f"/root/keys/{name}"
        self.run("install", "-d", "-m", "700", "/root/keys")
        self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path)
        return path

    def sftp(self, user: str, key: str, batch: str | Sequence[str], check: bool = False) -> Result:
        """A real login: `batch` holds commands of sftp(1), a string or one each."""
        lines = batch if isinstance(batch, str) else "\n".join(batch)
        target = f"{user}@127.0.0.1"
        return self.run(
            "sftp", "-b", "-", *self._client(key, "-P"), target, input=lines + "\n", check=check
        )

    def logins(self, keys: Mapping[str, str], batch: str) -> dict[str, str]:
        """Real logins of many accounts, four at a time: by name, what sftp(1) said of those that it let in.

        Args:
            keys: the path of a private key for each account.
            batch: commands of sftp(1), the same for each.
        """
        client = " ".join(self._client('"$2"', "-P"))
        self.write("/root/batch", f"{batch}\n")
        self.write("/root/login", LOGIN.format(client))
        lines = "".join(f"{name} {key}\n" for name, key in keys.items())
        said = self.run(
            *("xargs", "-P", "4", "-L", "1", "sh", "/root/login"), input=lines, timeout=4 * 3600
        ).out
        return dict(line.split("\t", 1) for line in said.splitlines())

    def ssh(self, user: str, key: str, *args: str, check: bool = False) -> Result:
        return self.run("ssh", *self._client(key, "-p"), f"{user}@127.0.0.1", *args, check=check)

    def _client(self, key: str, port: str) -> list[str]:
        options = [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
        ]
        options += ["LogLevel=ERROR", "ConnectTimeout=10"]
        return [
            "-F",
            "none",
            "-i",
            key,
            port,
            str(self.port),
            *(f"-o{option}" for option in options),
        ]


def with_mounts(config: str, mounts: str) -> str:
    """A sftpjail.conf in which each profile that says nothing of its mounts has them there."""
    parts = re.split(r"(?m)^(?=\[)", config)  # at each heading
    inside = False
    for at, part in enumerate(parts):
        if not part.startswith("[["):
            inside = part.startswith("[profiles]")
        elif inside and not re.search(r"(?m)^mounts *=", part):
            head, _, rest = part.partition("\n")
            parts[at] = f"{head}\nmounts = {mounts}\n{rest}"
    text = "".join(parts)
    if not re.search(r"(?m)^\[profiles\]", config):
        end = "" if text.endswith("\n") or not text else "\n"
        text += f"{end}[profiles]\n[[sftponly]]\nmounts = {mounts}\n"
    return text


def changes(
    before: Mapping[str, object], after: Mapping[str, object]
) -> dict[str, tuple[object, object]]:
    """What differs between two listings: path -> (before, after), None where there was or is nothing."""
    paths = sorted(before.keys() | after.keys())
    return {
        path: (before.get(path), after.get(path))
        for path in paths
        if before.get(path) != after.get(path)
    }


def _last_child(pid: int, marker: bytes) -> int:
    """The last of the chain of processes that carry our command line: the one that runs it."""
    while True:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        marked = [
            int(child)
            for child in children
            if marker in Path(f"/proc/{child}/cmdline").read_bytes()
        ]
        if not marked:
            return pid
        pid = marked[0]


def _status(pid: int, field: str) -> list[int]:
    """Numbers of /proc/PID/status."""
    found = re.search(rf"(?m)^{field}:\t(.*)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return [int(number) for number in found[1].split()]


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, each before its own."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def _content(path: str, info: os.stat_result) -> str:
    if stat.S_ISLNK(info.st_mode):
        return os.readlink(path)
    if stat.S_ISDIR(info.st_mode):
        lists = (name for name in os.listxattr(path) if name.startswith("system.posix_acl"))
        return " ".join(f"{name}={os.getxattr(path, name).hex()}" for name in lists)
    if not stat.S_ISREG(info.st_mode):
        return ""
    with open(path, "rb") as file:
        now = time.time()
        if now // DAY == BEGAN // DAY:
            return hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.sha256(as_of_the_first_day(file.read(), BEGAN, now)).hexdigest()

"""Every command under strace(1), with users' directories in play: changes there go by descriptor and one name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from figures import FIGURES
from handing import DRIVER
from host_canaries import plant
from machine import Machine, Result
from steps import CONFIG, running
from territory import STRACE, Report, read

FORMS = {
    "jails": "[profiles]\n[[sftponly]]\nmounts = fstab\n",
    "sessions": "[profiles]\n[[sftponly]]\nmounts = session\n",
    "homes": "[profiles]\n[[sftponly]]\nchroot = %h\nmounts = fstab\n",
    "inside": "[profiles]\n[[sftponly]]\nhome = inside\nmounts = fstab\n",
}
TERRITORY = (
    "/home/alice",
    "/home/carl",
    "/srv/team",
    "/srv/sftp/alice/home",
    "/srv/sftp/carl/home",
)
TERRITORY += (
    "/srv/sftp/alice/team",
    "/srv/sftp/alice/files",
    "/srv/sftp/carl/files",
    "/srv/sftp/alice/pub",
    "/home/dora",
)


class Traced:
    """Commands of a machine, each under strace, and what came of all of them."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.report, self.commands = machine, Report(), 0
        self.unexpected: list[str] = []

    def run(self, *argv: str, code: int | None = 0, stdin: str | None = None) -> Result:
        """Run and judge a command; `code` is what it must end with, None for anything."""
        done = self.machine.run(
            *STRACE, "-o", "/run/trace", *argv, check=False, input=stdin, timeout=120
        )
        if code is not None and done.code != code:
            self.unexpected.append(str(done))
        self.judge(" ".join(argv))
        return done

    def judge(self, what: str) -> None:
        found = read(self.machine.read("/run/trace"), TERRITORY)
        found.offenders = [f"{what}: {line}" for line in found.offenders]
        self.report.add(found)
        self.commands += 1


@contextmanager
def traced_sshd(machine: Machine) -> Iterator[None]:
    """sshd under strace, whose trace is whole at the end."""
    machine.stop_sshd()
    argv = ("/usr/sbin/sshd", "-D", "-p", str(machine.port), "-o", "PidFile=/run/sshd.pid")
    with running(machine, *STRACE, "-o", "/run/trace", *argv) as process:
        machine.wait_for("/run/sshd.pid", r"\d")
        yield
        machine.stop_sshd()
        process.wait(20)
    machine.start_sshd()


WHOLE = [pytest.param(form, marks=pytest.mark.whole) for form in ("jails", "inside")]


@pytest.mark.parametrize("form", ["sessions", "homes", *WHOLE])
def test_all_commands(machine: Machine, form: str) -> None:
    machine.write(CONFIG, f"[mounts]\nallow = /home/alice/pub\n{FORMS[form]}")
    machine.start_sshd()
    machine.start_rsyslog()
    plant(machine)
    machine.sh(
        "useradd -m -s /bin/sh alice; mkdir -p /srv/team; su alice -c 'mkdir -m 700 ~/pub ~/.ssh'"
    )
    key, other = machine.keygen("alice"), machine.keygen("other")
    traced = Traced(machine)
    run = traced.run
    more = ("--under-home",) if form == "homes" else ()

    run("sftpjail", "setup")
    machine.restart_rsyslog()
    machine.sh(
        "install -o alice -g alice -m 600 /root/keys/alice.pub /home/alice/.ssh/authorized_keys"
    )
    run("sftpjail", "adopt", "alice")
    run("sftpjail", "key", "add", "alice", "-", stdin=machine.read(f"{other}.pub"))
    run("sftpjail", "key", "remove", "alice", "other")
    run("sftpjail", "mount", *more, "alice", "/srv/web", "/web")
    run("sftpjail", "mount", *more, "alice", "/srv/team", "/team")
    run("sftpjail", "mount", *more, "alice", "/srv/web", "/team/web")
    if form == "sessions":  # for fstab such a source is refused, since mount(8) judges nothing
        run("sftpjail", "mount", "alice", "/home/alice/pub", "/pub")
    for command in ("check", "list", "show alice", "explain alice", "apply", "test alice"):
        run("sftpjail", *command.split(), code=0 if command in ("list", "apply") else None)
    run("sftpjail", "enter", "alice", "--", "ls", "/")
    run("/etc/sftpjail/pam-session", "boot", code=None)

    # The outer directory becomes the user's, and mounts are lost.
    run("sftpjail", "umount", "alice", "/team/web")
    machine.sh("chown alice /srv/team")
    machine.sh(
        "for point in $(awk '$5 ~ /^.(srv.sftp|home).alice/ { print $5 }' /proc/self/mountinfo | sort -r); "
        "do umount $point; done"
    )
    run("sftpjail", "check", code=None)
    run("sftpjail", "check", "--fix", code=None)
    run("sftpjail", "apply", code=None)

    with traced_sshd(machine):
        machine.sftp("alice", key, ["ls", "put /etc/hostname one"])
    traced.judge("a login")

    # Keys that lie in the home of a jailed account.
    machine.sh(
        "rm -f /etc/ssh/authorized_keys/alice; files=/home/alice; mkdir -p $files/.ssh; chown alice $files/.ssh; "
        "install -o alice -g alice -m 600 /root/keys/other.pub $files/.ssh/authorized_keys"
    )
    run("sftpjail", "key", "migrate", "alice", code=None)

    # What fails late, and what was killed.
    machine.write("/etc/sftpjail/hooks/user-remove.d/veto", "#!/bin/sh\nexit 1\n", 0o755)
    run("sftpjail", "remove", "alice", code=1)
    machine.write(
        "/etc/sftpjail/hooks/user-remove.d/veto", "#!/bin/sh\nkill -9 $PPID\nsleep 1\n", 0o755
    )
    run("sftpjail", "remove", "alice", code=None)
    machine.run("rm", "/etc/sftpjail/hooks/user-remove.d/veto")
    run("sftpjail", "apply", code=None)
    run("sftpjail", "remove", "alice")
    machine.sh("rm -f /home/alice/.ssh/*.sftpjail")
    machine.write("/etc/sftpjail/hooks/user-create.d/veto", "#!/bin/sh\nexit 1\n", 0o755)
    run("sftpjail", "adopt", "alice", code=1)
    machine.sh("rm -f /etc/sftpjail/hooks/user-create.d/veto /home/alice/.ssh/*.sftpjail")
    run("sftpjail", "adopt", "alice")

    # As the system calls us.
    run("useradd", "-m", "-G", "sftponly", "carl")
    run("sftpjail", "remove", "carl")
    run("gpasswd", "-a", "carl", "sftponly")
    run("sftpjail", "apply")
    run("userdel", "-r", "carl", code=None)
    run("sftpjail", "add", "dora", "--mount", "/srv/web:/web", code=None)
    run("deluser", "--remove-home", "dora", code=None)
    run("sftpjail", "remove", "--delete-account", "alice")
    run("sftpjail", "apply", "--prune", code=None)
    run("sftpjail", "teardown", code=None)

    finish(traced, form)


def prepared(machine: Machine, form: str) -> None:
    """A host whose members get mounts with another owner, and whose uploads are scanned."""
    events = "[events]\nuser = hooks\ntimeout = 20\n"
    machine.write(CONFIG, f"[mounts]\nas = www-data,\n{events}{FORMS[form]}")
    machine.start_sshd()
    machine.start_rsyslog()
    plant(machine)
    machine.sh(
        "useradd -r hooks; mkdir -p /srv/team /srv/owned && mount -t tmpfs -o mode=755,nosuid none /srv/owned "
        "&& mkdir /srv/owned/web && chown www-data: /srv/owned/web && mount -t tmpfs none /srv/team"
    )
    machine.write("/etc/sftpjail/hooks/upload.d/scan", "#!/bin/sh\nexit 10\n", 0o755)
    machine.write("/usr/lib/sftpjail/deliver", DRIVER)


@pytest.mark.halved
@pytest.mark.parametrize("form", ["sessions", "homes"])
def test_more_commands(machine: Machine, form: str) -> None:
    """What came later: owners, retention, quota, events, closing, names that change, undo, files, import."""
    prepared(machine, form)
    traced = Traced(machine)
    run, more = traced.run, ("--under-home",) if form == "homes" else ()
    run("sftpjail", "setup")
    run("sftpjail", "add", "alice")
    machine.sh("chown alice: /srv/team")
    run("sftpjail", "mount", *more, "alice", "/srv/team", "/pub")
    old_mount = "util-linux 2.38" in machine.run("mount", "--version").out
    owned = ("/srv/owned/web", "/web", "--as", "www-data")
    run("sftpjail", "mount", *more, "alice", *owned, code=None if old_mount else 0)
    run("sftpjail", "set", "alice", "--retention", "/pub=30d")
    run("sftpjail", "set", "alice", "--quota", "1G", code=1)  # of a file system that has none
    run("sftpjail", "set", "alice", "--expires", "2099-01-01")

    # An upload is taken away: from a file system that is not the quarantine's, and from one that is.
    own = "/home/alice/files" if form == "homes" else "/home/alice"
    machine.sh(f"su -s /bin/sh alice -c 'cd {own} && echo bad >plain; echo bad >/srv/team/far'")
    inside = "/files/plain" if form == "homes" else "/home/alice/plain"
    events = (("1-1", inside), ("1-2", "/pub/far"))
    lines = [{"id": i, "at": 5, "user": "alice", "kind": "upload", "path": p} for i, p in events]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)

    done = run("env", "PYTHONPATH=/src", "python3", "/usr/lib/sftpjail/deliver", stdin=text)
    left = machine.sh(f"ls {own}/plain /srv/team/far 2>&1 || :").out
    assert left.count("No such file") == 2, (done, left)
    run("sftpjail", "events", code=None)

    run("sftpjail", "disable", "--now", "alice")
    run("sftpjail", "enable", "alice")
    run("sftpjail", "review", code=None)
    run("usermod", "-l", "anna", "alice")
    run("sftpjail", "apply")
    machine.run("usermod", "-l", "alice", "anna")
    run("sftpjail", "apply")
    run("sftpjail", "umount", "alice", "/pub", code=None)
    run("sftpjail", "undo", "--yes", code=None)
    accounts = run("sftpjail", "export").out
    run("sftpjail", "remove", "alice")
    run("sftpjail", "undo", "--yes", code=None)
    run("sftpjail", "apply", "-", stdin=accounts, code=None)
    run("sftpjail", "teardown", "--keep-jails", code=None)
    run("sftpjail", "setup", code=None)
    run("sftpjail", "teardown", code=None)

    # Jails that somebody made by hand.
    machine.sh(
        "groupadd -f byhand; useradd -M -G byhand carl; install -d /home/carl; install -d -o carl /home/carl/files; "
        "printf 'Match Group byhand\\n ChrootDirectory %%h\\n ForceCommand internal-sftp\\n' >>/etc/ssh/sshd_config"
    )
    run("sftpjail", "import", code=None)
    run("sftpjail", "import", "--apply", code=None)
    run("sftpjail", "undo", "--yes", code=None)
    finish(traced, f"{form}, more")


def finish(traced: Traced, form: str) -> None:
    """Note the figures, and fail for what went by path, or ended otherwise than it should."""
    report = traced.report
    FIGURES.append(
        f"territory {form}: {traced.commands} commands, {report.looked_at} changing calls looked at, "
        f"{report.in_territory} in users' territory, {len(report.offenders)} by path "
        f"({report.others} more by useradd, userdel, sshd and their like)"
    )
    assert report.in_territory
    assert not report.offenders, "\n".join(report.offenders)
    assert not traced.unexpected, "\n".join(traced.unexpected)


# Each does by path what ours do by descriptor.
WRONG = {
    "mkdir": "mkdir /home/alice/new",
    "link": "ln -s /etc /home/alice/link",
    "rename": "mv /home/alice/sub /home/alice/other",
    "unlink": "rm -f /home/alice/sub/file",
    "chown": "chown root /home/alice/sub",
    "chmod": "chmod 755 /home/alice/sub",
    "create": "echo x >/home/alice/sub/new",
    "truncate": "truncate -s 0 /home/alice/sub/file",
    "times": "touch -d yesterday /home/alice/sub/file",
    "attribute": 'python3 -c \'import os; os.setxattr("/home/alice/sub/file", "user.x", b"y")\'',
    "mount": "mkdir -p /home/alice/sub; mount --bind /srv/web /home/alice/sub",
    "mount -a": "echo '/srv/web /home/alice/sub none bind 0 0' >/run/tab; mount -a -T /run/tab",
    "source": "mount --bind /home/alice/sub /mnt",
    "unmount": "mount --bind /srv/web /home/alice/sub; umount /home/alice/sub",
    "relative": "cd /home/alice/sub; mkdir relative",
    "followed": 'python3 -c \'import os; d = os.open("/home/alice", os.O_PATH); os.chmod("sub", 0o700, dir_fd=d)\'',
    "by two names": 'python3 -c \'import os; d = os.open("/home", os.O_PATH); os.mkdir("alice/new", dir_fd=d)\'',
}


def test_what_goes_by_path_is_seen(machine: Machine) -> None:
    """Each of these, in a script of ours, is named; what useradd does for itself is not."""
    plant(machine)
    unseen = []
    for name, command in WRONG.items():
        machine.sh(
            "umount /home/alice/sub /mnt 2>/dev/null || :; rm -rf /home/alice; userdel alice 2>/dev/null || :"
        )
        machine.sh("useradd -m alice; su alice -c 'mkdir ~/sub; echo x >~/sub/file'")
        machine.write("/usr/lib/sftpjail/wrong", f"#!/bin/sh\n{command}\n", 0o755)
        traced = Traced(machine)
        traced.run("/usr/lib/sftpjail/wrong", code=None)
        unseen += [] if traced.report.offenders else [name]
    traced = Traced(machine)
    traced.run("useradd", "-m", "dora")
    traced.run("userdel", "-r", "dora", code=None)
    assert unseen == []
    assert traced.report.offenders == [] and traced.report.others

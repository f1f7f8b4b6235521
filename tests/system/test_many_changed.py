"""Changes of many accounts: one edit instead of a program for each, and whole wherever they are stopped."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from machine import Machine, changes, descendants
from steps import (
    QUIET,
    again,
    jail,
    killed,
    previewed,
    programs_of,
    ready,
    refused,
    running,
    shut,
    snapshot,
    works,
)

CONFIG = f"{QUIET}[profiles]\n[[sftponly]]\nhome = inside\nmounts = session\n"
FILE, NEXT = "/root/accounts", "/root/next"
SAVED = "/root/before.tar"
PLACES = ("/srv/sftp", "/etc/ssh/authorized_keys", "/etc/sftpjail", "/var/lib/sftpjail")
MISSING = ("--missing", "disable", "--yes")
ETC = ("passwd", "shadow", "group", "gshadow", "subuid", "subgid")


def accounts_of(machine: Machine) -> list[str]:
    return [machine.read(f"/etc/{name}") for name in ETC]


def key_of(machine: Machine) -> str:
    return machine.read(f"{machine.keygen('key')}.pub").strip()


@pytest.mark.halved
def test_changes_of_many_accounts_are_one_edit(machine: Machine) -> None:
    ready(machine, CONFIG)
    key = key_of(machine)
    rows = "".join(f"u{n},{key}\n" for n in range(6))
    machine.write(FILE, f"name,keys\n{rows}")
    machine.run("sftpjail", "apply", FILE)
    before, all_before = accounts_of(machine), snapshot(machine)
    machine.write(NEXT, "name,comment,expires\nu0,Zero,2099-12-31\nu1,One,\nu2,Two,2099-12-31\n")
    assert "~ u5: disabled" in previewed(machine, "sftpjail", "apply", NEXT, *MISSING)
    programs = programs_of(machine, "sftpjail", "apply", NEXT, *MISSING)
    assert not {"usermod", "chage"} & {path.rpartition("/")[2] for path in programs}, programs
    fields = [line.split(":") for line in accounts_of(machine)[0].splitlines()]
    assert [line[4] for line in fields if line[0] in ("u0", "u1", "u2")] == ["Zero", "One", "Two"]
    fields = [line.split(":") for line in accounts_of(machine)[1].splitlines()]
    days = {line[0]: line[7] for line in fields if line[0][0] == "u" and line[0][1:].isdigit()}
    assert days == {"u0": "47481", "u1": "", "u2": "47481", "u3": "1", "u4": "1", "u5": "1"}
    machine.run("pwck", "-rq")
    again(machine, "sftpjail", "apply", NEXT, *MISSING)
    works(machine, "u0", "/root/keys/key")
    shut(machine, "u4", "/root/keys/key")
    programs = programs_of(machine, "sftpjail", "undo", "--yes")
    assert not {"usermod", "chage"} & {path.rpartition("/")[2] for path in programs}, programs
    assert accounts_of(machine) == before
    assert "chage" not in machine.sh("sftpjail check").err
    works(machine, "u4", "/root/keys/key")
    # A change that fails is put back by one edit, too; somebody's own since then stays.
    machine.sh("usermod -c '' u0; usermod -c '' u1; usermod -c '' u2")
    hook = "/etc/sftpjail/hooks/key-remove.d/fails"
    machine.write(NEXT, "name,comment,expires,keys\nu0,Zero,2099-12-31,\nu1,One,,\n")
    machine.write(hook, "#!/bin/sh\nusermod -c Theirs u1\nexit 1\n", 0o755)
    programs = programs_of_failing(machine, "sftpjail", "apply", NEXT, *MISSING)
    machine.sh("rm -r /etc/sftpjail/hooks")
    assert programs.count("usermod") <= 2, "those of the hook alone"
    assert accounts_of(machine)[1] == before[1]
    assert ":Theirs:" in accounts_of(machine)[0] and ":Zero:" not in accounts_of(machine)[0]
    machine.sh("usermod -c '' u1")
    assert accounts_of(machine) == before
    left = changes(all_before, snapshot(machine))
    assert not [path for path in left if path.startswith("/etc") and "sftpjail" not in path], left
    # For one account it is usermod(8), which logs it.
    programs = programs_of(machine, "sftpjail", "disable", "u0")
    assert [path.rpartition("/")[2] for path in programs].count("usermod") == 1, programs


@pytest.mark.halved
def test_an_undo_deletes_many_accounts_by_one_edit(machine: Machine) -> None:
    """Whole or not at all, and by userdel(8) where that does more than the edit."""
    ready(machine, CONFIG)
    machine.sh("mkdir /srv/web; groupadd extra")
    key, _ = key_of(machine), jail(machine, "bob")
    rows = "".join(f"u{n},{key},/srv/web:/web\n" for n in range(5))
    machine.write(FILE, f"name,keys,mounts\n{rows}")
    before = accounts_of(machine)
    machine.run("sftpjail", "apply", FILE)
    # A member behind them keeps its place, and a group of theirs its members.
    machine.sh("gpasswd -a bob extra; gpasswd -a u1 extra; useradd -m eve; gpasswd -a eve extra")
    there = accounts_of(machine)
    undo = ("sftpjail", "undo", "--yes", "--force")
    assert "- account u4" in previewed(machine, *undo)
    killed(machine, "user-remove", *undo)
    assert "u1" not in machine.read("/etc/passwd")
    machine.run("sftpjail", "apply")
    assert accounts_of(machine) == there
    works(machine, "u1", "/root/keys/key", "ls /web")
    # userdel(8) deletes whom a process uses, and refuses that one.
    with running(machine, "setpriv", "--reuid=u3", "--clear-groups", "sleep", "600"):
        refused(machine, *undo, says="currently used by process")
    assert accounts_of(machine) == there
    for theirs in ("/etc/shadow-maint/userdel-pre.d/theirs", "/usr/local/sbin/delete"):
        machine.write(theirs, "#!/bin/sh\nexit 7\n", 0o755)
    machine.sh("echo USERDEL_CMD /usr/local/sbin/delete >>/etc/login.defs")
    assert "! run userdel u4" in previewed(machine, *undo)
    machine.sh("rm /etc/shadow-maint/userdel-pre.d/theirs")
    assert "! run userdel u4" in previewed(machine, *undo)
    machine.sh("sed -i /^USERDEL_CMD/d /etc/login.defs")
    programs = programs_of(machine, *undo)
    assert not [path for path in programs if path.endswith(("userdel", "groupdel"))], programs
    machine.run("pwck", "-rq")
    for old, new in zip(before, accounts_of(machine), strict=True):
        left = [line for line in new.splitlines() if not line.startswith(("eve:", "extra:"))]
        assert left == [line for line in old.splitlines() if not line.startswith("extra:")]
    assert machine.sh("getent group extra").out.endswith(":bob,eve\n")
    assert not machine.exists("/srv/sftp/u1")
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
    # And back, each with its uid, key, mount and groups.
    machine.run("sftpjail", "undo", "--yes")
    works(machine, "u4", "/root/keys/key", "ls /web")
    assert "u1" in machine.sh("getent group extra").out
    assert machine.run("sftpjail", "check").out == "6 jails checked, no problems\n"


def programs_of_failing(machine: Machine, *argv: str) -> list[str]:
    """The names of the programs that a command starts which fails."""
    words = " ".join(argv)
    machine.sh(f"! strace -f -qq -e trace=execve -o /run/programs {words}")
    lines = machine.read("/run/programs").splitlines()
    return [
        line.partition('"')[2].partition('"')[0].rpartition("/")[2]
        for line in lines
        if "execve(" in line and line.endswith(" = 0")
    ]


def test_many_accounts_stopped_at_any_moment(machine: Machine, thorough: bool) -> None:
    """SIGKILL, and Ctrl-C: to make them, to change them all, and to shut out those that FILE lacks."""
    number, moments = (10_000, 10) if thorough else (300, 3)
    ready(machine, CONFIG)
    machine.sh("mkdir /srv/web")
    key = key_of(machine)
    names = [f"x{n}" for n in range(number)]
    rows = "".join(f"{name},{key},/srv/web:/web\n" for name in names)
    machine.write(FILE, f"name,keys,mounts\n{rows}")
    rows = "".join(f"{name},Other,2099-12-31\n" for name in names[: number // 2])
    machine.write(NEXT, f"name,comment,expires\n{rows}")
    for argv in (["apply", FILE], ["apply", NEXT, *MISSING]):
        stopped(machine, argv, moments)
    works(machine, "x1", "/root/keys/key", "ls /web")
    shut(machine, f"x{number - 1}", "/root/keys/key")
    machine.run("pwck", "-rq")
    found = machine.run("sftpjail", "check", timeout=600).out
    assert found == f"{number} jails checked, no problems\n", found


def stopped(machine: Machine, argv: list[str], moments: int) -> None:
    """Stop a command at so many moments by each signal; it is done afterwards."""
    before = state(machine)
    machine.run("tar", "-cpf", SAVED, *PLACES, *(f"/etc/{name}" for name in ETC))
    code, said, all_calls = run_until(machine, argv)
    after = state(machine)
    assert code == 0, said
    assert changes(before, after)
    restore(machine)
    assert not changes(before, state(machine))
    tally = {signal.SIGKILL: [0, 0], signal.SIGINT: [0, 0]}
    for turn in range(2 * moments):
        number = (signal.SIGKILL, signal.SIGINT)[turn % 2]
        moment = round(all_calls * (turn // 2 + 0.5) / moments)
        code, said, calls = run_until(machine, argv, moment, number)
        # It changes nothing itself.
        later = machine.run(
            "sftpjail", "key", "remove", "nobody", "nobody's", check=False, timeout=600
        )
        where = f"{number.name} at call {calls} of {all_calls}: {code} {said[-2000:]} {later}"
        assert calls >= moment and "Traceback" not in said, where
        assert not machine.exists("/var/lib/sftpjail/journal"), where
        now = state(machine)
        which = [not changes(one, now) for one in (before, after)]
        assert any(which), (
            f"{where}\nfrom before: {short(changes(before, now))}"
            f"\nfrom after: {short(changes(after, now))}"
        )
        if code == 130 and "put back" in said:
            assert which[0], where
        tally[number][which.index(True)] += 1
        if not which[0]:
            restore(machine)
    machine.run("sftpjail", *argv, timeout=600)
    print(f"{' '.join(argv)}: {all_calls} calls; before and after: {tally}")


def run_until(
    machine: Machine, argv: list[str], moment: int = 0, number: signal.Signals = signal.SIGKILL
) -> tuple[int, str, int]:
    """Run sftpjail, and send it and its programs a signal at a moment.

    The moment is how many calls of read(2) and write(2) it has made: that does not depend on how
    quick a machine is. Returns its exit code, what it said, and its calls when last seen.
    """
    calls, deadline = 0, time.monotonic() + 1200
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            machine.argv("sftpjail", *argv), stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        while process.poll() is None:
            assert time.monotonic() < deadline, f"it goes on, after {calls} calls"
            with contextlib.suppress(OSError, IndexError):  # it has not begun, or just ended
                struck = descendants(process.pid)
                calls = calls_of(struck[0])
                if 0 < moment <= calls:
                    for pid in struck:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, number)
                    break
            time.sleep(0.001)
        code = process.wait(1200)
        said.seek(0)
        return code, said.read(), calls


def calls_of(pid: int) -> int:
    """How often a process has read and written, with the programs that it has waited for."""
    found = re.findall(r"(?m)^sysc[rw]: (\d+)$", Path(f"/proc/{pid}/io").read_text())
    return sum(map(int, found))


def restore(machine: Machine) -> None:
    """Put back what was there: an undo would make history."""
    machine.run("rm", "-rf", *PLACES, timeout=600)
    machine.run("tar", "-C", "/", "-xpf", SAVED, timeout=600)


def short(found: dict[str, tuple[object, object]]) -> str:
    return f"{len(found)}: {dict(list(found.items())[:5])}"


def state(machine: Machine) -> dict[str, object]:
    """Everything but the history, and the times and numbers by which others know of a change."""
    dull = ("/var/lib/sftpjail/history", "/etc/passwd-", "/etc/shadow-", "/etc/group-")
    return {
        path: entry
        for path, entry in snapshot(machine).items()
        if not path.startswith((*dull, "/etc/gshadow-"))
    }


@pytest.mark.whole
def test_many_accounts_move_to_another_host(
    machine: Machine, installed: Path, thorough: bool
) -> None:
    """From one CSV, and from the JSON that the first host exports; each logs in with its old key."""
    number = 10_000 if thorough else 300
    names = [f"x{n}" for n in range(number)]
    keys, public = key_pairs(machine, names)
    movers = names[:: number // 30]
    rows = "".join(f"{name},{public[name]},/srv/web:/web\n" for name in names)
    make_ready(machine)
    machine.write(FILE, f"name,keys,mounts\n{rows}")
    applied(machine, FILE)
    export = machine.run("sftpjail", "export", "--format", "json", timeout=600).out
    assert len(json.loads(export)["accounts"]) == number
    with Machine(layer=installed, mounts="fstab") as other:
        make_ready(other)
        packed = machine.sh("tar -C / -czf - root/keys | base64", timeout=600).out
        other.sh("base64 -d | tar -C / -xzf -", input=packed, timeout=600)
        other.write(NEXT, export)
        applied(other, NEXT)
        for form in ("json", "csv"):
            words = ("sftpjail", "export", "--format", form)
            assert other.run(*words, timeout=600).out == machine.run(*words, timeout=600).out
        place = "/etc/ssh/authorized_keys"
        assert changes(machine.listing(place), other.listing(place)) == {}
        assert_let_in(other, keys)
        for host in (machine, other):
            for turn, name in enumerate(movers):
                works(host, name, keys[name], "ls /web")
                shut(host, name, keys[movers[turn - 1]])
        # A key that the file no longer has lets nobody in.
        lost = set(names[:: max(2, number // 500)])
        rows = "".join(
            f"{name},{made_up('another') if name in lost else public[name]}\n" for name in names
        )
        other.write(FILE, f"name,keys\n{rows}")
        applied(other, FILE)
        assert other.logins({name: keys[name] for name in lost}, "pwd") == {}
        print(f"{len(lost)} of {len(lost)} with a key that the file no longer has: refused")
        assert_let_in(other, {name: keys[name] for name in movers if name not in lost})
        found = other.run("sftpjail", "check", timeout=600).out
        assert found == f"{number} jails checked, no problems\n", found


def key_pairs(machine: Machine, names: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """A key for each account: where the private halves are, and the public halves."""
    keys = {name: f"/root/keys/{name}" for name in names}
    script = "install -d -m 700 /root/keys; xargs -P 2 -I NAME ssh-keygen -q -t ed25519 -N '' -C NAME -f /root/keys/NAME"
    machine.sh(script, input="\n".join(names), timeout=3600)
    lines = machine.sh("cd /root/keys; find . -name '*.pub' -exec cat {} +").out.splitlines()
    public = {line.split(" ")[2]: line for line in lines}
    assert public.keys() == keys.keys()
    return keys, public


def assert_let_in(machine: Machine, keys: dict[str, str]) -> None:
    """Each account logs in with its key, into its own jail, and sees what is mounted there."""
    machine.sh("for jail in /srv/sftp/x*; do : >$jail/files/${jail##*/}; done; : >/srv/web/proof")
    said = machine.logins(keys, "ls -1 /\nls -1 /files\nls -1 /web")
    print(f"{len(said)} of {len(keys)} logged in")
    right = "sftp> ls -1 / /files /web sftp> ls -1 /files /files/{} sftp> ls -1 /web /web/proof"
    wrong = {name: (said.get(name), "") for name in keys if said.get(name) != right.format(name)}
    assert not wrong, short(wrong)


def make_ready(machine: Machine) -> None:
    """A host on which many logins fail, and no account is jailed yet."""
    machine.write("/etc/ssh/sshd_config.d/00-test.conf", machine.patience())
    ready(machine, CONFIG)
    machine.sh("mkdir /srv/web")


def made_up(name: str) -> str:
    """A public key to which nobody has the private one."""
    words = (b"ssh-ed25519", hashlib.sha256(name.encode()).digest())
    blob = b"".join(len(word).to_bytes(4, "big") + word for word in words)
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} {name}"


def applied(machine: Machine, file: str) -> None:
    """A file of accounts is applied, and a second time that changes nothing."""
    machine.run("sftpjail", "apply", file, timeout=600)
    before = snapshot(machine)
    done = machine.run("sftpjail", "apply", file, timeout=600)
    assert "nothing to do" in done.out and changes(before, snapshot(machine)) == {}, done.out[:2000]

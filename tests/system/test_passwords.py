"""Passwords: set without being shown, and taken where a profile says so."""

from __future__ import annotations

import json

import pytest
from machine import Machine
from steps import (
    CONFIG,
    QUIET,
    again,
    by_password,
    jail,
    open_with_key,
    ready,
    refused,
    settings,
    shut,
    works,
)

MARK = "NobodyMayReadMe1"
PROFILE = f"{QUIET}[profiles]\n[[sftponly]]\n"
# Answers like a person who is asked twice, on a terminal of its own.
ASKED = """\
import os, pty, sys
pid, terminal = pty.fork()
if not pid:
    os.execvp(sys.argv[2], sys.argv[2:])
said = b""
for word in sys.argv[1].split(","):
    while not said.endswith(b": "):
        said += os.read(terminal, 1000)
    os.write(terminal, word.encode() + b"\\n")
    said = b""
try:
    while piece := os.read(terminal, 1000):
        os.write(1, piece)
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def marked(machine: Machine, name: str) -> str:
    """A hash of the password `pw` that is found wherever it is left."""
    return machine.run("openssl", "passwd", "-6", "-salt", MARK, "pw").out.strip()


def asked(machine: Machine, words: str, *argv: str, check: bool = True) -> str:
    return machine.run("python3", "-c", ASKED, words, *argv, check=check).out


def test_a_hash_is_nowhere_but_in_shadow(machine: Machine) -> None:
    ready(machine, f"{PROFILE}passwords = yes\n")
    key = jail(machine, "ann", "-p", "*")
    assert by_password(machine, "ann") != 0
    given, before = marked(machine, "ann"), machine.run("getent", "shadow", "ann").out
    trace = ("strace", "-f", "-qq", "-v", "-s", "9999", "-e", "trace=execve,sendto,sendmsg")
    said = [
        machine.run("sftpjail", "--dry-run", "set", "ann", "--password", input=given),
        machine.run(
            *trace, "-o", "/run/trace", "sftpjail", "--json", "set", "ann", "--password",
            input=f"ann:{given}\n",
        ),
    ]  # fmt: skip
    assert said[0].out == "~ account ann: password (set)\n"
    assert by_password(machine, "ann") == 0
    assert machine.run("getent", "shadow", "ann").out.split(":")[1] == given
    works(machine, "ann", key)
    said += [
        machine.run("sftpjail", "set", "ann", "--password", input=given),
        machine.run("sftpjail", "history"),
        machine.run("sftpjail", "--json", "history", "ann"),
        machine.run("sftpjail", "explain", "ann"),
        machine.run("sftpjail", "set", "ann", "--no-password"),
    ]
    assert "nothing to do" in said[2].out and "has a new password" in said[3].out, said
    assert all(MARK not in done.out + done.err for done in said)
    assert '"chpasswd", "--encrypted"]' in machine.read("/run/trace")
    assert machine.sh(f"grep -rls {MARK} /run /var /tmp /etc/sftpjail /etc/ssh || :").out == ""
    assert machine.run("getent", "shadow", "ann").out == before
    assert by_password(machine, "ann") != 0
    works(machine, "ann", key)
    kept = refused(machine, "sftpjail", "undo")
    assert "ann keeps its password, since the history has no other" in kept
    # What fails, or is killed when it is done, has changed nothing.
    machine.sh("mv /usr/sbin/chpasswd /usr/sbin/chpasswd.real")
    machine.write("/usr/sbin/chpasswd", "#!/bin/sh\ncat >&2\nexit 1\n", 0o755)
    assert MARK not in refused(machine, "sftpjail", "set", "ann", "--password", input=given)
    machine.write("/usr/sbin/chpasswd", '#!/bin/sh\nchpasswd.real "$@"\nkill -9 $PPID\n', 0o755)
    machine.run("sftpjail", "set", "ann", "--password", input=given, check=False)
    assert machine.run("getent", "shadow", "ann").out != before
    machine.run("sftpjail", "apply")
    assert machine.run("getent", "shadow", "ann").out == before
    machine.run("sftpjail", "set", "ann", "--password", input=given, check=False)
    machine.sh("mv /usr/sbin/chpasswd.real /usr/sbin/chpasswd; echo ann:theirs | chpasswd")
    theirs, applied = machine.run("getent", "shadow", "ann").out, machine.run("sftpjail", "apply")
    assert "the passwords of ann stay: somebody has set others since" in applied.err, applied
    assert machine.run("getent", "shadow", "ann").out == theirs
    machine.sh("usermod -p '*' ann")
    assert machine.sh(f"grep -rls {MARK} /run /var /tmp || :").out == ""
    for bad in ("", "pw", "$6$short", "*", "!", f"{given}:", f"bob:{given}", "a" * 5000):
        words = refused(machine, "sftpjail", "set", "ann", "--password", code=2, input=bad)
        assert "has no password hash" in words
    words = refused(machine, "sftpjail", "set", "ann", "--must-change", code=2)
    assert "no terminal to change a password on" in words
    refused(machine, "sftpjail", "set", "ann", code=2)


@pytest.mark.halved
def test_a_person_is_asked_twice(machine: Machine) -> None:
    machine.write("/etc/ssh/sshd_config.d/00-test.conf", "PasswordAuthentication no\n")
    ready(machine)
    said = asked(machine, "one,two", "sftpjail", "add", "ann", "--password", check=False)
    assert "the two passwords differ" in said and not machine.sh("getent passwd ann || :").out
    done = asked(machine, "pw,pw", "sftpjail", "add", "ann", "--password")
    assert "sshd takes no password of ann (PasswordAuthentication no" in done, done
    assert "to let the members of profile sftponly in by password: " in done, done
    assert by_password(machine, "ann") != 0
    fix = done.partition("in by password: ")[2].partition("\r\n")[0]
    machine.sh(fix)
    assert by_password(machine, "ann") == 0
    asked(machine, "other,other", "sftpjail", "set", "ann", "--password")
    assert by_password(machine, "ann") != 0
    asked(machine, "pw,pw", "sftpjail", "set", "ann", "--password")
    assert by_password(machine, "ann") == 0


@pytest.mark.halved
@pytest.mark.parametrize("pam", ["yes", "no"])
def test_a_profile_decides_and_names_whom_it_shuts_out(machine: Machine, pam: str) -> None:
    lines = f"UsePAM {pam}\nPasswordAuthentication yes\n{machine.patience()}"
    machine.write("/etc/ssh/sshd_config.d/00-test.conf", lines)
    ready(machine, PROFILE)
    assert "KbdInteractive" not in machine.read("/etc/ssh/sshd_config.d/10-sftpjail.conf")
    key = jail(machine, "ann")
    machine.sh(
        "useradd -m -G sftponly bob; useradd -m eve; printf '%s:pw\\n' ann bob eve | chpasswd"
    )
    assert [by_password(machine, name) for name in ("ann", "bob")] == [0, 0]
    machine.write(CONFIG, f"{PROFILE}passwords = no\n")
    words = refused(machine, "sftpjail", "setup")
    assert "bob could no longer log in: the methods of profile sftponly" in words, words
    assert "choice: to shut them out: sftpjail setup --yes" in words and "ann" not in words, words
    # It keeps no jail from being repaired or made.
    machine.sh("chown ann /etc/ssh/authorized_keys/ann; useradd -m -G sftponly new")
    applied = machine.run("sftpjail", "apply", check=False)
    assert applied.code == 1 and "bob could no longer log in" in applied.err, applied
    assert applied.out == "applied: ann, new\n" and "old one" not in applied.err, applied
    assert [by_password(machine, "bob"), machine.sh("userdel -r new").code] == [0, 0]
    machine.run("sftpjail", "setup", "--yes")
    assert "passwordauthentication no\nkbdinteractiveauthentication no\n" in settings(
        machine, "ann"
    )
    assert "passwordauthentication yes" in settings(machine, "eve")
    assert by_password(machine, "ann") != 0 != by_password(machine, "bob")
    works(machine, "ann", key)
    found = json.loads(machine.run("sftpjail", "--json", "list").out)["jails"]
    assert {one["user"]: one["state"] for one in found} == {"ann": "ok", "bob": "keyless"}
    # And the other way round: the host takes none, the jails do.
    machine.sh(
        "sed -i 's/^Password.*/PasswordAuthentication no/' /etc/ssh/sshd_config.d/00-test.conf"
    )
    machine.write(CONFIG, f"{PROFILE}passwords = yes\n")
    machine.run("sftpjail", "setup")
    again(machine, "sftpjail", "apply")
    assert [by_password(machine, name) for name in ("ann", "bob")] == [0, 0]
    assert "passwordauthentication no" in settings(machine, "eve")
    assert by_password(machine, "eve") != 0


@pytest.mark.halved
@pytest.mark.parametrize("pam", ["yes", "no"])
def test_methods_of_jails_and_of_the_host_are_apart(machine: Machine, pam: str) -> None:
    host = f"UsePAM {pam}\n{machine.patience()}AuthenticationMethods publickey,password\n"
    machine.write("/etc/ssh/sshd_config.d/00-test.conf", host)
    ready(machine, PROFILE)
    key = jail(machine, "ann", "-p", "*")
    machine.sh(
        "useradd -m eve; mkdir /home/eve/.ssh; cp /root/keys/ann.pub /home/eve/.ssh/authorized_keys"
    )
    machine.sh("usermod -p '*' eve")
    shut(machine, "ann", key)
    machine.write(CONFIG, f"{PROFILE}authentication_methods = publickey\n")
    machine.run("sftpjail", "setup")
    works(machine, "ann", key)
    shut(machine, "eve", key)
    assert "authenticationmethods publickey,password" in settings(machine, "eve")
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
    assert "ok" in machine.run("sftpjail", "test", "ann").out
    # The jails want both, the host a key: whoever has no password is named.
    machine.sh("sed -i /^Authentication/d /etc/ssh/sshd_config.d/00-test.conf")
    machine.write(CONFIG, f"{PROFILE}authentication_methods = publickey,password\n")
    words = refused(machine, "sftpjail", "setup")
    assert "ann could no longer log in" in words, words
    machine.run("sftpjail", "setup", "--yes")
    shut(machine, "ann", key)
    works_not = machine.sftp("eve", key, ["pwd"])
    assert works_not.code == 0, works_not
    given = machine.run("openssl", "passwd", "-6", "pw").out
    machine.run("sftpjail", "set", "ann", "--password", input=given)
    shut(machine, "ann", key)
    other = open_with_key(machine, "ann")
    assert by_password(machine, "ann") != 0
    assert both(machine, "ann", other) == 0
    bad = f"{PROFILE}authentication_methods = key\n"
    machine.write(CONFIG, bad)
    assert "sshd has no method 'key'" in refused(machine, "sftpjail", "setup", code=2)


def both(machine: Machine, name: str, key: str) -> int:
    """A login that has a key and the password `pw`; its exit code."""
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=no"]
    words = [word for option in options for word in ("-o", option)]
    target = (f"-P{machine.port}", "-b", "-", f"{name}@127.0.0.1")
    return machine.run(
        *("setsid", "sftp", "-F", "none", *words, "-i", key, *target),
        env={"SSH_ASKPASS": "/run/askpass", "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"},
        input="pwd\n",
        check=False,
    ).code

"""Users who set traps for root, runs that were killed at a bad moment, and files that nobody would write."""

from __future__ import annotations

import json

import pytest
from machine import Machine, changes
from steps import (
    QUIET,
    jail,
    killed,
    open_with_key,
    ready,
    refused,
    running,
    snapshot,
    works,
)

pytestmark = pytest.mark.halved

TRAPS = "while (1) { symlink('/etc/profile.d/trap.sh', \"/home/eve/$_\") for 'last', 'sub' }"
# Kills the run that calls it: by then directories, files and accounts are as planned.


def test_a_strangers_home_is_not_filled_through_their_links(machine: Machine) -> None:
    """For glibc a line of passwd(5) may end early; for sftpjail that is an account from elsewhere, as a directory's."""
    ready(machine)
    machine.append("/etc/passwd", "eve:x:5000:5000::/home/eve\n")
    # Much to copy first, so that there is time for traps.
    machine.sh(
        "cd /etc/skel; for n in $(seq 300); do echo $n >a$n; done; echo x >last; mkdir sub; echo x >sub/x"
    )
    machine.sh("gpasswd -a eve sftponly; ! ls /home/eve")
    eve = ("setpriv", "--reuid=5000", "--regid=5000", "--clear-groups")
    with running(machine, *eve, "perl", "-e", TRAPS):
        done = machine.run("sftpjail", "apply", check=False)
    assert not machine.exists("/etc/profile.d/trap.sh"), done
    assert done.code == 0, done
    assert machine.mode("/home/eve") == "eve:UNKNOWN 700"
    machine.sh("diff -r /etc/skel /home/eve")
    found = machine.run("find", "/home/eve", "-not", "-user", "eve", "-or", "-type", "l").out
    assert found == ""


def test_an_account_that_went_before_the_recovery(machine: Machine) -> None:
    ready(machine)
    machine.run("useradd", "-m", "alice")
    killed(machine, "user-create", "sftpjail", "adopt", "alice")
    machine.sh("sed -i /^alice:/d /etc/passwd /etc/shadow")
    assert "alice" in machine.read("/etc/group").split("sftponly:")[1]
    machine.run("sftpjail", "list")
    machine.run("sftpjail", "apply")
    assert not machine.exists("/var/lib/sftpjail/journal") and not machine.exists("/srv/sftp/alice")
    assert "alice" not in machine.read("/etc/group").split("sftponly:")[1].splitlines()[0]


def test_what_somebody_set_before_the_recovery_stays(machine: Machine) -> None:
    """An administrator who finds the half of a killed run, and does something about it by hand."""
    homes = "[[homes]]\nchroot = %h\nshell = /usr/sbin/nologin\n"
    ready(machine, f"{QUIET}[profiles]\n[[sftponly]]\nshell = /usr/sbin/nologin\n{homes}")
    machine.sh(
        "groupadd more; for name in alice bob; do useradd -m -s /bin/sh -c $name $name; done"
    )
    killed(machine, "user-create", "sftpjail", "adopt", "alice")
    machine.sh(
        "usermod -s /bin/bash -c 'A. Lice' -aG more alice; mount -t tmpfs none /srv/sftp/alice/home/alice"
    )
    said = machine.run("sftpjail", "key", "remove", "alice", "nobody's", check=False).err
    assert "the shell of alice stays: somebody has set another since" in said
    assert "/srv/sftp/alice/home/alice stays mounted as it is" in said
    passwd = machine.sh("getent passwd alice | cut -d: -f5-").out
    assert passwd == "A. Lice:/home/alice:/bin/bash\n"
    assert machine.sh("id -Gn alice").out == "alice more\n"
    assert "alice" not in machine.read("/etc/fstab")
    assert "tmpfs" in machine.run("findmnt", "--mountpoint", "/srv/sftp/alice/home/alice").out
    # Of the others nothing is left that it had changed.
    before = machine.mode("/home/bob")
    killed(machine, "user-create", "sftpjail", "adopt", "bob", "--profile", "homes")
    assert machine.mode("/home/bob") != before
    machine.run("chmod", "711", "/home/bob")
    said = machine.run("sftpjail", "key", "remove", "alice", "nobody's", check=False).err
    assert "the mode of /home/bob stays: somebody has set another since" in said, said
    assert machine.mode("/home/bob") == "bob:bob 711"
    assert machine.sh("getent passwd bob | cut -d: -f7; id -Gn bob").out == "/bin/sh\nbob\n"
    assert not machine.exists("/var/lib/sftpjail/journal")


def test_a_group_that_somebody_joined_before_the_recovery(machine: Machine) -> None:
    machine.write("/etc/sftpjail/sftpjail.conf", QUIET)
    machine.start_sshd()
    killed(machine, "setup", "sftpjail", "setup")
    done = machine.run(
        "useradd", "-m", "-N", "-g", "sftponly", "alice"
    )  # whose hook is the next run
    assert "the group sftponly stays: somebody is in it by now" in done.err, done
    machine.run("sftpjail", "setup")
    assert not machine.exists("/var/lib/sftpjail/journal")
    key = machine.keygen("alice")
    machine.run("sftpjail", "key", "add", "alice", f"{key}.pub")
    works(machine, "alice", key)


def test_a_group_line_that_ends_early(machine: Machine) -> None:
    ready(machine)
    machine.run("useradd", "-m", "alice")
    machine.sh(
        "sed -i 's/^\\(sftponly:.*\\):$/\\1/' /etc/group; grep '^sftponly:[^:]*:[0-9]*$' /etc/group"
    )
    # glibc takes it; gpasswd does in Debian 12, and no more in 13.
    before = snapshot(machine)
    done = machine.run("sftpjail", "adopt", "alice", check=False)
    if done.code:
        assert (
            "gpasswd --add alice sftponly failed" in done.err
            and changes(before, snapshot(machine)) == {}
        ), done
    else:
        works(machine, "alice", open_with_key(machine, "alice"))
    assert not machine.exists("/var/lib/sftpjail/journal")
    machine.run("sftpjail", "apply")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/etc/passwd", "bad:x:²:1000::/home/bad:/bin/sh"),
        ("/etc/passwd", "bad:x:3000:4294967296::/home/bad:/bin/sh"),
        ("/etc/passwd", "bad:x:3000:3000::/home/b\\0ad:/bin/sh"),
        ("/etc/group", "bad:x:4294967296:alice"),
        ("/etc/group", "bad:x:²:alice"),
        ("/etc/fstab", "/srv/a\\0b /srv/sftp/alice/x none bind,x-sftpjail.user=alice 0 0"),
        ("/etc/fstab", "/srv/a /srv/sftp/alice/x none bind,x-sftpjail.user=al\\0ice 0 0"),
        ("/etc/shadow", "alice:*:²:0:²:7:²:²:"),
    ],
)
def test_a_line_that_nobody_would_write(machine: Machine, path: str, line: str) -> None:
    ready(machine)
    jail(machine, "alice")
    machine.sh("sed -i 's/^sftponly:.*/&,bad,w\\x00orse/' /etc/group")
    machine.sh(f"printf '{line}\\n' | cat - {path} >/root/new; cat /root/new >{path}")
    for command in ("list", "check", "explain alice", "show alice", "apply"):
        done = machine.run("sftpjail", *command.split(), check=False)
        assert done.code in (0, 3), done
        assert "a bug" not in done.err and "broke:" not in done.out + done.err, done


@pytest.mark.parametrize("command", ["list", "list --json", "check", "--version", "list --help"])
def test_output_that_cannot_be_written(machine: Machine, command: str) -> None:
    ready(machine)
    jail(machine, "alice")
    done = machine.sh(f"code=0; sftpjail {command} >/dev/full || code=$?; echo $code")
    assert (
        done.out == "1\n"
        and done.err == "sftpjail: cannot write the output: No space left on device\n"
    )
    done = machine.run("bash", "-c", f"sftpjail {command} | true; echo ${{PIPESTATUS[0]}}")
    assert done.out in ("0\n", "1\n") and done.err == "", "true may have gone later"


NO_WRITE = ("strace", "-qq", "-o", "/run/trace", "-e", "inject=write:error=ENOSPC:when=1+")
NO_STREAMS = ("sh", "-c", 'exec "$@" >/dev/full 2>&1', "sh")


@pytest.mark.parametrize("caller", [NO_WRITE, NO_STREAMS])
def test_where_nothing_can_be_said_the_exit_code_is_right(
    machine: Machine, caller: tuple[str, ...]
) -> None:
    ready(machine)
    jail(machine, "alice")
    more = f"{machine.keygen('more')}.pub"
    before = snapshot(machine)
    for command, code in (("list", 1), ("--version", 1), ("list --nonsense", 2), ("show bob", 1)):
        done = machine.run(*caller, "sftpjail", *command.split(), check=False)
        assert done.code == code, (command, done)
    assert changes(before, snapshot(machine)) == {}
    # A change whose report alone is lost is one all the same.
    done = machine.run(*caller, "sftpjail", "key", "add", "alice", more, check=False)
    assert done.code == (1 if caller is NO_WRITE else 0), done
    assert bool(changes(before, snapshot(machine))) == (caller is NO_STREAMS)


def test_a_file_that_cannot_be_read_and_one_that_is_wrong(machine: Machine) -> None:
    """Only the second is a mistake of the caller's."""
    ready(machine)
    jail(machine, "alice")
    machine.sh("printf '[logs]\\nfile = /var/log/\\351\\n' >/root/latin")
    for path, code in (("/proc/self/mem", 1), ("/root/latin", 2), ("/root/none", 2), ("/root", 2)):
        for command in ("list", "setup"):
            done = refused(machine, "sftpjail", "--config", path, command, code=code, says=path)
            assert "configuration" in done
    said = refused(machine, "sftpjail", "key", "add", "alice", "/proc/self/mem", code=1)
    assert "cannot read the key /proc/self/mem: Input/output error" in said
    refused(machine, "sftpjail", "apply", "/proc/self/mem", code=1, says="Input/output error")
    refused(machine, "sftpjail", "apply", "/root/latin", code=2, says="/root/latin")


def test_one_whose_jail_fails_stops_nobody_else(machine: Machine) -> None:
    ready(machine)
    machine.sh("for name in alice bob carl; do useradd -m $name; done")
    hook = "/etc/sftpjail/hooks/user-create.d/picky"
    machine.write(
        hook, '#!/bin/sh\n[ "$SFTPJAIL_USER" != bob ] || { echo not him >&2; exit 1; }\n', 0o755
    )
    machine.sh("for name in alice bob carl; do gpasswd -a $name sftponly; done")
    done = machine.run("sftpjail", "apply", check=False)
    assert done.code == 1 and done.out == "applied: alice, carl\n", done
    assert (
        done.err.startswith("sftpjail: bob: ")
        and "not him" in done.err
        and done.err.count("sftpjail:") == 1
    ), done
    assert machine.exists("/srv/sftp/alice") and machine.exists("/srv/sftp/carl")
    assert not machine.exists("/srv/sftp/bob") and not machine.exists(
        "/var/lib/sftpjail/accounts/bob"
    )
    done = machine.run("sftpjail", "apply", "--json", check=False)
    assert done.code == 1 and json.loads(done.out)["actions"] == [], done
    machine.run("rm", hook)
    assert machine.run("sftpjail", "apply").out == "applied: bob\n"

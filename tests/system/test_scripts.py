"""Drop-in hook scripts: their order, what they are told, their veto, and which of them never run."""

from __future__ import annotations

import json

import pytest
from answers import judge
from machine import Machine
from steps import CONFIG, QUIET, jail, mounted, open_with_key, previewed, ready, refused, web, works

pytestmark = pytest.mark.halved

ETC = "/etc/sftpjail/hooks"
LIB = "/usr/lib/sftpjail/hooks"


def script(machine: Machine, path: str, body: str, mode: int = 0o755) -> None:
    machine.write(path, f"#!/bin/sh\n{body}\n", mode)


def test_order_environment_and_json(machine: Machine) -> None:
    web(machine)
    record = "{ echo $0; env; cat; } >>/root/ran"
    for path in (
        f"{LIB}/user-create.d/20-b",
        f"{ETC}/user-create.d/10-a",
        f"{ETC}/user-create.d/30-c",
    ):
        script(machine, path, record)
    script(machine, f"{LIB}/user-create.d/40-ours", "echo never >>/root/ran")
    script(machine, f"{ETC}/user-create.d/40-ours", "echo masked by etc >>/root/ran")
    script(machine, f"{LIB}/user-create.d/50-masked", "echo never >>/root/ran")
    machine.run("ln", "-s", "/dev/null", f"{ETC}/user-create.d/50-masked")
    ready(machine)
    assert f"{ETC}/user-create.d/10-a" in previewed(machine, "sftpjail", "add", "alice")
    machine.run(
        "useradd",
        "-m",
        "-G",
        "sftponly",
        "alice",
        env={"SECRET": "x", "PATH": "/tmp:/usr/sbin:/usr/bin:/bin"},
    )
    ran = machine.read("/root/ran").splitlines()
    assert [line for line in ran if line.endswith(("10-a", "20-b", "30-c"))] == [
        f"{ETC}/user-create.d/10-a",
        f"{LIB}/user-create.d/20-b",
        f"{ETC}/user-create.d/30-c",
    ]
    assert "masked by etc" in ran and "never" not in ran
    assert {
        "SFTPJAIL_EVENT=user-create",
        "SFTPJAIL_USER=alice",
        "SFTPJAIL_JAIL=/srv/sftp/alice",
    } <= set(ran)
    assert not any(line.startswith("SECRET=") or "/tmp" in line for line in ran)
    told = json.loads(next(line for line in ran if line.startswith("{")))
    judge("event", told)
    assert told["event"] == "user-create" and told["jail"] == "/srv/sftp/alice"
    assert told["account"]["name"] == "alice" and told["account"]["home"] == "/home/alice"


def test_every_event_is_told_once(machine: Machine) -> None:
    events = (
        "setup",
        "user-create",
        "key-add",
        "key-remove",
        "mount",
        "unmount",
        "user-remove",
        "teardown",
    )
    for event in events:
        script(
            machine,
            f"{ETC}/{event}.d/log",
            "echo $SFTPJAIL_EVENT $SFTPJAIL_USER >>/root/ran; cat >>/root/json",
        )
    web(machine)
    ready(machine)
    key = jail(machine, "alice")
    machine.run("sftpjail", "mount", "alice", "/srv/web", "/web", "--read-only")
    machine.run("sftpjail", "umount", "alice", "/web")
    machine.run("sftpjail", "key", "remove", "alice", "alice")
    machine.run("sftpjail", "remove", "alice")
    machine.run("sftpjail", "teardown")
    ran = machine.read("/root/ran").splitlines()
    once = [line for line in ran if line.split()[0] not in ("mount", "unmount")]
    names = (
        "setup",
        "user-create alice",
        "key-add alice",
        "key-remove alice",
        "user-remove alice",
        "teardown",
    )
    assert [line.strip() for line in once] == list(names)
    told = [json.loads(line) for line in machine.read("/root/json").splitlines()]
    for fact in told:
        judge("event", fact)
    binds = [
        fact["bind"]
        for fact in told
        if fact["event"] in ("mount", "unmount") and fact["bind"]["role"] == "mount"
    ]
    assert [bind["target"] for bind in binds] == ["/srv/sftp/alice/web"] * 2 and binds[0][
        "read_only"
    ]
    fingerprint = machine.run("ssh-keygen", "-l", "-f", f"{key}.pub").out.split()[1]
    assert [fact["key"]["fingerprint"] for fact in told if "key" in fact] == [fingerprint] * 2


def test_veto_rolls_back(machine: Machine) -> None:
    web(machine)
    ready(machine)
    jail(machine, "alice")
    script(machine, f"{ETC}/mount.d/no", "echo not on Sundays >&2; touch /root/asked; exit 1")
    refused(machine, "sftpjail", "mount", "alice", "/srv/web", "/web", says="not on Sundays")
    assert machine.exists("/root/asked")
    script(machine, f"{ETC}/user-create.d/no", "exit 1")
    refused(machine, "sftpjail", "add", "bob", says=f"{ETC}/user-create.d/no")
    done = machine.run("useradd", "-m", "-G", "sftponly", "carol")
    assert "sftpjail:" in done.err and not machine.exists("/srv/sftp/carol")
    assert mounted(machine) == ["/srv/sftp/alice/home/alice"]
    machine.run("rm", "-r", f"{ETC}/mount.d", f"{ETC}/user-create.d")
    machine.run("sftpjail", "apply")
    works(machine, "carol", open_with_key(machine, "carol"))


@pytest.mark.whole
def test_endless_script_is_stopped(machine: Machine) -> None:
    ready(machine)
    machine.run("useradd", "-m", "alice")
    script(machine, f"{ETC}/user-create.d/endless", "sleep 600 & sleep 600")
    refused(machine, "sftpjail", "adopt", "alice", says="took longer than 30 seconds")
    assert machine.run("pgrep", "sleep", check=False).code == 1


def test_scripts_that_others_could_change_never_run(machine: Machine) -> None:
    machine.write(CONFIG, QUIET)
    machine.start_sshd()
    directory = f"{ETC}/setup.d"
    for name, mode in (
        ("writable", 0o775),
        ("plain", 0o644),
        ("foreign", 0o755),
        ("x.dpkg-old", 0o755),
        ("x~", 0o755),
    ):
        script(machine, f"{directory}/{name}", f"touch /root/{name}", mode)
    machine.run("chown", "games", f"{directory}/foreign")
    machine.run("sftpjail", "setup")
    assert machine.run("ls", "/root").out.split() == []
    done = machine.run("sftpjail", "check", check=False)
    assert done.code == 3
    for name in ("writable", "plain", "foreign"):
        assert f"{directory}/{name} is not run" in done.out
    assert "x.dpkg-old" not in done.out
    machine.sh(f"cd {directory}; chown root foreign; chmod 755 writable plain foreign")
    assert machine.run("sftpjail", "check").out == "0 jails checked, no problems\n"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("umount /srv/sftp/alice/web", "did not come up, after"),
        ("sed -i /alice.web/d /etc/fstab", "/etc/fstab is no longer as it was written, after"),
    ],
)
def test_what_a_script_undoes_is_not_committed(machine: Machine, body: str, says: str) -> None:
    ready(machine)
    web(machine)
    jail(machine, "alice")
    machine.run("sftpjail", "mount", "alice", "/srv/web", "/web")  # fstab's lines have settled
    machine.run("sftpjail", "umount", "alice", "/web")
    script(machine, f"{ETC}/mount.d/saboteur", body)
    said = refused(machine, "sftpjail", "mount", "alice", "/srv/web", "/web", says=says)
    assert f"{ETC}/mount.d/saboteur ran" in said


def test_a_script_may_edit_what_is_not_ours(machine: Machine) -> None:
    ready(machine)
    web(machine)
    jail(machine, "alice")
    script(machine, f"{ETC}/mount.d/other", "echo '# mine' >>/etc/fstab")
    machine.run("sftpjail", "mount", "alice", "/srv/web", "/web")
    assert machine.read("/etc/fstab").endswith("# mine\n")


def test_a_script_that_writes_without_end(machine: Machine) -> None:
    """Of 100 MB the error has the last lines, and of those both ends."""
    ready(machine)
    web(machine)
    jail(machine, "alice")
    flood = "head -c 100000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo no space >&2; exit 1"
    script(machine, f"{ETC}/mount.d/flood", flood)
    said = refused(machine, "sftpjail", "mount", "alice", "/srv/web", "/web", says="no space")
    assert len(said) < 3000

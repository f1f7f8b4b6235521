"""Quotas of btrfs, by its real quota groups. With --all, in roots of their own that have btrfs-progs."""

from __future__ import annotations

import json

import pytest
from machine import Machine
from steps import again, choice, jail, open_with_key, ready, refused, running, works
from watched import wait_until_watching

pytestmark = pytest.mark.btrfs
CONFIG = "[profiles]\n[[sftponly]]\nchroot = /vol/sftp/%u\nhome = inside\n"
QUOTA = f"{CONFIG}quota = 8M\n"
FULL = "put /root/large"


def volume(machine: Machine, quota: bool = True) -> None:
    """A file system of type btrfs at /vol, on a loop device."""
    enable = "btrfs quota enable /vol" if quota else "true"
    machine.sh(
        "[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237;"
        " for n in 0 1 2 3 4 5 6 7; do [ -e /dev/loop$n ] || mknod /dev/loop$n b 7 $n; done;"
        " truncate -s 300M /root/img && mkfs.btrfs -q /root/img >/dev/null 2>&1 && mkdir -p /vol"
        f" && mount -o loop /root/img /vol && {enable} && mkdir /vol/sftp"
        " && dd if=/dev/urandom of=/root/large bs=1M count=12 status=none"
    )


def limit(machine: Machine, path: str) -> str:
    """What the kernel enforces."""
    lines = machine.run("btrfs", "qgroup", "show", "--raw", "-ref", path).out.splitlines()
    return lines[-1].split()[3]


def shown(machine: Machine, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(machine.run("sftpjail", "--json", "show", name).out)
    return found["jail"]  # type: ignore[return-value]


def test_an_upload_past_the_quota_is_refused_by_the_kernel(machine: Machine) -> None:
    volume(machine)
    machine.start_rsyslog()
    ready(machine, QUOTA)
    machine.restart_rsyslog()
    machine.run("sftpjail", "add", "ann")
    key = machine.keygen("ann")
    machine.run("sftpjail", "key", "add", "ann", f"{key}.pub")
    files = "/vol/sftp/ann/files"
    assert limit(machine, files) == str(8 << 20)
    works(machine, "ann", key)
    again(machine, "sftpjail", "apply")
    done = machine.sftp("ann", key, [f"{FULL} large"])
    assert done.code != 0 and "Failure" in done.err, done
    machine.wait_for("/var/log/sftp.log", 'close "/files/large"')
    log = machine.run("sftpjail", "log", "ann").out
    assert "failed: Disk quota exceeded" in log and "/files/large" in log, log
    machine.sftp("ann", key, ["rm large"])
    # In every place that shows an account.
    machine.run("sync", "-f", files)
    facts = shown(machine, "ann")
    assert facts["quota"] == 8 << 20 and facts["quota_enforced"] is True, facts
    assert "/8M" in machine.run("sftpjail", "list").out
    assert "of 8M used" in machine.run("sftpjail", "show", "ann").out
    assert "quota" in machine.run("sftpjail", "explain", "ann").out
    review = json.loads(machine.run("sftpjail", "--json", "review").out)["accounts"]
    assert review[0]["quota"] == 8 << 20, review
    metrics = machine.run("sftpjail", "metrics").out
    assert f'sftpjail_quota_bytes{{user="ann"}} {8 << 20}\n' in metrics, metrics
    assert "no problems" in machine.run("sftpjail", "check").out
    # Its own counts before that of its profile, and all of it can be taken back.
    machine.run("sftpjail", "set", "ann", "--quota", "20M")
    assert limit(machine, files) == str(20 << 20)
    assert machine.sftp("ann", key, [f"{FULL} large"]).code == 0
    machine.run("sftpjail", "set", "ann", "--quota", "none")
    assert limit(machine, files) == "none" and shown(machine, "ann")["quota"] is None
    machine.run("sftpjail", "undo")
    assert limit(machine, files) == str(20 << 20)
    machine.run("sftpjail", "set", "ann", "--quota", "profile")
    assert limit(machine, files) == str(8 << 20)
    # What somebody else has changed, apply sets again.
    machine.sh(
        f"btrfs qgroup limit none $(btrfs qgroup show -f {files} | tail -1 | cut -d' ' -f1) /vol"
    )
    assert machine.run("sftpjail", "check", check=False).code == 3
    machine.run("sftpjail", "check", "--fix")
    assert limit(machine, files) == str(8 << 20)
    machine.sh("usermod -l anna ann && sftpjail apply")
    assert limit(machine, "/vol/sftp/anna/files") == str(8 << 20)
    assert machine.read("/etc/sftpjail/quotas") == f"user anna {8 << 20} profile\n"
    # A failure takes the limit back with everything else.
    lift = "$(btrfs qgroup show -f /vol/sftp/anna/files | tail -1 | cut -d' ' -f1) /vol"
    machine.sh(f"btrfs qgroup limit 30M {lift}")
    machine.write("/etc/sftpjail/hooks/user-create.d/veto", "#!/bin/sh\nexit 1\n", 0o755)
    assert machine.run("sftpjail", "apply", check=False).code == 1
    assert limit(machine, "/vol/sftp/anna/files") == str(30 << 20)
    machine.run("rm", "-r", "/etc/sftpjail/hooks/user-create.d")
    machine.write("/etc/sftpjail/sftpjail.conf", CONFIG)
    machine.run("sftpjail", "apply")
    assert limit(machine, "/vol/sftp/anna/files") == "none"
    assert not machine.exists("/etc/sftpjail/quotas")
    machine.run("sftpjail", "set", "anna", "--quota", "9M")
    machine.run("sftpjail", "remove", "anna")
    assert limit(machine, "/vol/sftp/anna/files") == "none"
    assert not machine.exists("/etc/sftpjail/quotas")


EVENTS = "[events]\nuser = hooks\nretries = 0\n[plugins]\nallow = hearing\n"
TOLD = """#!/bin/sh
printf '%s %s %s %s\\n' "$SFTPJAIL_EVENT" "$SFTPJAIL_USER" "$SFTPJAIL_PATH" "$SFTPJAIL_REASON" >>/run/told/script
"""
HEARING = """
from sftpjail import hookimpl

@hookimpl
def on_upload_failed(event, host_path):
    with open("/run/told/plugin", "a") as heard:
        heard.write(f"{event.kind} {event.user} {host_path} {event.reason}\\n")

@hookimpl
def on_upload(event):
    with open("/run/told/plugin", "a") as heard:
        heard.write(f"{event.kind} {event.path}\\n")
"""


def test_a_script_and_a_plugin_hear_of_an_upload_past_the_quota(machine: Machine) -> None:
    """What the kernel refuses is no upload: the client, `log`, scripts and plugins are told so."""
    volume(machine)
    machine.start_rsyslog()
    machine.run("useradd", "--system", "--shell", "/usr/sbin/nologin", "hooks")
    machine.sh("install -d -o hooks /run/told")
    for kind in ("upload", "upload-failed"):
        machine.write(f"/etc/sftpjail/hooks/{kind}.d/tell", TOLD, 0o755)
    place = "/usr/lib/python3/dist-packages/hearing"
    machine.write(f"{place}.py", HEARING)
    about = "Metadata-Version: 2.1\nName: hearing\nVersion: 1\n"
    machine.write(f"{place}-1.dist-info/METADATA", about)
    machine.write(f"{place}-1.dist-info/entry_points.txt", "[sftpjail]\nhearing = hearing\n")
    machine.sh(f"chmod -R a+rX {place}*; head -c 1000 /dev/zero >/root/small")
    ready(machine, f"{EVENTS}{QUOTA}")
    machine.restart_rsyslog()
    machine.run("sftpjail", "add", "ann")
    key = open_with_key(machine, "ann")
    with running(machine, "sftpjail", "watch"):
        wait_until_watching(machine)
        done = machine.sftp("ann", key, ["put /root/small before", FULL])
        assert done.code != 0 and 'write remote "/files/large": Failure' in done.err, done
        machine.sftp("ann", key, ["rm large", "put /root/small after"])
        machine.wait_for("/run/told/script", "/files/after")
        machine.wait_for("/run/told/plugin", "/files/after")
    failed = "upload-failed ann {}/files/large Disk quota exceeded"
    script = machine.read("/run/told/script").splitlines()
    assert script == [
        "upload ann /files/before ",
        failed.format(""),
        "upload ann /files/after ",
    ]
    assert machine.read("/run/told/plugin").splitlines() == [
        "upload /files/before",
        failed.format("/vol/sftp/ann"),
        "upload /files/after",
    ]
    log = machine.run("sftpjail", "log", "ann").out
    assert log.count("failed: Disk quota exceeded") == 1, log


def test_homes_are_made_as_subvolumes_and_others_get_the_command(machine: Machine) -> None:
    volume(machine, quota=False)
    machine.sh("mkdir /vol/home && mount --bind /vol/home /home")
    plain = "[profiles]\n[[sftponly]]\nmounts = fstab\n"
    ready(machine, plain)
    key = jail(machine, "old")
    machine.sh("echo hello >/home/old/file && chown old: /home/old/file")
    said = refused(machine, "sftpjail", "set", "old", "--quota", "50M")
    assert "quotas are not enabled in /home" in said, said
    machine.sh(choice(said, "to enable them for all of /home"))
    said = refused(machine, "sftpjail", "set", "old", "--quota", "50M")
    assert "/home/old is no subvolume of btrfs" in said, said
    command = choice(
        said,
        "to copy the files into one, nobody logged in meanwhile; "
        "they stay in /home/old.without-quota too",
    )
    machine.sh(command)
    assert (
        machine.sh("stat -c %i:%U:%a /home/old").out
        == machine.sh("stat -c 256:%U:%a /home/old.without-quota").out
    )
    machine.run("sftpjail", "set", "old", "--quota", "50M")
    works(machine, "old", key, "get file /root/got")
    assert machine.read("/root/got") == "hello\n"
    assert limit(machine, "/home/old") == str(50 << 20)
    # A new one has a subvolume from the beginning.
    machine.write("/etc/sftpjail/sftpjail.conf", f"{plain}quota = 40M\n")
    machine.run("sftpjail", "setup")
    machine.run("sftpjail", "add", "ann")
    assert limit(machine, "/home/ann") == str(40 << 20)
    machine.keygen("ann")
    machine.run("sftpjail", "key", "add", "ann", "/root/keys/ann.pub")
    works(machine, "ann", "/root/keys/ann")
    machine.sh("sftpjail remove ann && sftpjail remove old && sftpjail teardown")
    assert limit(machine, "/home/old") == limit(machine, "/home/ann") == "none"


def test_other_file_systems_are_refused_with_the_reason(machine: Machine) -> None:
    machine.sh("mkdir -p /vol && mount -t tmpfs -o mode=755 tmpfs /vol")
    ready(machine, CONFIG.replace("/vol/sftp", "/vol"))
    machine.run("sftpjail", "add", "ann")
    said = refused(machine, "sftpjail", "set", "ann", "--quota", "8M")
    assert "is on a file system of type tmpfs, which limits no directory" in said, said
    for text in ("8", "8X", "0", "-1M", "9999999T"):
        refused(machine, "sftpjail", "set", "ann", f"--quota={text}", code=2)
    machine.write("/etc/sftpjail/sftpjail.conf", QUOTA.replace("/vol/sftp", "/vol"))
    machine.run("sftpjail", "setup")
    refused(machine, "sftpjail", "add", "bob", says="bob cannot have a quota of 8M")
    # Who is jailed already stays so, and check says what is missing.
    done = machine.run("sftpjail", "check", check=False)
    assert done.code == 3 and "ann cannot have a quota of 8M" in done.out + done.err, done


@pytest.mark.parametrize("home", ["inside", "bind"])
def test_a_file_of_accounts_takes_quotas_to_another_host(machine: Machine, home: str) -> None:
    """New accounts get a subvolume each; one that has none, or another file system, is refused."""
    volume(machine)
    machine.sh("mkdir /vol/home && mount --bind /vol/home /home")
    config = CONFIG.replace("inside", home)
    ready(machine, config)
    where = "/vol/sftp/{}/files" if home == "inside" else "/home/{}"
    line = machine.read(f"{machine.keygen('key')}.pub").strip()
    rows = f"ann,8M,{line}\nbob,none,{line}\neve,profile,{line}\n"
    machine.write("/root/accounts", f"name,quota,keys\n{rows}")
    done = machine.run("sftpjail", "apply", "/root/accounts")
    assert ("makes no subvolumes of btrfs" in done.err) is (home == "bind"), done
    again(machine, "sftpjail", "apply", "/root/accounts")
    assert limit(machine, where.format("ann")) == str(8 << 20)
    assert machine.sftp("ann", "/root/keys/key", [f"{FULL} large"]).code != 0
    assert machine.sftp("bob", "/root/keys/key", [f"{FULL} large"]).code == 0
    before = machine.run("sftpjail", "export").out
    assert "quota = 8M\n" in before and "quota = none\n" in before, before
    machine.write("/etc/sftpjail/sftpjail.conf", f"{config}quota = 9M\n")
    machine.run("sftpjail", "setup")
    machine.write("/root/next", f"name,quota,keys\nann,20M,{line}\nnew,,{line}\n")
    machine.run("sftpjail", "apply", "/root/next")
    assert limit(machine, where.format("ann")) == str(20 << 20)
    assert limit(machine, where.format("new")) == str(9 << 20)
    machine.run("sftpjail", "undo", "--yes", "--force")
    assert limit(machine, where.format("ann")) == str(8 << 20)
    assert machine.run("sftpjail", "export", "ann", "bob").out in before

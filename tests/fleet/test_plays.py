"""The collection on three hosts, with the real Ansible and real logins."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from fleet import COLLECTION, PROJECT, Fleet

SFTPJAIL = "sftpjail.sftpjail"
# No log daemon: none is restarted where nothing is booted.
CONFIG = {"logs": {"backend": "none"}}
KILLER = '#!/bin/sh\nkill -9 "$PPID"\nsleep 5\n'


def accounts(fleet: Fleet, number: int, **fields: object) -> list[dict[str, object]]:
    """Entries of accounts that the control node's key opens."""
    made = ({"name": f"user{n:03}", "keys": [fleet.public_key], **fields} for n in range(number))
    return [dict(entry) for entry in made]


def task(module: str, **options: object) -> dict[str, object]:
    return {"name": module, f"{SFTPJAIL}.{module}": options}


def role(**variables: object) -> list[object]:
    """The role on one host after the other."""
    play: dict[str, Any] = {"hosts": "sftp", "gather_facts": False, "serial": 1}
    play |= {
        "max_fail_percentage": 0,
        "roles": [{"role": f"{SFTPJAIL}.sftpjail", "vars": variables}],
    }
    return [play]


def states(fleet: Fleet, name: str) -> dict[str, str]:
    """The state of each account of a host, as `sftpjail list` says."""
    jails = json.loads(fleet.hosts[name].run("sftpjail", "--json", "list").out)["jails"]
    return {jail["user"]: jail["state"] for jail in jails}


def tree(fleet: Fleet, name: str) -> dict[str, tuple[object, ...]]:
    return fleet.hosts[name].listing("/etc", "/srv", "/home", "/var/lib/sftpjail")


def test_three_hosts_and_a_hundred_accounts(hosts: Fleet) -> None:
    play = [task("host", config=CONFIG), task("accounts", accounts=accounts(hosts, 100))]
    before = {name: tree(hosts, name) for name in hosts.hosts}
    shown = hosts.play(play, "--check", "--diff")
    assert shown.code == 0, shown.out
    assert "/etc/ssh/sshd_config.d/10-sftpjail.conf" in shown.out and '"user099": {' in shown.out
    assert {name: tree(hosts, name) for name in hosts.hosts} == before
    assert all(shown.recap(name)["changed"] == 2 for name in hosts.hosts), shown.out

    first = hosts.play(play)
    assert first.code == 0, first.out
    assert all(first.recap(name)["changed"] == 2 for name in hosts.hosts), first.out
    again = hosts.play(play)
    assert all(again.recap(name)["changed"] == 0 for name in hosts.hosts), again.out
    for name in hosts.hosts:
        assert len(states(hosts, name)) == 100
        for number in range(0, 100, 10):
            done = hosts.sftp(name, f"user{number:03}", "put /etc/hostname proof", "ls /etc")
            assert "Can't ls" in done.stderr or "not found" in done.stderr, done
            assert hosts.hosts[name].exists(f"/home/user{number:03}/proof")


def test_check_mode_says_what_the_run_does(hosts: Fleet) -> None:
    fields = {"name": "user000", "comment": "Somebody", "expires": "2099-12-31"}
    shown = hosts.play([task("account", **fields)], "--check", "--diff", "--limit", "host2")
    assert '+        "comment": "Somebody"' in shown.out, shown.out
    assert (
        hosts.play([task("account", **fields)], "--limit", "host2").recap("host2")["changed"] == 1
    )
    again = hosts.play([task("account", **fields)], "--limit", "host2")
    assert again.recap("host2")["changed"] == 0, again.out


def test_no_hash_is_shown(hosts: Fleet) -> None:
    secret = "$6$marked$" + "x" * 86
    given = [
        task("account", name="user001", password=secret),
        task("accounts", accounts=[{"name": "user001", "password": secret}]),
        # That is no secret, and masks no other word.
        task("account", name="user003", password="none", comment="nonesuch"),
    ]
    done = hosts.play(given, "--diff", "-vvv", "--limit", "host1")
    assert done.recap("host1")["changed"] == 2, done.out
    assert "$6$marked" not in done.out and '"comment": "nonesuch"' in done.out
    assert secret in hosts.hosts["host1"].read("/etc/shadow")
    again = hosts.play(given, "--diff", "--limit", "host1")
    assert again.recap("host1")["changed"] == 0 and "+++" not in again.out, again.out


def test_an_administrator_who_is_not_root(hosts: Fleet) -> None:
    host = hosts.hosts["host2"]
    host.sh("useradd -r -m -s /bin/sh ops; echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops")
    host.write("/home/ops/.ssh/authorized_keys", hosts.public_key + "\n")
    play = [task("account", name="user003", comment="By ops")]
    as_ops = ("--limit", "host2", "-e", "ansible_user=ops")
    refused = hosts.play(play, *as_ops)
    assert refused.recap("host2")["failed"] == 1 and "root" in refused.out, refused.out
    assert "Traceback" not in refused.out
    assert hosts.play(play, "--become", *as_ops).recap("host2")["changed"] == 1
    assert hosts.play(play, "--become", *as_ops).recap("host2")["changed"] == 0
    host.run("rm", "/etc/sudoers.d/ops")


def test_an_account_goes_once(hosts: Fleet) -> None:
    made = task("account", name="brief", keys=[hosts.public_key])
    gone = task("account", name="brief", state="absent")
    shown = hosts.play([gone], "--check", "--diff", "--limit", "host2")
    assert shown.recap("host2")["changed"] == 0, shown.out
    done = hosts.play([made, gone, gone], "--diff", "--limit", "host2")
    assert done.recap("host2")["changed"] == 2 and '"brief": "deleted"' in done.out, done.out
    assert hosts.hosts["host2"].run("id", "brief", check=False).code != 0


def test_who_is_let_in_again_wants_a_word(hosts: Fleet) -> None:
    shut = task("account", name="user002", disabled=True, reason="unpaid")
    assert hosts.play([shut], "--limit", "host1").recap("host1")["changed"] == 1
    assert states(hosts, "host1")["user002"] == "disabled"
    opened = task("account", name="user002", disabled=False)
    refused = hosts.play([opened], "--limit", "host1")
    assert refused.code != 0 and "user002 is let in again" in refused.out, refused.out
    assert "confirm: true" in refused.out and "--yes" not in refused.out, refused.out
    opened = task("account", name="user002", disabled=False, confirm=True)
    assert hosts.play([opened], "--limit", "host1").recap("host1")["changed"] == 1
    assert states(hosts, "host1")["user002"] == "ok"


def test_a_broken_configuration_leaves_the_host_as_it_was(hosts: Fleet) -> None:
    before = tree(hosts, "host1")
    umask = {"profiles": {"sftponly": {"umask": 27}}}
    octal = hosts.play([task("host", config=umask)], "--limit", "host1")
    assert "config: [profiles]" in octal.out and "correct it in the task" in octal.out, octal.out
    wrong = hosts.play(
        [task("host", config={"profiles": {"a": {"chroot": "jail"}}})], "--limit", "host1"
    )
    assert wrong.recap("host1")["failed"] == 1 and "chroot" in wrong.out, wrong.out
    assert tree(hosts, "host1") == before


def test_who_cannot_be_is_left_out_where_that_is_wanted(hosts: Fleet) -> None:
    good = {"name": "kept", "keys": [hosts.public_key]}
    bad = {"name": "lost", "mounts": [{"source": "/srv/nowhere", "target": "/x"}]}
    given = task("accounts", accounts=[good, bad], keep_going=True)
    done = hosts.play([given], "--limit", "host1")
    assert done.recap("host1")["failed"] == 1 and "/srv/nowhere" in done.out, done.out
    assert "Traceback" not in done.out and "TypeError" not in done.out, done.out
    assert states(hosts, "host1")["kept"] == "ok" and "lost" not in states(hosts, "host1")
    hosts.hosts["host1"].run("sftpjail", "remove", "--delete-account", "--", "kept")


def test_an_unreachable_host_keeps_no_other_from_its_end(hosts: Fleet) -> None:
    done = hosts.play([task("account", name="late", keys=[hosts.public_key])], away="10.77.0.99")
    assert done.recap("away")["unreachable"] == 1, done.out
    assert all(states(hosts, name)["late"] == "ok" for name in hosts.hosts)


def test_the_role_stops_at_the_first_bad_host(hosts: Fleet) -> None:
    second, third = hosts.hosts["host2"], tree(hosts, "host3")
    second.sh("cp /etc/ssh/sshd_config /run/kept; echo Nonsense yes >>/etc/ssh/sshd_config")
    variables = {
        "sftpjail_package": "",
        "sftpjail_paramiko": "",
        "sftpjail_config": CONFIG,
        "sftpjail_accounts": accounts(hosts, 101),
    }
    done = hosts.play(role(**variables))
    second.sh("cp /run/kept /etc/ssh/sshd_config")
    assert done.recap("host1")["failed"] == 0 and done.recap("host2")["failed"] == 1, done.out
    assert "Nonsense" in done.out and "sshd" in done.out
    assert "host3 " not in done.out.partition("PLAY RECAP")[2] and tree(hosts, "host3") == third
    assert "user100" not in states(hosts, "host2")
    whole = hosts.play(role(**variables))
    assert whole.code == 0, whole.out
    variables |= {"sftpjail_accounts": [], "sftpjail_missing": "disable", "sftpjail_confirm": True}
    empty = hosts.play(role(**variables))
    assert "would shut out everybody" in empty.out and empty.recap("host1")["failed"] == 1
    assert all(states(hosts, name)["user100"] == "ok" for name in hosts.hosts)


def test_a_full_disk_leaves_a_host_as_it_was(hosts: Fleet) -> None:
    host = hosts.hosts["host3"]
    keys = "/etc/ssh/authorized_keys"
    host.sh(
        f"cp -a {keys} /run/keys; mount -t tmpfs -o size=420k tmpfs {keys}; cp -a /run/keys/. {keys}"
    )
    before = tree(hosts, "host3")
    play = [task("accounts", accounts=accounts(hosts, 130))]
    done = hosts.play(play)
    assert done.recap("host3")["failed"] == 1 and "No space left on device" in done.out, done.out
    assert tree(hosts, "host3") == before
    assert len(states(hosts, "host1")) == len(states(hosts, "host2")) == 131
    host.sh(f"cp -a {keys}/. /run/keys; umount {keys}")
    assert hosts.play(play).code == 0 and len(states(hosts, "host3")) == 131


def test_a_host_killed_in_the_middle_is_made_whole(hosts: Fleet) -> None:
    host = hosts.hosts["host1"]
    host.write("/etc/sftpjail/hooks/user-create.d/killer", KILLER, 0o755)
    play = [task("accounts", accounts=accounts(hosts, 140))]
    done = hosts.play(play)
    assert done.recap("host1")["failed"] == 1, done.out
    assert len(states(hosts, "host2")) == 141
    host.run("rm", "/etc/sftpjail/hooks/user-create.d/killer")
    assert hosts.play(play).code == 0 and len(states(hosts, "host1")) == 141
    assert not host.exists("/var/lib/sftpjail/journal")


def test_an_account_moves_to_another_host(hosts: Fleet) -> None:
    mount = {"source": "/srv/shown", "target": "/shown"}
    for name in ("host1", "host3"):
        hosts.hosts[name].run("mkdir", "-p", "/srv/shown")
    fields = {"name": "mover", "keys": [hosts.public_key], "mounts": [mount]}
    assert hosts.play([task("account", **fields)], "--limit", "host1").code == 0
    words = ["-e", "account=mover old=host1 new=host3"]
    for wrong in (["-e", "account=mover old=host1 new=host33"], [*words, "--limit", "host1"]):
        refused = hosts.play(f"{SFTPJAIL}.move_account", *wrong)
        assert refused.code != 0 and states(hosts, "host1")["mover"] == "ok", refused.out
    done = hosts.play(f"{SFTPJAIL}.move_account", *words)
    assert done.code == 0, done.out
    assert states(hosts, "host1")["mover"] == "disabled" and states(hosts, "host3")["mover"] == "ok"
    assert hosts.sftp("host1", "mover", "ls").returncode != 0
    assert hosts.sftp("host3", "mover", "ls /shown").returncode == 0
    again = hosts.play(f"{SFTPJAIL}.move_account", *words)
    assert again.code != 0 and "has it moved already?" in again.out, again.out
    assert states(hosts, "host3")["mover"] == "ok"


def test_the_examples_of_the_modules_run(hosts: Fleet) -> None:
    (hosts.directory / "alice.pub").write_text(hosts.public_key + "\n")
    (hosts.directory / "accounts.csv").write_text("name,comment\nalice,Alice\n")
    for name in hosts.hosts:
        hosts.hosts[name].sh("mkdir -p /srv/web/example.com")
    shown = subprocess.run(
        ["ansible-doc", "--json", *(f"{SFTPJAIL}.{path.stem}" for path in modules())],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / "build")},
        capture_output=True,
        text=True,
        check=True,
    )
    pages = json.loads(shown.stdout)
    assert len(pages) == 4
    for name in ("account", "accounts", "info", "host"):
        book = hosts.directory / f"{name}.yml"
        lines = pages[f"{SFTPJAIL}.{name}"]["examples"].strip("\n").split("\n")
        head = "- hosts: host3\n  gather_facts: false\n  tasks:\n"
        book.write_text(head + "".join(f"    {line}\n" for line in lines))
        done = hosts.play(book)
        assert done.code == 0, done.out


def modules() -> list[Path]:
    return sorted((COLLECTION / "plugins/modules").glob("*.py"))


def test_the_play_of_the_cookbook(hosts: Fleet) -> None:
    page = (PROJECT / "man/sftpjail-cookbook.7.scd").read_text(encoding="utf-8")
    book = hosts.directory / "cookbook.yml"
    book.write_text(page.partition("# MANY HOSTS")[2].split("```\n")[1])
    for name in hosts.hosts:
        hosts.hosts[name].write("/etc/sftpjail/sftpjail.conf", "[logs]\nbackend = none\n")
        hosts.hosts[name].run("mkdir", "-p", "/srv/shown")
    exported = hosts.hosts["host3"].run("sftpjail", "export", "--format", "json").out
    (hosts.directory / "accounts.json").write_text(exported)
    done = hosts.play(book)
    assert done.code == 0, done.out
    assert states(hosts, "host1") == states(hosts, "host2") == states(hosts, "host3")
    assert "alice" in states(hosts, "host1")
    listed = task("accounts", accounts=json.loads(exported)["accounts"])
    assert hosts.play([listed]).recap("host1")["changed"] == 0
    asked = hosts.play([task("info", gather=["review"], users=["mover"])], "-v", "--limit", "host1")
    assert asked.code == 0 and '"user": "mover"' in asked.out and "user000" not in asked.out


def test_what_was_set_up_goes_again(hosts: Fleet) -> None:
    assert hosts.play([task("host", state="absent")]).code != 0  # while accounts are jailed
    for name in hosts.hosts:
        hosts.hosts[name].sh("sftpjail teardown --close-accounts")
    gone = hosts.play([task("host", state="absent")])
    assert gone.code == 0 and gone.recap("host1")["changed"] == 0, gone.out

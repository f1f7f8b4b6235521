"""review: what an auditor reads of two hundred accounts in every state, and who is disabled for long inactivity."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from machine import Machine
from steps import QUIET, again, jail, programs_of, ready, refused, session, shut, works

pytestmark = pytest.mark.halved

KEEP = "/etc/sftpjail/keep"
SEEN = "/var/lib/sftpjail/seen"
HISTORY = "/var/lib/sftpjail/history"
DROPIN = "/etc/ssh/sshd_config.d/05-test.conf"
CONFIG = f"{QUIET}[profiles]\n[[sftponly]]\nhome = inside\nmounts = session\n"
DAY = 86400
HASH = "$6$marked$sQ0XhMarkedHashMarkedHashMarkedHash0123456789"
EACH = 10  # accounts of each kind

# By hand. The kind of ten accounts; its state; by what it could log in; how many days ago it was made, and last
# used (by what, from where); for how many days it is inactive; and what `--inactive 90d --disable` does about it.
TABLE = """\
busy     ok          1 key            200    3  key2      192.0.2.7      3  -
idle     ok          1 key            200  120  key       192.0.2.7    120  disables
never    ok          1 key            200    -  -         -            200  disables
young    ok          1 key             10    -  -         -             10  -
enabled  ok          1 key            200  150  key       192.0.2.7      5  -
edge     ok          1 key            200   90  key       192.0.2.7     90  disables
near     ok          2 keys,password  200   89  key       192.0.2.7     89  -
word     ok          password         200   95  password  2001:db8::7   95  disables
future   ok          1 key            200  -40  key       192.0.2.7      0  -
kept     ok          1 key            200  150  key       192.0.2.7    150  skips
gone     disabled    1 key            200  150  key       192.0.2.7    150  -
until    disabled    1 key            200  150  key       192.0.2.7    150  -
expired  expired     1 key            200  150  key       192.0.2.7    150  -
locked   locked      1 key            200  150  key       192.0.2.7    150  disables
denied   denied      1 key            200  150  key       192.0.2.7    150  disables
open     open        1 key            200  150  key       192.0.2.7    150  disables
closed   closed      1 key            200  150  key       192.0.2.7    150  disables
keyless  keyless     -                200    -  -         -            200  disables
partial  incomplete  1 key            200  150  key       192.0.2.7    150  disables
damaged  unknown     1 key            200  150  key       192.0.2.7    150  skips
"""
ROWS = [
    line.split()
    for line in TABLE.replace("1 key", "1_key").replace("2 keys", "2_keys").splitlines()
]
KINDS = [row[0] for row in ROWS]


def names(kind: str) -> list[str]:
    return [f"{kind}{number}" for number in range(EACH)]


def uid(name: str) -> int:
    return 3000 + EACH * KINDS.index(name[:-1]) + int(name[-1])


def entry(name: str, key: str, other: str) -> dict[str, Any]:
    keys = {"word": [], "keyless": [], "near": [key, other]}.get(name[:-1], [key])
    made: dict[str, Any] = {"name": name, "uid": uid(name), "keys": keys}
    if name[:-1] in ("word", "near"):
        made["password"] = HASH
    if name[:-1] in ("gone", "until", "enabled"):
        made |= {"disabled": True, "until": "2099-01-01" if name[:-1] == "until" else ""}
    return made


def apply(machine: Machine, accounts: list[dict[str, Any]]) -> None:
    machine.write("/root/accounts", json.dumps({"accounts": accounts}), 0o600)
    machine.run("sftpjail", "apply", "--yes", "/root/accounts", timeout=120)


def each(kinds: str, command: str) -> str:
    """A command for each account of some kinds; $n is its name."""
    every = " ".join(name for kind in kinds.split() for name in names(kind))
    return f"for n in {every}; do {command}; done\n"


def make(machine: Machine) -> str:
    """Two hundred accounts in every state; returns the key of all of them."""
    path = machine.keygen("all")
    key, other = (
        machine.read(f"{path}.pub").strip(),
        machine.read(f"{machine.keygen('other')}.pub").strip(),
    )
    every = [name for kind in KINDS for name in names(kind)]
    apply(machine, [entry(name, key, other) for name in every if name[:-1] != "young"])
    apply(machine, [entry(name, key, other) for name in names("young")])
    apply(machine, [{"name": name, "disabled": False} for name in names("enabled")])
    machine.run("sftpjail", "set", "kept0", "--keep-active")
    machine.write(DROPIN, "DenyUsers denied*\nMatch User open*\n ChrootDirectory none\n")
    machine.sh(
        each("kept", "test $n = kept0 || echo user $n keep >>/etc/sftpjail/keep")
        + each("expired", "chage -E 2001-01-01 $n")
        + each("locked", "chage -d 0 $n")
        + each("closed", "chmod g+w /srv/sftp/$n")
        + each("partial", "rm -r /srv/sftp/$n/files")
        + each("damaged", "echo rubbish >/var/lib/sftpjail/accounts/$n")
    )
    machine.restart_sshd()
    return path


def long_ago(machine: Machine, prints: dict[str, str]) -> None:
    """What was done now was done long ago, and so were the logins; logins are known for 200 days."""
    now = int(time.time())
    for file in machine.sh(f"ls {HISTORY}").out.split():
        lines = [json.loads(line) for line in machine.read(f"{HISTORY}/{file}").splitlines()]
        for line in lines:
            what = "".join(f"{item['account']} {item['what']}\n" for item in line.get("what", ()))
            days = 10 if "young0 is a new" in what else 5 if "enabled0 is enabled" in what else 200
            line["time"] = line.get("time", now) - days * DAY - 60
        machine.write(f"{HISTORY}/{file}", "".join(json.dumps(line) + "\n" for line in lines))
    script = f"echo {now - 200 * DAY - 60} {now} log >{SEEN}/records\n"
    for kind, _, _, _, last, key, address, _, _ in ROWS:
        if last != "-":
            at = now - int(last) * DAY - 60
            for name in names(kind):
                script += f"echo {prints.get(key, key)} {at} {address} 5 >{SEEN}/{uid(name)}\n"
    machine.sh(script)


def day(days: int) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(time.time() - days * DAY - 60))


def expected() -> list[list[str]]:
    """The table as `review` prints it."""
    rows = []
    for kind, state, means, made, last, _, address, idle, _ in ROWS:
        by = means.replace("_", " ").replace(",", ", ")
        used = "-" if last == "-" else day(int(last))
        rows += [[name, state, by, day(int(made)), used, address, idle] for name in names(kind)]
    return sorted(rows)


def states(machine: Machine) -> dict[str, str]:
    jails = json.loads(machine.run("sftpjail", "--json", "list").out)["jails"]
    return {found["user"]: found["state"] for found in jails}


def test_two_hundred_accounts_in_every_state(machine: Machine) -> None:
    machine.start_rsyslog()
    machine.write(DROPIN, machine.patience())
    ready(machine, CONFIG)
    machine.sh("logger -p auth.info hello")
    machine.wait_for("/var/log/auth.log", "hello")
    key = make(machine)
    before = states(machine)
    assert set(before.values()) == {row[1] for row in ROWS}, "every state"
    # On its first day.
    words = refused(machine, "sftpjail", "review", "--inactive", "1d", "--disable", "--yes")
    assert f"logins are known since {day(0)} only" in words, words
    assert machine.run("sftpjail", "review", "--inactive", "1d").out == ""
    assert states(machine) == before
    # Two hundred days later.
    fingerprints = machine.sh(
        "ssh-keygen -lf /root/keys/all.pub; ssh-keygen -lf /root/keys/other.pub"
    ).out
    prints = dict(
        zip(("key", "key2"), (line.split()[1] for line in fingerprints.splitlines()), strict=True)
    )
    long_ago(machine, prints)
    rows = [line.split("\t") for line in machine.run("sftpjail", "review").out.splitlines()]
    assert rows == expected()
    programs = [path.rpartition("/")[2] for path in programs_of(machine, "sftpjail", "review")]
    assert programs.count("ssh-keygen") == 1 and len(programs) < 15, "none for each account"
    chosen = [
        line.split("\t")[0]
        for line in machine.run("sftpjail", "review", "--inactive", "90d").out.splitlines()
    ]
    assert chosen == [row[0] for row in expected() if int(row[6]) >= 90]
    disabled = sorted(name for row in ROWS if row[8] == "disables" for name in names(row[0]))
    skipped = sorted(name for row in ROWS if row[8] == "skips" for name in names(row[0]))
    disable = ["sftpjail", "--json", "review", "--inactive", "90d", "--disable"]
    refused(machine, *disable, code=2, says="sftpjail review --inactive 90d --disable --yes")
    shown = json.loads(machine.run(*disable, "--dry-run").out)
    assert (shown["disabled"], shown["changed"]) == (disabled, False) and states(machine) == before
    # An sshd that logs no login of theirs says nothing of them.
    dropin = machine.read(DROPIN)
    machine.write(DROPIN, f"{dropin}Match User idle*\n LogLevel ERROR\n")
    quiet = json.loads(machine.run("sftpjail", "--json", "review", "--inactive", "90d").out)
    assert quiet["unlogged"] == names("idle")
    assert not {one["user"] for one in quiet["accounts"]} & set(names("idle"))
    machine.write(DROPIN, f"LogLevel QUIET\n{dropin}")
    quiet = json.loads(machine.run("sftpjail", "--json", "review", "--inactive", "90d").out)
    assert quiet["accounts"] == [], "the whole sshd is silent"
    machine.write(DROPIN, dropin)
    for options in (("-E", "/var/log/sshd.log"), ("-q",), ("-o", "LogLevel=QUIET")):
        machine.restart_sshd(*options)
        quiet = json.loads(machine.run("sftpjail", "--json", "review", "--inactive", "90d").out)
        assert quiet["accounts"] == [] and quiet["unlogged"], options
    machine.restart_sshd()
    works(machine, "idle0", key)  # her last login is now
    with session(machine, "idle1", key, "/files"):
        found = json.loads(machine.run("sftpjail", "--json", "review", "idle1").out)["accounts"]
        assert (found[0]["sessions"], found[0]["active_by"]) == (1, "session"), found
        done = json.loads(machine.run(*disable, "--yes", timeout=120).out)
    assert done["disabled"] == [name for name in disabled if name not in ("idle0", "idle1")]
    assert sorted(problem["about"] for problem in done["problems"]) == skipped
    after = states(machine)
    assert {name for name in after if after[name] != before[name]} == set(done["disabled"])
    assert {after[name] for name in done["disabled"]} == {"disabled"}
    shut(machine, "idle2", key)
    works(machine, "kept1", key)
    assert (
        "nothing to do"
        in machine.run("sftpjail", "review", "--inactive", "90d", "--disable", "--yes").out
    )
    # One transaction, and what it closed can be opened again.
    said = machine.run("sftpjail", "history", "edge3").out.splitlines()[-1]
    assert "is disabled" in said and "\treview\t" in said, said
    refused(machine, "sftpjail", "undo", "--yes", says="out of its jail's settings")
    machine.write(DROPIN, dropin.partition("Match User open")[0])
    machine.restart_sshd()
    machine.run("sftpjail", "undo", "--yes", timeout=120)
    assert states(machine)["edge3"] == "ok"
    works(machine, "idle2", key)


def test_the_mark_goes_where_its_account_goes(machine: Machine) -> None:
    ready(machine, CONFIG)
    jail(machine, "ann")

    def kept() -> list[str]:
        found = json.loads(machine.run("sftpjail", "--json", "review").out)["accounts"]
        return [one["user"] for one in found if one["keep_active"]]

    machine.run("sftpjail", "set", "ann", "--keep-active")
    again(machine, "sftpjail", "set", "ann", "--keep-active")
    assert kept() == ["ann"]
    machine.run("sftpjail", "undo")
    assert kept() == [] and not machine.exists(KEEP)
    machine.run("sftpjail", "undo")
    machine.run("usermod", "-l", "zoe", "ann")
    machine.run("sftpjail", "apply")
    assert kept() == ["zoe"]
    assert machine.read(KEEP) == "user zoe keep\n"
    machine.run("sftpjail", "remove", "zoe")
    assert not machine.exists(KEEP)
    machine.run("sftpjail", "undo", "--yes")
    assert kept() == ["zoe"]
    machine.run("sftpjail", "set", "zoe", "--no-keep-active")
    assert kept() == []

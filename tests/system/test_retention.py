"""Old files are deleted by the real systemd-tmpfiles, and nothing else is."""

from __future__ import annotations

import json

from machine import Machine
from steps import again, jail, previewed, ready, refused, works

LINES = "/etc/tmpfiles.d/sftpjail.conf"
OLD = "touch -h -d '40 days ago'"


def clean(machine: Machine) -> None:
    """What happens at each boot, and once a day."""
    machine.run("systemd-tmpfiles", "--create", "--remove", LINES)
    machine.run("systemd-tmpfiles", "--clean", LINES)


def advice(machine: Machine, code: int = 0) -> str:
    done = machine.run("sftpjail", "check", check=False)
    assert done.code == code, done
    return " ".join((done.out + done.err).split())


def age(machine: Machine, *directories: str, name: str = "ann") -> None:
    options = [word for one in directories for word in ("--retention", one)]
    machine.run("sftpjail", "set", name, *options)


def test_only_what_is_old_and_inside_is_deleted(machine: Machine) -> None:
    ready(machine)
    key = jail(machine, "ann")
    machine.run("useradd", "-m", "bob")
    machine.sh(
        "mkdir -p '/srv/in box/a/empty' && cd '/srv/in box'"
        f" && touch .hidden a/old 'a/o l d' new && {OLD} .hidden a/old 'a/o l d'"
        f" && ln -s /etc a/etc && ln -s /etc/passwd link && ln -s /etc stays && {OLD} a/etc link"
        f" && {OLD} a/empty /etc/motd && chown -hR ann: ."
    )
    machine.run("sftpjail", "mount", "ann", "/srv/in box", "/in")
    assert '+e "/srv/in box" - - - m:30d' in previewed(
        machine, "sftpjail", "set", "ann", "--retention", "/in=30d"
    )
    age(machine, "/in=30d", "/home/ann/=2w")
    again(machine, "sftpjail", "set", "ann", "--retention", "/in=30")
    assert 'e "/srv/in box" - - - m:30d\n' in machine.read(LINES)
    assert "e /home/ann - - - m:14d\n" in machine.read(LINES)
    assert "5 files of ann in /in are older than 30 days" in advice(machine)
    assert "retention\t/in for 30 days\n" in machine.run("sftpjail", "show", "ann").out
    shown = json.loads(machine.run("sftpjail", "--json", "show", "ann").out)["jail"]["retention"]
    assert {"directory": "/in", "days": 30, "path": "/srv/in box", "active": True} in shown
    assert "/srv/in box, by" in machine.run("sftpjail", "explain", "ann").out
    etc = machine.listing("/etc")
    machine.run("chmod", "2751", "/srv/in box")
    clean(machine)
    assert machine.mode("/srv/in box") == "ann:ann 2751"
    assert machine.listing("/etc") == etc
    left = machine.sh("cd '/srv/in box' && find . | sort").out.split("\n")
    assert left == [".", "./a", "./a/empty", "./new", "./stays", ""], left
    # A client that keeps the times of a file uploads one that is old already.
    machine.sh(f"echo x >/root/dated && {OLD} /root/dated")
    works(machine, "ann", key, "put /root/dated /in/dated", "put -p /root/dated /in/kept")
    assert "1 file of ann in /in is older" in advice(machine)
    # Nobody else gets to see what is deleted.
    jail(machine, "eve")
    said = refused(machine, "sftpjail", "mount", "eve", "/srv/in box", "/all")
    assert "old files there are deleted" in said, said
    # The lines follow a new name, and go with the jail, byte for byte.
    machine.sh("usermod -l anna ann && sftpjail apply")
    assert "# BEGIN sftpjail anna\n" in machine.read(LINES)
    assert "sftpjail ann\n" not in machine.read(LINES)
    age(machine, "/in=never", name="anna")
    assert "in box" not in machine.read(LINES)
    machine.run("sftpjail", "undo")
    assert 'e "/srv/in box" - - - m:30d\n' in machine.read(LINES)
    machine.sh("sftpjail remove anna && sftpjail remove eve && userdel -r eve")
    assert not machine.exists(LINES)


def test_what_is_not_its_own_keeps_its_files(machine: Machine) -> None:
    ready(machine, "[logs]\nbackend = none\n[profiles]\n[[sftponly]]\nhome = inside\n")
    machine.run("sftpjail", "add", "ann")
    jail(machine, "bob")
    machine.sh(
        "mkdir -p /srv/roots /srv/both /srv/sftp/ann/files/sub '/srv/a*b'"
        " && chown ann: /srv/both /srv/sftp/ann/files/sub '/srv/a*b'"
        " && for name in roots both; do sftpjail mount ann /srv/$name /$name; done"
        " && sftpjail mount ann '/srv/a*b' /star && sftpjail mount bob /srv/both /sub"
    )
    for directory, reason in (
        ("/roots", "/srv/roots belongs to root"),
        ("/", "/srv/sftp/ann belongs to root"),
        ("/both", "/srv/both is shared: it is mounted in the jail of bob too"),
        ("/files/sub", "others than root can write in /srv/sftp/ann/files"),
        ("/star", "systemd-tmpfiles would take /srv/a*b for a pattern"),
        ("/gone", "/srv/sftp/ann/gone is not there"),
    ):
        said = refused(machine, "sftpjail", "set", "ann", "--retention", f"{directory}=30d")
        assert reason in said, said
    for text in ("/files", "files=30d", "/files=0", "/files=30y", "/a/../b=30d"):
        refused(machine, "sftpjail", "set", "ann", "--retention", text, code=2)
    assert not machine.exists(LINES)
    # What is its own now may be somebody else's later: then nothing is deleted any more.
    machine.sh("sftpjail umount bob /sub")
    age(machine, "/files=1d", "/both=1w")
    machine.sh(
        f"{OLD} /srv/both/file && chown ann: /srv/both/file; chown bob /srv/both", check=False
    )
    assert "/both must not be deleted: /srv/both belongs to bob" in advice(machine, 3)
    machine.run("sftpjail", "apply")
    assert "/srv/both " not in machine.read(LINES) and "# /both: 7d" in machine.read(LINES)
    assert "(suspended" in machine.run("sftpjail", "show", "ann").out
    machine.sh("chown ann: /srv/both && sftpjail apply")
    assert "e /srv/both - - - m:7d\n" in machine.read(LINES)
    # Without sftpjail nobody judges any more.
    machine.run("sftpjail", "teardown", "--keep-jails")
    assert "\ne " not in machine.read(LINES)
    machine.run("sftpjail", "setup")
    machine.run("sftpjail", "apply")
    assert "e /srv/both - - - m:7d\n" in machine.read(LINES)
    machine.sh("sftpjail remove ann && sftpjail remove bob && sftpjail teardown")
    assert not machine.exists(LINES)

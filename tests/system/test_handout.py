"""Events handed to hook scripts and plugins: what they get, as whom they run, and what they can never be made to do."""

from __future__ import annotations

import json
import re

import pytest
from answers import judge
from handing import deliver
from machine import Machine
from steps import CONFIG, QUIET, jail, ready, works

HOOKS = "/etc/sftpjail/hooks"
RAN = "/srv/ran"  # where scripts write what they got
PLAIN = f"{QUIET}[events]\nuser = hooks\ntimeout = 5\n"
SESSION = f"{PLAIN}[profiles]\n[[sftponly]]\nmounts = session\n"
RECORDS = f'd=$(mktemp -d {RAN}/XXXXXX); id >$d/id; tr "\\0" "\\n" </proc/$$/environ >$d/env; cat >$d/json'


def hooks(machine: Machine, config: str) -> None:
    """A host that is set up, with the account of hook scripts."""
    ready(machine, config)
    machine.sh(f"useradd -r -G games hooks && install -d -o hooks -m 700 {RAN}")


def script(machine: Machine, event: str, body: str, name: str = "it") -> None:
    machine.write(f"{HOOKS}/{event}.d/{name}", f"#!/bin/sh\n{body}\n", 0o755)


def got(machine: Machine) -> list[dict[str, object]]:
    """What scripts were given since the last look, in no order."""
    files = machine.sh(f"cat {RAN}/*/json && rm -r {RAN}/*").out
    return [json.loads(line) for line in files.splitlines()]


def upload(path: str, **more: object) -> dict[str, object]:
    return {"kind": "upload", "path": path, **more}


def test_scripts_get_data_as_the_configured_user(machine: Machine) -> None:
    hooks(machine, PLAIN)
    key = jail(machine, "amy")
    machine.sh("mkdir -p /srv/web/site && chown amy: /srv/web/site")
    machine.run("sftpjail", "mount", "amy", "/srv/web/site", "/web")
    works(machine, "amy", key, "put /etc/hostname a.txt", "put /etc/passwd /web/b")
    assert deliver(machine, upload("/home/amy/a.txt")) == [("nothing", "")]
    script(machine, "upload", f"{RECORDS}; cat <&3 >$d/file; ls /proc/self/fd >$d/fds", "10-a")
    script(machine, "upload", "cmp - /etc/hostname <&3 || echo no >&2; exit 3", "20-b")
    script(machine, "delete", RECORDS)
    for event in ("rename", "session-end", "gap"):
        script(machine, event, RECORDS)
    said = deliver(machine, upload("/home/amy/a.txt", uid=1000, written=9, address="::1"))
    assert said == [("failed", f"{HOOKS}/upload.d/20-b: exit code 3")]
    ran = machine.sh(f"cd {RAN}/*; cat file id env fds").out
    assert ran.startswith(machine.read("/etc/hostname")), "descriptor 3 is the file"
    assert "(hooks)" in ran and "(games)" in ran and "(root)" not in ran
    words = {"SFTPJAIL_HOST_PATH=/home/amy/a.txt", "SFTPJAIL_FILE=1", "SFTPJAIL_WRITTEN=9"}
    assert words | {"LC_ALL=C.UTF-8", "SFTPJAIL_ID=1-0"} <= set(ran.splitlines())
    assert ran.splitlines()[-5:-1] == ["0", "1", "2", "3"], "and no other"
    (told,) = got(machine)
    judge("event", told)
    assert told["event"] == "upload" and told["host_path"] == "/home/amy/a.txt"

    script(machine, "upload", RECORDS, "20-b")
    machine.run("rm", f"{HOOKS}/upload.d/10-a")
    others = ({"kind": "gap", "user": ""}, {"kind": "session-end"})
    moved = {"kind": "rename", "path": "/home/amy/../../web/x", "to": "/web/b"}
    all_done = deliver(machine, upload("/web/b"), upload("/web/gone"), moved, *others)
    assert all_done == [("done", "")] * 5
    by_path = {str(told["path"]): told for told in got(machine)}
    assert by_path["/web/b"]["host_path"] == "/srv/web/site/b" and by_path["/web/b"]["file"]
    assert by_path["/web/gone"]["no_file"] == "there is no such file any more"
    assert by_path[str(moved["path"])]["host_path"] == "/srv/web/site/x"
    assert by_path[str(moved["path"])]["host_to"] == "/srv/web/site/b"
    assert set(by_path) == {"/web/b", "/web/gone", moved["path"], ""}


@pytest.mark.parametrize("config", [PLAIN, SESSION], ids=["fstab", "session"])
def test_hostile_names_run_nothing_and_lead_nowhere(machine: Machine, config: str) -> None:
    hooks(machine, config)
    key = jail(machine, "amy")
    machine.sh("install -d -o amy /srv/web && echo secret >/srv/canary && chmod 600 /srv/canary")
    machine.run("sftpjail", "mount", "amy", "/srv/web", "/web")
    script(machine, "upload", f'{RECORDS}; [ -z "$SFTPJAIL_FILE" ] || cat <&3 >$d/file')
    for example in ("to-inbox", "mail-upload"):
        machine.sh(f"install -m 755 /src/hooks/examples/{example} {HOOKS}/upload.d/")
    machine.sh("install -d -o hooks -m 700 /srv/inbox")
    machine.write("/usr/sbin/sendmail", f"#!/bin/sh\ncat >>{RAN}/mail\n", 0o755)
    machine.sh("cd / && touch /srv/web/canary")
    evil = [
        "a\nb",
        "$(touch canary)",
        "`touch canary`",
        "; rm -rf canary;",
        "' ; touch canary ; '",
        '" ; touch canary ; "',
        "--help",
        "\x1b]0;x\x07",
        "a\\nTo: x@example.org",
        "\udcff\udcfe",
        "-e\tx ",
    ]
    # What a client can upload, it does; sftp(1) itself would not take a line break.
    machine.run("python3", "-c", UPLOADS, str(machine.port), key, json.dumps(evil))
    before = machine.sh("ls -A / /srv /root /tmp /etc | sort").out
    said = deliver(machine, *(upload(f"/web/{name}") for name in evil))
    assert said == [("done", "")] * len(evil)
    assert machine.sh("ls -A / /srv /root /tmp /etc | sort").out == before
    mail = machine.sh(f"cat {RAN}/mail; rm {RAN}/mail").out
    assert mail.count("To: root\n") == len(evil) and not re.search("(?m)^To: x", mail)
    assert machine.sh(f"cat {RAN}/*/file").out == "uploaded\n" * len(evil)
    assert [told["host_path"] for told in sorted(got(machine), key=lambda one: str(one["id"]))] == [
        f"/srv/web/{name}" for _, name in sorted((f"1-{n}", name) for n, name in enumerate(evil))
    ]
    inbox = machine.sh("cat /srv/inbox/1-?; ls /srv/inbox | grep -v '^1-'", check=False).out
    assert inbox == "uploaded\n" * 10

    swapped = {
        "link": "ln -s /srv/canary link",
        "dirlink/canary": "ln -s /srv dirlink",
        "hard": "ln /srv/canary hard",
        "fifo": "mkfifo fifo",
        "other": "install -o root -m 644 /srv/canary other",
        "mode": "install -o daemon -m 600 /srv/canary mode",
        "null": "mknod null c 1 3",
        "dir": "mkdir dir",
    }
    machine.sh("cd /srv/web; " + "; ".join(swapped.values()))
    said = deliver(machine, *(upload(f"/web/{name}") for name in swapped))
    assert said == [("done", "")] * len(swapped)
    assert not machine.sh(f"ls {RAN}/*/file", check=False).out
    told = got(machine)
    assert len(told) == len(swapped) and not any(one["file"] for one in told)
    assert all(one["no_file"] for one in told)
    assert machine.read("/srv/canary") == "secret\n"


UPLOADS = """
import json, sys, paramiko
transport = paramiko.Transport(("127.0.0.1", int(sys.argv[1])))
transport.connect(username="amy", pkey=paramiko.Ed25519Key.from_private_key_file(sys.argv[2]))
client = paramiko.SFTPClient.from_transport(transport)
for name in json.loads(sys.argv[3]):
    with client.open(b"/web/" + name.encode("utf-8", "surrogateescape"), "w") as file:
        file.write("uploaded\\n")
transport.close()
"""


def quarantine(machine: Machine) -> dict[str, dict[str, object]]:
    """The records of what is in quarantine, by name."""
    text = machine.sh("cd /var/lib/sftpjail/quarantine && for x in *.json; do cat $x; done").out
    return {str(one["path"]): one for one in map(json.loads, text.splitlines())}


def test_quarantine_takes_the_very_file_and_no_other(machine: Machine) -> None:
    hooks(machine, PLAIN)
    key = jail(machine, "amy")
    machine.sh(
        "mkdir /srv/far /srv/web && mount -t tmpfs none /srv/far && chown amy: /srv/far /srv/web"
    )
    for name in ("far", "web"):
        machine.run("sftpjail", "mount", "amy", f"/srv/{name}", f"/{name}")
    machine.write("/root/bad", "bad\n")
    names = [f"{top}/{name}" for top in ("far", "web") for name in ("plain", "moved", "new", "ok")]
    works(machine, "amy", key, *(f"put /root/bad /{name}" for name in names))
    # While it is scanned, the client acts; root stands in for it.
    scan = f"""cd {RAN}; case $SFTPJAIL_PATH in
    */ok) exit 0 ;;
    */moved|*/new|*/grows) # the first time
        if mkdir again-$SFTPJAIL_ID 2>/dev/null; then
            touch scanning
            while [ -e scanning ]; do sleep 0.05; done
        fi ;;
    esac
    grep -q bad <&3 && {{ echo found; exit 10; }}; exit 0"""
    script(machine, "upload", scan, "10-scan")
    script(machine, "upload", f"echo $SFTPJAIL_PATH >>{RAN}/after", "20-after")
    client = f"until [ -e {RAN}/scanning ]; do sleep 0.05; done; {{}}; rm {RAN}/scanning"
    for top in ("far", "web"):
        acts = {
            "plain": "",
            "ok": "",
            "moved": f"mv /srv/{top}/moved /srv/{top}/hidden",
            "new": f"mv /srv/{top}/new /srv/{top}/old; echo mine >/srv/{top}/new",
        }
        for name, act in acts.items():
            event = upload(f"/{top}/{name}", id=f"{top}-{name}")
            if act:
                machine.sh(f"( {client.format(act)} ) >/dev/null 2>&1 &")
            ((result, why),) = deliver(machine, event)
            assert result == "done" and ("found" in why) == (name != "ok"), why
        assert machine.sh(f"ls /srv/{top}").out.split() == ["hidden", "new", "ok", "old"]
        assert machine.read(f"/srv/{top}/new") == "mine\n"
        assert (
            machine.mode(f"/srv/{top}/old") == machine.mode(f"/srv/{top}/hidden") == "root:root 0"
        )
    assert machine.sh(f"sort {RAN}/after").out.split() == ["/far/ok", "/web/ok"]
    records = quarantine(machine)
    states = {path: one["state"] for path, one in records.items()}
    assert states == {
        **{"/far/plain": "copied", "/far/moved": "closed", "/far/new": "closed"},
        **{"/web/plain": "moved", "/web/moved": "closed", "/web/new": "closed"},
    }
    uid = int(machine.run("id", "-u", "amy").out)
    assert records["/web/plain"]["uid"] == uid and records["/web/plain"]["mode"] == "0644"
    top = "/var/lib/sftpjail/quarantine"
    assert machine.read(f"{top}/web-plain") == machine.read(f"{top}/far-plain") == "bad\n"
    assert machine.mode(top) == "root:root 700"

    works(machine, "amy", key, "put /root/bad /web/grows")
    grows = "echo good >/srv/web/grows"
    machine.sh(f"( {client.format(grows)} ) >/dev/null 2>&1 &")
    assert deliver(machine, upload("/web/grows")) == [("done", "")], "scanned again"

    # A client makes a hole of any size with one request.
    works(machine, "amy", key, "put /root/bad /far/holes")
    machine.sh("cd /srv/far && truncate -s 1G holes && echo bad >>holes && truncate -s 2G holes")
    script(machine, "upload", "exit 10", "10-scan")
    ((result, why),) = deliver(machine, upload("/far/holes", id="holes"))
    assert (result, quarantine(machine)["/far/holes"]["state"]) == ("done", "copied"), why
    size, blocks = machine.run("stat", "-c", "%s %b", f"{top}/holes").out.split()
    assert int(size) == 2 << 30 and int(blocks) * 512 < 1 << 20
    ends = f"head -c 4 {top}/holes; tail -c +{(1 << 30) + 1} {top}/holes | head -c 4"
    assert machine.sh(ends).out == "bad\n" * 2


def test_failures_time_limits_and_plugins(machine: Machine) -> None:
    hooks(machine, PLAIN.replace("timeout = 5", "timeout = 2"))
    jail(machine, "amy")
    script(machine, "delete", "(exec setsid sleep 77 &) ; sleep 78")
    script(machine, "rename", "kill -9 $PPID")
    script(machine, "gap", "head -c 9000000 /dev/zero | tr '\\0' x; exit 4")
    machine.write(f"{HOOKS}/download.d/it", "#!/bin/sh\n", 0o777)
    kinds = ("delete", "rename", "gap", "download", "session-end")
    said = deliver(machine, *({"kind": kind, "path": "/home/amy/x"} for kind in kinds))
    assert [result for result, _ in said] == ["failed", "failed", "failed", "nothing", "nothing"]
    assert "took longer than 2 seconds" in said[0][1] and "worker has ended" in said[1][1]
    assert len(said[2][1]) <= 2000 and "exit code 4" in said[2][1]
    assert "78" not in machine.sh("ps -eo args | grep '[s]leep 7'", check=False).out
    assert "can be changed by others" in machine.sh("sftpjail check 2>&1", check=False).out

    machine.write("/usr/lib/python3/dist-packages/listening.py", PLUGIN)
    entry = "/usr/lib/python3/dist-packages/listening-1.dist-info"
    machine.write(f"{entry}/METADATA", "Metadata-Version: 2.1\nName: listening\nVersion: 1\n")
    machine.write(f"{entry}/entry_points.txt", "[sftpjail]\nlistening = listening\n")
    machine.sh("chmod -R a+rX /usr/lib/python3/dist-packages/listening*")
    config = PLAIN.replace("timeout = 5", "timeout = 2") + "[plugins]\nallow = listening\n"
    machine.write(CONFIG, config)
    machine.sh("echo hello >/home/amy/x && chown amy: /home/amy/x")
    kinds = ("upload", "gap", "session-start", "session-end", "session-end")
    said = deliver(machine, *({"kind": kind, "path": "/home/amy/x"} for kind in kinds[:1]))
    assert said == [("done", "")]
    uid = machine.run("id", "-u", "hooks").out.strip()
    assert machine.read(f"{RAN}/heard") == f"{uid} upload /home/amy/x hello\n"
    machine.run("rm", f"{HOOKS}/gap.d/it")
    said = deliver(machine, *({"kind": kind} for kind in kinds[1:]))
    assert said == [
        ("failed", "plugin listening: on_gap broke: ValueError: no"),
        ("nothing", ""),
        ("done", ""),
        ("done", ""),
    ]
    machine.write(CONFIG, PLAIN.replace("hooks", "nobody-at-all"))
    ((result, why),) = deliver(machine, {"kind": "delete", "path": "/x"})
    assert (result, why) == ("failed", "there is no account nobody-at-all")
    assert "there is no such account" in machine.sh("sftpjail check 2>&1", check=False).out
    machine.write(CONFIG, QUIET)
    assert "no user is configured" in machine.sh("sftpjail check 2>&1", check=False).out
    assert deliver(machine, {"kind": "delete"}) == [("nothing", "no user is configured")]


PLUGIN = f"""
import os
from sftpjail import hookimpl

@hookimpl
def on_upload(event, host_path, file):
    with open("{RAN}/heard", "w") as heard:
        heard.write(f"{{os.getuid()}} {{event.kind}} {{host_path}} {{os.read(file, 9).decode()}}")

@hookimpl
def on_gap(event):
    raise ValueError("no")

@hookimpl
def on_session_end():
    return ["nothing that anybody takes for an action"]
"""


@pytest.mark.booted
def test_under_systemd_a_scope_ends_with_its_worker(booted: Machine) -> None:
    hooks(booted, PLAIN.replace("timeout = 5", "timeout = 2"))
    script(booted, "delete", f"grep -o 'sftpjail-worker.*' /proc/self/cgroup >{RAN}/scope; exit 0")
    script(
        booted,
        "gap",
        "(exec setsid sh -c 'exec 0<&- >/dev/null 2>&1; exec sleep 4711' &); sleep 99",
    )
    said = deliver(booted, {"kind": "gap"}, {"kind": "delete"})
    assert said[0][0] == "failed" and "took longer than 2 seconds" in said[0][1]
    assert said[1] == ("done", "")
    assert re.fullmatch(r"sftpjail-worker-\d+-1-2\.scope\n", booted.read(f"{RAN}/scope"))
    booted.sh("! pgrep -f '[s]leep 4711'")
    assert not booted.sh(
        "systemctl list-units --all --plain 'sftpjail-worker*' | grep scope", check=False
    ).out

    # The service does the same, with what its unit closes.
    booted.write(CONFIG, "[events]\nuser = hooks\n")
    script(booted, "upload", "grep -q bad <&3 || exit 0; echo found; exit 10")
    booted.run("sftpjail", "setup")
    key = jail(booted, "amy")
    booted.write("/root/bad", "bad\n")
    works(booted, "amy", key, "put /root/bad bad", "put /etc/hostname good")
    top = "/var/lib/sftpjail/quarantine"
    booted.sh(f"until grep -q '\"moved\"' {top}/*.json; do sleep 0.1; done", timeout=30)
    assert booted.sh(f"cat {top}/*[!n]; ls /home/amy").out == "bad\ngood\n"

"""Session mounts under systemd: thousands of jails cost a boot nothing, and journald hears of each session."""

from __future__ import annotations

from statistics import median

import pytest
from machine import Machine
from steps import CONFIG, open_with_key, works

pytestmark = pytest.mark.booted

JAILS = 3000
NOISE = (
    0.1  # seconds: a boot in a container takes as little as 0.13 s, and two of them never the same
)
SESSION = "[profiles]\n[[sftponly]]\nmounts = session\n"


# All that a boot could read of jails; its other state, where there are none, lies beside it.
PLACES = "/etc/passwd /etc/group /etc/shadow /etc/sftpjail/mounts /var/lib/sftpjail/accounts"
SWAP = f"for place in {PLACES}; do mv $place $place.now; mv $place.other $place; mv $place.now $place.other; done"


def boot(machine: Machine) -> float:
    """Seconds from systemd's start to a system that is up."""
    machine.reboot()
    properties = ["-p", "UserspaceTimestampMonotonic", "-p", "FinishTimestampMonotonic"]
    shown = machine.run("systemctl", "show", *properties).out
    begin, end = sorted(int(line.partition("=")[2]) for line in shown.split())
    machine.run("systemctl", "stop", "sftpjail.path")
    return (end - begin) / 1e6


@pytest.mark.whole
def test_thousands_of_jails_cost_a_boot_nothing(booted: Machine) -> None:
    machine = booted
    machine.write(CONFIG, SESSION)
    machine.run("sftpjail", "setup")
    machine.run("systemctl", "stop", "sftpjail.path")
    machine.sh(
        f"mkdir -p {PLACES.partition('shadow')[2]}; for place in {PLACES}; do cp -a $place $place.other; done"
    )
    # Written to the files at once, since 3,000 useradds would take minutes.
    names = f"$(seq -f u%g {JAILS})"
    machine.sh(
        f"""
        id=20000; members=
        for name in {names}; do
            id=$((id + 1)); members=$members,$name
            echo "$name:x:$id:100::/home/$name:/usr/sbin/nologin" >>/etc/passwd
            echo "$name:*:20000:0:99999:7:::" >>/etc/shadow
            install -d -o $id -g 100 /home/$name
        done
        sed -i "s/^\\(sftponly:.*:\\)$/\\1${{members#,}}/" /etc/group
        """,
        timeout=120,
    )
    machine.run("sftpjail", "apply", timeout=300)
    machine.write("/srv/web/page", "page\n")
    machine.run("sftpjail", "mount", "u7", "/srv/web", "/web")
    key = open_with_key(machine, "u7")
    # In turns, and the middle of each: what else this machine does meanwhile does it to both.
    without, with_jails = list[float](), list[float]()
    for turn in range(8):
        if turn < 3 or median(with_jails) > 1.1 * median(without) + NOISE:
            with_jails.append(boot(machine))
            machine.sh(SWAP)
            without.append(boot(machine))
            machine.sh(SWAP)
    bare, many = median(without), median(with_jails)
    print(f"to a system that is up: {bare:.2f} s without jails, {many:.2f} s with {JAILS}")
    assert machine.sh("grep -c /srv/sftp /proc/self/mountinfo || :").out == "0\n"
    works(machine, "u7", key, "get /web/page /tmp/page", "put /etc/hostname up")
    heard = "journalctl -t internal-sftp | grep -q /home/u7/up"
    machine.sh(f"for n in $(seq 50); do {heard} && exit; sleep 0.1; done; exit 1")
    assert machine.sh("grep -c /srv/sftp /proc/self/mountinfo || :").out == "0\n"
    assert many <= 1.1 * bare + NOISE

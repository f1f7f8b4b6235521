"""SIGKILL at any moment: the next command finds what was before or what was wanted, whole, and nothing in between."""

from __future__ import annotations

import time

import pytest
from machine import Machine, changes
from steps import CONFIG, QUIET, jail, killed, ready, snapshot, web, works

pytestmark = pytest.mark.halved

MOMENTS = 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 4.0  # of the time that the command takes undisturbed
UMASK = f"{QUIET}[profiles]\n[[sftponly]]\numask = 027\n[[other]]\nhome = inside\n"
# What is killed, what takes it back, and what the test configures before it (setup has nothing to
# do otherwise).
COMMANDS = {
    "mount": (("mount", "alice", "/srv/web", "/a/b"), ("umount", "alice", "/a/b"), QUIET),
    "umount": (("umount", "alice", "/web"), ("mount", "alice", "/srv/web", "/web"), QUIET),
    "key add": (
        ("key", "add", "alice", "/root/keys/more.pub"),
        ("key", "remove", "alice", "more"),
        QUIET,
    ),
    "adopt": (("adopt", "bob"), ("remove", "bob"), QUIET),
    "remove": (("remove", "carol"), ("adopt", "carol"), QUIET),
    "setup": (("setup",), ("setup",), UMASK),
}


def state(machine: Machine) -> dict[str, object]:
    """Everything but the configuration, which the test writes."""
    return {path: entry for path, entry in snapshot(machine).items() if path != CONFIG}


SAMPLE = ("adopt", "remove")


@pytest.mark.parametrize(
    "name",
    [name if name in SAMPLE else pytest.param(name, marks=pytest.mark.whole) for name in COMMANDS],
)
def test_killed_at_any_moment(machine: Machine, name: str) -> None:
    ready(machine)
    web(machine)
    key = jail(machine, "alice")
    machine.keygen("more")
    machine.run("sftpjail", "mount", "alice", "/srv/web", "/web")
    for user in ("bob", "carol"):
        machine.run("useradd", "-m", user)
        machine.keygen(user)
        public = machine.read(f"/root/keys/{user}.pub")
        machine.write(f"/home/{user}/.ssh/authorized_keys", public)
        machine.run("chown", "-R", user, f"/home/{user}/.ssh")
    machine.run("sftpjail", "adopt", "carol")
    does, undoes, config = COMMANDS[name]

    def back() -> None:
        machine.write(CONFIG, QUIET)
        machine.run("sftpjail", *undoes, check=False)  # there may be nothing to take away
        machine.write(CONFIG, config)

    machine.write(CONFIG, config)
    machine.run("sftpjail", *does)
    back()  # the order of the lines of fstab has settled
    began = time.monotonic()
    machine.run("sftpjail", *does)
    lasts = time.monotonic() - began
    after = state(machine)
    back()
    before = state(machine)
    assert changes(before, after)
    found = []
    for moment in MOMENTS:
        machine.run(
            "timeout", "-s", "KILL", f"{lasts * moment:.3f}", "sftpjail", *does, check=False
        )
        done = machine.run(
            "sftpjail", "key", "remove", "alice", "nobody's", check=False
        )  # it changes nothing itself
        now = state(machine)
        found.append("before" if now == before else "after" if now == after else "")
        assert found[-1], (
            f"{moment} {done}\nfrom before: {changes(before, now)}\nfrom after: {changes(after, now)}"
        )
        back()
        assert changes(before, state(machine)) == {}, moment
    assert found[-1] == "after", found
    works(machine, "alice", key)


def test_a_trial_login_leaves_a_running_transaction_alone(machine: Machine) -> None:
    """It has a lock of its own, and PAM calls sftpjail, which recovers from a journal that it sees."""
    ready(machine, f"{QUIET}[profiles]\n[[sftponly]]\nmounts = session\n")
    killed(machine, "user-create", "sftpjail", "add", "eve")
    before = snapshot(machine)
    machine.run("/usr/lib/sftpjail/entry/prove-login", "sftpjail-probe", "sftponly", "none")
    assert changes(before, snapshot(machine)) == {}
    machine.run("sftpjail", "apply")
    assert machine.run("id", "eve", check=False).code == 1

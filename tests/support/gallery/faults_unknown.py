"""What keeps a login from working and `check` cannot know, with the reason."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from faults import EARLIER, KEY, Jail
from steps import running

CANNOT_KNOW = {
    "firewall": "what drops the packets may be another machine, and a rule for one address is no fault",
    "name_service": "the client asks a DNS of its own",
    "wrong_private_key": "the private key is the client's alone; which of the keys it will offer, nobody knows here",
    "from_another_address": "`from=` is judged against the address that a client has, and clients come from anywhere",
    "too_many_startups": "MaxStartups and PerSourcePenalties depend on who connects at the moment",
    "pam_with_rules_of_its_own": "a PAM module decides by files, clocks and servers of its own; only asking it tells",
    "mandatory_access_control": "SELinux and AppArmor policies deny what the modes allow, and log it elsewhere",
    "client_settings": "a client's old ciphers, proxies and known_hosts are on its side",
    "remote_disk": "a network or failing disk that hangs would hang check too",
}

UNKNOWN: dict[str, Callable[[Jail], contextlib.AbstractContextManager[None]]] = {}


def unknown(
    function: Callable[[Jail], Iterator[None]],
) -> Callable[[Jail], contextlib.AbstractContextManager[None]]:
    """One of the above that is easily tried: the login fails and check must be silent."""
    UNKNOWN[function.__name__] = contextlib.contextmanager(function)
    return UNKNOWN[function.__name__]


@unknown
def firewall(good: Jail) -> Iterator[None]:
    """No packet gets through: in a machine that has but one address, the address goes."""
    good.sh("ip address del 127.0.0.1/8 dev lo")
    yield
    good.sh("ip address add 127.0.0.1/8 dev lo")


@unknown
def wrong_private_key(good: Jail) -> Iterator[None]:
    good.sh(
        f"mv {KEY} {KEY}.right; ssh-keygen -q -t ed25519 -N '' -f /root/keys/wrong; cp -p /root/keys/wrong {KEY}"
    )
    yield
    good.sh(f"mv {KEY}.right {KEY}; rm /root/keys/wrong*")


@unknown
def from_another_address(good: Jail) -> Iterator[None]:
    good.sh("""sed -i 's/^/from="192.0.2.0\\/24" /' /etc/ssh/authorized_keys/alice""")
    yield
    good.sh("sed -i 's/^[^ ]* //' /etc/ssh/authorized_keys/alice")


@unknown
def too_many_startups(good: Jail) -> Iterator[None]:
    good.sshd("MaxStartups 1\n")
    stays = f"import socket; s = socket.create_connection(('127.0.0.1', {good.machine.port}));"
    stays += "s.recv(9); print('in', flush=True); input()"
    with running(good.machine, "python3", "-c", stays) as process:
        assert process.stdout and process.stdout.readline() == "in\n"
        yield
    good.sh(f"rm {EARLIER}")
    good.reload()


@unknown
def pam_with_rules_of_its_own(good: Jail) -> Iterator[None]:
    good.sh(
        "cp /etc/pam.d/sshd /root/pam; sed -i '1a account required pam_access.so' /etc/pam.d/sshd"
    )
    good.sh("echo '-:alice:ALL' >>/etc/security/access.conf")
    yield
    good.sh("cp /root/pam /etc/pam.d/sshd; sed -i '/^-:alice/d' /etc/security/access.conf")

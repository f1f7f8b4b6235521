"""A trial by the sshd that runs, on its own address, with a key that it refuses soon by itself.

The key's line has `restrict`, `from=` the address that this host has towards sshd, and
`expiry-time=` two minutes ahead (sshd(8)), so that it opens nothing whatever becomes of us. The
private half is in this process alone.

Since the key is restricted by itself, the doors that `restrict` shuts prove nothing here: those are
asked by the private sshd of login.py.
"""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..config import Config, keyfile
from ..errors import SftpJailError
from ..host import Host
from ..model import Account, frozen
from ..openssh.daemons import Daemon, daemons, primary
from ..openssh.public_keys import LIVE_TEST
from ..openssh.settings import Settings, effective
from ..openssh.stale import unread
from .login import ANSWER, LOGIN, Trial, held
from .probes import PROBES, Failed, Probe
from .sftp_client import Sftp, SftpError
from .ssh_client import DoorError, Doors, Refused, new_key

SECONDS = 120  # how long sshd takes the key
_ASKED = (
    "authenticates",
    "lands in the start directory",
    "transfers files",
    "cannot write to /",
    "does not see the host",
    "no command, no shell",
    "no environment",
    "no other subsystem",
    "the deny list holds",
    "is logged",
    "nothing outside of it",
)


@frozen
class Door:
    """Where a running sshd is asked: its address and port, and our own address towards it."""

    daemon: Daemon
    address: str
    port: int
    source: str

    @property
    def connection(self) -> str:
        """The connection, as `sshd -T -C` takes it."""
        where = f"addr={self.source},laddr={self.address},lport={self.port}"
        return f"host={self.source},{where},rdomain=none"


def find_door(host: Host) -> Door:
    """Return where the primary sshd of this host listens.

    Raises:
        SftpJailError: none runs, or it cannot be reached or asked.
    """
    daemon = primary(host)
    if not daemon.places:
        daemon = next((one for one in daemons(host) if one.places), daemon)
    if not daemon.places:
        raise SftpJailError("no sshd listens on this host, so none can be asked")
    if daemon.unknown:
        raise SftpJailError(f"{daemon} cannot be asked: {daemon.unknown}")
    address, port = min(daemon.places, key=lambda place: (":" in place[0], place))
    address = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    if ":" in address:
        family = socket.AF_INET6
    else:
        family = socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:  # sends nothing
        try:
            probe.connect((address, port))
        except OSError as error:
            raise SftpJailError(f"{daemon} cannot be reached: {error.strerror}") from error
        return Door(daemon, address, port, str(probe.getsockname()[0]))


def no_key_can_do(account: Account, found: Settings) -> str:
    """Return why no key in our file lets an account in, or "".

    Args:
        account: the account.
        found: what sshd says of it.
    """
    chains = [chain.split(",") for chain in found.words("authenticationmethods")]
    alone = any([method.partition(":")[0] for method in one] == ["publickey"] for one in chains)
    files = [account.expand(pattern) for pattern in found.words("authorizedkeysfile")]
    if found.get("pubkeyauthentication") == "no":
        return "sshd takes no key at all (PubkeyAuthentication no)"
    if chains and ["any"] not in chains and not alone:
        return f"a key is not enough (AuthenticationMethods {found.get('authenticationmethods')})"
    if keyfile(account.name) not in files:
        return f"sshd does not read {keyfile(account.name)} for it"
    return ""


def stamp(now: float) -> str:
    """Return a time in seconds since the epoch as expiry-time= takes it, in UTC."""
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(now))


@dataclass
class Live(Trial):
    """A trial by a running sshd; `key` is taken as long as its line is in force."""

    door: Door = field(kw_only=True)
    key: Any = field(kw_only=True)
    refused: bool = False
    _connections: list[Doors] = field(default_factory=list)
    _accepted: bool = False

    @property
    def line(self) -> str:
        """The line of the key file."""
        expiry = stamp(time.time() + SECONDS)
        options = f'restrict,from="{self.door.source}",expiry-time="{expiry}"'
        return f"{options} {self.key.get_name()} {self.key.get_base64()} {LIVE_TEST}"

    def prepare(self) -> None:
        """Make what a session must not see."""
        self._make_place()

    def log_in(self) -> None:
        """Log in twice. Raises SftpError: there is no SFTP session."""
        try:
            first = self._login()
            self._accepted = True
            channel = first.subsystem("sftp")
        except DoorError as error:
            self.refused = isinstance(error, Refused)
            raise SftpError(str(error)) from error
        sftp = Sftp(channel, ANSWER)
        try:
            sftp.begin(LOGIN)
        except SftpError as error:
            self._no_sftp = str(error)
            raise
        self._sftp = sftp
        try:
            self._doors = self._login()
        except DoorError as error:
            self._no_doors = f"the second login failed: {error}"

    def _login(self) -> Doors:
        """Return a connection on which the account is logged in. Raises DoorError."""
        try:
            connection = socket.create_connection((self.door.address, self.door.port), LOGIN)
        except OSError as error:
            raise DoorError(f"no connection: {error.strerror or error}") from error
        doors = Doors(connection, ANSWER)
        self._connections.append(doors)
        doors.login(self.account.name, self.key, LOGIN)
        return doors

    def accepted(self) -> bool:
        """Whether sshd took the key, and PAM the account."""
        return self._accepted

    def _hang_up(self) -> None:
        while self._connections:
            self._connections.pop().close()


def _is_current(trial: Trial) -> str:
    """sshd has read its files since they changed."""
    assert isinstance(trial, Live)
    daemon = trial.door.daemon
    left = []
    if daemon.pid:
        left = unread(daemon, trial.host)
    if left:
        raise Failed(f"{daemon} has not read {left[-1]} since it was changed")
    return f"{daemon}, at {_shown(trial.door)} from {trial.door.source}"


def _shown(door: Door) -> str:
    ip = ipaddress.ip_address(door.address)
    if ip.version == 6:
        return f"[{door.address}]:{door.port}"
    return f"{door.address}:{door.port}"


LIVE_PROBES: tuple[Probe, ...] = (
    ("has read its configuration", _is_current, ()),
    *(probe for probe in PROBES if probe[0] in _ASKED),
)
NOT_ASKED = tuple(name for name, _, _ in PROBES if name not in _ASKED)


@contextlib.contextmanager
def live_trial(
    account: Account, config: Config, host: Host, place: str, door: Door
) -> Iterator[Live]:
    """Yield a trial by a running sshd, not logged in yet; its key is still to be put in force.

    Args:
        account: with its profile.
        config: the configuration.
        host: the facts.
        place: the directory for the trial's own, see `workplace`.
        door: from `find_door`.

    Raises:
        SftpJailError: no key can let the account in, or something could not be taken away.
    """
    found = effective(host, account.name, door.connection, door.daemon)
    why = no_key_can_do(account, found)
    if why:
        raise SftpJailError(f"{door.daemon} cannot be asked about {account.name}: {why}")
    name, key = secrets.token_hex(6), new_key(found.get("pubkeyacceptedalgorithms"))
    made = Live(account, config, host, found, f"{place}/{name}", name, door=door, key=key)
    with held(made):
        yield made

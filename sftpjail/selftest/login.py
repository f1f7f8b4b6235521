"""A trial: one account's real login through an sshd of its own, and everything that it takes.

That is to be taken away again.

The private sshd (`sshd -i` behind a pipe, so no port) reads the live configuration below a Match
block that concerns the temporary key and nothing else. SFTP goes through the stock client, the
other requests through paramiko (ssh_client.py).
"""

from __future__ import annotations

import contextlib
import getopt
import os
import re
import secrets
import shlex
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ..config import Config
from ..errors import SftpJailError
from ..host import Host
from ..jails.addresses import listed
from ..model import REQUESTS, Account, normal
from ..openssh.daemons import primary
from ..openssh.match_blocks import MAIN
from ..openssh.patterns import matches
from ..openssh.settings import Settings, effective
from ..paths import ADDRESSES
from ..system import files, namespaces, programs, scratch, services
from ..system.confinement import Confinement
from ..system.sessions import Session, converse
from ..system.signals import one_signal, signals_wait
from ..system.syslog import announce_test
from .sftp_client import NO_SUCH_FILE, OK, PERMISSION_DENIED, Sftp, SftpError
from .ssh_client import DoorError, Doors, key_from_file

RUN = "/run"
LOGIN, ANSWER = 10.0, 4.0  # seconds
# What sshd and the client say of every login; none of it is a reason.
_CHATTER = re.compile(
    r"Connection (from|to|closed|reset)|Received disconnect|Disconnected from|client_loop: |"
    r"(Close|Starting) session|Accepted |Postponed|User child|Changed root|$"
)
_SFTP_ONLY = "This service allows sftp connections only."


# The sshd of the trial. Which ciphers are used proves nothing about a jail; paramiko knows few, and
# the client must know one. The Match block is in a file of its own, because a Match does not leak
# out of it: below a `Match all` every global setting of the live file would count as one of a Match
# block, and beat the blocks of the jails.
_SSHD = """\
LogLevel VERBOSE
KexAlgorithms +curve25519-sha256
Ciphers +aes128-ctr
MACs +hmac-sha2-256
HostKeyAlgorithms +ssh-ed25519
Include {place}/match
Include {main}
"""
_MATCH = """\
Match User {user}
    AuthorizedKeysFile {place}/key.pub
    AuthenticationMethods publickey
    PubkeyAuthentication yes
    {accepted} +ssh-ed25519
"""
_CLIENT = """\
BatchMode yes
IdentityFile {place}/key
IdentitiesOnly yes
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
GlobalKnownHostsFile /dev/null
ControlPath none
LogLevel ERROR
ProxyCommand sh {place}/proxy
"""
# The client ends with SIGHUP for its ProxyCommand, which sshd would die of,
# in the middle of PAM's farewell.
_PROXY = """\
trap '' HUP
exec 3<&0
{sshd} <&3 3<&- &
exec 3<&-
wait
"""


@dataclass
class Trial:
    """One account on trial.

    Args:
        account: with its profile.
        settings: what sshd would do with it.
        place: a directory of root's, in which everybody may read,
            for the key, the configuration and the witness.
        nonce: a random word that is in the name of each file that the trial makes.
        outside: what check finds open about the account and a session cannot show.
        confined: how the sshd of this test is confined, as the one that runs.
    """

    account: Account
    config: Config
    host: Host
    settings: Settings
    place: str
    nonce: str
    outside: Sequence[str] = ()
    uploaded: str = ""
    confined: str = ""
    began: float = field(default_factory=time.time)
    sessions: list[Session] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    had_manager: bool = False
    _had_runtime: bool = True
    _managed: bool = False
    _sftp: Sftp | None = None
    _doors: Doors | None = None
    _no_sftp: str = "there is no session"
    _no_doors: str = "there is no session"
    _sshd: list[str] = field(default_factory=list)
    _listener: socket.socket | None = None
    _times: list[scratch.Times] = field(default_factory=list)
    _made: list[str] = field(default_factory=list)

    # -- what sshd says that it will do ------------------------------------------------------------

    @property
    def jail(self) -> str:
        """The root of the session on the host: ChrootDirectory as sshd has it."""
        pattern = self.settings.get("chrootdirectory")
        if pattern in ("", "none"):
            return "/"
        return normal(self.account.expand(pattern))

    @cached_property
    def options(self) -> dict[str, str]:
        """The options of internal-sftp in ForceCommand, wherever they stand.

        sshd before 10.4 drops some in silence.
        """
        words = _split(self.settings.get("forcecommand"))[1:]
        try:
            return dict(getopt.getopt(words, "d:f:l:P:p:Q:u:cehR")[0])
        except getopt.GetoptError:
            return {}

    @property
    def read_only(self) -> bool:
        """Whether the session may write nothing: by the profile, or by what ForceCommand says."""
        return "-R" in self.options or bool(self.account.profile and self.account.profile.read_only)

    @cached_property
    def denied(self) -> frozenset[str]:
        """The requests that are to be refused: by the profile, or by what ForceCommand says."""
        denied = set(self.account.profile.deny if self.account.profile else ())
        denied |= set(self.options.get("-P", "").split(","))
        if "-p" in self.options:
            denied |= REQUESTS.keys() - set(self.options["-p"].split(","))
        return frozenset(denied & REQUESTS.keys())

    @cached_property
    def start(self) -> str:
        """Where the session is to start: -d, else the home if the jail has it, else its root."""
        if "-d" in self.options:
            values = {
                "%%": "%",
                "%u": self.account.name,
                "%U": str(self.account.uid),
                "%d": self.account.home,
            }
            return normal(re.sub("%[%uUd]", lambda token: values[token[0]], self.options["-d"]))
        if self.has_home:
            return normal(self.account.home)
        return "/"

    @cached_property
    def has_home(self) -> bool:
        """Whether the home is a directory of the jail, as the session sees it."""
        seen = self.sftp.ask("stat", self.account.home).code
        return seen == OK or (
            seen == PERMISSION_DENIED and self.host.is_dir(self._behind(self.account.home))
        )

    @cached_property
    def directory(self) -> str:
        """Where the session is to write.

        That is where it starts, or in its home if it starts in the jail's root.
        """
        directory = self.start
        if directory == "/" and self.has_home:
            directory = normal(self.account.home)
        try:
            return normal(self.sftp.realpath(directory))
        except SftpError:
            return directory

    # -- the logins --------------------------------------------------------------------------------

    @property
    def sftp(self) -> Sftp:
        """The SFTP session. Raises SftpError where there is none."""
        if self._sftp is None:
            raise SftpError(self._no_sftp)
        return self._sftp

    @property
    def connected(self) -> bool:
        """Whether there is an SFTP session."""
        return self._sftp is not None

    @property
    def doors(self) -> Doors:
        """The other login. Raises DoorError where there is none."""
        if self._doors is None:
            raise DoorError(self._no_doors)
        return self._doors

    @property
    def witness(self) -> str:
        """The host's path of a file that everybody on the host may read; it holds the nonce."""
        return f"{self.place}/witness"

    @property
    def socket(self) -> str:
        """The host's path of a socket to which everybody on the host may connect."""
        return f"{self.place}/socket"

    def prepare(self) -> None:
        """Make the directory, and what is in it.

        Raises:
            SftpJailError: a program is missing or fails.
        """
        self.had_manager = self.host.jobs.has_manager(self.account.uid)
        self._had_runtime = self.host.is_dir(f"/run/user/{self.account.uid}")
        if not self.host.which("ssh"):
            raise SftpJailError("a test needs OpenSSH's client", "apt install openssh-client")
        self._make_place()
        files.make_dir(f"{self.place}/run", 0o755, 0, 0)
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sftpjail test"]
        programs.must([*keygen, "-f", f"{self.place}/key"])
        sshd = [self.host.which("sshd"), "-i", "-e", "-f", f"{self.place}/conf"]
        daemon = primary(self.host)
        if daemon.pid:
            confined = self.host.daemons.confinement(daemon.pid)
        else:
            confined = Confinement()
        self.confined = str(confined)
        beside = namespaces.sshd_beside(sshd, f"{self.place}/run")
        if self.account.name in listed(self.host):
            beside = namespaces.with_file(beside, f"{self.place}/anywhere", ADDRESSES)
        self._sshd = [*confined.prefix(daemon.pid), *beside]
        texts = {
            "match": self._match(),
            "conf": _SSHD.format(place=self.place, main=MAIN),
            "client": _CLIENT.format(place=self.place),
            "anywhere": "",  # a login through a pipe comes from no address
            "proxy": _PROXY.format(sshd=shlex.join(self._sshd)),
        }
        for name, text in texts.items():
            scratch.new_file(f"{self.place}/{name}", text.encode(), 0o644)

    def _make_place(self) -> None:
        """Make the directory, with what a session must not see or reach."""
        files.make_dir(self.place, 0o755, 0, 0)
        scratch.new_file(self.witness, f"{self.nonce}\n".encode(), 0o644)
        self._listener = scratch.listen(self.socket)

    def _match(self) -> str:
        accepted = "PubkeyAcceptedAlgorithms"
        if self.host.openssh < (8, 5):
            accepted = "PubkeyAcceptedKeyTypes"
        text = _MATCH.format(user=self.account.name, place=self.place, accepted=accepted)
        if self._allowed_from_somewhere():
            text += f"    AllowUsers {self.account.name}\n"
        return text

    def _allowed_from_somewhere(self) -> bool:
        """Whether AllowUsers lets the account in from some addresses only.

        A login through a pipe comes from none.
        """
        patterns = [word.partition("@") for word in self.settings.words("allowusers")]
        own = {at for name, at, _ in patterns if matches(self.account.name, name)}
        return own == {"@"}

    def log_in(self) -> None:
        """Log in twice, for SFTP and for everything else, side by side.

        Raises:
            SftpError: there is no SFTP session.
        """
        announce_test(self.account.name, self._log_socket())
        ssh = [self.host.which("ssh"), "-F", f"{self.place}/client", "-l", self.account.name]
        client = converse([*ssh, "-s", "sftpjail", "sftp"], self.sessions)
        beside = converse(self._sshd, self.sessions)
        sftp = Sftp(client.socket, ANSWER)
        try:
            sftp.begin(LOGIN)
        except SftpError as error:
            client.wait(0.5)
            self._no_sftp = str(error)
            excuse = self.accepted() and self._last_words(beside)
            if excuse:
                self._no_sftp += f"; {excuse}"
            raise
        self._sftp = sftp
        self._doors = self._other_login(beside)

    def _log_socket(self) -> str:
        """Return the host's path of the socket that is /dev/log in the jail."""
        for bind in self.host.binds(self.account.name):
            if bind.role == "log":
                if self.host.is_dir(bind.source):
                    return f"{bind.source}/log"
                return bind.source
        return "/dev/log"

    def _other_login(self, beside: Session) -> Doors | None:
        doors = Doors(beside.socket, ANSWER)
        try:
            doors.login(self.account.name, key_from_file(f"{self.place}/key"), LOGIN)
        except DoorError as error:
            self._no_doors = f"the second login failed: {error}"
            return None
        return doors

    def _last_words(self, beside: Session) -> str:
        """Return what a session says that ends at once.

        sshd keeps it to itself in one for SFTP (session.c).
        """
        doors = self._other_login(beside)
        if not doors:
            return ""
        said = doors.banner
        with contextlib.suppress(DoorError):
            said += (doors.runs("exec", "true") or b"").decode("utf-8", "replace")
        return " / ".join(
            line.strip() for line in said.splitlines() if line.strip() not in ("", _SFTP_ONLY)
        )

    def accepted(self) -> bool:
        """Whether sshd says that it let the key in, and PAM the account."""
        return any("Accepted publickey for " in session.words() for session in self.sessions[:1])

    # -- what sshd says while it does --------------------------------------------------------------

    def mark(self) -> tuple[int, ...]:
        """Return how much sshd has said until now, for `words`."""
        return tuple(session.written() for session in self.sessions)

    def words(self, mark: tuple[int, ...] = ()) -> str:
        """Return sshd's own words since MARK on one line.

        Without those that it says of every session.
        """
        marks = (*mark, *[0] * (len(self.sessions) - len(mark)))
        said = "\n".join(
            s.words(since) for s, since in zip(self.sessions, marks, strict=True)
        ).splitlines()
        reasons = [line.strip() for line in said if not _CHATTER.match(line)]
        return " / ".join(
            reasons[-3:] or [line for line in said if line.startswith("Starting session")][-1:]
        )

    # -- systemd -----------------------------------------------------------------------------------

    def start_manager(self) -> None:
        """Have systemd start a user manager, as logind does at a login.

        One from our own login reads its units anew.

        Raises:
            SftpJailError: systemctl(1) does not end.
        """
        self._managed = True
        self._end_manager()
        programs.run(["systemctl", "start", f"user@{self.account.uid}.service"], timeout=LOGIN)

    def _end_manager(self) -> None:
        if self.host.jobs.has_manager(self.account.uid):
            services.stop_managers([self.account.uid])

    def stop_manager(self) -> None:
        """Stop what `start_manager` started, and the directory in /run/user that came with it."""
        if not self._managed:
            return
        self._end_manager()
        uid = self.account.uid
        # While logind knows the user, by a session of theirs or ours, it takes care of that itself.
        if not self._had_runtime and programs.run(["loginctl", "show-user", str(uid)]).failed:
            programs.run(["systemctl", "stop", f"user-runtime-dir@{uid}.service"], timeout=LOGIN)
        self._managed = False

    # -- what is left behind -----------------------------------------------------------------------

    def _behind(self, path: str) -> str:
        """Return the host's path of one inside the jail."""
        return self.host.mount_tables.behind(self.account.name, normal(self.jail + path))

    @cached_property
    def home(self) -> str:
        """The path in the jail of the home the host has, or "" where the jail does not show it."""
        for path in ("/", normal(self.account.home)):
            if self.host.same_file(self.account.home, self._behind(path)):
                return path
        return ""

    def leaves(self, *paths: str) -> None:
        """Remember paths of the jail that may come to exist, and the times of their directories."""
        for path in paths:
            self._times.append(scratch.Times(os.path.dirname(self._behind(path))))
            self._made.append(normal(path))

    def tidy(self) -> None:
        """End the sessions, and take away everything.

        `wrong` is what could not be. Again, it does nothing.
        """
        with contextlib.suppress(SftpJailError):
            self.stop_manager()
        if self._sftp:
            with contextlib.suppress(SftpError):
                self._remove_as_user(self._sftp)
        self._sftp = None
        self._hang_up()
        while self._made:
            try:
                left = self._behind(self._made[-1])
                if not files.remove_dir(left):
                    files.unlink(left)
            except SftpJailError as error:
                self.wrong.append(error.message)
            self._made.pop()
        if self._listener:
            self._listener.close()
        scratch.remove_tree(self.place)
        while self._times:
            self._times.pop().put_back()

    def _hang_up(self) -> None:
        while self.sessions:
            self.sessions[-1].end()
            self.sessions.pop()

    def _remove_as_user(self, sftp: Sftp) -> None:
        """Remove what is there, by the session's own paths; what is not needs no more thought."""
        for path in [*self._made]:
            for request in ("remove", "rmdir"):
                if sftp.ask(request, path).code in (OK, NO_SUCH_FILE):
                    self._made.remove(path)
                    break


@contextlib.contextmanager
def workplace() -> Iterator[str]:
    """Yield an empty directory for the trials of one command.

    It goes with all that is in it, whatever happens.

    Raises:
        SftpJailError: it cannot be made.
    """
    path, times = f"{RUN}/sftpjail-test-{secrets.token_hex(6)}", scratch.Times(RUN)

    def tidy() -> None:
        scratch.remove_tree(path)
        times.put_back()

    with one_signal(), _at_the_end(tidy):
        files.make_dir(path, 0o755, 0, 0)
        yield path


@contextlib.contextmanager
def trial(account: Account, config: Config, host: Host, place: str) -> Iterator[Trial]:
    """Yield a trial that is prepared and not logged in yet; whatever happens, nothing of it stays.

    Args:
        account: with its profile.
        config: the configuration.
        host: the facts.
        place: the directory for the trial's own, see `workplace`.

    Raises:
        SftpJailError: sshd refuses its configuration, a program is missing,
            or something could not be taken away.
    """
    name = secrets.token_hex(6)
    made = Trial(account, config, host, effective(host, account.name), f"{place}/{name}", name)
    with held(made):
        yield made


@contextlib.contextmanager
def held(made: Trial) -> Iterator[None]:
    """Prepare a trial; whatever happens, nothing of it stays. Raises as `trial`."""
    with one_signal(), _at_the_end(made.tidy):
        made.prepare()
        yield
    if made.wrong:
        raise SftpJailError(f"the test could not remove what it made: {'; '.join(made.wrong)}")


@contextlib.contextmanager
def _at_the_end(tidy: Callable[[], None]) -> Iterator[None]:
    """Tidy up undisturbed; twice, for a signal may come a moment before it is held back."""
    try:
        yield
    finally:
        try:
            with signals_wait():
                tidy()
        finally:
            tidy()


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()

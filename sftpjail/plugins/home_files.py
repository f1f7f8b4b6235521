"""Host services that obey files in homes, other than mail (mail.py) and systemd (user_manager.py).

A jailed account can upload such files. Any fix would change the whole host, so no commands are
printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .. import Account, Problem, hookimpl
from ..config import Config
from ..errors.escapes import shown
from ..host import Host
from ..model import inside
from ..openssh.pam_session import service
from ..openssh.pam_stack import Rule, stack
from ..openssh.settings import Settings, effective

# For each module: the file in the home, and the argument that moves it elsewhere, from the manual
# pages.
MODULES = {
    "pam_google_authenticator.so": ("~/.google_authenticator", "secret="),
    "pam_u2f.so": ("~/.config/Yubico/u2f_keys", "authfile="),
    "pam_yubico.so": ("~/.yubico/authorized_yubikeys", "authfile="),
    "pam_ssh.so": ("~/.ssh/login-keys.d", ""),
}
PAM_MOUNT = "/etc/security/pam_mount.conf.xml"
USERDIR = "/etc/apache2/mods-enabled/userdir.load"
_UPLOAD = "a jailed account can upload that file"


@hookimpl
def on_check(account: Account | None, host: Host, config: Config) -> list[Problem]:
    # A home that exists only in the jail is out of reach for the host's services.
    profiles = [profile for profile in config.profiles if profile.home != "inside"]
    if account is not None or not profiles:
        return []
    problems: dict[str, Problem] = {}
    for name in dict.fromkeys(service(profile, host) or "sshd" for profile in profiles):
        problems |= {problem.what: problem for problem in _pam(stack(host, name), host)}
    for profile in profiles:
        if profile.group:
            members = host.group_members(profile.group)
        else:
            members = profile.match_user
        if members:
            problems |= {problem.what: problem for problem in _sshd(members[0], host)}
    return [*problems.values(), *_apache(host)]


def _pam(rules: tuple[Rule, ...], host: Host) -> Iterator[Problem]:
    """Yield what modules in sshd's PAM stack do with files in a home."""
    environment: Rule | None = None
    for rule in rules:
        file, elsewhere = MODULES.get(rule.module, ("", ""))
        moved = elsewhere and any(word.startswith(elsewhere) for word in rule.arguments)
        if file and not moved and rule.kind == "auth":
            what = f"{rule.module.removesuffix('.so')} ({rule.where}) reads {file}"
            why = f"{_UPLOAD}, and with it choose its own second factor"
            advice = "take another module"
            if elsewhere:
                advice = f"lead it out of homes by {elsewhere}"
            yield Problem(what, why, advice=advice, severity="advice")
        if rule.module == "pam_rhosts.so" and rule.kind == "auth":
            why = f"{_UPLOAD}, and it lets others in as that account"
            advice = "take pam_rhosts out of that file"
            yield Problem(f"pam_rhosts ({rule.where}) obeys ~/.rhosts", why, "", advice, "open")
        mounts = rule.module == "pam_mount.so" and rule.kind == "session"
        if mounts and re.search(r"^\s*<luserconf\b", host.text(PAM_MOUNT), re.M):
            what = f"pam_mount ({rule.where}) obeys a file of the home: luserconf in {PAM_MOUNT}"
            why = f"{_UPLOAD}, and have the host mount volumes for it"
            yield Problem(what, why, advice="take luserconf out of that file", severity="advice")
        if rule.module == "pam_env.so" and "user_readenv=1" in rule.arguments:
            environment = rule
        if rule.module == "pam_exec.so" and environment is not None:
            what = (
                f"pam_exec ({rule.where}) runs a program with the variables of ~/.pam_environment"
            )
            why = f"{_UPLOAD}, and root's program runs with its LD_PRELOAD"
            advice = f"write user_readenv=0 in {environment.where}, or have pam_exec stand above it"
            yield Problem(what, why, "", advice, "open")


def _sshd(name: str, host: Host) -> Iterator[Problem]:
    """Yield the files in a home, other than keys, that permit logins to sshd (sshd(8), FILES)."""
    found = effective(host, name)
    if found.get("hostbasedauthentication") == "yes" and found.get("ignorerhosts") != "yes":
        what = f"sshd obeys ~/.shosts and ~/.rhosts ({found.where('hostbasedauthentication')})"
        why = f"{_UPLOAD}, and it lets users of other hosts in as that account"
        advice = "write HostbasedAuthentication no among the sshd_options of the profile"
        yield Problem(what, why, "", advice, "open")
    if found.get("hostbasedauthentication") == "yes" and found.get("ignoreuserknownhosts") != "yes":
        what = f"sshd obeys ~/.ssh/known_hosts ({found.where('hostbasedauthentication')})"
        why = f"{_UPLOAD}, and with a key there anybody is a host that may log in as that account"
        advice = "write HostbasedAuthentication no among the sshd_options of the profile"
        yield Problem(what, why, "", advice, "open")
    yield from _principals(name, found, host)
    for keyword, called in (
        ("gssapiauthentication", "GSSAPI"),
        ("kerberosauthentication", "Kerberos"),
    ):
        if found.get(keyword) == "yes":
            what = f"sshd obeys ~/.k5login ({called}Authentication yes, {found.where(keyword)})"
            why = f"{_UPLOAD}, and it says which principals log in as that account"
            advice = "take the file out of homes by k5login_directory, krb5.conf(5)"
            yield Problem(what, why, advice=advice, severity="advice")


def _principals(name: str, found: Settings, host: Host) -> Iterator[Problem]:
    """Yield that a file of the home says whose certificates are good (AuthorizedPrincipalsFile)."""
    pattern, account = found.get("authorizedprincipalsfile"), host.account(name)
    if account is None or found.get("trustedusercakeys") in ("", "none") or pattern == "none":
        return
    path = account.expand(pattern)
    if path.startswith("/") and not inside(path, account.home):
        return
    what = f"sshd obeys {shown(pattern)} of homes ({found.where('authorizedprincipalsfile')})"
    why = f"{_UPLOAD}, and it lets others in whose certificates the same authority has signed"
    advice = (
        "give the profile trusted_ca, and principals with a path that only root can write: "
        "see sftpjail.conf(5)"
    )
    yield Problem(what, why, "", advice, "open")


def _apache(host: Host) -> list[Problem]:
    """Return whether Apache serves homes, by mod_userdir, which Debian disables by default."""
    if host.lstat(USERDIR) is None:
        return []
    why = (
        "it shows everybody what a jailed account uploads, "
        "and obeys its .htaccess as far as AllowOverride lets it"
    )
    advice = "write UserDir disabled and the members' names into its configuration"
    return [
        Problem(f"Apache serves ~/public_html ({USERDIR})", why, advice=advice, severity="advice")
    ]

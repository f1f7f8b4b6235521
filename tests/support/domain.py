"""A domain of Active Directory: Samba's domain controller, and this machine as a member of the domain.

tests/roots/build.bash has made the domain CORP, of CORP.EXAMPLE. Its controller runs in a mount namespace of
its own, where it has /run/samba for itself, with an address of its own on the loopback device.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from machine import Machine, Result

HOME, WORD = "/var/lib/dc", "Secret-1"  # WORD is the password of everybody
CONTROLLER, MEMBER = "10.53.0.1", "10.53.0.2"
ADMIN = f"Administrator%{WORD}"

SERVER = f"""\
[global]
netbios name = DC1
realm = CORP.EXAMPLE
workgroup = CORP
server role = active directory domain controller
server services = s3fs, rpc, ldap, cldap, kdc, dns, winbindd
interfaces = {CONTROLLER}
bind interfaces only = yes
binddns dir = {HOME}/bind-dns
cache directory = {HOME}/cache
lock directory = {HOME}
private dir = {HOME}/private
state directory = {HOME}/state
log file = {HOME}/log
[sysvol]
path = {HOME}/state/sysvol
[netlogon]
path = {HOME}/state/sysvol/corp.example/scripts
"""
HOSTS = f"127.0.0.1 localhost\n{MEMBER} member.corp.example member\n{CONTROLLER} dc1.corp.example\n"
# Samba's wiki says so for a member, but for what tests add.
CLIENT = f"""\
[global]
netbios name = MEMBER
realm = CORP.EXAMPLE
workgroup = CORP
security = ads
interfaces = {MEMBER}
bind interfaces only = yes
kerberos method = secrets and keytab
idmap config * : backend = tdb
idmap config * : range = 70000-79999
idmap config CORP : backend = rid
idmap config CORP : range = 100000-199999
template homedir = /home/%U
template shell = /bin/bash
"""
# What samba_spnupdate would add later.
PRINCIPAL = """\
dn: CN=DC1,OU=Domain Controllers,DC=corp,DC=example
changetype: modify
add: servicePrincipalName
servicePrincipalName: ldap/dc1.corp.example
"""
SSSD = """\
[sssd]
services = nss, pam
domains = corp.example
{sssd}
[domain/corp.example]
id_provider = ad
access_provider = ad
ad_gpo_access_control = disabled
ldap_id_mapping = True
sudo_provider = none
override_homedir = /home/%u
default_shell = /bin/bash
cache_credentials = True
offline_timeout = 1
dyndns_update = false
{domain}
"""
# By Samba's own modules on its database, as samba-tool does: in one process for all.
EDIT = f"""
import json, sys
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
lp = LoadParm()
lp.load("{HOME}/etc/smb.conf")
sam = SamDB(url="{HOME}/private/sam.ldb", session_info=system_session(), lp=lp)
given = json.load(sys.stdin)
for group in given["groups"]:
    sam.newgroup(group)
for name, groups in given["people"].items():
    sam.newuser(name, "{WORD}")
    for group in groups:
        sam.add_remove_group_members(group, [name], add_members_operation=True)
exec(given["then"])
"""


class Domain:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def start(self) -> None:
        """The controller, and its names for this machine."""
        machine = self.machine
        machine.sh(f"ip address add {CONTROLLER}/32 dev lo; ip address add {MEMBER}/32 dev lo")
        machine.write(f"{HOME}/etc/smb.conf", SERVER)
        machine.write("/etc/resolv.conf", f"nameserver {CONTROLLER}\nsearch corp.example\n")
        machine.write("/etc/hosts", HOSTS)
        # There is no name for an address in the domain, of which SSSD's Kerberos would make its principal.
        kerberos = machine.read(f"{HOME}/private/krb5.conf")
        kerberos = kerberos.replace("[libdefaults]\n", "[libdefaults]\nrdns = false\n")
        machine.write("/etc/krb5.conf", kerberos)
        machine.sh(f"mkdir -p {HOME}/cache")
        self.start_controller()

    def start_controller(self) -> None:
        self.machine.sh(
            "mkdir -p /run/samba; setsid unshare -m sh -ec 'mount -t tmpfs -o mode=755 dc /run/samba; echo $$ >/run/dc.pid;"
            f"exec samba -s {HOME}/etc/smb.conf -F --no-process-group' </dev/null >/run/dc.out 2>&1 &"
            f"until ldbsearch -H ldap://{CONTROLLER} -U 'CORP\\{ADMIN}' -b dc=corp,dc=example -s base name;"
            "do sleep 0.2; done >/dev/null 2>&1"
        )

    def stop_controller(self) -> None:
        """It and its children, which are all that listens at its address."""
        self.machine.sh(
            f"kill $(cat /run/dc.pid); while ss -Hlnt src {CONTROLLER} | grep -q .; do sleep 0.05; done",
            timeout=30,
        )

    def edit(
        self,
        then: str = "",
        people: Mapping[str, Sequence[str]] = {},
        groups: Sequence[str] = (),
    ) -> None:
        """Groups, then people with the groups that they are in, and then statements about `sam`."""
        given = json.dumps({"groups": groups, "people": people, "then": then})
        self.machine.run("python3", "-c", EDIT, input=given)

    def _stack(self, service: str, module: str) -> None:
        """nsswitch.conf and PAM as Debian's packages leave them, of one service."""
        self.machine.sh(
            f"sed -Ei 's/^(passwd|group):.*/\\1: files {service}/' /etc/nsswitch.conf;"
            "cd /usr/share/pam-configs; mkdir -p /run/pam-configs; mv -f winbind sss /run/pam-configs;"
            f"cp /run/pam-configs/{module} .; DEBIAN_FRONTEND=noninteractive pam-auth-update --package"
        )

    def join(self, *settings: str) -> None:
        """As a member server, with more settings of smb.conf."""
        self.machine.write("/etc/samba/smb.conf", CLIENT + "".join(f"{it}\n" for it in settings))
        self.machine.run("net", "ads", "join", "-U", ADMIN, "--no-dns-updates")

    def start_winbind(self, *settings: str) -> None:
        """A machine that has joined asks through winbind, with these settings of smb.conf."""
        self.machine.write("/etc/samba/smb.conf", CLIENT + "".join(f"{it}\n" for it in settings))
        self._stack("winbind", "winbind")
        self.machine.sh(
            "winbindd; until wbinfo -n alice@corp.example; do sleep 0.05; done >/dev/null 2>&1"
        )

    def stop_winbind(self, forget: bool = False) -> None:
        """`forget` loses its cache too."""
        self.machine.stop("/run/samba/winbindd.pid")
        if forget:
            self.machine.sh(
                "rm -f /var/lib/samba/winbindd_cache.tdb /var/cache/samba/* /run/samba/gencache.tdb"
            )

    def start_sssd(self, domain: str = "", sssd: str = "") -> None:
        """A machine that has joined asks through SSSD; lines of two sections of sssd.conf."""
        self.edit(f"sam.modify_ldif({PRINCIPAL!r})")
        self.machine.write("/etc/sssd/sssd.conf", SSSD.format(domain=domain, sssd=sssd), 0o600)
        self._stack("sss", "sss")
        self.machine.sh(
            "setsid sssd -i --logger=files </dev/null >/run/sssd.out 2>&1 &"
            "until getent passwd alice || getent passwd alice@corp.example; do sleep 0.2; done >/dev/null"
        )

    def stop_sssd(self, forget: bool = False) -> None:
        self.machine.stop("/run/sssd.pid")
        if forget:
            self.machine.sh("rm -f /var/lib/sss/db/* /var/lib/sss/mc/*")

    def names(self, *typed: str) -> dict[str, str]:
        """What the name service calls whom it is asked for, "" for nobody."""
        found: dict[str, str] = {}
        for name in typed:
            done: Result = self.machine.run("getent", "passwd", name, check=False)
            found[name] = done.out.partition(":")[0]
        return found

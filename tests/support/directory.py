"""A directory with people, groups and their SSH keys: slapd, and nslcd or SSSD, whichever the root has.

The fixture `directory` is one that runs. Group "people" and its member Ida, with a key, are made by

    directory.add_group("people", 20000)
    directory.add_person("ida", 20010, gid=20000, keys=[machine.read("/root/keys/ida.pub")])
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from machine import Machine, Result

BASE = "dc=example,dc=org"
ADMIN = f"cn=admin,{BASE}"
PEOPLE, GROUPS = f"ou=people,{BASE}", f"ou=groups,{BASE}"
URI = "ldap://127.0.0.1/"
LOG = "/var/log/slapd.log"
PIDFILES = {
    "slapd": "/run/slapd/slapd.pid",
    "nslcd": "/run/nslcd/nslcd.pid",
    "sssd": "/run/sssd.pid",
}
LDAP_KEYS = "/usr/local/sbin/ldap-keys"  # in the machine; it is beside this file

# Anybody may read, as SSSD and nslcd do here; nothing is synced, since nothing survives a Machine.
SERVER = f"""\
dn: cn=config
objectClass: olcGlobal
cn: config
olcPidFile: {PIDFILES["slapd"]}
olcSizeLimit: unlimited
olcLogLevel: stats

dn: cn=module,cn=config
objectClass: olcModuleList
cn: module
olcModulePath: /usr/lib/ldap
olcModuleLoad: back_mdb
olcModuleLoad: retcode

dn: cn=schema,cn=config
objectClass: olcSchemaConfig
cn: schema

include: file:///etc/ldap/schema/core.ldif

include: file:///etc/ldap/schema/cosine.ldif

include: file:///etc/ldap/schema/nis.ldif

include: file:///etc/ldap/schema/inetorgperson.ldif

dn: cn=openssh-lpk,cn=schema,cn=config
objectClass: olcSchemaConfig
cn: openssh-lpk
olcAttributeTypes: ( 1.3.6.1.4.1.24552.500.1.1.1.13 NAME 'sshPublicKey' DESC 'a line of authorized_keys'
  EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
olcObjectClasses: ( 1.3.6.1.4.1.24552.500.1.1.2.0 NAME 'ldapPublicKey' DESC 'has SSH keys' SUP top AUXILIARY
  MUST uid MAY sshPublicKey )

dn: olcDatabase=config,cn=config
objectClass: olcDatabaseConfig
olcDatabase: config
olcRootDN: {ADMIN}

dn: olcDatabase=mdb,cn=config
objectClass: olcDatabaseConfig
objectClass: olcMdbConfig
olcDatabase: mdb
olcDbDirectory: /var/lib/ldap
olcDbMaxSize: 268435456
olcDbNoSync: TRUE
olcSuffix: {BASE}
olcRootDN: {ADMIN}
olcRootPW: secret
olcDbIndex: objectClass,uid,uidNumber,gidNumber,memberUid,cn eq
olcAccess: to attrs=userPassword by anonymous auth by * none
olcAccess: to * by * read
"""

TREE = f"""\
dn: {BASE}
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: {PEOPLE}
objectClass: organizationalUnit
ou: people

dn: {GROUPS}
objectClass: organizationalUnit
ou: groups
"""

NSLCD = f"""\
uid nslcd
gid nslcd
uri {URI}
base {BASE}
"""
# Otherwise a look-up takes 9 s when slapd is down, and 20 s when it is frozen.
NSLCD_HASTE = {
    "reconnect_sleeptime": "1",
    "reconnect_retrytime": "1",
    "bind_timelimit": "1",
    "timelimit": "2",
}

SERVICES = "nss, pam, ssh"
SSSD = f"""\
[sssd]
services = {SERVICES}
domains = example

[nss]

[ssh]

[domain/example]
id_provider = ldap
auth_provider = none
access_provider = permit
sudo_provider = none
autofs_provider = none
ldap_uri = {URI}
ldap_id_use_start_tls = false
ldap_search_base = {BASE}
ldap_user_ssh_public_key = sshPublicKey
enumerate = false
"""
# Otherwise a look-up takes 6 s when slapd is frozen, and it is asked again after 60 to 90 s.
SSSD_HASTE = {"ldap_network_timeout": "1", "ldap_opt_timeout": "1", "ldap_search_timeout": "2"}
SSSD_HASTE |= {"offline_timeout": "1", "offline_timeout_random_offset": "0"}
# getent, id and Python's pwd say the same of a name that is not there and of a daemon that does not
# answer.
LOOK_UP = """
import ctypes, os, sys
kind, service, call, name = sys.argv[1:]
libc = ctypes.CDLL("libc.so.6")
libc.__nss_configure_lookup(kind.encode(), service.encode())
entry, buffer, result = ctypes.create_string_buffer(256), ctypes.create_string_buffer(1 << 20), ctypes.c_void_p()
length = ctypes.c_size_t(len(buffer))
error = getattr(libc, call)(name.encode(), entry, buffer, length, ctypes.byref(result))
print(os.strerror(error) if error else "found" if result else "not found")
"""
# Options of sssd.conf that are not of the domain, and their sections.
SECTIONS = {"entry_negative_timeout": "nss", "memcache_timeout": "nss", "override_space": "sssd"}


@dataclass(frozen=True)
class Search:
    """What slapd was asked."""

    filter: str
    found: int


class Directory:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        found = machine.run("sh", "-c", "command -v nslcd || command -v sssd", check=False)
        assert found.code == 0, f"no nslcd and no sssd in this root: {found}"
        self.client = found.out.strip().rpartition("/")[2]
        self.service = {"nslcd": "ldap", "sssd": "sss"}[self.client]  # its name in nsswitch.conf
        self._witnesses = 0
        self._services = SERVICES

    # --- daemons

    def start(self, infopipe: bool = False) -> None:
        """slapd, an empty tree, and the daemon that asks it; `infopipe` lets SSSD say whether it is online."""
        # With nss-systemd beside it one look-up of sshd's asks for the same group fifty times.
        self.machine.sh("sed -i 's/ systemd//' /etc/nsswitch.conf")
        if self.machine.boot:  # Debian's units run with Debian's configuration, or have failed
            self.machine.run("systemctl", "stop", "slapd", self.client, check=False)
        elif infopipe:
            self.machine.sh("install -d -o messagebus /run/dbus; dbus-daemon --system --fork")
        self._services = SERVICES + (", ifp" if infopipe else "")
        self.machine.run(
            "install", "-m", "755", f"/src/tests/support/{LDAP_KEYS.rpartition('/')[2]}", LDAP_KEYS
        )
        self.machine.write("/run/slapd.ldif", SERVER)
        self.machine.sh(
            "install -d -o openldap -g openldap /etc/ldap/slapd.d /var/lib/ldap /run/slapd;"
            "slapadd -n 0 -F /etc/ldap/slapd.d -l /run/slapd.ldif; chown -R openldap: /etc/ldap/slapd.d"
        )
        self.start_server()
        self.ldapadd(TREE)
        self.start_client()

    def stop(self) -> None:
        self.stop_client()
        self.stop_server()

    def start_server(self) -> None:
        # With -d it stays in the foreground and writes its log there.
        self.machine.sh(
            f"setsid slapd -F /etc/ldap/slapd.d -u openldap -g openldap -h {URI} -d stats </dev/null >>{LOG} 2>&1 &"
            f"while ! ldapwhoami -x -H {URI} >/dev/null 2>&1; do sleep 0.02; done"
        )
        self._notice()

    def stop_server(self) -> None:
        """The port is closed then: who connects is told so at once."""
        self.machine.stop(PIDFILES["slapd"])

    def freeze_server(self) -> None:
        """It takes connections and says nothing, like one that is overloaded or behind a lost network."""
        self.machine.sh(f"kill -STOP $(cat {PIDFILES['slapd']})")

    def thaw_server(self) -> None:
        self.machine.sh(f"kill -CONT $(cat {PIDFILES['slapd']})")
        self._notice()

    def _notice(self) -> None:
        """nslcd and SSSD would go on for seconds, SSSD for more than a minute, to believe that slapd is down."""
        if not self.machine.exists(PIDFILES[self.client]):
            return
        self._witnesses += 1
        name = f"witness{self._witnesses}"  # nobody has heard of it, so no cache answers
        self.add_person(name, 65000, gid=65000)
        signal = {"nslcd": "USR1", "sssd": "USR2"}[self.client]
        self.machine.sh(
            f"kill -{signal} $(cat {PIDFILES[self.client]}); while ! getent passwd {name} >&2; do sleep 0.02; done"
        )
        self.delete_person(name)

    def start_client(self, **options: str) -> None:
        """`options` are added to nslcd.conf, or to sssd.conf."""
        if self.client == "nslcd":
            lines = "".join(
                f"{name} {value}\n" for name, value in {**NSLCD_HASTE, **options}.items()
            )
            self.machine.write("/etc/nslcd.conf", NSLCD + lines, 0o640)
            self.machine.sh(
                "chgrp nslcd /etc/nslcd.conf; install -d -o nslcd -g nslcd /run/nslcd; nslcd"
            )
            return
        config = SSSD.replace(SERVICES, self._services)
        for name, value in {**SSSD_HASTE, **options}.items():
            section = SECTIONS.get(name, "domain/example")
            config = config.replace(f"[{section}]\n", f"[{section}]\n{name} = {value}\n")
        self.machine.write("/etc/sssd/sssd.conf", config, 0o600)
        pipes = "/var/lib/sss/pipes/nss /var/lib/sss/pipes/ssh /var/lib/sss/pipes/pam"
        self.machine.sh(
            f"rm -f {pipes}; setsid sssd -i --logger=files </dev/null >/run/sssd.out 2>&1 &"
        )
        self.machine.sh(f"for pipe in {pipes}; do while ! [ -S $pipe ]; do sleep 0.02; done; done")

    def stop_client(self) -> None:
        self.machine.stop(PIDFILES[self.client])

    def restart_client(self, **options: str) -> None:
        self.stop_client()
        self.start_client(**options)

    def forget(self) -> None:
        """What nslcd or SSSD remember, they ask again."""
        if self.client == "sssd":
            self.machine.run("sss_cache", "-E")
        else:
            self.restart_client()

    # --- what is in it

    def add_person(
        self,
        name: str,
        uid: int,
        *,
        gid: int,
        home: str = "",
        shell: str = "/bin/bash",
        keys: Iterable[str] = (),
    ) -> None:
        self.ldapadd(person(name, uid, gid=gid, home=home, shell=shell, keys=keys))

    def add_group(self, name: str, gid: int, *members: str) -> None:
        self.ldapadd(group(name, gid, members))

    def add_many(
        self,
        count: int,
        *,
        first: int = 30000,
        prefix: str = "many",
        gid: int,
        members_of: str = "",
    ) -> None:
        """prefix0 to prefix(count - 1), in the primary group `gid` and, if it is given, in the group `members_of`."""
        names = [f"{prefix}{number}" for number in range(count)]
        self.ldapadd(
            "\n".join(person(name, first + number, gid=gid) for number, name in enumerate(names))
        )
        if members_of:
            self.ldapmodify(f"cn={members_of},{GROUPS}", "add", "memberUid", *names)

    def add_member(self, group: str, *names: str) -> None:
        self.ldapmodify(f"cn={group},{GROUPS}", "add", "memberUid", *names)

    def delete_member(self, group: str, *names: str) -> None:
        self.ldapmodify(f"cn={group},{GROUPS}", "delete", "memberUid", *names)

    def set_keys(self, name: str, *keys: str) -> None:
        self.ldapmodify(
            f"uid={name},{PEOPLE}", "replace", "sshPublicKey", *(key.strip() for key in keys)
        )

    def set(self, name: str, attribute: str, *values: str) -> None:
        """An attribute of a person, such as loginShell."""
        self.ldapmodify(f"uid={name},{PEOPLE}", "replace", attribute, *values)

    def delete_person(self, name: str) -> None:
        """The person, and nothing else: groups go on to name it, as directories do."""
        self._as_admin("ldapdelete", f"uid={name},{PEOPLE}")

    def delete_group(self, name: str) -> None:
        self._as_admin("ldapdelete", f"cn={name},{GROUPS}")

    def ldapadd(self, ldif: str) -> None:
        self._as_admin("ldapadd", "-c", input=ldif)

    def ldapmodify(self, dn: str, verb: str, attribute: str, *values: str) -> None:
        lines = [
            f"dn: {dn}",
            "changetype: modify",
            f"{verb}: {attribute}",
            *(_line(attribute, it) for it in values),
        ]
        self._as_admin("ldapmodify", input="\n".join(lines) + "\n")

    def _as_admin(self, program: str, *words: str, input: str = "") -> Result:
        return self.machine.run(
            program, "-x", "-H", URI, "-D", ADMIN, "-w", "secret", *words, input=input
        )

    # --- what is asked

    @property
    def keys_command(self) -> str:
        """What to write after AuthorizedKeysCommand."""
        return "/usr/bin/sss_ssh_authorizedkeys %u" if self.client == "sssd" else f"{LDAP_KEYS} %u"

    def look_up(self, name: str, kind: str = "passwd") -> str:
        """What the directory alone says: "found", "not found", or why it does not answer."""
        call = {"passwd": "getpwnam_r", "group": "getgrnam_r"}[kind]
        return self.machine.run(
            "python3", "-c", LOOK_UP, kind, self.service, call, name
        ).out.strip()

    def online(self) -> bool:
        """Whether SSSD, started with `infopipe`, believes so: it notices when somebody asks for an unknown name."""
        name = "org.freedesktop.sssd.infopipe"
        path = "/org/freedesktop/sssd/infopipe/Domains/example"
        done = self.machine.run(
            "busctl", "call", name, path, f"{name}.Domains.Domain", "IsOnline", check=False
        )
        return done.out == "b true\n"

    def searches(self) -> Sequence[Search]:
        """What slapd was asked since the last call."""
        log = self.machine.sh(f"cat {LOG}; : >{LOG}").out
        asked = dict(re.findall(r'(conn=\d+ op=\d+) SRCH base=.* filter="(.*)"', log))
        answers = re.findall(r"(conn=\d+ op=\d+) SEARCH RESULT .*nentries=(\d+)", log)
        return [
            Search(asked[operation], int(found))
            for operation, found in answers
            if operation in asked
        ]


def person(
    name: str,
    uid: int,
    *,
    gid: int,
    home: str = "",
    shell: str = "/bin/bash",
    keys: Iterable[str] = (),
) -> str:
    """Its ldif."""
    classes = ("account", "posixAccount", "ldapPublicKey")
    lines = [
        f"dn: uid={name},{PEOPLE}",
        *(f"objectClass: {it}" for it in classes),
        f"uid: {name}",
        f"cn: {name}",
    ]
    lines += [f"uidNumber: {uid}", f"gidNumber: {gid}", f"homeDirectory: {home or f'/home/{name}'}"]
    lines += [f"loginShell: {shell}", *(_line("sshPublicKey", key.strip()) for key in keys)]
    return "\n".join(lines) + "\n"


def group(name: str, gid: int, members: Iterable[str] = ()) -> str:
    lines = [
        f"dn: cn={name},{GROUPS}",
        "objectClass: posixGroup",
        f"cn: {name}",
        f"gidNumber: {gid}",
    ]
    return "\n".join([*lines, *(f"memberUid: {member}" for member in members)]) + "\n"


def _line(attribute: str, value: str) -> str:
    if value.isascii() and value.isprintable() and value[:1] not in (" ", ":", "<"):
        return f"{attribute}: {value}"
    return f"{attribute}:: {base64.b64encode(value.encode()).decode()}"

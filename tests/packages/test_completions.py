"""Completion in the real shells, on a host with jails: who is jailed, their mounts, their keys, profiles."""

from __future__ import annotations

import shlex

import pytest
from machine import Machine
from steps import CONFIG, QUIET, jail

BASH = "/usr/share/bash-completion/completions/sftpjail"
FISH = "/usr/share/fish/vendor_completions.d/sftpjail.fish"
# On a terminal: what is typed, with tabs, and then run by a function that prints its words.
STARTS = {
    "bash": f"source {BASH}; sftpjail() {{ printf '<%s>' \"$@\"; echo; }}\n",
    "zsh": "autoload -U compinit; compinit -u; sftpjail() { printf '<%s>' \"$@\"; echo; }\n",
}
SHELLS = {"bash": "bash --norc -i", "zsh": "zsh -f -i"}


def typed(machine: Machine, shell: str, line: str) -> str:
    """What the words are that a shell makes of a line whose last character is a tab."""
    if shell == "fish":
        asked = shlex.quote(line.rstrip("\t"))
        said = machine.run("fish", "-c", f"source {FISH}; complete -C {asked}").out
        return ",".join(sorted(found.split("\t")[0] for found in said.splitlines()))
    machine.write("/root/typed", STARTS[shell] + line + "\n\nexit\n")
    script = f"script -qec '{SHELLS[shell]}' /dev/null </root/typed"
    out = machine.sh(f"cd /root; TERM=dumb {script}", check=False, timeout=60).out
    found = [part for part in out.replace("\r", "").split("\n") if part.startswith("<")]
    return found[-1] if found else out


@pytest.mark.whole
@pytest.mark.debian
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_know_jails_mounts_keys_and_profiles(machine: Machine, shell: str) -> None:
    machine.write(CONFIG, f"{QUIET}[profiles]\n[[sftponly]]\n[[guests]]\ngroup = sftponly2\n")
    machine.run("sftpjail", "setup")
    key = jail(machine, "alice")
    machine.run("useradd", "-m", "plain")
    machine.sh("mkdir -p /srv/web '/srv/My Music'; sftpjail mount alice /srv/web /web")
    machine.sh("sftpjail mount alice '/srv/My Music' '/My Music'")
    fingerprint = machine.run("ssh-keygen", "-lf", f"{key}.pub").out.split()[1]
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert machine.run(*nobody, "sftpjail", "--complete", "jails").out == "alice\n"
    cases = (
        ("show a\t", ("show", "alice")),
        ("show _\t", ("show", "_")),
        ("adopt p\t", ("adopt", "plain")),
        ("umount alice /w\t", ("umount", "alice", "/web")),
        ("umount alice /M\t", ("umount", "alice", "/My Music")),
        ("key remove alice SHA256:\t", ("key", "remove", "alice", fingerprint)),
        ("key remove alice \t", ("key", "remove", "alice", fingerprint)),
        ("adopt --profile g\t", ("adopt", "--profile", "guests")),
    )
    for line, words in cases:
        said = typed(machine, shell, f"sftpjail {line}")
        if shell == "fish":
            wanted = "" if words[-1] == "_" else words[-1]
            assert said.replace("\\ ", " ") == wanted, (line, said)
        else:
            assert said == "".join(f"<{word}>" for word in words), (line, said)

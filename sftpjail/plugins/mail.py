"""Mail servers that obey files in homes.

Files that a jailed account uploads would run commands outside its jail. For other services see
home_files.py.
"""

from __future__ import annotations

from .. import Account, Problem, hookimpl
from ..config import Config
from ..host import Host

WHY = "a jailed account can upload one, mail itself, and run programs outside of its jail"


@hookimpl
def on_check(account: Account | None, host: Host, config: Config) -> list[Problem]:
    # A home that exists only in the jail is out of reach for a mail server.
    if account is not None or all(profile.home == "inside" for profile in config.profiles):
        return []
    return [*_postfix(host), *_exim(host), *_agents(host)]


def _postfix(host: Host) -> list[Problem]:
    """Return whether local(8) runs commands from ~/.forward (allow_mail_to_commands)."""
    if not host.which("postconf"):
        return []
    said = host.ask([host.which("postconf"), "-h", "allow_mail_to_commands", "forward_path"]).out
    allowed, _, places = said.partition("\n")
    if "forward" not in allowed or "home" not in places:
        return []
    advice = (
        "allow_mail_to_commands = alias and allow_mail_to_files = alias in Postfix's main.cf stop "
        "that for everybody's ~/.forward; an alias, aliases(5), comes before one account's"
    )
    return [Problem("Postfix runs the commands of a ~/.forward", WHY, "", advice, "open")]


def _exim(host: Host) -> list[Problem]:
    """Return whether Debian's router for ~/.forward runs commands (Exim spec 22.8, forbid_pipe)."""
    exim = host.which("exim4")
    router = []
    if exim:
        router = host.ask([exim, "-bP", "router", "userforward"]).out.split("\n")
    if "no_forbid_pipe" not in router or "file = $home/.forward" not in router:
        return []
    advice = (
        "forbid_pipe, forbid_file and forbid_filter_run in Exim's router userforward stop that for "
        "everybody; an alias, /etc/aliases, comes before one account's"
    )
    return [Problem("Exim runs the commands of a ~/.forward", WHY, "", advice, "open")]


# Delivery agents that run commands from a file in the home: procmailrc(5), maildropfilter(7).
AGENTS = {"procmail": ".procmailrc", "maildrop": ".mailfilter"}


def _agents(host: Host) -> list[Problem]:
    """Return the delivery agents that run commands from a home.

    local(8) calls them by mailbox_command, Exim by Debian's routers.
    """
    postconf, exim = host.which("postconf"), host.which("exim4")
    said = ""
    if postconf:
        said = host.ask([postconf, "-h", "mailbox_command"]).out
    problems = []
    for agent, file in AGENTS.items():
        runs = f"delivers by {agent}, which runs the commands of a ~/{file}"
        if agent in said:
            advice = "give members another one by mailbox_command_maps, postconf(5)"
            what = f"Postfix {runs} (mailbox_command)"
            problems.append(Problem(what, WHY, "", advice, "open"))
        if not exim or not host.which(agent):
            continue
        router = host.ask([exim, "-bP", "router", agent]).out
        if f"{{home}}/{file}" in router:
            advice = (
                f"take the router {agent} out of Exim's configuration, or {agent} off this host"
            )
            problems.append(Problem(f"Exim {runs} (router {agent})", WHY, "", advice, "open"))
    return problems

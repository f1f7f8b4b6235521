#!/usr/bin/python
# Copyright: the sftpjail developers
# MIT license: see LICENSE

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: host
short_description: Prepare a host for SFTP jails, and configure it
version_added: 0.1.0
description:
  - Writes C(/etc/sftpjail/sftpjail.conf) and runs C(sftpjail setup), then C(sftpjail apply), so that all jails
    are as the configuration says. sshd is reloaded and never restarted.
  - If the host cannot be set up so, the configuration that it had is put back, and the task fails.
options:
  state:
    description:
      - C(present) sets the host up. C(absent) undoes that by C(sftpjail teardown), which refuses while accounts
        are jailed.
    type: str
    choices: [present, absent]
    default: present
  config:
    description:
      - The whole of sftpjail.conf(5). A dictionary is a section, a list a value with commas, and a truth
        value C(yes) or C(no). A number in octal digits needs quotes, as in C(umask) and C("027").
      - Without it the configuration of the host stays as it is.
    type: dict
  backup:
    description: Keep a copy of the configuration that is replaced, with the time in its name.
    type: bool
    default: false
  confirm:
    description:
      - Agree to shut out members whom a change of C(passwords) or C(authentication_methods) leaves no way to log
        in, for whom C(sftpjail setup) asks otherwise.
    type: bool
    default: false
requirements:
  - sftpjail on the managed host
attributes:
  check_mode:
    description: The dry run of C(sftpjail) itself with the new configuration; nothing is changed.
    support: full
  diff_mode:
    description: The configuration before and after, and what the dry run shows.
    support: full
author:
  - The sftpjail developers (!UNKNOWN)
"""

EXAMPLES = r"""
- name: The defaults
  sftpjail.sftpjail.host:

- name: Two profiles
  sftpjail.sftpjail.host:
    config:
      profiles:
        sftponly:
          group: sftponly
          chroot: /srv/sftp/%u
        partners:
          group: partners
          addresses:
            - 192.0.2.0/24
            - 2001:db8::/32
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, as C(sftpjail --json) has it.
  returned: success
  type: list
  elements: dict
  sample: [{action: MakeDir, plugin: chroot, about: [/srv/sftp]}]
backup_file:
  description: The copy of the former configuration.
  returned: when there is one
  type: str
  sample: /etc/sftpjail/sftpjail.conf.2026-11-29@10:00:00~
notices:
  description: What is left to do for a person, one line each.
  returned: success
  type: list
  elements: str
  sample: []
problems:
  description: What is wrong all the same, as the schema problem.json of sftpjail(8) has it.
  returned: success
  type: list
  elements: dict
  sample: []
what:
  description: What went wrong.
  returned: failure
  type: str
  sample: sshd_config is broken
why:
  description: Why that matters, or nothing.
  returned: failure
  type: str
  sample: ""
fix:
  description: The command that fixes it on the host, or nothing.
  returned: failure
  type: str
  sample: sshd -t
choices:
  description: Commands between which a person must decide, each with its label, or none.
  returned: failure
  type: list
  elements: dict
  sample: []
advice:
  description: What to do where no command can fix it, or nothing.
  returned: failure
  type: str
  sample: correct it in the task
rc:
  description: The exit status of C(sftpjail).
  returned: failure, if it was run
  type: int
  sample: 1
"""

import os
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible_collections.sftpjail.sftpjail.plugins.module_utils.configuration import render
from ansible_collections.sftpjail.sftpjail.plugins.module_utils.tool import LEFT_OUT, Failed, Tool

CONFIG = "/etc/sftpjail/sftpjail.conf"


class Configuration(object):
    """The configuration file of the host, and what it is to become.

    Args:
        module: the AnsibleModule.
        wanted: the text, or None: it stays as it is.
    """

    def __init__(self, module, wanted):
        self.module = module
        self.before = None
        if os.path.exists(CONFIG):
            with open(CONFIG, "rb") as handle:
                self.before = to_text(handle.read(), errors="surrogate_or_strict")
        self.after = self.before if wanted is None else wanted
        self.backup_file = None

    @property
    def differs(self):
        return self.before != self.after

    def candidate(self):
        """Return the path of a file with the new text, for a dry run; the module deletes it."""
        fd, path = tempfile.mkstemp(prefix="sftpjail.conf.", dir=self.module.tmpdir)
        with os.fdopen(fd, "wb") as handle:
            handle.write(to_bytes(self.after, errors="surrogate_or_strict"))
        return path

    def install(self, backup):
        """Put the new text in place, at once and whole."""
        if backup and self.before is not None:
            self.backup_file = self.module.backup_local(CONFIG)
        if not os.path.isdir(os.path.dirname(CONFIG)):
            os.mkdir(os.path.dirname(CONFIG), 0o755)
        self._put(self.after, 0o644)

    def restore(self):
        """Put the former text back."""
        if self.before is None:
            os.unlink(CONFIG)
        else:
            self._put(self.before, 0o644)

    def _put(self, text, mode):
        fd, path = tempfile.mkstemp(prefix=".sftpjail.conf.", dir=os.path.dirname(CONFIG))
        with os.fdopen(fd, "wb") as handle:
            handle.write(to_bytes(text, errors="surrogate_or_strict"))
            handle.flush()
            os.fsync(handle.fileno())
        if not os.path.exists(CONFIG):
            os.chmod(path, mode)
        # It keeps owner and mode of the file that it replaces.
        self.module.atomic_move(path, CONFIG)


def commands(params):
    """Return the two commands that make a host as it is wanted, as lists of words."""
    return ["setup"] + (["--yes"] if params["confirm"] else []), ["apply"]


def set_up(tool, configuration, params):
    """Set the host up; return the answers of setup and apply.

    Raises:
        Failed: it cannot be; then the host has the configuration that it had.
    """
    setup, apply = commands(params)
    candidate = configuration.candidate() if configuration.differs else None
    try:
        if tool.module.check_mode:
            return only_new(
                tool.change(*setup, config=candidate), tool.change(*apply, config=candidate)
            )
        if candidate:
            # What is wrong with it is said before anything is changed.
            tool.rehearse(*setup, config=candidate)
    except Failed as failed:
        failed.name_of(candidate, "config", "correct it in the task")
        raise
    if candidate:
        configuration.install(params["backup"])
    try:
        return [tool.change(*setup), tool.change(*apply)]
    except Failed:
        if candidate:
            configuration.restore()
        raise


def only_new(first, second):
    """Return two dry runs; of the second, what the first would not have done by then."""
    for name in ("actions", "notices", "problems"):
        second[name] = [item for item in second[name] if item not in first[name]]
    return [first, second]


def previews(tool, configuration, params):
    """Return what people are shown of each command, for --diff; to be asked before they are run."""
    if not tool.module._diff:
        return []
    candidate = configuration.candidate() if configuration.differs else None
    return [tool.preview(*words, config=candidate) for words in commands(params)]


def difference(configuration, shown, answers):
    """Return what --diff shows: the configuration, and each command that has something to do."""
    diff = [dict(prepared=text) for i, text in enumerate(shown) if answers[i]["actions"]]
    if configuration.differs:
        texts = dict(before=configuration.before or "", after=configuration.after)
        diff.insert(0, dict(texts, before_header=CONFIG, after_header=CONFIG))
    return diff


def present(tool, params):
    """Configure the host and set it up; return the module's result."""
    wanted = None if params["config"] is None else render(params["config"])
    configuration = Configuration(tool.module, wanted)
    shown = previews(tool, configuration, params)
    answers = set_up(tool, configuration, params)
    result = result_of(answers)
    result["changed"] = result["changed"] or configuration.differs
    if tool.module._diff:
        result["diff"] = difference(configuration, shown, answers)
    if configuration.backup_file:
        result["backup_file"] = configuration.backup_file
    result["left_out"] = [
        problem
        for answer in answers
        for problem in answer["problems"]
        if answer["code"] == LEFT_OUT and problem["severity"] != "advice"
    ]
    return result


def absent(tool):
    """Undo setup; return the module's result."""
    shown = tool.preview("teardown") if tool.module._diff else ""
    result = result_of([tool.change("teardown")])
    if shown and result["changed"]:
        result["diff"] = [dict(prepared=shown)]
    return result


def result_of(answers):
    """Return what the module says of the answers of commands that change the host."""
    actions = [action for answer in answers for action in answer["actions"]]
    return dict(
        changed=bool(actions),
        actions=actions,
        notices=[notice for answer in answers for notice in answer["notices"]],
        problems=[problem for answer in answers for problem in answer.get("problems", [])],
    )


def main():
    module = AnsibleModule(
        argument_spec=dict(
            state=dict(type="str", choices=["present", "absent"], default="present"),
            config=dict(type="dict"),
            backup=dict(type="bool", default=False),
            confirm=dict(type="bool", default=False),
        ),
        supports_check_mode=True,
    )
    present_wanted = module.params["state"] == "present"
    nothing = dict(changed=False, actions=[], notices=[], problems=[])
    tool = Tool(module, dict(nothing, changed=present_wanted))
    if not present_wanted and not tool.path:
        module.exit_json(**nothing)
    tool.need()
    try:
        result = present(tool, module.params) if present_wanted else absent(tool)
    except (Failed, ValueError) as failed:
        if isinstance(failed, ValueError):
            module.fail_json(msg="config: {0}".format(failed), what=str(failed), why="", fix="")
        tool.fail(failed)
    tool.finish(result)


if __name__ == "__main__":
    main()

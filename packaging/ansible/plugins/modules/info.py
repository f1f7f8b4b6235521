#!/usr/bin/python
# Copyright: the sftpjail developers
# MIT license: see LICENSE

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: info
short_description: Report the SFTP jails of a host, their states and their problems
version_added: 0.1.0
description:
  - Asks C(sftpjail list), C(sftpjail check) and C(sftpjail review), and changes nothing.
options:
  users:
    description: Whom to report, beside the host; by default everybody who is jailed.
    type: list
    elements: str
  gather:
    description: What to ask for.
    type: list
    elements: str
    choices: [jails, problems, review]
    default: [jails, problems]
requirements:
  - sftpjail on the managed host
attributes:
  check_mode:
    description: Nothing is changed in any mode.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
author:
  - The sftpjail developers (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Ask for everything
  sftpjail.sftpjail.info:
  register: sftp

- name: Fail where a jail is open
  ansible.builtin.assert:
    that: sftp.problems | selectattr('severity', 'equalto', 'open') | list | length == 0
"""

RETURN = r"""
jails:
  description: The jails by name, as the schema jail.json of sftpjail(8) has them.
  returned: if asked for
  type: dict
  sample: {alice: {state: ok, keys: 1}}
problems:
  description: What C(sftpjail check) finds, as the schema problem.json has it.
  returned: if asked for
  type: list
  elements: dict
  sample: []
review:
  description: Who can get in, by what, and since when, as C(sftpjail --json review) says it.
  returned: if asked for
  type: list
  elements: dict
  sample: []
version:
  description: The version of sftpjail.
  returned: success
  type: str
  sample: 0.1.0
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

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sftpjail.sftpjail.plugins.module_utils.tool import Failed, Tool


def concerning(problems, users):
    """Return the problems of these users and of the host itself, or all where users is None."""
    if users is None:
        return problems
    wanted = set(users)
    return [
        problem
        for problem in problems
        if problem["about"] in wanted
        or wanted.intersection(problem["concerns"])
        or (problem["about"] == "host" and not problem["concerns"])
    ]


def gather(tool, wanted, users):
    """Return what was asked for, of these users, or of all where users is None."""
    result = dict(changed=False)
    if "jails" in wanted:
        jails = tool.read("list")["jails"]
        result["jails"] = dict(
            (jail["user"], jail) for jail in jails if users is None or jail["user"] in users
        )
    if "problems" in wanted:
        result["problems"] = concerning(tool.read("check")["problems"], users)
    if "review" in wanted:
        rows = tool.read("review")["accounts"]
        result["review"] = [row for row in rows if users is None or row["user"] in users]
    return result


def main():
    module = AnsibleModule(
        argument_spec=dict(
            users=dict(type="list", elements="str"),
            gather=dict(
                type="list",
                elements="str",
                choices=["jails", "problems", "review"],
                default=["jails", "problems"],
            ),
        ),
        supports_check_mode=True,
    )
    empty = dict(jails={}, problems=[], review=[])
    prospect = dict((name, empty[name]) for name in module.params["gather"])
    tool = Tool(module, dict(prospect, changed=False, version=""))
    tool.need()
    code, out, dummy = module.run_command([tool.path, "--version"], check_rc=True)
    try:
        result = gather(tool, module.params["gather"], module.params["users"])
    except Failed as failed:
        tool.fail(failed)
    module.exit_json(version=out.split()[-1], **result)


if __name__ == "__main__":
    main()

"""`apply FILE`: bring a host to the state that a file of accounts describes, as one transaction.

`comparison` lays FILE beside the host. Each account that is not as FILE says is a `new_account` or
an `existing` one, whose `keys` and `mounts` come and go. Either has a `change`, for people, and a
`draft`, of what is to be done. Of all drafts together `stages` makes plans, one after another.
"""

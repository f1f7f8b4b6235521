"""`apply FILE`: bring a host to the state that a file of accounts describes."""

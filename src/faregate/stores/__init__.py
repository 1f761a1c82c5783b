"""What outlives a call: counters, key sets and, later, nonces and claims."""

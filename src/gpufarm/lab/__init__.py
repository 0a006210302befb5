"""The embedded default: a real OpenStack on this machine, with simulated GPU hosts.

The way of the data: `state` (what a lab is and where it lies) -> `config` (configuration files, a
pure function of it) -> `up` (prepares, starts, waits) -> `supervisor` (parent of all services) ->
`inside` (what runs in each service's process).
"""

"""What a cloud would do with a stream of requests: placement replayed on a trace.

`trace` reads nodes and requests, `arrivals` makes streams of them, `policies` (with
`nova_policies`) say where a server goes, `replay` runs them, `measures` and `bounds` say how well
that was, `plot` draws it. `learning` makes the lesson that gpufarm-nova loads, of a trace or of a
real cloud.
"""

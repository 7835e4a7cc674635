"""What runs, as it runs: one hub that makes each message once and hands the same bytes to all.

``messages`` are made ready once, ``pipes`` carry them to a client, ``boards`` know what a class of
viewers sees, ``hub`` ticks, and ``doors`` are the WebSocket and the stream of events.
"""

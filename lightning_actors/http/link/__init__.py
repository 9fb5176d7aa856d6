"""The link: one WebSocket between a client and the server of its store, over which the mailbox goes on.

`frames`, `outbox`, `inbox`, `client_end` and `server_end` do no I/O.
"""

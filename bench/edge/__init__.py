"""The follow edge alone: logs written at a steady pace without a model, read by many followers at once.

Three processes beside the server that is measured: Redis, a producer that writes as a worker does, and a load
that reads. The server has one core for itself, all others share the rest.
"""

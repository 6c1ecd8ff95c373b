"""How fast tokentail gets over what must not harm it: `python -m bench.reliability`.

Each part starts an installation of its own, breaks it again and again at random moments, and looks at it as
its users do: through followers, and through the provider's ledger. Nothing here passes or fails: it prints a
table, with the promises beside the figures.
"""

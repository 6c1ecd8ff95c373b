"""Whether the promises hold when everything fails: `python -m chaos`.

A run starts real processes, breaks them and what is between them by a schedule that one seed decides, heals
everything, writes down what was observed (`history.py`) and holds that against the promises (`checker.py`).
"""

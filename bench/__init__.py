"""What tokentail costs beside the plain ways of doing the same: `python -m bench`.

Both sides run at the same time on the same machine against the same demo provider and take turns, sample by
sample, so that whatever else the machine does hits both. Nothing here passes or fails: it prints a table.
"""

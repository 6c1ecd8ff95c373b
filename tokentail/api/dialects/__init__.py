"""The same log in the languages that clients already speak. `docs/dialects.md` has the table."""

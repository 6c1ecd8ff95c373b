"""What people write today in tokentail's place, written well: each is a process of its own."""

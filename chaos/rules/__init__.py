"""The promises, one function each: given what was observed, it yields a sentence for each breach."""

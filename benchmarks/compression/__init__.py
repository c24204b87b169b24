"""How far networks can be cut before they know less: ``make bench-compression``."""

"""The fault harness: the real product on a real Azurite, and everything that can go wrong, drawn from a seed."""

"""Event-driven batch scoring on Azure: drop a trigger file, every item is scored exactly once."""

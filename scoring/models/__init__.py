"""The models that ship with the workloads, and the scripts that make them."""

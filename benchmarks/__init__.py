"""What it costs, measured: `make bench`. Every comparison is made side by side in one run."""

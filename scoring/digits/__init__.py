"""The smallest complete workload: images in, one row per image out."""

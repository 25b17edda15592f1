"""One-class SVMs of sensors: trained on what was landed, and every hour's readings scored by them."""

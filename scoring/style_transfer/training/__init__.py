"""Training a style: the network, what it is judged by, and the steps between. Needs PyTorch."""

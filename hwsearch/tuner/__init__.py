"""The KerasTuner face: architectures, pruning, bits and runtime searched together in a budget."""

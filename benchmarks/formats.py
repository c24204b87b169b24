"""Print what the formats of weights in ``aot`` cost and save: ``make bench-formats``.

Networks as they are, pruned and clustered; each linked for an emulated Cortex-M4 with dense
weights and with the formats that the compiler chooses. Instructions are counted, not estimated.
The MLPerf Tiny models of ../shared are not trained again after pruning, so their rows say nothing
of accuracy; LeNet on Fashion-MNIST is, and its accuracy is that of the artefact.
"""

"""What a model takes of a microcontroller: pure functions of columns."""

"""What decides, without input or output, clocks or chance. `README.md` says what is banned here, and why."""

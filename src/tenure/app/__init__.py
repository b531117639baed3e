"""The top floor: wires the rooms together and starts them. Nothing below may import it."""

"""The top floor: wires the rooms together and starts them. Nothing below may import it."""

import gc

# What a program loads when it starts stays until it ends: looked for garbage after every 700 objects, as Python does,
# it takes a sixth longer to load. The gateway sets the same once it is up.
gc.set_threshold(20_000, 20, 50)

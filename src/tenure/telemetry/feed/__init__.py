"""The live feed: the newest Events as lines, made once for everybody who listens, and the stream of them."""

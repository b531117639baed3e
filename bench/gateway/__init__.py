"""What the gateway costs, next to other proxies, in one interleaved run: ``make bench``."""

"""How often a baseline says that an agent deviates when it does not, and how often it notices when it does."""

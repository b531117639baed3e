"""How far agents may go alone: levels of oversight, boundaries, what people were told."""

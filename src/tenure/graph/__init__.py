"""What depends on what: agents, tools, models, data and people, drawn from traffic and from what manifests declare."""

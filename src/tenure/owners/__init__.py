"""Who answers for an agent: hand-overs that both sides want, and what happens when nobody answers any more."""

"""Programs on the lab hosts' PATH: each stands in for a real one and says what it emulates and what not."""

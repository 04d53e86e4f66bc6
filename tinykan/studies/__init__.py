"""Studies: many runs compared fairly, queued, kept and reported."""

"""Hash chunks and pages, derive keys from an id, and prove knowledge of an id."""

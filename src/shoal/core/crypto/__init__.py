"""Hash chunks and pages, derive keys from an id, prove knowledge of it."""

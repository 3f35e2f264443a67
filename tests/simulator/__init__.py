"""Find wrong behaviour of whole nodes: one seed draws one run; docs/reliability.md."""

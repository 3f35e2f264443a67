"""Downloads on the disk: the target, its staging folder and its journal."""

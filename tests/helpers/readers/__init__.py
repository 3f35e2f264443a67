"""Files for the programs of docs/tasks/readers.md, and the code that runs its lines."""

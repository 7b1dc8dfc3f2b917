"""Species tables and profiles of other tools: which columns hold abundances, and which rows partition the community."""

"""Files that every model folder has beside its own, so that it can be exported alone: links here, copies in a wheel."""

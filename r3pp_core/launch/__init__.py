"""Starting training and other many-process work so that it can be watched, stopped and never orphaned."""

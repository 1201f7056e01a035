"""The champion: the model to use. A gate decides who may become it, a history keeps who was and why."""
